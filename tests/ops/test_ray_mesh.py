"""The ray-mesh operation against the float64 reference, and its arguments."""

import pytest
import torch

from taichi_nerf.ops.ray_mesh import intersect_ray_mesh, occluded_by_mesh, ray_mesh
from taichi_nerf.reference import ray_mesh as reference

CUBE = (torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)], dtype=torch.float64),
        torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
                      [0, 6, 4], [1, 5, 7], [1, 7, 3]]))
NAMES = ("vertices", "origins", "directions")


def make_soup(count, rng):
    """Triangles here and there in the cube [-1, 1]^3, of any shape."""
    middle = 1.6 * torch.rand(count, 1, 3, generator=rng, dtype=torch.float64) - 0.8
    corners = middle + 0.4 * torch.rand(count, 3, 3, generator=rng, dtype=torch.float64) - 0.2
    return corners.reshape(-1, 3), torch.arange(3 * count).reshape(-1, 3)


def make_rays(count, rng):
    """From around the cube into it, of lengths other than 1."""
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng, dtype=torch.float64), dim=1) * 3
    aim = 1.2 * torch.rand(count, 3, generator=rng, dtype=torch.float64) - 0.6
    return origins, (aim - origins) * (0.2 + torch.rand(count, 1, generator=rng, dtype=torch.float64))


@pytest.mark.parametrize(("triangles", "rays"), [(0, 5), (1, 0), (1, 40), (63, 300)])
def test_hits_and_gradients_equal_the_reference(backend, rng, triangles, rays):
    vertices, faces = make_soup(triangles, rng)
    inputs = [backend.tensor(x).requires_grad_() for x in (vertices, *make_rays(rays, rng))]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    faces = faces.int().to(backend.device)
    limit = backend.tensor(torch.full((rays,), 6.0, dtype=torch.float64))
    found = intersect_ray_mesh(ray_mesh(inputs[0], faces), *inputs[1:], near=0.1, limit=limit)
    expected = reference.intersect_ray_mesh(exact[0], faces, *exact[1:], 0.1, limit.double())
    assert torch.equal(found.triangle, expected[1])
    hit = found.triangle >= 0
    assert torch.equal(torch.isfinite(found.t), hit)
    assert triangles < 2 or 50 < hit.sum() < 250
    backend.assert_close(found.t[hit], expected[0][hit], "t")
    backend.assert_close(found.barycentric, expected[2], "barycentric coordinates", 1.0)
    if triangles == 0 or rays == 0:
        return
    cotangent = torch.randn(int(hit.sum()), generator=rng, dtype=torch.float64).to(backend.device)
    gradients = torch.autograd.grad(found.t[hit], inputs, backend.tensor(cotangent))
    wanted = torch.autograd.grad(expected[0][hit], exact, cotangent)
    for name, actual, value in zip(NAMES, gradients, wanted):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    vertices, faces = CUBE
    origins, directions = (x.requires_grad_() for x in make_rays(8, rng))
    faces = faces.int()
    assert torch.autograd.gradcheck(
        lambda *x: intersect_ray_mesh(ray_mesh(x[0], faces), *x[1:]).t, (vertices.clone().requires_grad_(), origins,
                                                                         directions))


def test_shadows_are_where_there_is_a_hit(backend, rng):
    vertices, faces = make_soup(63, rng)
    mesh = ray_mesh(backend.tensor(vertices), faces.int().to(backend.device))
    rays = [backend.tensor(x) for x in make_rays(300, rng)]
    assert torch.equal(occluded_by_mesh(mesh, *rays), intersect_ray_mesh(mesh, *rays).triangle >= 0)
    assert not occluded_by_mesh(ray_mesh(mesh.vertices, mesh.faces[:0]), *rays).any()


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    vertices, faces = (backend.tensor(CUBE[0]), backend.tensor(CUBE[1], torch.int32))
    mesh, (origins, directions) = ray_mesh(vertices, faces), (backend.tensor(x) for x in make_rays(4, rng))
    with pytest.raises(ValueError, match=r"vertices must have shape \(\*, 3\)"):
        ray_mesh(vertices[:, :2], faces)
    with pytest.raises(ValueError, match="vertices must be finite"):
        ray_mesh(vertices / 0, faces)
    with pytest.raises(TypeError, match="faces must be"):
        ray_mesh(vertices, faces.long())
    if backend.device.type == "cpu":
        with pytest.raises(IndexError, match=r"faces must lie in \[0, 8\)"):
            ray_mesh(vertices, faces + 1)
    with pytest.raises(ValueError, match="directions must have shape"):
        intersect_ray_mesh(mesh, origins, directions[:3])
    with pytest.raises(ValueError, match="limit must have shape"):
        occluded_by_mesh(mesh, origins, directions, limit=origins[:3, 0])
