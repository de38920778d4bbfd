"""The half-image protocol: what only a test image can tell is learned from its left half, and scored on the right.

An image's exposure, or where exactly its camera stood, is not known of a test image, whatever the field has learned.
Both are fitted to the left half of the image, the field being left as it is, and the score is that of the right half,
which nothing was fitted to (Martin-Brualla et al. 2021, section 5, of appearances; Lin et al. 2021, of poses).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from .. import runtime
from ..config import ExposureConfig, RefineConfig, TrainingConfig
from ..data.scene import Cameras, Scene, Split
from ..losses import squared_error
from ..models.model import Model
from ..models.views import Renderer, View, render_view
from ..ops.camera import TrainingRays, training_rays
from ..types import Rays
from .corrections import Corrections
from .exposure import exposed
from .packed_images import packed_images

__all__ = ["HalfImageFit", "fit_left_halves"]

DRAWN = 3  # pixels drawn for one of the left halves, which are half of them


@dataclass(frozen=True)
class HalfImageFit:
    """What the left halves of N images say about these images."""

    cameras: Cameras
    """Of the N images, in model space."""
    stops: torch.Tensor | None
    """[N, 3] of exposure; None where that was not fitted."""
    appearance: nn.Parameter | None
    """[N, A] for a model that knows appearances; None where that was not fitted."""
    fitted: str
    """In words, for the protocol; empty if nothing was."""

    def render(self, model: Model, n: int, background: float, renderer: Renderer = "auto") -> View:
        """What camera n sees, as image n shows it."""
        if self.appearance is None:
            return self._shown(render_view(model, self.cameras, n, background=background, renderer=renderer), n,
                               background)
        with _with_appearance(model, self.appearance):
            view = render_view(model, self.cameras, n, background=background, renderer=renderer, image_index=n)
        return self._shown(view, n, background)

    def _shown(self, view: View, n: int, background: float) -> View:
        """A view of camera n over `background` at the exposure of image n."""
        if self.stops is None:
            return view
        behind = (1 - view.opacity[..., None]) * background
        colour = torch.from_numpy(np.maximum(view.colour - behind, 0)).reshape(-1, 3)
        colour = exposed(colour, torch.from_numpy(view.opacity).reshape(-1), self.stops[n].cpu())
        return replace(view, colour=np.clip(colour.numpy().reshape(view.colour.shape) + behind, 0, 1))


def fit_left_halves(model: Model, scene: Scene, split: Split, *, poses: bool = False, exposure: bool = False,
                    appearance: bool = False, steps: int = 200, rays: int = 1024, pose_rate: float = 1e-3,
                    exposure_rate: float = 3e-2, appearance_rate: float = 3e-2, seed: int = 0) -> HalfImageFit:
    """Fit the cameras, exposures and appearances of the images of `split`, or some, or nothing, to their left halves.

    Args:
        model: is left as it is.
        scene: whose background and model space count; the split may be any of its kind.
        steps, rays: Adam steps, and pixels of each.
        pose_rate, exposure_rate, appearance_rate: learning rates at the start; they fall to a hundredth.
    """
    cameras = scene.model_cameras(split.cameras)
    config = TrainingConfig(refine=RefineConfig(poses=poses, learning_rate=pose_rate, start_step=0),
                            exposure=ExposureConfig(learned=exposure, learning_rate=exposure_rate))
    wanted = {"pose": poses, "exposure": exposure, "appearance": appearance}
    what = " and ".join(name for name in wanted if wanted[name])
    if not what:
        return HalfImageFit(cameras, None, None, "")
    corrections = Corrections(cameras, config, anchored=True).to(runtime.current().device)
    images = packed_images(split.images, cameras)
    codes = nn.Parameter(torch.zeros_like(model.appearance[:1]).repeat(len(split), 1)) if appearance else None
    groups, rates = corrections.groups(), corrections.learning_rates(0.0, 1.0)
    if appearance:
        groups, rates = [*groups, {"params": [codes]}], [*rates, appearance_rate]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
    per_pixel = model.rays_per_pixel
    background = {"white": 1.0, "black": 0.0}[scene.background]
    with _frozen(model), _with_appearance(model, codes), torch.enable_grad():
        for step in range(steps):
            drawn = training_rays(images, DRAWN * rays * per_pixel, seed * 1_000_003 + step, per_pixel)
            first = TrainingRays(*(values[::per_pixel] for values in drawn))
            u = images.pixel_centres(first.image_index, first.pixel_index)[:, 0]
            left = (u < 0.5 * images.size[first.image_index.long(), 0]).nonzero()[:rays, 0]
            rgba, index = first.rgba[left], first.image_index[left]
            left = (left[:, None] * per_pixel + torch.arange(per_pixel, device=left.device)).reshape(-1)
            origins, directions, of_ray = drawn.origins[left], drawn.directions[left], drawn.image_index[left]
            if poses:
                place = images.ray_places(drawn.image_index, drawn.pixel_index, per_pixel)[left]
                origins, directions = corrections.rays(of_ray, place, step)
            known = Rays(origins, directions, None, of_ray if appearance else None, per_pixel)
            pixels = corrections.shown(model.render(known), index)
            target = rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * background
            loss = squared_error(pixels.over(torch.full_like(target, background)), target)
            optimiser.zero_grad()
            loss.backward()
            for group, rate in zip(optimiser.param_groups, rates):
                group["lr"] = rate * 0.01 ** (step / steps)
            optimiser.step()
    stops = corrections.exposure.stops.detach() if exposure else None
    return HalfImageFit(corrections.cameras.refined() if poses else cameras, stops, codes, what)


@contextmanager
def _with_appearance(model: nn.Module, appearance: nn.Parameter | None) -> Iterator[None]:
    """Within the context the model knows the appearances of other images, if any are given."""
    if appearance is None:
        yield
        return
    own = model.appearance
    try:
        model.appearance = appearance
        yield
    finally:
        model.appearance = own


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Within the context the parameters of the model want no gradient."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
