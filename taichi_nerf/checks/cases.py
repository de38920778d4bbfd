"""One case for each kernel stem. A new stem gets an entry in `CASES`; a test demands it.

A case makes its inputs in float64 on the CPU, for N items: points, rays of SAMPLES samples, entries or cells.
`operation` and `reference` take these inputs by name, in the types of the backend and in float64, and return the same
outputs; `operation` may change its inputs, which are copies.

The model of the work, per item: bytes that must move at least, every input read once and every output written once,
scattered reads and writes of a table counted one by one; additions and multiplications, a transcendental function as
eight. A caller multiplies by the items; the backward pass has numbers of its own. What is above the model (waste in
cache lines, index arithmetic, allocation of outputs) shows as a smaller share of the machine's limit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import torch
from torch import Generator, Tensor

from ..ops import (
    adam,
    camera,
    combination,
    conical_frustum,
    contraction,
    distortion,
    elastic,
    field_rendering,
    gaussian_rendering,
    harmonic_colours,
    hash_grid,
    interval_sampling,
    mixture_rendering,
    mlp,
    multisampling,
    occupancy_grid,
    octree,
    octree_rendering,
    positional_encoding,
    proposal_loss,
    ray_aabb,
    ray_marching,
    ray_mesh,
    region_compositing,
    se3,
    spherical_harmonics,
    tsdf,
    volume_rendering,
)
from ..reference import adam as adam_reference
from ..reference import camera as camera_reference
from ..reference import combination as combination_reference
from ..reference import conical_frustum as conical_frustum_reference
from ..reference import contraction as contraction_reference
from ..reference import distortion as distortion_reference
from ..reference import elastic as elastic_reference
from ..reference import field_rendering as field_rendering_reference
from ..reference import gaussian_rendering as gaussian_rendering_reference
from ..reference import harmonic_colours as harmonic_colours_reference
from ..reference import hash_grid as hash_grid_reference
from ..reference import interval_sampling as interval_sampling_reference
from ..reference import mixture_rendering as mixture_rendering_reference
from ..reference import mlp as mlp_reference
from ..reference import multisampling as multisampling_reference
from ..reference import occupancy_grid as occupancy_grid_reference
from ..reference import octree as octree_reference
from ..reference import octree_rendering as octree_rendering_reference
from ..reference import positional_encoding as positional_encoding_reference
from ..reference import proposal_loss as proposal_loss_reference
from ..reference import ray_aabb as ray_aabb_reference
from ..reference import ray_marching as ray_marching_reference
from ..reference import ray_mesh as ray_mesh_reference
from ..reference import region_compositing as region_compositing_reference
from ..reference import se3 as se3_reference
from ..reference import spherical_harmonics as spherical_harmonics_reference
from ..reference import tsdf as tsdf_reference
from ..reference import volume_rendering as volume_rendering_reference
from . import peers

__all__ = ["CASES", "Case", "Work"]

SAMPLES = 32  # of a ray
FLOAT = 4  # bytes of what is timed


@dataclass(frozen=True)
class Work:
    """Least work of one item."""

    bytes: float
    operations: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.bytes + other.bytes, self.operations + other.operations)


@dataclass(frozen=True, kw_only=True)
class Case:
    """How to check and to time the operations of one kernel stem."""

    item: str
    """What a throughput counts."""
    make: Callable[[int, Generator], dict[str, Tensor]]
    """Inputs of N items by name: float64, or int32."""
    operation: Callable[..., tuple[Tensor, ...]]
    """Outputs, by the kernels."""
    reference: Callable[..., tuple[Tensor, ...]]
    """The same, in plain PyTorch."""
    gradients: tuple[str, ...] = ()
    """Inputs by which the outputs are differentiated in the check."""
    trained: tuple[str, ...] | None = None
    """Of these, the ones whose gradient is timed; by default all."""
    forward: Work
    backward: Work | None = None
    """With respect to what is trained; None where there is no backward pass."""
    few: int = 256
    """Items of the check."""
    many: int = 2**16
    """Items that are timed."""
    peers: dict[str, Callable] = field(default_factory=dict)
    """Name -> what makes (forward, forward and backward) of the timed inputs; see `peers`."""


def _uniform(generator: Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _normal(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _directions(generator: Generator, count: int) -> Tensor:
    return torch.nn.functional.normalize(_normal(generator, count, 3), dim=1)


def _layers(sizes: tuple[int, ...], generator: Generator) -> list[Tensor]:
    return [math.sqrt(2 / a) * _normal(generator, b, a) for a, b in pairwise(sizes)]


def _weights(sizes: tuple[int, ...]) -> int:
    return sum(a * b for a, b in pairwise(sizes))


def _packed(rays: int) -> dict[str, Tensor]:
    """SAMPLES samples on each ray."""
    start = torch.arange(rays, dtype=torch.int32) * SAMPLES
    return {"ray_start": start, "ray_count": torch.full_like(start, SAMPLES)}


# adam: one step of a table of which half the entries have a gradient

ADAM = (1e-2, 0.9, 0.99, 1e-12)  # learning rate, betas, epsilon
ADAM_FEATURES = 2


def _adam_inputs(entries: int, generator: Generator) -> dict[str, Tensor]:
    shape = (entries, ADAM_FEATURES)
    return {
        "parameter": _normal(generator, *shape),
        "gradient": _normal(generator, *shape) * (_uniform(generator, entries, 1) < 0.5),
        "first_moment": 0.1 * _normal(generator, *shape),
        "second_moment": 0.1 * _uniform(generator, *shape) + 0.01,
        "step_count": torch.randint(1, 50, (entries,), generator=generator, dtype=torch.int32),
    }


def _adam(parameter, gradient, first_moment, second_moment, step_count):
    lr, beta1, beta2, epsilon = ADAM
    optimiser = adam.SparseAdam([parameter], lr=lr, betas=(beta1, beta2), eps=epsilon)
    optimiser.state[parameter] = {"first_moment": first_moment, "second_moment": second_moment,
                                  "step_count": step_count}
    parameter.grad = gradient
    optimiser.step()
    return parameter, first_moment, second_moment, step_count


def _adam_reference(**inputs):
    return adam_reference.adam_step(*inputs.values(), *ADAM)


# camera: rays of pixels through a lens with distortion

CAMERAS = 8


def _camera_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    rotation = torch.linalg.qr(_normal(generator, CAMERAS, 3, 3)).Q
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]
    return {
        "image_index": torch.randint(CAMERAS, (rays,), generator=generator, dtype=torch.int32),
        "pixel": 400 * _uniform(generator, rays, 2),
        "camera_to_world": torch.cat([rotation, _normal(generator, CAMERAS, 3, 1)], dim=2),
        "focal": 300 + 10 * _uniform(generator, CAMERAS, 2),
        "principal": 200 + _uniform(generator, CAMERAS, 2),
        "distortion": torch.tensor([[0.09, -0.08, 0.01, 0, 1e-3, -2e-3]] * CAMERAS, dtype=torch.float64),
        "lens": torch.zeros(CAMERAS, dtype=torch.int32),
    }


# combination: the motions that codes of rays make of what a warp says of their samples

NUMBERS, OUTPUTS = 8, 6


def _combined(samples: int, generator: Generator) -> dict[str, Tensor]:
    return {"coefficients": _normal(generator, OUTPUTS * NUMBERS, samples),
            "numbers": _normal(generator, NUMBERS, -(-samples // SAMPLES)),
            "ray_index": torch.arange(samples, dtype=torch.int32) // SAMPLES}


# conical_frustum: Gaussians of the intervals of rays


def _frustum_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    return {
        "fenceposts": (0.1 * _uniform(generator, rays, SAMPLES + 1) + 0.02).cumsum(1),
        "origins": _normal(generator, rays, 3),
        "directions": _normal(generator, rays, 3),
        "radius": 0.05 * _uniform(generator, rays) + 1e-3,
    }


# contraction: Gaussians inside and outside of the unit ball, and none near its sphere, along the basis of mip-NeRF 360

BASIS = contraction.off_axis_basis()


def _contraction_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    along = _uniform(generator, rays, SAMPLES)
    return {
        "origins": 0.3 * _directions(generator, rays),
        "directions": _directions(generator, rays),
        "t_mean": along + (along > 0.5),
        "t_variance": 0.01 * _uniform(generator, rays, SAMPLES) + 1e-4,
        "radial_variance": 0.01 * _uniform(generator, rays, SAMPLES) + 1e-4,
    }


def _project(function, **inputs):
    return function(**inputs, basis=torch.as_tensor(BASIS).to(inputs["t_mean"]))


# distortion: the spread of weights along rays


def _distortion_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    lengths = _uniform(generator, rays, SAMPLES) / SAMPLES + 1e-3
    return {
        "weights": _uniform(generator, rays * SAMPLES) / SAMPLES,
        "midpoints": (lengths.cumsum(1) - 0.5 * lengths).reshape(-1),
        "lengths": lengths.reshape(-1),
        **_packed(rays),
    }


# elastic: warps that are not far from rigid


def _jacobians(count: int, generator: Generator) -> dict[str, Tensor]:
    return {"jacobian": torch.eye(3) + 0.2 * _normal(generator, count, 3, 3)}


# field_rendering: rays whose samples do not depend on rounding; networks that are quick to compile

FIELD_GRID = dict(levels=8, log2_entries=14, base_resolution=8, max_resolution=64)
FIELD_LAYOUT = hash_grid.hash_grid_layout(**FIELD_GRID, features=4)
FIELD = field_rendering.FieldSettings(
    features=4, density_sizes=(32, 32, 8), colour_sizes=(24, 32, 3), degree=4, side=2.0, resolution=16, cascades=2,
    step=0.013, cone=1 / 50, near=0.1, far=1.6, early_stop=1e-3)


def _field_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    density, colour = (_layers(sizes, generator) for sizes in (FIELD.density_sizes, FIELD.colour_sizes))
    density[-1][0] *= 3  # for some opaque places
    field = {
        "bits": _packed_bits(_cubes(generator)),
        "table": _normal(generator, FIELD_LAYOUT.entries, FIELD.features),
        **{f"density_{i}": weight for i, weight in enumerate(density)},
        **{f"colour_{i}": weight for i, weight in enumerate(colour)},
    }
    return _steady_rays(rays, generator, lambda o, d: _field_reference(o, d, **field)[-1]) | field


def _networks(weights: dict[str, Tensor]) -> list[list[Tensor]]:
    return [[value for key, value in weights.items() if key.startswith(name)] for name in ("density", "colour")]


def _field(origins, directions, bits, table, **weights):
    field = field_rendering.prepare_field(FIELD, FIELD_LAYOUT, bits, table, *_networks(weights))
    return field_rendering.render_field(field, origins, directions)


def _field_reference(origins, directions, bits, table, **weights):
    return field_rendering_reference.render_field(
        origins, directions, occupancy_grid_reference.dense_from_bits(bits, FIELD.resolution), table,
        *_networks(weights), side=FIELD.side, degree=FIELD.degree, grid=FIELD_GRID, early_stop=FIELD.early_stop,
        march={"step_min": FIELD.step, "cone_angle": FIELD.cone, "near": FIELD.near, "far": FIELD.far})


# harmonic_colours: of degree 2

FUNCTIONS = 9


def _coloured(samples: int, generator: Generator) -> dict[str, Tensor]:
    return {"coefficients": _normal(generator, 3 * FUNCTIONS, samples), "directions": _directions(generator, samples)}


# hash_grid: points well inside of the cells of all levels, along rays where they are many

GRID = dict(levels=8, log2_entries=16, base_resolution=16, max_resolution=512)
GRID_FEATURES = 4
LAYOUT = hash_grid.hash_grid_layout(**GRID, features=GRID_FEATURES)
CORNERS = 8 * GRID["levels"]  # read of a point


def _hash_grid_inputs(points: int, generator: Generator) -> dict[str, Tensor]:
    rays = -(-2 * points // SAMPLES)  # of which nine in ten are far enough from all faces of cells
    t = (torch.arange(SAMPLES, dtype=torch.float64) - SAMPLES / 2) * math.sqrt(3) / 1024
    along = t[:, None] * _directions(generator, rays)[:, None]
    x = (0.05 + 0.9 * _uniform(generator, rays, 1, 3) + along).clamp(0.01, 0.99).reshape(-1, 3)
    from_face = ((x[..., None] * torch.from_numpy(LAYOUT.scales)) % 1 - 0.5).abs().amin((1, 2))
    x = x[from_face > 2e-3][:points]
    assert len(x) == points
    return {"positions": x, "table": _normal(generator, LAYOUT.entries, GRID_FEATURES)}


# interval_sampling: a level of mip-NeRF 360, from the histogram of the level before to distances

REACH, ANNEAL, DRAW = 0.01, 0.7, {"seed": 11, "jitter": "ray"}


def _histogram(rays: int, intervals: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Fenceposts from 0 to 1 and weights with the sum 1."""
    edges = torch.cat([torch.zeros(rays, 1, dtype=torch.float64), _uniform(generator, rays, intervals) + 0.05], dim=1)
    edges, weights = edges.cumsum(1), _uniform(generator, rays, intervals) + 0.02
    return edges / edges[:, -1:], weights / weights.sum(1, keepdim=True)


