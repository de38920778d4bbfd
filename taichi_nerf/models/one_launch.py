"""Instant-NGP's field and occupancy grid as one kernel from rays to pixels.

A code of appearance, the same for all rays, enters the colour network as a constant, so that the kernel need not know
of codes: it is added to the weights of the first spherical harmonic, which is a constant, too; or, where the colour is
in harmonics and the network sees none, becomes the weights of an input that is 1.
"""

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import runtime
from ..fields.codes import with_codes
from ..ops.field_rendering import FieldSettings, TaichiField, prepare_field, render_field
from ..ops.hash_grid import HashGridLayout
from ..types import UNKNOWN, Rays, Shot
from .cones import DISC, radius_of
from .model import Model, RayRenderer

__all__ = ["FieldArrays", "field_arrays", "field_renderer", "taichi_field"]

CONSTANT_HARMONIC = 0.5 / torch.pi**0.5  # of degree 0, in any direction

_fields: weakref.WeakKeyDictionary[Model, tuple] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class FieldArrays:
    """A field and its occupancy grid on the host, for whoever renders it elsewhere."""

    settings: FieldSettings
    layout: HashGridLayout
    bits: np.ndarray
    """[C * G^3 / 32] int32"""
    table: np.ndarray
    """[E, F] float32"""
    density_weights: list[np.ndarray]
    """Layers, [out, in] float32."""
    colour_weights: list[np.ndarray]
    sees_cones: bool = False
    """Whether a level of the hash grid is seen the less the finer it is than the ray's cone."""
    rays_per_pixel: int = 1


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


@torch.no_grad()
def field_arrays(model: Model, shot: Shot = UNKNOWN) -> FieldArrays:
    """The model's field as one `shot`, R = 1, sees it."""
    code = with_codes(shot, model.codes, 1).codes.get("appearance")
    networks = [[weight.detach().float().cpu().numpy() for weight in network] for network in _networks(model, code)]
    field = model.field
    return FieldArrays(settings=_settings(model, networks), layout=field.layout, bits=model.grid.bits.cpu().numpy(),
                       table=field.table.detach().float().cpu().numpy(), density_weights=networks[0],
                       colour_weights=networks[1], sees_cones=model.sees_cones, rays_per_pixel=model.rays_per_pixel)


def _prepared(model: Model, code: Tensor | None) -> TaichiField:
    """`code` [1, A]"""
    networks = _networks(model, code)
    field = model.field
    return prepare_field(_settings(model, networks), field.layout, model.grid.bits, field.table, *networks)


def _networks(model: Model, code: Tensor | None) -> list[list[Tensor]]:
    """The layers of the density and of the colour network, with the `code` [1, A] in it."""
    field = model.field
    networks = [list(network.weights) for network in (field.density_network, field.colour_network)]
    if code is not None:
        fold = _with_code if field.harmonics is None else _as_bias
        networks[1][0] = fold(networks[1][0], code, model.config.field.geometry_features)
    return networks


def _settings(model: Model, networks: list[list]) -> FieldSettings:
    """`networks` [out, in] layer by layer, with the code."""
    field, grid, sampling = model.field, model.grid, model.config.sampling
    density_sizes, colour_sizes = ((w[0].shape[1], *(layer.shape[0] for layer in w)) for w in networks)
    harmonic = field.harmonics is not None
    return FieldSettings(
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


def _with_code(weights: Tensor, code: Tensor, geometry: int) -> Tensor:
    """Weights [H, G + degree^2] of the first layer of the colour network for one code [1, A], from [H, .. + A]."""
    known = weights.shape[1] - code.shape[1]
    folded = weights[:, :known].clone()
    folded[:, geometry] += (weights[:, known:] @ code[0]) / CONSTANT_HARMONIC
    return folded


def _as_bias(weights: Tensor, code: Tensor, geometry: int) -> Tensor:
    """Weights [H, G + 1] of that layer, whose last input is 1, from [H, G + A]."""
    return torch.cat([weights[:, :geometry], (weights[:, geometry:] @ code[0])[:, None]], dim=1)
