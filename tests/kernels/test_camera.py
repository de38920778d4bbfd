"""The camera kernels on their own: lenses, poses, drawing of training rays."""

import math

import numpy as np
import pytest
import torch

from taichi_nerf_kernels import camera as kernels

ROUND = [0.0] * 6
LENSES = {
    "pinhole": (0, ROUND, 0.9),
    "barrel": (0, [-0.55, 0, 0, 0, 0, 0], 0.47),  # folds at 0.519
    "phone": (0, [0.09, -0.18, 0.11, 0, 1.3e-3, -2.1e-3], 0.9),
    "pincushion": (0, [0.4, 0.2, 0.1, 0, 0, 0], 0.9),
    "fisheye": (1, [0.03, -0.01, 2e-3, -4e-4, 0, 0], 1.5),  # 85 degrees off the axis and a little more
    "fisheye, equidistant": (1, ROUND, 3.0),
}


def rotations(count, rng):
    q = torch.linalg.qr(torch.randn(count, 3, 3, generator=rng, dtype=torch.float64)).Q
    return q * torch.linalg.det(q)[:, None, None]


def make_cameras(backend, lens, distortion, rng, count=3):
    """Cameras of 400 x 400 pixels whose image plane reaches to 1."""
    translation = torch.randn(count, 3, 1, generator=rng, dtype=torch.float64)
    pose = torch.cat([rotations(count, rng), translation], dim=2)
    return [
        backend.tensor(pose),
        backend.tensor([[200.0, 198.0]] * count),
        backend.tensor([[200.0, 201.0]] * count),
        backend.tensor([distortion] * count),
        backend.tensor([lens] * count, torch.int32),
    ]


def make_pixels(backend, reach, rng, count=500):
    """Pixels whose image points lie within `reach` of the principal point."""
    radius = reach * torch.rand(count, generator=rng, dtype=torch.float64).sqrt()
    angle = 2 * math.pi * torch.rand(count, generator=rng, dtype=torch.float64)
    pixel = torch.stack([200 + 200 * radius * angle.cos(), 201 + 198 * radius * angle.sin()], dim=1)
    return backend.tensor(pixel), backend.tensor(torch.randint(3, (count,), generator=rng), torch.int32)


def rays(backend, index, pixel, cameras):
    origins, directions = backend.empty(len(pixel), 3), backend.empty(len(pixel), 3)
    kernels.rays_forward(index, pixel, *cameras, origins, directions)
    return origins, directions


def project(backend, index, points, cameras):
    pixel, depth = backend.empty(len(points), 2), backend.empty(len(points))
    visible = backend.tensor([7] * len(points), torch.int32)
    kernels.project_points(index, points, *cameras, pixel, depth, visible)
    return pixel, depth, visible


@pytest.mark.parametrize("lens, distortion, reach", LENSES.values(), ids=LENSES.keys())
def test_a_point_on_the_ray_of_a_pixel_is_seen_in_that_pixel(backend, rng, lens, distortion, reach):
    cameras = make_cameras(backend, lens, distortion, rng)
    pixel, index = make_pixels(backend, reach, rng)
    origins, directions = rays(backend, index, pixel, cameras)
    backend.assert_close(directions.norm(dim=1), torch.ones(len(pixel)), "length")
    back, _, visible = project(backend, index, origins + 2.5 * directions, cameras)
    assert visible.all()
    backend.assert_close(back, pixel, "pixel")


def test_a_camera_at_the_origin_sees_its_principal_point_along_minus_z(backend):
    for lens, distortion, _ in LENSES.values():
        pose = backend.tensor(torch.eye(4)[None, :3])
        cameras = [pose, backend.tensor([[50.0, 50.0]]), backend.tensor([[8.0, 6.0]]),
                   backend.tensor([distortion]), backend.tensor([lens], torch.int32)]
        index = backend.tensor([0], torch.int32)
        _, directions = rays(backend, index, backend.tensor([[8.0, 6.0]]), cameras)
        assert directions.tolist() == [[0.0, 0.0, -1.0]]
        pixel, depth, visible = project(backend, index, backend.tensor([[0.0, 0.0, -3.0]]), cameras)
        assert pixel.tolist() == [[8.0, 6.0]] and depth.tolist() == [3.0] and visible.tolist() == [1]


