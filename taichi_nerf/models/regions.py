"""Disjoint regions of space, each with an Instant-NGP of its own, that are one model (Li et al. 2024, NeRF-XL).

    K regions, R rays; the regions that are here, all of them unless several ranks share the model

A ray is sampled on one lattice, whatever regions there are, and cut where it passes from one to the next. Each region
composites its piece as if the ray began at its border; what all of them have, a few numbers a ray, makes the pixel
(`ops.region_compositing`). That is volume rendering of the whole, to rounding: no region blends into another, and which
regions are on which rank changes nothing.

The grid and the hash table of a region are of the whole cube, of which the region uses its part: cells and levels are
as fine as those of a single model, and one region is one. Codes of appearance are of photos, so that all regions have
them in common: the gradient of a code is the sum of what the regions give it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..config import RegionsConfig
from ..data.regions import boxes_of, regions_of
from ..data.scene import Cameras, Scene
from ..fields.codes import with_codes
from ..fields.field import Radiance
from ..ops.camera import rays_from_pixels
from ..ops.region_compositing import composite_regions
from ..samplers.regions import cut_samples, interleaved, spans_of
from ..types import UNKNOWN, Batch, Rays, Shot, Standing
from .instant_ngp import InstantNGP
from .model import Box, Exchange, Model, ParameterGroup, Space
from .pixels import Pixels

__all__ = ["RegionPixels", "Regions", "shares_of_rays"]

BETWEEN_SEEDS = 7919  # of two regions
GLANCES = 8  # rays across and down a photo that stand for all


@dataclass(frozen=True, kw_only=True)
class RegionPixels(Pixels):
    """Pixels of several regions; `weights` have no gradient, which goes by what each region has alone."""

    alone: Tensor
    """[K] weights of the samples, as if each region began the ray."""
    slot: Tensor
    """[K] int64: of the samples, which of the regions that are here."""
    composited: Callable[[Tensor], Tensor]
    """[R] of sums [regions here, R] of weights times values."""
    here: int
    """Regions that are here."""

    def carried(self, values: Tensor) -> Tensor:
        rays = self.samples.ray_total
        sums = values.new_zeros(self.here * rays).index_add(
            0, self.slot * rays + self.samples.ray_index, self.alone * values)
        return self.composited(sums.view(self.here, rays))


class Regions(Model):
    """The models of all regions, as one. Everything random is a function of `seed`."""

    ends_rays = True

    def __init__(self, config: RegionsConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None,
                 own: Sequence[int] | None = None):
        """`own`: numbers of the regions that are made here, as of `share`; None: all."""
        super().__init__(config, box, counts)
        half = 0.5 * box.aabb_scale
        self.corners = np.array(config.corners, np.float32) if config.boxes else boxes_of(np.zeros((0, 3)), half,
                                                                                          config.count)
        self.own = list(range(config.count) if own is None else own)
        self.parts = _Parts(self._made(number, seed) for number in range(config.count))
        # what lies on the faces of the cube is in its outer regions, where rounding puts it
        corners = torch.from_numpy(self.corners)
        self.register_buffer("boxes", torch.where(corners.abs() >= half, corners.sign() * float("inf"), corners),
                             persistent=False)
        self.sees_cones = self.parts[0].sees_cones
        self.exchange: Exchange | None = None

    @classmethod
    def check_scene(cls, config: RegionsConfig, scene: Scene) -> None:
        if not config.boxes:
            regions_of(scene, config.count)

    @classmethod
    def space(cls, config: RegionsConfig, box: Box) -> Space:
        return Space(f"{config.count} regions of {box.words}, each by an occupancy grid, from {box.near:g} on",
                     beyond=False)

    @classmethod
    def fitted(cls, config: RegionsConfig, scene: Scene) -> RegionsConfig:
        return config if config.boxes else config.at(regions_of(scene, config.count).boxes)

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        """Pixels of `rays` in model space; in training the samples are shifted by a random part of a step."""
        enter, leave, order = spans_of(rays, self.boxes)
        if self.exchange is not None and rays.origins.requires_grad:  # of cameras that are corrected
            rays = replace(rays, origins=self.exchange.spread(rays.origins),
                           directions=self.exchange.spread(rays.directions))
        rays = replace(rays, shot=with_codes(rays.shot, self.codes, len(rays)))
        pieces = [self._piece(number, rays, enter, leave, standing) for number in self.own]
        transmittance = torch.stack([1 - piece.opacity for piece in pieces])
        values = torch.stack([torch.cat([piece.colour, piece.depth[:, None]], dim=1) for piece in pieces])
        if self.exchange is not None:
            transmittance, values = self.exchange.gathered(transmittance, values)
        shown, through = composite_regions(transmittance, values, order)
        samples, source = interleaved([piece.packed for piece in pieces], self._order_here(order))
        alone = torch.cat([piece.weights for piece in pieces])[source]
        counts = torch.tensor([piece.visible for piece in pieces], device=source.device)
        slot = torch.arange(len(pieces), device=source.device).repeat_interleave(counts)[source]
        reaching = _reaching(transmittance.detach(), order.long())[self.own]  # [regions here, R]
        pixels = RegionPixels(
            colour=shown[:, :3], opacity=1 - through, depth=shown[:, 3], packed=samples, alone=alone, slot=slot,
            weights=alone.detach() * reaching[slot, samples.ray_index.long()], here=len(pieces),
            marched=sum(piece.marched for piece in pieces),
            composited=partial(self._composited, transmittance, order))
        return pixels.averaged(rays.per_pixel)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        return self._first.losses(pixels, batch, standing)

    def density(self, positions: Tensor, shot: Shot = UNKNOWN, standing: Standing | None = None) -> Tensor:
        """As of `Model`, in training where it stands: of the field of the region that a position lies in, whether its
        grid knows of something there or not."""
        density = torch.zeros_like(positions[:, 0])
        for part, index in self._in_regions(positions):
            density = density.index_put((index,), part.density(positions[index], shot[index], standing))
        return density if self.exchange is None else self.exchange.added(density)

    def radiance(self, positions: Tensor, shot: Shot = UNKNOWN) -> Radiance:
        """Where all regions are here."""
        density, shot = torch.zeros_like(positions[:, 0]), with_codes(shot, self.codes, len(positions))
        found = [(index, part.radiance(positions[index], shot[index])) for part, index in self._in_regions(positions)]
        for index, radiance in found:
            density = density.index_put((index,), radiance.density)
        return Radiance(density, _Colours(len(positions), self._first.field.harmonics), found, shot)

    @property
    def core(self) -> float | None:
        return self._first.core

    def parameter_groups(self) -> list[ParameterGroup]:
        return [group for group in super().parameter_groups() if self.holds(group.name)]

    def cropped(self, lower: Sequence[float], upper: Sequence[float]) -> ExitStack:
        """Within the context nothing is seen but what lies between two corners, to a cell of the occupancy grids."""
        stack = ExitStack()
        for part in self._here():
            stack.enter_context(part.cropped(lower, upper))
        return stack

    def before_training(self, cameras: Cameras) -> None:
        super().before_training(cameras)
        for part in self._here():
            part.before_training(cameras)

    def after_step(self, standing: Standing) -> None:
        """Let each grid look at its field. Of the cells around its region it looks at the nearest of the region: beyond
        the border the field has learned nothing."""
        for number in self.own:
            part, (lower, upper) = self.parts[number], self.boxes[number]
            part.grid.update(lambda positions, part=part, lower=lower, upper=upper: part.density(
                torch.minimum(torch.maximum(positions, lower), upper), standing=standing), standing.step)

    def rehearsal(self) -> tuple[int, ...]:
        first, *_ = [part.rehearsal() for part in self._here()]  # which prepares the grid of each
        return first

    def share(self, own: Sequence[int], exchange: Exchange) -> None:
        self.own, self.exchange = list(own), exchange
        for codes in self.codes.values():
            codes.spread = exchange.spread
        for number, part in enumerate(self.parts):
            if number not in self.own:
                _elsewhere(part)

    def holds(self, name: str) -> bool:
        words = name.split(".")
        return words[0] != "parts" or int(words[1]) in self.own

    @contextmanager
    def completed(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Within the context all regions are here, those of other ranks with these `tensors`, as of `state_dict`."""
        own, exchange, device = self.own, self.exchange, self.boxes.device
        for number, part in enumerate(self.parts):
            if number not in own:
                part.to_empty(device=device)
                part.load_state_dict({name.split(".", 2)[2]: value for name, value in tensors.items()
                                      if name.startswith(f"parts.{number}.")})
        self.own, self.exchange = list(range(len(self.parts))), None
        try:
            yield
        finally:
            self.share(own, exchange)

    @property
    def _first(self) -> InstantNGP:
        """One that is here, for what all have in common."""
        return self.parts[self.own[0]]

    def _made(self, number: int, seed: int) -> InstantNGP:
        """The model of a region, without the codes: those of the first are of all."""
        part = InstantNGP(self.config, self.box, seed + BETWEEN_SEEDS * number, self.counts)
        if number == 0:
            self.codes = part.codes
        part.codes = nn.ModuleDict()
        if number not in self.own:
            return _elsewhere(part)
        part.grid.confine(*self.corners[number])
        return part

    def _here(self) -> Iterator[InstantNGP]:
        return (self.parts[number] for number in self.own)

    def _piece(self, number: int, rays: Rays, enter: Tensor, leave: Tensor, standing: Standing | None) -> Pixels:
        """What a region shows of all rays, as if they began at its border."""
        part = self.parts[number]
        samples = cut_samples(part.march(rays, standing), rays.directions, enter[number], leave[number])
        return part.shown(samples, rays, standing)

    def _composited(self, transmittance: Tensor, order: Tensor, sums: Tensor) -> Tensor:
        """[R] of sums [regions here, R], where the regions have `transmittance` [K, R]."""
        if self.exchange is not None:
            (sums,) = self.exchange.gathered(sums)
        return composite_regions(transmittance, sums[..., None], order)[0][:, 0]

    def _order_here(self, order: Tensor) -> Tensor:
        """[regions here, R], numbered among themselves."""
        return order.long().argsort(dim=0)[self.own].argsort(dim=0)

    def _in_regions(self, positions: Tensor) -> Iterator[tuple[InstantNGP, Tensor]]:
        """Each region that is here, and the numbers of the positions [M, 3] in it."""
        lower, upper = self.boxes[:, :1], self.boxes[:, 1:]
        inside = ((positions >= lower) & (positions < upper)).all(dim=2)  # [K, M]
        return ((self.parts[number], inside[number].nonzero()[:, 0]) for number in self.own)


