"""Surfaces within a field: meshes that hide what lies behind them, and are hidden by what lies in front.

A ray is one integral: the field's samples up to where it meets a surface at t, the last of them cut there, and then the
surface's colour times the transmittance that is left,

    C = sum over t_i < t of w_i c_i  +  T(t) c_surface.

What is soft in the field, or transparent, so shows the surface through it by as much as it lets pass. At glass of
opacity a the integral is split, and goes on behind it as it came:

    C = C_front + T_front (a c_surface + (1 - a) C_behind),    T_front = 1 - opacity of the field in front,

several surfaces one after the other, of which the last that a ray meets may be opaque. Where glass is tinted, what
passes in place of 1 - a is that of each channel (`surfaces`); of opacity, depth and weights it is the mean of the
three, and what takes the rest of the light is the surface.

With a light (`lights`) a surface casts its shadow: the light of c_i is darkened by the share of all light that it hides
from the sample, and with it that of the ray's colour by the mean over its samples, weighed by w_i.

P pixels of R rays, each of which meets at most L surfaces. Colours are sRGB; light adds in linear light.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..data.mesh_files import Mesh
from ..data.scene import Scene
from ..errors import UserError
from ..ops.ray_mesh import intersect_ray_mesh
from ..types import Rays, Standing
from .lights import Light, linear, srgb
from .pixels import Pixels, gathered_samples, mean_of
from .surfaces import BEHIND, DARK, MOST_LAYERS, Surface, surface_of

__all__ = ["Surface", "WithObjects", "alone", "placed", "surface_of", "turn_around"]

AT_EDGES = 4  # rays of a pixel that the outline of a surface passes through
SPREAD = 0.02  # of the distances in a pixel: from there on its rays see different things
FAINTEST = 1e-3  # weight of a sample below which nobody sees its shadow


def placed(mesh: Mesh, scene: Scene, up: np.ndarray, *, at: Sequence[float], scale: float = 1.0,
           turn: float = 0.0) -> Mesh:
    """A mesh with z up in model space: its origin `at` a point of the world of the scene's file, its unit `scale` units
    of that world, its z along `up` [3] there, turned by so many degrees to the left around it."""
    rotation = scene.rotation @ turn_around(up, turn) @ _least_turn(up)
    return mesh.moved(scale * scene.scale, rotation, scene.to_model(np.asarray(at) - scene.origin).astype(np.float64))


def turn_around(up: np.ndarray, degrees: float) -> np.ndarray:
    """[3, 3]: the rotation to the left around the unit vector `up`."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    upright = _least_turn(up)
    return upright @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ upright.T


def _least_turn(up: np.ndarray) -> np.ndarray:
    """[3, 3]: the rotation that takes z to the unit vector `up` by the smallest angle."""
    x, y, cosine = up
    if cosine < -0.9999:
        return np.diag([1.0, -1.0, -1.0])
    cross = np.array([[0.0, 0.0, x], [0.0, 0.0, y], [-x, -y, 0.0]])  # of z and up, as a matrix
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


