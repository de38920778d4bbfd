"""Laws of the mixture kernels, each on every backend."""

import pytest
import torch

from taichi_nerf_kernels import mixture_rendering as kernels
from taichi_nerf_kernels import volume_rendering

from ..ops import test_mixture_rendering

LASTS = {"bounded": volume_rendering.BOUNDED, "infinite": volume_rendering.INFINITE, "opaque": volume_rendering.OPAQUE}


def make_fields(*given):
    return [x.detach() for x in test_mixture_rendering.make_fields(*given)]


def forward(backend, fields, last="bounded"):
    """Colour, opacity, uncertainty, transmittances; in poisoned outputs."""
    rays, intervals = fields[0].shape
    out = backend.empty(rays, 3), backend.empty(rays), backend.empty(rays), backend.empty(rays, intervals)
    kernels.composite_mixture_forward(*fields, *out, LASTS[last])
    return out


def backward(backend, fields, cotangents, last="bounded"):
    _, opacity, _, through = forward(backend, fields, last)
    gradients = [torch.full_like(x, float("nan")) for x in fields]
    kernels.composite_mixture_backward(*fields, opacity, through, *cotangents, *gradients, LASTS[last])
    return gradients


def make_cotangents(backend, rays, rng):
    return [backend.tensor(torch.randn(*shape, generator=rng, dtype=torch.float64)) for shape in [(rays, 3), (rays,),
                                                                                               (rays,)]]


@pytest.mark.parametrize("last", LASTS)
def test_without_a_transient_field_it_is_volume_rendering(backend, rng, last):
    density, colour, transient, *rest, posts = make_fields(backend, 9, 20, rng)
    shown, opacity, uncertainty, _ = forward(backend, (density, colour, 0 * transient, *rest, posts), last)
    expected = backend.empty(9, 3), backend.empty(9), backend.empty(9), backend.empty(9, 20)
    volume_rendering.composite_dense_forward(density, colour, posts, *expected, LASTS[last])
    backend.assert_close(shown, expected[0], "colour")
    backend.assert_close(opacity, expected[1], "opacity")
    assert (uncertainty == 0).all()


def test_two_fields_alike_show_more_of_each_than_one_of_twice_the_density(backend, rng):
    """In an interval neither is hidden by the other: 2 (1 - e^-a) of the light in front, and not 1 - e^-2a."""
    density, colour, *_, posts = make_fields(backend, 4, 1, rng)
    beta = torch.ones_like(density)
    shown, opacity, uncertainty, _ = forward(backend, (density, colour, density, colour, beta, posts))
    one = 1 - (-density * posts.diff(dim=1)).exp()
    backend.assert_close(shown, 2 * one * colour[:, 0], "colour")
    backend.assert_close(opacity, (1 - (1 - one) ** 2)[:, 0], "opacity")
    backend.assert_close(uncertainty, one[:, 0], "uncertainty")


def test_an_infinite_end_is_filled_by_the_static_field_alone(backend, rng):
    fields = make_fields(backend, 9, 5, rng)
    fields[0][:, :], fields[2][:, :] = 0, 0
    fields[2][:, -1] = 1.0
    _, opacity, _, _ = forward(backend, fields, "infinite")
    backend.assert_close(opacity, 1 - (-fields[5].diff(dim=1)[:, -1]).exp(), "opacity")


def test_what_lies_behind_an_opaque_transient_has_no_gradient(backend, rng):
    fields = make_fields(backend, 6, 8, rng)
    fields[2][:, 2] = 1e6
    gradients = backward(backend, fields, make_cotangents(backend, 6, rng))
    for gradient in gradients[:5]:
        assert (gradient[:, 3:] == 0).all() and torch.isfinite(gradient).all()
    assert (gradients[1][:, :2] != 0).all()


def test_moving_all_fenceposts_changes_nothing(backend, rng):
    *_, at_posts = backward(backend, make_fields(backend, 9, 20, rng), make_cotangents(backend, 9, rng))
    backend.assert_close(at_posts.double().sum(1), torch.zeros(9), "sum of gradients", 1.0)


def test_permuting_the_rays_permutes_all(backend, rng):
    fields, cotangents = make_fields(backend, 9, 20, rng), make_cotangents(backend, 9, rng)
    order = torch.randperm(9, generator=rng).to(backend.device)
    shuffled, turned = ([x[order].contiguous() for x in values] for values in (fields, cotangents))
    for a, b in zip(forward(backend, fields), forward(backend, shuffled)):
        assert torch.equal(a[order], b)
    for a, b in zip(backward(backend, fields, cotangents), backward(backend, shuffled, turned)):
        assert torch.equal(a[order], b)


@pytest.mark.parametrize("last", LASTS)
def test_extreme_densities_stay_finite(backend, rng, last):
    fields = make_fields(backend, 3, 12, rng)
    fields[0][:] = backend.tensor([0.0, 1e30, 1e-30] * 4)
    fields[2][:] = backend.tensor([1e30, 0.0, 1e-30] * 4)
    fields[0][1], fields[2][1], fields[0][2] = 0, 0, 3e38
    for value in (*forward(backend, fields, last), *backward(backend, fields, make_cotangents(backend, 3, rng), last)):
        assert torch.isfinite(value).all()
