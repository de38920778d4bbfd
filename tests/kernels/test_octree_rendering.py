"""Laws of the kernels that follow rays through octrees, each on every backend."""

import math

import torch

from taichi_nerf.ops import octree
from taichi_nerf_kernels import octree_rendering as kernels

WHOLE = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)  # the cube lies where the tree's own coordinates are
Y0 = 0.5 / math.sqrt(math.pi)
NAMES = ("colour", "opacity", "depth")


def forward(backend, tree, density, coefficients, origins, directions, near=0.0, stop=0.0, skip=0.0, frame=WHOLE):
    """Colour, opacity, depth and leaves of rays, into poisoned outputs."""
    rays = len(origins)
    found = backend.empty(rays, 3), backend.empty(rays), backend.empty(rays)
    leaves = torch.full((rays,), -77, dtype=torch.int32, device=backend.device)
    kernels.trace_forward(origins, directions, tree.child, tree.parent_depth, density, coefficients, *frame, near, stop,
                          skip, False, round((coefficients.shape[1] / 3) ** 0.5), *found, leaves)
    return *found, leaves


def grey_tree(backend, tree, density=2.0):
    """Every leaf has the same density and no colour of its own: half of the light in each channel."""
    return (torch.full((tree.cells,), density, dtype=backend.dtype, device=backend.device),
            torch.zeros(tree.cells, 3, dtype=backend.dtype, device=backend.device))


def fine_tree(backend, rng, depth=5, points=60):
    return octree.insert_points(octree.root_of(backend.device), backend.tensor(torch.rand(points, 3, generator=rng)),
                                depth)[0]


def rays_through(backend, count, rng):
    target, origins = torch.rand(count, 3, generator=rng), 2 * torch.randn(count, 3, generator=rng)
    return backend.tensor(origins), backend.tensor(torch.nn.functional.normalize(target - origins, dim=1))


def chord(origins, directions):
    """(t0, t1) of the unit cube."""
    a, b = -origins / directions, (1 - origins) / directions
    return torch.minimum(a, b).amax(1).clamp_min(0), torch.maximum(a, b).amin(1)


