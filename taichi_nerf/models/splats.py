"""Gaussians with parameters that learn: what stands instead of a field where a picture must be quick, and in programs
that know no fields. In the world of the scene's file; N Gaussians, B = bands^2 functions of their colours."""

import torch
from torch import Tensor, nn

from ..data.scene import Cameras
from ..ops.gaussian_rendering import Drawn, render_gaussians
from ..types import Standing
from .model import ParameterGroup

__all__ = ["GaussianSplats"]

RATES = {  # of Adam, by parameter; of means in widths of a Gaussian. For hundreds of steps from a good beginning
    "means": 0.03, "log_scales": 1e-2, "quaternions": 5e-3, "logits": 5e-2, "base": 1e-2, "rest": 2e-3}
LEFT = 0.05  # of the rates at the end


class GaussianSplats(nn.Module):
    """N Gaussians as a viewer's file has them.

    Args:
        means: [N, 3]. log_scales: [N, 3]. quaternions: [N, 4] w, x, y, z. logits: [N] of the opacity.
        harmonics: [N, 3, B].
        near: as of `render_gaussians`.
    """

    def __init__(self, means: Tensor, log_scales: Tensor, quaternions: Tensor, logits: Tensor, harmonics: Tensor,
                 near: float = 0.01):
        super().__init__()
        self.near = near
        self.means, self.log_scales = nn.Parameter(means), nn.Parameter(log_scales)
        self.quaternions, self.logits = nn.Parameter(quaternions), nn.Parameter(logits)
        self.base, self.rest = (nn.Parameter(part.clone()) for part in harmonics.split([1, harmonics.shape[2] - 1], 2))

    def __len__(self) -> int:
        return len(self.means)

    @property
    def harmonics(self) -> Tensor:
        """[N, 3, B]"""
        return torch.cat([self.base, self.rest], dim=2)

    def seen_by(self, cameras: Cameras, index: int) -> Drawn:
        """What camera `index`, without distortion, in the world of the splits, sees; differentiable."""
        camera = [self.means.new_tensor(values[index]) for values in (cameras.camera_to_world, cameras.focal,
                                                                      cameras.principal)]
        width, height = (int(side) for side in cameras.size[index])
        return render_gaussians(self.means, self.log_scales.exp(), self.quaternions, self.logits.sigmoid(),
                                self.harmonics, *camera, width, height, self.near)

    def parameter_groups(self) -> list[ParameterGroup]:
        """How they learn."""
        width = float(self.log_scales.detach().amax(dim=1).median().exp()) if len(self) else 1.0
        return [ParameterGroup(name=name, parameters=[parameter], kind="correction",
                               rate=_falling(RATES[name] * (width if name == "means" else 1.0)))
                for name, parameter in self.named_parameters() if parameter.numel()]


def _falling(start: float):
    """A rate that falls from `start` to `LEFT` of it over the training."""
    def rate(standing: Standing) -> float:
        return start * LEFT**standing.progress

    return rate
