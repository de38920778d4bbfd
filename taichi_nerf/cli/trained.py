"""What a run was trained with, in sentences."""

from functools import reduce
from typing import TYPE_CHECKING, get_args, get_type_hints

from ..config import preset_of, system_of
from ..output import say
from .options import option_for

if TYPE_CHECKING:
    from ..config import Preset, RunConfig
    from ..training.folder import RunFolder

MOST_SETTINGS = 12  # that are listed
MUCH = 2e8  # bytes for --resume alone, of which a run says at its end how they can be had back
SAID_APART = {"scene.downscale", "scene.scales", "scene.perturb", "training.gradients", "training.robust",
              "training.refine.poses", "training.refine.lenses", "training.exposure.learned"}
ENCODING_WORDS = {"hash": "a hash grid", "positional": "a deep network"}


def trained_words(run: "RunFolder") -> list[str]:
    """Of what, on what, how long and by what; then as what it began, and its further settings."""
    config = run.config
    of_scales = f", {config.scene.scales} scales" if config.scene.scales > 1 else ""
    how = _switches(config)
    options = f", with {' '.join(how)}" if how else ""
    return [
        f"run of {config.model.kind} on {config.scene.path or 'the built-in scene'}, downscale "
        f"{config.scene.downscale}{of_scales}{options}, for {_budget(config)}, on {run.runtime['backend']} with "
        f"{run.runtime['threads']} thread{'s' * (run.runtime['threads'] != 1)}",
        *_variant(run),
        *_others(run),
    ]


def tell_disk(run: "RunFolder"):
    """Say at its end what a training leaves, where much of it is for --resume alone."""
    disk = disk_of(run)
    if disk[1] > MUCH:
        say(disk_words(run, disk))


def disk_of(run: "RunFolder") -> tuple[int, int]:
    """As of `RunFolder.disk`: blocks that are not trained go on from their state."""
    from ..training.blocks import read_blocks
    from ..training.folder import is_cut

    blocks = read_blocks(run.path) if is_cut(run.path) else []
    return run.disk([number for number, each in enumerate(blocks) if not each.trained])


def disk_words(run: "RunFolder", disk: tuple[int, int]) -> str:
    """What its folder takes on the disk, and what of that can be had back."""
    from ..training.files import STATE_FILE

    total, state = disk
    words = f"{run.path} takes {_megabytes(total)} on the disk"
    if state == 0:
        return words
    return (f"{words}, of which {_megabytes(state)} are {STATE_FILE}: it may be deleted when nobody goes on with "
            "train --resume, which alone needs it")


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _variant(run: "RunFolder") -> list[str]:
    """The preset, the encoding, and how its steps got their gradients."""
    config = run.config
    found = _preset(config)
    if found is None:
        return []
    encoding = config.model.encoding
    by = f", encoding {encoding} ({ENCODING_WORDS[encoding]})" if encoding is not None else ""
    return [f"preset {found[0]}{by}{_gradients(run)}"]


def _preset(config: "RunConfig") -> "tuple[Preset, dict[str, object]] | None":
    """As of `preset_of`, of what is trained on images alone."""
    return preset_of(config) if system_of(config.model).made_by is None else None


def _switches(config: "RunConfig") -> list[str]:
    """Options that say what is allowed for."""
    training, perturb = config.training, config.scene.perturb
    switches = {"--robust": training.robust, "--few-views": config.few_views,
                "--appearance": config.appearance is not None, "--refine.poses": training.refine.poses,
                "--refine.lenses": training.refine.lenses, "--exposure.learned": training.exposure.learned}
    return ([] if perturb is None else [f"--perturb {perturb}"]) + [name for name, on in switches.items() if on]


def _budget(config: "RunConfig") -> str:
    training = config.training
    parts = [] if training.steps is None else [f"{training.steps} steps"]
    return " or ".join(parts + ([] if training.seconds is None else [f"{training.seconds:g} s"]))


def _gradients(run: "RunFolder") -> str:
    """Whether its steps are explicit: nothing of a system that has no such."""
    from ..training.trainer import has_explicit_steps

    config = run.config
    if system_of(config.model).resident_step is None:
        return ""
    if not has_explicit_steps(config.model, config.training):
        return ", gradients by autograd"
    unless = ", or by autograd if several ranks trained it" if config.training.gradients == "auto" and (
        run.runtime["backend"] == "vulkan") else ""
    return f", explicit gradients, by kernels on arrays of the device{unless}"


def _others(run: "RunFolder") -> list[str]:
    """Settings that are not those of its preset."""
    found = _preset(run.config)
    others = {name: value for name, value in (found[1] if found else {}).items() if name not in SAID_APART}
    if not others:
        return []
    words = [_as_option(run.config, name, value) for name, value in others.items()][:MOST_SETTINGS]
    more = f" and {len(others) - MOST_SETTINGS} more" if len(others) > MOST_SETTINGS else ""
    return [f"settings other than its preset's: {', '.join(words)}{more}; all are in {run.path / 'config.json'}"]


def _as_option(config: "RunConfig", name: str, value: object) -> str:
    """A setting of `config` as it is given."""
    option = option_for(name)
    if isinstance(value, bool) and not _may_be_none(config, name):
        section, dot, last = option.removeprefix("--").rpartition(".")
        return option if value else f"--{section}{dot}no-{last}"
    values = value if isinstance(value, tuple) else (value,)
    return " ".join([option, *(f"{each:.10g}" if isinstance(each, float) else str(each) for each in values)])


def _may_be_none(config: "RunConfig", name: str) -> bool:
    """Whether a setting may be left open, so that its option takes a word: one that is just on or off has --no."""
    *sections, last = name.split(".")
    owner = type(reduce(getattr, sections, config))
    return type(None) in get_args(get_type_hints(owner)[last])
