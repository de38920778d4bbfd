"""NeRF: points along rays, a coarse network and a fine one (Mildenhall et al. 2020).

The coarse network sees one random point in each of equal parts of the ray; the fine one those and as many more drawn
from the coarse network's weights. The interval of a point reaches from it to the next. With normalised device
coordinates, for cameras that all face one way, t runs from 0 on a plane in front of them to 1 at infinity.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config import FieldConfig, NeRFConfig
from ..data.scene import FISHEYE, Cameras, Scene
from ..errors import UserError
from ..fields.codes import with_codes
from ..fields.encoded import EncodedPoints
from ..fields.field import Field, Radiance
from ..fields.hash_field import HashField
from ..losses import squared_error
from ..ops.camera import ndc_rays
from ..ops.interval_sampling import distance_from_normalised
from ..ops.volume_rendering import composite_intervals
from ..samplers.coarse_to_fine import CoarseToFine
from ..samplers.seeds import seed_of
from ..types import UNKNOWN, Batch, Rays, Shot, Standing
from .intervals import IntervalModel
from .model import Box, Space
from .pixels import Level, Pixels, pixels_of_levels

WIDEST = math.radians(80)  # between the common direction of the cameras and what they see, for device coordinates
NOISE = 2  # purpose of the random numbers of the coarse network; the next is that of the fine one


class Seen(NamedTuple):
    """What a field says at the points of a level."""

    density: Tensor
    """[R, S]"""
    colour: Tensor
    """[R, S, 3]"""
    hidden: Any
    """The field's own business."""
    field: Field
    t: Tensor
    """[R, S + 1] in unit space, or in device coordinates: the points, and the far end."""


