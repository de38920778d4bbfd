"""How close a picture is to the truth. Pictures are [H, W, 3] in [0, 1], numpy or torch.

The callers quantise to 8 bit first: what is compared is what a person would see.
"""

import importlib.util
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03
LPIPS_BACKBONE = "vgg16-397923af.pth"  # the file that torchvision keeps the backbone's weights in

Picture = np.ndarray | Tensor


def psnr(prediction: Picture, target: Picture, counted: np.ndarray | Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10 of the mean squared error; infinite for equal pictures.

    Args:
        counted: [H, W] bool, the pixels to compare; all by default.

    Raises:
        ValueError: pictures of other shapes than one [H, W, 3], or not one pixel to compare.
    """
    prediction, target = _pair(prediction, target)
    errors = (prediction - target).square()
    error = (errors if counted is None else errors[_mask(counted, target)]).mean().item()
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(prediction: Picture, target: Picture, counted: np.ndarray | Tensor | None = None) -> float:
    """Structural similarity, at most 1 (Wang et al. 2004), the mean over pixels and channels of

        (2 mx my + c1) (2 sxy + c2) / ((mx^2 + my^2 + c1) (sxx + syy + c2)),    c1 = 0.01^2, c2 = 0.03^2

    with means m and (co)variances s in a Gaussian window of 11 x 11 pixels, sigma 1.5, inside the picture.

    Args:
        counted: [H, W] bool, the pixels that count; all by default. The others are taken as equal, and the mean is over
            the windows whose centre counts; NaN where there is none.

    Raises:
        ValueError: pictures of other shapes than one [H, W, 3], or of fewer than 11 pixels along a side.
    """
    prediction, target = _pair(prediction, target)
    if min(prediction.shape[:2]) < WINDOW:
        raise ValueError(
            f"SSIM needs pictures of at least {WINDOW} x {WINDOW} pixels, got {list(prediction.shape[:2])}"
        )
    if counted is not None:
        counted = _mask(counted, target)
        prediction = torch.where(counted[..., None], prediction, target)
    x, y = (picture.permute(2, 0, 1)[:, None] for picture in (prediction, target))  # [3, 1, H, W]
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (_blurred(z) for z in (x, y, x * x, y * y, x * y))
    variances = (mean_xx - mean_x**2).clamp(min=0) + (mean_yy - mean_y**2).clamp(min=0)
    covariance = mean_xy - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + K1**2) * (2 * covariance + K2**2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + K1**2) * (variances + K2**2))
    margin = slice(WINDOW // 2, -(WINDOW // 2))
    return (similarity if counted is None else similarity[:, :, counted[margin, margin]]).mean().item()


def lpips_or_none() -> Callable[[Picture, Picture], float] | None:
    """LPIPS with VGG (Zhang et al. 2018), smaller is closer; None where it is not at hand.

    It needs the package `lpips`, and VGG's weights where torchvision keeps them. Nothing is downloaded.
    """
    return _lpips() if why_no_lpips() is None else None


def why_no_lpips() -> str | None:
    """Why LPIPS cannot be computed here, or None if it can."""
    if importlib.util.find_spec("lpips") is None:
        return "the package lpips is not installed"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_BACKBONE
    return None if weights.is_file() else f"the weights of its VGG network are not at {weights}"


@lru_cache(maxsize=1)
def _lpips() -> Callable[[Picture, Picture], float]:
    import lpips

    network = lpips.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False)

    def distance(prediction: Picture, target: Picture) -> float:
        x, y = (z.permute(2, 0, 1)[None].float() * 2 - 1 for z in _pair(prediction, target))
        return float(network(x, y))

    return distance


def _pair(prediction: Picture, target: Picture) -> tuple[Tensor, Tensor]:
    """Both as float64 on the host, checked."""
    pair = tuple(torch.as_tensor(picture).detach().double().cpu() for picture in (prediction, target))
    for name, picture in zip(("prediction", "target"), pair):
        if (
            picture.ndim != 3
            or picture.shape[2] != 3
            or picture.shape != pair[1].shape
            or picture.numel() == 0
        ):
            raise ValueError(
                f"{name} must have shape [H, W, 3] like the other picture, got "
                f"{[list(p.shape) for p in pair]}"
            )
    return pair


def _mask(counted: np.ndarray | Tensor, target: Tensor) -> Tensor:
    """[H, W] bool on the host, checked."""
    mask = torch.as_tensor(counted).cpu()
    if mask.dtype != torch.bool or mask.shape != target.shape[:2] or not mask.any():
        raise ValueError(f"counted must be bool, of shape {list(target.shape[:2])} and true somewhere, "
                         f"got {mask.dtype} {list(mask.shape)}")
    return mask


def _blurred(x: Tensor) -> Tensor:
    """[C, 1, H - 10, W - 10]: the Gaussian mean of x [C, 1, H, W], along one axis after the other."""
    offset = torch.arange(WINDOW, dtype=x.dtype) - WINDOW // 2
    weight = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    weight = (weight / weight.sum()).reshape(1, 1, -1, 1)
    return F.conv2d(F.conv2d(x, weight), weight.transpose(2, 3))
