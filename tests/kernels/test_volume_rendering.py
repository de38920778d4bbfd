"""Laws of the volume rendering kernels, each on every backend."""

from types import SimpleNamespace

import pytest
import torch

from taichi_nerf.reference import volume_rendering as reference
from taichi_nerf_kernels import volume_rendering as kernels

COUNTS = [3, 0, 1, 17, 40, 0, 5]
INPUTS = ("density", "colour", "t", "dt")


def make_rays(backend, counts, rng, max_optical_depth=1.0):
    """Packed samples with t ascending in each ray."""
    count = torch.tensor(counts, dtype=torch.int32)
    samples = int(count.sum())
    dt = torch.rand(samples, generator=rng, dtype=torch.float64) * 0.1 + 0.01
    density = torch.rand(samples, generator=rng, dtype=torch.float64) * max_optical_depth / dt
    t = torch.cat([dt[s:s + n].cumsum(0) for s, n in zip((count.cumsum(0) - count).tolist(), counts)])
    colour = torch.rand(samples, 3, generator=rng, dtype=torch.float64)
    values = {"density": density, "colour": colour, "t": t, "dt": dt}
    rays = {"ray_start": (count.cumsum(0) - count).int(), "ray_count": count}
    return SimpleNamespace(**{k: backend.tensor(v) for k, v in values.items()},
                           **{k: backend.tensor(v, torch.int32) for k, v in rays.items()})


def forward(backend, s, early_stop=0.0):
    rays = len(s.ray_start)
    out = SimpleNamespace(
        ray_colour=backend.empty(rays, 3), opacity=backend.empty(rays), depth=backend.empty(rays),
        weights=backend.empty(len(s.density)), kept_count=torch.full_like(s.ray_count, -7),
    )
    samples = s.density, s.colour, s.t, s.dt, s.ray_start, s.ray_count
    kernels.composite_forward(*samples, early_stop, *vars(out).values())
    return out


def backward(backend, s, out, cotangents):
    given = s.ray_start, s.ray_count, out.opacity, out.weights, out.kept_count, *cotangents
    gradient = SimpleNamespace(
        density=backend.empty(len(s.density)), colour=backend.empty(len(s.density), 3),
        t=backend.empty(len(s.density)), dt=backend.empty(len(s.density)),
    )
    kernels.composite_backward(s.colour, s.t, s.dt, *given, gradient.density, gradient.colour)
    kernels.composite_backward_intervals(s.density, s.colour, s.t, *given, gradient.t, gradient.dt)
    return gradient


def make_cotangents(backend, s, rng):
    rays, samples = len(s.ray_start), len(s.density)
    shapes = (rays, 3), (rays,), (rays,), (samples,)
    return [backend.tensor(torch.randn(shape, generator=rng)) for shape in shapes]


def exact(s, *names):
    return [getattr(s, name).double() for name in names]


@pytest.mark.parametrize("early_stop", [0.0, 1e-4, 0.3])
def test_outputs_equal_the_reference(backend, rng, early_stop):
    s = make_rays(backend, COUNTS, rng)
    out = forward(backend, s, early_stop)
    expected = reference.composite(*exact(s, *INPUTS), s.ray_start, s.ray_count, early_stop)
    for name, value in zip(("ray_colour", "opacity", "depth", "weights"), expected):
        backend.assert_close(getattr(out, name), value, name)


@pytest.mark.parametrize("early_stop", [0.0, 1e-4, 0.3])
def test_gradients_equal_the_reference(backend, rng, early_stop):
    s = make_rays(backend, COUNTS, rng)
    cotangents = make_cotangents(backend, s, rng)
    gradient = backward(backend, s, forward(backend, s, early_stop), cotangents)
    inputs = [value.requires_grad_() for value in exact(s, *INPUTS)]
    outputs = reference.composite(*inputs, s.ray_start, s.ray_count, early_stop)
    expected = torch.autograd.grad(outputs, inputs, [c.double() for c in cotangents])
    for name, value in zip(INPUTS, expected):
        backend.assert_close(getattr(gradient, name), value, name)


