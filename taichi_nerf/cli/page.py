"""`taichi-nerf page`: a trained octree as one file that a browser opens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..config import SettingError
from ..errors import UserError
from ..output import quoted, result
from ..progress import Progress
from .options import Common, make_folder


@dataclass(frozen=True, kw_only=True)
class Page(Common):
    """Write a page that shows an octree in a browser: one file, which needs no server and no network.

    Try `taichi-nerf page runs/lego-octree -o lego.html`, and open lego.html by a double click.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder that taichi-nerf octree wrote."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.html")] = None
    """A new file; by default page.html in the run."""
    megabytes: Annotated[float, arg(metavar="MB")] = 50.0
    """Largest size of the file: above some 65 browsers on phones give up."""
    name: Annotated[str | None, arg(metavar="TEXT")] = None
    """What the page is called; by default as the run."""

    def __post_init__(self):
        if not 0 < self.megabytes <= 1000:
            raise SettingError(f"megabytes must be above 0 and at most 1000, got {self.megabytes:g}")


def page(command: Page) -> int:
    """`taichi-nerf page`"""
    from .. import paths, runtime
    from ..data.placement import up_axis
    from ..export.page import poster_camera, tree_arrays, write_page
    from ..models.views import render_view
    from ..training import checkpoint
    from ..training.evaluate import GREY
    from ..training.folder import RunFolder

    run = RunFolder.open(command.run)
    output = _output(command, run.path)
    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    model = checkpoint.load(run.path)
    arrays = tree_arrays(model)
    scene = run.cameras_scene()
    cameras, start, grey = scene.model_cameras("train"), paths.orbit(scene, 1), GREY[scene.background]
    make_folder(output.parent)
    with Progress("packing") as line:
        poster = render_view(model, poster_camera(start), 0, background=grey).colour
        size = write_page(output, *arrays, name=command.name or run.path.absolute().name, start=start, cameras=cameras,
                          up=up_axis(cameras.camera_to_world), background=(grey,) * 3, poster=poster,
                          megabytes=command.megabytes,
                          on_stage=lambda done, total: line.count(done, total, "codebooks"))
    result(f"{size / 1e6:.1f} MB: {quoted(output)}")
    return 0


def _output(command: Page, run: Path) -> Path:
    """The new file. Raises UserError where there is one, or none can be."""
    from ..training.folder import check_output

    output = run / "page.html" if command.output is None else command.output
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output} is no name of a page; give one that ends in .html")
    if output.exists():
        raise UserError(f"{output} exists; choose another --output")
    check_output(output)
    return output
