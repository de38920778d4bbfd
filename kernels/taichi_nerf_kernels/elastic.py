"""How far a warp is from a rigid motion: the elastic energy of its Jacobian.

    J = U diag(s_1, s_2, s_3) V^T      E = sum_k log^2 s_k = 1/4 sum_k log^2 l_k,   l_k = s_k^2 eigenvalues of J^T J

It is 0 for a rotation, and the same for something stretched to the double as for something pressed to the half. Its
gradient

    dE/dJ = J Q diag(log l_k / l_k) Q^T,     J^T J = Q diag(l_1, l_2, l_3) Q^T

is a function of the matrix J^T J alone: no difference of two eigenvalues is divided by, and where some are equal, as at
J = I, any orthonormal Q will do. Q comes from Jacobi's rotations, which leave it orthonormal to the last digit whatever
the eigenvalues; the closed form of a cubic loses half of the digits where they are nearly equal, as here they are.
An eigenvalue below FLOOR, where space is folded flat, counts as that, without a gradient.

Park et al. 2021 (Nerfies), eq. 5; Golub and Van Loan 2013, Matrix computations, section 8.5.
"""

from .engine import ti
from .launch import kernel

__all__ = ["elastic_backward", "elastic_forward", "symmetric_eigenvectors"]

SWEEPS = 6  # of three rotations: the off-diagonal is squared by each of the last ones
FLOOR = 1e-12


@ti.func
def _rotation(a, i: ti.template(), j: ti.template()):
    """The plane rotation after which a_ij is 0: the tangent t of its angle solves t^2 + 2 theta t = 1."""
    sine, cosine = 0.0, 1.0
    if a[i, j] != 0.0:
        theta = (a[j, j] - a[i, i]) / (2.0 * a[i, j])
        tangent = ti.select(theta < 0.0, -1.0, 1.0) / (ti.abs(theta) + ti.sqrt(theta * theta + 1.0))
        cosine = 1.0 / ti.sqrt(tangent * tangent + 1.0)
        sine = tangent * cosine
    turn = ti.Matrix.identity(float, 3)
    turn[i, i] = cosine
    turn[j, j] = cosine
    turn[i, j] = sine
    turn[j, i] = -sine
    return turn


@ti.func
def symmetric_eigenvectors(matrix):
    """Q, and Q^T `matrix` Q, which is diagonal."""
    a, q = matrix, ti.Matrix.identity(float, 3)
    for _ in range(SWEEPS):
        for i, j in ti.static(((0, 1), (0, 2), (1, 2))):
            turn = _rotation(a, i, j)
            a = turn.transpose() @ a @ turn
            q = q @ turn
    return q, a


@ti.func
def _jacobian(jacobian: ti.template(), n):
    return ti.Matrix([[jacobian[n, i, j] for j in range(3)] for i in range(3)])


@kernel
def elastic_forward(
    jacobian: ti.types.ndarray(ndim=3),  # [N, 3, 3]
    energy: ti.types.ndarray(ndim=1),  # [N] out
):
    """E of every Jacobian."""
    for n in range(jacobian.shape[0]):
        j = _jacobian(jacobian, n)
        _, diagonal = symmetric_eigenvectors(j.transpose() @ j)
        total = 0.0
        for k in ti.static(range(3)):
            logarithm = ti.log(ti.max(diagonal[k, k], FLOOR))
            total += 0.25 * logarithm * logarithm
        energy[n] = total


@kernel
def elastic_backward(
    jacobian: ti.types.ndarray(ndim=3),  # [N, 3, 3]
    energy_gradient: ti.types.ndarray(ndim=1),  # [N]
    jacobian_gradient: ti.types.ndarray(ndim=3),  # [N, 3, 3] out
):
    """Gradient with respect to the Jacobians."""
    for n in range(jacobian.shape[0]):
        j = _jacobian(jacobian, n)
        q, diagonal = symmetric_eigenvectors(j.transpose() @ j)
        slope = ti.Matrix.zero(float, 3, 3)
        for k in ti.static(range(3)):
            value = diagonal[k, k]
            if value > FLOOR:
                slope[k, k] = energy_gradient[n] * ti.log(value) / value
        at_j = j @ q @ slope @ q.transpose()
        for i in ti.static(range(3)):
            for k in ti.static(range(3)):
                jacobian_gradient[n, i, k] = at_j[i, k]
