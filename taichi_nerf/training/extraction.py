"""Octrees of trained models (Yu et al. 2021, PlenOctrees, section 4): which cells there are, and what is in them.

    box      the smallest cube around what is dense; all of space, contracted, of a model that has no end
    cells    of half the depth's resolution that are dense at their middle, with those beside them, and their 8 parts
    seen     the cells whose weight in a pixel of a training view reaches a threshold, by the tree itself
    leaves   density: the mean of some points of the cell; colour: the mean of their harmonics, counted as it is dense

A model whose colour is not in harmonics is asked for the colours that some of the cameras would see, and the harmonics
are those that come closest to them: with C cameras, colours c_i in directions d_i and B harmonics Y_j,

    k = argmin sum_i (sum_j k_j Y_j(d_i) - logit c_i)^2 + ridge sum_{j > 0} k_j^2

D depth, M points, L leaves.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .. import runtime
from ..config import ExtractionConfig, PlenOctreeConfig, TrainingConfig
from ..config.extraction import SHALLOWEST
from ..data.scene import Scene
from ..errors import UserError
from ..fields.field import Radiance
from ..models.model import Box, Model
from ..models.plenoctree import PlenOctree
from ..ops.camera import ray_offsets
from ..ops.octree import Octree, cell_cubes, descend, insert_points, root_of
from ..ops.octree_rendering import Frame, leaf_weights
from ..ops.spherical_harmonics import encode_direction
from ..output import say
from ..types import Rays
from .batches import PhotoRays
from .corrections import Corrections
from .photos import photos_of

__all__ = ["extract", "without_unseen"]

DEEPEST_GUESS = 10  # of a depth that nobody asked for
GRID_BYTES = 5  # of a cell of the grid on which cells are looked for
BOX_CELLS = 128  # along the box of the model, of the grid on which what is dense is looked for
OPAQUE = 0.1  # opacity of a cell of that grid from which on it is (Yu et al.)
DENSE = 0.01  # and of a cell of half the resolution that is a candidate for the tree
POINTS = 2**17  # that a model is asked for at a time
FAR_POINTS = 16  # of a cell of contracted space, which is far longer than what is in it is thick
RAYS, MOST_RAYS = 2**16, 2**21  # that go through the tree at a time, and in all
FINEST_GRID = 8  # of rays of a pixel, along each side
CAMERAS = 24  # whose directions a colour without harmonics is fitted to
HARMONICS = 2  # their degree, where a model has none
RIDGE = 1e-3  # of the fit, in cameras
CLEAREST = 1e-3  # of a colour, which has no logit at 0 and 1
COPIES = 6  # of the numbers of a tree in its training: values, gradient, two moments, average, the best so far
FILL = 2.5  # cells of a tree for each of its leaves that is not empty

Told = Callable[[int, int], None]  # how much is done, of how much
Stage = Callable[[str], Told]  # of a stage by its name


@torch.no_grad()
def extract(model: Model, scene: Scene, config: ExtractionConfig, stage: Stage) -> PlenOctree:
    """The octree of what `model` shows to the training cameras of `scene`.

    Raises UserError where the model is empty, or the tree would take more memory than it may.
    """
    cameras, unbounded = scene.model_cameras("train"), model.core is not None
    centre, reach = ((0.0, 0.0, 0.0), model.core) if unbounded else dense_cube(model, stage("looking for the object"))
    frame = Frame.of_box(centre, (reach,) * 3, contracted=unbounded)
    pixels = scene.pixels_per_unit / max(frame.scale)  # along the tree, or the core and as much around it
    depth = config.depth or min(max(SHALLOWEST, math.ceil(math.log2(pixels))), DEEPEST_GUESS)
    if (needed := GRID_BYTES * 8 ** (depth - 1) / 2**30) > config.memory:
        raise UserError(f"to look for cells of depth {depth} takes {needed:.1f} GiB, of which --memory allows "
                        f"{config.memory:g}; use a smaller --depth, or a larger --memory")
    # the cells in which there is something, and of those what the training images see
    middles = cells_of_model(model, frame, depth, stage("looking for cells"))
    density, _ = leaves_of_model(model, frame, middles, depth, FAR_POINTS if unbounded else 1,
                                 stage("density of cells"))
    tree = tree_of(middles, depth)
    cells = descend(tree, middles)[0].long()
    source = PhotoRays(photos_of(scene), Corrections(cameras, TrainingConfig()), cones=False)
    seen = seen_cells(tree, frame, density.new_zeros(tree.cells).index_copy_(0, cells, density),
                      rays_of_photos(source, stage("what the images see of them")), config.threshold,
                      near=model.box.near)
    corner, side = cell_cubes(tree)
    middles = corner[seen] + side[seen][:, None] / 2
    # how large the tree is, and what its leaves hold
    own = model.radiance(frame.world_points(middles[:1])).harmonics
    degree = next(found for found in (config.harmonics, own, HARMONICS) if found is not None)
    _check_size(len(middles), depth, degree, config.memory)
    positions = torch.from_numpy(cameras.camera_to_world[:, :3, 3]).to(middles)
    density, coefficients = leaves_of_model(model, frame, middles, depth, config.samples, stage("colour of leaves"),
                                            degree=degree, cameras=spread_cameras(positions))
    settings = PlenOctreeConfig(degree=degree + 1, centre=centre, radius=(reach,) * 3, unbounded=unbounded)
    octree = _octree_of(settings, model.box, middles, depth, density, coefficients)
    octree.before_training(cameras)
    return octree


@torch.no_grad()
def without_unseen(octree: PlenOctree, scene: Scene, threshold: float, stage: Stage) -> PlenOctree:
    """The octree with those leaves alone that have at least the weight `threshold` in some training image: what
    fine-tuning has made thin only costs time. All its leaves that are not empty are of one depth."""
    field = octree.field
    tree, density = field.tree, field.cell_density.clamp_min(0)
    source = PhotoRays(photos_of(scene), Corrections(scene.model_cameras("train"), TrainingConfig()), cones=False)
    seen = seen_cells(tree, field.frame, density, rays_of_photos(source, stage("what the images see of the leaves")),
                      threshold, near=octree.box.near)
    corner, side = cell_cubes(tree)
    left = _octree_of(octree.config, octree.box, corner[seen] + side[seen][:, None] / 2, tree.depth, density[seen],
                      field.coefficients.detach()[seen])
    left.sharpest.copy_(octree.sharpest)
    return left


def _octree_of(settings: PlenOctreeConfig, box: Box, middles: Tensor, depth: int, density: Tensor,
               coefficients: Tensor) -> PlenOctree:
    """With leaves of `depth` that have these middles [M, 3], and hold this."""
    tree = tree_of(middles, depth)
    cells = descend(tree, middles)[0].long()
    return PlenOctree.of_tree(settings, box, tree, *(
        values.new_zeros(tree.cells, *values.shape[1:]).index_copy_(0, cells, values)
        for values in (density, coefficients)))


def _check_size(leaves: int, depth: int, degree: int, memory: float) -> None:
    """Says how large the tree is, and raises UserError where that is more than it may be, or nothing."""
    if leaves == 0:
        raise UserError("the training images see nothing of the model: there is no leaf of which an octree could be "
                        "made; train it for longer, or use a smaller --threshold")
    needed = 4 * COPIES * FILL * leaves * (3 * (degree + 1) ** 2 + 1) / 2**30
    say(f"{leaves} leaves of depth {depth} with harmonics of degree {degree}: {needed:.2f} GiB while they are trained")
    if needed > memory:
        raise UserError(f"the octree would take {needed:.1f} GiB while it is trained, of which --memory allows "
                        f"{memory:g}; use a smaller --depth or --harmonics, a larger --threshold, or a larger --memory")


@torch.no_grad()
def dense_cube(model: Model, told: Told) -> tuple[tuple[float, float, float], float]:
    """Centre and half the side of the smallest cube around what is dense in the box of `model`, with a margin of one
    cell of the grid on which that is looked for.

    Raises UserError where nothing is.
    """
    side = model.box.aabb_scale / BOX_CELLS
    device = runtime.current().device
    low, high = (torch.full((3,), sign * math.inf, device=device) for sign in (1, -1))
    origin = torch.full((3,), -0.5 * model.box.aabb_scale, device=device)
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
    dense = torch.zeros(size, size, size, dtype=torch.bool, device=runtime.current().device)
    done = 0
    for points in _grid(size):
        middle = frame.world_points((points + 0.5) / size)
        opacity = -torch.expm1(-_density(model, middle) * _sides(frame, middle) / size)
        chosen = points[opacity > DENSE].long()
        dense[chosen[:, 0], chosen[:, 1], chosen[:, 2]] = True
        done += len(points)
        told(done, size**3)
    # what is thinner than a cell may lie beside its middle
    beside = torch.nn.functional.max_pool3d(dense[None, None].half(), 3, stride=1, padding=1)[0, 0] > 0
    corner = beside.nonzero().float() / size  # [N, 3]
    halves = corner.new_tensor([0.25, 0.75])
    return (corner[:, None] + torch.cartesian_prod(halves, halves, halves) / size).reshape(-1, 3)


@torch.no_grad()
def seen_cells(tree: Octree, frame: Frame, density: Tensor, rays: Iterator[Rays], threshold: float, *,
               near: float) -> Tensor:
    """[K] int64: the leaves that have at least the weight `threshold` on some ray."""
    weights = torch.zeros_like(density)
    for piece in rays:
        leaf_weights(tree, frame, density, piece.origins, piece.directions, weights, near=near)
    return (weights >= threshold).nonzero().squeeze(1)


def rays_of_photos(source: PhotoRays, told: Told) -> Iterator[Rays]:
    """Through the pixels of the photos: some of them, spread evenly, or a grid of rays through each, so that they are
    about MOST_RAYS and go through all that is as small as a pixel."""
    images = source.photos.images
    pixels, start = int(images.size.prod(dim=1).sum()), images.image_table[:, 0].contiguous()
    apart = 1 + 2 * (pixels // MOST_RAYS // 2)  # odd, so that rows of an image do not all have the same columns
    along = min(max(1, math.isqrt(MOST_RAYS // pixels)), FINEST_GRID)  # rays of a pixel along each side
    for done, offset in enumerate(ray_offsets(along**2).to(start.device)):
        for first in range(0, pixels, RAYS * apart):
            last = min(first + RAYS * apart, pixels)
            index = torch.arange(first, last, apart, dtype=torch.int32, device=start.device)
            image = torch.searchsorted(start, index, right=True, out_int32=True) - 1
            yield source.through(image, images.pixel_centres(image, index) + offset, None)
            told(done * pixels + last, along**2 * pixels)


@torch.no_grad()
def leaves_of_model(model: Model, frame: Frame, middles: Tensor, depth: int, samples: int, told: Told, *,
                    degree: int | None = None, cameras: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Density [M] and coefficients [M, 3 B] of the cells of `depth` with `middles` [M, 3] in the tree.

    Args:
        samples: random points of each cell whose mean it is.
        degree: of the harmonics, B = (degree + 1)^2; None: coefficients are not wanted, and there are none.
        cameras: [C, 3] positions in model space, for the colours of a model without harmonics.
    """
    generator = torch.Generator().manual_seed(0)
    found = []
    count = max(1, POINTS // samples)
    for first in range(0, len(middles), count):
        middle = middles[first : first + count]
        shift = torch.rand(len(middle), samples, 3, generator=generator).to(middle) - 0.5
        place = middle[:, None] + shift / 2**depth
        positions = frame.world_points(place.view(-1, 3)).view_as(place)  # [N, K, 3]
        radiance = model.radiance(positions.view(-1, 3))
        of_points = radiance.density.view(-1, samples)  # [N, K]
        row = [of_points.mean(1, keepdim=True)]
        if degree is not None:
            if radiance.harmonics is None:
                densest = positions[torch.arange(len(middle), device=middle.device), of_points.argmax(1)]  # [N, 3]
                row.append(_fitted_harmonics(model, densest, cameras, degree))
            else:
                row.append(_mean_harmonics(radiance, of_points, degree))
        found.append(torch.cat(row, dim=1))
        told(min(first + count, len(middles)), len(middles))
    rows = torch.cat(found) if found else middles.new_zeros(0, 1)
    return rows[:, 0], rows[:, 1:] if degree is not None else None


def tree_of(middles: Tensor, depth: int) -> Octree:
    """Whose leaves of `depth` have these middles [M, 3]."""
    return insert_points(root_of(middles.device), middles, depth)[0]


def spread_cameras(positions: Tensor) -> Tensor:
    """[C, 3] some of `positions` [N, 3], each as far as can be from those before it."""
    chosen = [0]
    distance = torch.full_like(positions[:, 0], math.inf)
    for _ in range(min(CAMERAS, len(positions)) - 1):
        distance = torch.minimum(distance, (positions - positions[chosen[-1]]).norm(dim=1))
        chosen.append(int(distance.argmax()))
    return positions[chosen]


def _sides(frame: Frame, positions: Tensor) -> Tensor:
    """[M]: the longest side in the world of what is as long as the tree in it, at positions [M, 3]."""
    side = torch.full_like(positions[:, 0], 1 / min(frame.scale))
    if frame.contracted:
        core = positions.new_tensor(frame.scale) * positions + positions.new_tensor(frame.offset) - 0.5  # [M, 3]
        side = side * (4 * core).abs().amax(dim=1).clamp_min(1) ** 2
    return side


def _density(model: Model, positions: Tensor) -> Tensor:
    """[M]"""
    return torch.cat([model.radiance(piece).density for piece in positions.split(POINTS)])


def _grid(size: int) -> Iterator[Tensor]:
    """The corners of cells of a grid, [M, 3], in pieces of about POINTS."""
    layers = max(1, POINTS // size**2)
    plane = torch.arange(size, dtype=torch.float32, device=runtime.current().device)
    for first in range(0, size, layers):
        yield torch.cartesian_prod(plane[first : first + layers], plane, plane)


def _mean_harmonics(radiance: Radiance, density: Tensor, degree: int) -> Tensor:
    """[N, 3 B]: the mean over the points of each cell, counted by their density [N, K]."""
    count, own = (degree + 1) ** 2, radiance.coefficients()  # [N K, 3, B']
    shared = min(count, own.shape[2])
    share = density + 1e-6 * density.amax(1, keepdim=True) + 1e-12
    share = share / share.sum(1, keepdim=True)
    mean = (share[..., None, None] * own[..., :shared].unflatten(0, density.shape)).sum(1)  # [N, 3, shared]
    return torch.nn.functional.pad(mean, (0, count - shared)).flatten(1)


def _fitted_harmonics(model: Model, positions: Tensor, cameras: Tensor, degree: int) -> Tensor:
    """[N, 3 B]: those that come closest to the colours that `cameras` [C, 3] would see at positions [N, 3]."""
    radiance, count = model.radiance(positions), (degree + 1) ** 2
    ways = torch.nn.functional.normalize(positions[:, None] - cameras, dim=2)  # [N, C, 3]
    logits = torch.stack([radiance.colour(ways[:, c].contiguous()).clamp(CLEAREST, 1 - CLEAREST).logit()
                          for c in range(len(cameras))], dim=1)  # [N, C, 3]
    basis = encode_direction(ways.view(-1, 3), degree + 1).view(*ways.shape[:2], count)  # [N, C, B]
    ridge = RIDGE * len(cameras) * torch.eye(count, device=positions.device)
    ridge[0, 0] = 1e-6
    square = basis.transpose(1, 2) @ basis + ridge  # [N, B, B]
    return torch.linalg.solve(square, basis.transpose(1, 2) @ logits).transpose(1, 2).flatten(1)
