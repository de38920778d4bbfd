"""Multiresolution hash encoding in plain PyTorch: slow, readable, differentiable twice."""

import math

import torch

ERF = (0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)
PRIMES = (1, 2654435761, 805459861)


def hash_grid_encode(positions: torch.Tensor, table: torch.Tensor, *, levels: int, log2_entries: int,
                     base_resolution: int, max_resolution: int, widths: torch.Tensor | None = None) -> torch.Tensor:
    """Features [N, L * F] of `positions` [N, 3] in the unit cube from `table` [E, F] (Instant-NGP, section 3), which
    Gaussians of `widths` [N] see as they are able to (Zip-NeRF, section 3.2)."""
    growth = math.exp(math.log(max_resolution / base_resolution) / max(levels - 1, 1))
    encoded, first = [], 0
    for level in range(levels):
        scale = base_resolution * growth**level - 1
        resolution = math.ceil(round(scale, 6)) + 1
        dense = resolution**3 <= 2**log2_entries
        size = -(-(resolution**3) // 8) * 8 if dense else 2**log2_entries
        p = positions.clamp(0, 1) * scale + 0.5
        cell = p.detach().floor().long()
        fraction = p - cell
        total = torch.zeros(len(positions), table.shape[1], dtype=table.dtype)
        for corner in range(8):
            bit = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2])
            weight = torch.where(bit.bool(), fraction, 1 - fraction).prod(-1)
            x, y, z = (cell + bit).unbind(-1)
            entry = x + resolution * (y + resolution * z) if dense else x ^ (y * PRIMES[1]) ^ (z * PRIMES[2])
            total = total + weight[:, None] * table[first + entry % size]
        encoded.append(total if widths is None else level_weight(widths, scale)[:, None] * total)
        first += size
    return torch.cat(encoded, dim=-1)


def level_weight(widths: torch.Tensor, scale: float) -> torch.Tensor:
    """erf(1 / (sqrt(8) width scale)) of `widths` [N], to 1e-6: erf(x) = 1 - (1 + sum_n a_n x^n)^-16 (Abramowitz and
    Stegun 1964, 7.1.28), multiplied out by u^6, u = 1 / x, so that a width of 0 is none."""
    u = (math.sqrt(8) * widths * scale).clamp(0, 1e6)
    series = u**6 + sum(a * u ** (5 - n) for n, a in enumerate(ERF))
    return 1 - (u**6 / series) ** 16
