"""Mip-NeRF 360: a contraction of space, and proposals of where to look (Barron et al. 2022).

The unit ball stays, and all beyond is drawn into the ball of radius 2 around it. Rays are cut evenly in disparity; at
each level a proposal, which has density alone, says where the next cuts; the field is asked only at the last level. The
proposals learn to bound the weights of the last level, and never see a picture.

With a hash grid as the encoding (--encoding hash) the intervals are points, which are contracted and looked up: the
fast variant, as nerfacto is (Tancik et al. 2023, Nerfstudio). With widths, blurred losses of proposals and distances
on a power ladder it is Zip-NeRF (Barron et al. 2023).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..config import FieldConfig, MipNeRF360Config, PositionalFieldConfig, RangeConfig, Spacing
from ..data.scene import Cameras, Scene
from ..fields.codes import Codes, with_codes
from ..fields.encoded import EncodedGaussians
from ..fields.field import Field, Radiance, Samples
from ..fields.hash_field import HashDensity, HashField
from ..losses import charbonnier
from ..ops.conical_frustum import frustum_moments
from ..ops.contraction import off_axis_basis, project_gaussians
from ..ops.distortion import interval_distortion_loss
from ..ops.interval_sampling import distance_from_normalised, power_ladder
from ..ops.proposal_loss import blurred_proposal_loss, proposal_bound_loss
from ..ops.volume_rendering import composite_intervals, interval_weights
from ..samplers.proposals import Proposals
from ..types import UNKNOWN, Batch, Rays, Shot, Standing
from .cones import contracted, grid_samples, seen_points, usual_view
from .intervals import IntervalModel
from .mip_nerf import refuse_fisheye
from .model import Box, Space
from .pixels import Level, Pixels, pixels_of_levels

CONTRACTED_SIDE = 4.0  # of the cube around the ball that all space is drawn into
FAR = 1e6  # model units: the end of contracted space
LADDER_POWER, LADDER_SCALE = -0.25, 1e4  # of distances in the distortion loss: those of Zip-NeRF


class MipNeRF360(IntervalModel):
    """A field and its proposals. Everything random is a function of `seed`."""

    nearest = 0.1

    def __init__(self, config: MipNeRF360Config, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, counts)
        self.contraction, self.range = self.contracts(config, box), self.whole_range(config, box)
        self.hashed = isinstance(config.field, FieldConfig)
        self.sees_cones = not self.hashed or config.widths != "off"
        side = CONTRACTED_SIDE if self.contraction else box.aabb_scale * self.scale
        generator = torch.Generator().manual_seed(seed)
        proposals = 1 if config.shared_proposal else len(config.proposal_samples)
        if self.hashed:
            self.field = HashField(config.field, side, generator, config.appearance)
            if self.sees_cones:  # of the median camera: radius of a pixel's cone, distance of the centre
                self.register_buffer("view", torch.zeros(2))
            shape = config.proposal
            made = [HashDensity(shape.hash_grid, side, 1, shape.width, generator, levels=levels)
                    for levels in config.proposal_levels or (None,) * proposals]
        else:
            basis = torch.from_numpy(off_axis_basis())
            self.register_buffer("basis", basis, persistent=False)  # in double precision
            self.field = EncodedGaussians(config.field, len(basis), generator, appearance=config.appearance,
                                          colour_padding=0.001, initial="he")
            shape = PositionalFieldConfig(levels=config.field.levels, width=config.proposal.width,
                                          depth=config.proposal.depth)
            made = [EncodedGaussians(shape, len(basis), generator, colour=False, initial="he")
                    for _ in range(proposals)]
        self.proposals = nn.ModuleList(made)
        if config.appearance:
            self.codes["appearance"] = Codes(self.counts.get("appearance", 0), config.appearance, generator)
        self.sampler = Proposals((*config.proposal_samples, config.samples), dilation=config.dilation,
                                 anneal_slope=config.anneal_slope, single_jitter=config.single_jitter)

    @staticmethod
    def contracts(config: MipNeRF360Config, box: Box) -> bool:
        """Whether all space is drawn into a ball."""
        return not box.bounded if config.contraction is None else config.contraction

    @classmethod
    def whole_range(cls, config: MipNeRF360Config, box: Box) -> RangeConfig:
        """Between which distances, in model units, rays are sampled where nothing else ends them."""
        if box.bounded:
            return config.range
        near = max(box.near, cls.nearest) if config.range.near is None else config.range.near
        far = FAR if config.range.far is None and cls.contracts(config, box) else config.range.far
        return replace(config.range, near=near, far=far)

    @classmethod
    def space(cls, config: MipNeRF360Config, box: Box) -> Space:
        if not cls.contracts(config, box):
            return super().space(replace(config, range=cls.whole_range(config, box)), box)
        reach, core = cls.whole_range(config, box), 1 / cls.unit_scale(config, box)
        met = "" if reach.near is None or reach.far is None else (
            f"; rays are sampled from {reach.near:g} to {reach.far:g}")
        return Space(f"all of space, of which the ball of radius {core:g} is left as it is, and what lies beyond is "
                     f"drawn together around it{met}", beyond=True)

    @classmethod
    def unit_scale(cls, config: MipNeRF360Config, box: Box) -> float:
        return 2 / box.aabb_scale if box.bounded else 1 / config.radius

    @classmethod
    def check_scene(cls, config: MipNeRF360Config, scene: Scene) -> None:
        super().check_scene(config, scene)
        if config.integrated and isinstance(config.field, PositionalFieldConfig):
            refuse_fisheye(scene, "mip-nerf-360")

    def before_training(self, cameras: Cameras) -> None:
        if not self.hashed:  # the mean of the encoding over a cone is there already
            return
        super().before_training(cameras)
        if self.sees_cones:
            self.view.copy_(usual_view(cameras) * torch.tensor([1.0, self.scale]))

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        unit = self.unit_rays(replace(rays, shot=with_codes(rays.shot, self.codes, len(rays))))
        near, far = self.reach(unit, self.range)

        def look(number: int, s: Tensor) -> Level:
            return self._level(number, unit, s, near, far, standing)

        levels = self.sampler.sample(near, look, standing)
        return pixels_of_levels(rays, levels).averaged(rays.per_pixel)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        """Of the picture, of the proposals' bounds, and of how far the weights are spread along the rays."""
        config, last = self.config, pixels.levels[-1]
        prediction = last.pixels.over(batch.background)
        terms = {"colour": charbonnier(prediction, batch.target, config.charbonnier, batch.weight)}
        if config.proposal_weight > 0:
            terms["proposal"] = config.proposal_weight * sum(loss.mean() for loss in self._proposal_losses(pixels))
        if config.distortion_weight > 0:
            distances = last.s
            if config.distortion_distance == "power-ladder":
                distances = power_ladder(LADDER_SCALE * self.scale * last.t, LADDER_POWER)
            terms["distortion"] = config.distortion_weight * interval_distortion_loss(last.weights, distances).mean()
        return terms

    def _proposal_losses(self, pixels: Pixels) -> list[Tensor]:
        """[R] of each proposal: what it has to learn of the weights of the last level, which learn nothing of it."""
        *proposals, last = pixels.levels
        if not self.config.proposal_blur:
            return [proposal_bound_loss(last.s, last.weights, level.s, level.weights) for level in proposals]
        return [blurred_proposal_loss(last.s, last.weights, level.s, level.weights, reach)
                for level, reach in zip(proposals, self.config.proposal_blur)]

    @property
    def core(self) -> float | None:
        return 1 / self.scale if self.contraction else None

    def radiance(self, positions: Tensor, shot: Shot = UNKNOWN) -> Radiance:
        """At points, which have no extent; of a grid with widths, what the median camera sees there."""
        origins, shot = positions * self.scale, with_codes(shot, self.codes, len(positions))
        if self.hashed:
            samples = seen_points(origins, *self.view) if self.sees_cones else origins
            density, hidden = self._grid_density(self.field, samples, shot)
            return Radiance(density * self.scale, self.field, hidden, shot)
        zero = torch.zeros_like(origins[:, :1])
        ahead = torch.zeros_like(origins)
        ahead[:, 2] = 1.0
        mean, variance = project_gaussians(origins, ahead, zero, zero, zero, self._axes(), self.contraction)
        density, hidden = self.field.density((mean[:, 0], variance[:, 0]), shot)
        return Radiance(density * self.scale, self.field, hidden, shot)

    def _level(self, number: int, unit: Rays, s: Tensor, near: Tensor, far: Tensor, standing: Standing | None) -> Level:
        """What a proposal, or last the field, finds in the intervals between s [R, S + 1]."""
        proposal, last = number < len(self.config.proposal_samples), "bounded" if self.ends(unit) else "opaque"
        field = self.proposals[number % len(self.proposals)] if proposal else self.field
        t = distance_from_normalised(s, near, far, self.config.range.spacing)  # [R, S + 1]
        density, hidden = self._density(field, number, unit, t, standing)
        density = density.view(len(t), -1)  # [R, S]
        if proposal:
            return Level(s=s, t=t / self.scale, weights=interval_weights(density, t, last))
        colour = field.colour(hidden, unit.directions, unit.shot).view(*density.shape, 3)  # [R, S, 3]
        colour, opacity, depth, weights = composite_intervals(density, colour, t, last)
        if self.config.range.spacing in ("disparity", "power-ladder"):
            depth = mean_distance(weights, opacity, s, near, far, self.config.range.spacing)
        return Level(s=s, t=t / self.scale, weights=weights,
                     pixels=Pixels(colour=colour, opacity=opacity, depth=depth / self.scale))

    def _density(self, field: Field, number: int, unit: Rays, t: Tensor,
                 standing: Standing | None) -> tuple[Tensor, Any]:
        """[R S] of the intervals between t [R, S + 1] of a level."""
        if self.hashed:
            return self._grid_density(field, grid_samples(self.config.widths, unit, t, number, standing), unit.shot)
        radius = torch.zeros_like(t[:, 0]) if unit.radius is None else unit.radius
        moments = frustum_moments(t, radius)
        if not self.config.integrated:
            moments = moments[0], torch.zeros_like(moments[1]), torch.zeros_like(moments[2])
        mean, variance = project_gaussians(unit.origins, unit.directions, *moments, self._axes(), self.contraction)
        return field.density((mean.flatten(0, 1), variance.flatten(0, 1)), unit.shot)

    def _grid_density(self, field: Field, samples: Samples, shot: Shot) -> tuple[Tensor, Any]:
        density, hidden = field.density(contracted(samples) if self.contraction else samples, shot)
        return self.config.initial_density * density, hidden

    def _axes(self) -> Tensor:
        return self.basis.to(self.field.network.density_layer.weight)


def mean_distance(weights: Tensor, opacity: Tensor, s: Tensor, near: Tensor, far: Tensor, spacing: Spacing) -> Tensor:
    """[R]: the opacity times the distance at the mean of s, of weights [R, S] between fenceposts s that are spaced by
    disparity or by a power ladder.

    The mean of distances themselves would be that of the last interval, which ends a million units away.
    """
    middle = (s[:, 1:] + s[:, :-1]) / 2
    s = (weights * middle).sum(dim=1) / opacity.clamp_min(1e-12)
    if spacing == "disparity":
        return opacity / (s / far + (1 - s) / near)
    rung = s * (1 + 0.8 * far) ** -1.5 + (1 - s) * (1 + 0.8 * near) ** -1.5  # as in the kernels of interval_sampling
    return opacity * (rung ** (-2 / 3) - 1) / 0.8
