"""Rays through octrees against every leaf of the tree in float64, and the arguments."""

import pytest
import torch

from taichi_nerf.ops.octree import insert_points, root_of
from taichi_nerf.ops.octree_rendering import Frame, leaf_weights, prepare_octree, render_octree, render_picture
from taichi_nerf.reference import octree_rendering as reference
from taichi_nerf_kernels import octree_rendering as kernels

FRAME = Frame(offset=(0.5, 0.375, 0.5), scale=(0.5, 0.25, 0.75))
SHAPES = {"none": 0, "one": 1, "63": 63, "2000": 2000}
STOPS = {"all of it": {}, "stopped": {"early_stop": 0.3, "skip": 0.8, "near": 0.4}}


def make_tree(backend, rng, degree, depth=4, points=6):
    """A tree with numbers that float32 has; a third of its leaves is empty, a few have a density below 0."""
    tree, _ = insert_points(root_of(backend.device), backend.tensor(torch.rand(points, 3, generator=rng)), depth)
    density = (6 * torch.rand(tree.cells, generator=rng) - 2).clamp_min(-0.1)
    coefficients = torch.randn(tree.cells, 3 * degree**2, generator=rng)
    return tree, [backend.tensor(x).requires_grad_() for x in (density, coefficients)]


def make_rays(backend, count, rng):
    """Rays from around the cube and from within it, half of which meet it."""
    aim = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    origins = 1.5 * torch.randn(count, 3, generator=rng, dtype=torch.float64)
    directions = torch.nn.functional.normalize(aim - origins, dim=1)
    return [backend.tensor(x) for x in (origins, directions)]


def expected_of(tree, density, coefficients, rays, **settings):
    offset, scale = (torch.tensor(x, dtype=torch.float64) for x in (FRAME.offset, FRAME.scale))
    return reference.render_octree(tree.child.cpu(), density, coefficients, *(x.double().cpu() for x in rays), offset,
                                   scale, **settings)


@pytest.mark.parametrize("settings", STOPS.values(), ids=STOPS.keys())
@pytest.mark.parametrize("count", SHAPES.values(), ids=SHAPES.keys())
def test_value_and_gradient_equal_the_reference(backend, rng, count, settings):
    tree, inputs = make_tree(backend, rng, degree=3)
    rays = make_rays(backend, count, rng)
    *found, leaves = render_octree(tree, FRAME, *inputs, *rays, **settings)
    exact = [x.detach().double().cpu().requires_grad_() for x in inputs]
    *expected, weights, _ = expected_of(tree, *exact, rays, **settings)
    cotangents = [torch.randn(x.shape, generator=rng, dtype=torch.float64) for x in expected[:3]]
    for name, actual, value in zip(("colour", "opacity", "depth"), found, expected):
        backend.assert_close(actual, value, name)
    gradients = torch.autograd.grad(found, inputs, [backend.tensor(x) for x in cotangents])
    expected_gradients = torch.autograd.grad(expected[:3], exact, cotangents)
    for name, actual, value in zip(("density", "coefficients"), gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")
    assert bool((leaves.cpu() >= (weights > 1e-6).sum(1)).all())


@pytest.mark.parametrize("degree", [1, 2, 4, 5])
def test_every_degree_equals_the_reference(backend, rng, degree):
    if backend.name != "cpu-f64" and degree in (2, 4):
        pytest.skip("one more kernel of the same source")
    tree, inputs = make_tree(backend, rng, degree)
    rays = make_rays(backend, 63, rng)
    exact = [x.detach().double().cpu().requires_grad_() for x in inputs]
    colour, expected = render_octree(tree, FRAME, *inputs, *rays)[0], expected_of(tree, *exact, rays)[0]
    backend.assert_close(colour, expected, "colour")
    for name, actual, value in zip(("density", "coefficients"), torch.autograd.grad(colour.sum(), inputs),
                                   torch.autograd.grad(expected.sum(), exact)):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_the_weights_are_the_largest_of_all_rays(backend, rng):
    tree, (density, coefficients) = make_tree(backend, rng, degree=1)
    rays = make_rays(backend, 300, rng)
    found = torch.zeros_like(density)
    for part in (slice(0, 100), slice(100, 300)):
        leaf_weights(tree, FRAME, density, *(x[part] for x in rays), found, early_stop=0.01)
    *_, weights, cells = expected_of(tree, *(x.detach().double().cpu() for x in (density, coefficients)), rays,
                                     early_stop=0.01)
    expected = torch.zeros(tree.cells, dtype=torch.float64).index_copy_(0, cells, weights.amax(0))
    backend.assert_close(found, expected, "weights")


CONTRACTED = Frame(offset=(0.5, 0.4375, 0.5), scale=(0.25, 0.125, 0.5), contracted=True)


def contracted_rays(backend, count, rng):
    """From within the core, from outside of it and from far away, in all directions."""
    far = torch.tensor([0.5, 3.0, 30.0], dtype=torch.float64)[torch.randint(3, (count,), generator=rng)]
    origins = far[:, None] * torch.randn(count, 3, generator=rng, dtype=torch.float64)
    aim = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.where(aim[:, :1] > 0.3, aim, aim - origins), dim=1)
    return [backend.tensor(x) for x in (origins, directions)]


