"""Regions of one model against their reference: fixed weights, the same rays, every pixel, and gradients by name."""

import dataclasses

import pytest
import torch

from taichi_nerf.config import FieldConfig, HashGridConfig, RegionsConfig, SamplingConfig
from taichi_nerf.fields import mlp
from taichi_nerf.models.family import build_model
from taichi_nerf.models.model import Box
from taichi_nerf.reference.models import regions as reference
from taichi_nerf.reference.occupancy_grid import dense_from_bits
from taichi_nerf.types import Rays, Seeds, Shot, Standing

RAYS, SIDE, DEGREE, STEPS, PHOTOS = 63, 2, 3, 24, 4
GRID = {"levels": 3, "log2_entries": 9, "base_resolution": 4, "max_resolution": 24}
CONFIG = RegionsConfig(
    field=FieldConfig(hash_grid=HashGridConfig(features=2, **GRID), geometry_features=5, density_width=16,
                      colour_width=16, direction_degree=DEGREE),
    sampling=SamplingConfig(grid_resolution=16, steps=STEPS, early_stop=0.0))
STANDING = Standing(step=40, progress=0.4, seeds=Seeds(0, 5, 0))
NAMES = ("colour", "opacity", "depth", "weights")


@pytest.fixture(autouse=True)
def full_precision(monkeypatch, backend):
    """Products are taken in the type of the weights."""
    monkeypatch.setattr(mlp, "fastest_precision", lambda device: backend.dtype)


def prepared(backend, config):
    """A model whose weights are larger than at the start, and which knows a third of its cells to be empty."""
    model = build_model(config, Box(aabb_scale=SIDE), 3, {"appearance": PHOTOS})
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_((0.5 if "table" in name else 0.2) * torch.randn(parameter.shape, generator=generator))
    for part in model.parts:
        words = [torch.randint(-2**31, 2**31, part.grid.bits.shape, generator=generator) for _ in range(2)]
        part.grid.bits &= (words[0] | words[1]).int()
    model = model.to(backend.device, backend.dtype)
    for part in model.parts:
        part.field.table_gradient = torch.zeros_like(part.field.table.detach())
    return model


def make_rays(rng):
    """From all around and from within, the same numbers in either precision; some miss the cube, or see no sample."""
    origins = 1.2 * SIDE * (torch.rand(RAYS, 3, generator=rng, dtype=torch.float64) - 0.5)
    aims = 0.8 * SIDE * (torch.rand(RAYS, 3, generator=rng, dtype=torch.float64) - 0.5)
    directions = torch.nn.functional.normalize(aims - origins, dim=1)
    directions[5:8] *= -1
    return origins.float().double(), directions.float().double()


def expected_of(model, config, origins, directions, standing):
    """What the reference shows, and the float64 leaves that it is made of."""
    leaves = {name: value.detach().double().cpu().requires_grad_() for name, value in model.named_parameters()}
    leaves |= {"origins": origins.clone().requires_grad_(), "directions": directions.clone().requires_grad_()}
    occupied = torch.stack([dense_from_bits(part.grid.bits.cpu(), 16) for part in model.parts])
    ids = torch.arange(RAYS) % PHOTOS if config.appearance else None
    shown = reference.regions(
        leaves, leaves["origins"], leaves["directions"], model.boxes.double().cpu(), occupied, ids, side=SIDE,
        grid={**GRID, "max_resolution": SIDE * GRID["max_resolution"]}, degree=DEGREE, step_min=3**0.5 / STEPS,
        cone_angle=1 / 256, near=model.box.near, seed=None if standing is None else standing.seeds.jitter)
    return shown, leaves


@pytest.mark.parametrize("count, appearance, standing", [(1, 0, None), (2, 0, None), (3, 5, STANDING),
                                                         (4, 0, STANDING)])
def test_regions_render_what_their_reference_does(backend, rng, count, appearance, standing):
    config = dataclasses.replace(CONFIG, count=count, appearance=appearance)
    model, (origins, directions) = prepared(backend, config), make_rays(rng)
    given = {name: backend.tensor(values).requires_grad_()
             for name, values in (("origins", origins), ("directions", directions))}
    ids = (torch.arange(RAYS, dtype=torch.int32) % PHOTOS).to(backend.device)
    pixels = model.render(Rays(**given, shot=Shot(ids={"appearance": ids})), standing)
    shown, leaves = expected_of(model, config, origins, directions, standing)
    for name, expected in zip(NAMES, shown):
        backend.assert_close(getattr(pixels, name), expected, name)
    assert 0.05 < shown[1].mean() < 0.95 and (shown[1] == 0).any()
    if count > 1:
        assert (pixels.samples.ray_index.diff() == 0).any() and len(pixels.slot.unique()) == count

    cotangents = [torch.randn(values.shape, generator=rng, dtype=torch.float64) for values in shown[:3]]
    torch.autograd.backward([getattr(pixels, name) for name in NAMES[:3]], [backend.tensor(c) for c in cotangents])
    wanted = torch.autograd.grad(shown[:3], list(leaves.values()), cotangents)
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    found |= {f"parts.{k}.field.table": part.field.table_gradient for k, part in enumerate(model.parts)}
    found |= {name: values.grad for name, values in given.items()}
    for name, gradient in zip(leaves, wanted, strict=True):
        assert gradient.abs().max() > 0, name
        if name in given and backend.dtype != torch.float64:  # rounding moves a place into the next cell of a hash grid
            found[name], gradient = but_one(found[name], gradient)
        backend.assert_close(found[name], gradient, f"gradient of {name}")


def but_one(gradient, expected):
    """Both without the ray where they differ most."""
    apart = (gradient.detach().double().cpu() - expected).abs().amax(dim=1)
    kept = torch.arange(len(apart)) != apart.argmax()
    return gradient.cpu()[kept], expected[kept]
