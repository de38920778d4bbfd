"""Laws of the ray-box kernels, each on every backend."""

import pytest
import torch

from taichi_nerf.reference import ray_aabb as reference
from taichi_nerf_kernels import ray_aabb as kernels

BOX = [[-0.5, -1.0, 0.25], [0.5, 2.0, 1.0]]


def intersect(backend, origins, directions, minimum=0.0):
    t_near, t_far = backend.empty(len(origins)), backend.empty(len(origins))
    kernels.ray_aabb_forward(origins, directions, backend.tensor(BOX), minimum, t_near, t_far)
    return t_near, t_far


def gradients(backend, origins, directions, cotangents, minimum=0.0):
    found = backend.empty(*origins.shape), backend.empty(*origins.shape)
    kernels.ray_aabb_backward(origins, directions, backend.tensor(BOX), minimum, *cotangents, *found)
    return found


def make_rays(backend, count, rng):
    """Rays from in and around the box towards points in and around it."""
    origins = torch.rand(count, 3, generator=rng, dtype=torch.float64) * 8 - 4
    origins[::4] *= 0.1
    targets = torch.rand(count, 3, generator=rng, dtype=torch.float64) * 4 - 2
    return backend.tensor(origins), backend.tensor(torch.nn.functional.normalize(targets - origins, dim=1))


@pytest.mark.parametrize("minimum", [0.0, 1.5])
def test_distances_and_gradients_equal_the_reference(backend, rng, minimum):
    origins, directions = make_rays(backend, 2000, rng)
    cotangents = [backend.tensor(torch.randn(2000, generator=rng)) for _ in range(2)]
    exact = [x.double().requires_grad_() for x in (origins, directions)]
    expected = reference.intersect_ray_aabb(*exact, backend.tensor(BOX).double(), minimum)
    hit = expected[1] >= expected[0]
    assert 200 < hit.sum() < 1800 and (expected[0][hit] == minimum).any()
    distances = intersect(backend, origins, directions, minimum)
    for name, actual, value in zip(("t_near", "t_far"), distances, expected):
        backend.assert_close(actual, value, name)
    expected_gradients = torch.autograd.grad(expected, exact, [c.double() for c in cotangents])
    found = gradients(backend, origins, directions, cotangents, minimum)
    for name, actual, value in zip(("origins", "directions"), found, expected_gradients):
        backend.assert_close(actual, value, name)


def test_entry_and_exit_lie_on_the_surface_and_between_them_is_the_box(backend, rng):
    origins, directions = make_rays(backend, 2000, rng)
    t_near, t_far = (t.double() for t in intersect(backend, origins, directions))
    origins, directions = origins.double(), directions.double()
    low, high = torch.tensor(BOX, dtype=torch.float64, device=origins.device)

    def outside(t):  # how far the point lies outside the box; negative inside
        points = origins + t[:, None] * directions
        return torch.maximum(low - points, points - high).amax(1)

    hit = t_far >= t_near
    entered = hit & (t_near > 0)
    assert outside(t_near)[entered].abs().max() < 1e-5
    assert outside(t_far)[hit].abs().max() < 1e-5
    assert outside((t_near + t_far) / 2)[hit].max() < 1e-5
    steps = torch.linspace(0, 12, 200, dtype=torch.float64, device=origins.device)
    assert torch.stack([outside(t.expand(2000)) for t in steps]).amin(0)[~hit].min() > -1e-5


@pytest.mark.parametrize("zero", [0.0, -0.0, 1e-30, -1e-30, 1e-13])
def test_ray_along_an_axis_sees_two_faces_or_misses(backend, zero):
    starts = [[0.0, 0.0, -1.0], [0.6, 0.0, -1.0], [0.0, -1.1, -1.0], [0.0, 0.0, 2.0], [0.5, 2.0, 0.5]]
    origins = backend.tensor(starts)
    directions = backend.tensor([[zero, zero, 1.0]]).expand(5, 3).contiguous()
    t_near, t_far = intersect(backend, origins, directions)
    backend.assert_close(t_near, torch.tensor([1.25, 0.0, 0.0, 0.0, 0.0]), "t_near", scale=1.0)
    backend.assert_close(t_far, torch.tensor([2.0, -1.0, -1.0, -1.0, 0.5]), "t_far", scale=1.0)
    found = gradients(backend, origins, directions, [torch.ones_like(t_near)] * 2)
    backend.assert_close(found[0][0], torch.tensor([0.0, 0.0, -2.0]), "origins")
    backend.assert_close(found[1][0], torch.tensor([0.0, 0.0, -3.25]), "directions")
    assert found[0][1:4].abs().max() == 0 and found[1][1:4].abs().max() == 0


def test_box_behind_the_minimum_is_a_miss(backend):
    origins, directions = backend.tensor([[0.0, 0.0, -1.0]]), backend.tensor([[0.0, 0.0, 1.0]])
    for minimum, near, far in ((1.0, 1.25, 2.0), (1.5, 1.5, 2.0), (2.5, 2.5, -1.0)):
        t_near, t_far = intersect(backend, origins, directions, minimum)
        assert (t_near.item(), t_far.item()) == (near, far)


def test_longer_directions_give_shorter_distances(backend, rng):
    origins, directions = make_rays(backend, 500, rng)
    t_near, t_far = intersect(backend, origins, directions)
    again_near, again_far = intersect(backend, origins, directions * 2)
    hit = t_far >= t_near
    backend.assert_close(again_near[hit] * 2, t_near[hit], "t_near")
    backend.assert_close(again_far[hit] * 2, t_far[hit], "t_far")


def test_no_rays(backend):
    nothing = backend.empty(0, 3)
    t_near, t_far = intersect(backend, nothing, nothing)
    assert t_near.shape == t_far.shape == (0,)


def test_shuffled_rays_have_shuffled_distances_and_gradients(backend, rng):
    origins, directions = make_rays(backend, 63, rng)
    order = torch.randperm(63, generator=rng).to(backend.device)
    cotangents = [backend.tensor(torch.randn(63, generator=rng)) for _ in range(2)]
    shuffled = origins[order], directions[order]
    for one, other in zip(intersect(backend, origins, directions), intersect(backend, *shuffled)):
        assert torch.equal(one[order], other)
    for one, other in zip(gradients(backend, origins, directions, cotangents),
                          gradients(backend, *shuffled, [cotangent[order] for cotangent in cotangents])):
        assert torch.equal(one[order], other)
