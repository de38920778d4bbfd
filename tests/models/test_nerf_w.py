"""NeRF in the wild: its values against the reference, its loss, and what it leaves out of pictures."""

import dataclasses
from functools import partial

import pytest
import torch

from taichi_nerf.config import NeRFWConfig, SettingError
from taichi_nerf.fields.transient import Transient
from taichi_nerf.models.family import build_model
from taichi_nerf.models.model import Box
from taichi_nerf.reference.models import nerf_w as reference
from taichi_nerf.types import Batch, Rays, Seeds, Shot, Standing

from . import test_family
from .test_family import (
    DEEP,
    DEGREE,
    DIRECTION_LEVELS,
    GRID,
    HASH,
    LEVELS,
    SKIP,
    assert_pictures,
    box_bounds,
    make_rays,
)

PHOTOS = 3
CONFIG = NeRFWConfig(field=DEEP, coarse_samples=8, fine_samples=6, appearance=4, transient_code=3, transient_width=16,
                     transient_layers=2)
FIELDS = {  # each with its reference; the hash grid is of the box [-1, 1]^3, whose side is 2
    "deep": (DEEP, partial(reference.deep_field, skip=SKIP, levels=LEVELS, direction_levels=DIRECTION_LEVELS)),
    "hash": (HASH, partial(reference.hash_field, side=2, grid={**GRID, "max_resolution": 16}, degree=DEGREE))}
STANDING = Standing(step=40, progress=0.4, seeds=Seeds(0, 5, 0))

full_precision = test_family.full_precision


@pytest.fixture
def rays(rng):
    return make_rays(rng)


def prepared(backend, config=CONFIG, seed=3):
    """A model with codes and weights larger than at the start, in the precision of the backend."""
    model = build_model(config, Box(bounded=True), seed, {"appearance": PHOTOS, "transient": PHOTOS})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.to(backend.device, backend.dtype)


def given(backend, rays, **ids):
    """`rays` of photos in turn, or as `ids` say, on the backend."""
    count = torch.arange(len(rays), dtype=torch.int32) % PHOTOS
    shot = Shot(ids={name: ids.get(name, count).to(backend.device) for name in ("appearance", "transient")})
    return Rays(backend.tensor(rays.origins), backend.tensor(rays.directions), None, shot)


@pytest.mark.parametrize("encoding", FIELDS)
@pytest.mark.parametrize("seed", [None, 5])
def test_it_renders_what_its_reference_does(backend, rays, seed, encoding):
    config, field = FIELDS[encoding]
    model = prepared(backend, dataclasses.replace(CONFIG, field=config))
    state = {name: value.double().cpu() for name, value in model.state_dict().items()}
    near, far = box_bounds(rays)
    with torch.no_grad():
        *expected, training = reference.nerf_w(
            state, 2 * rays.origins, rays.directions, near, far, torch.arange(len(rays)) % PHOTOS, coarse=8, fine=6,
            field=field, last="bounded", seed=seed)
        pixels = model.render(given(backend, rays), None if seed is None else STANDING)
    if seed is None:
        assert_pictures(backend, pixels.levels, expected, 2)
        return
    assert_pictures(backend, pixels.levels[:1], expected[:1], 2)
    backend.assert_close(pixels.depth, expected[1][2] / 2, "depth of what stands")
    found = pixels.colour, pixels.opacity, pixels.extras["uncertainty"], pixels.extras["transient"]
    for name, actual, value in zip(("colour", "opacity", "uncertainty", "transient"), found, training):
        backend.assert_close(actual, value, name)


@pytest.fixture
def cpu(configuration):
    if configuration != "cpu-f64":
        pytest.skip("of the arithmetic, not of a backend")


def test_light_changes_colours_and_not_matter_and_what_passes_by_is_in_no_picture(cpu, backend, rays):
    model = prepared(backend)
    other = torch.full((len(rays),), 2, dtype=torch.int32)
    with torch.no_grad():
        one = model.render(given(backend, rays))
        lit = model.render(given(backend, rays, appearance=other))
        passed = model.render(given(backend, rays, transient=other))
    assert torch.equal(lit.opacity, one.opacity) and torch.equal(lit.depth, one.depth)
    assert (lit.colour - one.colour).abs().max() > 0.01
    assert torch.equal(passed.colour, one.colour) and "uncertainty" not in one.extras


