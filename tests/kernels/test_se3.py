"""Laws of the exponential map, each on every backend."""

import math

import pytest
import torch

from taichi_nerf.reference import se3 as reference
from taichi_nerf_kernels import se3 as kernels


def exponential(backend, twists):
    out = backend.empty(len(twists), 3, 4)
    kernels.se3_forward(twists, out)
    return out


def pull_back(backend, twists, cotangent):
    out = backend.empty(len(twists), 6)
    kernels.se3_backward(twists, cotangent, out)
    return out


def make_twists(backend, count, rng, angle=None):
    """Random axes and velocities; angles spread evenly in the logarithm from 1e-6 to 6, or all `angle`."""
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng, dtype=torch.float64), dim=1)
    spread = 10 ** (torch.rand(count, 1, generator=rng, dtype=torch.float64) * 6.778 - 6)
    rotation = axis * (spread if angle is None else angle)
    velocity = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    return backend.tensor(torch.cat([rotation, velocity], dim=1))


def single(backend, *twist):
    return backend.tensor(torch.tensor([twist], dtype=torch.float64))


@pytest.mark.parametrize("angle", [0, 1e-20, 1e-7, 1e-4, 0.0099, 0.0101, 0.5, 0.9999, 1.0001, 3.1, math.pi, 6.0])
def test_value_and_gradient_equal_the_matrix_exponential_at_every_angle(backend, rng, angle):
    twists = make_twists(backend, 63, rng, angle)
    exact = twists.double().requires_grad_()
    expected = reference.exponential_map(exact)
    cotangent = backend.tensor(torch.randn(63, 3, 4, generator=rng, dtype=torch.float64))
    (expected_gradient,) = torch.autograd.grad(expected, exact, cotangent.double())
    backend.assert_close(exponential(backend, twists), expected, "transforms")
    backend.assert_close(pull_back(backend, twists, cotangent), expected_gradient, "gradient")


def test_a_rotation_by_zero_is_the_identity_to_the_last_bit_and_moves_by_the_velocity(backend, rng):
    twists = make_twists(backend, 63, rng, 0)
    found = exponential(backend, twists)
    assert torch.equal(found[:, :, :3], torch.eye(3).to(found).expand(63, 3, 3))
    assert torch.equal(found[:, :, 3], twists[:, 3:])


def test_rotations_are_orthogonal_with_determinant_one(backend, rng):
    rotation = exponential(backend, make_twists(backend, 500, rng))[:, :, :3].double().cpu()
    backend.assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(500, 3, 3), "R R^T")
    backend.assert_close(torch.linalg.det(rotation), torch.ones(500), "det R")


def test_the_axis_is_fixed_and_the_trace_tells_the_angle(backend, rng):
    twists = make_twists(backend, 500, rng)
    rotation, axis = exponential(backend, twists)[:, :, :3].double(), twists[:, :3].double()
    backend.assert_close((rotation @ axis[:, :, None])[:, :, 0], axis, "R w")
    backend.assert_close(rotation.diagonal(dim1=1, dim2=2).sum(1), 1 + 2 * axis.norm(dim=1).cos(), "trace")


def test_the_opposite_twist_undoes_the_motion(backend, rng):
    twists = make_twists(backend, 500, rng)
    there, back = (exponential(backend, t).double() for t in (twists, -twists))
    backend.assert_close(back[:, :, :3] @ there[:, :, :3], torch.eye(3).expand(500, 3, 3), "rotation")
    returned = (back[:, :, :3] @ there[:, :, 3:])[:, :, 0] + back[:, :, 3]
    backend.assert_close(returned, torch.zeros(500, 3), "position", scale=float(there[:, :, 3].abs().max()))


def test_twice_the_twist_is_twice_the_motion(backend, rng):
    twists = make_twists(backend, 500, rng)
    once, twice = exponential(backend, twists).double(), exponential(backend, 2 * twists)
    rotation, position = once[:, :, :3], once[:, :, 3:]
    expected = torch.cat([rotation @ rotation, rotation @ position + position], dim=2)
    backend.assert_close(twice, expected, "twice")


def test_a_quarter_turn_about_z_takes_x_to_y(backend):
    found = exponential(backend, single(backend, 0, 0, math.pi / 2, 0, 0, 0))
    backend.assert_close(found[0, :, 0], torch.tensor([0.0, 1.0, 0.0]), "image of x")


def test_a_turn_carries_the_origin_along_an_arc(backend):
    """Half a turn about z at velocity x: the origin runs half a circle of circumference 2, to y = 2 / pi."""
    found = exponential(backend, single(backend, 0, 0, math.pi, 1, 0, 0))
    backend.assert_close(found[0, :, 3], torch.tensor([0.0, 2 / math.pi, 0.0], dtype=torch.float64), "position")


def displaced(backend, twists, points):
    out = backend.empty(len(twists), 3)
    kernels.displacement_forward(twists, points, out)
    return out


def test_a_point_is_displaced_to_where_the_motion_takes_it(backend, rng):
    twists, points = make_twists(backend, 500, rng), backend.tensor(torch.randn(500, 3, generator=rng))
    motion = exponential(backend, twists).double()
    there = (motion[:, :, :3] @ points.double()[:, :, None])[:, :, 0] + motion[:, :, 3]
    backend.assert_close(displaced(backend, twists, points), there - points.double(), "displacement")


def test_a_point_at_rest_stays_and_a_small_motion_is_exact(backend, rng):
    points = backend.tensor(torch.randn(63, 3, generator=rng))
    assert torch.equal(displaced(backend, torch.zeros_like(points).repeat(1, 2), points), torch.zeros_like(points))
    twists = 1e-12 * make_twists(backend, 63, rng, 1.0)
    first_order = torch.linalg.cross(twists[:, :3].double(), points.double()) + twists[:, 3:].double()
    backend.assert_close(displaced(backend, twists, points), first_order, "displacement")


def test_one_motion_of_all_points_has_the_slopes_of_its_rotation(backend, rng):
    twists, points = make_twists(backend, 63, rng), backend.tensor(torch.randn(63, 3, generator=rng))
    slopes = backend.empty(63, 3, 3)
    kernels.slopes_forward(twists, torch.zeros(63, 3, 6).to(twists), points, slopes)
    backend.assert_close(slopes.double().cpu() + torch.eye(3), exponential(backend, twists)[:, :, :3], "slopes")


def test_no_twists(backend):
    assert displaced(backend, backend.empty(0, 6), backend.empty(0, 3)).shape == (0, 3)
    assert exponential(backend, backend.empty(0, 6)).shape == (0, 3, 4)


def test_shuffled_twists_have_shuffled_motions_and_gradients(backend, rng):
    twists = make_twists(backend, 63, rng)
    order = torch.randperm(63, generator=rng).to(backend.device)
    cotangent = backend.tensor(torch.randn(63, 3, 4, generator=rng))
    assert torch.equal(exponential(backend, twists)[order], exponential(backend, twists[order]))
    assert torch.equal(pull_back(backend, twists, cotangent)[order],
                       pull_back(backend, twists[order], cotangent[order]))
