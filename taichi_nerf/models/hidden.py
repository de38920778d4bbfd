"""A field without what lies in a box: rays end where they enter it, and go on where they leave it.

    C = C_front + T_front C_behind

It asks of a model that it ends rays, and nothing else. Behind the box a cone is as narrow as if it began there.

R rays.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..ops.ray_aabb import intersect_ray_aabb
from ..types import Rays, Standing
from .objects import alone
from .pixels import Pixels, mean_of

__all__ = ["WithoutBox"]


class WithoutBox(nn.Module):
    """What renders a model with nothing in a box; `views` takes it in place of the model, and so does another of these.

    Args:
        corners: lowest and highest corner in the axes of the box. rotation: [3, 3], these axes as columns, in model
            space; by default the same.

    Raises:
        UserError: a model that ends no rays.
    """

    has_normals, ends_rays = False, True

    def __init__(self, model: nn.Module, corners: Sequence[Sequence[float]], rotation: Tensor | None = None):
        super().__init__()
        if not getattr(model, "ends_rays", False):
            raise UserError("nothing can be hidden in this model, which does not end a ray at a given depth; "
                            "instant-ngp and all models whose rays are cut into intervals do, an octree does not: use "
                            "the run that it was made of")
        self.model, self.box = model, model.box
        self.sees_cones, self.rays_per_pixel = model.sees_cones, model.rays_per_pixel
        like = next(model.parameters())
        self.register_buffer("corners", torch.as_tensor(corners).to(like))
        self.register_buffer("rotation", torch.eye(3).to(like) if rotation is None else rotation.to(like))

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        """Pixels of rays in model space, each the mean of `rays.per_pixel` of them."""
        lines = alone(rays, torch.arange(len(rays), device=rays.origins.device))
        enter, leave = intersect_ray_aabb(lines.origins @ self.rotation, lines.directions @ self.rotation, self.corners)
        limit = torch.full_like(enter, torch.inf) if lines.limit is None else lines.limit
        crosses = (leave > enter) & (enter < limit)
        image, counts = enter.new_zeros(len(enter), 5), []
        for chosen, part, start in self._parts(lines, crosses, enter, leave, limit):
            pixels = self.model.render(part, standing)
            depth = pixels.depth + start * pixels.opacity
            found = torch.cat([pixels.colour, pixels.opacity[:, None], depth[:, None]], dim=1)
            image = image.index_add(0, chosen, (1 - image[chosen, 3:4]) * found)
            counts.append((pixels.marched, pixels.weights.detach()))
        image = mean_of(image, rays.per_pixel)
        return Pixels(colour=image[:, :3], opacity=image[:, 3], depth=image[:, 4],
                      marched=sum(marched for marched, _ in counts),
                      weights=torch.cat([weights for _, weights in counts]))

    def density(self, positions: Tensor, *given) -> Tensor:
        """[M] at positions [M, 3] of model space."""
        local = positions @ self.rotation
        inside = ((local > self.corners[0]) & (local < self.corners[1])).all(dim=1)
        return self.model.density(positions, *given) * ~inside

    def _parts(self, rays: Rays, crosses: Tensor, enter: Tensor, leave: Tensor, limit: Tensor):
        """Which rays, these, and how much later they begin: those past the box, those up to it and those behind it, in
        this order."""
        past, through = (~crosses).nonzero()[:, 0], crosses.nonzero()[:, 0]
        behind = (crosses & (leave < limit)).nonzero()[:, 0]
        if len(past):
            yield past, rays[past], 0.0
        if len(through):
            yield through, replace(rays[through], limit=enter[through]), 0.0
        if len(behind):
            start = leave[behind] - self.box.near  # nearer than that to its origin a ray sees nothing
            part = rays[behind]
            yield behind, replace(
                part, origins=part.origins + start[:, None] * part.directions,
                limit=None if part.limit is None else part.limit - start), start
