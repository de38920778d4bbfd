"""Models whose colour is in spherical harmonics."""

import dataclasses

import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import (
    InstantNGPConfig,
    MipNeRF360Config,
    MipNeRFConfig,
    NeRFConfig,
    PositionalFieldConfig,
    PositionalProposalConfig,
    SamplingConfig,
    SettingError,
)
from taichi_nerf.data.builtin import hemisphere_cameras
from taichi_nerf.fields.codes import with_codes
from taichi_nerf.models.family import build_model
from taichi_nerf.models.instant_ngp import InstantNGP
from taichi_nerf.models.model import Box
from taichi_nerf.models.views import render_view
from taichi_nerf.ops.harmonic_colours import harmonic_colours
from taichi_nerf.types import Rays, Shot

from .test_family import DEEP, HASH, PROPOSAL

MODELS = {
    "instant-ngp": InstantNGPConfig(field=HASH, sampling=SamplingConfig(grid_resolution=16, steps=64), appearance=2),
    "nerf": NeRFConfig(field=DEEP, coarse_samples=8, fine_samples=8),
    "nerf-hash": NeRFConfig(field=HASH, coarse_samples=8, fine_samples=8),
    "mip-nerf": MipNeRFConfig(field=DEEP, samples=8),
    "mip-nerf-hash": MipNeRFConfig(field=HASH, samples=8),
    "mip-nerf-360": MipNeRF360Config(field=DEEP, proposal=PositionalProposalConfig(width=8, depth=2), appearance=2,
                                     proposal_samples=(8,), samples=6),
    "mip-nerf-360-hash": MipNeRF360Config(field=HASH, proposal=PROPOSAL, proposal_samples=(8,), samples=6),
}


@pytest.fixture(autouse=True)
def single_precision():
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)
    yield
    runtime.init(before.backend, before.dtype, threads=before.threads)


def made(config, harmonics):
    """A model that shows something everywhere."""
    config = dataclasses.replace(config, field=dataclasses.replace(config.field, harmonics=harmonics))
    model = build_model(config, Box(), 3, {"appearance": 3})
    with torch.no_grad():
        for field in model.fields().values():
            for table, *_ in field.tables():
                table.normal_(generator=torch.Generator().manual_seed(0))
    return model


def towards(*directions) -> Rays:
    """Through the middle."""
    unit = torch.nn.functional.normalize(torch.tensor(directions), dim=1)
    return Rays(-unit, unit, torch.full((len(unit),), 0.01))


@pytest.mark.parametrize("name", MODELS)
def test_every_field_with_colour_has_coefficients_of_which_its_colours_are_made(name, monkeypatch):
    model = made(MODELS[name], 2)
    assert [field.harmonics for field in model.fields().values()].count(2) == (2 if name.startswith("nerf") else 1)
    shown = []
    colour = type(model.fields()[next(iter(model.fields()))]).colour

    def checked(field, hidden, directions, shot=None, ray_index=None):
        found = colour(field, hidden, directions, shot, ray_index)
        coefficients = field.colour_coefficients(hidden, shot, ray_index)
        assert coefficients.shape == (len(found), 3, 9)
        of_samples = directions[ray_index] if ray_index is not None else directions.repeat_interleave(
            len(found) // len(directions), dim=0)
        rows = coefficients.flatten(1).t().contiguous()
        torch.testing.assert_close(harmonic_colours(rows, of_samples), found)
        shown.append(len(found))
        return found

    for field in model.fields().values():
        monkeypatch.setattr(type(field), "colour", checked)
    with torch.no_grad():
        pixels = model.render(towards((0.0, 0.0, -1.0), (0.3, -1.0, 0.2)))
    assert torch.isfinite(pixels.colour).all() and sum(shown) > 0


@pytest.mark.parametrize("name", ["instant-ngp", "mip-nerf"])
def test_colours_of_degree_0_are_the_same_from_everywhere(name):
    directions = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    for harmonics in (0, 2, None):
        model = made(MODELS[name], harmonics)
        samples = torch.rand(4, 3, generator=torch.Generator().manual_seed(2)) - 0.5
        field = model.field
        _, hidden = field.density(samples if field.tables() else (samples, torch.full_like(samples, 1e-4)))
        shot = with_codes(Shot(), model.codes, 4)
        there, back = (field.colour(hidden, x, shot) for x in (directions, -directions))
        assert torch.equal(there, back) == (harmonics == 0)


@pytest.mark.slow
@pytest.mark.parametrize("appearance", [0, 2])
def test_both_renderers_show_the_same_harmonics_with_any_code(appearance):
    config = dataclasses.replace(MODELS["instant-ngp"], appearance=appearance)
    model, cameras = made(config, 2), hemisphere_cameras(1, 24)
    assert isinstance(model, InstantNGP)
    cameras.camera_to_world[:, :, 3] /= 3  # within the box
    codes = [torch.tensor([3.0, -2.0]), torch.tensor([-1.0, 4.0])] if appearance else [None]
    shown = []
    for code in codes:
        shot = Shot() if code is None else Shot.single(codes={"appearance": code})
        staged, fast = (render_view(model, cameras, 0, background=1.0, renderer=renderer, shot=shot).colour
                        for renderer in ("torch", "taichi"))
        assert abs(staged - fast).max() < 0.02  # networks in half precision
        shown.append(fast)
    assert shown[0].std() > 0.02 and (not appearance or abs(shown[0] - shown[1]).max() > 0.02)


def test_harmonics_that_see_no_direction_are_refused():
    with pytest.raises(SettingError, match="harmonics above 0 depend on the viewing direction"):
        PositionalFieldConfig(view_dependent=False, harmonics=1)
    assert PositionalFieldConfig(view_dependent=False, harmonics=0).harmonics == 0
