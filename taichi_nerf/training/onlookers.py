"""What the training views see of a scene that moves, as a model has it: where nobody knows it exactly, depth is the
model's, and so is the motion, if it knows any."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ..data.co_seen import Carried, Onlookers, evenly
from ..data.scene import Scene, Split
from ..models.views import View, render_view
from ..types import Shot

__all__ = ["MOST_VIEWS", "depth_of", "onlookers_of"]

SLACK = 0.02  # of the distance: a model's surfaces are soft
MOST_VIEWS, SIDE = 50, 48  # training views that are rendered, and pixels of the longer side: they bound what it costs


def onlookers_of(model: nn.Module, scene: Scene, split: Split, on_view: Callable[[int, int], None]) -> Onlookers:
    """Some views of `split`, the training's, which has times, as `model` shows them, in model space.

    `on_view` is told after each how many are done, and of how many.
    """
    split = split.subset(evenly(len(split), MOST_VIEWS))
    cameras = scene.model_cameras(split.cameras)
    size = np.maximum(cameras.size * np.minimum(1, SIDE / cameras.size.max(axis=1, keepdims=True)), 1)
    cameras, depth = cameras.resized(size.astype(int)), []
    for n, time in enumerate(split.time.tolist()):
        depth.append(depth_of(render_view(model, cameras, n, background=0.0, shot=Shot.single(time=time),
                                          supersample=False)))
        on_view(n + 1, len(split))
    carried, motion = _carried(model)
    return Onlookers(cameras=cameras, time=split.time, depth=depth, carried=carried,
                     how=f"by the depth of the model, {motion}", slack=SLACK)


def depth_of(view: View) -> np.ndarray:
    """[H, W] along the rays, infinite where hardly anything is."""
    return np.where(view.opacity > 0.5, view.depth, np.inf)


def _carried(model: nn.Module) -> tuple[Carried, str]:
    """Where the model has surface points at other times, and that in words."""
    if not hasattr(model, "correspondence"):
        return lambda points, time, others: (points for _ in others), "as if nothing moved"
    like = next(model.parameters())

    def carried(points: np.ndarray, time: float, others):
        positions = torch.from_numpy(points).to(like)
        return (model.correspondence(positions, time, other).points.cpu().numpy() for other in others)

    return carried, "and its motion"
