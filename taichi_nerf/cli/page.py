"""`taichi-nerf page`: an octree, or a field, as one file that a browser opens."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..config import SettingError, system_of
from ..errors import UserError
from ..output import quoted, result
from ..progress import Progress
from .options import Common, check_unit, make_folder

if TYPE_CHECKING:
    from ..export.page import PageScene
    from ..training.folder import RunFolder

PACKED = {"octree": 0.9, "field": 0.1}  # the share of what is packed, about; the picture has the rest


@dataclass(frozen=True, kw_only=True)
class Page(Common):
    """Write a page that shows an octree, or a trained field, in a browser: one file, which needs no server and no
    network.

    Try `taichi-nerf page runs/lego-octree -o lego.html`, and open lego.html by a double click.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN|FILE.npz")]
    """Folder that taichi-nerf octree wrote, or an octree in a file of svox or volrend; with --field a run of
    instant-ngp."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.html")] = None
    """A new file; by default page.html in the run, or beside the file of the octree."""
    field: bool = False
    """Put the field itself into the page, not an octree of it: half the size, and nothing to be made first, but the
    browser must have WebGPU, and a graphics card to keep up."""
    megabytes: Annotated[float, arg(metavar="MB")] = 50.0
    """Largest size of the file: above some 65 browsers on phones give up."""
    name: Annotated[str | None, arg(metavar="TEXT")] = None
    """What the page is called; by default as the run or the file."""
    up: Annotated[tuple[float, float, float] | None, arg(metavar="X Y Z")] = None
    """The direction that stays upright, in the octree's space; by default that of the cameras, of a file z."""

    unit: Annotated[float | None, arg(metavar="METRES")] = None
    """How many metres a unit of the scene's file has, for headsets: a page that is served by https, or from the machine
    itself, has a button for them (WebXR). By default such that the page starts 1.5 m away from what it turns around."""

    def __post_init__(self):
        if not 0 < self.megabytes <= 1000:
            raise SettingError(f"megabytes must be above 0 and at most 1000, got {self.megabytes:g}")
        check_unit(self.unit)
        if self.up is not None and not 0 < math.hypot(*self.up) < math.inf:
            raise SettingError(f"up must be a direction, three numbers that are not all 0, got {self.up}")


def page(command: Page) -> int:
    """`taichi-nerf page`"""
    output, run = _output(command), None if _is_file(command) else _checked_run(command)
    from ..export.page import write_page

    with Progress("packing") as line:
        shown, looks = _of_file(command, line) if run is None else _of_run(command, run, line)
        make_folder(output.parent)
        size = write_page(output, shown, name=command.name or command.run.absolute().stem, megabytes=command.megabytes,
                          **looks)
    result(f"{size / 1e6:.1f} MB: {quoted(output)}")
    return 0


def _is_file(command: Page) -> bool:
    return command.run.suffix.lower() == ".npz"


def _of_file(command: Page, line: Progress) -> "tuple[PageScene, dict]":
    """An octree, and what `write_page` should know of how it is looked at."""
    from ..data.svox import read_svox
    from ..export.page import octree_scene

    return octree_scene(read_svox(command.run), on_stage=_codebooks(line)), {"up": command.up or (0.0, 0.0, 1.0),
                                                                             "metres": command.unit}


def _checked_run(command: Page) -> "RunFolder":
    """Raises UserError where its folder tells that no page shows it."""
    from ..training.folder import RunFolder, block_folder, is_cut

    run = RunFolder.open(command.run)
    if is_cut(run.path):
        block = block_folder(run.path, 0)
        raise UserError(f"a page shows one model, and {run.path} is cut into blocks; "
                        f"{_make_an_octree(block, 'of one of them')}; or, where they are of "
                        f"instant-ngp, give {quoted(block)} and --field")
    if system_of(run.config.model).moves:
        raise UserError(f"a page shows what stands still, and {run.path} is a run of {run.config.model.kind}, whose "
                        f"scene moves; make a video with taichi-nerf render {quoted(run.path)} --time 0 1, or look at "
                        f"any of its times with taichi-nerf view {quoted(run.path)}")
    return run


def _of_run(command: Page, run: "RunFolder", line: Progress) -> "tuple[PageScene, dict]":
    """The same of a run, which knows its cameras and what is behind the scene."""
    from .. import paths, runtime
    from ..data.placement import up_axis
    from ..export.page import field_scene, octree_scene, poster_camera
    from ..models.views import render_view
    from ..training import checkpoint
    from ..training.evaluate import GREY

    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    model, kind = checkpoint.load(run.path), run.config.model.kind
    is_octree, is_field = hasattr(model, "as_tree"), hasattr(model, "as_field")
    if command.field and not is_field:
        raise UserError(f"--field puts the field of instant-ngp into a page, and {run.path} is a run of {kind}; "
                        + ("leave out --field" if is_octree else _make_an_octree(run.path)))
    if not command.field and not is_octree:
        raise UserError(f"a page shows octrees, and {run.path} is a run of {kind}; {_make_an_octree(run.path)}"
                        + (", or put the field itself into the page with --field" if is_field else ""))
    scene = run.cameras_scene()
    cameras, start, grey = scene.model_cameras("train"), paths.orbit(scene, 1), GREY[scene.background]
    line.show(0.0, "what stands in the run")
    if command.field:
        shown = field_scene(model.as_field())
    else:
        unbounded = model.config.unbounded
        shown = octree_scene(model.as_tree(), contracted=unbounded, near=model.box.near,
                             empty=model.config.skip if unbounded else None, on_stage=_codebooks(line))
    # one picture is not worth a search for the renderer that is faster
    poster = render_view(model, poster_camera(start), 0, background=grey,
                         renderer="taichi" if model.one_launch() is not None else "auto",
                         on_piece=_poster(line, PACKED["field" if command.field else "octree"])).colour
    return shown, {"start": start, "cameras": cameras, "poster": poster, "background": (grey,) * 3,
                   "metres": None if command.unit is None else command.unit / scene.scale,
                   "up": up_axis(cameras.camera_to_world) if command.up is None else command.up}


def _make_an_octree(run: Path, what: str = "of it") -> str:
    return f"make an octree {what} with taichi-nerf octree {quoted(run)}, and give the run that comes out"


def _codebooks(line: Progress):
    return lambda done, total: line.show(PACKED["octree"] * done / total, f"{done} of {total} codebooks")


def _poster(line: Progress, packed: float):
    """What is told how far the picture is that follows what is `packed`."""
    return lambda done, total: line.show(packed + (1 - packed) * done / total,
                                         f"a picture to begin with, {100 * done / total:.0f} % of it")


def _output(command: Page) -> Path:
    """The new file. Raises UserError where there is one, or none can be."""
    from ..training.folder import check_output

    if command.field and _is_file(command):
        raise UserError(f"--field wants a run of instant-ngp, and {command.run} is an octree; leave out --field")
    beside = command.run.with_suffix(".html") if command.run.suffix.lower() == ".npz" else command.run / "page.html"
    output = beside if command.output is None else command.output
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output} is no name of a page; give one that ends in .html")
    if output.exists():
        raise UserError(f"{output} exists; choose another --output")
    check_output(output)
    return output
