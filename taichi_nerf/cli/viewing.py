"""The live viewer of the commands that have one."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..config import within
from ..errors import UserError
from ..output import say

if TYPE_CHECKING:
    from ..data.scene import Scene
    from ..training.trainer import Trainer
    from ..viewer.face import Page
    from ..viewer.sharing import Sharing
    from ..viewer.studio import Studio

MAX_SIDE = 800  # pixels of the longer side of a picture at most, until somebody chooses another


def check_port(command) -> None:
    """Raises SettingError for a --port that is none."""
    if command.port is not None:
        within(command, 1, 65535, "port")


def require_viewer(host: str, port: int | None) -> None:
    """Raises UserError where the library of the viewer is absent, or no page can be served there."""
    try:
        import viser  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "viser":
            raise
        raise UserError("the live viewer needs the library viser, which is not installed: pip install "
                        "'taichi-nerf[view]'") from None
    from ..viewer.port import free_port

    free_port(host, port)


def open_page(studio: "Studio", scene: "Scene", run: Path, *, host: str, port: int | None,
              sharing: "Sharing | None" = None) -> "Page":
    """The page, served. Raises UserError where the port or the host cannot be had."""
    from ..viewer.face import Page
    from ..viewer.port import FIRST_PORT, free_port, is_loopback

    found = free_port(host, port)
    if port is None and found != FIRST_PORT:
        say(f"port {FIRST_PORT} is taken, so this viewer has port {found}")
    page = Page(studio, scene, run, host=host, port=found, sharing=sharing)
    if not is_loopback(host):
        say(f"warning: whoever reaches this machine as {host} can look, and save camera paths; --host 127.0.0.1 is for "
            "this machine alone")
    return page


class Shown(Protocol):
    """A training that somebody may look at."""

    stopped: Callable[[], bool]
    """Whether it is to end."""

    def between(self) -> None:
        """After a step."""

    def tell(self, progress: float, text: str) -> None:
        """How far it is."""

    def beside(self, count: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """What is told after each of some views how many are done, and lets others look between them."""

    def until_nobody_looks(self) -> None:
        """After all is done."""


class _Unseen:
    """One that nobody can look at."""

    stopped: Callable[[], bool]

    def between(self) -> None:
        pass

    def tell(self, progress: float, text: str) -> None:
        pass

    def beside(self, count: Callable[[int, int], None]) -> Callable[[int, int], None]:
        return count

    def until_nobody_looks(self) -> None:
        pass


class _Seen:
    """One that a page shows."""

    def __init__(self, studio: "Studio", sharing: "Sharing", page: "Page"):
        self.studio, self.sharing, self.page = studio, sharing, page
        self.between, self.tell = sharing, page.tell

    @property
    def stopped(self) -> Callable[[], bool]:
        return self.sharing.stopped

    @stopped.setter
    def stopped(self, asked: Callable[[], bool]) -> None:
        self.sharing.stopped = asked

    def beside(self, count: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def counted(done: int, total: int):
            count(done, total)
            self.studio.serve()  # the model has its averaged weights already

        return counted

    def until_nobody_looks(self) -> None:
        if self.studio.attended:
            say(f"the viewer goes on at {self.page.address} as long as somebody looks; Ctrl-C ends it")
            self.page.tell(1.0, "The training is done.")
            self.studio.outdated()
            with contextlib.suppress(KeyboardInterrupt):  # all is done
                self.studio.serve_all()


@contextlib.contextmanager
def nobody() -> Iterator[Shown]:
    """A training without a viewer."""
    yield _Unseen()


@contextlib.contextmanager
def shown_training(trainer: "Trainer", scene: "Scene", run: Path, host: str, port: int | None) -> Iterator[Shown]:
    """A training, and the page that shows it, whose address is printed."""
    from ..training.evaluate import GREY
    from ..viewer.door import Door
    from ..viewer.look import Shown as What
    from ..viewer.sharing import Sharing
    from ..viewer.studio import Studio
    from ..viewer.thumbnails import put_images

    grey = GREY[scene.background]
    studio = Studio(Door(trainer.model, supersample=False), What(background=(grey,) * 3), max_side=MAX_SIDE)
    with trainer.averaged():
        studio.warm_up(scene)
    say(f"renderer: {studio.door.renderer_words}")
    sharing = Sharing(studio, trainer)
    with open_page(studio, scene, run, host=host, port=port, sharing=sharing) as page:
        put_images(page, scene, grey)
        say(f"look at it: {page.address}")
        yield _Seen(studio, sharing, page)