class NeRF(IntervalModel):
    """Two fields and where they are sampled. Everything random is a function of `seed`."""

    def __init__(self, config: NeRFConfig, box: Box, seed: int = 0, counts: Mapping[str, int] | None = None):
        super().__init__(config, box, counts)
        generator = torch.Generator().manual_seed(seed)
        made = [self._field(generator) for _ in range(2 if config.fine_samples else 1)]
        self.coarse, self.fine = made[0], made[1] if config.fine_samples else None
        self.sampler = CoarseToFine(config.coarse_samples, config.fine_samples)
        self.has_normals = self.all_directions = not config.ndc
        self.noise = config.density_noise
        if self.noise is None:
            self.noise = 1.0 if config.ndc else 0.0
        if config.ndc:  # the frame that the cameras share, and 2 fx / width, 2 fy / height, the distance of the plane
            self.register_buffer("frame", torch.eye(3, 4))
            self.register_buffer("frustum", torch.ones(3))

    @classmethod
    def unit_scale(cls, config: NeRFConfig, box: Box) -> float:
        boxed = box.bounded or isinstance(config.field, FieldConfig)  # the whole box becomes [-1, 1]^3, else its core
        return 2 / box.aabb_scale if boxed else 2.0

    @classmethod
    def space(cls, config: NeRFConfig, box: Box) -> Space:
        if not config.ndc:
            return super().space(config, box)
        near = box.near if config.range.near is None else config.range.near
        return Space(f"normalised device coordinates, from a plane at {near:g} to infinity", beyond=True)

    @classmethod
    def check_scene(cls, config: NeRFConfig, scene: Scene) -> None:
        super().check_scene(config, scene)
        if config.ndc:
            cameras = scene.splits["train"].cameras
            if (cameras.lens == FISHEYE).any():
                raise UserError(f"--model.ndc is not for {scene.name}, whose cameras have fisheye lenses: normalised "
                                "device coordinates are those of a perspective camera; leave it out")
            if widest_angle(cameras) > WIDEST:
                raise UserError(f"--model.ndc is not for {scene.name}, whose cameras do not all face one way: "
                                "normalised device coordinates hold only what lies in front of one plane; leave it out")
            if config.range.near is None and scene.splits["train"].bounds is None:
                raise UserError(f"--model.ndc needs to know how near to the cameras {scene.name} begins, which its "
                                "format does not say: read it with --format llff or colmap, or give --model.range.near")

    def before_training(self, cameras: Cameras) -> None:
        super().before_training(cameras)
        if self.config.ndc:
            near = self.box.near if self.config.range.near is None else self.config.range.near
            frame, frustum = shared_frustum(cameras, near)
            self.frame.copy_(torch.from_numpy(frame))
            self.frustum.copy_(torch.from_numpy(frustum))

    def render(self, rays: Rays, standing: Standing | None = None) -> Pixels:
        told = replace(rays, shot=with_codes(rays.shot, self.codes, len(rays)))
        if self.config.ndc:
            unit = self._device_rays(told)
            near, far = self._device_reach(rays)
        else:
            unit = self.unit_rays(told)
            near, far = self.reach(unit, self.config.range)

        def look(number: int, s: Tensor) -> Level:
            return self._level(number, rays, unit, s, near, far, standing)

        levels = self.sampler.sample(near, look, standing)
        return pixels_of_levels(rays, levels).averaged(rays.per_pixel)

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        names = ("coarse", "fine") if self.fine is not None else ("coarse",)
        return {name: squared_error(level.pixels.over(batch.background), batch.target, batch.weight)
                for name, level in zip(names, pixels.levels)}

    def radiance(self, positions: Tensor, shot: Shot = UNKNOWN) -> Radiance:
        """Raises UserError with normalised device coordinates, in which there is no density of a model unit."""
        if self.config.ndc:
            raise UserError("normals and --sparsity are not for --model.ndc, whose space is bent; leave them out")
        field, shot = self._finest, with_codes(shot, self.codes, len(positions))
        density, hidden = field.density(positions * self.scale, shot)
        return Radiance(density * self.scale, field, hidden, shot)

    @property
    def _finest(self) -> Field:
        """That of the last level."""
        return self.coarse if self.fine is None else self.fine

    def _field(self, generator: torch.Generator) -> Field:
        if isinstance(self.config.field, FieldConfig):
            return HashField(self.config.field, self.box.aabb_scale * self.scale, generator)
        return EncodedPoints(self.config.field, generator)

    def _level(self, number: int, rays: Rays, unit: Rays, s: Tensor, near: Tensor, far: Tensor,
               standing: Standing | None) -> Level:
        """The points at s [R, S] and the pixels that they make."""
        seen = self._seen(number, rays, unit, s, near, far, standing)
        colour, opacity, depth, weights = composite_intervals(seen.density, seen.colour, seen.t, self._last(unit))
        t = seen.t
        if self.config.ndc:
            t = self._distance(rays, t)
            depth = (weights * (t[:, 1:] + t[:, :-1]) / 2).sum(dim=1)
        pixels = Pixels(colour=colour, opacity=opacity, depth=depth / self.scale)
        pixels = self._with_others(seen, unit, pixels, standing)
        return Level(s=torch.cat([s, torch.ones_like(s[:, :1])], dim=1), t=t / self.scale, weights=weights,
                     pixels=pixels)

    def _seen(self, number: int, rays: Rays, unit: Rays, s: Tensor, near: Tensor, far: Tensor,
              standing: Standing | None) -> "Seen":
        """What the field of a level says at s [R, S]."""
        field = self.fine if number else self.coarse
        # points along the rays
        t = distance_from_normalised(s, near, far, self.config.range.spacing)  # [R, S]
        positions = unit.origins[:, None] + t[..., None] * unit.directions[:, None]  # [R, S, 3]
        # the field there
        density, hidden = field.density(positions.view(-1, 3), unit.shot, **self._noise(number, t, standing))
        colour = field.colour(hidden, rays.directions, unit.shot).view(positions.shape)  # [R, S, 3]
        density = self._per_t(density.view(s.shape), unit)
        # a point's interval reaches to the next point, that of the last to the far end
        return Seen(density, colour, hidden, field, torch.cat([t, far[:, None]], dim=1))

    def _per_t(self, density: Tensor, unit: Rays) -> Tensor:
        """[R, S] of a density per unit of space: in device coordinates t is no length."""
        return density * unit.directions.norm(dim=1, keepdim=True) if self.config.ndc else density

    def _with_others(self, seen: "Seen", unit: Rays, pixels: Pixels, standing: Standing | None) -> Pixels:
        """`pixels` of a level with what else there is in the space of its field: nothing."""
        return pixels

    def _last(self, rays: Rays) -> str:
        """What the last interval of a ray is."""
        return "bounded" if self.ends(rays) else "infinite"

    def _noise(self, number: int, t: Tensor, standing: Standing | None) -> dict[str, Tensor]:
        """What is added to the density of samples at t [R, S] before its activation, in training."""
        if standing is None or self.noise == 0:
            return {}
        generator = torch.Generator(t.device).manual_seed(seed_of(standing, NOISE + number))
        return {"noise": self.noise * torch.randn(t.numel(), generator=generator, dtype=t.dtype, device=t.device)}

    def _device_rays(self, rays: Rays) -> Rays:
        """Rays in normalised device coordinates of the frame that the cameras share."""
        rotation, position = self.frame[:, :3], self.frame[:, 3]
        scale_x, scale_y, near = self.frustum.tolist()
        origins, directions = ndc_rays((rays.origins - position) @ rotation, rays.directions @ rotation,
                                       (scale_x, scale_y), (2.0, 2.0), near)
        return replace(rays, origins=origins, directions=directions)

    def _device_reach(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """Near and far [R] in device coordinates."""
        ends = torch.zeros_like(rays.origins[:, 0]), torch.ones_like(rays.origins[:, 0])
        if self._crop is None and rays.limit is None and rays.begin is None:
            return ends
        distances, unit = self._distance(rays, torch.stack(ends, dim=1)).unbind(1), self.unit_rays(rays)
        distances = self.within_limit(unit, *self.within_crop(unit, *distances))
        return tuple(self._device_time(rays, end) for end in distances)

    def _distance(self, rays: Rays, t: Tensor) -> Tensor:
        """[R, S + 1] in unit space of t in device coordinates, up to where it is as good as infinite."""
        height, fall, near = self._descent(rays)
        return self.scale * ((height + near) + near * t / (1 - t).clamp_min(1e-3)) / fall

    def _device_time(self, rays: Rays, distance: Tensor) -> Tensor:
        """[R] in device coordinates of distances [R] in unit space, the inverse of `_distance`."""
        height, fall, near = self._descent(rays)
        beyond = (distance[:, None] / self.scale * fall - (height + near)).clamp_min(0)  # the plane
        return (beyond / (near + beyond)).squeeze(1)

    def _descent(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        """Height [R, 1] of the origins over the shared camera, how fast rays go down from it [R, 1], and the distance
        of the plane at which device coordinates begin."""
        rotation, position = self.frame[:, :3], self.frame[:, 3]
        return ((rays.origins - position) @ rotation)[:, 2:], -(rays.directions @ rotation)[:, 2:], self.frustum[2]


def shared_frustum(cameras: Cameras, near: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean camera, camera to model [3, 4], and its (2 fx / width, 2 fy / height, distance of a plane in front)."""
    back = _unit(-cameras.view_direction.mean(axis=0))
    right = _unit(np.cross(cameras.camera_to_world[:, :, 1].mean(axis=0), back))
    rotation = np.stack([right, np.cross(back, right), back], axis=1)
    position = cameras.position.mean(axis=0)
    ahead = -((cameras.position - position) @ back)
    tangents = (2 * cameras.focal / cameras.size).min(axis=0)
    return (np.concatenate([rotation, position[:, None]], axis=1).astype(np.float32),
            np.array([*tangents, near + ahead.max()], np.float32))


def widest_angle(cameras: Cameras) -> float:
    """Largest angle between the mean viewing direction and a corner of a picture, in radians."""
    common = _unit(cameras.view_direction.mean(axis=0))
    turned = np.arccos(np.clip(cameras.view_direction @ common, -1, 1))
    corner = np.arctan(np.linalg.norm(0.5 * cameras.size / cameras.focal, axis=1))
    return float((turned + corner).max())


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-12)
