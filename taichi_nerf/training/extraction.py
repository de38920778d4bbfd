"""Octrees of trained models (Yu et al. 2021, PlenOctrees, section 4): which cells there are, and what is in them.

    box      the smallest cube around what is dense
    cells    of half the depth's resolution that are dense at their middle, with those beside them, and their 8 parts
    seen     the cells whose weight in a pixel of a training view reaches a threshold, by the tree itself
    leaves   density: the mean of some points of the cell; colour: the mean of their harmonics, counted as it is dense

A model whose colour is not in harmonics is asked for the colours that the nearest cameras around would see, and the
harmonics are those that come closest to them: with C cameras, colours c_i in directions d_i and B harmonics Y_j,

    k = argmin sum_i (sum_j k_j Y_j(d_i) - logit c_i)^2 + ridge sum_{j > 0} k_j^2

D depth, M points, L leaves.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..fields.field import Radiance
from ..models.model import Model
from ..ops.octree import Octree, descend, insert_points, root_of
from ..ops.octree_rendering import Frame, leaf_weights
from ..ops.spherical_harmonics import encode_direction
from ..types import Rays
from .batches import PhotoRays

__all__ = ["Extracted", "cells_of_model", "dense_cube", "leaves_of_model", "seen_cells"]

BOX_CELLS = 128  # along the box of the model, of the grid on which what is dense is looked for
OPAQUE = 0.1  # opacity of a cell of that grid from which on it is (Yu et al.)
DENSE = 0.01  # and of a cell that is a candidate for the tree
POINTS = 2**17  # that a model is asked for at a time
RAYS = 2**16  # that go through the tree at a time
CAMERAS = 24  # whose directions a colour without harmonics is fitted to
RIDGE = 1e-2  # of the fit, in cameras
CLEAREST = 1e-3  # of a colour, which has no logit at 0 and 1

Told = Callable[[int, int], None]  # how much is done, of how much


@dataclass(frozen=True)
class Extracted:
    """A tree with what its cells hold; that of cells which are no leaves is 0."""

    tree: Octree
    frame: Frame
    density: Tensor
    """[8 n]"""
    coefficients: Tensor
    """[8 n, 3 B]"""


@torch.no_grad()
def dense_cube(model: Model, told: Told) -> tuple[tuple[float, float, float], float]:
    """Centre and half the side of the smallest cube around what is dense in the box of `model`, with a margin of one
    cell of the grid on which that is looked for.

    Raises UserError where nothing is.
    """
    side = model.box.aabb_scale / BOX_CELLS
    low, high = torch.full((3,), math.inf), torch.full((3,), -math.inf)
    origin = torch.full((3,), -0.5 * model.box.aabb_scale)
    for number, points in enumerate(_grid(BOX_CELLS)):
        middle = origin + (points + 0.5) * side  # [M, 3]
        dense = middle[-torch.expm1(-_density(model, middle) * side) > OPAQUE]
        if len(dense):
            low, high = torch.minimum(low, dense.amin(0)), torch.maximum(high, dense.amax(0))
        told((number + 1) * len(points), BOX_CELLS**3)
    if not torch.isfinite(low).all():
        raise UserError("the model is empty: there is nothing of which an octree could be made; train it for longer")
    centre, reach = (low + high) / 2, (high - low).max() / 2 + 1.5 * side
    return tuple(centre.tolist()), float(reach)


@torch.no_grad()
def cells_of_model(model: Model, frame: Frame, depth: int, told: Told) -> Tensor:
    """[M, 3]: the middles, in the tree, of cells of the depth in which `model` may be dense."""
    size = 2 ** (depth - 1)
    side = 1 / (size * min(frame.scale))  # of a cell, in model units
    dense = torch.zeros(size, size, size, dtype=torch.bool)
    done = 0
    for points in _grid(size):
        middle = frame.world_points((points + 0.5) / size)
        opacity = -torch.expm1(-_density(model, middle) * side)
        chosen = points[opacity > DENSE].long()
        dense[chosen[:, 0], chosen[:, 1], chosen[:, 2]] = True
        done += len(points)
        told(done, size**3)
    # what is thinner than a cell may lie beside its middle
    beside = torch.nn.functional.max_pool3d(dense[None, None].half(), 3, stride=1, padding=1)[0, 0] > 0
    corner = beside.nonzero().float() / size  # [N, 3]
    part = torch.stack(torch.meshgrid(*[torch.tensor([0.25, 0.75])] * 3, indexing="ij"), dim=-1).reshape(1, 8, 3)
    return (corner[:, None] + part / size).reshape(-1, 3)


@torch.no_grad()
def seen_cells(tree: Octree, frame: Frame, density: Tensor, rays: Iterator[Rays], threshold: float, *,
               near: float) -> Tensor:
    """[K] int64: the leaves that have at least the weight `threshold` on some ray."""
    weights = torch.zeros_like(density)
    for piece in rays:
        leaf_weights(tree, frame, density, piece.origins, piece.directions, weights, near=near)
    return (weights >= threshold).nonzero().squeeze(1)


@torch.no_grad()
def rays_of_photos(source: PhotoRays, told: Told) -> Iterator[Rays]:
    """Through the middles of all pixels of the photos."""
    images = source.photos.images
    pixels = len(images.pixels)
    for first in range(0, pixels, RAYS):
        index = torch.arange(first, min(first + RAYS, pixels), dtype=torch.int32, device=images.pixels.device)
        image = torch.searchsorted(images.offset, index, right=True, out_int32=True) - 1
        yield source.through(image, images.pixel_centres(image, index), None)
        told(first + len(index), pixels)


@torch.no_grad()
def leaves_of_model(model: Model, frame: Frame, middles: Tensor, depth: int, degree: int, samples: int,
                    cameras: Tensor, told: Told, *, colours: bool = True,
                    seed: int = 0) -> tuple[Tensor, Tensor | None]:
    """Density [M] and coefficients [M, 3 B] of the cells of `depth` with `middles` [M, 3] in the tree.

    Args:
        degree: of the harmonics, B = (degree + 1)^2.
        samples: random points of each cell whose mean it is.
        cameras: [C, 3] positions in model space, for the colours of a model without harmonics.
        colours: whether coefficients are wanted; else there are none.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    count = max(1, POINTS // samples)
    for first in range(0, len(middles), count):
        middle = middles[first : first + count]
        place = middle[:, None] + (torch.rand(len(middle), samples, 3, generator=generator) - 0.5) / 2**depth
        positions = frame.world_points(place.reshape(-1, 3))  # [N K, 3]
        radiance = model.radiance(positions)
        density = radiance.density.view(-1, samples)  # [N, K]
        row = [density.mean(1, keepdim=True)]
        if colours:
            kept = _coefficients(radiance, positions, cameras, degree)
            share = density + 1e-6 * density.amax(1, keepdim=True) + 1e-12
            share = share / share.sum(1, keepdim=True)
            row.append((share[..., None] * kept.view(*density.shape, -1)).sum(1))
        found.append(torch.cat(row, dim=1))
        told(min(first + count, len(middles)), len(middles))
    if not found:
        return middles.new_zeros(0), middles.new_zeros(0, 3 * (degree + 1) ** 2) if colours else None
    rows = torch.cat(found)
    return rows[:, 0], rows[:, 1:] if colours else None


def extracted(frame: Frame, middles: Tensor, depth: int, density: Tensor, coefficients: Tensor) -> Extracted:
    """The tree of cells of `depth` that hold this, [M] each, with `middles` [M, 3] in the tree."""
    tree, _ = insert_points(root_of(middles.device), middles, depth)
    cells = descend(tree, middles)[0].long()
    of_cells = density.new_zeros(tree.cells)
    of_cells[cells] = density
    colours = coefficients.new_zeros(tree.cells, coefficients.shape[1])
    colours[cells] = coefficients
    return Extracted(tree, frame, of_cells, colours)


def spread_cameras(positions: Tensor) -> Tensor:
    """[C, 3] some of `positions` [N, 3], each as far as can be from those before it."""
    chosen = [0]
    distance = torch.full((len(positions),), math.inf)
    for _ in range(min(CAMERAS, len(positions)) - 1):
        distance = torch.minimum(distance, (positions - positions[chosen[-1]]).norm(dim=1))
        chosen.append(int(distance.argmax()))
    return positions[chosen]


def _density(model: Model, positions: Tensor) -> Tensor:
    """[M]"""
    return torch.cat([model.density(piece) for piece in positions.split(POINTS)])


def _grid(size: int) -> Iterator[Tensor]:
    """The corners of cells of a grid, [M, 3], in pieces of about POINTS."""
    layers = max(1, POINTS // size**2)
    plane = torch.arange(size, dtype=torch.float32)
    for first in range(0, size, layers):
        yield torch.cartesian_prod(plane[first : first + layers], plane, plane)


def _coefficients(radiance: Radiance, positions: Tensor, cameras: Tensor, degree: int) -> Tensor:
    """[M, 3 B] of what a field says at `positions` [M, 3]."""
    count = (degree + 1) ** 2
    if getattr(radiance.field, "harmonics", None) is not None:
        own = radiance.coefficients()  # [M, 3, B']
        shared = min(count, own.shape[2])
        kept = own.new_zeros(*own.shape[:2], count)
        kept[..., :shared] = own[..., :shared]
        return kept.flatten(1)
    ways = torch.nn.functional.normalize(positions[:, None] - cameras, dim=2)  # [M, C, 3]
    logits = torch.stack([radiance.colour(ways[:, c].contiguous()).clamp(CLEAREST, 1 - CLEAREST).logit()
                          for c in range(ways.shape[1])], dim=1)  # [M, C, 3]
    basis = encode_direction(ways.reshape(-1, 3), degree + 1).view(*ways.shape[:2], count)  # [M, C, B]
    ridge = RIDGE * ways.shape[1] * torch.eye(count)
    ridge[0, 0] = 1e-6
    square = basis.transpose(1, 2) @ basis + ridge  # [M, B, B]
    return torch.linalg.solve(square, basis.transpose(1, 2) @ logits).transpose(1, 2).flatten(1)