def test_weights_are_not_negative_and_sum_to_at_most_one(backend, rng):
    s = make_rays(backend, COUNTS, rng, max_optical_depth=4.0)
    out = forward(backend, s)
    assert (out.weights >= 0).all()
    for ray, (start, count) in enumerate(zip(s.ray_start.tolist(), s.ray_count.tolist())):
        total = out.weights[start:start + count].double().sum()
        assert total <= 1 + 1e-6
        assert abs(total - out.opacity[ray].double()) < 1e-6


def test_opaque_first_sample_hides_the_rest(backend, rng):
    s = make_rays(backend, [6], rng)
    s.density[0] = 1e6
    out = forward(backend, s)
    backend.assert_close(out.ray_colour[0], s.colour[0], "colour")
    backend.assert_close(out.depth, s.t[:1], "depth")
    assert out.weights[1:].abs().max() == 0
    gradient = backward(backend, s, out, make_cotangents(backend, s, rng))
    assert gradient.density.abs().max() == 0
    assert gradient.colour[1:].abs().max() == 0


def test_splitting_an_interval_changes_nothing(backend, rng):
    whole = make_rays(backend, [8], rng)
    halves = {name: getattr(whole, name).repeat_interleave(2, 0) for name in INPUTS}
    twice = SimpleNamespace(**halves, ray_start=whole.ray_start, ray_count=whole.ray_count * 2)
    twice.dt = twice.dt / 2
    a, b = forward(backend, whole), forward(backend, twice)
    for name in ("ray_colour", "opacity", "depth"):
        backend.assert_close(getattr(b, name), getattr(a, name), name)
    backend.assert_close(b.weights.reshape(-1, 2).sum(1), a.weights, "weights")


def test_permuting_the_rays_permutes_outputs_and_gradients(backend, rng):
    s = make_rays(backend, COUNTS, rng)
    order = torch.randperm(len(COUNTS), generator=rng).to(backend.device)
    rays = {"ray_start": s.ray_start[order], "ray_count": s.ray_count[order]}
    shuffled = SimpleNamespace(**{**vars(s), **rays})
    cotangents = make_cotangents(backend, s, rng)
    a, b = forward(backend, s, 1e-2), forward(backend, shuffled, 1e-2)
    for name in ("ray_colour", "opacity", "depth", "kept_count"):
        assert torch.equal(getattr(b, name), getattr(a, name)[order]), name
    assert torch.equal(a.weights, b.weights)
    before = backward(backend, s, a, cotangents)
    after = backward(backend, shuffled, b, [c[order] for c in cotangents[:3]] + cotangents[3:])
    for name in INPUTS:
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def test_samples_behind_the_stop_have_weight_and_gradient_zero(backend, rng):
    s = make_rays(backend, [10], rng)
    s.density[:] = 1.0
    s.dt[:] = 0.5
    out = forward(backend, s, 0.2)  # exp(-0.5 * 4) is the first below 0.2
    assert out.kept_count.tolist() == [4]
    assert (out.weights[:4] > 0).all() and out.weights[4:].abs().max() == 0
    gradient = backward(backend, s, out, make_cotangents(backend, s, rng))
    for name, value in vars(gradient).items():
        assert value[:4].abs().min() > 0, name
        assert value[4:].abs().max() == 0, name


def test_empty_space_has_a_density_gradient(backend, rng):
    s = make_rays(backend, [5], rng)
    s.density[:] = 0
    out = forward(backend, s, 1e-4)
    assert out.weights.abs().max() == 0 and out.opacity.item() == 0
    cotangents = [torch.zeros_like(c) for c in make_cotangents(backend, s, rng)]
    cotangents[1][:] = 1  # dL/d opacity; the opacity is 1 - exp(-sum of density dt)
    backend.assert_close(backward(backend, s, out, cotangents).density, s.dt, "density")


@pytest.mark.parametrize("early_stop", [0.0, 1e-4])
def test_extreme_densities_stay_finite(backend, rng, early_stop):
    s = make_rays(backend, [12, 12, 12], rng)
    s.density[:] = backend.tensor([0.0, 1e30, 1e-30] * 12)
    out = forward(backend, s, early_stop)
    gradient = backward(backend, s, out, make_cotangents(backend, s, rng))
    for name, value in [*vars(out).items(), *vars(gradient).items()]:
        assert torch.isfinite(value).all(), name
    backend.assert_close(out.opacity, torch.ones(3), "opacity")