def test_u_runs_to_the_right_and_v_down_from_the_corner_of_the_first_pixel(backend):
    pose = backend.tensor(torch.eye(4)[None, :3])
    cameras = [pose, backend.tensor([[2.0, 2.0]]), backend.tensor([[2.0, 2.0]]), backend.tensor([ROUND]),
               backend.tensor([0], torch.int32)]
    centres = backend.tensor([[0.5, 0.5], [3.5, 0.5], [0.5, 3.5]])
    _, directions = rays(backend, backend.tensor([0, 0, 0], torch.int32), centres, cameras)
    expected = torch.tensor([[-0.75, 0.75, -1.0], [0.75, 0.75, -1.0], [-0.75, -0.75, -1.0]],
                            dtype=torch.float64)
    backend.assert_close(directions, expected / expected.norm(dim=1, keepdim=True), "directions")


def test_a_pixel_past_the_fold_gets_a_finite_direction_near_the_fold(backend, rng):
    cameras = make_cameras(backend, 0, [-0.55, 0, 0, 0, 0, 0], rng)
    pixel = backend.tensor([[200 + 200 * x, 201.0] for x in (0.53, 0.6, 1.0, 3.0)])
    index = backend.tensor([0] * 4, torch.int32)
    _, directions = rays(backend, index, pixel, cameras)
    axis = -cameras[0][0, :, 2]
    tangent = torch.tan(torch.arccos((directions * axis).sum(1).clamp(max=1)))
    assert torch.isfinite(directions).all() and (tangent < 0.779).all() and (tangent > 0.5).all()


def test_points_behind_the_camera_and_past_the_fold_are_not_visible(backend):
    pose = backend.tensor(torch.eye(4)[None, :3])
    cameras = [pose, backend.tensor([[50.0, 50.0]]), backend.tensor([[8.0, 6.0]]),
               backend.tensor([[-0.55, 0, 0, 0, 0, 0]]), backend.tensor([0], torch.int32)]
    points = backend.tensor([[0.1, 0.0, 1.0], [0.7, 0.0, -1.0], [0.9, 0.0, -1.0], [1.35, 0.0, -1.0]])
    pixel, _, visible = project(backend, backend.tensor([0] * 4, torch.int32), points, cameras)
    assert visible.tolist() == [0, 1, 0, 0]
    assert torch.isfinite(pixel).all()


@pytest.mark.parametrize("serial", [True, False])
def test_the_gradient_of_a_camera_does_not_depend_on_the_order_of_its_rays(backend, rng, serial):
    cameras = make_cameras(backend, *LENSES["phone"][:2], rng)
    pixel, index = make_pixels(backend, 0.9, rng, 63)
    cotangents = [backend.tensor(torch.randn(63, 3, generator=rng, dtype=torch.float64)) for _ in range(2)]

    def gradients(order):
        out = [backend.empty(3, 3, 4), backend.empty(3, 2), backend.empty(3, 2)]
        chosen = [x[order].contiguous() for x in (index, pixel, *cotangents)]
        kernels.rays_backward(*chosen[:2], *cameras, *chosen[2:], backend.empty(63, 16), *out, serial)
        return out

    for name, a, b in zip(("pose", "focal", "principal"), gradients(torch.randperm(63, generator=rng)),
                          gradients(torch.arange(63))):
        backend.assert_close(a, b, name)


def gather(backend, pixels, image_table, camera_table, rays, seed, allowed=None, side=1, patch=1):
    out = [backend.empty(rays, 3), backend.empty(rays, 3), backend.empty(rays, 4)]
    out += [torch.full((rays,), -1, dtype=torch.int32, device=backend.device) for _ in range(2)]
    words = pixels.view(torch.int32)[:, 0].to(backend.device)
    kernels.gather_rays(words, image_table.to(backend.device), camera_table, seed, *out, allowed=allowed, side=side,
                        patch=patch)
    return out


def make_images(backend, rng, sizes=((7, 5), (40, 30), (1, 1), (16, 9))):
    size = torch.tensor(sizes)
    area = size.prod(dim=1)
    pixels = torch.randint(256, (int(area.sum()), 4), generator=rng, dtype=torch.uint8)
    lens = torch.tensor([0, 1, 0, 0])[: len(sizes), None]
    image_table = torch.cat([(area.cumsum(0) - area)[:, None], size, lens], dim=1).int()
    pose, focal, principal, distortion, _ = make_cameras(backend, *LENSES["phone"][:2], rng, count=len(sizes))
    cameras = [pose, focal, principal, distortion, backend.tensor(lens[:, 0], torch.int32)]
    return pixels, image_table, cameras, torch.cat([c.flatten(1) for c in cameras[:4]], dim=1).contiguous()


