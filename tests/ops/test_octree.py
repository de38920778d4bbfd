"""Octrees against trees that are walked from the root, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.octree import DEEPEST, NOWHERE, Octree, cell_cubes, descend, insert_points, refine_leaves, root_of
from taichi_nerf.reference import octree as reference

SHAPES = {"none": 0, "one": 1, "63": 63, "2000": 2000}


def on_grid(points):
    """The same points, all of them numbers that float32 has."""
    return (points * 2**20).floor() / 2**20


def make_tree(backend, count, rng, depth=4):
    points = on_grid(0.4 + 0.3 * torch.rand(count, 3, generator=rng, dtype=torch.float64))
    tree, source = insert_points(root_of(backend.device), backend.tensor(points), depth)
    return points, tree, source


def leaf_set(child):
    return {(*corner.tolist(), side) for _, corner, side in reference.leaves(child.cpu())}


@pytest.mark.parametrize("count", SHAPES.values(), ids=SHAPES.keys())
def test_points_are_inserted_as_in_the_reference(backend, rng, count):
    points, tree, _ = make_tree(backend, count, rng)
    assert leaf_set(tree.child) == reference.insert_points(points, torch.zeros(1, 8, dtype=torch.int32), 4)
    assert bool((descend(tree, backend.tensor(points))[1] >= 4).all()) and tree.depth == (4 if count else 1)


@pytest.mark.parametrize("count", SHAPES.values(), ids=SHAPES.keys())
def test_points_are_found_as_in_the_reference(backend, rng, count):
    _, tree, _ = make_tree(backend, 20, rng)
    points = on_grid(1.4 * torch.rand(count, 3, generator=rng, dtype=torch.float64) - 0.2)
    for found, expected in zip(descend(tree, backend.tensor(points)), reference.descend(points, tree.child.cpu())):
        assert torch.equal(found.cpu(), expected)


def test_cubes_are_those_of_the_reference(backend, rng):
    _, tree, _ = make_tree(backend, 20, rng)
    cells, corners, sides = reference.leaf_cubes(tree.child.cpu())
    corner, side = cell_cubes(tree, backend.dtype)
    assert torch.equal(tree.leaves.cpu(), cells)
    assert torch.equal(corner[tree.leaves].double().cpu(), corners)
    assert torch.equal(side[tree.leaves].double().cpu(), sides)


def test_a_split_leaf_hands_what_it_knows_to_its_parts(backend, rng):
    _, tree, _ = make_tree(backend, 5, rng)
    values = torch.randn(tree.cells, 3, generator=rng).to(backend.device)
    finer, source = insert_points(tree, backend.tensor(torch.rand(50, 3, generator=rng)), 6)
    somewhere = backend.tensor(torch.rand(500, 3, generator=rng))
    before, after = (descend(t, somewhere)[0].long() for t in (tree, finer))
    assert torch.equal(values[source.long()][after], values[before])
    assert torch.equal(source[: tree.cells].cpu(), torch.arange(tree.cells, dtype=torch.int32))


def test_refining_splits_the_leaves_that_are_named_once(backend, rng):
    _, tree, _ = make_tree(backend, 5, rng)
    inner = int((tree.child.view(-1) != 0).nonzero()[0])
    chosen = tree.leaves[::7].int()
    finer, source = refine_leaves(tree, torch.cat([chosen, chosen, chosen.new_tensor([inner])]))
    assert len(finer.child) == len(tree.child) + len(chosen)
    assert torch.equal(source[tree.cells:].cpu(), chosen.cpu().repeat_interleave(8))
    assert torch.equal(finer.parent_depth[len(tree.child):, 0].cpu(), chosen.cpu())
    for cell in chosen.tolist():
        assert finer.child[cell // 8, cell % 8] > 0


def test_leaves_end_at_the_deepest(backend):
    tree, _ = insert_points(root_of(backend.device), backend.tensor([[0.3, 0.6, 0.9]]), DEEPEST)
    cells, depth = descend(tree, backend.tensor([[0.3, 0.6, 0.9]]))
    assert depth.item() == DEEPEST == tree.depth
    assert refine_leaves(tree, cells)[0].cells == tree.cells


def test_points_outside_are_nowhere_and_insert_nothing(backend):
    tree, nan, inf = root_of(backend.device), float("nan"), float("inf")
    outside = backend.tensor([[1.0, 0.5, 0.5], [-1e-6, 0.5, 0.5], [0.5, nan, 0.5], [0.5, 0.5, -inf], [inf] * 3])
    assert descend(tree, outside)[0].tolist() == [NOWHERE] * 5
    assert insert_points(tree, outside, 5)[0].cells == 8


def test_wrong_arguments_raise_an_error_that_names_them(backend):
    tree, points = root_of(backend.device), backend.tensor([[0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match="points must have shape"):
        descend(tree, points[:, :2])
    with pytest.raises(TypeError, match="points must be"):
        descend(tree, points.half())
    with pytest.raises(ValueError, match=f"depth must be from 1 to {DEEPEST}, got 21"):
        insert_points(tree, points, 21)
    with pytest.raises(TypeError, match="cells must be"):
        refine_leaves(tree, torch.zeros(1, device=backend.device))
    with pytest.raises(ValueError, match="child must have at least one node"):
        Octree(tree.child[:0], tree.parent_depth[:0])
    if backend.device.type == "cpu":
        with pytest.raises(IndexError, match=r"cells must lie in \[0, 8\)"):
            refine_leaves(tree, torch.tensor([8], dtype=torch.int32))
