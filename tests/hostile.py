"""Every operation on numbers that nobody should give it: `python -m tests.hostile` ends well, or it does not end well.

Each tensor, those that operations make included, lies between two pages of memory that no one may touch, its end at the
second: a read or a write beyond it ends the process, one in front of it that stays within a page is found. A call that
takes longer than a second or so ends the process, too. The last line that was printed names the call.
"""

import ctypes
import functools
import math
import mmap
import signal
import time

import torch

from taichi_nerf import runtime
from taichi_nerf.ops import (
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

SECONDS = 3.0  # of a call; the longest take a hundredth of it
ERRORS = (TypeError, ValueError, IndexError)  # those that the operations document
REALS = [math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-45, 0.0, -1.0, 1e9]
INTEGERS = [-2**31, 2**31 - 1, -1, 0, 4, 10**6]
POISON = 0xA5


# Memory

PAGE = mmap.PAGESIZE
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
fronts = []  # the poisoned bytes in front of every tensor of a call


def fenced(shape, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of poison before a page that no one may touch."""
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return torch.zeros(shape, dtype=dtype)
    room = (size + PAGE - 1) // PAGE * PAGE
    memory = mmap.mmap(-1, room + 2 * PAGE)
    everything = torch.frombuffer(memory, dtype=torch.uint8)
    everything.fill_(POISON)
    end = PAGE + room
    for page in (0, end):
        assert protect(everything.data_ptr() + page, PAGE, 0) == 0
    fronts.append(everything[PAGE:end - size])
    return everything[end - size:end].view(dtype).view(shape)


def copy_of(tensor: torch.Tensor) -> torch.Tensor:
    copy = fenced(tensor.shape, tensor.dtype)
    copy.copy_(tensor)
    return copy


def fence_what_operations_make() -> None:
    """Operations take their results from `torch.empty` and the like."""
    def shape_of(shape):
        return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape

    def empty(*shape, dtype=None, device=None):
        return fenced(shape_of(shape), dtype or torch.float32)

    def new_empty(self, *shape, dtype=None):
        return fenced(shape_of(shape), dtype or self.dtype)

    torch.empty, torch.Tensor.new_empty = empty, new_empty
    torch.empty_like = lambda like: fenced(like.shape, like.dtype)
    torch.zeros_like = lambda like: fenced(like.shape, like.dtype).zero_()


# Calls

def call(name: str, operation, inputs: dict[str, torch.Tensor], seconds: float | None = SECONDS) -> None:
    """`operation(**inputs)` and its gradients, which ends in time or with an error, and stays within its tensors."""
    print(name, flush=True)
    fronts.clear()
    inputs = {key: copy_of(value) for key, value in inputs.items()}
    for value in inputs.values():
        value.requires_grad_(value.is_floating_point())
    signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        found = operation(**inputs)
        found = [x for x in (found if isinstance(found, tuple) else [found]) if x is not None and x.requires_grad]
        if found:
            wanted = [x for x in inputs.values() if x.requires_grad]
            given = [copy_of(torch.ones(x.shape, dtype=x.dtype)) for x in found]
            torch.autograd.grad(found, wanted, given, allow_unused=True)
    except ERRORS as error:
        assert seconds is not None, error  # what should be fine is
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert all(bool((front == POISON).all()) for front in fronts), "something was written in front of a tensor"


def hostile(inputs: dict[str, torch.Tensor], rng: torch.Generator):
    """(what was done, inputs) of everything that is wrong with one of them, and of some that is with all."""
    for key, value in inputs.items():
        values = REALS if value.is_floating_point() else INTEGERS
        if value.dtype != torch.uint8:
            for number in values:
                yield f"{key} = {number}", {**inputs, key: torch.full_like(value, number)}
            for turn in range(3):
                yield f"{key} mixed {turn}", {**inputs, key: mixed(value, values, rng)}
        for what, other in (("short", value[:-1]), ("long", torch.cat([value, value[:1]])), ("empty", value[:0]),
                            ("narrow", value[..., :-1]), ("flat", value.reshape(-1))):
            yield f"{key} {what}", {**inputs, key: other}
    for turn in range(5):
        yield f"all mixed {turn}", {key: value if value.dtype == torch.uint8 else mixed(
            value, REALS if value.is_floating_point() else INTEGERS, rng) for key, value in inputs.items()}
    yield "all empty", {key: value[:0] for key, value in inputs.items()}


def mixed(value: torch.Tensor, numbers: list, rng: torch.Generator) -> torch.Tensor:
    """`value` with half of its numbers replaced."""
    drawn = torch.tensor(numbers, dtype=value.dtype)[torch.randint(len(numbers), value.shape, generator=rng)]
    return torch.where(torch.rand(value.shape, generator=rng) < 0.5, drawn, value)


# Operations, and inputs that are fine

R, S, N, G = 5, 4, 2, 16  # rays, intervals, cameras, cells along an axis
FAR = 1e6  # so many steps that a ray with no end takes minutes, and not so many that their number overflows


def rand(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape)))


def ints(*values):
    return torch.tensor(values, dtype=torch.int32)


def unit(*shape):
    return torch.nn.functional.normalize(rand(*shape) - 0.5, dim=-1)


def fences(rays=R, intervals=S):
    return torch.linspace(0.1, 1, intervals + 1).expand(rays, -1)


def cells_here_and_there() -> torch.Tensor:
    """Bits of two cascades: few cells, in few blocks."""
    bits = torch.zeros(2 * G**3 // 32, dtype=torch.int32)
    bits[::9] = 1 << 7
    return bits


def march(origins, directions, bits):
    return ray_marching.march_rays(origins, directions, bits, resolution=G, cascades=2, step_min=2e-3, max_samples=64,
                                   far=FAR, seed=3).positions


@functools.cache
def layout():
    return hash_grid.hash_grid_layout(levels=2, features=2, log2_entries=6, base_resolution=3, max_resolution=8)


def render(origins, directions, bits, table, density_0, density_1, colour_0, colour_1):
    settings = field_rendering.FieldSettings(features=2, density_sizes=(4, 4, 2), colour_sizes=(3, 4, 3), degree=1,
                                             side=2.0, resolution=G, cascades=2, step=2e-3, far=FAR, max_samples=64)
    field = field_rendering.prepare_field(settings, layout(), bits, table, [density_0, density_1], [colour_0, colour_1])
    return field_rendering.render_field(field, origins, directions)


def step_of_adam(parameter, gradient, first_moment, second_moment, step_count):
    if gradient.shape != parameter.shape:
        return  # PyTorch itself refuses
    weights = torch.nn.Parameter(parameter.detach())
    weights.grad = gradient.detach()
    optimiser = adam.SparseAdam([weights])
    optimiser.state[weights] = {"first_moment": first_moment.detach(), "second_moment": second_moment.detach(),
                                "step_count": step_count}
    optimiser.step()


def network(x, w_0, w_1):
    if len(w_1) in (1, 3):
        return None  # another network, which would be compiled
    return mlp.fused_mlp(x, [w_0, w_1])


def train_rays(pixels, offset, size, allowed, **cameras):
    images = camera.training_images(pixels, offset, size, **cameras, allowed=allowed)
    return camera.training_rays(images, 8, seed=3)


TREE = {"child": ints(1, *[0] * 15).view(2, 8), "parent_depth": ints(0, 0, 0, 1).view(2, 2)}


def see_octree(child, parent_depth, contracted=False, **given):
    if len(given["coefficients"].shape) == 2 and given["coefficients"].shape[1] != 3:
        return None  # other harmonics, which would be compiled
    frame = octree_rendering.Frame(contracted=contracted)
    return octree_rendering.render_octree(octree.Octree(child, parent_depth), frame, **given)


def picture_of_octree(child, parent_depth, origins, directions, **given):
    if given["coefficients"].shape[1:] != (3,):
        return None  # other harmonics, which would be compiled
    prepared = octree_rendering.prepare_octree(octree.Octree(child, parent_depth), octree_rendering.Frame(), **given)
    return octree_rendering.render_picture(prepared, origins, directions)


def draw(harmonics, **given):
    if harmonics.dim() == 3 and harmonics.shape[2] != 4:
        return None  # other harmonics, which would be compiled
    return gaussian_rendering.render_gaussians(**given, harmonics=harmonics, width=13, height=9)


CAMERAS = {
    "camera_to_world": torch.eye(3, 4).expand(N, 3, 4), "focal": 1 + rand(N, 2), "principal": rand(N, 2),
    "distortion": 0.01 * rand(N, 6), "lens": ints(0, 1),
}
LENSES = {key: value for key, value in CAMERAS.items() if key != "camera_to_world"}
PACKED = {"ray_start": ints(0, 3, 3, 7, 12), "ray_count": ints(3, 0, 4, 5, 8)}  # of 20 samples
HISTOGRAM = {"fenceposts": fences(), "weights": rand(R, S)}
TRIANGLES = {"vertices": rand(6, 3), "faces": torch.tensor([[0, 1, 2], [3, 4, 5], [5, 2, 0]], dtype=torch.int32)}
RAYS = {"origins": rand(R, 3) - 0.5, "directions": unit(R, 3)}
VALUES = rand(2 * G**3)

OPERATIONS = {
    "adam": (step_of_adam, {"parameter": rand(6, 2), "gradient": rand(6, 2), "first_moment": rand(6, 2),
                            "second_moment": rand(6, 2), "step_count": ints(*range(6))}),
    "camera, rays": (camera.rays_from_pixels, {"image_index": ints(0, 1, 0), "pixel": rand(3, 2), **CAMERAS}),
    "camera, points": (camera.project_points, {"image_index": ints(0, 1, 0), "points": rand(3, 3), **CAMERAS}),
    "camera, ndc": (lambda **rays: camera.ndc_rays(**rays, focal=(3.0, 3.0), size=(4, 4)), RAYS),
    "camera, training": (train_rays, {"pixels": torch.zeros(12, 4, dtype=torch.uint8), "offset": ints(0, 6),
                                      "size": ints(3, 2, 2, 3).view(2, 2), "allowed": ints(1, 5, 11), **CAMERAS}),
    "cones": (conical_frustum.cone_radii, {"image_index": ints(0, 1, 0), "pixel": rand(3, 2), **LENSES}),
    "moments": (conical_frustum.frustum_moments, {"fenceposts": fences(), "radius": rand(R)}),
    "gaussians": (conical_frustum.frustum_gaussians, {"fenceposts": fences(), **RAYS, "radius": rand(R)}),
    "contraction": (contraction.contract_points, {"points": 2 * rand(R, 3)}),
    "spheres": (contraction.contract_spheres, {"points": 2 * rand(R, 3), "widths": rand(R)}),
    "projection": (contraction.project_gaussians, {**RAYS, "t_mean": rand(R, S), "t_variance": rand(R, S),
                                                   "radial_variance": rand(R, S), "basis": unit(4, 3)}),
    "distortion": (distortion.distortion_loss, {"weights": rand(20), "midpoints": rand(20), "lengths": rand(20),
                                                **PACKED}),
    "distortion, dense": (distortion.interval_distortion_loss, {"weights": rand(R, S), "fenceposts": fences()}),
    "field": (render, {**RAYS, "bits": cells_here_and_there(), "table": rand(layout().entries, 2),
                       "density_0": rand(4, 4), "density_1": rand(2, 4), "colour_0": rand(4, 3),
                       "colour_1": rand(3, 4)}),
    "hash grid": (lambda **given: hash_grid.hash_grid_encode(**given, layout=layout()),
                  {"positions": rand(R, 3), "table": rand(layout().entries, 2)}),
    "hash grid, widths": (lambda **given: hash_grid.hash_grid_encode(**given, layout=layout()),
                          {"positions": rand(R, 3), "table": rand(layout().entries, 2), "widths": rand(R)}),
    "spacing": (lambda **given: interval_sampling.distance_from_normalised(**given, spacing="piecewise"),
                {"s": rand(R, S), "near": rand(R), "far": 2 + rand(R)}),
    "spacing, back": (lambda **given: interval_sampling.normalised_from_distance(**given, spacing="disparity"),
                      {"t": rand(R, S), "near": rand(R), "far": 2 + rand(R)}),
    "sampling": (lambda **given: interval_sampling.sample_histogram(**given, count=7, ends=True), HISTOGRAM),
    "merging": (interval_sampling.merge_sorted, {"a": fences(), "b": fences(intervals=7)}),
    "dilation": (lambda **given: interval_sampling.dilate_histogram(**given, reach=0.1), HISTOGRAM),
    "mip-NeRF": (lambda **given: interval_sampling.resample_mip_nerf(**given, count=6, seed=2), HISTOGRAM),
    "mip-NeRF 360": (lambda **given: interval_sampling.resample_mip_nerf_360(**given, count=6, reach=0.1, anneal=0.5),
                     HISTOGRAM),
    "multisampling": (multisampling.multisample_cones, {"t_0": rand(20), "t_1": 1 + rand(20), **RAYS, "radius": rand(R),
                                                        **PACKED}),
    "network": (network, {"x": rand(3, 5), "w_0": rand(4, 3), "w_1": rand(2, 4)}),
    "cells": (lambda cells: occupancy_grid.cell_positions(cells, resolution=G, seed=1), {"cells": ints(0, 9, 8191)}),
    "choice": (lambda bits: occupancy_grid.choose_cells(bits, uniform_count=5, occupied_count=9, seed=1),
               {"bits": cells_here_and_there()}),
    "decay": (lambda values: occupancy_grid.decay_occupancy(values.detach(), 0.9), {"values": VALUES}),
    "splat": (lambda values, cells, fresh: occupancy_grid.splat_occupancy(values.detach(), cells, fresh),
              {"values": VALUES, "cells": ints(0, 9, 8191), "fresh": rand(3)}),
    "bits": (lambda values, bits: occupancy_grid.pack_occupancy(values, bits, resolution=G, cascades=2, threshold=0.5),
             {"values": VALUES, "bits": cells_here_and_there()}),
    "views": (lambda values, **given: occupancy_grid.mark_invisible_cells(values.detach(), **given, resolution=G),
              {"values": VALUES, "camera_to_world": CAMERAS["camera_to_world"], "focal": CAMERAS["focal"],
               "principal": CAMERAS["principal"], "size": 2 + rand(N, 2)}),
    "tree, points": (lambda child, parent_depth, points: octree.descend(octree.Octree(child, parent_depth), points)[0],
                     {**TREE, "points": rand(R, 3)}),
    "tree, cubes": (lambda **tree: octree.cell_cubes(octree.Octree(**tree))[0], TREE),
    "tree, inserting": (lambda points, **tree: octree.insert_points(octree.Octree(**tree), points, 4)[1],
                        {**TREE, "points": rand(R, 3)}),
    "tree, refining": (lambda cells, **tree: octree.refine_leaves(octree.Octree(**tree), cells)[1],
                       {**TREE, "cells": ints(1, 9, 15)}),
    "tree, rays": (see_octree, {**TREE, **RAYS, "density": rand(16), "coefficients": rand(16, 3)}),
    "tree, rays in all of space": (functools.partial(see_octree, contracted=True),
                                   {**TREE, **RAYS, "density": rand(16), "coefficients": rand(16, 3)}),
    "tree, picture": (picture_of_octree, {**TREE, **RAYS, "density": rand(16), "coefficients": rand(16, 3)}),
    "tree, weights": (lambda child, parent_depth, weights, **given: octree_rendering.leaf_weights(
        octree.Octree(child, parent_depth), octree_rendering.Frame(), weights=weights.detach(), **given),
                      {**TREE, **RAYS, "density": rand(16), "weights": rand(16)}),
    "encoding": (lambda x: positional_encoding.encode_position(x, 3), {"x": rand(R, 3)}),
    "encoding, integrated": (lambda **given: positional_encoding.encode_gaussian(**given, levels=3),
                             {"mean": rand(R, 3), "variance": rand(R, 3)}),
    "proposals": (proposal_loss.proposal_bound_loss,
                  {**HISTOGRAM, "proposal_fenceposts": fences(intervals=3), "proposal_weights": rand(R, 3)}),
    "proposals, blurred": (lambda **given: proposal_loss.blurred_proposal_loss(**given, reach=0.1),
                           {**HISTOGRAM, "proposal_fenceposts": fences(intervals=3), "proposal_weights": rand(R, 3)}),
    "box": (ray_aabb.intersect_ray_aabb, {**RAYS, "box": torch.tensor([[-1.0] * 3, [1.0] * 3])}),
    "mesh": (lambda vertices, faces, **rays: ray_mesh.intersect_ray_mesh(ray_mesh.ray_mesh(vertices, faces), **rays).t,
             {**RAYS, **TRIANGLES, "limit": 9 * rand(R)}),
    "mesh, shadows": (lambda vertices, faces, **rays: ray_mesh.occluded_by_mesh(
        ray_mesh.ray_mesh(vertices.detach(), faces), **{key: x.detach() for key, x in rays.items()}),
                      {**RAYS, **TRIANGLES}),
    "marching": (march, {**RAYS, "bits": cells_here_and_there()}),
    "regions": (region_compositing.composite_regions,
                {"transmittance": rand(3, R), "values": rand(3, R, 4), "order": ints(0, 1, 2)[:, None].repeat(1, R)}),
    "regions, distortion": (region_compositing.region_distortion,
                            {"transmittance": rand(3, R), "mass": rand(3, R), "moment": rand(3, R), "own": rand(3, R),
                             "order": ints(0, 1, 2)[:, None].repeat(1, R)}),
    "motions": (se3.exponential_map, {"twists": rand(R, 6)}),
    "displacements": (se3.displacement, {"twists": rand(R, 6), "points": rand(R, 3)}),
    "displacements, slopes": (se3.displacement_slopes,
                              {"twists": rand(R, 6), "tangents": rand(R, 3, 6), "points": rand(R, 3)}),
    "combinations": (combination.combine, {"coefficients": rand(12, R), "numbers": rand(4, 3),
                                           "ray_index": torch.tensor([0, 0, 1, 2, 2], dtype=torch.int32)}),
    "elastic": (elastic.elastic_energy, {"jacobian": rand(R, 3, 3)}),
    "harmonics, colours": (harmonic_colours.harmonic_colours, {"coefficients": rand(12, R), "directions": unit(R, 3)}),
    "harmonics": (spherical_harmonics.encode_direction, {"directions": unit(R, 3)}),
    "compositing": (volume_rendering.composite, {"density": rand(20), "colour": rand(20, 3), "t": rand(20),
                                                 "dt": rand(20), **PACKED}),
    "compositing, dense": (lambda **given: volume_rendering.composite_intervals(**given, last="infinite"),
                           {"density": rand(R, S), "colour": rand(R, S, 3), "fenceposts": fences()}),
    "Gaussians": (draw, {"means": rand(R, 3), "scales": rand(R, 3), "quaternions": rand(R, 4), "opacities": rand(R),
                         "harmonics": rand(R, 3, 4), "camera_to_world": torch.eye(3, 4), "focal": rand(2),
                         "principal": rand(2)}),
    "compositing, two fields": (lambda **given: mixture_rendering.composite_mixture(**given, last="infinite"),
                                {"density": rand(R, S), "colour": rand(R, S, 3), "transient_density": rand(R, S),
                                 "transient_colour": rand(R, S, 3), "beta": rand(R, S), "fenceposts": fences()}),
    "depth into a grid": (lambda total, weight, **given: tsdf.integrate_depth(
        **given, total=total.detach(), weight=weight.detach(), cell=0.3, truncation=0.5),
                          {"distance": rand(2, 5, 4), "pixel_weight": rand(2, 5, 4), "camera_to_world": rand(2, 3, 4),
                           "focal": rand(2, 2), "principal": rand(2, 2), "corner": rand(3), "total": rand(3, 4, 2),
                           "weight": rand(3, 4, 2)}),
    "weights": (lambda **given: volume_rendering.interval_weights(**given, last="opaque"),
                {"density": rand(R, S), "fenceposts": fences()}),
    "visible": (volume_rendering.visible_samples, {"density": rand(20), "dt": rand(20), **PACKED}),
    "packing": (lambda ray_start, ray_count: volume_rendering.compact_samples(ray_start, ray_count), PACKED),
}


def main() -> None:
    runtime.init("cpu", torch.float32, 1, mlp="torch")
    torch.set_num_threads(1)
    fence_what_operations_make()
    rng = torch.Generator().manual_seed(20)
    began = time.perf_counter()
    for name, (operation, inputs) in OPERATIONS.items():
        call(f"{name}: fine", operation, inputs, seconds=None)
    compiled = time.perf_counter()
    for name, (operation, inputs) in OPERATIONS.items():
        for what, given in hostile(inputs, rng):
            call(f"{name}: {what}", operation, given)
    print(f"{time.perf_counter() - compiled:.1f} s of calls, after {compiled - began:.1f} s of compiling")


if __name__ == "__main__":
    main()
