"""Region compositing in plain PyTorch: what `taichi_nerf.ops.region_compositing` must equal."""

import torch


def composite_regions(transmittance, values, order):
    """Values [R, V] and transmittance [R] of regions [K, R] and [K, R, V] in the order [K, R] of each ray."""
    order = order.long()
    along, reaching = transmittance.gather(0, order), _reaching(transmittance, order)
    shown = values.gather(0, order[..., None].expand_as(values))
    return (reaching[..., None] * shown).sum(0), along.prod(0)


def region_distortion(transmittance, mass, moment, own, order):
    """[R], pair by pair of regions [K, R]."""
    order = order.long()
    reaching = _reaching(transmittance, order)
    mass, moment = reaching * mass.gather(0, order), reaching * moment.gather(0, order)
    total = (reaching.square() * own.gather(0, order)).sum(0)
    for k in range(len(order)):
        for j in range(k):
            total = total + 2 * (mass[j] * moment[k] - moment[j] * mass[k])
    return total


def _reaching(transmittance, order):
    """[K, R], in the order of each ray: what reaches its i-th region."""
    along = transmittance.gather(0, order)
    return torch.cat([torch.ones_like(along[:1]), along[:-1]]).cumprod(0)
