"""Argument checks of the ops: the message names the argument, so that Taichi's own never has to."""

import torch


def check_tensor(name: str, tensor: torch.Tensor, shape: tuple[int | None, ...], dtype: torch.dtype | None = None,
                 like: torch.Tensor | None = None) -> torch.Tensor:
    """`tensor`, detached and contiguous, if it has `shape` (None: any size), `dtype`, and the device of `like`.

    Without a `dtype` it must be that of `like`, or float32 or float64.

    Raises TypeError for something that is no tensor or has another dtype, ValueError for another shape or device.
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
    return tensor.detach().contiguous()