@pytest.mark.parametrize("settings", STOPS.values(), ids=STOPS.keys())
@pytest.mark.parametrize("count", [0, 1, 63])
def test_all_of_space_equals_the_reference(backend, rng, count, settings):
    tree, (density, coefficients) = make_tree(backend, rng, degree=3, depth=3)
    density = (0.1 * density.detach()).requires_grad_()
    settings = {**settings, "skip": 0.1 * settings.get("skip", 0.0)}
    rays = contracted_rays(backend, count, rng)
    *found, _ = render_octree(tree, CONTRACTED, density, coefficients, *rays, **settings)
    exact = [x.detach().double().cpu().requires_grad_() for x in (density, coefficients)]
    offset, scale = (torch.tensor(x, dtype=torch.float64) for x in (CONTRACTED.offset, CONTRACTED.scale))
    expected = reference.render_contracted(tree.child.cpu(), *exact, *(x.double().cpu() for x in rays), offset, scale,
                                           **settings)
    for name, actual, value in zip(("colour", "opacity", "depth"), found, expected):
        backend.assert_close(actual, value, name)
    if count:
        cotangents = [torch.randn(x.shape, generator=rng, dtype=torch.float64) for x in expected[:2]]
        gradients = torch.autograd.grad(found[:2], (density, coefficients), [backend.tensor(x) for x in cotangents])
        for name, actual, value in zip(("density", "coefficients"), gradients,
                                       torch.autograd.grad(expected[:2], exact, cotangents)):
            backend.assert_close(actual, value, f"gradient of {name}")


DEEP = 1 / 64  # of the cube: the side of the part in which all that is full may be


@pytest.mark.parametrize("part", [1.0, 4 * DEEP, 0.0], ids=["everywhere", "in a corner", "nowhere"])
@pytest.mark.parametrize("frame", [FRAME, CONTRACTED], ids=["box", "all of space"])
def test_a_picture_shows_what_its_rays_do_and_leaps_over_what_is_empty(backend, rng, frame, part):
    points = part * torch.rand(6, 3, generator=rng)
    tree, _ = insert_points(root_of(backend.device), backend.tensor(points), 4 if part == 1 else 8)
    full = tree.parent_depth[:, 1].repeat_interleave(8) == tree.depth - 1 if part < 1 else torch.rand(
        tree.cells, generator=rng).to(backend.device) < 0.6  # leaves of all depths
    density = full * backend.tensor(9 * part * torch.rand(tree.cells, generator=rng))
    coefficients = backend.tensor(torch.randn(tree.cells, 12, generator=rng))
    rays = make_rays(backend, 400, rng)
    for stops in ({}, {"early_stop": 0.3, "near": 0.4}):
        prepared = prepare_octree(tree, frame, density, coefficients, skip=0.5)
        *found, leaves = render_picture(prepared, *rays, **stops)
        *expected, met = render_octree(tree, frame, density, coefficients, *rays, skip=0.5, **stops)
        for name, actual, value in zip(("colour", "opacity", "depth"), found, expected):
            backend.assert_close(actual, value, name)
        assert bool((leaves <= met).all()) and bool((leaves > 0).any()) == (part == 1.0)