def test_a_tree_of_one_voxel_equals_the_closed_form(backend, rng):
    tree = octree.root_of(backend.device)
    density, coefficients = (torch.zeros_like(x) for x in grey_tree(backend, tree))
    density[5], coefficients[5] = 3.0, backend.tensor([1.0, -2.0, 0.5])  # x and z in the upper half, y in the lower
    origins = backend.tensor([[-1.0, 0.25, 0.75], [2.0, 0.375, 0.625], [-1.0, 0.75, 0.75]])
    directions = backend.tensor([[1.0, 0, 0], [-1.0, 0, 0], [1.0, 0, 0]])
    colour, opacity, depth, _ = forward(backend, tree, density, coefficients, origins, directions)
    weight = 1 - math.exp(-1.5)
    backend.assert_close(opacity, torch.tensor([weight, weight, 0], dtype=torch.float64), "opacity")
    backend.assert_close(depth, weight * torch.tensor([1.75, 1.25, 0], dtype=torch.float64), "depth")
    shown = torch.sigmoid(Y0 * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    backend.assert_close(colour, weight * torch.stack([shown, shown, 0 * shown]), "colour")


def test_splitting_leaves_changes_nothing(backend, rng):
    tree = fine_tree(backend, rng, depth=3)
    density = backend.tensor(3 * torch.rand(tree.cells, generator=rng))
    coefficients = backend.tensor(torch.randn(tree.cells, 3, generator=rng))
    finer, source = octree.refine_leaves(tree, tree.leaves[::3].int())
    rays = rays_through(backend, 500, rng)
    whole = forward(backend, tree, density, coefficients, *rays)
    parts = forward(backend, finer, density[source.long()], coefficients[source.long()].contiguous(), *rays)
    for name, a, b in zip(("colour", "opacity"), parts, whole):  # the depth has more middles
        backend.assert_close(a, b, name)
    assert parts[3].sum() > whole[3].sum()


def test_a_uniform_cube_absorbs_by_the_length_of_the_way_through_it_in_the_world(backend, rng):
    tree = fine_tree(backend, rng)
    offset, scale = backend.tensor([0.125, 0.5, 0.25]), backend.tensor([0.5, 2.0, 0.25])
    origins, directions = rays_through(backend, 500, rng)
    origins = (origins - offset) / scale
    directions = torch.nn.functional.normalize(directions / scale, dim=1)
    frame = (0.125, 0.5, 0.25, 0.5, 2.0, 0.25)
    colour, opacity, _, _ = forward(backend, tree, *grey_tree(backend, tree), origins, directions, frame=frame)
    enter, leave = chord((offset + scale * origins).double(), (scale * directions).double())
    expected = 1 - torch.exp(-2.0 * (leave - enter).clamp_min(0))
    backend.assert_close(opacity, expected, "opacity")
    backend.assert_close(colour, 0.5 * expected[:, None].expand(-1, 3), "colour")


def test_rays_that_miss_and_empty_trees_show_nothing(backend, rng):
    tree = fine_tree(backend, rng)
    density, coefficients = grey_tree(backend, tree)
    nan, inf = float("nan"), float("inf")
    origins = backend.tensor([[-1.0, 2, 0.5], [2.0, 0.5, 0.5], [0.5, 1.0, 0.5], [nan, 0, 0], [0, 0, 0],
                              [0.5, 0.5, inf]])
    directions = backend.tensor([[1.0, 0, 0], [1.0, 0, 0], [1.0, 0, 0], [1.0, 0, 0], [nan, 0, 1], [0, 0, 1]])
    for name, values in zip(NAMES, forward(backend, tree, density, coefficients, origins, directions)):
        assert not values.any(), name
    for name, values in zip(NAMES, forward(backend, tree, 0 * density, coefficients, *rays_through(backend, 99, rng))):
        assert not values.any(), name


def test_a_ray_along_a_face_is_in_the_upper_of_the_two_leaves(backend):
    tree = octree.root_of(backend.device)
    density, coefficients = grey_tree(backend, tree, 0.0)
    density[6:] = 5.0  # x and y in the upper half
    origins = backend.tensor([[0.5, 0.5, -1.0], [0.5, 0.5, 2.0], [0.5, -1.0, 0.5], [0.0, 0.5, 3.0], [1.0, 0.7, 3.0]])
    directions = backend.tensor([[0, 0, 1.0], [0, 0, -1.0], [0, 1.0, 0], [0, 0, -1.0], [0, 0, -1.0]])
    _, opacity, _, leaves = forward(backend, tree, density, coefficients, origins, directions)
    backend.assert_close(opacity, 1 - torch.exp(-torch.tensor([5.0, 5.0, 2.5, 0, 0], dtype=torch.float64)), "opacity")
    assert leaves.tolist() == [2, 2, 2, 2, 0]


def test_rays_through_edges_and_corners_lose_no_way(backend, rng):
    """From lattice points to lattice points of the leaves, so that faces, edges and corners are met all the time."""
    tree = fine_tree(backend, rng)
    count = 2000
    origins = torch.randint(-8, 17, (count, 3), generator=rng).double() / 8
    target = torch.randint(0, 9, (count, 3), generator=rng).double() / 8
    apart = (target != origins).all(1)
    origins, target = origins[apart], target[apart]
    directions = torch.nn.functional.normalize(target - origins, dim=1)
    _, opacity, _, leaves = forward(backend, tree, *grey_tree(backend, tree), backend.tensor(origins),
                                    backend.tensor(directions))
    enter, leave = chord(origins, directions)
    backend.assert_close(opacity, 1 - torch.exp(-2.0 * (leave - enter).clamp_min(0)), "opacity")
    assert int(leaves.max()) <= 3 * 32


def test_a_camera_inside_sees_what_is_in_front_of_it_and_behind_near(backend, rng):
    tree = fine_tree(backend, rng)
    origins = backend.tensor(torch.rand(200, 3, generator=rng))
    directions = backend.tensor(torch.nn.functional.normalize(torch.randn(200, 3, generator=rng), dim=1))
    _, leave = chord(origins.double(), directions.double())
    for near in (0.0, 0.2):
        _, opacity, _, _ = forward(backend, tree, *grey_tree(backend, tree), origins, directions, near=near)
        backend.assert_close(opacity, 1 - torch.exp(-2.0 * (leave - near).clamp_min(0)), "opacity")


def test_an_opaque_leaf_hides_the_rest_and_extreme_densities_stay_finite(backend, rng):
    tree = fine_tree(backend, rng)
    density, coefficients = grey_tree(backend, tree, 1e30)
    coefficients[:] = 1e30
    colour, opacity, depth, leaves = forward(backend, tree, density, coefficients, *rays_through(backend, 99, rng),
                                             stop=1e-3)
    backend.assert_close(opacity, torch.ones(99), "opacity")
    backend.assert_close(colour, torch.ones(99, 3), "colour")
    assert torch.isfinite(depth).all() and int(leaves.max()) <= 3  # the first of them may be touched at a corner alone


def test_permuting_the_rays_permutes_what_they_see_and_not_the_gradients(backend, rng):
    tree = fine_tree(backend, rng)
    density = backend.tensor(3 * torch.rand(tree.cells, generator=rng))
    coefficients = backend.tensor(torch.randn(tree.cells, 3, generator=rng))
    rays = rays_through(backend, 400, rng)
    cotangents = [backend.tensor(torch.randn(shape, generator=rng)) for shape in ((400, 3), (400,), (400,))]

    def run(order):
        given = [x[order].contiguous() for x in rays]
        found = forward(backend, tree, density, coefficients, *given)
        gradients = torch.zeros_like(density), torch.zeros_like(coefficients)
        kernels.trace_backward(*given, tree.child, tree.parent_depth, density, coefficients, *WHOLE, 0.0, 0.0, 0.0,
                               False, 1, *found[:3], *(x[order].contiguous() for x in cotangents), *gradients)
        return found, gradients

    order = torch.randperm(400, generator=rng).to(backend.device)
    (found, gradients), (shuffled, same) = run(torch.arange(400, device=backend.device)), run(order)
    for a, b in zip(found, shuffled):
        assert torch.equal(a[order], b)
    for name, a, b in zip(("density", "coefficients"), same, gradients):
        backend.assert_close(a, b, name)


def test_the_way_to_the_nearest_block_is_the_longest_along_an_axis(backend, rng):
    top, size = 3, 8
    full = torch.rand(size, size, size, generator=rng) < 0.01
    place = torch.cartesian_prod(*[torch.arange(size)] * 3)
    expected = (place[:, None] - full.nonzero()).abs().amax(2).amin(1)
    found = torch.where(full, 0, size).int().view(-1).to(backend.device)
    for axis in (2, 0, 1):
        before, found = found, torch.full_like(found, -77)
        kernels.nearest_along(before, axis, top, found)
    assert full.any() and torch.equal(found.cpu(), expected.int())


def test_a_block_has_the_node_under_which_its_full_leaves_are(backend, rng):
    tree, top = fine_tree(backend, rng, depth=5), 2
    cells = tree.leaves[tree.parent_depth[tree.leaves >> 3, 1] >= top][::7].int()
    found = torch.full((8**top,), octree.NOWHERE, dtype=torch.int32, device=backend.device)
    kernels.mark_blocks(tree.parent_depth, cells, top, found)
    corner, side = octree.cell_cubes(tree, backend.dtype)
    place = (4 * (corner[cells.long()] + side[cells.long(), None] / 2)).long()  # blocks
    number = place[:, 0] * 16 + place[:, 1] * 4 + place[:, 2]
    assert set(number.tolist()) == set((found != octree.NOWHERE).nonzero().squeeze(1).tolist())
    middles = (torch.cartesian_prod(*[torch.arange(4)] * 3)[found.cpu() != octree.NOWHERE] + 0.5) / 4
    for node, middle in zip(found[found != octree.NOWHERE].tolist(), middles):
        low, length = corner[tree.parent_depth[node, 0]], side[tree.parent_depth[node, 0]]
        assert float(length) == 0.25 and bool(((backend.tensor(middle) - low - 0.125).abs() < 1e-6).all())
