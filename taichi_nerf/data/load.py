"""`load_scene`: recognise what lies in a folder and load it, or compute a built-in scene."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from ..config import Perturbation, SceneConfig, SettingError
from ..errors import UserError
from .blender import SPLIT_NAMES, load_blender, split_files
from .blocks import Block, check_block, within_block
from .colmap import load_colmap
from .colmap_model import find_model
from .computed import check_builtin
from .foreign import advice_on_pictures, advice_on_video, export_of, is_video
from .frames import Problems
from .llff import load_llff
from .mega_nerf import is_mega_nerf, load_mega_nerf
from .multiscale import METADATA_FILE, check_scales, load_multiscale, with_scales
from .nerfies import is_nerfies, load_nerfies
from .nsvf import is_nsvf, load_nsvf
from .perturb import with_perturbed_training
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
    "mega-nerf": (is_mega_nerf, load_mega_nerf),
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
BUILTIN_RESOLUTION = 200
_MARKS = (
    "transforms.json, transforms_train.json, transforms_val.json or transforms_test.json, a COLMAP model (cameras.bin "
    "and images.bin, or .txt, in sparse/0), poses_bounds.npy, metadata.json (multi-scale), nor the folder of Nerfies, "
    "Phototourism, NSVF or Mega-NeRF"
)


def load_scene(
    path: str | Path | SceneConfig,
    *,
    splits: Sequence[str] | None = None,
    every: Mapping[str, int] | None = None,
    strict: bool = True,
    on_image: Callable[[int, int], None] | None = None,
    check: Callable[[Scene], object] | None = None,
    **settings,
) -> Scene:
    """Load the scene in the folder `path`, or in the transforms file `path`, or what a SceneConfig says.

    The format is recognised from what the folder holds; FORMATS has all, docs/formats.md describes them. A built-in
    scene is computed on the current runtime.

    Args:
        splits: the splits to load, all by default. Images of the others are not opened.
        every: for splits that the scene itself brings, load every K-th view only, as in `{"test": 8}`; the other
            images are not opened. It does not apply where `test_every` chose the test images.
        strict: raise at the first image or pose that cannot be used; otherwise leave it out and say so in
            `Scene.problems`.
        on_image: `on_image(done, total)` is told of each decoded image.
        check: is told of the scene before the images are decoded, which takes long: they are blank then. It may raise
            UserError. It is not told of a scene that is computed, nor of one that has `scales` or is a `block` later.
        settings: `downscale`, `scales`, `test_every`, `background`, `format`, `orient`, `axes`, `world_to_camera`,
            `skip_missing`, `exposure`, `alpha`, `masks`, `cut_out`, `cache`, `perturb`, as SceneConfig describes them;
            beside a SceneConfig, in place of its own. `test_every` holds out images where the scene has no splits, and
            `cut_out` is for scenes whose masks are read.

    Raises:
        UserError: one sentence that names the file, what is wrong with it and what to do.
    """
    config = _scene_config(path, settings)
    request = Request(
        downscale=config.downscale,
        test_every=config.test_interval,
        splits=None if splits is None else tuple(_known_splits(splits)),
        every={name: _whole(f"every {name}", k, 1) for name, k in (every or {}).items()},
        problems=Problems(strict, config.skip_missing or None),
        orient=config.orient,
        axes=config.axes,
        world_to_camera=config.world_to_camera,
        exposure=config.exposure,
        alpha=config.alpha,
        masks=config.masks,
        cut_out=config.cut_out,
        cache=config.cache,
        on_image=on_image,
    )
    block = None if config.block is None else Block(centre=config.block[:3], radius=config.block[3])

    def check_undecoded(scene: Scene):
        if block is not None:
            check_block(scene, block)
        elif check is not None and config.scales == 1:
            check(scene)
        check_scales(scene, config.scales)

    computed = config.builtin is not None
    scene = _computed(config.builtin, request) if computed else _read(config, request, check_undecoded)
    scene = replace(scene, background=config.background or scene.background)
    if config.perturb is not None:
        every = 1 if scene.held_out else request.every.get("train", 1)
        scene = with_perturbed_training(scene, config.perturb, every)
    if block is not None:
        scene = within_block(scene, block)
    return with_scales(scene, config.scales)


def check_place(config: SceneConfig) -> None:
    """Raises UserError where `config` says no scene, as far as a look at its folder tells: what `load_scene` refuses
    before it reads any file of it."""
    if config.builtin is not None:
        check_builtin(config.builtin)
        _computed_size(config.downscale)
        return
    _loader(_place_of(config), config)


def _scene_config(path: str | Path | SceneConfig, settings: Mapping) -> SceneConfig:
    """The settings of a scene, checked. Raises UserError."""
    found = {**(vars(path) if isinstance(path, SceneConfig) else {"path": str(Path(path))}), **settings}
    found |= {name: check(name.replace("_", "-"), found[name]) for name, check in _CHECKS.items() if name in found}
    if not found.get("masks", True):
        found["cut_out"] = False  # there is nothing to cut out with
    try:
        return SceneConfig(**found)
    except SettingError as error:
        raise UserError(f"{error}; give another value") from None


def _computed(name: str, request: Request) -> Scene:
    """The built-in scene `name`."""
    from .builtin import builtin_scene, views_of  # which needs a runtime

    wanted = [split for split in SPLIT_NAMES if request.wants(split)]
    scene = builtin_scene(name, resolution=_computed_size(request.downscale), views=views_of(name),
                          splits=wanted)
    splits = dict(scene.splits)
    for split, k in request.every.items():
        if split in splits and k > 1:
            splits[split] = splits[split].subset(slice(None, None, k))
    return replace(scene, splits=splits)


def _computed_size(downscale: int) -> int:
    """Pixels along a side of a built-in scene. Raises UserError where none is left."""
    if downscale > BUILTIN_RESOLUTION:
        raise UserError(f"built-in scenes are of {BUILTIN_RESOLUTION} x {BUILTIN_RESOLUTION} pixels, too small for "
                        f"--downscale {downscale}; use a smaller number")
    return BUILTIN_RESOLUTION // downscale


def _read(config: SceneConfig, request: Request, check: Callable[[Scene], object]) -> Scene:
    """The scene in a folder or a file, which `check` is told of before its images are decoded."""
    path = _place_of(config)
    load = _loader(path, config)
    request = replace(request, folder=path if path.is_dir() else path.parent)
    try:
        scene = load(request)
        check(scene)
        scene = request.decoded(scene)
        return replace(scene, problems=[*scene.problems, *request.problems.warnings])
    except UserError as error:
        found = request.problems.found
        if not found:
            raise
        raise UserError(f"{error} (after {len(found)} problems; the first: {found[0]})") from None


def _place_of(config: SceneConfig) -> Path:
    """Where the scene is. Raises UserError where nothing is there."""
    path = Path(config.path).expanduser()
    if not _exists(path):
        raise UserError(f"{path} does not exist; give the folder of a scene")
    return path


def _loader(path: Path, config: SceneConfig) -> Callable[[Request], Scene]:
    """What loads the scene at `path`. Raises UserError where nothing does."""
    format = config.format
    if path.is_file():
        if format not in (None, "blender", "transforms"):
            raise UserError(f"{path} is a file, and a scene of the format {format} is a folder; give that")
        return _loader_of_file(path)
    if not path.is_dir():
        raise UserError(f"{path} is neither a folder nor a file; give the folder of a scene")
    for name, (recognised, load) in FORMATS.items():
        if (format is None or name == format) and recognised(path):
            _check_axes(name, config)
            return partial(_load_folder, path, name, load)
    if format is not None:
        known = [name for name, (recognised, _) in FORMATS.items() if recognised(path)]
        raise UserError(
            f"{path} is no scene of the format {format}; it is {' and '.join(known) or 'of no known format'}"
        )
    if (export := export_of(path)) is not None:
        raise UserError(export)
    raise UserError(f"{path} is no scene of a known format: it holds neither {_MARKS}; {_advice(path)}")


def _load_folder(path: Path, name: str, load: Callable[[Path, Request], Scene], request: Request) -> Scene:
    scene = load(path, request)
    also = [other for other, (known, _) in FORMATS.items() if other != name and known(path)]
    hint = [f"the folder is also one of {', '.join(also)}: --format reads it as that"] if also else []
    return replace(scene, notes=[*scene.notes, *hint])


def _check_axes(format: str, config: SceneConfig):
    """Raises UserError where the axes are those of the format, and others are asked for."""
    if format not in ("blender", "transforms", "multiscale") and (config.axes != "opengl" or config.world_to_camera):
        raise UserError(f"--axes and --world-to-camera are for transforms files; the format {format} says itself what "
                        "its poses are: leave them out")


def _loader_of_file(path: Path) -> Callable[[Request], Scene]:
    if is_video(path):
        raise UserError(advice_on_video(path))
    if path.suffix.lower() != ".json":
        raise UserError(f"{path} is not a transforms file (*.json); give the folder of a scene")
    if path in split_files(path.parent).values():
        return partial(load_blender, path.parent)
    return partial(load_multiscale if path.name == METADATA_FILE else load_transforms, path)


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


def _stops(name: str, value: float) -> float:
    if not -64 <= value <= 64:
        raise UserError(f"--{name} is {value}; it must be a number of stops from -64 to 64")
    return float(value)


_CHECKS: dict[str, Callable] = {
    "downscale": lambda name, value: _whole(name, value, 1),
    "test_every": lambda name, value: None if value is None else _whole(name, value, 0),
    "orient": lambda name, value: _one_of(name, value, ORIENTATIONS),
    "axes": lambda name, value: _one_of(name, value, AXES),
    "alpha": lambda name, value: _one_of(name, value, ("auto", "background", "mask")),
    "exposure": _stops,
    "format": lambda name, value: _one_of(name, value, FORMATS),
    "perturb": lambda name, value: _one_of(name, value, get_args(Perturbation)),
}


def _known_splits(names: Sequence[str]) -> Sequence[str]:
    for name in (names := [names] if isinstance(names, str) else list(names)):
        if name not in SPLIT_NAMES:
            raise UserError(f"split '{name}' is unknown; it must be one of {', '.join(SPLIT_NAMES)}")
    return names
