"""Laws of truncated signed distances, each on every backend."""

import torch

from taichi_nerf_kernels import tsdf as kernels

CELL, TRUNCATION = 0.05, 0.15


def views_of_ball(backend, size: int = 33, radius: float = 0.4) -> list[torch.Tensor]:
    """Six, along the axes, of an opaque ball around the origin from a distance of 2."""
    poses = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            back = torch.zeros(3)
            back[axis] = sign
            right = torch.zeros(3)
            right[(axis + 1) % 3] = 1.0
            poses.append(torch.stack([right, torch.linalg.cross(back, right), back, 2 * back], dim=1))
    pose, focal = torch.stack(poses).double(), 1.2 * size
    at = (torch.arange(size).double() + 0.5 - size / 2) / focal
    local = torch.stack([*torch.meshgrid(at, -at, indexing="xy"), -torch.ones(size, size).double()], dim=-1)
    local /= local.norm(dim=-1, keepdim=True)
    ways = torch.einsum("vij,hwj->vhwi", pose[:, :, :3], local)
    middle = -(ways * pose[:, None, None, :, 3]).sum(-1)
    inside = radius**2 - 4 + middle**2
    distance = torch.where(inside > 0, middle - inside.clamp_min(0).sqrt(), kernels.BEYOND)
    given = (distance, torch.ones_like(distance), pose, torch.full((6, 2), focal).double(),
             torch.full((6, 2), size / 2).double(), torch.full((3,), -0.6).double())
    return [backend.tensor(x) for x in given]


def grid(backend, side: int = 25) -> list[torch.Tensor]:
    return [backend.tensor(torch.zeros(side, side, side)) for _ in range(2)]


def places(side: int = 25) -> torch.Tensor:
    at = CELL * torch.arange(side).double() - 0.6
    return torch.stack(torch.meshgrid(at, at, at, indexing="ij"), dim=-1)


def test_the_mean_is_zero_on_a_ball_positive_outside_and_unknown_deep_inside(backend):
    total, weight = grid(backend)
    kernels.integrate_depth(*views_of_ball(backend), total, weight, CELL, TRUNCATION)
    away = places().norm(dim=-1)
    mean = (total / weight.clamp_min(1e-9)).double().cpu()
    assert (weight.cpu()[away < 0.2] == 0).all()
    assert (mean[away > 0.4 + CELL] > 0).all()
    assert (mean[(away < 0.4 - CELL) & (weight.cpu() > 0)] < 0).all()
    near = (away - 0.4).abs() < 0.02
    assert mean[near].abs().max() < 0.6


def test_views_one_after_the_other_are_views_together(backend):
    given, (total, weight), (total_2, weight_2) = views_of_ball(backend), grid(backend), grid(backend)
    kernels.integrate_depth(*given, total, weight, CELL, TRUNCATION)
    for part in (slice(0, 2), slice(2, 6)):
        kernels.integrate_depth(*(x[part].contiguous() for x in given[:5]), given[5], total_2, weight_2, CELL,
                                TRUNCATION)
    backend.assert_close(total, total_2, "total")
    backend.assert_close(weight, weight_2, "weight")


def test_a_pixel_without_weight_or_that_is_no_number_says_nothing(backend):
    given, (total, weight) = views_of_ball(backend), grid(backend)
    given[1][:] = 0
    kernels.integrate_depth(*given, total, weight, CELL, TRUNCATION)
    assert (total == 0).all() and (weight == 0).all()
    given = views_of_ball(backend)
    given[0][:3], given[1][3:] = float("nan"), float("inf")
    kernels.integrate_depth(*given, total, weight, CELL, TRUNCATION)
    assert (total == 0).all() and (weight == 0).all()
