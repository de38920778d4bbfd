"""NeRF: points along rays, a coarse network and a fine one (Mildenhall et al. 2020).

The coarse network sees one random point in each of equal parts of the ray; the fine one those and as many more drawn
from the coarse network's weights. The interval of a point reaches from it to the next. With normalised device
coordinates, for cameras that all face one way, t runs from 0 on a plane in front of them to 1 at infinity.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..config import FieldConfig, NeRFConfig
from ..data.scene import FISHEYE, Cameras, Scene
from ..errors import UserError
from ..fields.encoded import EncodedPoints, HashPoints
from ..losses import squared_error
from ..ops.camera import ndc_rays
from ..ops.interval_sampling import distance_from_normalised, merge_sorted, sample_histogram, sample_uniform
from ..ops.volume_rendering import composite_intervals
from ..types import Batch, Rays
from .intervals import IntervalModel, Level, RenderedIntervals, seed_of
from .model import Box

PADDING = 1e-5  # of the coarse weights, so that every part of a ray may be sampled
WIDEST = math.radians(80)  # between the common direction of the cameras and what they see, for device coordinates
COARSE, FINE, NOISE = range(3)  # purposes of random numbers; the noise has one for each network


class NeRF(IntervalModel):
    """Two fields and where they are sampled. Everything random is a function of `seed`."""

    def __init__(self, config: NeRFConfig, box: Box, seed: int = 0):
        super().__init__(config, box)
        generator = torch.Generator().manual_seed(seed)
        made = [self._field(generator) for _ in range(2 if config.fine_samples else 1)]
        self.coarse, self.fine = made[0], made[1] if config.fine_samples else None
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

    def fields(self) -> list:
        return [self.coarse] if self.fine is None else [self.coarse, self.fine]

    def before_training(self, cameras: Cameras) -> None:
        if self.config.ndc:
            near = self.box.near if self.config.range.near is None else self.config.range.near
            frame, frustum = shared_frustum(cameras, near)
            self.frame.copy_(torch.from_numpy(frame))
            self.frustum.copy_(torch.from_numpy(frustum))

    def render(self, rays: Rays, *, jitter_seed: int | None = None, progress: float = 1.0) -> RenderedIntervals:
        config = self.config
        unit = self._device_rays(rays) if config.ndc else self.unit_rays(rays)
        if config.ndc:
            near, far = torch.zeros_like(unit.origins[:, 0]), torch.ones_like(unit.origins[:, 0])
        else:
            near, far = self.reach(unit, config.range)
        s = sample_uniform(len(rays), config.coarse_samples, like=near, seed=seed_of(jitter_seed, COARSE))
        levels = [self._level(self.coarse, rays, unit, s, near, far, seed_of(jitter_seed, NOISE))]
        if self.fine is not None:
            middle = (s[:, 1:] + s[:, :-1]) / 2
            more = sample_histogram(middle, levels[0].weights[:, 1:-1], config.fine_samples,
                                    seed=seed_of(jitter_seed, FINE), padding=PADDING, ends=jitter_seed is None)
            s = merge_sorted(s, more)
            levels.append(self._level(self.fine, rays, unit, s, near, far, seed_of(jitter_seed, NOISE + 1)))
        return RenderedIntervals(rays, tuple(levels), self.scale).averaged(rays.per_pixel)

    def losses(self, pixels: RenderedIntervals, batch: Batch) -> dict[str, Tensor]:
        names = ("coarse", "fine") if self.fine is not None else ("coarse",)
        return {name: squared_error(level.over(batch.background), batch.target, batch.weight)
                for name, level in zip(names, pixels.levels)}

    def density(self, positions: Tensor) -> Tensor:
        """Raises UserError with normalised device coordinates, in which there is no density of a model unit."""
        if self.config.ndc:
            raise UserError("normals are not for --model.ndc, whose space is bent; leave them out")
        return self.fields()[-1].density(positions * self.scale)[0] * self.scale

    def _field(self, generator: torch.Generator) -> EncodedPoints | HashPoints:
        if isinstance(self.config.field, FieldConfig):
            return HashPoints(self.config.field, self.box.aabb_scale * self.scale, generator)
        return EncodedPoints(self.config.field, generator)

    def _level(self, field, rays: Rays, unit: Rays, s: Tensor, near: Tensor, far: Tensor, seed: int | None) -> Level:
        """The points at s [R, S] and the pixels that they make."""
        config, (count, samples) = self.config, s.shape
        t = distance_from_normalised(s, near, far, config.range.spacing)
        positions = unit.origins[:, None] + t[..., None] * unit.directions[:, None]  # [R, S, 3]
        noise = None
        if seed is not None and self.noise > 0:
            generator = torch.Generator(t.device).manual_seed(seed)
            noise = self.noise * torch.randn(s.numel(), generator=generator, dtype=t.dtype, device=t.device)
        density, hidden = field.density(positions.view(-1, 3), noise)
        colour = field.colour(hidden, rays.directions).view(count, samples, 3)
        density = density.view(count, samples)
        if config.ndc:
            density = density * unit.directions.norm(dim=1, keepdim=True)  # whose t is no length
        t = torch.cat([t, far[:, None]], dim=1)
        last = "bounded" if self.box.bounded else "infinite"
        colour, opacity, depth, weights = composite_intervals(density, colour, t, last)
        if config.ndc:
            t = self._distance(rays, t)
            depth = (weights * (t[:, 1:] + t[:, :-1]) / 2).sum(dim=1)
        return Level(s=torch.cat([s, torch.ones_like(s[:, :1])], dim=1), t=t, weights=weights, colour=colour,
                     opacity=opacity, depth=depth / self.scale)

    def _device_rays(self, rays: Rays) -> Rays:
        """Rays in normalised device coordinates of the frame that the cameras share."""
        rotation, position = self.frame[:, :3], self.frame[:, 3]
        scale_x, scale_y, near = self.frustum.tolist()
        origins, directions = ndc_rays((rays.origins - position) @ rotation, rays.directions @ rotation,
                                       (scale_x, scale_y), (2.0, 2.0), near)
        return Rays(origins, directions)

    def _distance(self, rays: Rays, t: Tensor) -> Tensor:
        """[R, S + 1] in unit space of t in device coordinates, up to where it is as good as infinite."""
        rotation, position = self.frame[:, :3], self.frame[:, 3]
        height, fall = ((rays.origins - position) @ rotation)[:, 2:], -(rays.directions @ rotation)[:, 2:]
        near = self.frustum[2]
        return self.scale * ((height + near) + near * t / (1 - t).clamp_min(1e-3)) / fall


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
