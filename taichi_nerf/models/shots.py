"""What the images of a split are of, as models are told: a value an image."""

import numpy as np
import torch
from torch import Tensor, nn

from ..data.scene import Split
from ..types import Shot

__all__ = ["counts_of", "ids_of", "shots_of", "unseen_shots"]


def ids_of(split: Split) -> dict[str, np.ndarray]:
    """[N] int32 by name: those of the file, and where it has none of appearances, or of what passes by, a number for
    each photo.

    Images of one photo in several sizes have one appearance.
    """
    return {"appearance": split.photos, "transient": split.photos, **split.ids}


def counts_of(split: Split) -> dict[str, int]:
    """For how many ids of each name there must be codes, and for how many times."""
    counts = {name: 1 + int(values.max(initial=-1)) for name, values in ids_of(split).items()}
    return counts if split.time is None else {**counts, "time": len(np.unique(split.time))}


def shots_of(split: Split) -> Shot:
    """Of the N images of `split`, R = N."""
    image = torch.arange(len(split), dtype=torch.int32)
    ids = {name: torch.from_numpy(values) for name, values in ids_of(split).items()}
    return Shot(image=image, time=_tensor(split.time), exposure=_tensor(split.exposure), ids=ids)


def unseen_shots(split: Split, model: nn.Module) -> Shot:
    """Of the N views of `split`, which are not in the training: their times and exposures, and those codes of `model`
    that training images share with all of them, by the ids of the file."""
    known = {name: torch.from_numpy(ids) for name, ids in split.ids.items()
             if model.shares(name, torch.from_numpy(ids))}
    return Shot(time=_tensor(split.time), exposure=_tensor(split.exposure), ids=known)


def _tensor(values: np.ndarray | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(values)
