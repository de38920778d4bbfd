"""Rays through disjoint regions of space, composited of what each region has by itself: exact, and differentiable.

K regions, R rays, V values. (Li et al. 2024, NeRF-XL.)
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import region_compositing as kernels

from ._check import check_index, check_tensor

__all__ = ["composite_regions", "region_distortion"]


def composite_regions(transmittance: Tensor, values: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Composite the regions of every ray from front to back.

    `sum over k of A_k values_k`, and the product of all transmittances; A_k is the product of the transmittances of the
    regions in front of k. What is composited from the samples of a ray that are cut at the borders is the same.

    Args:
        transmittance: [K, R] of each region alone, in [0, 1]; 1 of one that a ray does not meet.
        values: [K, R, V], sums of weight times value in each region alone: colours, distances.
        order: [K, R] int32, the numbers of the regions in the order in which each ray meets them; where it does not
            meet them the order does not matter.

    Returns:
        values [R, V] over black, and transmittance [R]; the opacity is 1 - transmittance. Differentiable with respect
        to transmittance and values, also where a transmittance is 0.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device.
        IndexError: a region that there is not (looked at on a CPU only; on a GPU the nearest number counts).
    """
    return _CompositeRegions.apply(transmittance, values, order)


def region_distortion(transmittance: Tensor, mass: Tensor, moment: Tensor, own: Tensor, order: Tensor) -> Tensor:
    """The distortion of all weights of every ray (`ops.distortion`), of what each region knows of its own.

    `sum over k of A_k^2 own_k + 2 sum over j in front of k of A_j A_k (mass_j moment_k - moment_j mass_k)`.

    Args:
        transmittance: [K, R], as of `composite_regions`, and so is `order`.
        mass: [K, R], sum of the weights of each region alone.
        moment: [K, R], sum of its weights times their distances along the ray.
        own: [K, R], its distortion alone.
        order: [K, R] int32.

    Returns:
        [R], differentiable with respect to all but `order`.

    Raises:
        TypeError, ValueError, IndexError: as `composite_regions`.
    """
    return _RegionDistortion.apply(transmittance, mass, moment, own, order)


class _CompositeRegions(torch.autograd.Function):
    @staticmethod
    def forward(ctx, transmittance, values, order):
        transmittance = check_tensor("transmittance", transmittance, (None, None))
        regions, rays = transmittance.shape
        values = check_tensor("values", values, (regions, rays, None), like=transmittance)
        order = check_index("order", order, (regions, rays), regions, like=transmittance)
        through, reaching = transmittance.new_empty(rays), torch.empty_like(transmittance)
        shown = transmittance.new_empty(rays, values.shape[2])
        kernels.composite_regions_forward(transmittance, values, order, shown, through, reaching)
        ctx.save_for_backward(transmittance, values, order, reaching)
        return shown, through

    @staticmethod
    @once_differentiable
    def backward(ctx, *output_gradients):
        transmittance, values, *known = ctx.saved_tensors
        gradients = torch.empty_like(transmittance), torch.empty_like(values)
        kernels.composite_regions_backward(transmittance, values, *known, *(g.contiguous() for g in output_gradients),
                                           *gradients)
        return (
            *gradients,
            None,  # order
        )


class _RegionDistortion(torch.autograd.Function):
    @staticmethod
    def forward(ctx, transmittance, mass, moment, own, order):
        transmittance = check_tensor("transmittance", transmittance, (None, None))
        mass, moment, own = (check_tensor(name, each, transmittance.shape, like=transmittance)
                             for name, each in (("mass", mass), ("moment", moment), ("own", own)))
        order = check_index("order", order, transmittance.shape, len(transmittance), like=transmittance)
        given = transmittance, mass, moment, own, order
        distortion, reaching = transmittance.new_empty(transmittance.shape[1]), torch.empty_like(transmittance)
        kernels.region_distortion_forward(*given, distortion, reaching)
        ctx.save_for_backward(*given, reaching)
        return distortion

    @staticmethod
    @once_differentiable
    def backward(ctx, distortion_gradient):
        gradients = [torch.empty_like(ctx.saved_tensors[0]) for _ in range(4)]
        kernels.region_distortion_backward(*ctx.saved_tensors, distortion_gradient.contiguous(), *gradients)
        return (
            *gradients,
            None,  # order
        )
