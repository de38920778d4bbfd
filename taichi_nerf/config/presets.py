"""Which preset the settings of a run are of, and what was set otherwise: a run keeps its settings alone."""

from .few_views import few_view_settings
from .run import RunConfig
from .settings import SettingError, flattened
from .systems import PRESETS, Preset, recipe
from .training import TrainingConfig

__all__ = ["preset_of"]

WITHOUT = {"training.steps", "training.seconds", "orbit_frames", "few_views", "appearance", "scene.path"}
OF_LIGHT = {"model.appearance", "training.exposure.learned"}  # what --appearance sets
SETTLED = {"model.field.hash_grid.max_resolution", "model.widths", "model.rays_per_pixel", "model.boxes",
           "training.sparsity.weight", "training.depth.weight", "training.depth.final",
           "training.depth.of"}  # by the scene
PARTS = {  # of a training: whether the settings of each count
    "trim": lambda training: training.robust,
    "refine": lambda training: training.refine.active,
    "exposure": lambda training: training.exposure.learned,
    "depth": lambda training: training.depth.weight != 0,
    "sparsity": lambda training: training.sparsity.weight != 0,
    "near_camera": lambda training: training.near_camera.weight > 0,
}


def preset_of(run: RunConfig) -> tuple[Preset, dict[str, object]] | None:
    """The preset that is nearest to the settings of `run`, and by dotted name those that are others than it has:
    without the scene's path and the budget, what --few-views and --appearance set, and what is of a part of the
    training that is off.

    What a preset leaves to the scene, of SETTLED, is no difference. None where the system has no preset of this
    encoding.
    """
    chosen = few_view_settings(run) if run.few_views else {}
    without = WITHOUT | {name for name, value in chosen.items() if flattened(run)[name] == value}
    without |= OF_LIGHT if run.appearance is not None else set()
    off = tuple(f"training.{part}." for part, counts in PARTS.items() if not counts(run.training))
    has = {name: value for name, value in flattened(run).items() if name not in without and not name.startswith(off)}
    found = {}
    for preset in PRESETS:
        try:
            parts = recipe(run.model.kind, preset, run.model.encoding)
        except SettingError:
            continue
        training = TrainingConfig(batch=parts.batch, optimiser=parts.optimiser)
        plain = flattened(RunConfig(model=parts.model, training=training))
        found[preset] = {name: value for name, value in has.items() if _differs(name, value, plain.get(name))}
    return min(found.items(), key=lambda item: len(item[1]), default=None)


def _differs(name: str, value: object, plain: object) -> bool:
    """Whether a setting is not the `plain` one of a preset, which may leave it to the scene."""
    return value != plain and (name not in SETTLED or plain not in (None, ()))