def test_rays_that_go_together_see_what_each_does_alone(backend, rng):
    """Neighbours of one camera leap as one up to where one of them may meet something, rays in any order hardly."""
    points = backend.tensor(0.5 + 0.03 * torch.randn(200, 3, generator=rng))
    tree, _ = insert_points(root_of(backend.device), points, 8)
    density = 1e4 * (tree.parent_depth[:, 1].repeat_interleave(8) == 7) * backend.tensor(
        (torch.rand(tree.cells, generator=rng) < 0.4).double())
    coefficients = backend.tensor(torch.randn(tree.cells, 12, generator=rng))
    x, y = torch.cartesian_prod(torch.arange(20), torch.arange(20)).T / 20 - 0.5
    aim = torch.stack([0.6 * x, 0.6 * y, 0 * x], dim=1) - torch.tensor([0.0, 0.0, 2.0])
    camera = [backend.tensor(v) for v in (torch.tensor([0.1, 0.2, 2.0]).expand(400, 3).contiguous(),
                                          torch.nn.functional.normalize(aim, dim=1))]
    order = torch.randperm(400, generator=rng).to(backend.device)
    prepared = prepare_octree(tree, FRAME, density, coefficients)
    for rays in (camera, [v[order] for v in camera], make_rays(backend, 400, rng)):
        *found, _ = render_picture(prepared, *rays, near=0.2)
        *expected, _ = render_octree(tree, FRAME, density, coefficients, *rays, near=0.2)
        for name, actual, value in zip(("colour", "opacity", "depth"), found, expected):
            backend.assert_close(actual, value, name)
    clear, *out = backend.empty(7), backend.empty(400, 3), backend.empty(400), backend.empty(400)
    kernels.trace_picture(*camera, *prepared.arrays, *FRAME.offset, *FRAME.scale, 0.2, 0.0, False, 2, clear, *out,
                          torch.empty(400, dtype=torch.int32, device=backend.device))
    clear, hit = clear.repeat_interleave(kernels.TOGETHER)[:400], out[1] > 0.999
    assert hit.any() and bool((clear[hit] < out[2][hit]).all()) and bool((clear[hit] > 1.2).all())
    assert bool((clear > 4).any()) and not bool(out[1][clear > 4].any())  # behind the cube


def test_points_of_the_world_are_found_in_a_contracted_tree(backend, rng):
    world = backend.tensor(torch.randn(200, 3, generator=rng) * torch.logspace(-1, 2, 200)[:, None])
    points = CONTRACTED.tree_points(world)
    assert bool(((points > 0) & (points < 1)).all())
    u = 4 * (torch.tensor(CONTRACTED.offset) + torch.tensor(CONTRACTED.scale) * world.cpu().double()) - 2
    backend.assert_close(points, 0.5 + reference.contract(u) / 4)
    near = world.norm(dim=1) < 10
    backend.assert_close(CONTRACTED.world_points(points)[near], world[near], scale=100.0)
    core = Frame.of_box((1.0, 2.0, 3.0), (0.5, 0.5, 2.0), contracted=True)
    corner = core.tree_points(backend.tensor([[0.5, 2.5, 1.0], [1.0, 2.0, 3.0]]))
    backend.assert_close(corner, torch.tensor([[0.25, 0.75, 0.25], [0.5, 0.5, 0.5]]))


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    tree, (density, coefficients) = make_tree(backend, rng, degree=3, depth=2, points=1)
    density = density.detach().abs().add(0.1).requires_grad_()
    rays = make_rays(backend, 4, rng)
    assert torch.autograd.gradcheck(lambda *x: render_octree(tree, FRAME, *x, *rays)[:3], (density, coefficients))


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    tree, (density, coefficients) = make_tree(backend, rng, degree=1)
    rays = make_rays(backend, 5, rng)
    with pytest.raises(ValueError, match="density must have shape"):
        render_octree(tree, FRAME, density[1:], coefficients, *rays)
    with pytest.raises(ValueError, match="coefficients must have 3, 12, 27, 48 or 75 numbers for each cell, got 2"):
        render_octree(tree, FRAME, density, coefficients[:, :2], *rays)
    with pytest.raises(ValueError, match="directions must have shape"):
        render_octree(tree, FRAME, density, coefficients, rays[0], rays[1][:3])
    with pytest.raises(TypeError, match="origins must be"):
        render_octree(tree, FRAME, density, coefficients, rays[0].half(), rays[1])
    with pytest.raises(ValueError, match="weights must have shape"):
        leaf_weights(tree, FRAME, density, *rays, torch.zeros(3))
    with pytest.raises(ValueError, match="scale must be above 0"):
        Frame(scale=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="offset must be three finite numbers"):
        Frame(offset=(1.0, float("nan"), 1.0))
