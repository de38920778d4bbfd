"""`taichi-nerf page`: an octree as one file that a browser opens."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..config import SettingError
from ..errors import UserError
from ..output import quoted, result
from ..progress import Progress
from .options import Common, make_folder

if TYPE_CHECKING:
    from ..data.svox import SvoxTree


@dataclass(frozen=True, kw_only=True)
class Page(Common):
    """Write a page that shows an octree in a browser: one file, which needs no server and no network.

    Try `taichi-nerf page runs/lego-octree -o lego.html`, and open lego.html by a double click.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN|FILE.npz")]
    """Folder that taichi-nerf octree wrote, or an octree in a file of svox or volrend."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.html")] = None
    """A new file; by default page.html in the run, or beside the file of the octree."""
    megabytes: Annotated[float, arg(metavar="MB")] = 50.0
    """Largest size of the file: above some 65 browsers on phones give up."""
    name: Annotated[str | None, arg(metavar="TEXT")] = None
    """What the page is called; by default as the run or the file."""
    up: Annotated[tuple[float, float, float] | None, arg(metavar="X Y Z")] = None
    """The direction that stays upright, in the octree's space; by default that of the cameras, of a file z."""

    def __post_init__(self):
        if not 0 < self.megabytes <= 1000:
            raise SettingError(f"megabytes must be above 0 and at most 1000, got {self.megabytes:g}")
        if self.up is not None and not 0 < math.hypot(*self.up) < math.inf:
            raise SettingError(f"up must be a direction, three numbers that are not all 0, got {self.up}")


def page(command: Page) -> int:
    """`taichi-nerf page`"""
    from ..export.page import write_page

    output = _output(command)
    with Progress("packing") as line:
        tree, looks = _of_file(command) if command.run.suffix.lower() == ".npz" else _of_run(command)
        make_folder(output.parent)
        size = write_page(output, tree, name=command.name or command.run.absolute().stem, megabytes=command.megabytes,
                          on_stage=lambda done, total: line.count(done, total, "codebooks"), **looks)
    result(f"{size / 1e6:.1f} MB: {quoted(output)}")
    return 0


def _of_file(command: Page) -> "tuple[SvoxTree, dict]":
    """An octree, and what `write_page` should know of how it is looked at."""
    from ..data.svox import read_svox

    return read_svox(command.run), {"up": command.up or (0.0, 0.0, 1.0)}


def _of_run(command: Page) -> "tuple[SvoxTree, dict]":
    """The same of a run, which knows its cameras and what is behind the scene."""
    from .. import paths, runtime
    from ..data.placement import up_axis
    from ..export.page import poster_camera
    from ..models.views import render_view
    from ..training import checkpoint
    from ..training.evaluate import GREY
    from ..training.folder import RunFolder

    run = RunFolder.open(command.run)
    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    model = checkpoint.load(run.path)
    if not hasattr(model, "as_svox"):
        raise UserError(f"a page shows octrees, and {run.path} is a run of {run.config.model.kind}; make an octree of "
                        f"it with taichi-nerf octree {quoted(run.path)}, and give the run that comes out")
    scene = run.cameras_scene()
    cameras, start, grey = scene.model_cameras("train"), paths.orbit(scene, 1), GREY[scene.background]
    poster = render_view(model, poster_camera(start), 0, background=grey).colour
    return model.as_svox(), {"start": start, "cameras": cameras, "poster": poster, "background": (grey,) * 3,
                             "up": up_axis(cameras.camera_to_world) if command.up is None else command.up}


def _output(command: Page) -> Path:
    """The new file. Raises UserError where there is one, or none can be."""
    from ..training.folder import check_output

    beside = command.run.with_suffix(".html") if command.run.suffix.lower() == ".npz" else command.run / "page.html"
    output = beside if command.output is None else command.output
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output} is no name of a page; give one that ends in .html")
    if output.exists():
        raise UserError(f"{output} exists; choose another --output")
    check_output(output)
    return output
