"""`taichi-nerf locate`: where a photo was taken."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..config import SettingError, system_of
from ..errors import UserError
from ..output import quoted, result, result_json, say
from ..progress import Progress
from .options import Common, make_folder

if TYPE_CHECKING:
    import numpy as np

    from ..data.scene import Cameras, Scene
    from ..training.folder import RunFolder
    from ..training.locate import Located

MOST = 256  # candidates that are looked at first
NEAR = (30.0, 0.6)  # degrees, and a part of the scene, around the photo that is named
LOST, UNSURE = 15.0, 0.1  # dB, and confidence, below which the place is likely wrong
ALIKE = 0.01  # by what part the shapes of two photos may differ and still be of one lens, where they are large
SHADES = 8  # levels of 255 that a photo differs by within itself, at least, if it is to show anything
LOOKED_AT = 200  # rows and columns of a photo for that


@dataclass(frozen=True, kw_only=True)
class Locate(Common):
    """Say where a photo of the scene was taken: cameras are fitted until the trained model shows what the photo shows.

    Try `taichi-nerf locate runs/lego-20260101-120000 photo.png`, and look at the picture beside the file that it names.
    """

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder that train wrote."""
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")]
    """An image file. It is taken to have the lens of the training cameras, unless --fov says otherwise."""
    near: Annotated[str | None, arg(metavar="NAME")] = None
    """A photo of the scene, by its name without folder and ending, that was taken from about the same place; by default
    the search begins at all training cameras."""
    fov: Annotated[float | None, arg(metavar="DEGREES")] = None
    """Horizontal field of view of the photo."""
    seed: int = 0
    """Of everything random."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE.json")] = None
    """A new camera-path file, which render takes; the picture goes beside it. By default RUN/located/PHOTO.json."""
    json: bool = False
    """Print one line of JSON instead of a summary."""

    def __post_init__(self):
        if self.fov is not None and not 1 <= self.fov <= 170:
            raise SettingError(f"fov must be from 1 to 170 degrees, got {self.fov:g}")


def locate(command: Locate) -> int:
    """`taichi-nerf locate`"""
    from ..training.folder import RunFolder, is_cut

    run = RunFolder.open(command.run)
    if is_cut(run.path):
        raise UserError(f"{run.path} is cut into blocks; give one of them, as {run.path / 'blocks' / '00'}")
    if system_of(run.config.model).moves or system_of(run.config.model).made_by is not None:
        raise UserError("photos are located in what stands still and was trained on images, and "
                        f"{run.path} is a run of {run.config.model.kind}; give one of another model")
    photo, scene, output = _read(command.photo), run.cameras_scene(), _output(command)
    _check_shows_something(command.photo, photo, scene.background)
    from .. import paths, runtime
    from ..training import checkpoint
    from ..training.files import write_text
    from ..training.locate import locate as located

    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
    candidates = _candidates(command, run, scene, photo)
    model = checkpoint.load(run.path)
    with Progress("locating") as line:
        found = located(model, scene, photo, candidates, seed=command.seed, on_step=lambda done, total: line.show(
            done / total, f"{done} of {total} steps, {line.left(done / total)}"))
    make_folder(output.parent)
    write_text(output, paths.to_json(scene.model_cameras(found.camera), scene))
    _draw(model, scene, photo, found, output.with_suffix(".png"))
    place, ahead = found.camera.position[0] + scene.origin, -found.camera.camera_to_world[0, :, 2]
    if found.psnr < LOST or found.confidence < UNSURE:
        say(f"warning: the photo was likely not taken there: the model shows it with {found.psnr:.1f} dB, and the "
            f"confidence is {found.confidence:.2f}{_what_may_help(command)}")
    known = math.isfinite(found.degrees)
    if command.json:
        result_json({"position": place.tolist(), "view_direction": ahead.tolist(), "psnr": found.psnr,
                     "confidence": found.confidence, "degrees": found.degrees if known else None,
                     "units": found.units if known else None, "file": str(output)})
        return 0
    bounds = (f"its directions are known to {found.degrees:.2g} degrees at best, its place to {found.units:.2g} units, "
              "if it is this place," if known else "nothing is to be seen from there that would tell the place,")
    result(f"{command.photo.name}: taken at {_numbers(place)}, looking along {_numbers(ahead)}",
           f"the model shows it with {found.psnr:.1f} dB; {bounds} of which the confidence is {found.confidence:.2f}",
           f"{quoted(output)}, and beside it a picture; the view: taichi-nerf render {quoted(run.path)} --path "
           f"{quoted(output)}")
    return 0


def _what_may_help(command: Locate) -> str:
    """Of what may be known of the photo that which was not told."""
    left = [f"--{name}" for name in ("near", "fov") if getattr(command, name) is None]
    return f"; give {' or '.join(left)}, if you know {'them' if len(left) > 1 else 'it'}" if left else ""


def _read(photo: Path) -> "np.ndarray":
    """[H, W, 4] uint8. Raises UserError."""
    from ..data.images import read_image

    if not photo.is_file():
        raise UserError(f"{photo} is no file; give the path of a photo")
    try:
        return read_image(photo)
    except UserError as error:
        raise UserError(f"{str(error).partition(';')[0]}; give another photo") from None


def _check_shows_something(file: Path, photo: "np.ndarray", background: str):
    """Raises UserError for a photo of one colour, which any camera that looks aside shows as well."""
    import numpy as np

    height, width = photo.shape[:2]
    some = photo[:: -(-height // LOOKED_AT), :: -(-width // LOOKED_AT)].astype(np.float32)
    alpha = some[..., 3:] / 255
    seen = some[..., :3] * alpha + (1 - alpha) * (255 if background == "white" else 0)
    if np.ptp(seen, axis=(0, 1)).max() < SHADES:
        raise UserError(f"{file} shows one colour alone, which says nothing of where it was taken; give another photo")


def _alike(size: "np.ndarray", photo: tuple[int, int]) -> "np.ndarray":
    """[N] bool: whether pictures of `size` [N, 2] may be the photo, of this width and height, made smaller or larger:
    up to the rounding of a side."""
    import numpy as np

    height = size[:, 0] * photo[1] / photo[0]
    return np.abs(size[:, 1] - height) <= np.maximum(ALIKE * height, 1)


def _candidates(command: Locate, run: "RunFolder", scene: "Scene", photo: "np.ndarray") -> "Cameras":
    """Cameras in the world that may have taken the photo, with its lens."""
    from dataclasses import replace

    import numpy as np

    from ..training.locate import around

    height, width = photo.shape[:2]
    cameras = _near(command, run, scene)
    if command.fov is None:
        alike = _alike(cameras.size, (width, height))
        if not alike.any():
            raise UserError(f"{command.photo} has {width} x {height} pixels, and the training cameras have another "
                            f"shape ({cameras.size[0, 0]} x {cameras.size[0, 1]}), so that their lens is not its; "
                            "give its horizontal field of view with --fov DEGREES")
        cameras = cameras.subset(alike)
    cameras = cameras.resized((width, height))
    if command.fov is not None:
        focal = 0.5 * width / math.tan(0.5 * math.radians(command.fov))
        cameras = replace(cameras, focal=np.full_like(cameras.focal, focal), lens=np.zeros_like(cameras.lens),
                          principal=np.full_like(cameras.principal, 0.5) * (width, height),
                          distortion=np.zeros_like(cameras.distortion))
    if command.near is not None:
        return around(cameras, scene, degrees=NEAR[0], share=NEAR[1], count=MOST, seed=command.seed)
    return cameras.subset(np.unique(np.linspace(0, len(cameras) - 1, MOST).round().astype(int)))


def _near(command: Locate, run: "RunFolder", scene: "Scene") -> "Cameras":
    """The cameras to begin at: of the photo that is named, or of all of the training."""
    from ..training.named_photos import home_of

    if command.near is None:
        return scene.splits["train"].cameras
    names = {split: list(each.images.names) for split, each in scene.splits.items()}
    split, name = home_of(command.near, names, run.path)
    return scene.splits[split].cameras.subset([names[split].index(name)])


def _draw(model, scene: "Scene", photo: "np.ndarray", found: "Located", file: Path):
    """The photo, what the model shows to the camera that was found, and their difference."""
    import numpy as np

    from ..models.views import render_view
    from ..pictures import error_picture, side_by_side, to_uint8, write_png
    from ..training.evaluate import GREY
    from ..training.locate import smaller

    grey, photo = GREY[scene.background], smaller(photo, 400)
    camera = scene.model_cameras(found.camera.resized(photo.shape[1::-1]))
    shown = render_view(model, camera, 0, background=grey, shot=found.shot).colour
    alpha = photo[..., 3:] / 255
    truth = (photo[..., :3] / 255 * alpha + (1 - alpha) * grey).astype(np.float32)
    write_png(file, side_by_side(truth, to_uint8(shown), error_picture(shown, truth),
                                 captions=["photo", "the model from there", "error"]))


def _numbers(values) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _output(command: Locate) -> Path:
    """The new file. Raises UserError where there is one, or none can be."""
    from ..training.folder import check_output

    output, number = command.output, 1
    if output is None:
        output = command.run / "located" / f"{command.photo.stem}.json"
        while output.exists():
            number += 1
            output = output.with_name(f"{command.photo.stem}_{number}.json")
    if output.suffix.lower() != ".json":
        raise UserError(f"--output {output} is no name of a camera path; give one that ends in .json")
    for file in (output, output.with_suffix(".png")):
        if file.exists():
            raise UserError(f"{file} exists; choose another --output")
        check_output(file)
    return output