@pytest.mark.parametrize("evenly", [0.0, 0.5, 1.0])
def test_a_pixel_counts_less_the_more_unsure_it_is(cpu, backend, rays, evenly):
    model = prepared(backend, dataclasses.replace(CONFIG, beta_nll=evenly))
    pixels = model.render(given(backend, rays), STANDING)
    rgba = backend.tensor(torch.full((len(rays), 4), 0.5))
    index = torch.zeros(len(rays), dtype=torch.int32)
    batch = Batch(rays=pixels.rays, rgba=rgba, background=rgba[:, :3], image_index=index, pixel_index=index)
    terms = model.losses(pixels, batch, STANDING)
    beta = 0.03 + pixels.extras["uncertainty"]
    truth = 0.5 * 0.5 + 0.5 * 0.5
    error = (pixels.colour + (1 - pixels.opacity)[:, None] * 0.5 - truth).square().mean(dim=1)
    first = pixels.levels[0].pixels
    expected = {"coarse": 0.5 * (first.over(batch.background) - truth).square().mean(),
                "fine": (beta ** (2 * evenly - 2) * error / 2).mean(),
                "uncertainty": (beta ** (2 * evenly) * beta.log()).mean(),
                "transient": 0.01 * pixels.extras["transient"].mean()}
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    # beta is at rest where it is the root of the error, however evenly pixels count
    of_uncertainty, = torch.autograd.grad(terms["fine"] + terms["uncertainty"], pixels.extras["uncertainty"])
    torch.testing.assert_close(of_uncertainty, beta ** (2 * evenly - 3) * (beta**2 - error) / len(rays))


@pytest.mark.parametrize("change, codes, groups", [
    ({}, {"appearance", "transient"}, {"transient", "codes.appearance", "codes.transient"}),
    ({"transient": False}, {"appearance"}, {"codes.appearance"}),
    ({"appearance": 0}, {"transient"}, {"transient", "codes.transient"}),
    ({"appearance": 0, "transient": False, "field": HASH}, set(), set())])
def test_either_half_can_be_left_out(cpu, backend, rays, change, codes, groups):
    """Every parameter is in a group, and learns."""
    model = prepared(backend, dataclasses.replace(CONFIG, **change))
    assert set(model.codes) == codes
    found = {group.name: group for group in model.parameter_groups()}
    tables = {"coarse.table", "fine.table"} if "field" in change else set()
    assert found.keys() == groups | tables | {"coarse", "fine"}
    in_groups = [id(parameter) for group in found.values() for parameter in group.parameters]
    assert sorted(in_groups) == sorted(id(parameter) for parameter in model.parameters())
    pixels = model.render(given(backend, rays), STANDING)
    rgba = backend.tensor(torch.full((len(rays), 4), 0.5))
    index = torch.zeros(len(rays), dtype=torch.int32)
    batch = Batch(rays=pixels.rays, rgba=rgba, background=rgba[:, :3], image_index=index, pixel_index=index)
    sum(model.losses(pixels, batch, STANDING).values()).backward()
    for name, parameter in model.named_parameters():
        learns = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert learns or (name.endswith("table") and "field" in change), name


def test_settings_that_make_no_sense_are_refused():
    for change, said in (({"min_uncertainty": 0.0}, "min-uncertainty"), ({"appearance": -1}, "appearance"),
                         ({"transient_code": 0}, "transient-code")):
        with pytest.raises(SettingError, match=said):
            dataclasses.replace(CONFIG, **change)


def test_in_device_coordinates_both_densities_are_per_length(cpu, backend, rays, monkeypatch):
    """t is no length there: of a second field that is as dense everywhere, a ray has as much as it is long in t."""
    config = dataclasses.replace(CONFIG, ndc=True)
    model = build_model(config, Box(aabb_scale=16), 3, {"appearance": PHOTOS, "transient": PHOTOS})
    model = model.to(backend.device, backend.dtype)
    ahead = dataclasses.replace(given(backend, rays), directions=backend.tensor([[0.0, 0.0, -1.0]] * len(rays)))
    monkeypatch.setattr(model.transient, "forward", lambda features, codes: Transient(
        torch.ones_like(features[0]), torch.ones_like(features[:3].t()), torch.ones_like(features[0])))
    length = model._device_rays(ahead).directions.norm(dim=1)
    torch.testing.assert_close(model.render(ahead, STANDING).extras["transient"], length)
