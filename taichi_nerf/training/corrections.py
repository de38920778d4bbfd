"""What a training learns besides the field: cameras, and exposures of the training images."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..config import TrainingConfig
from ..data.carrying import with_carried
from ..data.scene import Cameras, Scene
from ..models.model import Model, ParameterGroup
from ..models.pixels import Pixels
from ..types import Batch, Standing
from .exposure import ExposureCorrection
from .refinement import CameraRefinement

__all__ = ["Corrections"]


class Corrections(nn.Module):
    """Corrections of N images, as far as `config` asks for them; `cameras` are theirs, in model space, and `photos` as
    of `CameraRefinement`.

    What the images have in common is left out, unless they are `anchored` to a field that is there already.
    """

    def __init__(self, cameras: Cameras, config: TrainingConfig, photos: np.ndarray | None = None, *,
                 anchored: bool = False):
        super().__init__()
        self.refine, self.settings = config.refine, config.exposure
        self.cameras = self.exposure = None
        if config.refine.active:
            self.cameras = CameraRefinement(cameras, photos, poses=config.refine.poses, lenses=config.refine.lenses,
                                            anchored=anchored, precondition=config.refine.precondition)
        if config.exposure.learned:
            self.exposure = ExposureCorrection(len(cameras), anchored=anchored)

    def parameter_groups(self, field_factor: Callable[[Standing], float]) -> list[ParameterGroup]:
        """`field_factor`: how the learning rates of the field fall, which exposures follow."""
        groups = []
        if self.cameras is not None:
            groups.append(self._group("cameras", self.cameras, lambda standing: (
                self.refine.learning_rate * self.refine.final_fraction**standing.progress)))
        if self.exposure is not None:
            groups.append(self._group("exposure", self.exposure, lambda standing: (
                self.settings.learning_rate * field_factor(standing))))
        return groups

    @staticmethod
    def _group(name: str, module: nn.Module, rate: Callable[[Standing], float]) -> ParameterGroup:
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return ParameterGroup(name=f"corrections.{name}", parameters=parameters, kind="correction", rate=rate)

    def rays(self, image_index: Tensor, pixel: Tensor, standing: Standing | None) -> tuple[Tensor, Tensor]:
        """Origins and directions [R, 3] of pixels [R, 2] of images [R]; of refined cameras, once that has begun."""
        begun = standing is not None and standing.step >= self.refine.start_step
        with torch.set_grad_enabled(torch.is_grad_enabled() and begun):
            return self.cameras.rays(image_index, pixel)

    def shown(self, pixels: Pixels, image_index: Tensor) -> Pixels:
        """The pixels [R] of rays as the images [R] show them."""
        if self.exposure is None:
            return pixels
        return pixels.with_colours(partial(self.exposure, image_index=image_index))

    def open_levels(self, model: Model, standing: Standing) -> None:
        """Let `model` show its detail from coarse to fine while cameras may be far off."""
        if self.refine.active and self.refine.coarse > 0:
            model.let_in(standing.progress / self.refine.coarse)

    def carry(self, scene: Scene) -> Scene:
        """`scene` with the cameras that are not of training where the corrections of those around them take them."""
        if self.cameras is None or not self.refine.carry_along:
            return scene
        return with_carried(scene, self.cameras.cameras, self.cameras.refined())

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        """What holds the corrections back, less and less."""
        if not self.refine.active or self.refine.pull == 0:
            return {}
        weight = self.refine.pull * self.refine.pull_final**standing.progress
        return {"pull": weight * self.cameras.pull()}