def _sampling_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    fenceposts, weights = _histogram(rays, SAMPLES, generator)
    near = _uniform(generator, rays) + 0.3
    return {"fenceposts": fenceposts, "weights": weights, "near": near, "far": 30 * near}


def _sampling(fenceposts, weights, near, far):
    s = interval_sampling.resample_mip_nerf_360(fenceposts, weights, SAMPLES, reach=REACH, anneal=ANNEAL, **DRAW)
    return (interval_sampling.distance_from_normalised(s, near, far, "disparity"),)


def _sampling_reference(fenceposts, weights, near, far):
    plain = interval_sampling_reference
    fenceposts, weights = (x[:, 1:-1] for x in plain.dilate_histogram(fenceposts, weights, REACH))
    u = plain.sample_uniform(len(weights), SAMPLES, **DRAW).to(weights)
    samples = plain.sample_histogram(fenceposts, weights, u, 0.0, ANNEAL)
    s = plain.fenceposts_between(samples)
    return (plain.distance_from_normalised(s, near, far, "disparity"),)


# gaussian_rendering: discs in front of a camera, each some pixels wide

PICTURE = (48, 40)


def _gaussian_inputs(count: int, generator: Generator) -> dict[str, Tensor]:
    return {
        "means": 2 * _uniform(generator, count, 3) - 1,
        "scales": 0.01 + 0.05 * _uniform(generator, count, 3),
        "quaternions": _normal(generator, count, 4),
        "opacities": 0.1 + 0.8 * _uniform(generator, count),
        "harmonics": 0.3 * _normal(generator, count, 3, 4),
    }


