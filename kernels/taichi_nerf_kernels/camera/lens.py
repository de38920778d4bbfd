"""Lenses: where they show a point, and which point they show there.

With r^2 = x^2 + y^2 and s = 1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8
    PERSPECTIVE   c = (x, -y, -1), Brown-Conrady without k4:
                  x' = s x + 2 p1 x y + p2 (r^2 + 2 x^2),  y' = s y + p1 (r^2 + 2 y^2) + 2 p2 x y
    FISHEYE       c = (x sin(r) / r, -y sin(r) / r, -cos(r)), r the angle off the axis (equidistant);
                  x' = s x, y' = s y, without p1 and p2

The distortion is inverted by Newton's method with its analytic Jacobian, in a fixed number of steps; without
distortion they are skipped. A lens whose image folds back on itself has several inverses; wanted is the one
on the sheet around the axis, where the Jacobian (it is symmetric) is positive definite. The iteration starts
on the axis and halves a step that leaves this sheet or enlarges the residual, so it neither meets a singular
Jacobian nor jumps to another sheet. A pixel that no direction reaches (past the fold) gets one on the sheet
as near as the steps came, and gives the intrinsics no gradient.
"""

from ..engine import ti

PERSPECTIVE = 0
FISHEYE = 1

NEWTON_STEPS = 12
PI = 3.141592653589793


@ti.func
def distort(p, k, lens):
    """(x', y') of `p` = (x, y), and the symmetric Jacobian as (dx'/dx, dx'/dy, dy'/dy)."""
    k4, p1, p2 = 0.0 * k[3], k[4], k[5]
    if lens == FISHEYE:
        k4, p1, p2 = k[3], 0.0 * p1, 0.0 * p2
    x, y = p[0], p[1]
    r2 = x * x + y * y
    s = 1.0 + r2 * (k[0] + r2 * (k[1] + r2 * (k[2] + r2 * k4)))
    slope = 2.0 * (k[0] + r2 * (2.0 * k[1] + r2 * (3.0 * k[2] + r2 * 4.0 * k4)))  # ds/d(x, y) = slope (x, y)
    distorted = ti.Vector([s * x + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
                           s * y + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y])
    jacobian = ti.Vector([s + x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x,
                          x * y * slope + 2.0 * p1 * x + 2.0 * p2 * y,
                          s + y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x])
    return distorted, jacobian


@ti.func
def unfolded(p, jacobian, lens):
    """Whether the lens does not fold at `p`: a positive definite Jacobian; for a fisheye, at most pi."""
    definite = jacobian[0] > 0.0 and jacobian[0] * jacobian[2] > jacobian[1] * jacobian[1]
    return definite and (lens != FISHEYE or p.norm_sqr() <= PI * PI)


@ti.func
def solve_symmetric(jacobian, b):
    """The solution of [[j0, j1], [j1, j2]] x = b."""
    determinant = jacobian[0] * jacobian[2] - jacobian[1] * jacobian[1]
    return ti.Vector([jacobian[2] * b[0] - jacobian[1] * b[1],
                      jacobian[0] * b[1] - jacobian[1] * b[0]]) / determinant


@ti.func
def undistort(target, k, lens):
    """The point that `distort` maps to `target`, by safeguarded Newton steps from the axis."""
    p = 0.0 * target
    error = target.norm_sqr()
    step = target
    for _ in range(NEWTON_STEPS):
        trial = p + step
        distorted, jacobian = distort(trial, k, lens)
        residual = target - distorted
        if unfolded(trial, jacobian, lens) and residual.norm_sqr() <= error:
            p = trial
            error = residual.norm_sqr()
            step = solve_symmetric(jacobian, residual)
        else:
            step *= 0.5
    return p


@ti.func
def undistort_backward(p, target, k, lens, gradient):
    """Gradient of `target` from that of p = undistort(target), by the inverse (symmetric) Jacobian."""
    distorted, jacobian = distort(p, k, lens)
    determinant = jacobian[0] * jacobian[2] - jacobian[1] * jacobian[1]
    result = 0.0 * gradient
    if (target - distorted).norm() < 1e-4 and determinant > 1e-6:
        result = solve_symmetric(jacobian, gradient)
    return result


@ti.func
def bend(p, lens):
    """Camera direction of the undistorted point `p`; not of unit length."""
    c = ti.Vector([p[0], -p[1], -1.0])
    r = p.norm()
    if lens == FISHEYE and r > 0.0:
        s = ti.sin(r) / r
        c = ti.Vector([s * p[0], -s * p[1], -ti.cos(r)])
    return c


@ti.func
def bend_backward(p, lens, gradient):
    """Gradient of `p` from that of `bend`."""
    g = ti.Vector([gradient[0], -gradient[1]])
    r = p.norm()
    if lens == FISHEYE and r > 0.0:
        unit = p / r
        s = ti.sin(r) / r
        g = s * g + unit * ((ti.cos(r) - s) * g.dot(unit) + ti.sin(r) * gradient[2])
    return g
