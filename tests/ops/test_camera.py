"""The camera operations against the float64 reference, and their arguments."""

import pytest
import torch

from taichi_nerf.ops.camera import ndc_rays, project_points, rays_from_pixels, training_images, training_rays
from taichi_nerf.reference import camera as reference

NAMES = ("camera_to_world", "focal", "principal")
DISTORTION = [
    [0.0] * 6,
    [-0.55, 0, 0, 0, 0, 0],
    [0.09, -0.18, 0.11, 0.5, 1.3e-3, -2.1e-3],  # k4 is not of this lens
    [0.03, -0.01, 2e-3, -4e-4, 0.5, 0.5],  # nor p1 and p2 of this
    [0.0] * 6,
]
LENS = [0, 0, 0, 1, 1]
REACH = torch.tensor([0.9, 0.45, 0.9, 1.5, 2.5], dtype=torch.float64)


def make_inputs(backend, rays, rng):
    """Five cameras, one of each lens, and pixels inside what the lens can show."""
    n = len(LENS)
    pose = torch.randn(n, 3, 4, generator=rng, dtype=torch.float64)  # the gradient must not assume a rotation
    focal = 200 + 5 * torch.randn(n, 2, generator=rng, dtype=torch.float64)
    principal = 200 + 5 * torch.randn(n, 2, generator=rng, dtype=torch.float64)
    index = torch.randint(n, (rays,), generator=rng)
    point = torch.randn(rays, 2, generator=rng, dtype=torch.float64)
    radius = REACH[index] * torch.rand(rays, generator=rng, dtype=torch.float64)
    point *= (radius / point.norm(dim=1))[:, None]
    pixel = principal[index] + focal[index] * point
    cameras = [backend.tensor(c).requires_grad_() for c in (pose, focal, principal)]
    lens = [backend.tensor(DISTORTION), backend.tensor(LENS, torch.int32)]
    return [backend.tensor(index, torch.int32), backend.tensor(pixel)], cameras, lens


