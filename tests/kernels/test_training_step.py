"""The loss of a step and its gradients, against PyTorch in double precision."""

import pytest
import torch
from torch.nn.functional import huber_loss

from taichi_nerf.reference.random import uniform
from taichi_nerf.reference.spherical_harmonics import spherical_harmonics
from taichi_nerf.training.exposure import exposed
from taichi_nerf_kernels import training_step as kernels
from taichi_nerf_kernels.engine import ti
from taichi_nerf_kernels.launch import kernel
from taichi_nerf_kernels.training_step.exposure import exposed as kernel_of_exposure

WHITE, DELTA = 0.7, 0.1


def expected_loss(geometry, raw, dt, count, rgba, per_pixel):
    """Pixel by pixel, weighted by how many of its rays there are; the squared error likewise."""
    colour, shown, start = torch.sigmoid(raw), [], 0
    for n in count:
        tau = geometry[0, start : start + n].exp() * dt[start : start + n]
        through = torch.cat([torch.ones(1, dtype=tau.dtype), (-tau.cumsum(0)).exp()])
        weight = through[:-1] - through[1:]
        shown.append((colour[:, start : start + n] * weight).sum(1) + through[-1] * WHITE)
        start += n
    loss = squared = 0.0
    for first in range(0, len(count), per_pixel):
        pixel = torch.stack(shown[first : first + per_pixel])
        alpha = rgba[first, 3]
        target = rgba[first, :3] * alpha + (1 - alpha) * WHITE
        share = len(pixel) / len(count)
        loss = loss + share * huber_loss(pixel.mean(0), target, delta=DELTA)
        squared = squared + share * (pixel.mean(0) - target).square().mean()
    return loss, squared


