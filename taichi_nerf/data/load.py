"""`load_scene`: recognise what lies in a folder and load it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import UserError
from .blender import SPLIT_NAMES, load_blender, split_files
from .cache import CacheMode
from .colmap import load_colmap
from .colmap_model import find_model
from .foreign import advice_on_pictures, advice_on_video, export_of, is_video
from .frames import Problems
from .llff import load_llff
from .multiscale import METADATA_FILE, load_multiscale
from .nerfies import is_nerfies, load_nerfies
from .nsvf import is_nsvf, load_nsvf
from .phototourism import is_phototourism, load_phototourism
from .placement import ORIENTATIONS
from .poses import AXES
from .scene import Scene
from .splits import Request
from .transforms import load_transforms

# By name: whether a folder is of the format, and what loads it. A folder that is of several is of the first.
FORMATS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, Request], Scene]]] = {
    "blender": (lambda folder: bool(split_files(folder)), load_blender),
    "nerfies": (is_nerfies, load_nerfies),
    "phototourism": (is_phototourism, load_phototourism),
    "nsvf": (is_nsvf, load_nsvf),
    "transforms": (
        lambda folder: (folder / "transforms.json").is_file(),
        lambda folder, request: load_transforms(folder / "transforms.json", request),
    ),
    "colmap": (lambda folder: find_model(folder) is not None, load_colmap),
    "llff": (lambda folder: (folder / "poses_bounds.npy").is_file(), load_llff),
    "multiscale": (
        lambda folder: (folder / METADATA_FILE).is_file() and not is_nerfies(folder) and export_of(folder) is None,
        lambda folder, request: load_multiscale(folder / METADATA_FILE, request),
    ),
}
_MARKS = (
    "transforms.json, transforms_train.json, transforms_val.json or transforms_test.json, a COLMAP model (cameras.bin "
    "and images.bin, or .txt, in sparse/0), poses_bounds.npy, metadata.json (multi-scale), nor the folder of Nerfies, "
    "Phototourism or NSVF"
)


def load_scene(
    path: str | Path,
    *,
    downscale: int = 1,
    test_every: int = 8,
    splits: Sequence[str] | None = None,
    every: Mapping[str, int] | None = None,
    strict: bool = True,
    format: str | None = None,
    orient: str | None = None,
    axes: Literal["opengl", "opencv"] = "opengl",
    world_to_camera: bool = False,
    skip_missing: bool | None = False,
    exposure: float = 0.0,
    alpha: Literal["auto", "background", "mask"] = "auto",
    masks: bool = True,
    cut_out: bool = False,
    cache: CacheMode = "auto",
    on_image: Callable[[int, int], None] | None = None,
) -> Scene:
    """Load the scene in the folder `path`, or in the transforms file `path`.

    The format is recognised from what the folder holds; FORMATS has all, docs/formats.md describes them.

    Args:
        downscale: make the images smaller by this whole number (area filter, premultiplied alpha); cameras
        follow. test_every: in a format without splits, hold out every K-th image for testing; 0 holds out
        none. splits: the splits to load, all by default. Images of the others are not opened. every: for
        splits that the scene itself brings, load every K-th view only, as in `{"test": 8}`; the other
            images are not opened. It does not apply where `test_every` chose the test images.
        strict: raise at the first image or pose that cannot be used; otherwise leave it out and say so in
            `Scene.problems`.
        format: one of FORMATS: what to read a folder as that is of several formats.
        orient: `up`, `pca` or `none`: how the model is turned against the file, see `placement.py`; by default as the
            format wants.
        axes: of the cameras in transforms files: `opengl` (x right, y up, z back) or `opencv` (right, down, forward).
        world_to_camera: the matrices of transforms files are world to camera.
        skip_missing: leave out images that are not there, and warn of them; None: as long as they are few.
        exposure: stops by which images of more than 8 bits are made brighter.
        alpha: `background`, a transparent pixel shows the background; `mask`, it is left out; `auto`, as their share
            and place say, in `ground.py`.
        masks: leave out of training and scores what the masks of the scene cover.
        cut_out: take what the masks of an object cover for empty instead: the object alone, before the background.
        cache: where the pixels are kept: in `memory`, on `disk`, or `auto`: on disk if they need more than half of
            the memory.
        on_image: `on_image(done, total)` is told of each decoded image.

    Raises:
        UserError: one sentence that names the file, what is wrong with it and what to do.
    """
    path = Path(path).expanduser()
    if not _exists(path):
        raise UserError(f"{path} does not exist; give the folder of a scene")
    request = Request(
        downscale=_whole("downscale", downscale, 1),
        test_every=_whole("test-every", test_every, 0),
        splits=None if splits is None else tuple(_known_splits(splits)),
        every={name: _whole(f"every {name}", k, 1) for name, k in (every or {}).items()},
        problems=Problems(strict, skip_missing),
        orient=_one_of("orient", orient, ORIENTATIONS),
        axes=_one_of("axes", axes, AXES),
        world_to_camera=bool(world_to_camera),
        exposure=_stops(exposure),
        alpha=_one_of("alpha", alpha, ("auto", "background", "mask")),
        masks=masks,
        cut_out=cut_out,
        cache=cache,
        folder=path if path.is_dir() else path.parent,
        on_image=on_image,
    )
    _one_of("format", format, FORMATS)
    try:
        scene = _load(path, request, format)
        return replace(scene, problems=[*scene.problems, *request.problems.warnings])
    except UserError as error:
        found = request.problems.found
        if not found:
            raise
        raise UserError(f"{error} (after {len(found)} problems; the first: {found[0]})") from None


def _load(path: Path, request: Request, format: str | None) -> Scene:
    if path.is_file():
        if format not in (None, "blender", "transforms"):
            raise UserError(f"{path} is a file, and a scene of the format {format} is a folder; give that")
        return _load_file(path, request)
    for name, (recognised, load) in FORMATS.items():
        if (format is None or name == format) and recognised(path):
            _check_axes(name, request)
            scene = load(path, request)
            also = [other for other, (known, _) in FORMATS.items() if other != name and known(path)]
            hint = [f"the folder is also one of {', '.join(also)}: --format reads it as that"] if also else []
            return replace(scene, notes=[*scene.notes, *hint])
    if format is not None:
        known = [name for name, (recognised, _) in FORMATS.items() if recognised(path)]
        raise UserError(
            f"{path} is no scene of the format {format}; it is {' and '.join(known) or 'of no known format'}"
        )
    if (export := export_of(path)) is not None:
        raise UserError(export)
    raise UserError(f"{path} is no scene of a known format: it holds neither {_MARKS}; {_advice(path)}")


def _check_axes(format: str, request: Request):
    """Raises UserError where the axes are those of the format, and others are asked for."""
    if format not in ("blender", "transforms", "multiscale") and (request.axes != "opengl" or request.world_to_camera):
        raise UserError(f"--axes and --world-to-camera are for transforms files; the format {format} says itself what "
                        "its poses are: leave them out")


def _load_file(path: Path, request: Request) -> Scene:
    if is_video(path):
        raise UserError(advice_on_video(path))
    if path.suffix.lower() != ".json":
        raise UserError(f"{path} is not a transforms file (*.json); give the folder of a scene")
    if path in split_files(path.parent).values():
        return load_blender(path.parent, request)
    if path.name == METADATA_FILE:
        return load_multiscale(path, request)
    return load_transforms(path, request)


def _advice(folder: Path) -> str:
    """What a folder that is no scene may be meant to be."""
    if (folder / "database.db").is_file():
        return "COLMAP has not yet made a model of it"
    try:
        inside = sorted(
            p.name for p in folder.iterdir() if any(recognised(p) for recognised, _ in FORMATS.values())
        )
    except OSError as error:
        return f"it cannot be listed ({(error.strerror or str(error)).lower()})"
    if inside:
        return f"give one of the scenes in it: {', '.join(inside[:8])}"
    if (advice := advice_on_pictures(folder)) is not None:
        return advice
    return "give the folder that holds one of them"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _whole(name: str, value, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise UserError(f"--{name} is {value}; it must be a whole number of at least {least}")
    return int(value)


def _one_of(name: str, value, options) -> str | None:
    if value is not None and value not in tuple(options):
        raise UserError(f"--{name} is {value}; it must be one of {', '.join(options)}")
    return value


def _stops(value: float) -> float:
    if not -64 <= value <= 64:
        raise UserError(f"--exposure is {value}; it must be a number of stops from -64 to 64")
    return float(value)


def _known_splits(names: Sequence[str]) -> Sequence[str]:
    for name in (names := [names] if isinstance(names, str) else list(names)):
        if name not in SPLIT_NAMES:
            raise UserError(f"split '{name}' is unknown; it must be one of {', '.join(SPLIT_NAMES)}")
    return names
