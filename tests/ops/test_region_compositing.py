"""Region compositing against the float64 reference and against all samples at once, and its arguments."""

import pytest
import torch

from taichi_nerf.ops.distortion import interval_distortion_loss
from taichi_nerf.ops.region_compositing import composite_regions, region_distortion
from taichi_nerf.ops.volume_rendering import composite_intervals
from taichi_nerf.reference import region_compositing as reference

SHAPES = [pytest.param(k, n, marks=[] if (k, n) in ((5, 63), (1, 0)) else pytest.mark.slow)
          for k in (1, 2, 5) for n in (0, 1, 63, 2000)]
DISTORTION = ("transmittance", "mass", "moment", "own")


def make_regions(backend, regions, rays, rng):
    """Transmittance, values of 4, mass, moment, distortion, order; every third region is opaque to the last bit."""
    def uniform(*shape):
        return torch.rand(shape, generator=rng, dtype=torch.float64)

    transmittance = uniform(regions, rays)
    transmittance[uniform(regions, rays) < 1 / 3] = 0
    order = uniform(regions, rays).argsort(dim=0)
    return [*(backend.tensor(x) for x in (transmittance, uniform(regions, rays, 4), uniform(regions, rays),
                                          uniform(regions, rays), uniform(regions, rays))),
            backend.tensor(order, dtype=torch.int32)]


def assert_same_with_gradients(backend, rng, operation, plain, names, given, order):
    given = [x.requires_grad_() for x in given]
    doubles = [x.detach().double().cpu().requires_grad_() for x in given]
    found, expected = operation(*given, order), plain(*doubles, order.cpu())
    found, expected = ([x] if isinstance(x, torch.Tensor) else list(x) for x in (found, expected))
    cotangents = [torch.randn(x.shape, generator=rng, dtype=torch.float64) for x in expected]
    torch.autograd.backward(found, [backend.tensor(x) for x in cotangents])
    torch.autograd.backward(expected, cotangents)
    for number, (actual, wanted) in enumerate(zip(found, expected)):
        backend.assert_close(actual, wanted, f"output {number}", 1.0)
    for name, actual, wanted in zip(names, given, doubles):  # of a single region some do not matter
        wanted = torch.zeros_like(wanted) if wanted.grad is None else wanted.grad
        backend.assert_close(actual.grad, wanted, f"gradient of {name}", 1.0)


@pytest.mark.parametrize("regions, rays", SHAPES)
def test_values_and_gradients_are_those_of_the_reference(backend, rng, regions, rays):
    transmittance, values, *sums, order = make_regions(backend, regions, rays, rng)
    assert_same_with_gradients(backend, rng, composite_regions, reference.composite_regions,
                               ("transmittance", "values"), [transmittance.clone(), values], order)
    assert_same_with_gradients(backend, rng, region_distortion, reference.region_distortion, DISTORTION,
                               [transmittance, *sums], order)


def test_regions_of_samples_are_all_samples_at_once(backend, rng):
    """Rays of 12 intervals, cut into three regions: colours, distances, opacities, distortion, and their gradients."""
    rays, parts = 9, (slice(0, 5), slice(5, 6), slice(6, 12))
    density = backend.tensor(20 * torch.rand(rays, 12, generator=rng, dtype=torch.float64)).requires_grad_()
    colour = backend.tensor(torch.rand(rays, 12, 3, generator=rng, dtype=torch.float64)).requires_grad_()
    posts = backend.tensor((torch.rand(rays, 13, generator=rng, dtype=torch.float64) * 0.1 + 0.01).cumsum(1))
    middles = (posts[:, 1:] + posts[:, :-1]) / 2
    pieces, sums = [], []
    for part in parts:
        fences = posts[:, part.start : part.stop + 1]
        shown, opacity, depth, weights = composite_intervals(density[:, part], colour[:, part], fences)
        pieces.append((1 - opacity, torch.cat([shown, depth[:, None]], dim=1)))
        sums.append((weights.sum(1), (weights * middles[:, part]).sum(1), interval_distortion_loss(weights, fences)))
    transmittance, values = (torch.stack(each) for each in zip(*pieces))
    order = torch.arange(3, dtype=torch.int32, device=density.device)[:, None].expand(3, rays)
    found, through = composite_regions(transmittance, values, order)
    spread = region_distortion(transmittance, *(torch.stack(each) for each in zip(*sums)), order)
    shown, opacity, depth, weights = composite_intervals(density, colour, posts)
    whole = torch.cat([shown, depth[:, None]], dim=1), 1 - opacity, interval_distortion_loss(weights, posts)
    cotangents = [backend.tensor(torch.randn(x.shape, generator=rng, dtype=torch.float64)) for x in whole]
    gradients = [torch.autograd.grad(outputs, [density, colour], cotangents, retain_graph=True)
                 for outputs in ((found, through, spread), whole)]
    for name, actual, wanted in zip(("values", "transmittance", "distortion"), (found, through, spread), whole):
        backend.assert_close(actual, wanted, name, 1.0)
    for name, actual, wanted in zip(("density", "colour"), *gradients):
        backend.assert_close(actual, wanted, f"gradient of {name}", 1.0)


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    transmittance, values, *sums, order = make_regions(backend, 3, 4, rng)
    inputs = [x.requires_grad_() for x in (transmittance, values, *sums)]
    assert torch.autograd.gradcheck(lambda t, v: composite_regions(t, v, order), inputs[:2])
    assert torch.autograd.gradcheck(lambda *x: region_distortion(*x, order), [inputs[0], *inputs[2:]])


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    transmittance, values, *sums, order = make_regions(backend, 3, 5, rng)
    with pytest.raises(ValueError, match=r"values must have shape \(3, 5, \*\)"):
        composite_regions(transmittance, values[:, :4], order)
    with pytest.raises(TypeError, match=r"order must be torch.int32"):
        composite_regions(transmittance, values, order.long())
    with pytest.raises(ValueError, match=r"moment must have shape \(3, 5\)"):
        region_distortion(transmittance, sums[0], sums[1][:2], sums[2], order)
    if backend.device.type == "cpu":
        with pytest.raises(IndexError, match=r"order must lie in \[0, 3\), got 1\.\.3"):
            composite_regions(transmittance, values, order + 1)
