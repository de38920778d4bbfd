"""The images of a split as a training sees them: pixels and cameras where kernels want them, and what each is of."""

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .. import runtime
from ..data.scene import Scene, Split
from ..models.shots import shots_of
from ..ops.camera import TrainingImages, training_images
from ..types import Shot

__all__ = ["GREY", "Photos", "photos_of"]

GREY = {"white": 1.0, "black": 0.0}  # of the background of a scene
LOOKED_AT = 4096  # pixels, evenly over all photos
FEW = 0.05  # part of them that may have the colour of the background by chance


@dataclass(frozen=True, kw_only=True)
class Photos:
    """N images."""

    images: TrainingImages
    """Those pixels of them that masks leave, and cameras in model space."""
    shots: Shot
    """What each is of, a value an image."""
    area_weight: Tensor | None
    """[N]: area of a pixel of each, as a weight of its error; None where all weigh the same."""
    has_alpha: bool
    """Whether any pixel is not opaque."""
    of_place: bool
    """Whether they show a place all over: no bounded object, and nothing cut out of the background's colour."""
    background: float
    """Grey value behind what is transparent."""


def photos_of(scene: Scene, split: Split | str = "train") -> Photos:
    """The images of a split of `scene`, or of another of its kind, on the device."""
    split = scene.splits[split] if isinstance(split, str) else split
    images, cameras, device = split.images, scene.model_cameras(split.cameras), runtime.current().device
    arrays = (images.pixels, images.offset, images.size, cameras.camera_to_world, cameras.focal, cameras.principal,
              cameras.distortion, cameras.lens)
    allowed = None if images.allowed is None else _tensor(images.allowed).to(device)
    weight = None if split.area_weight is None else torch.from_numpy(split.area_weight).to(device)
    return Photos(images=training_images(*(_tensor(array).to(device) for array in arrays), allowed=allowed),
                  shots=shots_of(split).map(partial(Tensor.to, device=device)), area_weight=weight,
                  has_alpha=images.has_alpha, of_place=not scene.bounded and _covered(images.pixels, scene.background),
                  background=GREY[scene.background])


def _covered(pixels: np.ndarray, background: str) -> bool:
    """Whether of pixels [P, 4] hardly any has exactly the colour of the background."""
    some = pixels[:: max(1, len(pixels) // LOOKED_AT), :3]
    return bool((some == 255 * GREY[background]).all(axis=1).mean() < FEW)


def _tensor(array: np.ndarray) -> Tensor:
    """`array` as a tensor over the same memory, which may be a file that can only be read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))
