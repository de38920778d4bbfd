"""Fitting Gaussians to the photos that a field was trained on: a clock, optimisers, and one whole photo a step. What it
reaches it scores as `evaluate` does: PSNR of 8-bit pictures, the mean over images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import runtime
from ..config import OptimiserConfig
from ..data.scene import PERSPECTIVE, Cameras, Split
from ..metrics import psnr
from ..models.splats import GaussianSplats
from ..ops.camera import project_points
from ..pictures import to_uint8
from .clock import Clock
from .optimisers import Optimisers

__all__ = ["PlainPhotos", "fine_tune", "picture_of", "plain_photos", "score"]


@dataclass(frozen=True, kw_only=True)
class PlainPhotos:
    """N photos as cameras without distortion would have taken them."""

    cameras: Cameras
    """In the world of the splits."""
    rgba: list[Tensor]
    """[H, W, 4] uint8 each, on the host."""
    counted: list[Tensor | None]
    """[H, W] bool: the pixels that a mask leaves and that the photo shows; None: all."""
    has_alpha: bool

    def __len__(self) -> int:
        return len(self.rgba)

    def colour(self, n: int, background: float, like: Tensor) -> Tensor:
        """[H, W, 3] in [0, 1], over grey."""
        rgba = self.rgba[n].to(like) / 255
        return rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])


def plain_photos(split: Split) -> PlainPhotos:
    """The images of a split, straightened where their cameras are not straight."""
    cameras, images = split.cameras, split.images
    plain = Cameras(camera_to_world=cameras.camera_to_world, focal=cameras.focal, principal=cameras.principal,
                    distortion=np.zeros_like(cameras.distortion), lens=np.full_like(cameras.lens, PERSPECTIVE),
                    size=cameras.size)
    rgba, counted = [], []
    for n in range(len(cameras)):
        allowed = images.allowed_in(n)
        image = torch.from_numpy(np.array(images.image(n)))
        mask = None if allowed is None else torch.from_numpy(allowed)
        if cameras.lens[n] != PERSPECTIVE or cameras.distortion[n].any():
            image, mask = _straightened(image, mask, cameras, plain, n)
        rgba.append(image)
        counted.append(mask)
    return PlainPhotos(cameras=plain, rgba=rgba, counted=counted, has_alpha=images.has_alpha)


def _straightened(image: Tensor, allowed: Tensor | None, cameras: Cameras, plain: Cameras, n: int
                  ) -> tuple[Tensor, Tensor]:
    """The photo of camera `n` as its plain one would have taken it, and where that is known."""
    height, width = image.shape[:2]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    slopes = (np.stack([x, y], axis=2).reshape(-1, 2) + 0.5 - plain.principal[n]) / plain.focal[n]
    seen = np.concatenate([slopes * (1, -1), -np.ones((len(slopes), 1))], axis=1)  # right, up, back
    device = runtime.current().device
    points = torch.from_numpy(seen.astype(np.float32)).to(device)
    centred = np.eye(3, 4, dtype=np.float32)[None]
    camera = (centred, *(values[n : n + 1] for values in (cameras.focal, cameras.principal, cameras.distortion,
                                                          cameras.lens)))
    pixel, _, visible = project_points(torch.zeros(len(points), dtype=torch.int32, device=device), points,
                                       *(torch.from_numpy(np.ascontiguousarray(v)).to(device) for v in camera))
    places = (2 * pixel.cpu() / torch.tensor([width, height]) - 1).reshape(1, height, width, 2)
    known = torch.ones(height, width) if allowed is None else allowed.float()
    layers = torch.cat([image.float(), 255 * known[..., None]], dim=2).permute(2, 0, 1)[None]
    found = F.grid_sample(layers, places, align_corners=False)[0].permute(1, 2, 0)
    counted = (found[..., 4] > 254) & (visible.cpu().reshape(height, width) != 0)
    return found[..., :4].round().to(torch.uint8), counted


def fine_tune(splats: GaussianSplats, photos: PlainPhotos, *, steps: int | None = None, seconds: float | None = None,
              seed: int = 0, stopped: Callable[[], bool] = lambda: False,
              on_step: Callable[[int, float], None] | None = None) -> int:
    """Let `splats` look like the photos, one of which is drawn a step; returns the number of steps.

    The loss is the mean of squared errors, over a grey that is drawn anew, so that nothing learns to be background.

    Args:
        steps, seconds: the budget, of which one is enough.
        stopped: is asked before each step; what was learned until then stays.
        on_step: is told how many steps are done, and which part of the budget that is.
    """
    clock = Clock(steps=steps, seconds=seconds, seed=seed)
    optimisers = Optimisers(splats.parameter_groups(), OptimiserConfig())
    order = np.random.default_rng(seed)
    turn: list[int] = []
    while clock.progress < 1 and not stopped():
        turn = turn or order.permutation(len(photos)).tolist()
        with clock.running():
            n, grey = turn.pop(), float(order.uniform()) if photos.has_alpha else 0.0
            _loss(splats, photos, n, grey).backward()
            optimisers.step(clock.standing)
            clock.steps_done += 1
        if on_step is not None:
            on_step(clock.steps_done, clock.progress)
    return clock.steps_done


def _loss(splats: GaussianSplats, photos: PlainPhotos, n: int, grey: float) -> Tensor:
    drawn = splats.seen_by(photos.cameras, n)
    error = drawn.colour + grey * (1 - drawn.opacity[..., None]) - photos.colour(n, grey, drawn.colour)
    counted = photos.counted[n]
    return (error if counted is None else error[counted.to(error.device)]).square().mean()


@torch.no_grad()
def picture_of(splats: GaussianSplats, cameras: Cameras, index: int, background: float) -> np.ndarray:
    """[H, W, 3] uint8 before a grey."""
    drawn = splats.seen_by(cameras, index)
    return to_uint8((drawn.colour + background * (1 - drawn.opacity[..., None])).float().cpu().numpy())


def score(splats: GaussianSplats, photos: PlainPhotos, background: float) -> float:
    """PSNR in dB of 8-bit pictures, the mean over the photos."""
    found = []
    for n in range(len(photos)):
        truth = to_uint8(photos.colour(n, background, torch.zeros(())).numpy())
        picture, counted = picture_of(splats, photos.cameras, n, background), photos.counted[n]
        found.append(psnr(picture / 255, truth / 255, counted))
    return float(np.mean(found))
