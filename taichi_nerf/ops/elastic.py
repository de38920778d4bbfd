"""The elastic energy of warps as a PyTorch operation. N Jacobians."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import elastic as kernels

from ._check import check_tensor

__all__ = ["elastic_energy"]


def elastic_energy(jacobian: Tensor) -> Tensor:
    """How far each Jacobian is from a rotation: the sum of its squared log singular values (Park et al. 2021, Nerfies,
    eq. 5).

    Args:
        jacobian: [N, 3, 3].

    Returns:
        [N], 0 for a rotation or a mirror image. Differentiable once, exactly so where singular values are equal; a
        singular value below 1e-6 counts as 1e-6, without a gradient.

    Raises:
        TypeError, ValueError: Jacobians of another type, shape or dtype.
    """
    return _ElasticEnergy.apply(jacobian)


class _ElasticEnergy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, jacobian):
        jacobian = check_tensor("jacobian", jacobian, (None, 3, 3))
        energy = jacobian.new_empty(len(jacobian))
        kernels.elastic_forward(jacobian, energy)
        ctx.save_for_backward(jacobian)
        return energy

    @staticmethod
    @once_differentiable
    def backward(ctx, energy_gradient):
        (jacobian,) = ctx.saved_tensors
        jacobian_gradient = torch.empty_like(jacobian)
        kernels.elastic_backward(jacobian, energy_gradient.contiguous(), jacobian_gradient)
        return jacobian_gradient
