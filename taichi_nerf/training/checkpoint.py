"""Checkpoints: tensors in safetensors files, all else as JSON in their headers; nothing in them is executed.

    model.safetensors             what rendering needs: averaged weights and occupancy grid
    training_state.safetensors    what training needs to go on exactly where it stood

Each file is complete in itself and replaced as a whole: it is written aside, flushed to the disk and renamed.
Of a run that is killed at any moment both files are therefore sound, though one may be older than the other.
The header carries a digest of everything else, which finds damage; it is no signature.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import runtime
from ..config import SYSTEMS, ModelConfig, from_dict
from ..data.opening import check_regular
from ..errors import UserError
from ..models.family import build_model
from ..models.model import Box, Model
from .files import BLOCKS_FILE, MODEL_FILE, STATE_FILE, parsed, replace
from .migrations import todays_header, todays_state, todays_tensors
from .trainer import Trainer, check_same_tensors

FORMAT, VERSION = "taichi-nerf", 7


def save(folder: Path, trainer: Trainer) -> None:
    """Write the checkpoint of `trainer` into `folder`. Of several ranks each has to call it, and rank 0 writes.

    Raises UserError where a file cannot be written, for example because the disk is full. The file that was
    there is then as it was.
    """
    state = trainer.state_dict()
    header = {"content": "training", "kind": trainer.model.config.kind, "numbers": state["numbers"],
              **_space(trainer.model)}
    writes = trainer.team.first
    if writes:
        _write(folder / STATE_FILE, state["tensors"], header)
    with trainer.averaged() as model:
        if writes:
            save_model(folder / MODEL_FILE, model, steps=trainer.steps_done, seconds=trainer.seconds)


def save_model(path: Path, model: Model, **about: float) -> None:
    """Write the weights of `model` as they are, with what is needed to rebuild it, and `about` beside them.

    Raises UserError where the file cannot be written.
    """
    header = {"content": "model", "kind": model.config.kind, "model": dataclasses.asdict(model.config),
              **_space(model), "about": about}
    _write(Path(path), model.state_dict(), header)


def load(path: Path) -> Model:
    """The model of a run folder, or of a model file, with the weights to render with, on the current runtime.

    Raises UserError naming the file if it is missing, damaged, or no such model.
    """
    return load_trained(path)[0]


def load_trained(path: Path) -> tuple[Model, dict]:
    """The model, as of `load`, and what the same file says about its training: `steps` and `seconds`."""
    path = _model_file(path)
    tensors, header = _read(path, "model")
    try:
        config, box = (
            from_dict(ModelConfig, header.get("model"), "model"),
            from_dict(Box, header.get("box"), "box"),
        )
        model = build_model(config, box, counts=_checked_counts("counts of ids", header.get("counts")),
                            sizes=_checked_counts("sizes of arrays", header.get("sizes", {})))
        state, tensors = model.state_dict(), todays_tensors(tensors, header["version"])
        check_same_tensors(tensors, state)
    except ValueError as error:
        raise UserError(
            f"{path} does not fit the model that it describes: {error}; restore it or train again"
        ) from None
    for name, value in state.items():
        value.copy_(tensors[name])
    return model.to(runtime.current().device), header["about"]


def load_training(folder: Path, trainer: Trainer) -> None:
    """Let `trainer` go on where the one stood that wrote the checkpoint in `folder`.

    Raises UserError naming the file if it is missing, damaged, or of another model; nothing has changed then.
    """
    path = folder / STATE_FILE
    tensors, header = _read(path, "training")
    try:
        for name, value in _space(trainer.model).items():
            known = header.get(name)
            if header["version"] < 4 and isinstance(known, dict):  # which said less
                value = {key: value.get(key) for key in known}
            if known != value:
                raise ValueError(f"its {name} is {known}, not {value}")
        if header["kind"] != trainer.model.config.kind:
            raise ValueError(f"it is of {header['kind']}, not of {trainer.model.config.kind}")
        tensors = todays_state(tensors, header["version"], trainer.optimisers)
        trainer.load_state_dict({"tensors": tensors, "numbers": _checked_numbers(header.get("numbers"))})
    except ValueError as error:
        raise UserError(
            f"{path} is the checkpoint of another model: {error}; resume a run with its own "
            "settings, or train anew"
        ) from None


def describe(path: Path) -> dict:
    """What the model of a run folder, or of a model file, says about itself: `model`, `box` and `about`."""
    return _read(_model_file(path), "model")[1]


def _write(path: Path, tensors: dict[str, Tensor], header: dict):
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    if (name := _not_finite(tensors)) is not None:  # it could not be read again
        raise UserError(f"{path} is not written, since training has come to values in '{name}' that are not finite; "
                        "the checkpoint from before stays: train anew with a smaller --optimiser.learning-rate")
    header = {"format": FORMAT, "version": VERSION, **header}
    text = json.dumps(header, allow_nan=False)
    metadata = {"header": text, "digest": _digest(tensors, text)}
    replace(path, lambda aside: save_file(tensors, aside, metadata=metadata))


def _read(path: Path, content: str) -> tuple[dict[str, Tensor], dict]:
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give a run that has come to its first checkpoint") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); restore it or train again") from None
    header = _checked_header(path, metadata, content)
    if metadata.get("digest") != _digest(tensors, metadata["header"]):
        raise UserError(f"{path} is not as it was written (its digest is another); restore it or train again")
    if (name := _not_finite(tensors)) is not None:
        raise UserError(f"{path} holds values in '{name}' that are not finite; restore it or train again")
    return tensors, header


def _not_finite(tensors: dict[str, Tensor]) -> str | None:
    """The first that holds infinities, or what is no number."""
    return next((name for name, value in tensors.items()
                 if value.is_floating_point() and not bool(torch.isfinite(value).all())), None)


def _checked_header(path: Path, metadata: dict[str, str], content: str) -> dict:
    try:
        header = parsed(metadata["header"])
    except (KeyError, ValueError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(
            f"{path} was not written by taichi-nerf; give the folder of a run of taichi-nerf train"
        )
    if header.get("version") not in range(1, VERSION + 1):
        raise UserError(
            f"{path} has version {header.get('version')} of the checkpoint format, this program reads "
            f"1 to {VERSION}; use the release of taichi-nerf that wrote it"
        )
    if header.get("kind") not in tuple(SYSTEMS) or header.get("content") != content:
        raise UserError(
            f"{path} holds {header.get('content')} of {header.get('kind')}, where {content} of one of "
            f"{', '.join(SYSTEMS)} is needed; give the folder of another run"
        )
    return todays_header(header)


def _model_file(path: Path) -> Path:
    if not Path(path).is_dir():
        return Path(path)
    if (Path(path) / BLOCKS_FILE).is_file():
        raise UserError(f"{path} is cut into blocks, which only eval, render, view and info take as one; give one of "
                        f"them, as {Path(path) / 'blocks' / '00'}")
    return Path(path) / MODEL_FILE


def _checked_numbers(numbers: object) -> dict[str, float]:
    if not isinstance(numbers, dict):
        raise ValueError("it lacks the numbers of its training")
    for name, value in numbers.items():
        if type(value) not in (int, float) or not 0 <= value < float("inf"):
            raise ValueError(f"its {name} is {value!r}")
    return numbers


def _space(model: Model) -> dict[str, dict]:
    """Where a model lies, for how many ids it has codes, and, if it has such, the sizes of its arrays."""
    sizes = {"sizes": model.sizes} if model.sizes else {}
    return {"box": dataclasses.asdict(model.box), "counts": model.counts, **sizes}


def _checked_counts(what: str, counts: object) -> dict[str, int]:
    if not isinstance(counts, dict) or any(type(count) is not int or count < 0 for count in counts.values()):
        raise ValueError(f"its {what} are {counts!r}")
    return counts


def _digest(tensors: dict[str, Tensor], header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
