"""Instant-NGP's field and occupancy grid as one kernel from rays to pixels.

A code of appearance, the same for all rays, enters the colour network as a constant, so that the kernel need not know
of codes: it is added to the weights of the first spherical harmonic, which is a constant, too; or, where the colour is
in harmonics and the network sees none, becomes the weights of an input that is 1.
"""

import weakref

import torch
from torch import Tensor

from .. import runtime
from ..fields.codes import with_codes
from ..ops.field_rendering import FieldSettings, TaichiField, prepare_field, render_field
from ..types import UNKNOWN, Rays, Shot
from .cones import DISC, radius_of
from .model import Model, RayRenderer

__all__ = ["field_renderer", "taichi_field"]

CONSTANT_HARMONIC = 0.5 / torch.pi**0.5  # of degree 0, in any direction

_fields: weakref.WeakKeyDictionary[Model, tuple] = weakref.WeakKeyDictionary()


def field_renderer(model: Model, shot: Shot) -> RayRenderer:
    """For a model with a hash field and an occupancy grid: colour over black [R, 3], opacity, depth and samples [R] of
    rays of one `shot`. Not differentiable."""
    field = taichi_field(model, shot)

    def render(rays: Rays) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        spread = DISC * radius_of(rays) if model.sees_cones else None
        return render_field(field, rays.origins, rays.directions, spread)

    return render


@torch.no_grad()
def taichi_field(model: Model, shot: Shot = UNKNOWN) -> TaichiField:
    """The model's field as one `shot`, R = 1, sees it; made anew only when a tensor, the code or the runtime has
    changed."""
    code = with_codes(shot, model.codes, 1).codes.get("appearance")
    tensors, running = [*model.field.parameters(), model.grid.bits], runtime.current()
    state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
    state.append(None if code is None else code.tolist())
    known = _fields.get(model)
    if known is None or known[0] is not running or known[1] != state:
        known = _fields[model] = (running, state, _prepared(model, code))
    return known[2]


def _prepared(model: Model, code: Tensor | None) -> TaichiField:
    """`code` [1, A]"""
    field, grid, sampling = model.field, model.grid, model.config.sampling
    networks = [list(network.weights) for network in (field.density_network, field.colour_network)]
    geometry, harmonic = model.config.field.geometry_features, field.harmonics is not None
    if code is not None:
        fold = _as_bias if harmonic else _with_code
        networks[1][0] = fold(networks[1][0], code, geometry)
    density_sizes, colour_sizes = ((w[0].shape[1], *(layer.shape[0] for layer in w)) for w in networks)
    settings = FieldSettings(
        features=field.layout.features,
        density_sizes=density_sizes,
        colour_sizes=colour_sizes,
        degree=field.harmonics + 1 if harmonic else field.degree,
        harmonic=harmonic,
        side=float(field.side),
        resolution=grid.resolution,
        cascades=grid.cascades,
        step=grid.step_min,
        cone=model.cone_angle,
        near=model.box.near,
        max_samples=sampling.max_samples,
        early_stop=sampling.early_stop,
    )
    return prepare_field(settings, field.layout, grid.bits, field.table, *networks)


def _with_code(weights: Tensor, code: Tensor, geometry: int) -> Tensor:
    """Weights [H, G + degree^2] of the first layer of the colour network for one code [1, A], from [H, .. + A]."""
    known = weights.shape[1] - code.shape[1]
    folded = weights[:, :known].clone()
    folded[:, geometry] += (weights[:, known:] @ code[0]) / CONSTANT_HARMONIC
    return folded


def _as_bias(weights: Tensor, code: Tensor, geometry: int) -> Tensor:
    """Weights [H, G + 1] of that layer, whose last input is 1, from [H, G + A]."""
    return torch.cat([weights[:, :geometry], (weights[:, geometry:] @ code[0])[:, None]], dim=1)