def test_gathered_rays_are_the_rays_and_colours_of_their_pixels(backend, rng):
    pixels, image_table, cameras, camera_table = make_images(backend, rng)
    origins, directions, rgba, image, flat = gather(backend, pixels, image_table, camera_table, 2000, 5)
    n, f = image.long().cpu(), flat.long().cpu()
    table = image_table.long()
    within = f - table[n, 0]
    assert ((0 <= within) & (within < table[n, 1] * table[n, 2])).all()
    backend.assert_close(rgba, pixels[f].double() / 255, "rgba")
    centre = torch.stack([within % table[n, 1] + 0.5, within // table[n, 1] + 0.5], dim=1)
    expected = rays(backend, image, backend.tensor(centre), cameras)
    backend.assert_close(origins, expected[0], "origins")
    backend.assert_close(directions, expected[1], "directions")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("side", "drawn"), [(2, 0), (2, 1), (2, 500), (3, 63)])
def test_the_rays_of_a_pixel_are_spread_over_its_area(backend, rng, side, drawn, masked):
    pixels, image_table, cameras, camera_table = make_images(backend, rng)
    allowed = backend.tensor(range(1, len(pixels), 3), torch.int32) if masked else None
    tables = pixels, image_table, camera_table
    origins, directions, rgba, image, flat = gather(backend, *tables, drawn * side**2, 5, allowed, side)
    one = gather(backend, *tables, drawn, 5, allowed)
    for found, of_pixel in ((rgba, one[2]), (image, one[3]), (flat, one[4])):
        assert torch.equal(found, of_pixel.repeat_interleave(side**2, dim=0))
    n, f, table = image.long().cpu(), flat.long().cpu(), image_table.long()
    within, part = f - table[n, 0], torch.arange(len(f), dtype=torch.float64) % side**2
    u, v = (part % side + 0.5) / side, (part.div(side, rounding_mode="floor") + 0.5) / side
    place = torch.stack([within % table[n, 1] + u, within // table[n, 1] + v], dim=1)
    expected = rays(backend, image, backend.tensor(place), cameras)
    backend.assert_close(origins, expected[0], "origins")
    backend.assert_close(directions, expected[1], "directions")


@pytest.mark.parametrize(("masked", "side"), [(False, 1), (True, 1), (False, 2)])
def test_a_patch_is_a_square_of_its_image_that_goes_on_at_the_other_edge(backend, rng, masked, side):
    """From the pixel that would be drawn alone; one under a mask is replaced by that."""
    pixels, image_table, _, camera_table = make_images(backend, rng)
    allowed = backend.tensor(range(1, len(pixels), 3), torch.int32) if masked else None
    tables, patches, patch = (pixels, image_table, camera_table), 60, 4
    flat = gather(backend, *tables, patches * patch**2 * side**2, 5, allowed, side, patch)[4].cpu()
    first = gather(backend, *tables, patches, 5, allowed)[4].cpu()
    for found, corner in zip(flat.view(patches, -1, side**2).tolist(), first.tolist()):
        offset, width, height = next(row[:3] for row in image_table.tolist()[::-1] if row[0] <= corner)
        y, x = divmod(corner - offset, width)
        for k, rays_of_pixel in enumerate(found):
            place = offset + (y + k // patch) % height * width + (x + k % patch) % width
            assert rays_of_pixel == [corner if masked and place % 3 != 1 else place] * side**2


@pytest.mark.parametrize("patch", [1, 4])
def test_every_pixel_is_drawn_equally_often_whatever_the_size_of_its_image(backend, rng, patch):
    pixels, image_table, _, camera_table = make_images(backend, rng)
    draws = 200 * len(pixels)
    flat = gather(backend, pixels, image_table, camera_table, draws * patch**2, 11, patch=patch)[4]
    flat = flat[patch**2 // 2 :: patch**2].cpu().numpy()  # one of each patch
    counts = np.bincount(flat, minlength=len(pixels))
    chi_squared = ((counts - 200.0) ** 2 / 200).sum()
    assert abs(chi_squared - len(pixels)) < 5 * math.sqrt(2 * len(pixels))


def test_draws_depend_on_the_seed_and_the_ray_alone(backend, rng):
    pixels, image_table, _, camera_table = make_images(backend, rng)
    first = gather(backend, pixels, image_table, camera_table, 1000, 1)[4]
    assert torch.equal(first[:300], gather(backend, pixels, image_table, camera_table, 300, 1)[4])
    other = gather(backend, pixels, image_table, camera_table, 1000, 2)[4]
    assert (first == other).double().mean() < 0.02


def test_only_allowed_pixels_are_drawn_and_all_of_them_equally_often(backend, rng):
    pixels, image_table, _, camera_table = make_images(backend, rng)
    allowed = backend.tensor(torch.randperm(len(pixels), generator=rng)[: len(pixels) // 3].sort().values, torch.int32)
    drawn = gather(backend, pixels, image_table, camera_table, 200 * len(allowed), 11, allowed)[4].cpu()
    counts = np.bincount(drawn.numpy(), minlength=len(pixels))
    masked = np.setdiff1d(np.arange(len(pixels)), allowed.cpu().numpy())
    assert not counts[masked].any()
    chi_squared = ((counts[allowed.cpu().numpy()] - 200.0) ** 2 / 200).sum()
    assert abs(chi_squared - len(allowed)) < 5 * math.sqrt(2 * len(allowed))


def test_a_mask_that_leaves_everything_changes_no_ray(backend, rng):
    pixels, image_table, _, camera_table = make_images(backend, rng)
    every = torch.arange(len(pixels), dtype=torch.int32, device=backend.device)
    plain, masked = (gather(backend, pixels, image_table, camera_table, 2000, 5, a) for a in (None, every))
    for one, other in zip(plain, masked):
        assert torch.equal(one, other)


def ndc(backend, origins, directions, scale=(1.5, 2.0), near=1.0):
    out = torch.full_like(origins, float("nan")), torch.full_like(origins, float("nan"))
    kernels.ndc_rays_forward(origins, directions, *scale, near, *out)
    return out


def forward_rays(backend, count, rng):
    origins = torch.randn(count, 3, generator=rng, dtype=torch.float64) * 0.3
    directions = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    directions[:, 2] = -directions[:, 2].abs() - 0.5
    return backend.tensor(origins), backend.tensor(directions)


def test_a_point_of_a_ray_is_projected_to_a_point_of_its_ndc_ray(backend, rng):
    """At t' = 1 + near / z; the cube's x and y are those of the picture, -1 to 1, and its z runs from -1 to 1."""
    origins, directions = (x.double() for x in forward_rays(backend, 50, rng))
    z = -1.0 - torch.rand(50, generator=rng, dtype=torch.float64).to(origins.device) * 20
    point = origins + ((z - origins[:, 2]) / directions[:, 2])[:, None] * directions
    seen = torch.stack([1.5 * point[:, 0] / -z, 2.0 * point[:, 1] / -z, 1 + 2 / z], dim=1)
    o, d = ndc(backend, backend.tensor(origins), backend.tensor(directions))
    backend.assert_close(o.double() + (1 + 1 / z)[:, None] * d.double(), seen, "points")


def test_ndc_rays_do_not_depend_on_where_along_the_ray_it_starts_nor_on_its_length(backend, rng):
    origins, directions = forward_rays(backend, 50, rng)
    moved = ndc(backend, origins + 0.75 * directions, directions * 4)
    for name, a, b in zip(("origins", "directions"), moved, ndc(backend, origins, directions)):
        backend.assert_close(a, b, name)


def test_the_corner_of_the_picture_is_the_corner_of_the_cube(backend):
    # A picture of 200 x 100 pixels with a focal length of 150: scale 2 * 150 / 200 and 2 * 150 / 100.
    corner = backend.tensor([[100.0, 50.0, -150.0]])
    origins, directions = ndc(backend, backend.tensor([[0.0, 0.0, 0.0]]), corner, (1.5, 3.0))
    backend.assert_close(origins, torch.tensor([[1.0, 1.0, -1.0]]), "origin")
    backend.assert_close(directions, torch.tensor([[0.0, 0.0, 2.0]]), "direction")
