"""Rays through octrees, as PyTorch operations.

R rays of the world; n nodes of 8 cells each, B spherical harmonics of each channel, which a degree gives as degree^2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import octree_rendering as kernels
from taichi_nerf_kernels.engine import ti
from taichi_nerf_kernels.spherical_harmonics import MAX_DEGREE

from .. import runtime
from ._check import check_in_place, check_tensor
from .octree import NOWHERE, Octree

__all__ = ["Frame", "PreparedOctree", "degree_of", "leaf_weights", "prepare_octree", "render_octree", "render_picture"]

LAST_ROW = 2**31 - 1
MOST_BLOCKS = 6  # halvings of the cube into the blocks whose distance to what is not empty is known to pictures


@dataclass(frozen=True)
class Frame:
    """Where a tree lies in the world: tree = offset + scale * world, in [0, 1)^3 inside of it.

    Contracted, all of the world is in the tree: the core, for which this is from 1/4 to 3/4, lies there as it is, and
    what is outside of it around it, so that u = 4 (offset + scale * world) - 2 is divided by |u|inf, and its largest
    component becomes sign(u) (2 - 1 / |u|inf) (Reiser et al. 2023, MERF, section 3.2).
    """

    offset: tuple[float, float, float] = (0.5, 0.5, 0.5)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Above 0."""
    contracted: bool = False

    def __post_init__(self):
        for name, values in (("offset", self.offset), ("scale", self.scale)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} must be three finite numbers, got {values}")
        if min(self.scale) <= 0:
            raise ValueError(f"scale must be above 0, got {self.scale}")

    @classmethod
    def of_box(cls, centre: tuple[float, float, float], radius: tuple[float, float, float],
               contracted: bool = False) -> "Frame":
        """Of the box from centre - radius to centre + radius; contracted, that is the core."""
        share = 0.25 if contracted else 0.5
        return cls(tuple(0.5 - share * c / r for c, r in zip(centre, radius)), tuple(share / r for r in radius),
                   contracted)

    def tree_points(self, positions: Tensor) -> Tensor:
        """[M, 3] in the tree of positions [M, 3] of the world."""
        points = positions.new_tensor(self.offset) + positions.new_tensor(self.scale) * positions
        return 0.5 + contract_to_cube(4 * points - 2) / 4 if self.contracted else points

    def world_points(self, points: Tensor) -> Tensor:
        """The inverse of `tree_points`; of a point on the faces of a contracted tree, one that is not finite."""
        if self.contracted:
            points = (spread_from_cube(4 * points - 2) + 2) / 4
        return (points - points.new_tensor(self.offset)) / points.new_tensor(self.scale)


def contract_to_cube(u: Tensor) -> Tensor:
    """[M, 3] in [-2, 2]^3 of u [M, 3]."""
    size = u.abs().amax(dim=1, keepdim=True).clamp_min(1)
    largest = u.abs() >= size
    return torch.where(largest, u.sign() * (2 - 1 / size), u / size)


def spread_from_cube(c: Tensor) -> Tensor:
    """The inverse of `contract_to_cube`."""
    size = 1 / (2 - c.abs().amax(dim=1, keepdim=True)).clamp_max(1)
    largest = c.abs() >= c.abs().amax(dim=1, keepdim=True).clamp_min(1)
    return torch.where(largest, c.sign() * size, c * size)


