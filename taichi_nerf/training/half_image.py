"""The half-image protocol: what only a test image can tell is learned from its left half, and scored on the right.

An image's exposure, its appearance, or where exactly its camera stood, is not known of a test image, whatever the field
has learned. All are fitted to the left half of the image, the field being left as it is, and the score is that of the
right half, which nothing was fitted to (Martin-Brualla et al. 2021, section 5, of appearances; Lin et al. 2021, of
poses). The fit is a training of the codes alone: the same parts, put together otherwise.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from .. import runtime
from ..config import ExposureConfig, OptimiserConfig, RefineConfig, TrainingConfig
from ..data.scene import Cameras, Scene, Split
from ..models.model import Model, ParameterGroup
from ..models.views import Renderer, View, render_view
from ..ops.camera import TrainingRays, training_rays
from ..types import Batch, Shot, Standing
from .average import WeightAverage
from .batches import PhotoRays
from .clock import Clock
from .corrections import Corrections
from .exposure import exposed
from .optimisers import Optimisers
from .photos import photos_of
from .step import AutogradStep
from .terms import SquaredError
from .totals import Tally
from .trainer import Trainer

__all__ = ["HalfImageFit", "LeftHalves", "fit_left_halves"]

DRAWN = 3  # pixels drawn for one of the left halves, which are half of them
FINAL_FRACTION = 0.01  # of the learning rates, at the end


@dataclass(frozen=True)
class HalfImageFit:
    """What the left halves of N images say about these images."""

    cameras: Cameras
    """Of the N images, in model space."""
    shots: Shot
    """What each image is of, R = N: with the codes that were fitted, or nothing that the model has not learned."""
    stops: Tensor | None
    """[N, 3] of exposure; None where that was not fitted."""
    fitted: str
    """In words, for the protocol; empty if nothing was."""

    def render(self, model: Model, n: int, background: float, renderer: Renderer = "auto") -> View:
        """What camera n sees, as image n shows it."""
        shot = self.shots[n : n + 1]
        view = render_view(model, self.cameras, n, background=background, renderer=renderer, shot=shot)
        if self.stops is None:
            return view
        behind = (1 - view.opacity[..., None]) * background
        colour = torch.from_numpy(np.maximum(view.colour - behind, 0)).reshape(-1, 3)
        colour = exposed(colour, torch.from_numpy(view.opacity).reshape(-1), self.stops[n].cpu())
        return replace(view, colour=np.clip(colour.numpy().reshape(view.colour.shape) + behind, 0, 1))


class LeftHalves:
    """Batches of about `pixels` pixels of the left halves of photos, or of a larger `part` of their width; `codes`
    [N, A] by name are those of the images."""

    def __init__(self, source: PhotoRays, pixels: int, per_pixel: int, codes: Mapping[str, Tensor], part: float = 0.5):
        self.source, self.pixels, self.per_pixel, self.codes, self.part = source, pixels, per_pixel, codes, part

    def draw(self, standing: Standing) -> Batch:
        """The pixels of a step."""
        photos, per_pixel = self.source.photos, self.per_pixel
        drawn = training_rays(photos.images, DRAWN * self.pixels * per_pixel, standing.seeds.rays, per_pixel)
        first = TrainingRays(*(values[::per_pixel] for values in drawn))
        # those of left halves
        u = photos.images.pixel_centres(first.image_index, first.pixel_index)[:, 0]
        left = (u < self.part * photos.images.size[first.image_index.long(), 0]).nonzero()[: self.pixels, 0]
        chosen = TrainingRays(*(values[left] for values in first))  # [P]
        # the rays through them, with the codes of their images
        left = (left[:, None] * per_pixel + torch.arange(per_pixel, device=left.device)).reshape(-1)  # [R]
        of_rays = TrainingRays(*(values[left] for values in drawn))
        rays = self.source.of(of_rays, standing, per_pixel)
        codes = {name: values[of_rays.image_index.long()] for name, values in self.codes.items()}
        rays = replace(rays, shot=replace(rays.shot, image=None, ids={}, codes=codes))
        return Batch(rays=rays, rgba=chosen.rgba, background=torch.full_like(chosen.rgba[:, :3], photos.background),
                     image_index=chosen.image_index, pixel_index=chosen.pixel_index)

    def adapt(self, rays: int, marched: int, visible: int) -> None:
        """A batch of fixed size learns nothing."""


def fit_left_halves(model: Model, scene: Scene, split: Split, *, poses: bool = False, exposure: bool = False,
                    appearance: bool = False, steps: int = 200, rays: int = 1024, pose_rate: float = 1e-3,
                    exposure_rate: float = 3e-2, appearance_rate: float = 3e-2, seed: int = 0,
                    whole: bool = False, on_step: Callable[[int, int], None] | None = None) -> HalfImageFit:
    """Fit the cameras, exposures and appearances of the images of `split`, or some, or nothing, to their left halves.

    Args:
        model: is left as it is.
        scene: whose background and model space count; the split may be any of its kind.
        steps, rays: Adam steps, and pixels of each.
        pose_rate, exposure_rate, appearance_rate: learning rates at the start; they fall to a hundredth.
        whole: fit to all of each image, of which no score can be given then.
        on_step: is told how many steps are done and how many there are.
    """
    cameras, photos = scene.model_cameras(split.cameras), photos_of(scene, split)
    wanted = {"pose": poses, "exposure": exposure, "appearance": appearance}
    what = " and ".join(name for name in wanted if wanted[name])
    known = replace(photos.shots, image=None, ids={})
    if not what:
        return HalfImageFit(cameras, known, None, "")
    # what is learned: corrections of the cameras and codes, in place of those of the training images
    config = TrainingConfig(refine=RefineConfig(poses=poses, start_step=0, coarse=0.0, pull=0.0, precondition=False),
                            exposure=ExposureConfig(learned=exposure))
    corrections = Corrections(cameras, config, split.photos, anchored=True).to(runtime.current().device)
    codes = {}
    if appearance:
        codes["appearance"] = nn.Parameter(model.codes["appearance"].mean.detach().repeat(len(split), 1))  # [N, A]
    rates = {"corrections.cameras": pose_rate, "corrections.exposure": exposure_rate, "appearance": appearance_rate}
    groups = [*corrections.parameter_groups(lambda standing: 1.0),
              *(ParameterGroup(name=name, parameters=[code], kind="correction") for name, code in codes.items())]
    groups = [replace(group, rate=lambda standing, start=rates[group.name]: start * FINAL_FRACTION**standing.progress)
              for group in groups]
    # a training of these alone: rays as a picture has them, and the error of the picture as the only term
    source = PhotoRays(photos, corrections, cones=getattr(model, "sees_cones", False))
    batches = LeftHalves(source, rays, getattr(model, "rays_per_pixel", 1), codes, 1.0 if whole else 0.5)
    parts = {"batches": batches, "corrections": corrections, "optimisers": Optimisers(groups, OptimiserConfig()),
             "tally": Tally()}
    step = AutogradStep(lambda rays, standing: model.render(rays), terms=[SquaredError()], **parts)
    trainer = Trainer(model, average=WeightAverage(model, 0.0, 1), clock=Clock(steps=steps, seed=seed), taker=step,
                      **parts)
    with _frozen(model), torch.enable_grad():
        while trainer.progress < 1:
            trainer.step()
            if on_step is not None:
                on_step(trainer.steps_done, steps)
    shots = replace(known, codes={name: code.detach() for name, code in codes.items()})
    return HalfImageFit(corrections.cameras.refined() if poses else cameras, shots,
                        corrections.exposure.stops.detach() if exposure else None, what)


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
