"""The light of a photo as a code of appearance, so that any view can be shown in it; K photos, A numbers each."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..models.model import Model
from ..models.shots import ids_of
from .folder import CAMERAS_FILE, RunFolder
from .half_image import fit_left_halves

__all__ = ["home_of", "lights_along", "lights_of"]


def lights_of(model: Model, run: RunFolder, photos: Sequence[str], path: Path | None = None,
              on_step: Callable[[int, int], None] | None = None) -> Tensor:
    """[K, A] of `photos`, by their names without folder and ending, those of another split than that of training as
    `test/NAME`: of a training image what was learned of it, of any other what fits it best. `path`: where the scene is
    now, if it has moved; `on_step` is told how many steps of a fit are done and how many there are.

    Raises UserError where the model knows no appearances, or the scene no such photo.
    """
    if "appearance" not in model.codes:
        learned = "; its --appearance is an exposure of each photo" if run.config.training.exposure.learned else ""
        raise UserError(f"{run.path} knows no light of a photo: it was trained without codes of them "
                        f"(--model.appearance){learned}; leave --appearance out of this, or train anew")
    names = {split: list(each.images.names) for split, each in run.cameras_scene().splits.items()}
    homes = [home_of(photo, names, run.path) for photo in photos]
    found = {}
    for home in dict.fromkeys(split for split, _ in homes):
        scene, *_ = run.split(home, path=path, every=1)
        split = scene.splits[home]
        wanted = list(dict.fromkeys(name for its, name in homes if its == home))
        numbers = [list(split.images.names).index(name) for name in wanted]
        if home == "train":
            ids = torch.from_numpy(ids_of(split)["appearance"][numbers])
            codes = model.codes["appearance"](ids.to(model.codes["appearance"].table.device), len(ids))
        else:
            fitted = fit_left_halves(model, scene, split.subset(numbers), appearance=True, whole=True,
                                     on_step=on_step)
            codes = fitted.shots.codes["appearance"]
        found |= {(home, name): code for name, code in zip(wanted, codes.detach())}
    return torch.stack([found[home] for home in homes])


def home_of(photo: str, names: Mapping[str, Sequence[str]], run: Path) -> tuple[str, str]:
    """The split and the name of `photo`, as `lights_of` takes it; `names` are those of each split. Raises UserError."""
    split, slash, name = photo.partition("/")
    if slash and name in names.get(split, ()):
        return split, name
    for split in ("train", *names):
        if photo in names.get(split, ()):
            return split, photo
    known = [name for each in names.values() for name in each]
    near = difflib.get_close_matches(Path(photo).stem, dict.fromkeys(known), n=3)
    meant = f"did you mean {' or '.join(near)}? It has" if near else f"it has {', '.join(known[:3])}, ...,"
    raise UserError(f"{photo} is no photo of {run}; {meant} {len(known)} photos, whose names are in "
                    f"{run / CAMERAS_FILE}; give a name without folder and ending, with the split before it "
                    "(test/NAME) where several have it")


def lights_along(codes: Tensor, frames: int) -> Tensor:
    """[frames, A]: from the first of `codes` [K, A] to the last, evenly along straight lines."""
    place = torch.linspace(0, len(codes) - 1, frames, device=codes.device)  # [frames]
    before = place.long().clamp(max=max(len(codes) - 2, 0))
    after = (before + 1).clamp(max=len(codes) - 1)
    return torch.lerp(codes[before], codes[after], (place - before)[:, None])
