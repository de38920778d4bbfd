"""Real spherical harmonics written out: what `taichi_nerf.ops.spherical_harmonics` must equal."""

from math import pi, sqrt

import torch


def spherical_harmonics(directions, degree: int):
    """Y [N, degree^2] of unit directions [N, 3], degree 1 to 5; band l at columns l^2 .. (l + 1)^2."""
    x, y, z = directions.unbind(1)
    bands = [
        [sqrt(1 / (4 * pi)) * x**0],
        [
            -sqrt(3 / (4 * pi)) * y,
            sqrt(3 / (4 * pi)) * z,
            -sqrt(3 / (4 * pi)) * x,
        ],
        [
            sqrt(15 / (4 * pi)) * x * y,
            -sqrt(15 / (4 * pi)) * y * z,
            sqrt(5 / (16 * pi)) * (3 * z**2 - 1),
            -sqrt(15 / (4 * pi)) * x * z,
            sqrt(15 / (16 * pi)) * (x**2 - y**2),
        ],
        [
            -sqrt(35 / (32 * pi)) * y * (3 * x**2 - y**2),
            sqrt(105 / (4 * pi)) * x * y * z,
            -sqrt(21 / (32 * pi)) * y * (5 * z**2 - 1),
            sqrt(7 / (16 * pi)) * z * (5 * z**2 - 3),
            -sqrt(21 / (32 * pi)) * x * (5 * z**2 - 1),
            sqrt(105 / (16 * pi)) * z * (x**2 - y**2),
            -sqrt(35 / (32 * pi)) * x * (x**2 - 3 * y**2),
        ],
        [
            sqrt(315 / (16 * pi)) * x * y * (x**2 - y**2),
            -sqrt(315 / (32 * pi)) * y * z * (3 * x**2 - y**2),
            sqrt(45 / (16 * pi)) * x * y * (7 * z**2 - 1),
            -sqrt(45 / (32 * pi)) * y * z * (7 * z**2 - 3),
            sqrt(9 / (256 * pi)) * (35 * z**4 - 30 * z**2 + 3),
            -sqrt(45 / (32 * pi)) * x * z * (7 * z**2 - 3),
            sqrt(45 / (64 * pi)) * (x**2 - y**2) * (7 * z**2 - 1),
            -sqrt(315 / (32 * pi)) * x * z * (x**2 - 3 * y**2),
            sqrt(315 / (256 * pi)) * (x**2 * (x**2 - 3 * y**2) - y**2 * (3 * x**2 - y**2)),
        ],
    ]
    return torch.stack([value for band in bands[:degree] for value in band], dim=1)
