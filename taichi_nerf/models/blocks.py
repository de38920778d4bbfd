"""Models of the blocks of a scene, looked at as one.

B blocks with centres c and radii r, R rays from o. What is seen is a mean of what each block shows,

    weight of a block ~ |c - o|^-POWER where |c - o| < r, and 0 elsewhere; if all were 0, the nearest block has all

(Tancik et al. 2022, section 3.4). A block from which nothing that it has learned is visible from o is left out: it is
asked for the visibility of points that it saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..types import UNKNOWN, Rays, Shot
from .model import Model
from .pixels import Pixels

__all__ = ["Blocks", "Part"]

POWER = 3  # 4 in the paper, with which a drive jumps more where blocks take turns
LEAST = 1e-3  # of a weight that is worth a rendering
HIDDEN = 0.05  # mean visibility below which a block has nothing to show


@dataclass(frozen=True, kw_only=True)
class Part:
    """A block with its model."""

    model: Model
    centre: tuple[float, float, float]
    """In the space of the whole."""
    radius: float
    origin: tuple[float, float, float]
    """Of the space of its own model, in that of the whole."""
    scale: float
    """Its units in one of the whole."""
    code: Tensor | None = None
    """[A]: of the appearance that it has in the whole, where it is told none."""
    seen: Tensor | None = None
    """[M, 3] points that it saw, in its own space."""


class Blocks(nn.Module):
    """What renders rays of the whole by the models of its parts."""

    def __init__(self, parts: Sequence[Part]):
        super().__init__()
        self.parts = list(parts)
        self.models = nn.ModuleList([part.model for part in parts])
        self.codes = nn.ModuleDict()
        first = parts[0].model
        self.config, self.box, self.moves = first.config, first.box, first.moves
        self.has_normals, self.sees_cones = False, first.sees_cones  # a mean of pictures has no samples
        self.rays_per_pixel = first.rays_per_pixel
        self.sharpest = torch.zeros(2)  # `cones.sharpest_view` of the photos of the whole; 0: not known
        self.ends_rays = first.ends_rays
        self.nearest_alone = False
        """Show what the nearest block shows, with no mean of several."""

    def shares(self, name: str, ids: Tensor) -> bool:
        """Whether all parts have codes of this name for these ids."""
        return all(part.model.shares(name, ids) for part in self.parts)

    def render(self, rays: Rays, standing=None) -> Pixels:
        weight = self.weights(rays.origins[:: rays.per_pixel])  # [B, P]
        found = [(share, self.of_part(part, rays)) for share, part in zip(weight, self.parts) if share.any()]
        colour = sum(share[:, None] * pixels.colour for share, pixels in found)
        opacity = sum(share * pixels.opacity for share, pixels in found)
        depth = sum(share * pixels.depth for share, pixels in found)
        return Pixels(colour=colour, opacity=opacity, depth=depth, marched=sum(pixels.marched for _, pixels in found),
                      weights=torch.cat([pixels.weights for _, pixels in found]))

    def weights(self, places: Tensor) -> Tensor:
        """[B, P] for pixels that are seen from `places` [P, 3]: of each part, 1 in all."""
        centre = places.new_tensor([part.centre for part in self.parts])
        radius = places.new_tensor([part.radius for part in self.parts])
        distance = (places - centre[:, None]).norm(dim=-1)  # [B, P]
        nearest = distance == distance.min(dim=0).values
        counts = nearest if self.nearest_alone else (distance < radius[:, None]) & self._shown(places) | nearest
        weight = torch.where(counts, distance.clamp_min(1e-6) ** -POWER, 0.0)
        weight = torch.where(weight > LEAST * weight.sum(dim=0), weight, 0.0)
        return weight / weight.sum(dim=0)

    def of_part(self, part: Part, rays: Rays) -> Pixels:
        """What one part shows of rays of the whole."""
        origins = (rays.origins - rays.origins.new_tensor(part.origin)) * part.scale
        limit = None if rays.limit is None else rays.limit * part.scale
        begin = None if rays.begin is None else rays.begin * part.scale
        pixels = part.model.render(replace(rays, origins=origins, limit=limit, begin=begin, shot=_told(part, rays)))
        return replace(pixels, depth=pixels.depth / part.scale)

    def density(self, positions: Tensor, shot: Shot = UNKNOWN) -> Tensor:
        """[M] at positions [M, 3] of the whole, of the part whose centre is nearest."""
        centre = positions.new_tensor([part.centre for part in self.parts])
        nearest = torch.cdist(positions, centre).argmin(dim=1)
        density = torch.zeros_like(positions[:, 0])
        for number, part in enumerate(self.parts):
            mine = (nearest == number).nonzero()[:, 0]
            inside = (positions[mine] - positions.new_tensor(part.origin)) * part.scale
            density[mine] = part.model.density(inside, shot[mine] if shot is not UNKNOWN else shot) * part.scale
        return density

    def _shown(self, places: Tensor) -> Tensor:
        """[B, P] whether a part has something to show there; of equal places, as those of a picture are, once."""
        unique, index = places.unique(dim=0, return_inverse=True)
        return torch.stack([self._shows(part, unique) for part in self.parts])[:, index]

    def _shows(self, part: Part, places: Tensor) -> Tensor:
        """[U]"""
        if part.seen is None or not part.model.knows_visibility:
            return torch.ones(len(places), dtype=torch.bool, device=places.device)
        places = (places - places.new_tensor(part.origin)) * part.scale
        towards = torch.nn.functional.normalize(part.seen - places[:, None], dim=-1)  # [U, M, 3]
        points = part.seen.expand_as(towards).reshape(-1, 3)
        visible = part.model.visible(points, towards.reshape(-1, 3)).view(towards.shape[:2])
        return visible.mean(dim=1) > HIDDEN


def _told(part: Part, rays: Rays) -> Shot:
    """The shot of rays, in the appearance that the part has in the whole if they are told none."""
    shot = rays.shot
    if part.code is None or "appearance" in {*shot.ids, *shot.codes}:
        return shot
    return replace(shot, codes={**shot.codes, "appearance": part.code.expand(len(rays), -1)})
