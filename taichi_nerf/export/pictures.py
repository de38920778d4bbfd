"""Views of a model along any cameras, as videos or PNG files."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..data.scene import Cameras
from ..models.renderers import Renderers
from ..models.views import Renderer, View, render_view
from ..output import say
from ..pictures import VideoWriter, depth_limits, depth_picture, normal_picture, to_uint8, write_png
from ..types import UNKNOWN, Shot

__all__ = ["Team", "render_pictures"]


class Team(Protocol):
    """Processes that share the views (`training.team`): of `world` ranks each has every so many-th."""

    rank: int
    world: int

    def gathered(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order."""


def render_pictures(
    model, cameras: Cameras, background: float, outputs: dict[str, Path], *, fps: float = 30.0,
    on_view: Callable[[int, int], None] | None = None, renderer: Renderer = "auto", shots: Shot = UNKNOWN,
    team: Team | None = None,
) -> None:
    """Render what all `cameras`, in model space, see, and say what rendered it.

    `outputs` says for `colour`, `depth`, `opacity` and `normals` where each goes: to a video `.mp4`, or to
    PNG files in a folder that exists. `on_view` is told how many views are done and how many there are.
    `renderer` as of `render_view`; `shots` are what the N views are of besides their cameras, R = N.
    The ranks of a `team` share the views; rank 0 writes all of them, one of each rank at a time.
    """
    rank, world, gathered = (0, 1, lambda value: [value]) if team is None else (team.rank, team.world, team.gathered)
    renderers, limits = Renderers(), None
    with contextlib.ExitStack() as stack:
        videos = {
            what: stack.enter_context(VideoWriter(output, fps=fps))
            for what, output in outputs.items()
            if output.suffix == ".mp4" and rank == 0
        }
        for first in range(0, len(cameras), world):
            n, view = first + rank, None
            if n < len(cameras):
                view = render_view(model, cameras, n, background=background, normals="normals" in outputs,
                                   renderer=renderer, shot=shots[n : n + 1])
                renderers.count(view)
            if limits is None:  # of the first view: a video must not flicker
                limits = gathered(view and depth_limits(view.depth, view.opacity))[0]
            made = gathered(view and {what: _picture(view, what, limits) for what in outputs})
            for number, pictures in enumerate(made if rank == 0 else [], first):
                for what, picture in (pictures or {}).items():
                    if what in videos:
                        videos[what].write(picture)
                    else:
                        write_png(outputs[what] / f"{what}_{number:04d}.png", picture)
            if on_view is not None:
                on_view(min(first + world, len(cameras)), len(cameras))
    say(f"renderer: {renderers}")


def _picture(view: View, what: str, limits: tuple[float, float]) -> np.ndarray:
    """[H, W, 3] uint8"""
    if what == "depth":
        return depth_picture(view.depth, view.opacity, limits)
    return normal_picture(view.normals, view.opacity) if what == "normals" else to_uint8(getattr(view, what))
