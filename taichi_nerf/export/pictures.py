"""Views of a model along any cameras, as videos or PNG files."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data.scene import Cameras
from ..models.renderers import Renderers
from ..models.views import Renderer, View, render_view
from ..output import say
from ..pictures import VideoWriter, depth_limits, depth_picture, normal_picture, to_uint8, write_png
from ..types import UNKNOWN, Shot

__all__ = ["render_pictures"]


def render_pictures(
    model, cameras: Cameras, background: float, outputs: dict[str, Path], *, fps: float = 30.0,
    on_view: Callable[[int, int], None] | None = None, renderer: Renderer = "auto", shots: Shot = UNKNOWN,
) -> None:
    """Render what all `cameras`, in model space, see, and say what rendered it.

    `outputs` says for `colour`, `depth`, `opacity` and `normals` where each goes: to a video `.mp4`, or to
    PNG files in a folder that exists. `on_view` is told how many views are done and how many there are.
    `renderer` as of `render_view`; `shots` are what the N views are of besides their cameras, R = N.
    """
    renderers = Renderers()
    with contextlib.ExitStack() as stack:
        videos = {
            what: stack.enter_context(VideoWriter(output, fps=fps))
            for what, output in outputs.items()
            if output.suffix == ".mp4"
        }
        limits = None
        for n in range(len(cameras)):
            view = render_view(model, cameras, n, background=background, normals="normals" in outputs,
                               renderer=renderer, shot=shots[n : n + 1])
            renderers.count(view)
            limits = limits or depth_limits(
                view.depth, view.opacity
            )  # of the first view: a video must not flicker
            for what, output in outputs.items():
                picture = _picture(view, what, limits)
                if what in videos:
                    videos[what].write(picture)
                else:
                    write_png(output / f"{what}_{n:04d}.png", picture)
            if on_view is not None:
                on_view(n + 1, len(cameras))
    say(f"renderer: {renderers}")


def _picture(view: View, what: str, limits: tuple[float, float]) -> np.ndarray:
    """[H, W, 3] uint8"""
    if what == "depth":
        return depth_picture(view.depth, view.opacity, limits)
    return normal_picture(view.normals, view.opacity) if what == "normals" else to_uint8(getattr(view, what))
