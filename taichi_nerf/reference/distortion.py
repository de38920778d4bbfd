"""The distortion loss in plain PyTorch, pair by pair: what `taichi_nerf.ops.distortion` must equal."""

import torch


def distortion_loss(weights, midpoints, lengths, ray_start, ray_count):
    """Loss [R] of packed samples [S] (Barron et al. 2022, eq. 15)."""
    losses = []
    for start, count in zip(ray_start.tolist(), ray_count.tolist()):
        w, m, length = (x[start:start + count] for x in (weights, midpoints, lengths))
        between = (w[:, None] * w * (m[:, None] - m).abs()).sum()
        losses.append(between + (w.square() * length).sum() / 3)
    return torch.stack(losses) if losses else 0 * (weights + midpoints + lengths)


def interval_distortion_loss(weights, fenceposts):
    """Loss [R] of dense weights [R, S] between fenceposts [R, S + 1]."""
    middle, length = (fenceposts[:, 1:] + fenceposts[:, :-1]) / 2, fenceposts.diff(dim=1)
    between = weights[:, :, None] * weights[:, None] * (middle[:, :, None] - middle[:, None]).abs()
    return between.sum((1, 2)) + (weights.square() * length).sum(1) / 3
