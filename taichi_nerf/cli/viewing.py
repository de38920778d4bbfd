"""The live viewer of the commands that have one."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..output import say

if TYPE_CHECKING:
    from ..data.scene import Scene
    from ..viewer.face import Page
    from ..viewer.sharing import Sharing
    from ..viewer.studio import Studio


def require_viser() -> None:
    """Raises UserError where the library of the viewer is absent."""
    try:
        import viser  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "viser":
            raise
        raise UserError("the live viewer needs the library viser, which is not installed: pip install "
                        "'taichi-nerf[view]'") from None


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
