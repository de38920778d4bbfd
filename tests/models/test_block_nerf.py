"""Block-NeRF: its values against the reference, what it is told, and what its visibility learns."""

import dataclasses

import pytest
import torch

from taichi_nerf.config import BlockNeRFConfig, SettingError
from taichi_nerf.models.family import build_model
from taichi_nerf.models.model import Box
from taichi_nerf.reference.models import block_nerf as reference
from taichi_nerf.types import Batch, Rays, Seeds, Shot, Standing

from . import test_family
from .test_family import DEEP, DIRECTION_LEVELS, HASH, LEVELS, SKIP, assert_pictures, box_bounds, make_rays

PHOTOS = 3
CONFIG = BlockNeRFConfig(field=DEEP, samples=8, appearance=4, exposure_levels=2, visibility_width=16,
                         visibility_layers=2, visibility_levels=3)
STANDING = Standing(step=40, progress=0.4, seeds=Seeds(0, 5, 0))

full_precision = test_family.full_precision


@pytest.fixture
def within(rng):
    """Rays, near and far, that meet the box: the textbook moments of an interval without length are 0 / 0."""
    rays = make_rays(rng)
    near, far = box_bounds(rays)
    return rays[near < far], near[near < far], far[near < far]


@pytest.fixture
def rays(within):
    return within[0]


def prepared(backend, config=CONFIG, seed=3):
    """A model with codes and weights larger than at the start, in the precision of the backend."""
    model = build_model(config, Box(bounded=True), seed, {"appearance": PHOTOS})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        model.usual_exposure.fill_(-2.5)
    return model.to(backend.device, backend.dtype)


def given(backend, rays, **known):
    """`rays` of photos in turn, exposed by from -3.5 to -1.5 stops, or as `known` says."""
    ids = {"appearance": (torch.arange(len(rays), dtype=torch.int32) % PHOTOS).to(backend.device)}
    shot = Shot(**{"ids": ids, "exposure": backend.tensor(torch.linspace(-3.5, -1.5, len(rays))), **known})
    return Rays(backend.tensor(rays.origins), backend.tensor(rays.directions), backend.tensor(rays.radius), shot)


@pytest.mark.parametrize("seed", [None, 5])
def test_it_renders_what_its_reference_does(backend, within, seed):
    rays, near, far = within
    model = prepared(backend)
    state = {name: value.double().cpu() for name, value in model.state_dict().items()}
    with torch.no_grad():
        expected = reference.block_nerf(
            state, 2 * rays.origins, rays.directions, rays.radius, near, far, torch.arange(len(rays)) % PHOTOS,
            torch.linspace(-3.5, -1.5, len(rays)).double(), exposure_levels=2, samples=8, skip=SKIP, levels=LEVELS,
            direction_levels=DIRECTION_LEVELS, seed=seed)
        pixels = model.render(given(backend, rays), None if seed is None else STANDING)
    assert_pictures(backend, pixels.levels, expected, 2)


def test_its_visibility_is_that_of_the_reference(backend, rng):
    model = prepared(backend)
    state = {name: value.double().cpu() for name, value in model.state_dict().items()}
    positions = torch.rand(63, 3, generator=rng, dtype=torch.float64) - 0.5
    directions = torch.nn.functional.normalize(torch.randn(21, 3, generator=rng, dtype=torch.float64), dim=1)
    with torch.no_grad():
        found = model.visible(backend.tensor(positions), backend.tensor(directions))
    backend.assert_close(found, reference.visibility(state, 2 * positions, directions, levels=3))


@pytest.fixture
def cpu(configuration):
    if configuration != "cpu-f64":
        pytest.skip("of the arithmetic, not of a backend")


def test_what_it_is_told_changes_colours_and_not_matter(cpu, backend, rays):
    model = prepared(backend)
    two = torch.full((len(rays),), 2, dtype=torch.int32)
    with torch.no_grad():
        one = model.render(given(backend, rays))
        for known in ({"ids": {"appearance": two}}, {"exposure": torch.zeros(len(rays), dtype=torch.float64)}):
            other = model.render(given(backend, rays, **known))
            assert torch.equal(other.opacity, one.opacity) and torch.equal(other.depth, one.depth)
            assert (other.colour - one.colour).abs().max() > 0.01


def test_without_an_exposure_it_is_the_usual_one(cpu, backend, rays):
    model = prepared(backend)
    model.know(Shot(ids={"appearance": torch.arange(PHOTOS)}, exposure=torch.tensor([-3.0, -2.0, 1.0])))
    usual = torch.full((len(rays),), -4 / 3, dtype=torch.float64)
    with torch.no_grad():
        expected = model.render(given(backend, rays, exposure=usual)).colour
        found = model.render(given(backend, rays, exposure=None)).colour
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def trained_on(backend, pixels, rays):
    rgba = backend.tensor(torch.full((len(rays), 4), 0.5))
    index = torch.zeros(len(rays), dtype=torch.int32)
    return Batch(rays=pixels.rays, rgba=rgba, background=rgba[:, :3], image_index=index, pixel_index=index)


def test_the_visibility_learns_the_transmittance_and_teaches_the_field_nothing(cpu, backend, rays):
    model = prepared(backend)
    pixels = model.render(given(backend, rays), STANDING)
    loss = model.losses(pixels, trained_on(backend, pixels, rays), STANDING)["visibility"]
    first = pixels.levels[0]
    passed = torch.stack([1 - first.weights[:, :k].sum(dim=1) for k in range(first.weights.shape[1])], dim=1)
    middle = (first.t[:, 1:] + first.t[:, :-1]) / 2
    positions = pixels.rays.origins[:, None] + middle[..., None] * pixels.rays.directions[:, None]
    seen = model.visible(positions.reshape(-1, 3), pixels.rays.directions).view_as(passed)
    torch.testing.assert_close(loss, (seen - passed).square().mean())
    loss.backward()
    taught = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert taught == {"visibility"}


@pytest.mark.parametrize("change, codes", [
    ({}, {"codes.appearance"}), ({"appearance": 0}, set()), ({"appearance": 0, "exposure_levels": 0}, set()),
    ({"field": HASH, "widths": "level"}, {"codes.appearance"})])
def test_every_parameter_is_in_a_group_and_learns(cpu, backend, rays, change, codes):
    model = prepared(backend, dataclasses.replace(CONFIG, **change))
    groups = {group.name: group for group in model.parameter_groups()}
    assert groups.keys() == codes | {"field", "visibility"} | ({"field.table"} if "field" in change else set())
    in_groups = [id(parameter) for group in groups.values() for parameter in group.parameters]
    assert sorted(in_groups) == sorted(id(parameter) for parameter in model.parameters())
    pixels = model.render(given(backend, rays), STANDING)
    sum(model.losses(pixels, trained_on(backend, pixels, rays), STANDING).values()).backward()
    for name, parameter in model.named_parameters():
        learns = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert learns or (name.endswith("table") and "field" in change), name


def test_settings_that_make_no_sense_are_refused():
    for change, said in (({"appearance": -1}, "appearance"), ({"exposure_levels": 17}, "exposure-levels"),
                         ({"visibility_width": 0}, "visibility-width")):
        with pytest.raises(SettingError, match=said):
            dataclasses.replace(CONFIG, **change)