def render_octree(tree: Octree, frame: Frame, density: Tensor, coefficients: Tensor, origins: Tensor,
                  directions: Tensor, *, near: float = 0.0, early_stop: float = 0.0, skip: float = 0.0,
                  gradients: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour [R, 3] over black, opacity [R], depth [R] (sum of w t) and leaves met [R] int32 of rays.

    The density and the colour of a leaf are the same all over it, so that the integral along a ray is exact. Colour is
    the sigmoid of spherical harmonics of the ray's direction.

    Args:
        density: [8 n] or [8 n, 1] of the cells, per unit of world length; what is not above `skip` is empty.
        coefficients: [8 n, 3 B] of the cells, those of red, of green, of blue; B is 1, 4, 9, 16 or 25.
        origins, directions: [R, 3], in the world, unit directions.
        near: nothing nearer to the origins is seen.
        early_stop: a ray ends where its transmittance is below it.
        skip: density of leaves that count as empty, at least 0.
        gradients: of the shapes of density and coefficients. If given, their gradients are added to these in the
            backward pass, and autograd gets none: nothing as large as the tree is allocated in a step.

    Returns:
        Differentiable with respect to density and coefficients. Gradients of what is met by no ray, or is empty, are 0.

    Raises:
        TypeError, ValueError: tensors of another type, shape, dtype or device.
    """
    settings = (*frame.offset, *frame.scale, float(near), float(early_stop), float(max(0.0, skip)), frame.contracted)
    return _RenderOctree.apply(density, coefficients, origins, directions, tree, settings, gradients)


def leaf_weights(tree: Octree, frame: Frame, density: Tensor, origins: Tensor, directions: Tensor, weights: Tensor, *,
                 near: float = 0.0, early_stop: float = 0.0) -> None:
    """weights <- max(weights, w), in place: the largest weight that each leaf has on any of the rays.

    weights: [8 n]. The others are those of `render_octree`. Not differentiable. Raises TypeError, ValueError.
    """
    density = _check_density(density, tree)
    check_in_place("weights", weights, density.shape, like=density)
    origins, directions = _check_rays(origins, directions, density)
    if len(origins):
        kernels.leaf_weights(origins, directions, *_links(tree, density), density, *frame.offset, *frame.scale,
                             float(near), float(early_stop), frame.contracted, weights)


class _RenderOctree(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, coefficients, origins, directions, tree, settings, gradients):
        shape, density = density.shape, _check_density(density, tree)
        coefficients = check_tensor("coefficients", coefficients, (tree.cells, None), like=density)
        settings = (*settings, degree_of(coefficients.shape[1]))
        rays, links = _check_rays(origins, directions, density), _links(tree, density)
        if gradients is not None:
            gradients = tuple(check_in_place(f"gradients[{n}]", gradients[n], wanted, like=density)
                              for n, wanted in enumerate((shape, coefficients.shape)))
        count = len(origins)
        colour, opacity, depth = density.new_empty(count, 3), density.new_empty(count), density.new_empty(count)
        leaves = torch.empty(count, dtype=torch.int32, device=density.device)
        if count:
            kernels.trace_forward(*rays, *links, density, coefficients, *settings, colour, opacity, depth, leaves)
        ctx.save_for_backward(density, coefficients, *rays, *links, colour, opacity, depth)
        ctx.settings, ctx.shape, ctx.gradients = settings, shape, gradients
        ctx.mark_non_differentiable(leaves)
        return colour, opacity, depth, leaves

    @staticmethod
    @once_differentiable
    def backward(ctx, colour_gradient, opacity_gradient, depth_gradient, _):
        density, coefficients, *given, colour, opacity, depth = (saved.detach() for saved in ctx.saved_tensors)
        added_to, returned = ctx.gradients, (None, None)
        if added_to is None:
            added_to = returned = density.new_zeros(ctx.shape), torch.zeros_like(coefficients)
        if len(colour):
            kernels.trace_backward(*given, density, coefficients, *ctx.settings, colour, opacity, depth,
                                   colour_gradient.contiguous(), opacity_gradient.contiguous(),
                                   depth_gradient.contiguous(), added_to[0].view(-1), added_to[1])
        return (
            *returned,  # density, coefficients: None where they were added to gradients
            *[None] * 5,  # origins, directions, tree, settings, gradients
        )


@dataclass(frozen=True)
class PreparedOctree:
    """An octree as `render_picture` wants it, until a tensor changes or Taichi starts anew."""

    arrays: tuple
    settings: tuple


def prepare_octree(tree: Octree, frame: Frame, density: Tensor, coefficients: Tensor, *,
                   skip: float = 0.0) -> PreparedOctree:
    """An octree for any number of pictures: what is in its leaves that are not empty, in another order, and how far it
    is from each place to the nearest of them. That is a copy, which a change of the tensors does not reach.

    Arguments and errors as of `render_octree`.
    """
    density = _check_density(density.detach(), tree)
    coefficients = check_tensor("coefficients", coefficients.detach(), (tree.cells, None), like=density)
    (child, parent_depth), degree = _links(tree, density), degree_of(coefficients.shape[1])
    full = ((child.view(-1) == 0) & (density > max(0.0, skip))).nonzero().squeeze(1)  # [K]
    top = min(MOST_BLOCKS, max(0, int(parent_depth[full >> 3, 1].min()))) if len(full) else 0
    arrays = (_blocks(parent_depth, full.int(), top), *_row_links(child, full), _rows(density, coefficients, full))
    if runtime.current().backend == "vulkan":
        arrays = tuple(_uploaded(array) for array in arrays)
    return PreparedOctree((*arrays, top), (*frame.offset, *frame.scale, frame.contracted, degree))


def render_picture(prepared: PreparedOctree, origins: Tensor, directions: Tensor, *, near: float = 0.0,
                   early_stop: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `render_octree` gives, of a prepared octree and without gradients; leaves that are empty are not counted.
    Raises TypeError, ValueError."""
    origins = check_tensor("origins", origins, (None, 3))
    directions = check_tensor("directions", directions, (len(origins), 3), like=origins)
    count = len(origins)
    colour, opacity, depth = origins.new_empty(count, 3), origins.new_empty(count), origins.new_empty(count)
    leaves = torch.empty(count, dtype=torch.int32, device=origins.device)
    clear = origins.new_empty(-(-count // kernels.TOGETHER))
    *frame, contracted, degree = prepared.settings
    if count:
        kernels.trace_picture(origins, directions, *prepared.arrays, *frame, float(near), float(early_stop), contracted,
                              degree, clear, colour, opacity, depth, leaves)
    return colour, opacity, depth, leaves


def _blocks(parent_depth: Tensor, full: Tensor, top: int) -> Tensor:
    """[8^top] int32: the node of each block that holds one of the leaves `full` [K] int32; else how near the nearest of
    these blocks is, below 0."""
    node = torch.full((8**top,), NOWHERE, dtype=torch.int32, device=full.device)
    if len(full):
        kernels.mark_blocks(parent_depth, full, top, node)
    away = torch.where(node == NOWHERE, 2**top, 0).int()
    for axis in range(3):
        before, away = away, torch.empty_like(away)
        kernels.nearest_along(before, axis, top, away)
    return torch.where(node == NOWHERE, -away, node)


def _row_links(child: Tensor, full: Tensor) -> tuple[Tensor, Tensor]:
    """`link` [n, 8] and `below` [n, 2] int32 of the kernels; the leaves `full` [K] have the rows from 1 on."""
    nodes = torch.arange(len(child), dtype=torch.int32, device=child.device)[:, None]
    links = torch.where(child == 0, 0, (nodes + child).clamp(0, len(child) - 1)).int()
    links.view(-1)[full] = -torch.arange(1, len(full) + 1, dtype=torch.int32, device=child.device)
    # what is in the last nodes goes to the cells where they are
    bits = 1 << torch.arange(8, dtype=torch.int32, device=child.device)
    full_leaves = ((links < 0) * bits).sum(1, dtype=torch.int32)  # [n]
    first_row = torch.where(links < 0, -links, LAST_ROW).amin(1)  # [n]
    last = (child == 0).all(1)
    above_last = (links > 0) & last[links.clamp_min(0).long()]  # [n, 8]
    there = links[above_last].long()
    below = torch.zeros_like(links)
    below[above_last] = full_leaves[there]
    links[above_last] = torch.where(full_leaves[there] > 0, -first_row[there], 0)
    return links, below.to(torch.uint8).view(torch.int32)


def _rows(density: Tensor, coefficients: Tensor, full: Tensor) -> Tensor:
    """[K + 1, 1 + 3 B]: density and coefficients of the leaves `full` [K], harmonic after harmonic; the first is 0."""
    rows = density.new_zeros(len(full) + 1, 1 + coefficients.shape[1])
    rows[1:, 0] = density[full]
    rows[1:, 1:].unflatten(1, (-1, 3)).copy_(coefficients[full].unflatten(1, (3, -1)).transpose(1, 2))
    return rows


def _uploaded(tensor: Tensor):
    """The same as an array of the device."""
    array = ti.ndarray(ti.i32 if tensor.dtype == torch.int32 else float, tuple(tensor.shape))
    array.from_numpy(tensor.numpy())
    return array


def _check_density(density: Tensor, tree: Octree) -> Tensor:
    """[8 n]"""
    column = isinstance(density, Tensor) and density.dim() == 2
    return check_tensor("density", density, (tree.cells, 1) if column else (tree.cells,)).view(-1)


def degree_of(coefficients: int) -> int:
    """Of the harmonics of which a cell has so many numbers, 3 degree^2. Raises ValueError where there is none."""
    for degree in range(1, MAX_DEGREE + 1):
        if 3 * degree**2 == coefficients:
            return degree
    raise ValueError(f"coefficients must have 3, 12, 27, 48 or 75 numbers for each cell, got {coefficients}")


def _check_rays(origins: Tensor, directions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    origins = check_tensor("origins", origins, (None, 3), like=like)
    return origins, check_tensor("directions", directions, (len(origins), 3), like=like)


def _links(tree: Octree, like: Tensor) -> tuple[Tensor, Tensor]:
    if tree.child.device != like.device:
        raise ValueError(f"the tree must be on {like.device}, got {tree.child.device}")
    return tree.child.contiguous(), tree.parent_depth.contiguous()