class WithObjects(nn.Module):
    """What renders a model with surfaces in it; `views` takes it in place of the model.

    Without a light a surface has its own colour. Gradients flow to the field in front of the surfaces.

    Raises:
        UserError: a model whose rays cannot end at a surface.
    """

    def __init__(self, model: nn.Module, surfaces: Sequence[Surface], light: Light | None = None):
        super().__init__()
        if not getattr(model, "ends_rays", False):
            raise UserError("objects cannot be put into this model, which does not end a ray at a given depth; "
                            "instant-ngp and all models whose rays are cut into intervals do, an octree does not: use "
                            "the run that it was made of")
        self.model, self.surfaces, self.light = model, list(surfaces), light
        self.goes_on = False  # whether a ray met more surfaces than it can go through
        self.unmet = set(range(len(self.surfaces)))  # those that no ray has seen
        self.sees_cones, self.has_normals = model.sees_cones, getattr(model, "has_normals", True)
        self.rays_per_pixel = max(model.rays_per_pixel, AT_EDGES)
        self.sharpest = getattr(model, "sharpest", torch.zeros(2))

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        """Pixels of rays in model space, each the mean of `rays.per_pixel` of them; where all rays of a pixel see the
        same surface, or none, the field is looked at along their middle alone. The samples are those of the field;
        `surfaces` [P] of the extras is how much of a pixel surfaces are, `normals` [P, 3] the sum of theirs by that,
        `tint` [P, 3] as of `Pixels.over`. Of a pixel that sees several of the photos, the field is looked at as in each
        of these."""
        if self.model.rays_per_pixel == 1 and rays.per_pixel > AT_EDGES and rays.per_pixel % AT_EDGES == 0:
            return self.render(_in_squares(rays), standing).averaged(rays.per_pixel // AT_EDGES)
        t, looks = self._layers(rays)  # [R, L], [R, L, 10]
        apart, together = self._sorted(t.unflatten(0, (-1, rays.per_pixel)))  # pixels
        of_apart = (apart[:, None] * rays.per_pixel + torch.arange(rays.per_pixel, device=t.device)).reshape(-1)
        lines = _one_after_the_other(alone(rays, of_apart), _middles(rays, together))
        ends = torch.cat([t[of_apart], mean_of(t, rays.per_pixel)[together]])
        shown = torch.cat([looks[of_apart], mean_of(looks, rays.per_pixel)[together]])
        found, parts = self._composited(lines, ends, shown, standing)  # [.., 12]
        pixels = found.new_empty(len(t) // rays.per_pixel, 12)
        pixels[apart] = mean_of(found[: len(of_apart)], rays.per_pixel)
        pixels[together] = found[len(of_apart) :]
        # the middle of a pixel counts as all of its rays
        place = torch.cat([of_apart, together * rays.per_pixel])
        counts = t.new_ones(len(place))
        counts[len(of_apart) :] = rays.per_pixel
        packed, weights = gathered_samples(
            [(part, place[chosen], counts[chosen] * left) for part, chosen, left in parts], rays)
        return Pixels(colour=pixels[:, :3], opacity=pixels[:, 3], depth=pixels[:, 4], packed=packed, weights=weights,
                      extras={"surfaces": pixels[:, 5], "normals": pixels[:, 6:9], "tint": pixels[:, 9:]},
                      marched=sum(part.marched for part, *_ in parts))

    def density(self, positions: Tensor, *given) -> Tensor:
        """That of the field alone."""
        return self.model.density(positions, *given)

    def _layers(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """Distances [R, L], infinite where there are no more, and looks [R, L, 10] of the surfaces that rays meet one
        after the other, down to the first opaque one, or to the last of MOST_LAYERS; `goes_on` is set where that one
        was not the last there is."""
        found = [self._seen(rays.origins, rays.directions)]
        while True:
            t, looks = found[-1]
            through = (torch.isfinite(t) & (looks[:, 6] < 1)).nonzero()[:, 0]
            if len(through) == 0:
                break
            begin, directions = t[through] + BEHIND, rays.directions[through]
            further, seen = self._seen(rays.origins[through] + begin[:, None] * directions, directions)
            if len(found) == MOST_LAYERS:
                self.goes_on = self.goes_on or bool(torch.isfinite(further).any())
                break
            found.append((torch.full_like(t, torch.inf).index_copy(0, through, begin + further),
                          torch.zeros_like(looks).index_copy(0, through, seen)))
        t, looks = zip(*found)
        return torch.stack(t, dim=1), torch.stack(looks, dim=1)

    def _seen(self, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Distance [R], infinite where there is none, and [R, 10] colour, normal on the side that is seen, opacity of
        the surface that each ray meets first, and what passes of each channel."""
        t = torch.full_like(origins[:, 0], torch.inf)
        seen = origins.new_zeros(len(origins), 10)
        for number, surface in enumerate(self.surfaces):
            hits = intersect_ray_mesh(surface.mesh, origins, directions, limit=t)
            met = hits.triangle >= 0
            if number in self.unmet and met.any():
                self.unmet.remove(number)
            t = torch.where(met, hits.t, t)
            looks = surface.looks(hits.triangle[met], hits.barycentric[met])
            colour = looks.colour
            normal = looks.normal * -(looks.normal * directions[met]).sum(dim=1, keepdim=True).sign()
            if self.light is not None:
                points = origins[met] + t[met, None] * directions[met]
                colour = srgb(linear(colour) * self.light.on(number, points, normal, self._hidden))
            seen[met] = torch.cat([colour, normal, looks.opacity, looks.passed(looks.colour)], dim=1)
        return t, seen

    def _hidden(self, points: Tensor, directions: Tensor, distance: Tensor) -> Tensor:
        """As of `lights.Hidden`; of what glass covers the part that it does not let pass."""
        origins = points[:, None].expand_as(directions).reshape(-1, 3)
        passed = torch.ones_like(origins[:, :1])
        for surface in self.surfaces:
            passed = passed * surface.passed(origins, directions.reshape(-1, 3), distance.reshape(-1))
        return (1 - passed).view(*distance.shape, passed.shape[1])

    def _sorted(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Of pixels whose rays meet surfaces at t [P, K, L]: those whose rays see different things, and the others."""
        if self.model.rays_per_pixel > 1:
            return torch.arange(len(t), device=t.device), torch.arange(0, device=t.device)
        nearest, farthest = t.min(dim=1).values, t.max(dim=1).values
        alike = ((nearest == farthest) | (farthest <= (1 + SPREAD) * nearest)).all(dim=1)
        return (~alike).nonzero()[:, 0], alike.nonzero()[:, 0]

    def _composited(self, rays: Rays, t: Tensor, looks: Tensor,
                    standing: Standing | None) -> tuple[Tensor, list[tuple[Pixels, Tensor, Tensor]]]:
        """[R, 12] colour over black, opacity and depth of rays, the part of surfaces in them, the normals of these by
        that part, and the tint; and what the field shows, each time of which rays, and by how much that counts: the
        light that is left there."""
        image, left, parts = t.new_zeros(len(t), 9), t.new_ones(len(t), 3), []
        goes_on, begin = torch.ones_like(t[:, 0], dtype=torch.bool), None
        for layer, end in enumerate([*t.unbind(dim=1), torch.full_like(t[:, 0], torch.inf)]):
            met = torch.isfinite(end)
            for some, limited in ((goes_on & ~met, False), (goes_on & met, True)):
                chosen = some.nonzero()[:, 0]
                if len(chosen) == 0:
                    continue
                part = rays[chosen]
                if begin is not None:
                    part = replace(part, begin=begin[chosen])
                if limited:
                    part = replace(part, limit=end[chosen])
                pixels, share = self.model.render(part, standing), left[chosen]
                shown = torch.cat([self._shaded(pixels), pixels.opacity[:, None],
                                   pixels.depth[:, None], torch.zeros_like(image[chosen, 5:])], dim=1)
                passed = share * (1 - pixels.opacity)[:, None]
                image = image.index_add(0, chosen, (_of_channels(share) * shown).to(image))
                if limited:
                    colour, normal, opacity, clear = looks[chosen, layer].split((3, 3, 1, 3), dim=1)
                    taken = (passed * (1 - clear)).mean(dim=1, keepdim=True)
                    surface = torch.cat([passed * opacity * colour, taken, taken * end[chosen, None], taken,
                                         taken * normal], dim=1)
                    image = image.index_add(0, chosen, surface.to(image))
                    passed = passed * clear
                left = left.index_copy(0, chosen, passed.to(left))
                parts.append((pixels, chosen, share.detach().mean(dim=1)))
            goes_on, begin = goes_on & met & (left.detach().amax(dim=1) > DARK), end
        return torch.cat([image, left - left.mean(dim=1, keepdim=True)], dim=1), parts

    def _shaded(self, pixels: Pixels) -> Tensor:
        """[R, 3]: the colours of rays, over black, in the shadow of the surfaces."""
        if self.light is None:
            return pixels.colour
        with torch.no_grad():
            samples, weights = pixels.samples, pixels.weights
            seen = (weights > FAINTEST).nonzero()[:, 0]
            lost, of_sample = self.light.lost(samples.positions[seen], self._hidden), weights[seen, None]
            index = samples.ray_index[seen].long()
            sums = torch.zeros_like(pixels.colour)
            shadow = sums.index_add(0, index, of_sample * lost.expand(-1, 3))
            shadow = shadow / sums[:, :1].index_add(0, index, of_sample).clamp_min(1e-12)
        opacity = pixels.opacity[:, None]
        own = pixels.colour / opacity.clamp_min(FAINTEST)
        return torch.where(shadow > 0, opacity * srgb((1 - shadow) * linear(own)), pixels.colour)


def _of_channels(left: Tensor) -> Tensor:
    """[R, 9]: by how much the columns of an image count, where of the three channels so much light is left [R, 3]."""
    return torch.cat([left, left.mean(dim=1, keepdim=True).expand(-1, 6)], dim=1)


def alone(rays: Rays, index: Tensor) -> Rays:
    """Some of the rays, each a pixel of its own with its part of the area."""
    picked = rays[index]
    return picked if rays.radius is None else replace(picked, radius=picked.radius / rays.per_pixel**0.5)


def _in_squares(rays: Rays) -> Rays:
    """The same, where those of a pixel are a grid: each square of AT_EDGES of them next to each other is a pixel, and
    the squares of a pixel follow one another."""
    side, edge = math.isqrt(rays.per_pixel), math.isqrt(AT_EDGES)
    order = torch.arange(len(rays), device=rays.origins.device).view(-1, side // edge, edge, side // edge, edge)
    found = replace(rays[order.transpose(2, 3).reshape(-1)], per_pixel=AT_EDGES)
    return found if rays.radius is None else replace(found, radius=found.radius * (edge / side))


def _middles(rays: Rays, pixels: Tensor) -> Rays:
    """The ray in the middle of each of some pixels."""
    first = rays[pixels * rays.per_pixel]
    directions = torch.nn.functional.normalize(mean_of(rays.directions, rays.per_pixel)[pixels], dim=1)
    return replace(first, origins=mean_of(rays.origins, rays.per_pixel)[pixels], directions=directions)


def _one_after_the_other(first: Rays, second: Rays) -> Rays:
    """All rays of two, which are of the same kind."""
    def both(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b])

    shots = iter(_tensors(second.shot))
    return replace(first, origins=both(first.origins, second.origins),
                   directions=both(first.directions, second.directions),
                   radius=None if first.radius is None else both(first.radius, second.radius),
                   shot=first.shot.map(lambda values: both(values, next(shots))))


def _tensors(shot) -> list[Tensor]:
    """Those of a shot, in the order of its `map`."""
    found = []
    shot.map(lambda values: found.append(values) or values)
    return found
