"""Pictures of 3D Gaussians, differentiable (Kerbl et al. 2023, 3D Gaussian splatting)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import gaussian_rendering as kernels
from taichi_nerf_kernels.spherical_harmonics import MAX_DEGREE

from ._check import check_result, check_tensor, on_host

__all__ = ["Drawn", "render_gaussians"]

TILE = 16  # pixels, on a GPU
TILE_ON_HOST = 8  # where a pixel that looks at few Gaussians counts for more than a short list
FUNCTIONS = [bands**2 for bands in range(1, MAX_DEGREE + 1)]
LARGEST = 2**15  # pixels of a side


class Drawn(NamedTuple):
    """A picture of H x W pixels."""

    colour: Tensor
    """[H, W, 3] over black."""
    opacity: Tensor
    """[H, W]"""


def render_gaussians(means: Tensor, scales: Tensor, quaternions: Tensor, opacities: Tensor, harmonics: Tensor,
                     camera_to_world: Tensor, focal: Tensor, principal: Tensor, width: int, height: int,
                     near: float = 0.01) -> Drawn:
    """What a perspective camera sees of N Gaussians.

    Args:
        means: [N, 3]. scales: [N, 3] standard deviations along their axes.
        quaternions: [N, 4] w, x, y, z of any length but 0, which turn these axes into those of the world.
        opacities: [N] from 0 to 1, of their middles.
        harmonics: [N, 3, B] of 1, 4, 9, 16 or 25 functions of `spherical_harmonics.encode_direction`: the colour is
            1/2 more than their sum, and at least 0.
        camera_to_world: [3, 4] right, up, back, position. focal, principal: [2] pixels.
        near: Gaussians whose middle is no farther in front of the camera are not seen.

    Returns:
        The picture. Differentiable, once, with respect to the Gaussians; not where one begins to be seen (an opacity of
        1 / 255 in a pixel), is cut off (0.99), or is the first that hardly any light is left for (0.0001).
        On a CPU the gradient is the same, bit by bit, for any number of threads.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; a picture of no size.
    """
    for name, side in (("width", width), ("height", height)):
        if not 1 <= side <= LARGEST:
            raise ValueError(f"{name} must be from 1 to {LARGEST}, got {side}")
    means = _like(means, "means", (None, 3))
    camera = [_like(value, name, shape, means) for value, name, shape in (
        (camera_to_world, "camera_to_world", (3, 4)), (focal, "focal", (2,)), (principal, "principal", (2,)))]
    return Drawn(*_RenderGaussians.apply(means, scales, quaternions, opacities, harmonics, _numbers(*camera), width,
                                         height, near))


def _like(tensor: Tensor, name: str, shape: tuple, like: Tensor | None = None) -> Tensor:
    """The tensor itself, checked."""
    check_tensor(name, tensor, shape, like=like)
    return tensor


def _numbers(camera_to_world: Tensor, focal: Tensor, principal: Tensor) -> Tensor:
    """[16] as of the kernels' `Camera`."""
    right, up, back, position = camera_to_world.detach().unbind(1)
    return torch.cat([right, -up, -back, position, focal.detach(), principal.detach()])


class _Lists(NamedTuple):
    """Which Gaussians each tile sees, and where the pairs of each Gaussian are; int32."""

    entries: Tensor
    tile_start: Tensor
    pair_first: Tensor
    pair_place: Tensor


def _lists(depth: Tensor, tiles: Tensor, across: int, down: int) -> _Lists:
    """Of N Gaussians at depths [N], listed in tiles [N, 4]; equal depths by their number."""
    left, top, right, bottom = tiles.long().unbind(1)
    wide = right - left
    count = wide * (bottom - top)
    first = torch.cat([count.new_zeros(1), count.cumsum(0)])
    pairs = int(first[-1])
    check_result(pairs, kernels.GRADIENTS)
    gaussian = torch.repeat_interleave(count, output_size=pairs)  # [P]
    within = torch.arange(pairs, device=depth.device) - first[gaussian]
    tile = (top[gaussian] + within // wide[gaussian]) * across + left[gaussian] + within % wide[gaussian]
    rank = torch.empty_like(count)
    rank[depth.argsort(stable=True)] = torch.arange(len(depth), device=depth.device)
    order = (tile * max(len(depth), 1) + rank[gaussian]).argsort()
    place = torch.empty_like(order)
    place[order] = torch.arange(pairs, device=depth.device)
    start = torch.searchsorted(tile[order], torch.arange(across * down + 1, device=depth.device))
    return _Lists(*(x.int() for x in (gaussian[order], start, first, place)))


class _RenderGaussians(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, scales, quaternions, opacities, harmonics, camera, width, height, near):
        means = check_tensor("means", means, (None, 3))
        count = len(means)
        scales = check_tensor("scales", scales, (count, 3), like=means)
        quaternions = check_tensor("quaternions", quaternions, (count, 4), like=means)
        opacities = check_tensor("opacities", opacities, (count,), like=means)
        harmonics = check_tensor("harmonics", harmonics, (count, 3, None), like=means)
        if harmonics.shape[2] not in FUNCTIONS:
            raise ValueError(f"harmonics must have {', '.join(map(str, FUNCTIONS))} functions, got "
                             f"{harmonics.shape[2]}")
        bands = math.isqrt(harmonics.shape[2])
        tile = TILE_ON_HOST if on_host(means) else TILE
        ellipses, depth = means.new_empty(count, kernels.COLUMNS), means.new_empty(count)
        tiles = means.new_empty(count, 4, dtype=torch.int32)
        if count:
            kernels.project_gaussians_forward(means, scales, quaternions, opacities, harmonics, camera, ellipses, depth,
                                              tiles, width, height, tile, near, bands)
        lists = _lists(depth, tiles, -(-width // tile), -(-height // tile))
        colour, opacity = means.new_empty(height * width, 3), means.new_empty(height * width)
        end = means.new_empty(height * width, dtype=torch.int32)
        kernels.composite_gaussians_forward(ellipses, lists.entries, lists.tile_start, colour, opacity, end, width,
                                            height, tile)
        ctx.save_for_backward(means, scales, quaternions, harmonics, camera, ellipses, opacity, end, *lists)
        ctx.picture = width, height, tile, bands
        return colour.view(height, width, 3), opacity.view(height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx, colour_gradient, opacity_gradient):
        means, scales, quaternions, harmonics, camera, ellipses, opacity, end, *lists = (
            tensor.detach() for tensor in ctx.saved_tensors)
        width, height, tile, bands = ctx.picture
        lists = _Lists(*lists)
        at_pairs = means.new_zeros(len(lists.entries), kernels.GRADIENTS)
        if len(lists.entries):
            kernels.composite_gaussians_backward(
                ellipses, lists.entries, lists.tile_start, opacity.view(-1), end,
                colour_gradient.reshape(-1, 3).contiguous(), opacity_gradient.reshape(-1).contiguous(), at_pairs, width,
                height, tile)
        gradients = [torch.zeros_like(x) for x in (means, scales, quaternions, means[:, 0], harmonics)]
        if len(lists.entries):
            kernels.project_gaussians_backward(means, scales, quaternions, harmonics, camera, lists.pair_first,
                                               lists.pair_place, at_pairs, *gradients, width, height, bands)
        return (
            *gradients,
            None,  # camera
            None,  # width
            None,  # height
            None,  # near
        )
