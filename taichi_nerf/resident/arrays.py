"""Arrays on the device, and what is copied into and out of them.

They are Taichi's where a tensor would travel through host memory at each launch (Vulkan), and PyTorch tensors
elsewhere; the kernels do not care.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from taichi_nerf_kernels.engine import ti

from .. import runtime

__all__ = ["DeviceArrays", "Stage", "Wanted", "flat", "room_for"]

CACHE_LINES = 512, 48  # see `room_for`


class DeviceArrays:
    """Makes arrays where the kernels want them, and copies tensors into and out of them."""

    def __init__(self):
        here = runtime.current()
        self.native = here.backend == "vulkan"
        self.device, self.dtype, self.half_storage = here.device, here.dtype, here.half_storage

    def new(self, *shape: int, integer: bool = False, half: bool = False):
        """An array of zeros; with `half`, of half precision where the device keeps it."""
        half = half and self.half_storage
        if not self.native:
            dtype = torch.int32 if integer else torch.float16 if half else self.dtype
            return torch.zeros(shape, dtype=dtype, device=self.device)
        array = ti.ndarray(ti.i32 if integer else ti.f16 if half else ti.f32, shape)
        array.fill(0)
        return array

    def like(self, tensor: Tensor):
        """An array with the contents of `tensor`."""
        array = self.new(*tensor.shape, integer=not tensor.is_floating_point())
        self.put(tensor, array)
        return array

    def put(self, tensor: Tensor, array) -> None:
        """Copy `tensor` into `array`, of the same number of elements."""
        tensor = tensor.detach().reshape(tuple(array.shape))
        if self.native:
            array.from_numpy(np.ascontiguousarray(tensor.cpu().numpy(), _numpy_type(tensor)))
        else:
            array.copy_(tensor)

    def put_or_zero(self, tensor: Tensor | None, array) -> None:
        """The same, or zeros without a tensor."""
        if tensor is not None:
            self.put(tensor, array)
        elif self.native:
            array.fill(0)
        else:
            array.zero_()

    def get(self, array, tensor: Tensor) -> None:
        """Copy `array` into `tensor`, of the same number of elements."""
        found = torch.from_numpy(array.to_numpy()) if self.native else array
        tensor.detach().copy_(found.reshape(tensor.shape))

    def numbers(self, array) -> np.ndarray:
        """The contents of `array` on the host, which waits for the device."""
        return array.to_numpy() if self.native else array.cpu().numpy()


@dataclass(frozen=True)
class Wanted:
    """An array that a stage works in: its shape, in which rooms go by name, and what it holds."""

    shape: tuple[int | str, ...]
    integer: bool = False


class Stage:
    """A part of a step, with the arrays that it works in as attributes by the names of `wanted`."""

    def __init__(self, arrays: DeviceArrays, rooms: Mapping[str, int]):
        self.arrays = arrays
        for name, wanted in self.wanted().items():
            shape = (rooms[length] if isinstance(length, str) else length for length in wanted.shape)
            setattr(self, name, arrays.new(*shape, integer=wanted.integer))

    def wanted(self) -> dict[str, Wanted]:
        """Name -> what is allocated for it."""
        return {}


def room_for(samples: float) -> int:
    """At least `samples` columns; not a power of two, or all rows of a matrix would want the same cache lines."""
    multiple, offset = CACHE_LINES
    return -(-int(samples) // multiple) * multiple + offset


def _numpy_type(tensor: Tensor):
    return np.float32 if tensor.is_floating_point() else np.int32



def flat(tensors: list[Tensor]) -> Tensor:
    """All their numbers, one after the other."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
