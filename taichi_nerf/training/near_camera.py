"""A pull towards empty space right before the cameras (Yang et al. 2023, the occlusion term of FreeNeRF).

    loss = weight mean_r sum_i [t_i < e_r + reach] w_i          e_r: where samples of ray r begin

They begin where the ray enters the box, or at the near plane within it.

Few views can each be explained by fog of their own right before the camera, which no other view sees. The loss is the
part of the light that the beginning of a ray takes; it looks at the samples that are there already, so that it costs
next to nothing. Where something stands so near it is to be seen: the weight is small, and `reach` the shorter.
"""

from torch import Tensor

from ..config import NearCameraConfig
from ..models.model import Model
from ..models.pixels import Pixels
from ..ops.ray_aabb import intersect_ray_aabb
from ..types import Batch, Rays, Standing

__all__ = ["NearCamera"]


class NearCamera:
    """The opacity of the beginning of each ray, as a term of the loss."""

    def __init__(self, model: Model, config: NearCameraConfig):
        self.model, self.config = model, config

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        samples = pixels.samples
        near = samples.t < self.end(batch.rays).index_select(0, samples.ray_index)
        return {"near_camera": self.config.weight * pixels.carried(near.to(samples.t)).sum() / len(batch.rays)}

    def end(self, rays: Rays) -> Tensor:
        """[R]: where the beginning of each ray ends."""
        half = 0.5 * self.model.box.aabb_scale
        box = rays.origins.new_tensor([[-half] * 3, [half] * 3])
        entry, _ = intersect_ray_aabb(rays.origins.detach(), rays.directions.detach(), box, self.model.box.near)
        return entry + self.config.reach