def _seen(render, means: Tensor, **given) -> tuple[Tensor, ...]:
    camera = torch.eye(3, 4)
    camera[2, 3] = 2.5
    camera, focal, principal = (x.to(means) for x in (camera, torch.full((2,), 40.0), torch.tensor(PICTURE) / 2))
    return tuple(render(means, **given, camera_to_world=camera, focal=focal, principal=principal, width=PICTURE[0],
                        height=PICTURE[1]))


# mixture_rendering: what stands and what comes and goes


def _mixture_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    dt = 0.05 * _uniform(generator, rays, SAMPLES) + 0.01
    posts = torch.cat([torch.zeros_like(dt[:, :1]), dt.cumsum(1)], dim=1)
    return {
        "density": _uniform(generator, rays, SAMPLES) * 0.3 / dt,
        "colour": _uniform(generator, rays, SAMPLES, 3),
        "transient_density": _uniform(generator, rays, SAMPLES) * 0.1 / dt,
        "transient_colour": _uniform(generator, rays, SAMPLES, 3),
        "beta": _uniform(generator, rays, SAMPLES),
        "fenceposts": posts,
    }


# mlp: a network with one hidden layer, none of whose units is near the bend of ReLU

NETWORK = (32, 64, 16)


def _mlp_inputs(samples: int, generator: Generator) -> dict[str, Tensor]:
    hidden, last = _layers(NETWORK, generator)
    x = _normal(generator, NETWORK[0], samples + samples // 16 + 16)
    x = x[:, (hidden @ x).abs().amin(0) > 1e-4][:, :samples]
    assert x.shape[1] == samples
    return {"x": x, "hidden": hidden, "last": last}


# multisampling: six points of the intervals of rays

TURNS = {"seed": 17}


def _multisampling_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    posts, *_ = lines = _frustum_inputs(rays, generator).values()
    ends = {name: x.reshape(-1) for name, x in (("t_0", posts[:, :-1]), ("t_1", posts[:, 1:]))}
    return ends | dict(zip(("origins", "directions", "radius"), list(lines)[1:]))


# occupancy_grid: one update, from the choice of cells to the bits

CELLS_A_SIDE, CASCADES, DECAY, THRESHOLD, SEED = 16, 2, 0.8, 0.1234, 5
CUBE = CELLS_A_SIDE**3


def _occupancy_inputs(cells: int, generator: Generator) -> dict[str, Tensor]:
    return {
        "values": _uniform(generator, CASCADES * CUBE) ** 4,
        "cells": torch.randint(CASCADES * CUBE, (cells,), generator=generator, dtype=torch.int32),
        "fresh": _uniform(generator, cells),
    }


def _occupancy(values, cells, fresh):
    positions = occupancy_grid.cell_positions(cells, resolution=CELLS_A_SIDE, seed=SEED, dtype=values.dtype)
    occupancy_grid.decay_occupancy(values, DECAY)
    occupancy_grid.splat_occupancy(values, cells, fresh)
    bits = torch.empty(CASCADES * CUBE // 32, dtype=torch.int32, device=values.device)
    occupancy_grid.pack_occupancy(values, bits, resolution=CELLS_A_SIDE, cascades=CASCADES, threshold=THRESHOLD)
    return positions, values, bits


def _occupancy_reference(values, cells, fresh):
    updated = occupancy_grid_reference.moving_maximum(values, cells, fresh, DECAY)
    occupied = occupancy_grid_reference.occupancy(updated, CELLS_A_SIDE, THRESHOLD)
    return occupancy_grid_reference.cell_positions(cells, CELLS_A_SIDE, SEED), updated, _packed_bits(occupied)


def _packed_bits(occupied: Tensor) -> Tensor:
    """[C * G^3 / 32] int32 of [C, G, G, G] bool, in Morton order."""
    x, y, z = occupancy_grid_reference.morton_decode(torch.arange(CUBE)).unbind(-1)
    words = (occupied[:, x, y, z].reshape(-1, 32).long() << torch.arange(32)).sum(1)
    return (words - ((words >> 31) << 32)).int()


# octree: a tree of a surface, and points in it

TREE_DEPTH = 6


def _tree(points: Tensor, depth: int = TREE_DEPTH) -> octree.Octree:
    return octree.insert_points(octree.root_of(points.device), points, depth)[0]


def _sphere(points: int, generator: Generator) -> Tensor:
    """Points of a sphere in the tree, numbers that float32 has."""
    return (2**20 * (0.5 + 0.3 * _directions(generator, points))).floor() / 2**20


def _octree_inputs(points: int, generator: Generator) -> dict[str, Tensor]:
    return {"surface": _sphere(50, generator), "points": (2**20 * _uniform(generator, points, 3)).floor() / 2**20}


def _octree(surface, points):
    tree = _tree(surface)
    return (tree.child, *octree.descend(tree, points))


def _octree_reference(surface, points):
    child = _tree(surface.float()).child.cpu()
    assert {(*corner.tolist(), side) for _, corner, side in octree_reference.leaves(child)} == (
        octree_reference.insert_points(surface, torch.zeros(1, 8, dtype=torch.int32), TREE_DEPTH))
    return (child, *octree_reference.descend(points, child))


# octree_rendering: rays through a ball of leaves

OCTREE_DEGREE, LEAVES = 3, 40  # leaves met by a ray


def _octree_rendering_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    surface = _sphere(50, generator)
    cells = _tree(surface.float()).cells
    origins = 2 * _directions(generator, rays)
    aim = 0.2 * _normal(generator, rays, 3)
    return {
        "surface": surface,
        "density": 4 * _uniform(generator, cells),
        "coefficients": _normal(generator, cells, 3 * OCTREE_DEGREE**2),
        "origins": origins,
        "directions": torch.nn.functional.normalize(aim - origins, dim=1),
    }


def _octree_rendering(surface, **inputs):
    return octree_rendering.render_octree(_tree(surface), octree_rendering.Frame(), **inputs)[:3]


def _octree_rendering_reference(surface, **inputs):
    child = _tree(surface.float()).child.cpu()
    middle, one = (torch.full((3,), x, dtype=torch.float64) for x in (0.5, 1.0))
    return octree_rendering_reference.render_octree(child, **inputs, offset=middle, scale=one)[:3]


# positional_encoding: Gaussians of which some are too wide for the highest frequencies

FREQUENCIES = 16


def _encoding_inputs(points: int, generator: Generator) -> dict[str, Tensor]:
    return {"mean": 6 * _uniform(generator, points, 3) - 3, "variance": _uniform(generator, points, 3) ** 4}


# proposal_loss: a target that its proposal bounds in part


def _proposal_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    fenceposts, weights = _histogram(rays, SAMPLES, generator)
    proposal_fenceposts, proposal_weights = _histogram(rays, 2 * SAMPLES, generator)
    return {"fenceposts": fenceposts, "weights": weights, "proposal_fenceposts": proposal_fenceposts,
            "proposal_weights": 0.5 * proposal_weights}


# ray_aabb: rays of which some miss the box

BOX = torch.tensor([[-0.5, -0.4, -0.3], [0.5, 0.4, 0.6]], dtype=torch.float64)


def _aabb_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    aim = 0.4 * _normal(generator, rays, 3)
    origins = 2 * _directions(generator, rays)
    return {"origins": origins, "directions": torch.nn.functional.normalize(aim - origins, dim=1), "box": BOX}


# ray_marching: rays whose samples do not depend on rounding

MARCH = {"step_min": 0.013, "cone_angle": 1 / 50, "step_max": 0.05, "near": 0.1, "far": 1.6, "seed": 6}


def _cubes(generator: Generator) -> Tensor:
    """[C, G, G, G] bool: three in ten of 4^3 blocks are occupied."""
    occupied = (_uniform(generator, CASCADES, 4, 4, 4) < 0.3)
    for axis in (1, 2, 3):
        occupied = occupied.repeat_interleave(CELLS_A_SIDE // 4, axis)
    return occupied


def _steady_rays(rays: int, generator: Generator, samples: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """Rays whose number of `samples` stays the same when they move a little."""
    distinct = min(rays, 1024)  # the reference needs memory
    origins, directions = 1.4 * (_uniform(generator, distinct, 3) - 0.5), _directions(generator, distinct)
    count, *moved = (samples(origins + shift, directions) for shift in (0.0, 2e-4, -2e-4))
    # the jitter belongs to the number of a ray, so that none may be left out: the unsteady are sent away
    unsteady = ((count != moved[0]) | (count != moved[1]))[:, None]
    origins = origins.masked_fill(unsteady, 9.0)
    directions = directions.masked_fill(unsteady, 3**-0.5)
    repeats = -(-rays // distinct) if distinct else 1
    return {"origins": origins.repeat(repeats, 1)[:rays], "directions": directions.repeat(repeats, 1)[:rays]}


def _march_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    bits = _packed_bits(_cubes(generator))
    return _steady_rays(rays, generator, lambda o, d: _march_reference(o, d, bits)[-1]) | {"bits": bits}


def _march(origins, directions, bits):
    s = ray_marching.march_rays(origins, directions, bits, resolution=CELLS_A_SIDE, cascades=CASCADES, **MARCH)
    return s.positions, s.t, s.dt, s.ray_start, s.ray_count


def _march_reference(origins, directions, bits):
    occupied = occupancy_grid_reference.dense_from_bits(bits, CELLS_A_SIDE)
    positions, t, dt, _, start, count = ray_marching_reference.march_rays(origins, directions, occupied, **MARCH)
    return positions, t, dt, start, count


# ray_mesh: rays at the middles of triangles of a crumpled ball, which rounding takes past none of their edges

MESH_RINGS = 24


def _crumpled_ball() -> tuple[Tensor, Tensor]:
    """Vertices [V, 3], and faces [F, 3] int32."""
    turn = torch.arange(MESH_RINGS, dtype=torch.float64) / MESH_RINGS
    height, yaw = torch.meshgrid(math.pi * (turn + 0.5 / MESH_RINGS), 2 * math.pi * turn, indexing="ij")
    radius = 0.5 + 0.1 * torch.sin(5 * yaw) * torch.sin(3 * height)
    towards = torch.stack([height.sin() * yaw.cos(), height.sin() * yaw.sin(), height.cos()], dim=-1)
    row, column = torch.meshgrid(torch.arange(MESH_RINGS - 1), torch.arange(MESH_RINGS), indexing="ij")
    a, b = row * MESH_RINGS + column, row * MESH_RINGS + (column + 1) % MESH_RINGS
    quads = torch.stack([a, b, a + MESH_RINGS, b, b + MESH_RINGS, a + MESH_RINGS], dim=-1)
    return (radius[..., None] * towards).reshape(-1, 3), quads.reshape(-1, 3).int()


def _mesh_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    vertices, faces = _crumpled_ball()
    aimed = torch.randint(len(faces), (rays,), generator=generator)
    middle = vertices[faces[aimed].long()].mean(dim=1)
    origins = middle + 2 * torch.nn.functional.normalize(middle + 0.1 * _normal(generator, rays, 3), dim=1)
    return {"vertices": vertices, "faces": faces, "origins": origins, "directions": (middle - origins) / 2}


def _mesh_distances(vertices, faces, origins, directions):
    return (ray_mesh.intersect_ray_mesh(ray_mesh.ray_mesh(vertices, faces), origins, directions).t,)


def _mesh_distances_reference(vertices, faces, origins, directions):
    return (ray_mesh_reference.intersect_ray_mesh(vertices, faces, origins, directions)[0],)


# region_compositing: rays that meet their regions in any order, some of which are opaque

REGIONS = 4


def _region_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    transmittance = _uniform(generator, REGIONS, rays)
    transmittance[transmittance < 0.2] = 0
    return {
        "transmittance": transmittance,
        "values": _uniform(generator, REGIONS, rays, 4),
        "mass": _uniform(generator, REGIONS, rays),
        "moment": _uniform(generator, REGIONS, rays),
        "own": _uniform(generator, REGIONS, rays),
        "order": _uniform(generator, REGIONS, rays).argsort(dim=0).int(),
    }


def _regions(stem, transmittance, values, mass, moment, own, order) -> tuple[Tensor, ...]:
    return (*stem.composite_regions(transmittance, values, order),
            stem.region_distortion(transmittance, mass, moment, own, order))


# se3: half of the angles near 0


def _twists(count: int, generator: Generator) -> dict[str, Tensor]:
    twists = _normal(generator, count, 6)
    twists[: count // 2, :3] *= 1e-3
    return {"twists": twists}


# spherical_harmonics

DEGREE = 4


def _harmonics_inputs(directions: int, generator: Generator) -> dict[str, Tensor]:
    return {"directions": _directions(generator, directions)}


# tsdf: a wavy wall before a few cameras

TSDF_VIEWS, TSDF_SIDE = 4, 32


def _tsdf_inputs(places: int, generator: Generator) -> dict[str, Tensor]:
    side = max(round(places ** (1 / 3)), 2)
    pose = torch.eye(4, dtype=torch.float64)[:3].repeat(TSDF_VIEWS, 1, 1)
    pose[:, :, 3] = 0.2 * _uniform(generator, TSDF_VIEWS, 3) + torch.tensor([-0.1, -0.1, 1.9])
    wave = 0.05 * torch.sin(torch.arange(TSDF_SIDE) / 5).double()
    grid = torch.zeros(side, side, side, dtype=torch.float64)
    return {"distance": (2 + wave[:, None] + wave).repeat(TSDF_VIEWS, 1, 1),
            "pixel_weight": torch.ones(TSDF_VIEWS, TSDF_SIDE, TSDF_SIDE, dtype=torch.float64), "camera_to_world": pose,
            "focal": torch.full((TSDF_VIEWS, 2), float(TSDF_SIDE), dtype=torch.float64),
            "principal": torch.full((TSDF_VIEWS, 2), TSDF_SIDE / 2, dtype=torch.float64),
            "corner": torch.full((3,), -0.4, dtype=torch.float64), "total": grid, "weight": grid.clone()}


def _integrated(total: Tensor, weight: Tensor, **given: Tensor) -> tuple[Tensor, ...]:
    tsdf.integrate_depth(**given, total=total, weight=weight, cell=0.8 / len(total), truncation=0.3)
    return total, weight


# volume_rendering: rays that stop early, and rays that do not

STOP = 1e-3


def _rendering_inputs(rays: int, generator: Generator) -> dict[str, Tensor]:
    dt = 0.05 * _uniform(generator, rays, SAMPLES) + 0.01
    opacity = 0.6 * _uniform(generator, rays, 1)
    return {
        "density": (_uniform(generator, rays, SAMPLES) * opacity / dt).reshape(-1),
        "colour": _uniform(generator, rays * SAMPLES, 3),
        "t": (dt.cumsum(1) - 0.5 * dt).reshape(-1),
        "dt": dt.reshape(-1),
        **_packed(rays),
    }


CASES: dict[str, Case] = {
    "adam": Case(
        item="entries", make=_adam_inputs, operation=_adam, reference=_adam_reference, few=5000, many=2**19,
        # all gradients are read; of half the entries three arrays are read and written, and the count
        forward=Work(FLOAT * (ADAM_FEATURES + 0.5 * (6 * ADAM_FEATURES + 2)), 0.5 * ADAM_FEATURES * 24),
    ),
    "camera": Case(
        item="rays", make=_camera_inputs, operation=camera.rays_from_pixels,
        reference=camera_reference.rays_from_pixels, gradients=("camera_to_world", "focal", "principal"),
        few=500, many=2**17,
        # a Newton step takes some 60 operations, and about five are needed of the twelve that are made
        forward=Work(FLOAT * (3 + 6), 12 * 60 + 40), backward=Work(FLOAT * (3 + 6), 12 * 60 + 120),
    ),
    "combination": Case(
        item="samples", make=_combined, operation=lambda **given: (combination.combine(**given),),
        reference=lambda **given: (combination_reference.combine(**given),),
        gradients=("coefficients", "numbers"), few=2000, many=2**17,
        forward=Work(FLOAT * (OUTPUTS * NUMBERS + OUTPUTS + 1), 2 * OUTPUTS * NUMBERS),
        backward=Work(FLOAT * (2 * OUTPUTS * NUMBERS + OUTPUTS + 1), 3 * OUTPUTS * NUMBERS),
    ),
    "conical_frustum": Case(
        item="intervals", make=lambda n, g: _frustum_inputs(-(-n // SAMPLES), g),
        operation=conical_frustum.frustum_gaussians, reference=conical_frustum_reference.frustum_gaussians,
        gradients=("fenceposts", "origins", "directions", "radius"), few=64 * SAMPLES, many=2**18,
        forward=Work(FLOAT * (1 + 8 / SAMPLES + 6), 40),
        backward=Work(FLOAT * (1 + 8 / SAMPLES + 6 + 1 + 8 / SAMPLES), 100),
    ),
    "contraction": Case(
        item="Gaussians", make=lambda n, g: _contraction_inputs(-(-n // SAMPLES), g),
        operation=partial(_project, contraction.project_gaussians),
        reference=partial(_project, contraction_reference.project_gaussians),
        gradients=("origins", "directions", "t_mean", "t_variance", "radial_variance"), few=64 * SAMPLES, many=2**16,
        # a mean along a direction is a product of three, a variance needs two more of them
        forward=Work(FLOAT * (3 + 6 / SAMPLES + 2 * len(BASIS)), 60 + 20 * len(BASIS)),
        backward=Work(FLOAT * (2 * (3 + 6 / SAMPLES) + 2 * len(BASIS)), 160 + 40 * len(BASIS)),
    ),
    "distortion": Case(
        item="samples", make=lambda n, g: _distortion_inputs(-(-n // SAMPLES), g),
        operation=lambda **inputs: (distortion.distortion_loss(**inputs),),
        reference=lambda **inputs: (distortion_reference.distortion_loss(**inputs),),
        gradients=("weights", "midpoints", "lengths"), few=64 * SAMPLES, many=2**20,
        forward=Work(FLOAT * 3, 9), backward=Work(FLOAT * 6, 22),
    ),
    "elastic": Case(
        item="Jacobians", make=_jacobians, operation=lambda jacobian: (elastic.elastic_energy(jacobian),),
        reference=lambda jacobian: (elastic_reference.elastic_energy(jacobian),),
        gradients=("jacobian",), few=2000, many=2**18,
        # three rotations in each of six sweeps, and what is left of three products
        forward=Work(FLOAT * (9 + 1), 18 * 60 + 60), backward=Work(FLOAT * (9 + 1 + 9), 18 * 60 + 150),
    ),
    "field_rendering": Case(
        item="rays", make=_field_inputs, operation=_field, reference=_field_reference, few=300, many=2**14,
        # about 14 samples on a ray of this scene, each the corners of the grid and both networks
        forward=Work(FLOAT * (6 + 6 + 14 * CORNERS * FIELD.features), 14 * (CORNERS * (2 * FIELD.features + 10) + 200
                     + 2 * (_weights(FIELD.density_sizes) + _weights(FIELD.colour_sizes)))),
    ),
    "gaussian_rendering": Case(
        item="Gaussians", make=_gaussian_inputs, operation=partial(_seen, gaussian_rendering.render_gaussians),
        reference=partial(_seen, gaussian_rendering_reference.render_gaussians),
        gradients=("means", "scales", "quaternions", "opacities", "harmonics"), few=200, many=2**12,
        # what makes a Gaussian, its ellipse, and some tens of pixels
        forward=Work(FLOAT * (23 + 15 + 10), 350 + 40 * 25), backward=Work(FLOAT * (23 + 10 + 9 + 23), 800 + 40 * 60),
    ),
    "harmonic_colours": Case(
        item="samples", make=_coloured,
        operation=lambda **given: (harmonic_colours.harmonic_colours(**given),),
        reference=lambda **given: (harmonic_colours_reference.harmonic_colours(**given),),
        gradients=("coefficients", "directions"), trained=("coefficients",), few=2000, many=2**18,
        forward=Work(FLOAT * (3 * FUNCTIONS + 3 + 3), 30 + 3 * (2 * FUNCTIONS + 8)),
        backward=Work(FLOAT * (3 * FUNCTIONS + 3 + 2 * 3), 30 + 3 * (FUNCTIONS + 3)),
    ),
    "hash_grid": Case(
        item="points", make=_hash_grid_inputs,
        operation=lambda positions, table: (hash_grid.hash_grid_encode(positions, table, LAYOUT),),
        reference=lambda positions, table: (hash_grid_reference.hash_grid_encode(positions, table, **GRID),),
        gradients=("positions", "table"), trained=("table",), few=500, many=2**17,
        forward=Work(FLOAT * (3 + LAYOUT.outputs + CORNERS * GRID_FEATURES), CORNERS * (2 * GRID_FEATURES + 10)),
        backward=Work(FLOAT * (3 + LAYOUT.outputs + 2 * CORNERS * GRID_FEATURES), CORNERS * (2 * GRID_FEATURES + 10)),
        peers={"Dr.Jit": lambda inputs: peers.drjit_hash_grid(inputs["positions"], features=GRID_FEATURES, **GRID)},
    ),
    "interval_sampling": Case(
        item="samples", make=lambda n, g: _sampling_inputs(-(-n // SAMPLES), g), operation=_sampling,
        reference=_sampling_reference, few=64 * SAMPLES, many=2**18,
        # the dilated histogram has three times the intervals, each with a power
        forward=Work(FLOAT * (2 + 1), 3 * 20 + 20),
    ),
    "mixture_rendering": Case(
        item="samples", make=lambda n, g: _mixture_inputs(-(-n // SAMPLES), g),
        operation=mixture_rendering.composite_mixture, reference=mixture_rendering_reference.composite_mixture,
        gradients=("density", "colour", "transient_density", "transient_colour", "beta", "fenceposts"),
        trained=("density", "colour", "transient_density", "transient_colour", "beta"),
        few=64 * SAMPLES, many=2**19,
        forward=Work(FLOAT * (10 + 1), 40), backward=Work(FLOAT * (10 + 1 + 10), 60),
    ),
    "mlp": Case(
        item="samples", make=_mlp_inputs,
        operation=lambda x, hidden, last: (mlp.fused_mlp(x, [hidden, last]),),
        reference=lambda x, hidden, last: (mlp_reference.mlp(x, [hidden, last]),),
        gradients=("x", "hidden", "last"), few=500, many=2**16,
        forward=Work(FLOAT * (NETWORK[0] + NETWORK[-1]), 2 * _weights(NETWORK)),
        backward=Work(FLOAT * (2 * NETWORK[0] + NETWORK[1] + NETWORK[-1]), 4 * _weights(NETWORK)),
    ),
    "multisampling": Case(
        item="intervals", make=lambda n, g: _multisampling_inputs(-(-n // SAMPLES), g),
        operation=partial(multisampling.multisample_cones, **TURNS),
        reference=partial(multisampling_reference.multisample_cones, **TURNS),
        gradients=("t_0", "t_1", "origins", "directions", "radius"), few=64 * SAMPLES, many=2**16,
        # of each of six points, three coordinates and a width
        forward=Work(FLOAT * (2 + 7 / SAMPLES + 6 * 4), 50 + 6 * 25),
        backward=Work(FLOAT * (2 + 7 / SAMPLES + 6 * 4 + 2 + 7 / SAMPLES), 80 + 6 * 55),
    ),
    "occupancy_grid": Case(
        item="cells", make=_occupancy_inputs, operation=_occupancy, reference=_occupancy_reference,
        few=2000, many=2**18,
        forward=Work(FLOAT * (2 * 1 + 3 + 1 + 2), 60),
    ),
    "octree": Case(
        item="points", make=_octree_inputs, operation=_octree, reference=_octree_reference, few=500, many=2**18,
        # a link at each level
        forward=Work(FLOAT * (3 + 2 + TREE_DEPTH), TREE_DEPTH * 8),
    ),
    "octree_rendering": Case(
        item="rays", make=_octree_rendering_inputs, operation=_octree_rendering,
        reference=_octree_rendering_reference, gradients=("density", "coefficients"), few=300, many=2**14,
        # each leaf has a link, a density and its harmonics; three sums, three sigmoids and an exponential function
        forward=Work(FLOAT * (6 + 6 + LEAVES * (2 + 3 * OCTREE_DEGREE**2)), LEAVES * (6 * OCTREE_DEGREE**2 + 80)),
        backward=Work(FLOAT * (6 + 10 + LEAVES * (2 + 9 * OCTREE_DEGREE**2)), LEAVES * (12 * OCTREE_DEGREE**2 + 100)),
    ),
    "positional_encoding": Case(
        item="points", make=_encoding_inputs,
        operation=lambda mean, variance: (positional_encoding.encode_gaussian(mean, variance, FREQUENCIES),),
        reference=lambda mean, variance: (
            positional_encoding_reference.encode(mean, FREQUENCIES, variance, identity=False),),
        gradients=("mean", "variance"), few=2000, many=2**17,
        # a sine, a cosine and an exponential function of each frequency and axis
        forward=Work(FLOAT * (6 + 6 * FREQUENCIES), 3 * FREQUENCIES * 30),
        backward=Work(FLOAT * (6 * FREQUENCIES + 6), 3 * FREQUENCIES * 10),
    ),
    "proposal_loss": Case(
        item="samples", make=lambda n, g: _proposal_inputs(-(-n // SAMPLES), g),
        operation=lambda **inputs: (proposal_loss.proposal_bound_loss(**inputs),),
        reference=lambda **inputs: (proposal_loss_reference.proposal_bound_loss(**inputs),),
        gradients=("proposal_weights",), few=64 * SAMPLES, many=2**19,
        # two intervals of the proposal to one of the target, one of which is met twice
        forward=Work(FLOAT * (2 + 4), 3 + 5), backward=Work(FLOAT * (2 + 4 + 2), 3 + 5 + 5),
    ),
    "ray_aabb": Case(
        item="rays", make=_aabb_inputs, operation=ray_aabb.intersect_ray_aabb,
        reference=ray_aabb_reference.intersect_ray_aabb, gradients=("origins", "directions"), few=2000, many=2**19,
        forward=Work(FLOAT * (6 + 2), 30), backward=Work(FLOAT * (6 + 2 + 6), 50),
    ),
    "ray_marching": Case(
        item="rays", make=_march_inputs, operation=_march, reference=_march_reference,
        gradients=("origins", "directions"), few=300, many=2**14,
        # about 20 samples on a ray of this scene, each of 6 numbers; each tried twice, in some 60 operations
        forward=Work(FLOAT * (2 * 6 + 3 + 20 * 6), 20 * 120), backward=Work(FLOAT * (20 * 4 + 2 + 6), 20 * 9),
    ),
    "ray_mesh": Case(
        item="rays", make=_mesh_inputs, operation=_mesh_distances, reference=_mesh_distances_reference,
        gradients=("vertices", "origins", "directions"), few=500, many=2**17,
        # some 20 boxes of 25 operations each and 4 triangles of 60; the triangles of a leaf are in the cache
        forward=Work(FLOAT * (7 + 5), 20 * 25 + 4 * 60), backward=Work(FLOAT * (3 + 6 + 6 + 9), 60),
    ),
    "region_compositing": Case(
        item="rays", make=_region_inputs,
        operation=partial(_regions, region_compositing), reference=partial(_regions, region_compositing_reference),
        gradients=("transmittance", "values", "mass", "moment", "own"), few=2000, many=2**16,
        # of each region 8 numbers in and 1 out, on the way back also 8 gradients
        forward=Work(FLOAT * (REGIONS * (8 + 1) + 6), REGIONS * 25),
        backward=Work(FLOAT * (REGIONS * (9 + 8) + 6), REGIONS * 50),
    ),
    "se3": Case(
        item="twists", make=_twists, operation=lambda twists: (se3.exponential_map(twists),),
        reference=lambda twists: (se3_reference.exponential_map(twists),),
        gradients=("twists",), few=2000, many=2**18,
        # two series of nine terms
        forward=Work(FLOAT * (6 + 12), 120), backward=Work(FLOAT * (6 + 12 + 6), 230),
    ),
    "spherical_harmonics": Case(
        item="directions", make=_harmonics_inputs,
        operation=lambda directions: (spherical_harmonics.encode_direction(directions, DEGREE),),
        reference=lambda directions: (spherical_harmonics_reference.spherical_harmonics(directions, DEGREE),),
        gradients=("directions",), few=2000, many=2**18,
        forward=Work(FLOAT * (3 + DEGREE**2), 60), backward=Work(FLOAT * (3 + DEGREE**2 + 3), 130),
    ),
    "tsdf": Case(
        item="places", make=_tsdf_inputs, operation=_integrated,
        reference=lambda total, **given: tsdf_reference.integrate_depth(
            **given, total=total, cell=0.8 / len(total), truncation=0.3),
        few=1000, many=2**21, forward=Work(4 * FLOAT, 60 * TSDF_VIEWS),
    ),
    "volume_rendering": Case(
        item="samples", make=lambda n, g: _rendering_inputs(-(-n // SAMPLES), g),
        operation=lambda **inputs: volume_rendering.composite(**inputs, early_stop=STOP),
        reference=lambda **inputs: volume_rendering_reference.composite(**inputs, early_stop=STOP),
        gradients=("density", "colour", "t", "dt"), trained=("density", "colour"), few=64 * SAMPLES, many=2**20,
        forward=Work(FLOAT * (6 + 1), 20), backward=Work(FLOAT * (6 + 1 + 1 + 4), 20),
    ),
}
