"""Laws of the ray-mesh kernels and of the hierarchy, each on every backend."""

import numpy as np
import pytest
import torch

from taichi_nerf_kernels import engine
from taichi_nerf_kernels import ray_mesh as kernels

from ..ops.test_ray_mesh import CUBE, make_rays, make_soup


def trace(backend, vertices, faces, origins, directions, near=0.0, limit=None, any_hit=False):
    """t, triangle and barycentric coordinates, in poisoned outputs."""
    tree = kernels.mesh_tree(np.ascontiguousarray(vertices.cpu().numpy()), faces.cpu().numpy())
    arrays = [torch.from_numpy(array).to(backend.device) for array in tree]
    count = len(origins)
    limit = torch.full_like(origins[:, 0], kernels.FAR) if limit is None else limit
    t, barycentric = backend.empty(count), backend.empty(count, 3)
    triangle = torch.full((count,), -7, dtype=torch.int32, device=backend.device)
    kernels.ray_mesh_forward(origins, directions, limit, near, *arrays, 2 * torch.finfo(backend.dtype).eps, t, triangle,
                             barycentric, any_hit)
    return t, triangle, barycentric


def cube(backend):
    vertices, faces = CUBE
    return backend.tensor(vertices), backend.tensor(faces, torch.int32)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 63, 64, 65, 1000])
def test_every_node_encloses_its_triangles_and_every_triangle_is_in_one_leaf(count):
    rng = torch.Generator().manual_seed(count)
    vertices, faces = (array.numpy() for array in make_soup(count, rng))
    boxes, starts, corners, order = kernels.mesh_tree(vertices, faces)
    leaves = len(starts) - 1
    assert sorted(order.tolist()) == list(range(count)) and starts[0] == 0 and starts[-1] == count
    assert 1 <= np.diff(starts).min() and np.diff(starts).max() <= kernels.LEAF
    assert np.array_equal(corners.reshape(-1, 3, 3), vertices[faces[order]])
    for leaf in range(leaves):
        points = corners[starts[leaf] : starts[leaf + 1]].reshape(-1, 3)
        node = leaves + leaf
        while node >= 1:
            assert (points >= boxes[node, :3]).all() and (points <= boxes[node, 3:]).all()
            node >>= 1


def test_a_hit_lies_on_its_triangle(backend, rng):
    vertices, faces = (x.to(backend.device) for x in make_soup(100, rng))
    vertices = backend.tensor(vertices)
    origins, directions = (backend.tensor(x) for x in make_rays(500, rng))
    t, triangle, barycentric = trace(backend, vertices, faces.int(), origins, directions)
    hit = triangle >= 0
    assert 100 < hit.sum() < 500 and (t[~hit] == kernels.FAR).all() and (barycentric[~hit] == 0).all()
    corners = vertices[faces[triangle[hit].long()].long()]
    backend.assert_close((barycentric[hit, :, None] * corners).sum(dim=1),
                         origins[hit] + t[hit, None] * directions[hit], "point", 1.0)
    assert (barycentric[hit] >= 0).all()


def test_no_ray_passes_between_the_faces_of_a_closed_mesh(backend, rng):
    """Rays from within towards corners, edges and what is on them, and along the axes."""
    vertices, faces = cube(backend)
    share = torch.rand(300, 1, generator=rng, dtype=torch.float64)
    ends = vertices.double().cpu()[faces.long().cpu()]  # [F, 3, 3]
    of = torch.randint(0, len(faces), (300,), generator=rng)
    targets = torch.cat([share * ends[of, 0] + (1 - share) * ends[of, 1], ends[of[:20], 2], ends[of[:20]].mean(dim=1),
                         torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    for origin in ([0.0, 0.0, 0.0], [0.25, -0.125, 0.3]):
        origins = backend.tensor([origin]).expand(len(targets), 3).contiguous()
        _, triangle, _ = trace(backend, vertices, faces, origins, backend.tensor(targets) - origins)
        assert (triangle >= 0).all()


def test_a_ray_along_a_face_or_past_it_stays_finite(backend):
    vertices, faces = cube(backend)
    origins = backend.tensor([[-2.0, 1.0, 0.3], [-2.0, 1.0, 1.0], [-2.0, 1.001, 0.0], [0.0, 0.0, 3.0], [2.0, 0.0, 0.0]])
    directions = backend.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, -0.0, -1.0], [1.0, 0.0, 0.0]])
    t, triangle, barycentric = trace(backend, vertices, faces, origins, directions)
    assert torch.isfinite(t).all() and torch.isfinite(barycentric).all()
    assert triangle[2] == kernels.MISS and triangle[4] == kernels.MISS and t[3] == 2.0