@pytest.mark.parametrize("rays", [0, 1, 63, 2000])
def test_rays_equal_the_reference_in_value_and_gradient(backend, rng, rays):
    pixels, cameras, lens = make_inputs(backend, rays, rng)
    exact = [c.detach().double().requires_grad_() for c in cameras]
    outputs = rays_from_pixels(*pixels, *cameras, *lens)
    expected = reference.rays_from_pixels(pixels[0], pixels[1].double(), *exact, lens[0].double(), lens[1])
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    gradients = torch.autograd.grad(outputs, cameras, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents)
    for name, actual, value in zip(("origins", "directions"), outputs, expected):
        backend.assert_close(actual, value, name)
    for name, actual, value in zip(NAMES, gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_rays_pass_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    pixels, cameras, lens = make_inputs(backend, 20, rng)
    assert torch.autograd.gradcheck(lambda *c: rays_from_pixels(*pixels, *c, *lens), cameras)


def test_only_the_gradients_asked_for_are_returned(backend, rng):
    pixels, (pose, focal, principal), lens = make_inputs(backend, 10, rng)
    directions = rays_from_pixels(*pixels, pose, focal.detach(), principal.detach(), *lens)[1]
    directions.sum().backward()
    assert pose.grad is not None and focal.grad is None and principal.grad is None


def test_pixels_past_the_fold_give_the_intrinsics_no_gradient(backend, rng):
    (index, pixel), (pose, focal, principal), lens = make_inputs(backend, 4, rng)
    index.fill_(1)
    pixel[:] = backend.tensor([[400.0, 200.0], [0.0, 200.0], [200.0, 420.0], [600.0, 600.0]])
    rays_from_pixels(index, pixel, pose, focal, principal, *lens)[1].sum().backward()
    assert not focal.grad.any() and not principal.grad.any() and torch.isfinite(pose.grad).all()


def test_projection_equals_the_reference(backend, rng):
    (index, pixel), cameras, lens = make_inputs(backend, 500, rng)
    cameras = [c.detach() for c in cameras]
    cameras[0] = torch.linalg.qr(cameras[0].double().cpu())[0].to(cameras[0])  # [N, 3, 3]
    cameras[0] = torch.cat([cameras[0], backend.tensor(torch.randn(5, 3, 1, generator=rng))], dim=2)
    origins, directions = rays_from_pixels(index, pixel, *cameras, *lens)
    points = origins + 3 * directions
    seen, depth, visible = project_points(index, points, *cameras, *lens)
    exact = reference.project(index, points.double(), *(c.double() for c in cameras), lens[0].double(),
                              lens[1])
    assert visible.all()
    backend.assert_close(seen, pixel, "pixel", 400.0)
    backend.assert_close(seen, exact[0], "pixel")
    backend.assert_close(depth, exact[1], "depth")
    assert [len(x) for x in project_points(index[:0], points[:0], *cameras, *lens)] == [0, 0, 0]


def make_forward_rays(backend, rays, rng):
    origins, directions = (torch.randn(rays, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    directions[:, 2] = -directions[:, 2].abs() - 0.5
    return [backend.tensor(x).requires_grad_() for x in (origins, directions)]


@pytest.mark.parametrize("rays", [0, 1, 63, 2000])
def test_ndc_rays_equal_the_reference_in_value_and_gradient(backend, rng, rays):
    inputs, camera = make_forward_rays(backend, rays, rng), ((310.0, 305.0), (400, 300), 0.7)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    outputs, expected = ndc_rays(*inputs, *camera), reference.ndc_rays(*exact, *camera)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    gradients = torch.autograd.grad(outputs, inputs, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents)
    for name, actual, value in zip(("origins", "directions"), outputs, expected):
        backend.assert_close(actual, value, name)
    for name, actual, value in zip(("origins", "directions"), gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_ndc_rays_pass_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    assert torch.autograd.gradcheck(lambda *x: ndc_rays(*x, (3.0, 2.0), (4, 3)), make_forward_rays(backend, 8, rng))


def make_images(backend, rng, sizes=((7, 5), (40, 30), (1, 1))):
    size = torch.tensor(sizes)
    area = size.prod(dim=1)
    pixels = torch.randint(256, (int(area.sum()), 4), generator=rng, dtype=torch.uint8).to(backend.device)
    _, cameras, lens = make_inputs(backend, 0, rng)
    cameras = [c.detach()[: len(sizes)] for c in (*cameras, *lens)]
    return pixels, area.cumsum(0) - area, size, cameras


def test_training_rays_are_the_rays_of_their_pixels(backend, rng):
    pixels, offset, size, cameras = make_images(backend, rng)
    batch = training_rays(training_images(pixels, offset, size, *cameras), 777, seed=2**40 + 3)
    n, flat = batch.image_index.long().cpu(), batch.pixel_index.long().cpu()
    within = flat - offset[n]
    centre = torch.stack([within % size[n, 0] + 0.5, within // size[n, 0] + 0.5], dim=1)
    origins, directions = rays_from_pixels(batch.image_index, backend.tensor(centre), *cameras)
    backend.assert_close(batch.origins, origins, "origins")
    backend.assert_close(batch.directions, directions, "directions")
    backend.assert_close(batch.rgba, pixels.cpu()[flat].double() / 255, "rgba")
    assert training_rays(training_images(pixels, offset, size, *cameras), 0, seed=1).rgba.shape == (0, 4)


@pytest.mark.parametrize("rays", [0, 1, 63, 2000])
def test_pixels_are_drawn_as_in_the_reference_among_all_and_among_those_allowed(backend, rng, rays):
    pixels, offset, size, cameras = make_images(backend, rng)
    allowed = torch.arange(3, len(pixels), 5, dtype=torch.int32)
    for chosen in (None, allowed, allowed[:1]):
        images = training_images(pixels, offset, size, *cameras,
                                 allowed=None if chosen is None else chosen.to(backend.device))
        batch = training_rays(images, rays, seed=77)
        expected = reference.drawn_pixels(77, rays, len(pixels), chosen)
        assert torch.equal(batch.pixel_index.long().cpu(), expected)
        backend.assert_close(batch.rgba, pixels.cpu()[expected].double() / 255, "rgba")


@pytest.mark.parametrize("per_pixel", [1, 4, 9])
def test_rays_of_a_pixel_pass_where_its_ray_places_are(backend, rng, per_pixel):
    pixels, offset, size, cameras = make_images(backend, rng)
    images = training_images(pixels, offset, size, *cameras)
    batch = training_rays(images, 36 * per_pixel, seed=77, per_pixel=per_pixel)
    expected = reference.drawn_pixels(77, 36, len(pixels), None).repeat_interleave(per_pixel)
    assert torch.equal(batch.pixel_index.long().cpu(), expected)
    place = images.ray_places(batch.image_index, batch.pixel_index, per_pixel)
    for value, found in zip(rays_from_pixels(batch.image_index, place, *cameras), (batch.origins, batch.directions)):
        backend.assert_close(found, value)
    centre = images.pixel_centres(batch.image_index, batch.pixel_index)
    backend.assert_close((place - centre).view(36, per_pixel, 2).mean(dim=1), torch.zeros(36, 2), "middle")


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    (index, pixel), (pose, focal, principal), (distortion, lens) = make_inputs(backend, 10, rng)
    with pytest.raises(ValueError, match="pixel must have shape"):
        rays_from_pixels(index, pixel[:, :1], pose, focal, principal, distortion, lens)
    with pytest.raises(TypeError, match="image_index must be"):
        rays_from_pixels(index.long(), pixel, pose, focal, principal, distortion, lens)
    with pytest.raises(ValueError, match=r"camera_to_world must have shape \(5, 3, 4\)"):
        rays_from_pixels(index, pixel, pose[:4], focal, principal, distortion, lens)
    with pytest.raises(ValueError, match="distortion must have shape"):
        points = torch.cat([pixel, pixel[:, :1]], dim=1)
        project_points(index, points, pose, focal, principal, distortion[:, :4], lens)
    if backend.device.type == "cpu":
        with pytest.raises(IndexError, match=r"image_index must lie in \[0, 5\)"):
            rays_from_pixels(index + 5, pixel, pose, focal, principal, distortion, lens)
    else:
        origins, _ = rays_from_pixels(index + 5, pixel, pose, focal, principal, distortion, lens)
        backend.assert_close(origins, pose[-1, :, 3].expand(10, 3), "the last camera's")
    with pytest.raises(IndexError, match="nothing to point at"):
        rays_from_pixels(index, pixel, pose[:0], focal[:0], principal[:0], distortion[:0], lens[:0])
    origins, directions = make_forward_rays(backend, 5, rng)
    with pytest.raises(ValueError, match=r"directions must have shape \(5, 3\)"):
        ndc_rays(origins, directions[:4], (1.0, 1.0), (4, 3))
    with pytest.raises(ValueError, match="focal, size and near must be above 0"):
        ndc_rays(origins, directions, (1.0, 1.0), (4, 3), near=0.0)
    pixels, offset, size, cameras = make_images(backend, rng)
    with pytest.raises(ValueError, match="offset and size must fill"):
        training_images(pixels, offset + 1, size, *cameras)
    with pytest.raises(TypeError, match=r"pixels must be torch\.uint8"):
        training_images(pixels.int(), offset, size, *cameras)
    with pytest.raises(TypeError, match=r"allowed must be torch\.int32"):
        training_images(pixels, offset, size, *cameras, allowed=offset.to(pixels.device))
    with pytest.raises(ValueError, match="allowed must hold at least one pixel"):
        training_images(pixels, offset, size, *cameras, allowed=backend.tensor([], torch.int32))
    for pixel in (len(pixels), -1):
        with pytest.raises(IndexError, match="allowed must ascend in"):
            training_images(pixels, offset, size, *cameras, allowed=backend.tensor([0, pixel, 1], torch.int32))
    with pytest.raises(ValueError, match="offset and size must fill"):
        training_images(pixels, offset, size * torch.tensor([[-1, -1]]), *cameras)
    with pytest.raises(ValueError, match="rays must be at least 0"):
        training_rays(training_images(pixels, offset, size, *cameras), -1, seed=0)
    with pytest.raises(ValueError, match="4 for each pixel, got 6"):
        training_rays(training_images(pixels, offset, size, *cameras), 6, seed=0, per_pixel=4)
    for per_pixel in (0, -1, 2):
        with pytest.raises(ValueError, match="per_pixel must be the square"):
            training_rays(training_images(pixels, offset, size, *cameras), 4, seed=0, per_pixel=per_pixel)
