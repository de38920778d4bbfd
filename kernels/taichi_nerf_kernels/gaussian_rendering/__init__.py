"""Gaussian rendering: a picture of 3D Gaussians, each drawn as the ellipse it looks like, and its gradient.

N Gaussians with mean m, covariance Sigma = R diag(s^2) R^T (R of a quaternion w, x, y, z of any length), opacity o
and harmonics k; a camera at p, whose rotation W gives coordinates right, down, forward: t = W (m - p). Of every
Gaussian with t_z beyond `near`, not transparent and within the picture,

    (u, v) = principal + focal (t_x, t_y) / t_z                      where its middle is
    J      = d(u, v)/dt, at t_x / t_z and t_y / t_z within 0.3 half pictures beyond the picture's edges
    V      = J W Sigma W^T J^T + 0.3 1                               its extent, at least that of a pixel
    colour = max(0, 1/2 + sum_j k_cj Y_j((m - p) / |m - p|))         `spherical_harmonics`, as far as `bands`

In pixel (x, y), whose centre is d = (x + 1/2 - u, y + 1/2 - v) away, Gaussian i of all from the nearest t_z to the
farthest has

    P_i     = d^T V^-1 d / 2,   a_i = min(0.99, o_i exp(-P_i)),   0 where that is below 1 / 255
    T_i     = product of (1 - a_j) over j < i                  up to the first that would let it fall below 0.0001
    colour  = sum T_i a_i colour_i,   opacity = 1 - T

Pictures are cut into square tiles; the Gaussians of each are listed, the nearest first, in `entries` from
`tile_start[tile]` on. A Gaussian's appearances in tiles are its pairs. The caller makes the lists: to sort is his.

XX
number of threads. On a GPU it is a pixel.

Kerbl et al. 2023, 3D Gaussian splatting for real-time radiance field rendering; Zwicker et al. 2001, EWA volume
splatting.
"""

from .compositing import composite_gaussians_backward, composite_gaussians_forward
from .projection import COLUMNS, GRADIENTS, project_gaussians_backward, project_gaussians_forward

__all__ = ["COLUMNS", "GRADIENTS", "composite_gaussians_backward", "composite_gaussians_forward",
           "project_gaussians_backward", "project_gaussians_forward"]
