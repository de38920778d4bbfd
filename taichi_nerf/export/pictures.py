"""Views of a model along any cameras, ordinary or wide, as videos or pictures."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..data.scene import Cameras
from ..models.foveated import foveated_view
from ..models.renderers import Renderers
from ..models.views import LONG, Renderer, View, render_view, told_of
from ..output import say
from ..pictures import VideoWriter, depth_limits, depth_picture, normal_picture, to_uint8, write_png
from ..types import UNKNOWN, Shot
from ..wide import Grid
from .spherical import mark_of_name, mark_video, write_panorama

__all__ = ["Team", "nearest_depth", "render_pictures"]

GLANCES, GLANCE = 8, 48  # pictures along a path, and the longer side of each, in which the nearest depth is looked for
NEAREST = 1  # percentile of the depths of what is opaque


class Team(Protocol):
    """Processes that share the views (`training.team`): of `world` ranks each has every so many-th."""

    rank: int
    world: int

    def gathered(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order."""


def render_pictures(
    model, cameras: Cameras | Grid, background: float, outputs: dict[str, Path], *, fps: float = 30.0,
    on_view: Callable[[int, int], None] | None = None,
    on_part: Callable[[float, int], None] | None = None, renderer: Renderer = "auto", shots: Shot = UNKNOWN,
    team: Team | None = None, foveated: bool = False, supersample: bool = True,
) -> None:
    """Render what all `cameras`, in model space, see, and say what rendered it.

    `outputs` says for `colour`, `depth`, `opacity` and `normals` where each goes: to a video `.mp4`, or to
    PNG files in a folder that exists; what shows all around says so in the file, and is JPEG where it is a picture in
    colour. `on_view` is told how many views are done and how many there are; `on_part` the same within views that take
    long, and the first, of which nobody knows, but for those that are foveated.
    `renderer` and `supersample` as of `render_view`; `shots` are what the N views are of besides their cameras, R = N.
    The ranks of a `team` share the views; rank 0 writes all of them, one of each rank at a time. Pictures that are
    `foveated` are sharp in their middle.
    """
    rank, world, gathered = (0, 1, lambda value: [value]) if team is None else (team.rank, team.world, team.gathered)
    grid = cameras if isinstance(cameras, Grid) else Grid(panes=(cameras,))
    renderers, limits, share, finish = Renderers(), None, 0.0, partial(mark_video, lens=grid.lens, stereo=grid.stereo)
    with contextlib.ExitStack() as stack:
        videos = {
            what: stack.enter_context(VideoWriter(output, fps, finish))
            for what, output in outputs.items()
            if output.suffix == ".mp4" and rank == 0
        }
        took = None
        for first in range(0, len(grid), world):
            n, view, start = first + rank, None, time.perf_counter()
            if n < len(grid):
                given = {"background": background, "normals": "normals" in outputs, "renderer": renderer,
                         "shot": shots[n : n + 1], "supersample": supersample}
                if foveated:
                    parts, shares = zip(*(foveated_view(model, pane, n, **given) for pane in grid.panes))
                    share += sum(shares) / len(shares) / len(grid)
                else:
                    told = on_part if took is None or took > LONG else None
                    each = world / len(grid.panes)
                    parts = [render_view(model, pane, n, **given, on_piece=told_of(told, first + each * number,
                                                                                   len(grid), each))
                             for number, pane in enumerate(grid.panes)]
                view = _joined(grid, parts)
                renderers.count(view)
                took = time.perf_counter() - start
            if limits is None:  # of the first view: a video must not flicker
                limits = gathered(view and depth_limits(view.depth, view.opacity))[0]
            made = gathered(view and {what: _picture(view, what, limits) for what in outputs})
            for number, pictures in enumerate(made if rank == 0 else [], first):
                for what, picture in (pictures or {}).items():
                    if what in videos:
                        videos[what].write(picture)
                    else:
                        _write_picture(outputs[what], what, number, picture, grid)
            if on_view is not None:
                on_view(min(first + world, len(grid)), len(grid))
    if foveated:
        say(f"foveated: rays for {100 * sum(gathered(share)):.0f} % of the pixels")
    say(f"renderer: {renderers}")


def nearest_depth(model, grid: Grid, shots: Shot = UNKNOWN) -> float | None:
    """How near the nearest of what is opaque comes along a path, in model units, by some small pictures of it; None
    where nothing is seen. `shots` as of `render_pictures`."""
    found = []
    small = grid.changed(lambda pane: pane.resized(np.maximum(
        pane.size * GLANCE // pane.size.max(axis=1, keepdims=True), 1)))
    for n in np.unique(np.linspace(0, len(grid) - 1, GLANCES).astype(int)).tolist():
        for pane in small.panes:
            view = render_view(model, pane, n, background=0.0, shot=shots[n : n + 1], supersample=False)
            found.append(view.depth[(view.opacity > 0.5) & (view.depth > 0)])
    depth = np.concatenate(found)
    return float(np.percentile(depth, NEAREST)) if len(depth) else None


def _joined(grid: Grid, parts: Sequence[View]) -> View:
    """The whole picture of a frame."""
    arrays = {name: grid.joined([getattr(part, name) for part in parts]) for name in ("colour", "opacity", "depth")}
    normals = None if parts[0].normals is None else grid.joined([part.normals for part in parts])
    seconds = {name: sum(part.seconds.get(name, 0.0) for part in parts) for name in parts[0].seconds}
    return replace(parts[0], **arrays, normals=normals, seconds=seconds, samples=sum(part.samples for part in parts))


def _write_picture(folder: Path, what: str, number: int, picture: np.ndarray, grid: Grid):
    stem = f"{what}_{number:04d}{mark_of_name(grid)}"
    if grid.lens == "equirectangular" and what == "colour":
        write_panorama(folder / f"{stem}.jpg", picture)
    else:
        write_png(folder / f"{stem}.png", picture)


def _picture(view: View, what: str, limits: tuple[float, float]) -> np.ndarray:
    """[H, W, 3] uint8"""
    if what == "depth":
        return depth_picture(view.depth, view.opacity, limits)
    return normal_picture(view.normals, view.opacity) if what == "normals" else to_uint8(getattr(view, what))
