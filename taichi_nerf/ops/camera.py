"""Rays from pixels as PyTorch operations. R rays, N cameras, P pixels of all images together.

Camera to world, OpenGL axes (x right, y up, z back); the centre of the first pixel is (0.5, 0.5); focal
lengths and principal points in pixels; distortion (k1, k2, k3, k4, p1, p2); lens 0 perspective
(Brown-Conrady, without k4) or 1 fisheye (OpenCV's equidistant, without p1 and p2).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import camera as kernels
from taichi_nerf_kernels.engine import on_cpu, ti

from .. import runtime
from ._check import check_index, check_result, check_tensor, seed_word

__all__ = [
    "TrainingImages",
    "TrainingRays",
    "ndc_rays",
    "project_points",
    "ray_offsets",
    "rays_from_pixels",
    "training_images",
    "training_rays",
]


def rays_from_pixels(image_index: Tensor, pixel: Tensor, camera_to_world: Tensor, focal: Tensor,
                     principal: Tensor, distortion: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
    """Origin and unit direction of the ray of each pixel.

    The direction is `R c / |R c|`, where `c` is the camera direction of the pixel after its lens distortion
    is undone. The distortion models are those of OpenCV; they are inverted by Newton's method.

    Args:
        image_index: [R] int32, the camera of each ray, in [0, N).
        pixel: [R, 2] (u, v) in pixels.
        camera_to_world: [N, 3, 4].
        focal: [N, 2] along u and v.
        principal: [N, 2].
        distortion: [N, 6].
        lens: [N] int32.

    Returns:
        origins [R, 3] and directions [R, 3]. Differentiable by camera_to_world, focal and principal; on a CPU
        the gradients are summed in the order of the rays, on a GPU in any order (they vary by rounding from
        run to run). Not differentiable by pixel, distortion and lens. A pixel past the fold of its distortion
        gets a direction near the fold.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device.
        IndexError: an image_index outside [0, N) (looked at on a CPU only; on a GPU it stands for the nearest image).
    """
    return _RaysFromPixels.apply(image_index, pixel, camera_to_world, focal, principal, distortion, lens)


class _RaysFromPixels(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image_index, pixel, camera_to_world, focal, principal, distortion, lens):
        pixel = check_tensor("pixel", pixel, (None, 2))
        cameras = _checked_cameras(camera_to_world, focal, principal, distortion, lens, like=pixel)
        image_index = check_index("image_index", image_index, (len(pixel),), len(lens), like=pixel)
        check_result(len(pixel), 16)  # numbers of a ray in the backward pass
        origins, directions = pixel.new_empty(len(pixel), 3), pixel.new_empty(len(pixel), 3)
        if len(pixel):
            kernels.rays_forward(image_index, pixel, *cameras, origins, directions)
        ctx.save_for_backward(image_index, pixel, *cameras)
        return origins, directions

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_origins, grad_directions):
        image_index, pixel, *cameras = ctx.saved_tensors
        gradients = [torch.empty_like(c) for c in cameras[:3]]
        if len(pixel):
            per_ray = pixel.new_empty(len(pixel), 16)
            kernels.rays_backward(image_index, pixel, *cameras, grad_origins.contiguous(),
                                  grad_directions.contiguous(), per_ray, *gradients, on_cpu())
        else:
            for gradient in gradients:
                gradient.zero_()
        needed = [g if need else None for g, need in zip(gradients, ctx.needs_input_grad[2:5])]
        return (
            None,  # image_index
            None,  # pixel
            *needed,
            None,  # distortion
            None,  # lens
        )


def ndc_rays(origins: Tensor, directions: Tensor, focal: tuple[float, float], size: tuple[int, int],
             near: float = 1.0) -> tuple[Tensor, Tensor]:
    """Rays in normalised device coordinates, for forward-facing scenes (Mildenhall et al. 2020, supplement C).

    The frustum of a camera at 0 that looks along -z, beyond the plane z = -near, becomes the cube [-1, 1]^3. A ray
    starts on that plane at t = 0 and is at infinity at t = 1: distances are no longer lengths, and view directions are
    those before.

    Args:
        origins: [R, 3].
        directions: [R, 3], of any length, with z below 0; a ray that does not go that way gives numbers without
            meaning, up to infinity.
        focal: (fx, fy) of the cameras, in pixels.
        size: (width, height) of the pictures.
        near: distance of the plane, above 0.

    Returns:
        origins [R, 3] with z = -1 and directions [R, 3] with z = 2. Differentiable with respect to both arguments.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; a number that is not above 0.
    """
    if not min(*focal, *size, near) > 0:
        raise ValueError(f"focal, size and near must be above 0, got {focal}, {size} and {near}")
    return _NDCRays.apply(origins, directions, 2 * focal[0] / size[0], 2 * focal[1] / size[1], float(near))


class _NDCRays(torch.autograd.Function):
    @staticmethod
    def forward(ctx, origins, directions, scale_x, scale_y, near):
        origins = check_tensor("origins", origins, (None, 3))
        directions = check_tensor("directions", directions, origins.shape, like=origins)
        results = torch.empty_like(origins), torch.empty_like(directions)
        kernels.ndc_rays_forward(origins, directions, scale_x, scale_y, near, *results)
        ctx.save_for_backward(origins, directions)
        ctx.camera = scale_x, scale_y, near
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx, *result_gradients):
        gradients = [torch.empty_like(tensor) for tensor in ctx.saved_tensors]
        kernels.ndc_rays_backward(*ctx.saved_tensors, *ctx.camera, *(g.contiguous() for g in result_gradients),
                                  *gradients)
        return (
            *gradients,
            None,  # scale_x
            None,  # scale_y
            None,  # near
        )


def project_points(image_index: Tensor, points: Tensor, camera_to_world: Tensor, focal: Tensor,
                   principal: Tensor, distortion: Tensor, lens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where camera `image_index` [S] sees each world point [S, 3]. Not differentiable.

    Returns:
        pixel [S, 2], also outside the picture; depth [S], the distance along the optical axis, in world
        units; visible [S] int32, 0 behind a perspective camera and past the fold of a lens, where the pixel
        means nothing.

    Raises:
        as `rays_from_pixels`.
    """
    points = check_tensor("points", points, (None, 3))
    cameras = _checked_cameras(camera_to_world, focal, principal, distortion, lens, like=points)
    image_index = check_index("image_index", image_index, (len(points),), len(lens), like=points)
    pixel, depth = points.new_empty(len(points), 2), points.new_empty(len(points))
    visible = torch.empty_like(image_index)
    if len(points):
        kernels.project_points(image_index, points, *cameras, pixel, depth, visible)
    return pixel, depth, visible


