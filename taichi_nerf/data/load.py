"""`load_scene`: recognise what lies in a folder and load it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from .blender import SPLIT_NAMES, load_blender, split_files
from .frames import Problems
from .multiscale import METADATA_FILE, load_multiscale
from .scene import Scene
from .splits import Request
from .transforms import load_transforms


def load_scene(
    path: str | Path,
    *,
    downscale: int = 1,
    test_every: int = 8,
    splits: Sequence[str] | None = None,
    every: Mapping[str, int] | None = None,
    strict: bool = True,
) -> Scene:
    """Load the scene in the folder `path`, or in the transforms file `path`.

    Formats, recognised from what the folder holds: `transforms_train/val/test.json` (Blender scenes),
    `transforms.json` (instant-ngp, nerfstudio), `metadata.json` (multi-scale scenes of mip-NeRF).

    Args:
        downscale: make the images smaller by this whole number (area filter, premultiplied alpha); cameras
        follow. test_every: in a format without splits, hold out every K-th image for testing; 0 holds out
        none. splits: the splits to load, all by default. Images of the others are not opened. every: for
        splits that the scene itself brings, load every K-th view only, as in `{"test": 8}`; the other
            images are not opened. It does not apply where `test_every` chose the test images.
        strict: raise at the first image or pose that cannot be used; otherwise leave it out and say so in
            `Scene.problems`.

    Raises:
        UserError: one sentence that names the file, what is wrong with it and what to do.
    """
    path = Path(path).expanduser()
    request = Request(
        downscale=_whole("downscale", downscale, 1),
        test_every=_whole("test-every", test_every, 0),
        splits=None if splits is None else tuple(_known_splits(splits)),
        every={name: _whole(f"every {name}", k, 1) for name, k in (every or {}).items()},
        problems=Problems(strict),
    )
    if not _exists(path):
        raise UserError(f"{path} does not exist; give the folder of a scene")
    try:
        return _load(path, request)
    except UserError as error:
        found = request.problems.found
        if not found:
            raise
        raise UserError(f"{error} (after {len(found)} problems; the first: {found[0]})") from None


def _load(path: Path, request: Request) -> Scene:
    if path.is_file():
        return _load_file(path, request)
    if split_files(path):
        return load_blender(path, request)
    if (path / "transforms.json").is_file():
        return load_transforms(path / "transforms.json", request)
    if (path / METADATA_FILE).is_file():
        return load_multiscale(path / METADATA_FILE, request)
    raise UserError(
        f"{path} is no scene of a known format: it holds neither transforms_train.json, transforms_val.json "
        f"or transforms_test.json nor transforms.json nor {METADATA_FILE}; {_advice(path)}"
    )


def _load_file(path: Path, request: Request) -> Scene:
    if path.suffix.lower() != ".json":
        raise UserError(f"{path} is not a transforms file (*.json); give the folder of a scene")
    if path in split_files(path.parent).values():
        return load_blender(path.parent, request)
    if path.name == METADATA_FILE:
        return load_multiscale(path, request)
    return load_transforms(path, request)


def _advice(folder: Path) -> str:
    """What a folder that is no scene may be meant to be."""
    if any((folder / name).exists() for name in ("sparse", "poses_bounds.npy", "cameras.bin", "database.db")):
        return (
            "this is a COLMAP or LLFF folder: convert it first, for example with nerfstudio's ns-process-data"
        )
    try:
        inside = sorted(
            p.name for p in folder.iterdir() if split_files(p) or (p / "transforms.json").is_file()
        )
    except OSError as error:
        return f"it cannot be listed ({(error.strerror or str(error)).lower()})"
    if inside:
        return f"give one of the scenes in it: {', '.join(inside[:8])}"
    return "give the folder that holds the transforms file"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _whole(name: str, value, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise UserError(f"--{name} is {value}; it must be a whole number of at least {least}")
    return int(value)


def _known_splits(names: Sequence[str]) -> Sequence[str]:
    for name in (names := [names] if isinstance(names, str) else list(names)):
        if name not in SPLIT_NAMES:
            raise UserError(f"split '{name}' is unknown; it must be one of {', '.join(SPLIT_NAMES)}")
    return names
