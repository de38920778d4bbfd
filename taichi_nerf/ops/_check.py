"""Argument checks of the ops: the message names the argument, so that Taichi's own never has to."""

import math

import torch

MOST_NUMBERS = 2**31 - 1  # of a tensor: an index has 32 bits


def check_tensor(name: str, tensor: torch.Tensor, shape: tuple[int | None, ...], dtype: torch.dtype | None = None,
                 like: torch.Tensor | None = None) -> torch.Tensor:
    """`tensor`, detached and contiguous, if it has `shape` (None: any size), `dtype`, and the device of `like`.

    Without a `dtype` it must be that of `like`, or float32 or float64.

    Raises TypeError for something that is no tensor or has another dtype, ValueError for another shape or device, and
    for a tensor too large to be indexed.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.dim() != len(shape) or any(s is not None and s != t for s, t in zip(shape, tensor.shape)):
        wanted = ", ".join("*" if s is None else str(s) for s in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {tuple(tensor.shape)}")
    if dtype is None:
        dtype = like.dtype if like is not None else tensor.dtype
        if like is None and dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name} must be float32 or float64, got {dtype}")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")
    if like is not None and tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {tensor.device}")
    if tensor.numel() > MOST_NUMBERS:
        raise ValueError(f"{name} must have fewer than 2^31 numbers, got {tensor.numel()}: take fewer at a time")
    return tensor.detach().contiguous()


def check_in_place(name: str, tensor: torch.Tensor, shape: tuple[int | None, ...], dtype: torch.dtype | None = None,
                   like: torch.Tensor | None = None) -> torch.Tensor:
    """As `check_tensor`, of a tensor that a kernel writes: the memory returned is that of `tensor`.

    Raises ValueError also for one that is not contiguous.
    """
    checked = check_tensor(name, tensor, shape, dtype, like)
    if not tensor.is_contiguous():
        raise ValueError(f"{name} must be contiguous, since it is written in place")
    return checked


def check_rays(ray_start: torch.Tensor, ray_count: torch.Tensor, samples: int, like: torch.Tensor,
               ) -> tuple[torch.Tensor, torch.Tensor]:
    """First sample and number of samples [R] int32 of each ray, if they lie among the `samples` that there are.

    On a GPU that look would wait for the device: there the kernels leave out what lies beyond.

    Raises TypeError, ValueError.
    """
    ray_start = check_tensor("ray_start", ray_start, (None,), torch.int32, like=like)
    ray_count = check_tensor("ray_count", ray_count, ray_start.shape, torch.int32, like=like)
    if on_host(ray_start):
        end = ray_start.long() + ray_count
        wrong = (ray_start < 0) | (ray_count < 0) | (end > samples)
        if bool(wrong.any()):
            ray = int(wrong.nonzero()[0])
            raise ValueError(f"ray_start and ray_count must lie among the {samples} samples, got {int(ray_count[ray])} "
                             f"from {int(ray_start[ray])} on for ray {ray}")
    return ray_start, ray_count


def check_index(name: str, index: torch.Tensor, shape: tuple[int | None, ...], size: int,
                like: torch.Tensor) -> torch.Tensor:
    """`index` int32, if it has `shape` and lies in [0, `size`); on a GPU as `check_rays`.

    Raises TypeError, ValueError, and IndexError for a number out of range.
    """
    index = check_tensor(name, index, shape, torch.int32, like=like)
    if index.numel() and size == 0:
        raise IndexError(f"{name} must be empty, since there is nothing to point at")
    if index.numel() and on_host(index):
        low, high = (int(x) for x in index.aminmax())
        if low < 0 or high >= size:
            raise IndexError(f"{name} must lie in [0, {size}), got {low}..{high}")
    return index


def check_result(*shape: int) -> None:
    """Raise ValueError for a result that is too large to be indexed, where it is larger than the arguments."""
    if math.prod(shape) > MOST_NUMBERS:
        raise ValueError(f"a result of shape {shape} has more than 2^31 numbers: take fewer at a time")


def on_host(tensor: torch.Tensor) -> bool:
    """Whether a look at the tensor's numbers waits for no device."""
    return tensor.device.type == "cpu"


def seed_word(seed: int | None) -> int:
    """`seed` as a kernel's int, which has 32 bits; 0 where there is none."""
    return 0 if seed is None else (seed + 2**31) % 2**32 - 2**31
