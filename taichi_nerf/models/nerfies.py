"""Nerfies: a scene at rest, and by which rigid motion each of its points came there (Park et al. 2021).

A code for each time of the training images tells the warp of it; a time between two is told what lies between. Photos
come in along a course from a time of rest, at which codes are nothing and nothing moves, as those of D-NeRF do. The
warp can see the coordinates from coarse to fine, so that what is large is put in its place before anything bends, and
an elastic loss

    weight mean_r sum_i w_i rho(E(J_i)),     E = sum_k log^2 s_k of the singular values of J_i = dx' / dx

with rho of Geman and McClure holds it to rigid motions where they will do, once the course is over: a thing that
begins to move stretches what is around it, and while it has hardly moved that costs more than it gains. The weights w
of the samples are taken as they are. The sum over all samples is estimated, without bias, by one in `elastic_every` of
them: they are drawn in proportion to their weights, and then all count alike. What structure from motion found stands
still: as much as such a point, and what lies around it, is displaced at a random time is a loss, too,

    weight mean rho'(|x' - x|^2)

with a rho' for which anything that moves visibly is an outlier.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..config import NerfiesConfig
from ..fields.codes import TimeCodes
from ..fields.rigid import RigidWarp
from ..losses import geman_mcclure
from ..ops.elastic import elastic_energy
from ..samplers.by_weight import in_proportion
from ..samplers.seeds import seed_of
from ..types import UNKNOWN, Batch, Rays, Shot, Standing
from .d_nerf import DNeRF
from .model import Box, ParameterGroup
from .pixels import Pixels

__all__ = ["Nerfies"]

POINTS = 1024  # of those that stand still, in a step
STILL = 1e-3  # model units: of rho', and the deviation of what lies around a point
DRIFT, STRETCH = 128, 129  # purposes of random numbers
TOLD = 0.1  # of the warp's learning rate is that of codes that multiply: each is taught by the photos of its time alone


class Nerfies(DNeRF):
    """A hash field behind rigid motions, and an occupancy grid of all times. Everything random is a function of
    `seed`."""

    def __init__(self, config: NerfiesConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, seed, counts)
        generator = torch.Generator().manual_seed(seed + 1)  # the field has taken its numbers from the other
        times, warp = self.counts.get("time", 0), config.warp
        self.codes["warp"] = TimeCodes(min(warp.codes or times, times), warp.code, generator,
                                       rest=warp.rest if warp.codes_multiply else None)
        self.points: Tensor | None = None  # [P, 3]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Codes that multiply learn in pace with the warp."""
        groups, pace = super().parameter_groups(), {}
        if self.config.warp.codes_multiply:
            pace["codes.warp"] = {"share": TOLD * self.config.warp.rate, "factor": self._warp_pace}
        return [replace(group, **pace.get(group.name, {})) for group in groups]

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        if standing is not None:
            coarse = self.config.warp.coarse
            self.field.warp.let_in(standing.progress / coarse if coarse else 1.0)
        return super().render(rays, standing)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        terms = super().losses(pixels, batch, standing)
        elastic = self._elastic_weight(standing)
        if elastic > 0:
            terms["elastic"] = elastic * self._elastic(pixels, batch.rays, standing)
        if self.config.warp.still > 0 and self.points is not None:
            terms["still"] = self.config.warp.still * self._drift(standing)
        return terms

    def know_points(self, points: Tensor) -> None:
        self.points = points if len(points) else None

    def density(self, positions: Tensor, shot: Shot = UNKNOWN, standing: Standing | None = None) -> Tensor:
        return super().density(positions, self.told(shot, len(positions)), standing)

    def _elastic_weight(self, standing: Standing) -> float:
        """Along a course it is nothing where codes multiply: a warp that bends nothing yet would be held by it."""
        warp = self.config.warp
        return warp.elastic * (self._after_course(standing) if warp.codes_multiply else 1.0)

    def _elastic(self, pixels: Pixels, rays: Rays, standing: Standing) -> Tensor:
        """Of samples that are drawn by their weights, in the place of all."""
        samples, weights = pixels.samples, pixels.weights.detach()
        count = -(-len(weights) // self.config.warp.elastic_every)
        some = in_proportion(weights, count, seed_of(standing, STRETCH))
        jacobian = self.field.warp.jacobian(samples.positions[some], self.told(rays.shot, len(rays)),
                                            samples.ray_index[some])
        loss = geman_mcclure(elastic_energy(jacobian), self.config.warp.elastic_scale)
        return weights.sum() * loss.sum() / (max(count, 1) * len(rays))

    def _drift(self, standing: Standing) -> Tensor:
        """Of points that stand still."""
        like, generator = self.points, torch.Generator(self.points.device).manual_seed(seed_of(standing, DRIFT))
        chosen = like[torch.randint(len(like), (POINTS,), generator=generator, device=like.device)]
        around = chosen + STILL * torch.randn(chosen.shape, generator=generator, dtype=like.dtype, device=like.device)
        time = torch.rand(POINTS, generator=generator, dtype=like.dtype, device=like.device)
        moved = self.field.warp(around, self.told(Shot(time=time), POINTS))
        return geman_mcclure(moved.square().sum(dim=1), STILL).mean()

    def _warp(self, generator: torch.Generator) -> nn.Module:
        return RigidWarp(self.config.warp, self.box.aabb_scale, generator)