@pytest.mark.parametrize("early_stop", [0.0, 1e-4, 0.3])
def test_visible_samples_are_those_with_weight(backend, rng, early_stop):
    s = make_rays(backend, COUNTS, rng)
    kept, passed = torch.full_like(s.ray_count, -7), torch.zeros_like(s.t[: len(s.ray_count)])
    kernels.count_visible(s.density, s.dt, s.ray_start, s.ray_count, early_stop, passed, kept)
    assert torch.equal(kept, forward(backend, s, early_stop).kept_count)
    expected = reference.visible_samples(*exact(s, "density", "dt"), s.ray_start, s.ray_count, early_stop)
    assert torch.equal(kept, expected)
    assert early_stop < 0.1 or kept.sum() < s.ray_count.sum()
    assert early_stop > 0 or torch.equal(kept, s.ray_count)


@pytest.mark.parametrize("early_stop", [0.0, 1e-4, 0.3])
def test_visible_samples_can_be_counted_piece_by_piece(backend, rng, early_stop):
    s = make_rays(backend, COUNTS, rng)
    whole, passed = torch.full_like(s.ray_count, -7), torch.zeros_like(s.t[: len(s.ray_count)])
    kernels.count_visible(s.density, s.dt, s.ray_start, s.ray_count, early_stop, passed, whole)
    depth, seen, visible = torch.zeros_like(passed), torch.zeros_like(whole), torch.zeros_like(whole)
    for length in (1, 2, 5, 40):
        taken = torch.where(visible == seen, (s.ray_count - seen).clamp(max=length), 0).int()
        behind, fresh = depth.clone(), torch.full_like(whole, -7)
        kernels.count_visible(s.density, s.dt, (s.ray_start + seen).int(), taken, early_stop, depth, fresh)
        expected = reference.visible_samples(*exact(s, "density", "dt"), s.ray_start + seen, taken, early_stop,
                                             behind.double())
        assert torch.equal(fresh, expected)
        seen, visible = seen + taken, visible + fresh
    assert torch.equal(visible, whole) and torch.equal(depth, passed)  # to the bit
    depths = torch.zeros(len(COUNTS), dtype=torch.float64, device=passed.device)
    of_all = exact(s, "density", "dt")
    reference.visible_samples(*of_all, s.ray_start, s.ray_count, early_stop, depths)
    backend.assert_close(passed, depths, "optical depth")


def test_kept_samples_are_listed_ray_after_ray(backend):
    ray_start, kept = backend.tensor([4, 0, 9], torch.int32), backend.tensor([2, 0, 3], torch.int32)
    new_start, index = backend.tensor([0, 2, 2], torch.int32), torch.full((5,), -7, dtype=torch.int32)
    index = index.to(backend.device)
    kernels.list_kept(ray_start, kept, new_start, index)
    assert index.tolist() == [4, 5, 9, 10, 11]


# Dense intervals

LASTS = {"bounded": kernels.BOUNDED, "infinite": kernels.INFINITE, "opaque": kernels.OPAQUE}


def make_intervals(backend, rays, intervals, rng, max_density=20.0):
    length = torch.rand(rays, intervals + 1, generator=rng, dtype=torch.float64) * 0.1 + 0.01
    density = torch.rand(rays, intervals, generator=rng, dtype=torch.float64) * max_density
    colour = torch.rand(rays, intervals, 3, generator=rng, dtype=torch.float64)
    return [backend.tensor(x) for x in (density, colour, length.cumsum(1))]


def dense_forward(backend, density, colour, fenceposts, last="bounded"):
    rays, intervals = density.shape
    out = [backend.empty(rays, 3), backend.empty(rays), backend.empty(rays), backend.empty(rays, intervals)]
    kernels.composite_dense_forward(density, colour, fenceposts, *out, LASTS[last])
    return out


def dense_backward(backend, given, out, cotangents, last="bounded"):
    gradients = [torch.full_like(x, float("nan")) for x in given]
    kernels.composite_dense_backward(*given, out[1], out[3], *cotangents, *gradients, LASTS[last])
    return gradients