@dataclass(frozen=True)
class TrainingImages:
    """Images and cameras as `training_rays` wants them; made by `training_images`.

    Valid until Taichi starts anew.
    """

    pixels: Any
    """[P] int32, a pixel in a word; a Taichi array where torch tensors would be copied at every launch."""
    image_table: Tensor
    """[N, 4] int32: first pixel, width, height, lens."""
    camera_table: Tensor
    """[N, 22]: pose row by row, focal, principal, distortion."""
    allowed: Any = None
    """[A] int32, where `pixels` are: the pixels that rays are drawn from; None: all."""

    @property
    def size(self) -> Tensor:
        """[N, 2] int32: width and height."""
        return self.image_table[:, 1:3]

    @property
    def poses(self) -> Tensor:
        """camera_to_world [N, 3, 4]."""
        return self.camera_table[:, :12].reshape(-1, 3, 4)

    @property
    def lenses(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """focal [N, 2], principal [N, 2], distortion [N, 6] and lens [N]."""
        table = self.camera_table
        return table[:, 12:14], table[:, 14:16], table[:, 16:], self.image_table[:, 3]

    def pixel_centres(self, image_index: Tensor, pixel_index: Tensor) -> Tensor:
        """[R, 2] (u, v) of the pixels [R] of all images together that `training_rays` drew."""
        first, width = self.image_table[image_index.long(), :2].unbind(dim=1)
        place = pixel_index - first
        return torch.stack([place % width, place.div(width, rounding_mode="floor")], dim=1).to(self.camera_table) + 0.5

    def ray_places(self, image_index: Tensor, pixel_index: Tensor, per_pixel: int) -> Tensor:
        """[R, 2] (u, v) where the rays pass that `training_rays` drew."""
        centre = self.pixel_centres(image_index, pixel_index)
        return centre + ray_offsets(per_pixel).to(centre).repeat(len(centre) // per_pixel, 1)


class TrainingRays(NamedTuple):
    """A batch of rays and the pixels they belong to."""

    origins: Tensor
    """[R, 3]."""
    directions: Tensor
    """[R, 3], unit length."""
    rgba: Tensor
    """[R, 4] in [0, 1], sRGB and straight alpha."""
    image_index: Tensor
    """[R] int32."""
    pixel_index: Tensor
    """[R] int32: into the pixels of all images."""


def training_images(pixels: Tensor, offset: Tensor, size: Tensor, camera_to_world: Tensor, focal: Tensor,
                    principal: Tensor, distortion: Tensor, lens: Tensor,
                    allowed: Tensor | None = None) -> TrainingImages:
    """Pack N images and their cameras once, for any number of calls of `training_rays`.

    Args:
        pixels: [P, 4] uint8 RGBA, image after image without gaps, row by row; P below 2^31. Not copied
            where the kernels work on tensors in place.
        offset: [N] integer, the first pixel of each image, ascending from 0.
        size: [N, 2] integer, width and height.
        camera_to_world, focal, principal, distortion, lens: as of `rays_from_pixels`.
        allowed: [A] int32, ascending: the pixels that rays are drawn from, which leaves out what a mask covers;
            None: all.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; images that do not fill
        `pixels`.
        IndexError: an allowed pixel that is none.
    """
    pixels = check_tensor("pixels", pixels, (None, 4), dtype=torch.uint8)
    if not 0 < len(pixels) < 2**31:
        raise ValueError(f"pixels must hold between 1 and 2^31 - 1 pixels, got {len(pixels)}")
    focal = check_tensor("focal", focal, (None, 2))
    cameras = _checked_cameras(camera_to_world, focal, principal, distortion, lens, like=focal)
    n = len(lens)
    for name, value, shape in (("offset", offset, (n,)), ("size", size, (n, 2))):
        if tuple(value.shape) != shape or value.is_floating_point():
            found = f"{value.dtype} {tuple(value.shape)}"
            raise ValueError(f"{name} must be integers of shape {shape}, got {found}")
    offset, size = offset.long().cpu(), size.long().cpu()
    area = size.prod(dim=1)
    fills = torch.equal(size.clamp(1, len(pixels)), size) and bool((area <= len(pixels)).all())
    if not fills or not torch.equal(offset, area.cumsum(0) - area) or int(area.sum()) != len(pixels):
        raise ValueError(f"offset and size must fill the {len(pixels)} pixels, one image after the other")
    image_table = torch.cat([offset[:, None], size, lens.cpu()[:, None]], dim=1)
    camera_table = torch.cat([c.reshape(n, -1) for c in cameras[:4]], dim=1)
    words = pixels.view(torch.int32)[:, 0]
    if allowed is not None:
        allowed = _native(_checked_allowed(allowed, pixels))
    return TrainingImages(_native(words), image_table.to(pixels.device, torch.int32), camera_table, allowed)


def ray_offsets(per_pixel: int) -> Tensor:
    """[K, 2] (u, v) where the K = n^2 rays of a pixel pass, in pixels from its centre: a grid over its area, row by
    row.

    Raises ValueError for a number that is no square.
    """
    side = math.isqrt(max(per_pixel, 0))
    if side == 0 or side**2 != per_pixel:
        raise ValueError(f"per_pixel must be the square of a number above 0, got {per_pixel}")
    along = (torch.arange(side) + 0.5) / side - 0.5
    return torch.stack([along.repeat(side), along.repeat_interleave(side)], dim=1)


def training_rays(images: TrainingImages, rays: int, seed: int, per_pixel: int = 1, patch: int = 1) -> TrainingRays:
    """Rays of pixels drawn uniformly over all (allowed) pixels of all images, with replacement, in one launch.

    The `per_pixel` rays of a pixel follow one another, at the `ray_offsets` from its centre. Ray r is a function of
    (`seed`, r) alone: draw with another seed at every step, and with a seed of its own where other numbers are drawn
    from (seed, index). The time depends on neither the number nor the sizes of the images. Not differentiable: for pose
    refinement, hand image_index and `ray_places` to `rays_from_pixels`.

    With a `patch` above 1 the pixels come in squares of patch x patch, row by row. What reaches over the edge of an
    image is at its other edge, so that all pixels are drawn equally often; in place of a pixel under a mask the patch
    has its upper left one again.

    Raises:
        ValueError: a negative number of rays, or rays that are no whole pixels and patches; a `per_pixel` that is no
        square.
    """
    side = math.isqrt(len(ray_offsets(per_pixel)))
    if rays < 0 or patch < 1 or rays % (per_pixel * patch**2):
        whole = f" of patches of {patch} x {patch}" if patch != 1 else ""
        raise ValueError(f"rays must be at least 0, and {per_pixel} for each pixel{whole}, got {rays}")
    check_result(rays, 4)
    new, index = images.camera_table.new_empty, images.image_table.new_empty
    batch = TrainingRays(new(rays, 3), new(rays, 3), new(rays, 4), index(rays), index(rays))
    if rays:
        kernels.gather_rays(images.pixels, images.image_table, images.camera_table, seed_word(seed), *batch,
                            allowed=images.allowed, side=side, patch=patch)
    return batch


def _native(words: Tensor):
    """[P] int32 where the kernels read it fastest: it is not copied at each launch."""
    if runtime.current().backend != "vulkan":
        return words
    array = ti.ndarray(ti.i32, shape=len(words))
    array.from_numpy(words.numpy())
    return array


def _checked_allowed(allowed: Tensor, pixels: Tensor) -> Tensor:
    allowed = check_tensor("allowed", allowed, (None,), dtype=torch.int32, like=pixels)
    if len(allowed) == 0:
        raise ValueError("allowed must hold at least one pixel")
    low, high = (int(x) for x in allowed.aminmax())  # once, so that a GPU may wait
    if not 0 <= low <= high < len(pixels):
        raise IndexError(f"allowed must ascend in [0, {len(pixels)}), got {low}..{high}")
    return allowed


def _checked_cameras(camera_to_world, focal, principal, distortion, lens, *, like):
    focal = check_tensor("focal", focal, (None, 2), like=like)
    n = len(focal)
    return (
        check_tensor("camera_to_world", camera_to_world, (n, 3, 4), like=focal),
        focal,
        check_tensor("principal", principal, (n, 2), like=focal),
        check_tensor("distortion", distortion, (n, 6), like=focal),
        check_tensor("lens", lens, (n,), dtype=torch.int32, like=like),
    )
