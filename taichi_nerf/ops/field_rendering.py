"""Pixels of rays through a trained field in one launch, without gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from taichi_nerf_kernels.engine import on_cpu
from taichi_nerf_kernels.field_rendering import FieldSettings, TaichiField, tile_order
from taichi_nerf_kernels.hash_grid import HashGridLayout

from .. import runtime
from ._check import check_tensor
from .hash_grid import _on_device

__all__ = ["FieldSettings", "TaichiField", "prepare_field", "render_field", "tile_order"]


def prepare_field(settings: FieldSettings, layout: HashGridLayout, bits: Tensor, table: Tensor,
                  density_weights: Sequence[Tensor], colour_weights: Sequence[Tensor]) -> TaichiField:
    """A field for any number of calls of `render_field`, until a tensor changes or Taichi starts anew.

    Where kernels work on tensors in place nothing is copied but the networks' weights; on Vulkan everything is uploaded
    once.

    Args:
        bits: [C * G^3 / 32] int32, as `pack_occupancy` makes them.
        table: [E, F].
        density_weights, colour_weights: the layers, [fan_out, fan_in].

    Raises TypeError and ValueError for tensors of another type, shape or device, and for a layout of another size.
    """
    settings.check_layout(layout)
    table = check_tensor("table", table, (layout.entries, layout.features))
    bits = check_tensor("bits", bits, (settings.cascades * settings.resolution**3 // 32,), dtype=torch.int32)
    if bits.device != table.device:
        raise ValueError(f"bits must be on {table.device}, got {bits.device}")
    networks = []
    for name, weights, sizes in (("density_weights", density_weights, settings.density_sizes),
                                 ("colour_weights", colour_weights, settings.colour_sizes)):
        if len(weights) != len(sizes) - 1:
            raise ValueError(f"{name} must have {len(sizes) - 1} layers, got {len(weights)}")
        networks.append([check_tensor(f"{name}[{n}]", weight, (sizes[n + 1], sizes[n]), like=table)
                         for n, weight in enumerate(weights)])
    if runtime.current().backend == "vulkan":
        numpy = [[weight.numpy() for weight in weights] for weights in networks]
        return TaichiField.from_arrays(settings, layout, bits=bits.numpy(), table=table.numpy(),
                                       density_weights=numpy[0], colour_weights=numpy[1])
    levels, scales = _on_device(layout, table.device, table.dtype)
    density, colour = (torch.cat([weight.reshape(-1) for weight in weights]) for weights in networks)
    return TaichiField(settings, bits=bits, blocks=bits.new_empty(len(bits) // 64 + 6),
                       table=table if on_cpu() and layout.features > 1 else table.reshape(-1), levels=levels,
                       scales=scales, density_weights=density, colour_weights=colour)


def render_field(field: TaichiField, origins: Tensor, directions: Tensor,
                 spread: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour [R, 3] over black, opacity [R], depth [R] (sum w t) and samples evaluated [R] of rays.

    Args:
        field: of `prepare_field`.
        origins, directions: [R, 3], model space, unit directions.
        spread: [R], for a field that sees widths (`hash_grid_encode`): a sample at distance t has the width spread * t.

    The samples are those of `march_rays` without jitter, cut by `early_stop`; a ray that is not finite has none. The
    networks compute in the precision of the kernels. Not differentiable. Raises TypeError and ValueError for tensors of
    another type or shape.
    """
    origins = check_tensor("origins", origins, (None, 3))
    directions = check_tensor("directions", directions, (len(origins), 3), like=origins)
    rays = len(origins)
    if spread is not None:
        spread = check_tensor("spread", spread, (rays,), like=origins)
    colour, opacity, depth = origins.new_empty(rays, 3), origins.new_empty(rays), origins.new_empty(rays)
    samples = torch.empty(rays, dtype=torch.int32, device=origins.device)
    field.render_rays(origins, directions, colour, opacity, depth, samples, spread)
    return colour, opacity, depth, samples
