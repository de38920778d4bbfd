"""The light of a photo as a code of appearance, so that any view can be shown in it; K photos, A numbers each."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..models.model import Model
from ..models.shots import ids_of
from .folder import RunFolder
from .half_image import fit_left_halves
from .named_photos import meant_by, names_of, with_lights

__all__ = ["lights_along", "lights_of"]


def lights_of(model: Model, run: RunFolder, photos: Sequence[str], path: Path | None = None,
              on_step: Callable[[int, int], None] | None = None) -> Tensor:
    """[K, A] of `photos`, by their names without folder and ending, those of another split than that of training as
    `test/NAME`: of a training image what was learned of it, of any other what fits it best. `path`: where the scene is
    now, if it has moved; `on_step` is told how many steps of a fit are done and how many there are.

    Raises UserError where the model knows no appearances, or the scene no such photo, or has others than it had.
    """
    homes, begun, found = with_lights(run, photos), names_of(run), {}
    for home in dict.fromkeys(split for split, _ in homes):
        scene, *_ = run.split(home, path=path, every=1)
        split = scene.splits[home]
        wanted, there = list(dict.fromkeys(name for its, name in homes if its == home)), list(split.images.names)
        place = path or run.config.scene.path or "the built-in scene"
        if home == "train" and there != begun[home]:  # codes are those of photos in their order
            raise UserError(f"{place} has other training images than when {run.path} was begun, so that nobody knows "
                            "whose light is whose; restore them")
        if gone := [name for name in wanted if name not in there]:
            raise UserError(f"{home}/{gone[0]} is no photo of {place}; {meant_by(gone[0], there)} {len(there)} in its "
                            f"split {home}; give the name of one, without folder and ending")
        numbers = [there.index(name) for name in wanted]
        if home == "train":
            ids = torch.from_numpy(ids_of(split)["appearance"][numbers])
            codes = model.codes["appearance"](ids.to(model.codes["appearance"].table.device), len(ids))
        else:
            fitted = fit_left_halves(model, scene, split.subset(numbers), appearance=True, whole=True,
                                     on_step=on_step)
            codes = fitted.shots.codes["appearance"]
        found |= {(home, name): code for name, code in zip(wanted, codes.detach())}
    return torch.stack([found[home] for home in homes])


def lights_along(codes: Tensor, frames: int) -> Tensor:
    """[frames, A]: from the first of `codes` [K, A] to the last, evenly along straight lines."""
    place = torch.linspace(0, len(codes) - 1, frames, device=codes.device)  # [frames]
    before = place.long().clamp(max=max(len(codes) - 2, 0))
    after = (before + 1).clamp(max=len(codes) - 1)
    return torch.lerp(codes[before], codes[after], (place - before)[:, None])
