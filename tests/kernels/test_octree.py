"""Laws of the octree kernels, each on every backend."""

import torch

from taichi_nerf.ops import octree
from taichi_nerf_kernels import octree as kernels


def poisoned(backend, *shape):
    """Integers that no kernel would write."""
    return torch.full(shape, -77777, dtype=torch.int32, device=backend.device)


def make_tree(backend, rng, depth=5):
    points = backend.tensor(torch.rand(40, 3, generator=rng))
    return octree.insert_points(octree.root_of(backend.device), points, depth)[0]


def descend(backend, points, child):
    cells, depths = poisoned(backend, len(points)), poisoned(backend, len(points))
    kernels.descend_forward(points, child, cells, depths)
    return cells, depths


def cubes(backend, tree):
    corner, side = backend.empty(tree.cells, 3), backend.empty(tree.cells)
    kernels.cell_cubes_forward(tree.parent_depth, corner, side)
    return corner, side


def test_the_leaves_fill_the_cube(backend, rng):
    tree = make_tree(backend, rng)
    _, side = cubes(backend, tree)
    backend.assert_close((side[tree.leaves].double() ** 3).sum(), torch.tensor(1.0))


def test_the_middle_of_a_leaf_and_its_lower_corner_are_in_it(backend, rng):
    tree = make_tree(backend, rng)
    corner, side = cubes(backend, tree)
    for share in (0.0, 0.5):
        points = corner[tree.leaves] + share * side[tree.leaves, None]
        cells, depths = descend(backend, points, tree.child)
        assert torch.equal(cells.long(), tree.leaves)
        assert torch.equal(0.5 ** depths.double(), side[tree.leaves].double())


def test_permuting_the_points_permutes_the_cells(backend, rng):
    tree, points = make_tree(backend, rng), backend.tensor(torch.rand(300, 3, generator=rng))
    order = torch.randperm(300, generator=rng).to(backend.device)
    for found, shuffled in zip(descend(backend, points, tree.child),
                               descend(backend, points[order].contiguous(), tree.child)):
        assert torch.equal(found[order], shuffled)


def test_every_node_but_the_root_has_a_parent_that_knows_it(backend, rng):
    tree = make_tree(backend, rng)
    above = tree.parent_depth[1:, 0].long()
    assert torch.equal(above // 8 + tree.child.view(-1)[above], torch.arange(1, len(tree.child), device=above.device))
    assert torch.equal(tree.parent_depth[1:, 1], tree.parent_depth[above // 8, 1] + 1)


def test_splitting_writes_every_number_of_the_new_tree(backend):
    tree = octree.root_of(backend.device)
    marks = backend.tensor([0, 1, 0, 0, 0, 0, 1, 0], torch.int32)
    sums = marks.cumsum(0, dtype=torch.int32)
    child, parent_depth, source = poisoned(backend, 3, 8), poisoned(backend, 3, 2), poisoned(backend, 24)
    kernels.split_leaves(tree.child, tree.parent_depth, marks, sums, child, parent_depth, source)
    assert child.tolist() == [[0, 1, 0, 0, 0, 0, 2, 0], [0] * 8, [0] * 8]
    assert parent_depth.tolist() == [[0, 0], [1, 1], [6, 1]]
    assert source.tolist() == [*range(8), *[1] * 8, *[6] * 8]


def test_links_that_lead_out_of_the_arrays_or_in_circles_end(backend, rng):
    points = backend.tensor(torch.rand(100, 3, generator=rng))
    for step in (2**30, -2**30, 1, -1):
        child = backend.tensor([[step] * 8, [step] * 8], torch.int32)
        cells, depths = descend(backend, points, child)
        assert bool(((cells >= 0) & (cells < 16)).all()) and bool((depths == kernels.LEVELS).all())
