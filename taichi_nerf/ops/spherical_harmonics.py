"""Real spherical harmonics of directions as a PyTorch operation. N directions."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import spherical_harmonics as kernels

from ._check import check_result, check_tensor


def encode_direction(directions: Tensor, degree: int = 4) -> Tensor:
    """Real spherical harmonics of the bands below `degree`, in the sign convention of tiny-cuda-nn.

    Args:
        directions: [N, 3] unit vectors as they are, not mapped to [0, 1].
        degree: number of bands, 1 to 5.

    Returns:
        [N, degree^2], band l at columns l^2 .. (l + 1)^2; band 1 is `sqrt(3 / 4 pi) (-y, z, -x)`.
        Differentiable with respect to directions, as polynomials in x, y and z: of the gradient only the part
        orthogonal to the direction has a meaning, and the gradient of a normalisation keeps just that.

    Raises:
        TypeError, ValueError: directions of another type, shape or dtype; a degree out of range.
    """
    if degree not in range(1, kernels.MAX_DEGREE + 1):
        raise ValueError(f"degree must be from 1 to {kernels.MAX_DEGREE}, got {degree}")
    return _SphericalHarmonics.apply(directions, degree)


class _SphericalHarmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx, directions, degree):
        directions = check_tensor("directions", directions, (None, 3))
        check_result(len(directions), degree * degree)
        basis = directions.new_empty(len(directions), degree * degree)
        kernels.spherical_harmonics_forward(directions, basis, degree)
        ctx.save_for_backward(directions)
        ctx.degree = degree
        return basis

    @staticmethod
    @once_differentiable
    def backward(ctx, basis_gradient):
        (directions,) = ctx.saved_tensors
        directions_gradient = torch.empty_like(directions)
        basis_gradient = basis_gradient.contiguous()
        kernels.spherical_harmonics_backward(directions, basis_gradient, directions_gradient, ctx.degree)
        return (
            directions_gradient,
            None,  # degree
        )
