"""Laws of the kernels that composite regions, each on every backend; outputs are poisoned."""

import torch

from taichi_nerf_kernels import region_compositing as kernels

from ..ops.test_region_compositing import make_regions


def composited(backend, transmittance, values, order):
    """Values, transmittance, what reaches each region."""
    regions, rays = transmittance.shape
    out = backend.empty(rays, values.shape[2]), backend.empty(rays), backend.empty(regions, rays)
    kernels.composite_regions_forward(transmittance, values, order, *out)
    return out


def gradients(backend, transmittance, values, order, cotangents):
    *_, reaching = composited(backend, transmittance, values, order)
    out = backend.empty(*transmittance.shape), backend.empty(*values.shape)
    kernels.composite_regions_backward(transmittance, values, order, reaching, *cotangents, *out)
    return out


def distortion(backend, transmittance, *sums, order):
    out = backend.empty(transmittance.shape[1]), backend.empty(*transmittance.shape)
    kernels.region_distortion_forward(transmittance, *sums, order, *out)
    return out


def distortion_gradients(backend, transmittance, *sums, order, cotangent):
    _, reaching = distortion(backend, transmittance, *sums, order=order)
    out = [backend.empty(*transmittance.shape) for _ in range(4)]
    kernels.region_distortion_backward(transmittance, *sums, order, reaching, cotangent, *out)
    return out


def cotangents_of(backend, rays, values, rng):
    return [backend.tensor(torch.randn(*shape, generator=rng, dtype=torch.float64)) for shape in ((rays, values),
                                                                                                (rays,))]


def test_one_region_is_itself(backend, rng):
    transmittance, values, mass, moment, own, order = make_regions(backend, 1, 9, rng)
    shown, through, _ = composited(backend, transmittance, values, order)
    assert torch.equal(shown, values[0]) and torch.equal(through, transmittance[0])
    assert torch.equal(distortion(backend, transmittance, mass, moment, own, order=order)[0], own[0])


def test_what_lies_behind_an_opaque_region_is_neither_seen_nor_has_a_gradient(backend, rng):
    """But what would be seen if it were not opaque moves its transmittance, which is 0 and divides nothing."""
    transmittance, values, *_, order = make_regions(backend, 4, 9, rng)
    order[:] = torch.arange(4, device=order.device)[:, None]
    transmittance[:] = 0.5
    transmittance[1] = 0
    cotangents = cotangents_of(backend, 9, 4, rng)
    shown, through, _ = composited(backend, transmittance, values, order)
    backend.assert_close(shown, values[0] + 0.5 * values[1], "values")
    assert (through == 0).all()
    at_transmittance, at_values = gradients(backend, transmittance, values, order, cotangents)
    assert (at_values[2:] == 0).all() and (at_transmittance[2:] == 0).all()
    behind = ((values[2] + 0.5 * values[3]) * cotangents[0]).sum(1) + 0.25 * cotangents[1]
    backend.assert_close(at_transmittance[1], 0.5 * behind, "gradient of the opaque one", 1.0)


def test_permuting_the_rays_or_renaming_the_regions_changes_nothing_else(backend, rng):
    transmittance, values, *sums, order = make_regions(backend, 5, 63, rng)
    cotangents = cotangents_of(backend, 63, 4, rng)
    plain = (*composited(backend, transmittance, values, order),
             *gradients(backend, transmittance, values, order, cotangents),
             *distortion_gradients(backend, transmittance, *sums, order=order, cotangent=cotangents[1]))
    rays = torch.randperm(63, generator=rng).to(backend.device)
    names = torch.randperm(5, generator=rng).to(backend.device)
    turned = [x[names][:, rays].contiguous() for x in (transmittance, values, *sums)]
    renamed = names.argsort()[order.long()][:, rays].int().contiguous()
    turned_cotangents = [x[rays].contiguous() for x in cotangents]
    found = (*composited(backend, *turned[:2], renamed),
             *gradients(backend, *turned[:2], renamed, turned_cotangents),
             *distortion_gradients(backend, turned[0], *turned[2:], order=renamed, cotangent=turned_cotangents[1]))
    for number, (before, after) in enumerate(zip(plain, found)):
        assert torch.equal(before[rays] if number < 2 else before[names][:, rays], after)


def test_a_distortion_does_not_feel_that_all_distances_grow(backend, rng):
    """The cross terms know distances by their differences: of weights that sum to as much, none is left over."""
    transmittance, _, mass, moment, own, order = make_regions(backend, 5, 63, rng)
    found, _ = distortion(backend, transmittance, mass, moment, own, order=order)
    moved, _ = distortion(backend, transmittance, mass, moment + 2 * mass, own, order=order)
    backend.assert_close(moved, found.double(), "distortion", 4.0)
