"""What a training learns besides the field: cameras, and exposures of the training images."""

from functools import partial

import torch
from torch import Tensor, nn

from ..config import TrainingConfig
from ..data.scene import Cameras
from ..models.model import Pixels
from .exposure import ExposureCorrection
from .refinement import CameraRefinement

__all__ = ["Corrections"]


class Corrections(nn.Module):
    """Corrections of N images, as far as `config` asks for them; `cameras` are theirs, in model space.

    What the images have in common is left out, unless they are `anchored` to a field that is there already.
    """

    def __init__(self, cameras: Cameras, config: TrainingConfig, *, anchored: bool = False):
        super().__init__()
        self.refine, self.settings = config.refine, config.exposure
        self.cameras = self.exposure = None
        if config.refine.active:
            self.cameras = CameraRefinement(cameras, poses=config.refine.poses, lenses=config.refine.lenses,
                                            anchored=anchored)
        if config.exposure.learned:
            self.exposure = ExposureCorrection(len(cameras), anchored=anchored)

    def groups(self) -> list[dict]:
        """The parameters in groups for an optimiser."""
        modules = (module for module in (self.cameras, self.exposure) if module is not None)
        return [{"params": [p for p in module.parameters() if p.requires_grad]} for module in modules]

    def learning_rates(self, progress: float, field_factor: float) -> list[float]:
        """Of each group, at `progress` in [0, 1] of the run; `field_factor` is that of the field's."""
        rates = []
        if self.cameras is not None:
            rates.append(self.refine.learning_rate * self.refine.final_fraction**progress)
        if self.exposure is not None:
            rates.append(self.settings.learning_rate * field_factor)
        return rates

    def rays(self, image_index: Tensor, pixel: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Origins and directions [R, 3] of pixels [R, 2] of images [R]; of refined cameras, once that has begun."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and step >= self.refine.start_step):
            return self.cameras.rays(image_index, pixel)

    def shown(self, pixels: Pixels, image_index: Tensor) -> Pixels:
        """The pixels [R] of rays as the images [R] show them."""
        if self.exposure is None:
            return pixels
        return pixels.with_colours(partial(self.exposure, image_index=image_index))

    def losses(self) -> dict[str, Tensor]:
        """Terms of the loss that hold the corrections back."""
        return {"pull": self.refine.pull * self.cameras.pull()} if self.refine.active and self.refine.pull > 0 else {}
