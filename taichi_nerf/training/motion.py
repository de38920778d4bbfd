"""How well a model knows where things move: its correspondences against the exact ones of a scene that has them.

A point of a surface that a view shows is carried to the times of other views, by the model and exactly. P points.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data.co_seen import Carried, evenly, project, surface_points
from ..data.scene import Scene, Split

__all__ = ["Motion", "motion_of"]

MOST_VIEWS, MOST_POINTS = 6, 256  # views, and points of each that move, evenly spaced: they bound what it costs
NEAR = 0.05  # of the longer side of a picture, within which a point counts as found


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Over points of what moves, from each of some views to the times of the others."""

    error: float
    """Mean distance in world units between where the model has a point and where it is."""
    still: float
    """The same if nothing moved."""
    found: float
    """Of the points that the other camera can see, the part that the model has within 5 % of the picture's longer side
    (PCK)."""
    residual: float
    """World units by which the inverse of the warp misses, at the 95th percentile."""

    def as_json(self) -> dict[str, Any]:
        return {name: round(value, 6) for name, value in vars(self).items()}


def motion_of(model: nn.Module, scene: Scene, split: Split, carried: Carried) -> Motion | None:
    """Of `model`, which has a `correspondence`, on the views of `split`, of which depth, times and what moves are
    exact, as is `carried` in the world; None where nothing that moves is seen at two times."""
    chosen = [n for n in evenly(len(split), MOST_VIEWS) if split.moving[n].any()]
    pairs = [_pair(model, scene, split, carried, n, m) for n in chosen for m in chosen if n != m]
    if not pairs:
        return None
    error, still, found, seen, residual = (np.concatenate(each) for each in zip(*pairs))
    if not len(error):
        return None
    return Motion(error=float(error.mean()), still=float(still.mean()), residual=float(np.quantile(residual, 0.95)),
                  found=float(found[seen].mean()) if seen.any() else 0.0)


@torch.no_grad()
def _pair(model: nn.Module, scene: Scene, split: Split, carried: Carried, n: int, m: int) -> tuple[np.ndarray, ...]:
    """[P] each, of points that view n shows: error and distance moved until the time of view m, whether the model finds
    them in that picture, whether they can be seen there, and the residual."""
    time, other = float(split.time[n]), float(split.time[m])
    points = surface_points(split.cameras, n, split.depth[n])[split.moving[n]]
    points = points[evenly(len(points), MOST_POINTS)]
    exact = next(iter(carried(points, time, [other])))
    there = np.isfinite(exact).all(axis=1)  # what has vanished is nowhere
    points, exact = points[there], exact[there]
    positions = torch.from_numpy(scene.to_model(points)).to(next(model.parameters()))
    given = model.correspondence(positions, time, other)
    guessed = scene.to_world(given.points.float().cpu().numpy())
    (at, can), (guess, also) = (project(split.cameras, m, where) for where in (exact, guessed))
    size = split.cameras.size[m]
    seen = can & (at >= 0).all(axis=1) & (at < size).all(axis=1)
    found = also & (np.linalg.norm(at - guess, axis=1) <= NEAR * size.max())
    return (np.linalg.norm(guessed - exact, axis=1), np.linalg.norm(points - exact, axis=1), found, seen,
            given.residual.float().cpu().numpy() / scene.scale)