def test_triangles_without_area_are_met_by_none(backend):
    vertices = backend.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.5, 0.5, 0.0]])
    faces = backend.tensor([[0, 1, 2], [0, 0, 1], [3, 3, 3]], torch.int32)
    origins = backend.tensor([[0.5, 0.5, 1.0], [1.0, 1.0, 1.0]])
    _, triangle, _ = trace(backend, vertices, faces, origins, backend.tensor([[0.0, 0.0, -1.0]] * 2))
    assert (triangle == kernels.MISS).all()


def test_near_and_limit_leave_out_what_lies_outside_of_them(backend):
    vertices, faces = cube(backend)
    origins, down = backend.tensor([[0.1, 0.2, 3.0]] * 4), backend.tensor([[0.0, 0.0, -1.0]] * 4)
    limit = backend.tensor([1.5, 2.5, 3.9, 4.5])
    t, _, _ = trace(backend, vertices, faces, origins, down, limit=limit)
    assert t.tolist() == [pytest.approx(kernels.FAR), 2.0, 2.0, 2.0]
    t, _, _ = trace(backend, vertices, faces, origins, down, near=2.5, limit=limit)
    assert t.tolist() == [pytest.approx(kernels.FAR)] * 3 + [4.0]


@pytest.mark.slow  # tests/ops/test_ray_mesh.py has it of shadows
def test_any_hit_tells_whether_there_is_a_nearest_one(backend, rng):
    vertices, faces = make_soup(60, rng)
    vertices, faces = backend.tensor(vertices), faces.int().to(backend.device)
    origins, directions = (backend.tensor(x) for x in make_rays(400, rng))
    nearest = trace(backend, vertices, faces, origins, directions)[1]
    found = trace(backend, vertices, faces, origins, directions, any_hit=True)[1]
    assert torch.equal(nearest >= 0, found >= 0)


def test_what_is_not_finite_meets_nothing(backend):
    vertices, faces = cube(backend)
    bad = [float("nan"), float("inf"), -float("inf")]
    origins = backend.tensor([[b, 0.0, 0.0] for b in bad] + [[0.0, 0.0, 0.0]] * 4)
    directions = backend.tensor([[1.0, 0.0, 0.0]] * 3 + [[b, 0.0, 1.0] for b in bad] + [[0.0, 0.0, 0.0]])
    assert (trace(backend, vertices, faces, origins, directions)[1] == kernels.MISS).all()


def test_shuffled_rays_have_shuffled_hits_and_gradients(backend, rng):
    vertices, faces = make_soup(40, rng)
    vertices, faces = backend.tensor(vertices), faces.int().to(backend.device)
    origins, directions = (backend.tensor(x) for x in make_rays(63, rng))
    order = torch.randperm(63, generator=rng).to(backend.device)
    cotangent = backend.tensor(torch.randn(63, generator=rng))
    found = []
    for index in (torch.arange(63, device=backend.device), order):
        hits = trace(backend, vertices, faces, origins[index], directions[index])
        of_rays = backend.empty(63, 3), backend.empty(63, 3)
        of_vertices = torch.zeros_like(vertices)
        kernels.ray_mesh_backward(directions[index], vertices, faces, *hits, cotangent[index], *of_rays, of_vertices,
                                  engine.on_cpu())
        found.append((*hits, *of_rays, of_vertices))
    for one, other in zip(found[0][:-1], found[1][:-1]):
        assert torch.equal(one[order], other)
    backend.assert_close(found[1][-1], found[0][-1], "vertices")
