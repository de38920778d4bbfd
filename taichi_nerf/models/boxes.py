"""Boxes of a field in which something else is: nothing, or what another box of it holds.

A ray is one integral over pieces, front to back, each the field's own between two distances of it:

    C = C_front + T_front (C_inside + T_inside C_behind),    T = 1 - opacity

The pieces in front of a box and behind it are of what is `outside`. A box that is hidden has nothing inside. A box that
is moved by x -> A x + b shows at its new place what was at the old one: the ray o + t d, which sees A x + b at the same
t at which

    A^T (o - b) + t A^T d

sees x, asks the field along the latter, so that samples are placed where it knows of something, and what it is told of
the direction of view turns along. At the old place there is nothing, and nothing of what was at the new one is seen.

R rays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..ops.ray_aabb import intersect_ray_aabb
from ..types import Rays, Standing
from .objects import alone
from .pixels import Pixels, gathered_samples, mean_of
from .surfaces import DARK

__all__ = ["Motion", "WithBox", "hidden", "moved"]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """x -> rotation x + offset, in model space."""

    rotation: Tensor
    """[3, 3]"""
    offset: Tensor
    """[3]"""

    @classmethod
    def about(cls, middle: np.ndarray, turn: np.ndarray, by: np.ndarray) -> "Motion":
        """A turn [3, 3] about a point [3] that is moved by a vector [3]."""
        return cls(rotation=torch.from_numpy(turn), offset=torch.from_numpy(middle + by - turn @ middle))


class WithBox(nn.Module):
    """What renders a model with something else in a box; `views` takes it in place of the model, and so does another of
    these. Gradients flow to both.

    Args:
        outside: the model, which ends rays. inside: what is in the box; None: nothing.
        corners: lowest and highest corner in the axes of the box. axes: [3, 3], these as columns, in model space.
        motion: brings the box, with what `inside` has there, to where it is seen; None: it is where it is.
    """

    ends_rays = True

    def __init__(self, outside: nn.Module, inside: nn.Module | None, corners: Sequence[Sequence[float]],
                 axes: Tensor, motion: Motion | None = None):
        super().__init__()
        self.outside, self.inside = outside, inside
        self.sees_cones, self.rays_per_pixel = outside.sees_cones, outside.rays_per_pixel
        self.sharpest = getattr(outside, "sharpest", torch.zeros(2))
        self.has_normals = getattr(outside, "has_normals", True)
        self.all_directions = getattr(outside, "all_directions", True)
        like = next(outside.parameters())
        self.register_buffer("corners", torch.as_tensor(corners).to(like))
        self.register_buffer("axes", axes.to(like))
        self.register_buffer("rotation", torch.eye(3).to(like) if motion is None else motion.rotation.to(like))
        self.register_buffer("offset", torch.zeros(3).to(like) if motion is None else motion.offset.to(like))

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        """Pixels of rays in model space, each the mean of `rays.per_pixel` of them; with the samples of what has
        some."""
        lines = alone(rays, torch.arange(len(rays), device=rays.origins.device))
        image, found = lines.origins.new_zeros(len(lines), 5), []
        for model, index, part in self._pieces(lines):
            bright = image.detach()[index, 3] < 1 - DARK
            index, part = index[bright], part[bright]
            if len(index) == 0:
                continue
            pixels, left = model.render(part, standing), 1 - image[index, 3]
            values = torch.cat([pixels.colour, pixels.opacity[:, None], pixels.depth[:, None]], dim=1)
            image = image.index_add(0, index, left[:, None] * values)
            found.append((self._where_seen(pixels) if model is self.inside else pixels, index, left.detach()))
        image = mean_of(image, rays.per_pixel)
        packed, weights = gathered_samples(found, lines)
        return Pixels(colour=image[:, :3], opacity=image[:, 3], depth=image[:, 4], packed=packed, weights=weights,
                      marched=sum(pixels.marched for pixels, *_ in found))

    def density(self, positions: Tensor, *given) -> Tensor:
        """[M] at positions [M, 3] of model space."""
        before = self._before(positions)
        local = before @ self.axes
        inside = ((local > self.corners[0]) & (local < self.corners[1])).all(dim=1)
        if self.inside is None:
            return self.outside.density(positions, *given) * ~inside
        return torch.where(inside, self.inside.density(before, *given), self.outside.density(positions, *given))

    def _before(self, positions: Tensor) -> Tensor:
        """Where positions [M, 3] were before the motion."""
        return (positions - self.offset) @ self.rotation

    def _pieces(self, rays: Rays) -> Iterator[tuple[nn.Module, Tensor, Rays]]:
        """What is seen in the pieces of rays, which rays have one, and these from its begin to its end: those that go
        past the box, and of the others what is in front of it, in it and behind it, in this order."""
        before = replace(rays, origins=self._before(rays.origins), directions=rays.directions @ self.rotation)
        enter, leave = intersect_ray_aabb((before.origins @ self.axes).detach(),
                                          (before.directions @ self.axes).detach(), self.corners)
        begin = torch.zeros_like(enter) if rays.begin is None else rays.begin
        limit = torch.full_like(enter, torch.inf) if rays.limit is None else rays.limit
        first, last = torch.maximum(enter, begin), torch.minimum(leave, limit)
        crosses = last > first
        past, through = (~crosses).nonzero()[:, 0], crosses.nonzero()[:, 0]
        front, behind = (crosses & (first > begin)).nonzero()[:, 0], (crosses & (last < limit)).nonzero()[:, 0]
        yield self.outside, past, rays[past]
        yield self.outside, front, replace(rays[front], limit=first[front])
        if self.inside is not None:
            yield self.inside, through, replace(before[through], begin=first[through], limit=last[through])
        yield self.outside, behind, replace(rays[behind], begin=last[behind])

    def _where_seen(self, pixels: Pixels) -> Pixels:
        """Those of what is inside, with their samples where the motion brings them."""
        if not pixels.has_samples:
            return pixels
        samples = pixels.samples
        return replace(pixels, packed=replace(
            samples, positions=samples.positions @ self.rotation.T + self.offset))


def hidden(model: nn.Module, corners: Sequence[Sequence[float]], axes: Tensor) -> WithBox:
    """A model with nothing between two corners in `axes` [3, 3], columns in model space.

    Raises:
        UserError: a model that ends no rays.
    """
    return WithBox(_ending(model, "nothing can be hidden in"), None, corners, axes)


def moved(model: nn.Module, corners: Sequence[Sequence[float]], axes: Tensor, motion: Motion) -> WithBox:
    """A model whose part between two corners in `axes` [3, 3], columns in model space, is seen where `motion` brings
    it, in place of what was there; where it was is nothing.

    Raises:
        UserError: a model that ends no rays, or a turn of one whose rays all look one way.
    """
    model = _ending(model, "nothing can be moved in")
    if not getattr(model, "all_directions", True) and not motion.rotation.allclose(torch.eye(3).to(motion.rotation)):
        raise UserError("nothing can be turned in a model of normalised device coordinates (--model.ndc), which knows "
                        "what faces its cameras alone; move it without --move-turn")
    return WithBox(hidden(model, corners, axes), model, corners, axes, motion)


def _ending(model: nn.Module, what: str) -> nn.Module:
    if not getattr(model, "ends_rays", False):
        raise UserError(f"{what} this model, which does not end a ray at a given depth; instant-ngp and all models "
                        "whose rays are cut into intervals do, an octree does not: use the run that it was made of")
    return model
