"""`taichi-nerf info`: what is in a scene or a run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..config import Orientation, SceneConfig, SceneFormat, SettingError
from ..errors import UserError
from ..output import result, result_json
from .options import Common, make_folder
from .trained import disk_of, disk_words, trained_words

if TYPE_CHECKING:
    from ..data.inspect import Finding
    from ..data.scene import Scene
    from ..training.folder import RunFolder


MOST_NAMES = 500  # of photos that are listed


@dataclass(frozen=True, kw_only=True)
class Info(Common):
    """Say what is in a scene or a run, and what is suspicious about it; of a file of geometry counts and extent.

    Without an argument it describes the built-in scene.
    """

    path: Annotated[Positional[Path | None], arg(metavar="[SCENE|RUN|FILE]")] = None
    """Folder of a scene, its transforms file, builtin:NAME, a folder that train wrote, or what export wrote: .glb,
    .obj, .ply, .stl, .las, .npz or a folder of depth pictures."""
    format: SceneFormat | None = None
    """What a scene is read as, as of `train`."""
    orient: Orientation | None = None
    """How a scene is turned, as of `train`."""
    axes: Literal["opengl", "opencv"] = "opengl"
    """Of cameras in transforms files, as of `train`."""
    world_to_camera: bool = False
    """The matrices of transforms files are world to camera, as of `train`."""
    picture: Annotated[Path | None, arg(metavar="FILE.png")] = None
    """Draw the cameras' frusta into this new file."""
    json: bool = False
    """Print one JSON object instead of sentences."""

    def __post_init__(self):
        if self.picture is not None and self.picture.suffix.lower() != ".png":
            raise SettingError(f"picture must end in .png, which is what is written, got {self.picture}")


def info(command: Info) -> int:
    """`taichi-nerf info`"""
    from ..data import load_scene
    from ..data.computed import check_builtin
    from ..data.inspect import Finding, describe, draw_frusta, suggestions
    from ..export.facts import GEOMETRY_FILES, facts_of, facts_of_depths, has_depths
    from ..pictures import write_png
    from ..training.folder import CONFIG_FILE, RunFolder, load_training_scene

    if command.picture is not None and command.picture.exists():
        raise UserError(f"{command.picture} exists; choose another --picture")
    if command.path is not None and command.path.suffix.lower() in GEOMETRY_FILES and command.path.is_file():
        return _say_geometry(command, facts_of(command.path))
    if command.path is not None and command.format is None and has_depths(command.path):
        return _say_geometry(command, facts_of_depths(command.path))
    facts, scene, run = [], None, None
    if command.path is not None and (command.path / CONFIG_FILE).is_file():
        run = RunFolder.open(command.path)
        facts, scene = _run_facts(run), run.cameras_scene()
        settings = run.config.scene
    else:
        path = None if command.path is None else str(command.path)
        settings = SceneConfig(path=path, format=command.format, orient=command.orient, axes=command.axes,
                               world_to_camera=command.world_to_camera)
    try:
        if settings.builtin is not None:
            check_builtin(settings.builtin)
            from .. import runtime  # which loads PyTorch

            runtime.init(command.backend, threads=command.threads, mlp=command.mlp)
            scene = load_training_scene(settings)
        else:
            scene = load_scene(dataclasses.replace(settings, scales=1, perturb=None), strict=False)
        facts += describe(scene) if run is None else _described(run, scene)
        facts += [] if run is None else _region_facts(command, run, scene)
        facts += suggestions(scene) if run is None else []
    except UserError as error:
        if scene is None:
            raise
        facts.append(Finding(severity="warning", text=f"the scene cannot be read: {error}"))
    if command.picture is not None:
        make_folder(command.picture.parent)
        write_png(command.picture, draw_frusta(scene))
    if command.json:
        result_json({"name": scene.name, "format": scene.format,
                     "findings": [dataclasses.asdict(finding) for finding in facts]})
    else:
        result(*(f"warning: {f.text}" if f.severity == "warning" else f.text for f in facts))
    return 0


def _say_geometry(command: Info, facts: list[str]) -> int:
    if command.picture is not None:
        raise UserError(f"--picture draws the cameras of scenes and runs, and {command.path} is neither; leave it out")
    if command.json:
        result_json({"name": command.path.name, "findings": [{"severity": "info", "text": fact} for fact in facts]})
    else:
        result(*facts)
    return 0


def _described(run: "RunFolder", scene: "Scene") -> "list[Finding]":
    """The scene of a run, where its model has it."""
    from ..data.inspect import describe
    from ..models.family import space_of

    placed = run.placed(scene)
    space = space_of(run.config.model, placed)
    return describe(placed, space.words, beyond=space.beyond)


def _region_facts(command: Info, run: "RunFolder", scene: "Scene") -> "list[Finding]":
    """Where the regions of the model of a run are in its scene, if it has such."""
    config = run.config.model
    if config.parts == 1:
        return []
    from .. import runtime
    from ..data.inspect import Finding
    from .regions import region_words

    runtime.init(command.backend, threads=command.threads, mlp=command.mlp)  # whose kernels make the rays
    return [Finding(severity="info", text=region_words(config, run.placed(scene)))]


def _names(run: "RunFolder") -> str:
    """Of its photos, those of other splits as `test/NAME`; of very many the first."""
    from ..training.folder import CAMERAS_FILE

    found = [name if split == "train" else f"{split}/{name}"
             for split, its in sorted(run.cameras_scene().splits.items(), key=lambda item: item[0] != "train")
             for name in its.images.names]
    more = len(found) - MOST_NAMES
    rest = f" and {more} more, which {run.path / CAMERAS_FILE} lists" if more > 0 else ""
    return ", ".join(found[:MOST_NAMES]) + rest


def _run_facts(run: "RunFolder") -> "list[Finding]":
    """What a run folder says of its training."""
    from ..data.inspect import Finding
    from ..training import checkpoint
    from ..training.blocks import read_blocks
    from ..training.files import read_json
    from ..training.folder import METRICS_FILE, is_cut
    from .scores import checked_scores, means, of_scales

    facts = trained_words(run)
    if is_cut(run.path):
        blocks = read_blocks(run.path)
        facts.append(f"cut into {len(blocks)} blocks, of which {sum(each.trained for each in blocks)} are trained")
    facts += [f"--appearance: {run.config.appearance}"] if run.config.appearance is not None else []
    if getattr(run.config.model, "appearance", 0):
        facts.append(f"photos for render --appearance: {_names(run)}")
    warnings = []
    try:
        if not is_cut(run.path):  # whose models are those of its blocks
            about = checkpoint.describe(run.path)["about"]
            facts.append(f"the model has had {about['steps']} steps in {about['seconds']:.1f} s")
        facts.append(disk_words(run, disk_of(run)))
        if (run.path / METRICS_FILE).is_file():
            scores = checked_scores(read_json(run.path / METRICS_FILE), str(run.path / METRICS_FILE))
            facts.append(f"scores: {means(scores)} over {scores['images']} images")
            facts.extend(of_scales(scores))
    except UserError as error:
        warnings.append(str(error))
    return [
        *(Finding(severity="info", text=text) for text in facts),
        *(Finding(severity="warning", text=text) for text in warnings),
    ]