def shares_of_rays(boxes: np.ndarray, cameras: Cameras) -> np.ndarray:
    """[K]: which part of the rays of `cameras`, in model space, meets each of boxes [K, 2, 3]."""
    place = (np.stack(np.meshgrid(np.arange(GLANCES), np.arange(GLANCES)), axis=-1).reshape(-1, 2) + 0.5) / GLANCES
    pixels = torch.from_numpy((place * cameras.size[:, None]).reshape(-1, 2).astype(np.float32))
    of_camera = torch.arange(len(cameras), dtype=torch.int32).repeat_interleave(len(place))
    names = ("camera_to_world", "focal", "principal", "distortion", "lens")
    arrays = (torch.from_numpy(np.ascontiguousarray(getattr(cameras, name))) for name in names)
    enter, leave, _ = spans_of(Rays(*rays_from_pixels(of_camera, pixels, *arrays)), torch.from_numpy(boxes))
    return (leave > enter).float().mean(dim=1).numpy()


def _elsewhere(part: InstantNGP) -> InstantNGP:
    """A model whose numbers are on another rank: shapes alone."""
    return part.to("meta").requires_grad_(False)


class _Parts(nn.ModuleList):
    """Models of which those that are elsewhere stay there, whatever is done to the tensors of all."""

    def _apply(self, fn, recurse=True):
        for part in self:
            if not next(part.parameters()).is_meta:
                part._apply(fn, recurse)
        return self


class _Colours:
    """The colours of positions of which each region knows its own: what `Radiance` asks of a field."""

    def __init__(self, count: int, harmonics: int | None):
        self.count, self.harmonics = count, harmonics

    def colour(self, found: Sequence[tuple[Tensor, Radiance]], directions: Tensor, shot: Shot) -> Tensor:
        colour = torch.zeros_like(directions)
        for index, radiance in found:
            colour = colour.index_put((index,), radiance.colour(directions[index]))
        return colour

    def colour_coefficients(self, found: Sequence[tuple[Tensor, Radiance]], shot: Shot) -> Tensor:
        coefficients = found[0][1].density.new_zeros(self.count, 3, (self.harmonics + 1) ** 2)
        for index, radiance in found:
            coefficients = coefficients.index_put((index,), radiance.coefficients())
        return coefficients


def _reaching(transmittance: Tensor, order: Tensor) -> Tensor:
    """[K, R]: what reaches each region of a ray, which meets them in `order`."""
    along = transmittance.gather(0, order)
    before = torch.cat([torch.ones_like(along[:1]), along[:-1]]).cumprod(dim=0)
    return torch.empty_like(before).scatter_(0, order, before)