@pytest.mark.parametrize("rays", [1, 4, 6, 63])
@pytest.mark.parametrize("per_pixel", [1, 4, 9])
def test_loss_and_gradients_are_those_of_the_mean_of_a_pixels_rays(backend, rng, per_pixel, rays):
    """Of the last pixel there may be a part only."""
    count = torch.randint(0, 6, (rays,), generator=rng)
    count[rays // 2] = 0  # a ray with no samples
    count[-1] = 3
    total, room = int(count.sum()), rays + 2
    geometry, raw, dt = (torch.randn(rows, total, generator=rng, dtype=torch.float64) for rows in (4, 3, 1))
    geometry, raw, dt = geometry.float().double(), raw.float().double(), (0.5 * dt.abs() + 0.1)[0].float().double()
    drawn = torch.rand(-(-room // per_pixel), 4, generator=rng).double()
    rgba = drawn.repeat_interleave(per_pixel, dim=0)[:room]
    for tensor in (geometry, raw):
        tensor.requires_grad_()
    loss, squared = expected_loss(geometry, raw, dt, count.tolist(), rgba, per_pixel)
    loss.backward()

    def room_for(values):
        return backend.tensor(torch.cat([values, torch.zeros(room - rays, dtype=values.dtype)]), torch.int32)

    start = count.cumsum(0) - count
    raw_gradient, density_gradient = backend.empty(3, total), backend.empty(total)
    errors = torch.zeros(2, dtype=backend.dtype, device=backend.device)
    kernels.differentiate_rays(
        backend.tensor(geometry.detach()), backend.tensor(raw.detach()), backend.tensor(dt), room_for(start),
        room_for(count), backend.tensor(rgba), WHITE, -1, DELTA, backend.empty(total), backend.empty(room, 4),
        raw_gradient, density_gradient, errors, backend.tensor([rays], torch.int32), per_pixel)
    backend.assert_close(errors, torch.stack([loss, squared]).detach(), "errors")
    backend.assert_close(raw_gradient, raw.grad, "raw")
    backend.assert_close(density_gradient, geometry.grad[0], "log density")


@pytest.mark.parametrize(("most", "per_pixel", "expected"), [(1000, 1, 250), (1000, 4, 248), (1000, 9, 243),
                                                             (100, 4, 100), (16, 9, 9)])
def test_the_next_batch_is_of_whole_pixels(backend, most, per_pixel, expected):
    """Where each ray had 4 visible samples and 1,000 are aimed at."""
    integers = [backend.tensor([value], torch.int32) for value in (50, 500, 200)]
    pace, totals = backend.tensor([10.0, 4.0]), backend.tensor([0] * 4, torch.int32)
    kernels.next_batch(*integers, pace, totals, 0.9, 10**6, 1000, most, per_pixel)
    assert integers[0].item() == expected and totals.tolist() == [50, 500, 200, 0]


IMAGES = 4


def composited(log_density, raw, dt, count):
    """Colour over black [R, 3] and opacity [R], ray by ray; differentiable."""
    colour, shown, opacity, start = torch.sigmoid(raw), [], [], 0
    for n in count:
        tau = log_density[start : start + n].exp() * dt[start : start + n]
        through = torch.cat([torch.ones(1, dtype=tau.dtype), (-tau.cumsum(0)).exp()])
        shown.append((colour[:, start : start + n] * (through[:-1] - through[1:])).sum(1))
        opacity.append(1 - through[-1])
        start += n
    return torch.stack(shown), torch.stack(opacity)


def single(tensor):
    """The same numbers in either precision."""
    return tensor.float().double()


@pytest.mark.parametrize("rays", [1, 4, 6, 63])
@pytest.mark.parametrize("per_pixel", [1, 4])
@pytest.mark.parametrize(("weighted", "exposing", "trimmed"), [
    (True, False, False), (False, True, False), (False, False, True), (True, True, True)])
def test_images_differ_in_weight_and_in_exposure_and_some_pixels_do_not_count(backend, rng, per_pixel, rays, weighted,
                                                                              exposing, trimmed):
    """The loss, and its gradients by what the networks put out and by the stops, in whatever order the images come."""
    count = torch.randint(0, 6, (rays,), generator=rng)
    count[rays // 2] = 0  # a ray with no samples
    count[-1] = 3
    pixel = torch.arange(rays) // per_pixel
    image = torch.randint(0, IMAGES, (int(pixel[-1]) + 1,), generator=rng)[pixel].int()
    total = int(count.sum())
    geometry, raw = (single(torch.randn(rows, total, generator=rng)).requires_grad_() for rows in (4, 3))
    stops = single(0.5 * torch.randn(IMAGES, 3, generator=rng)).requires_grad_()
    dt, weight = (single(torch.rand(size, generator=rng) + 0.1) for size in (total, IMAGES))
    rgba = single(torch.rand(int(pixel[-1]) + 1, 4, generator=rng))[pixel]

    colour, opacity = composited(geometry[0], raw, dt, count.tolist())
    mean = [torch.stack([value[pixel == p].mean(dim=0) for p in pixel.tolist()]) for value in (colour, opacity)]
    shown = exposed(*mean, (stops - stops.mean(dim=0))[image.long()]) if exposing else mean[0]
    error = shown + (1 - mean[1])[:, None] * WHITE - (rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:]) * WHITE)
    kept = (torch.rand(int(pixel[-1]) + 1, generator=rng) < 0.6).double()
    kept[0] = 1.0
    of_ray = (weight[image.long()] if weighted else 1.0) * (kept[pixel] if trimmed else torch.ones_like(kept)[pixel])
    huber = huber_loss(error, torch.zeros_like(error), delta=DELTA, reduction="none").mean(dim=1)
    loss = (of_ray * huber).sum() / of_ray.sum()
    expected = torch.autograd.grad(loss, [raw, geometry, stops], materialize_grads=True)

    start, number = count.cumsum(0) - count, backend.tensor([rays], torch.int32)
    index, flat = backend.tensor(image, torch.int32), backend.tensor(stops.detach().reshape(-1))
    sum_of_weights, centred = backend.empty(1), backend.empty(3 * IMAGES)
    kernels.total_weight(backend.tensor(weight), index, backend.tensor(kept), sum_of_weights, number, per_pixel,
                         weighted, trimmed)
    kernels.centred_stops(flat, centred)
    raw_gradient, density_gradient, of_pixels = backend.empty(3, total), backend.empty(total), backend.empty(rays, 3)
    errors, stops_gradient = (torch.zeros(size, dtype=backend.dtype, device=backend.device) for size in (2, 3 * IMAGES))
    kernels.differentiate_rays_of_images(
        backend.tensor(geometry.detach()), backend.tensor(raw.detach()), backend.tensor(dt),
        backend.tensor(start, torch.int32), backend.tensor(count, torch.int32), backend.tensor(rgba), WHITE, -1, DELTA,
        index, backend.tensor(weight), backend.tensor(kept), sum_of_weights, centred, backend.empty(total),
        backend.empty(rays, 4), raw_gradient, density_gradient, of_pixels, errors, number, per_pixel, weighted,
        exposing, trimmed)
    backend.assert_close(errors, torch.stack([loss.detach(), error.detach().square().mean()]), "errors")
    backend.assert_close(raw_gradient, expected[0], "raw")
    backend.assert_close(density_gradient, expected[1][0], "log density")
    if exposing:
        kernels.gather_stops_gradient(of_pixels, index, stops_gradient, number)
        backend.assert_close(stops_gradient.view(IMAGES, 3), expected[2], "stops")


def test_exposure_is_that_of_pytorch_in_the_dark_and_beyond_white(backend):
    """At the foot of the sRGB curve, where a picture ends, and where there is next to nothing."""
    colour = torch.tensor([[0.0, 1e-3, 0.03], [0.5, 0.9, 0.99], [2e-4, 5e-4, 1e-3]], dtype=torch.float64)
    opacity, stops = torch.tensor([1.0, 1.0, 5e-4]).double(), torch.tensor([[2.0, -3.0, 0.1]] * 3).double()
    inputs = [single(value).requires_grad_() for value in (colour, opacity, stops)]
    loss = (exposed(*inputs) * torch.tensor([1.0, -2.0, 0.5])).sum()
    expected = torch.autograd.grad(loss, inputs)
    out = backend.empty(3, 3, 4)
    exposures(*(backend.tensor(value.detach()) for value in inputs), out)
    cotangent = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = out.double().cpu()
    backend.assert_close(found[..., 0], exposed(*(value.detach() for value in inputs)), "shown")
    backend.assert_close(found[..., 1] * cotangent, expected[0], "by colour")
    backend.assert_close((found[..., 2] * cotangent).sum(dim=1), expected[1], "by opacity")
    backend.assert_close(found[..., 3] * cotangent, expected[2], "by stops")


@kernel
def exposures(colour: ti.types.ndarray(ndim=2), opacity: ti.types.ndarray(ndim=1), stops: ti.types.ndarray(ndim=2),
              out: ti.types.ndarray(ndim=3)):
    for ray, channel in ti.ndrange(colour.shape[0], 3):
        found = kernel_of_exposure(colour[ray, channel], opacity[ray], stops[ray, channel])
        for k in ti.static(range(4)):
            out[ray, channel, k] = found[k]


@pytest.mark.parametrize("pixels", [1, 63, 2000])
@pytest.mark.parametrize("per_pixel, ranks", [(1, 1), (4, 1), (1, 3)])
def test_what_errs_is_left_out_where_a_part_of_its_image_errs_which_is_remembered(backend, rng, per_pixel, ranks,
                                                                                 pixels):
    """Against the cells of images of three sizes, one pixel after the other."""
    cells, margin, around, limit = 4, 2.0, 0.5, 1.0
    table = torch.tensor([[0, 9, 5, 0], [45, 4, 4, 0], [61, 3, 20, 0]])  # first pixel, width, height, lens
    image = torch.randint(0, len(table), (pixels,), generator=rng)
    first, width, height, _ = table[image].unbind(dim=1)
    within = torch.floor(torch.rand(pixels, generator=rng) * width * height).long()
    row, column = (within // width) * cells // height, (within % width) * cells // width
    error, rgba = 2 * torch.rand(pixels, generator=rng), (torch.rand(pixels, 4, generator=rng) - 0.1).clamp_min(0)
    guard = (torch.rand(len(table), cells, cells, generator=rng) < 0.1).int()
    drawn = torch.randint(0, 32, guard.shape, generator=rng).float()
    erred = (drawn * torch.rand(guard.shape, generator=rng)).floor()

    errs, expected, counts = error >= limit, [], [drawn.clone(), erred.clone()]
    for p, (n, i, j) in enumerate(zip(image.tolist(), row.tolist(), column.tolist())):
        beside = (n, slice(max(i - 1, 0), i + 2), slice(max(j - 1, 0), j + 2))
        many = (erred[beside] > around * (drawn[beside] + 1)).any()
        expected.append(bool(~errs[p] or rgba[p, 3] == 0 or guard[n, i, j] > 0 or not many))
        counts[0][n, i, j] += ranks
        counts[1][n, i, j] += ranks * float(errs[p] and rgba[p, 3] > 0)
    while (full := counts[0] >= 32).any():
        counts = [torch.where(full, (count / 2).floor(), count) for count in counts]

    def of_rays(values):
        return values.repeat_interleave(per_pixel, dim=0)

    integers = [backend.tensor(of_rays(values), torch.int32) for values in (image, first + within)]
    seen = backend.tensor(error), backend.tensor(of_rays(rgba)), *integers, backend.tensor(table, torch.int32)
    threshold, rays = backend.tensor([limit / margin]), backend.tensor([pixels * per_pixel], torch.int32)
    remembered, kept = [backend.tensor(values) for values in (drawn, erred)], backend.empty(pixels)
    kernels.keep_pixels(*seen, backend.tensor(guard, torch.int32), threshold, margin, 7, 0.0, *remembered, around, kept,
                        rays, per_pixel, 1)
    backend.assert_close(kept, torch.tensor(expected).double(), "kept")
    nothing_usual = backend.tensor([0.0])
    for usual, expected_counts in ((nothing_usual, (drawn, erred)), (threshold, counts)):
        kernels.remember_errors(*seen, usual, margin, *remembered, float(ranks), backend.empty(pixels), rays,
                                per_pixel)
        for found, count, name in zip(remembered, expected_counts, ("drawn", "erred")):
            backend.assert_close(found, count.double(), name)
    kernels.keep_pixels(*seen, backend.tensor(0 * guard, torch.int32), threshold, margin, 7, 0.0, *remembered, 0.0,
                        kept, rays, per_pixel, 1)  # whatever is around it
    backend.assert_close(kept, (~errs | (rgba[:, 3] == 0)).double(), "kept")


@pytest.mark.parametrize("rays", [1, 6, 63])
def test_the_loss_of_known_distances_and_its_gradient(backend, rng, rays):
    """Of visible samples, which are the first of those marched; a ray without any lacks all of the distance."""
    kept = torch.randint(0, 6, (rays,), generator=rng)
    kept[rays // 2] = 0
    kept[-1] = 3
    marched = kept + torch.randint(0, 3, (rays,), generator=rng)
    start, marched_start = kept.cumsum(0) - kept, marched.cumsum(0) - marched
    geometry = single(torch.randn(4, int(kept.sum()), generator=rng)).requires_grad_()
    t, dt = (single(torch.rand(int(marched.sum()), generator=rng) + 0.1) for _ in range(2))
    distance, confidence = (single(torch.rand(rays, generator=rng) + 0.2) for _ in range(2))
    loss = 0.0
    for ray in range(rays):
        here = slice(int(marched_start[ray]), int(marched_start[ray] + kept[ray]))
        tau = geometry[0, int(start[ray]) : int(start[ray] + kept[ray])].exp() * dt[here]
        through = torch.cat([torch.ones(1, dtype=torch.float64), (-tau.cumsum(0)).exp()])
        miss = ((t[here] - distance[ray]).abs() - 0.5 * dt[here]).clamp_min(0) / t[here].clamp_min(distance[ray])
        loss = loss + 0.7 / rays * confidence[ray] * (((through[:-1] - through[1:]) * miss).sum() + through[-1])
    (expected,) = torch.autograd.grad(loss, [geometry])
    gradient, errors = backend.empty(*geometry.shape), torch.zeros(2, dtype=backend.dtype, device=backend.device)
    kernels.differentiate_distances(
        backend.tensor(geometry.detach()), backend.tensor(t), backend.tensor(dt),
        *(backend.tensor(value, torch.int32) for value in (marched_start, start, kept)), backend.tensor(distance),
        backend.tensor(confidence), 0.7, backend.empty(geometry.shape[1]), gradient, errors,
        backend.tensor([rays], torch.int32))
    backend.assert_close(errors[:1], loss.detach()[None], "loss")
    backend.assert_close(gradient, expected, "geometry")


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_codes_are_rows_and_their_gradient_is_the_sum_over_the_samples(backend, rng, count):
    size, first = 3, 5
    samples = torch.randint(0, 9, (max(count // 4, 1),), generator=rng)
    samples[-1] = max(count - int(samples[:-1].sum()), 0)
    ray_of = torch.arange(len(samples)).repeat_interleave(samples)[:count]
    counts = torch.bincount(ray_of, minlength=len(samples))
    image = torch.randint(0, IMAGES, (len(samples),), generator=rng)
    image_code, codes = torch.tensor([2, 0, 2, 1]), single(torch.randn(3, size, generator=rng))
    rows, cotangent = backend.empty(first + size, count), single(torch.randn(first + size, count, generator=rng))
    integers = {name: backend.tensor(value, torch.int32) for name, value in (
        ("image_code", image_code), ("image", image), ("ray_of", ray_of), ("start", counts.cumsum(0) - counts),
        ("counts", counts), ("samples", [count]), ("rays", [len(samples)]))}
    flat, gradient = backend.tensor(codes.reshape(-1)), backend.tensor(torch.ones(3 * size))
    kernels.code_rows(flat, integers["image_code"], integers["image"], integers["ray_of"], first, rows,
                      integers["samples"])
    of_sample = image_code[image[ray_of]]
    backend.assert_close(rows[first:], codes[of_sample].t(), "rows")
    if backend.name != "vulkan-f32":  # where a tensor that is only written comes back whole from the device
        assert torch.isnan(rows[:first]).all()  # the rows of others
    kernels.gather_code_gradient(backend.tensor(cotangent), integers["image_code"], integers["image"],
                                 integers["start"], integers["counts"], first, gradient, integers["rays"])
    expected = torch.ones(3, size).double().index_add(0, of_sample, cotangent[first:].t())
    backend.assert_close(gradient.view(3, size), expected, "gradient")


@pytest.mark.parametrize(("rays", "per_pixel", "share", "known"), [
    (1000, 1, 0.25, 250), (10, 1, 0.25, 2), (6, 1, 0.25, 2), (2, 1, 0.25, 1), (64, 4, 0.5, 8), (2000, 1, 1.0, 300)])
def test_as_many_known_rays_as_are_a_share_of_the_pixels(backend, rays, per_pixel, share, known):
    """Rounded as Python does, at least one, and no more than there is room for."""
    count = backend.tensor([0], torch.int32)
    kernels.known_rays_of_step(backend.tensor([rays], torch.int32), per_pixel, share, 300, count)
    assert count.tolist() == [known]


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_harmonics_are_summed_and_their_gradient_is_the_sums(backend, rng, count):
    """Of the samples in use; what there is room for besides stays as it is."""
    bands, room, rays = 3, count + 7, 5
    coefficients = single(torch.randn(3 * bands**2, room, generator=rng)).requires_grad_()
    directions = single(torch.nn.functional.normalize(torch.randn(rays, 3, generator=rng).double(), dim=1))
    ray_of = torch.randint(0, rays, (room,), generator=rng)
    basis = spherical_harmonics(directions, bands)[ray_of]
    raw = torch.einsum("cjn,nj->cn", coefficients.view(3, bands**2, room), basis)
    cotangent = single(torch.randn(3, room, generator=rng))
    (expected,) = torch.autograd.grad(raw, coefficients, cotangent)
    given = (backend.tensor(directions), backend.tensor(ray_of, torch.int32))
    used, found = backend.tensor([count], torch.int32), backend.empty(3, room)
    gradient = backend.empty(*coefficients.shape)
    kernels.sum_harmonics(backend.tensor(coefficients.detach()), *given, found, used, bands)
    kernels.harmonics_gradient(backend.tensor(cotangent), *given, gradient, used, bands)
    backend.assert_close(found[:, :count], raw[:, :count], "raw")
    backend.assert_close(gradient[:, :count], expected[:, :count], "coefficients")
    if backend.name != "vulkan-f32":
        assert torch.isnan(found[:, count:]).all() and torch.isnan(gradient[:, count:]).all()


@pytest.mark.parametrize("samples", [0, 1000])
@pytest.mark.parametrize("count", [1, 63, 2000])
def test_the_loss_of_empty_space_and_its_gradient_unless_the_step_has_no_samples(backend, rng, count, samples):
    geometry = single(3 * torch.randn(4, count + 7, generator=rng)).requires_grad_()
    loss = 0.7 * (1 - torch.exp(-0.2 * geometry[0, :count].exp())).mean()
    (expected,) = torch.autograd.grad(loss, geometry)
    gradient, errors = backend.empty(*geometry.shape), torch.zeros(2, dtype=backend.dtype, device=backend.device)
    kernels.differentiate_sparsity(
        backend.tensor(geometry.detach()), 0.2, 0.7, backend.tensor([samples], torch.int32), gradient, errors,
        backend.tensor([count], torch.int32))
    backend.assert_close(errors[:1], loss.detach()[None], "loss")
    backend.assert_close(gradient[:, :count], expected[:, :count] * (samples > 0), "geometry", scale=1e-2)


def test_points_are_those_of_the_seed_as_many_as_are_asked_for(backend):
    unit = backend.empty(100, 3)
    kernels.draw_points(7, unit, backend.tensor([63], torch.int32))
    backend.assert_close(unit[:63], uniform(7, torch.arange(3 * 63)).view(63, 3), "points")


@pytest.mark.parametrize("half", [1.0, 0.2])
def test_the_loss_of_what_is_right_before_the_cameras_and_its_gradient(backend, rng, half):
    """It is added to what is there already; samples that were marched but are not visible count for nothing."""
    kept, marched, reach, weight = [5, 0, 9, 3], [7, 2, 9, 6], 0.5, 0.7
    starts, marched_starts = (torch.tensor([0, *n]).cumsum(0)[:-1] for n in (kept, marched))
    room, rays = sum(kept), len(kept)
    geometry = single(torch.randn(4, room, generator=rng)).requires_grad_()
    dt = single(torch.rand(room, generator=rng))
    t = torch.cat([single(2 * torch.rand(n, generator=rng)).sort().values for n in marched])  # in order on each ray
    origins, directions = torch.tensor([[0.0, 0, -1.5]] * rays), torch.tensor([[0.0, 0, 1.0]] * rays)
    origins[2] = 0.0  # within the box
    nearest = 0.3
    end = [reach + (nearest if ray == 2 else 1.5 - half) for ray in range(rays)]
    passed = [torch.zeros(()).double() for _ in range(rays)]
    for ray in range(rays):
        for k in range(kept[ray]):
            if t[marched_starts[ray] + k] < end[ray]:
                i = starts[ray] + k
                passed[ray] = passed[ray] + geometry[0, i].double().exp() * dt[i]
    loss = weight * (1 - torch.exp(-torch.stack(passed))).mean()
    (expected,) = torch.autograd.grad(loss, geometry)
    gradient, errors = backend.tensor(torch.ones(room)), torch.zeros(2, dtype=backend.dtype, device=backend.device)
    integers = (backend.tensor(values, torch.int32) for values in (marched_starts, starts, torch.tensor(kept)))
    kernels.differentiate_near_camera(
        backend.tensor(geometry.detach()), backend.tensor(t), backend.tensor(dt), *integers, backend.tensor(origins),
        backend.tensor(directions), half, nearest, reach, weight, gradient, errors, backend.tensor([rays], torch.int32))
    assert 0 < loss < weight
    backend.assert_close(errors[:1], loss.detach()[None], "loss")
    backend.assert_close(gradient, 1 + expected[0], "log densities")
