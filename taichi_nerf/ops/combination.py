"""Linear combinations of what is said of samples, by numbers of their rays, as a PyTorch operation. S samples, R rays,
A numbers of each, O outputs."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import combination as kernels

from ._check import check_index, check_tensor

__all__ = ["combine"]


def combine(coefficients: Tensor, numbers: Tensor, ray_index: Tensor) -> Tensor:
    """`y[s, o] = sum_a coefficients[o A + a, s] numbers[a, ray_index[s]]`.

    Args:
        coefficients: [O A, S], feature-major, as a network gives them.
        numbers: [A, R]: a code of each ray, or waves of its time.
        ray_index: [S] int32, the ray of each sample, in any order.

    Returns:
        [S, O]. Differentiable once with respect to the coefficients and the numbers.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device. IndexError: there is no such ray.
    """
    return _Combine.apply(coefficients, numbers, ray_index)


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, coefficients, numbers, ray_index):
        coefficients = check_tensor("coefficients", coefficients, (None, None))
        numbers = check_tensor("numbers", numbers, (None, None), like=coefficients)
        rows, count = coefficients.shape
        if rows == 0 or len(numbers) == 0 or rows % len(numbers):
            raise ValueError(f"coefficients must have several times the {len(numbers)} rows of the numbers, got {rows}")
        ray_index = check_index("ray_index", ray_index, (count,), numbers.shape[1], like=coefficients)
        ctx.outputs = rows // len(numbers)
        combined = coefficients.new_empty(count, ctx.outputs)
        if count:
            kernels.combination_forward(coefficients, numbers, ray_index, combined, ctx.outputs)
        ctx.save_for_backward(coefficients, numbers, ray_index)
        return combined

    @staticmethod
    @once_differentiable
    def backward(ctx, combined_gradient):
        coefficients, numbers, ray_index = ctx.saved_tensors
        to_numbers = ctx.needs_input_grad[1]
        coefficients_gradient = torch.empty_like(coefficients)
        numbers_gradient = torch.zeros_like(numbers) if to_numbers else None
        given = ray_index, combined_gradient.contiguous()
        if len(ray_index):
            kernels.combination_to_coefficients(numbers, *given, coefficients_gradient, ctx.outputs)
            if to_numbers:
                of_samples = numbers.new_empty(len(numbers), len(ray_index))
                kernels.combination_to_numbers(coefficients, *given, of_samples, numbers_gradient, ctx.outputs)
        return (
            coefficients_gradient,
            numbers_gradient,
            None,  # ray_index
        )