def test_dense_intervals_are_packed_samples_at_their_middles(backend, rng):
    density, colour, fenceposts = given = make_intervals(backend, 9, 20, rng)
    packed = SimpleNamespace(
        density=density.reshape(-1), colour=colour.reshape(-1, 3), dt=fenceposts.diff(dim=1).reshape(-1),
        t=((fenceposts[:, 1:] + fenceposts[:, :-1]) / 2).reshape(-1),
        ray_start=backend.tensor(range(0, 180, 20), torch.int32), ray_count=backend.tensor([20] * 9, torch.int32),
    )
    expected = list(vars(forward(backend, packed)).values())[:4]
    for name, a, b in zip(("colour", "opacity", "depth", "weights"), dense_forward(backend, *given), expected):
        backend.assert_close(a.reshape(b.shape), b, name)


def test_an_opaque_end_gives_opacity_one_and_leaves_the_other_weights(backend, rng):
    given = make_intervals(backend, 9, 20, rng, max_density=1.0)
    bounded, opaque = (dense_forward(backend, *given, last) for last in ("bounded", "opaque"))
    assert torch.equal(opaque[1], torch.ones_like(opaque[1])) and (bounded[1] < 0.9).all()
    backend.assert_close(opaque[3][:, :-1], bounded[3][:, :-1], "weights in front of the end")
    backend.assert_close(opaque[3].sum(1), torch.ones(9), "sum of weights")


def test_an_infinite_end_is_opaque_if_it_has_density(backend, rng):
    given = make_intervals(backend, 2, 5, rng, max_density=1.0)
    given[0][:, -1] = backend.tensor([0.0, 1e-3])
    _, opacity, _, weights = dense_forward(backend, *given, "infinite")
    assert weights[0, -1] == 0 and opacity[0] < 1 and opacity[1] == 1


@pytest.mark.parametrize("last", LASTS)
def test_dense_extreme_densities_stay_finite(backend, rng, last):
    given = make_intervals(backend, 3, 12, rng)
    given[0][:] = backend.tensor([0.0, 1e30, 1e-30] * 4)
    given[0][1] = 0
    given[0][2] = 3e38
    out = dense_forward(backend, *given, last)
    cotangents = [backend.tensor(torch.randn(x.shape, generator=rng)) for x in out]
    gradients = dense_backward(backend, given, out, cotangents, last)
    for value in (*out, *gradients):
        assert torch.isfinite(value).all()
    assert out[1][1] == (1 if last == "opaque" else 0)


@pytest.mark.parametrize("last", LASTS)
def test_weights_alone_are_those_of_the_compositor_with_their_gradients(backend, rng, last):
    given = make_intervals(backend, 9, 20, rng)
    out = dense_forward(backend, *given, last)
    cotangents = [torch.zeros_like(x) for x in out[:3]]
    cotangents.append(backend.tensor(torch.randn(9, 20, generator=rng)))
    weights, gradients = backend.empty(9, 20), [torch.full_like(given[i], float("nan")) for i in (0, 2)]
    kernels.weights_dense_forward(given[0], given[2], weights, LASTS[last])
    kernels.weights_dense_backward(given[0], given[2], weights, cotangents[3], *gradients, LASTS[last])
    assert torch.equal(weights, out[3])
    expected = dense_backward(backend, given, out, cotangents, last)[::2]
    for name, a, b in zip(("density", "fenceposts"), gradients, expected):
        backend.assert_close(a, b, name)


def test_permuting_dense_rays_permutes_outputs_and_gradients(backend, rng):
    given = make_intervals(backend, 9, 7, rng)
    out = dense_forward(backend, *given)
    cotangents = [backend.tensor(torch.randn(x.shape, generator=rng)) for x in out]
    order = torch.randperm(9, generator=rng).to(backend.device)
    chosen = [x[order].contiguous() for x in given]
    after = dense_forward(backend, *chosen)
    for a, b in zip(out, after):
        assert torch.equal(a[order], b)
    gradients = dense_backward(backend, chosen, after, [c[order].contiguous() for c in cotangents])
    for a, b in zip(dense_backward(backend, given, out, cotangents), gradients):
        assert torch.equal(a[order], b)
