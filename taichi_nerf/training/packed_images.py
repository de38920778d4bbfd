"""Images of a split and their cameras where the kernels want them."""

import warnings

import numpy as np
import torch
from torch import Tensor

from .. import runtime
from ..data.scene import Cameras, Images
from ..ops.camera import TrainingImages, training_images

__all__ = ["packed_images"]


def packed_images(images: Images, cameras: Cameras) -> TrainingImages:
    """The pixels of `images`, those that masks leave, and `cameras`, which are in model space, on the device."""
    arrays = (images.pixels, images.offset, images.size, cameras.camera_to_world, cameras.focal, cameras.principal,
              cameras.distortion, cameras.lens)
    device = runtime.current().device
    allowed = None if images.allowed is None else _tensor(images.allowed).to(device)
    return training_images(*(_tensor(array).to(device) for array in arrays), allowed=allowed)


def _tensor(array: np.ndarray) -> Tensor:
    """`array` as a tensor over the same memory, which may be a file that can only be read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array))
