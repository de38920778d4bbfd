"""Volume rendering in plain PyTorch, packed samples ray by ray: what `taichi_nerf.ops.volume_rendering` must equal."""

import math

import torch


def composite(density, colour, t, dt, ray_start, ray_count, early_stop: float = 1e-4):
    """Colour [R, 3], opacity [R], depth [R] and weights [S] of packed samples, all differentiable."""
    ray_index = torch.zeros(len(density), dtype=torch.int64, device=density.device)
    weights = 0 * density
    kept_count = visible_samples(density, dt, ray_start, ray_count, early_stop)
    rays = zip(ray_start.tolist(), ray_count.tolist(), kept_count.tolist())
    for ray, (start, count, kept) in enumerate(rays):
        ray_index[start:start + count] = ray
        samples = torch.arange(start, start + kept, device=density.device)
        weights = weights.index_put((samples,), ray_weights(density[samples], dt[samples]))

    def sum_over_ray(values):
        return values.new_zeros(len(ray_start), *values.shape[1:]).index_add(0, ray_index, values)

    return sum_over_ray(weights[:, None] * colour), sum_over_ray(weights), sum_over_ray(weights * t), weights


def ray_weights(density, dt):
    """w_i = T_i (1 - exp(-density_i dt_i)) of the samples of one ray, in order."""
    optical_depth = density * dt
    before = torch.cumsum(optical_depth, 0) - optical_depth
    return torch.exp(-before) * (1 - torch.exp(-optical_depth))


def composite_intervals(density, colour, fenceposts, last="bounded"):
    """Colour [R, 3], opacity [R], depth [R] and weights [R, S] of dense intervals between fenceposts [R, S + 1]."""
    weights = interval_weights(density, fenceposts, last)
    middle = (fenceposts[:, 1:] + fenceposts[:, :-1]) / 2
    return (weights[..., None] * colour).sum(1), weights.sum(1), (weights * middle).sum(1), weights


def interval_weights(density, fenceposts, last="bounded"):
    """Weights [R, S]."""
    length = fenceposts.diff(dim=1)
    if last == "infinite" and length.shape[1]:
        length = torch.cat([length[:, :-1], torch.full_like(length[:, -1:], 1e10)], dim=1)
    optical_depth = density * length
    before = torch.cat([torch.zeros_like(optical_depth[:, :1]), torch.cumsum(optical_depth[:, :-1], 1)], dim=1)
    opacity = 1 - torch.exp(-optical_depth)
    if last == "opaque" and length.shape[1]:
        opacity = torch.cat([opacity[:, :-1], torch.ones_like(opacity[:, -1:])], dim=1)
    return torch.exp(-before) * opacity


def visible_samples(density, dt, ray_start, ray_count, early_stop: float = 1e-4, passed=None):
    """Samples per ray [R] before the transmittance falls below `early_stop`, where an optical depth `passed` [R] lies
    in front of them, which is left as it is behind them."""
    kept = torch.zeros_like(ray_count)
    passed = density.new_zeros(len(ray_count)) if passed is None else passed
    for ray, (start, count) in enumerate(zip(ray_start.tolist(), ray_count.tolist())):
        transmittance = math.exp(-passed[ray])
        while kept[ray] < count and transmittance >= early_stop:
            i = start + int(kept[ray])
            transmittance *= torch.exp(-density[i].detach() * dt[i].detach()).item()
            kept[ray] += 1
        passed[ray] = -math.log(transmittance) if transmittance > 0 else math.inf
    return kept


def compact_samples(ray_start, kept_count):
    """New start of each ray [R] and the indices [K] of the samples that stay, ray after ray."""
    rays = [torch.arange(start, start + kept) for start, kept in zip(ray_start.tolist(), kept_count.tolist())]
    index = torch.cat(rays) if rays else torch.zeros(0)
    return (torch.cumsum(kept_count, 0) - kept_count).int(), index.int()
