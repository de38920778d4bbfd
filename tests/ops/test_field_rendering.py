"""A field rendered in one launch against the float64 reference, and its arguments."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch

from taichi_nerf.ops.field_rendering import FieldSettings, prepare_field, render_field
from taichi_nerf.ops.hash_grid import hash_grid_layout
from taichi_nerf.reference import field_rendering as reference

from ..kernels.test_ray_marching import make_bits, make_occupancy, make_rays

GRID = {"levels": 3, "log2_entries": 8, "base_resolution": 4, "max_resolution": 12}  # both dense and hashed levels
SIZE = 16
NAMES = ("colour", "opacity", "depth")


def make_settings(cascades=1, **changes):
    values = {"features": 2, "density_sizes": (6, 8, 4), "colour_sizes": (8, 8, 3), "degree": 2,
              "side": 2.0 ** (cascades - 1), "resolution": SIZE, "cascades": cascades, "step": 0.03}
    return FieldSettings(**{**values, **changes})


def make_network(sizes, rng, scale=1.5):
    return [scale * torch.randn(b, a, generator=rng, dtype=torch.float64) / math.sqrt(a)
            for a, b in pairwise(sizes)]


def make_field(backend, rng, settings, occupied, peak=3.0):
    """The field, and its tensors as the backend has them, in float64; `peak` makes it more or less opaque."""
    layout = hash_grid_layout(features=settings.features, **GRID)
    table = torch.randn(layout.entries, layout.features, generator=rng, dtype=torch.float64)
    networks = [make_network(settings.density_sizes, rng), make_network(settings.colour_sizes, rng)]
    networks[0][-1][0] *= peak
    own = [backend.tensor(table), *([backend.tensor(w) for w in weights] for weights in networks)]
    field = prepare_field(settings, layout, backend.tensor(make_bits(occupied), torch.int32), *own)
    return field, [own[0].double().cpu(), *([w.double().cpu() for w in weights] for weights in own[1:])]


def expected_pixels(settings, occupied, tensors, origins, directions, spread=None):
    march = {"step_min": settings.step, "cone_angle": settings.cone, "near": settings.near, "far": settings.far,
             "max_samples": settings.max_samples}
    return reference.render_field(origins.cpu(), directions.cpu(), occupied, *tensors, side=settings.side,
                                  degree=settings.degree, grid=GRID, march=march, early_stop=settings.early_stop,
                                  spread=spread, harmonic=settings.harmonic)


def assert_same_pixels(backend, actual, expected):
    """Equal pixel for pixel in f64. In f32 few rays may differ by a sample, at a face or at the early stop."""
    differing = actual[3].cpu() != expected[3]
    assert differing.sum() <= (0 if backend.dtype == torch.float64 else 0.03 * len(differing))
    for name, values, exact in zip(NAMES, actual, expected):
        backend.assert_close(values.cpu()[~differing], exact[~differing], name)


CASES = {
    "one cascade": (1, {}),
    "cascades, growing steps": (3, {"cone": 1 / 40}),
    "near, far, few samples": (2, {"near": 0.3, "far": 1.6, "max_samples": 7}),
    "no early stop": (1, {"early_stop": 0.0}),
    "one feature, a deep and a linear network": (
        1, {"features": 1, "density_sizes": (3, 8, 4, 8, 4), "colour_sizes": (5, 3), "degree": 1}),
    "harmonics": (1, {"colour_sizes": (4, 8, 27), "degree": 3, "harmonic": True}),
    "harmonics, an input that is 1": (1, {"colour_sizes": (5, 8, 12), "degree": 2, "harmonic": True}),
}


@pytest.mark.parametrize("cascades, options", CASES.values(), ids=CASES.keys())
def test_pixels_equal_the_reference(backend, rng, cascades, options):
    settings, occupied = make_settings(cascades, **options), make_occupancy("cubes", cascades, rng, SIZE)
    field, tensors = make_field(backend, rng, settings, occupied)
    origins, directions = make_rays(backend, 200, cascades, rng)
    actual = render_field(field, backend.tensor(origins), backend.tensor(directions))
    expected = expected_pixels(settings, occupied, tensors, origins, directions)
    assert_same_pixels(backend, actual, expected)
    assert (expected[3] == 0).any() and (expected[3] > 2).any()


def test_pixels_of_wide_rays_equal_the_reference(backend, rng):
    settings, occupied = make_settings(2, cone=1 / 40), make_occupancy("cubes", 2, rng, SIZE)
    field, tensors = make_field(backend, rng, settings, occupied)
    origins, directions = make_rays(backend, 2000, 2, rng)
    spread = 0.2 * torch.rand(2000, generator=rng, dtype=torch.float64).to(backend.dtype).double()
    rays = [backend.tensor(x) for x in (origins, directions)]
    actual = render_field(field, *rays, backend.tensor(spread))
    assert_same_pixels(backend, actual, expected_pixels(settings, occupied, tensors, origins, directions, spread))
    for wide, point in zip(render_field(field, *rays, torch.zeros_like(rays[0][:, 0])), render_field(field, *rays)):
        assert torch.equal(wide, point)


@pytest.mark.parametrize("rays", [0, 1, 63, 2000])
def test_any_number_of_rays_is_rendered(backend, rng, rays):
    settings, occupied = make_settings(), make_occupancy("cubes", 1, rng, SIZE)
    field, tensors = make_field(backend, rng, settings, occupied)
    origins, directions = (x[:rays] for x in make_rays(backend, max(rays, 20), 1, rng))
    actual = render_field(field, backend.tensor(origins), backend.tensor(directions))
    assert [tuple(x.shape) for x in actual] == [(rays, 3), (rays,), (rays,), (rays,)]
    if rays:
        assert_same_pixels(backend, actual, expected_pixels(settings, occupied, tensors, origins, directions))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_ray_that_is_not_finite_shows_the_background_and_leaves_the_others_alone(backend, rng, value):
    settings, occupied = make_settings(), make_occupancy("cubes", 1, rng, SIZE)
    field, _ = make_field(backend, rng, settings, occupied)
    rays = [backend.tensor(x) for x in make_rays(backend, 30, 1, rng)]
    expected = [x.clone() for x in render_field(field, *rays)]
    for n in range(6):
        rays[n // 3][n, n % 3] = value
        for pixels in expected:
            pixels[n] = 0
    for name, a, b in zip((*NAMES, "samples"), render_field(field, *rays), expected):
        backend.assert_close(a, b, name)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    settings, occupied = make_settings(), make_occupancy("cubes", 1, rng, SIZE)
    field, _ = make_field(backend, rng, settings, occupied)
    o, d = (backend.tensor(x) for x in make_rays(backend, 30, 1, rng))
    with pytest.raises(ValueError, match=r"directions must have shape \(30, 3\)"):
        render_field(field, o, d[:7])
    with pytest.raises(TypeError, match="origins must be float32 or float64"):
        render_field(field, o.half(), d)
    layout = hash_grid_layout(features=2, **GRID)
    bits, table = backend.tensor(make_bits(occupied), torch.int32), backend.tensor(torch.zeros(layout.entries, 2))
    networks = [[backend.tensor(w) for w in make_network(sizes, rng)]
                for sizes in (settings.density_sizes, settings.colour_sizes)]
    with pytest.raises(ValueError, match="density_weights must have 2 layers, got 1"):
        prepare_field(settings, layout, bits, table, networks[0][:1], networks[1])
    with pytest.raises(ValueError, match=r"colour_weights\[0\] must have shape \(8, 8\)"):
        prepare_field(settings, layout, bits, table, networks[0], networks[1][::-1])
    with pytest.raises(TypeError, match=r"bits must be torch\.int32"):
        prepare_field(settings, layout, bits.long(), table, *networks)
    with pytest.raises(ValueError, match="colour network must go from"):
        dataclasses.replace(settings, degree=3)
    for sizes in ((8, 8, 12), (4, 8, 3), (6, 8, 12)):
        with pytest.raises(ValueError, match=r"from 4 inputs, or one more, to 3 times 2\^2 outputs"):
            dataclasses.replace(settings, colour_sizes=sizes, harmonic=True)
    with pytest.raises(ValueError, match="hash grid must have 2 features an entry and 6 of all levels, got 2 and 8"):
        finer = hash_grid_layout(features=2, **{**GRID, "levels": 4})
        prepare_field(settings, finer, bits, backend.tensor(torch.zeros(finer.entries, 2)), *networks)
    for wrong in ({"step": math.nan}, {"near": math.nan}, {"resolution": 0}, {"max_samples": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            dataclasses.replace(settings, **wrong)
