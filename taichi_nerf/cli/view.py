"""`taichi-nerf view`: a trained model, turned with the mouse in a browser."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..config import within
from ..output import result, say
from .options import Common
from .viewing import MAX_SIDE, check_port, open_page, require_viewer

if TYPE_CHECKING:
    from ..training.folder import RunFolder

LOOK_EVERY = 1.0  # seconds between two looks at the disk, when nobody wants a picture


@dataclass(frozen=True, kw_only=True)
class View(Common):
    """Turn a trained model with the mouse in a browser; a run that is being written is shown as it grows.

    Try `taichi-nerf view runs/lego-20260101-120000`, and on a machine far away
    `ssh -L 7007:127.0.0.1:7007 machine` before. Ctrl-C ends it.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder that train wrote, or writes."""
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Where it listens: by default for this machine alone; 0.0.0.0: for whoever can reach it."""
    port: Annotated[int | None, arg(metavar="N")] = None
    """By default 7007, or the next one that is free."""
    max_side: Annotated[int, arg(metavar="PIXELS")] = MAX_SIDE
    """Longer side of a picture at most; it can be changed in the browser."""

    def __post_init__(self):
        within(self, 128, 2048, "max_side")
        check_port(self)


def _wait_for_model(run: "RunFolder") -> None:
    """A training that has just begun is waited for."""
    if run.awaits_model:
        say(f"{run.path} has come to no checkpoint yet: the first is waited for; Ctrl-C ends that")
    while run.awaits_model:
        time.sleep(LOOK_EVERY)


def view(command: View) -> int:
    """`taichi-nerf view`"""
    from ..training.folder import RunFolder

    require_viewer(command.host, command.port)
    run = RunFolder.open(command.run)
    from .. import runtime
    from ..training.evaluate import GREY
    from ..viewer.door import Door
    from ..viewer.following import Following
    from ..viewer.look import Shown
    from ..viewer.studio import Studio
    from ..viewer.thumbnails import rendered_thumbnails

    _wait_for_model(run)
    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    following, scene = Following(run.path), run.cameras_scene()
    door = Door(following.model)
    studio = Studio(door, Shown(background=(GREY[scene.background],) * 3), max_side=command.max_side,
                    changing=following.changed)
    studio.warm_up(scene)
    say(f"renderer: {door.renderer_words}")
    with open_page(studio, scene, run.path, host=command.host, port=command.port) as page:
        studio.idle = rendered_thumbnails(page, studio)
        page.tell(None, str(following))
        result(f"{run.path}: {page.address}")
        while True:
            studio.serve_or_wait(LOOK_EVERY)
            newer = following.newer()
            if newer is not None:
                door.model = newer
                studio.outdated()
                page.tell(None, str(following))
