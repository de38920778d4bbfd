"""Fields that know the time, T-NeRF, D-NeRF, Nerfies and HyperNeRF: values and gradients against their references, and
what they promise.
"""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from taichi_nerf.config import (
    DNeRFConfig,
    HyperNeRFConfig,
    NerfiesConfig,
    PositionalFieldConfig,
    RigidWarpConfig,
    SamplingConfig,
    SettingError,
    SliceConfig,
    TNeRFConfig,
    TrainingConfig,
    WarpConfig,
    check_fit,
    recipe,
)
from taichi_nerf.errors import UserError
from taichi_nerf.fields import deformed
from taichi_nerf.fields.codes import TimeCodes
from taichi_nerf.fields.timed import waves
from taichi_nerf.losses import geman_mcclure
from taichi_nerf.models.family import build_model, check_scene
from taichi_nerf.models.model import Box
from taichi_nerf.models.views import render_view
from taichi_nerf.reference.models.d_nerf import d_nerf
from taichi_nerf.reference.models.hypernerf import hypernerf
from taichi_nerf.reference.models.nerfies import nerfies, rigid_displacement
from taichi_nerf.reference.models.t_nerf import t_nerf
from taichi_nerf.types import Batch, Rays, Seeds, Shot, Standing

from . import test_family
from .test_family import DEGREE, GRID, HASH, facing, make_rays

SAMPLING = SamplingConfig(grid_resolution=16, steps=24)
T_NERF = TNeRFConfig(field=HASH, sampling=SAMPLING, time_levels=3)
WARP = WarpConfig(levels=3, waves=0, time_levels=2, rest=0.0, course=0.0, width=16, layers=2)
WAVES = WarpConfig(levels=3, waves=2, rest=0.4, course=0.6, width=16, layers=2)
D_NERF = DNeRFConfig(field=HASH, sampling=SAMPLING, time_levels=3, warp=WARP)
IN_WAVES = dataclasses.replace(D_NERF, warp=WAVES)
RIGID = RigidWarpConfig(levels=3, code=4, rest=0.4, course=0.6, width=16, layers=2, elastic=1e-3, still=1.0)
TOLD = dataclasses.replace(RIGID, codes_multiply=False, rest=0.0, course=0.0)
NERFIES = NerfiesConfig(field=HASH, sampling=SAMPLING, time_levels=3, warp=RIGID)
SLICE = SliceConfig(levels=2, ambient_levels=3, width=16, layers=2)
HYPERNERF = HyperNeRFConfig(field=HASH, sampling=SAMPLING, time_levels=3, warp=RIGID, slice=SLICE)
TOLD_CODES = dataclasses.replace(NERFIES, warp=TOLD)
TIMES = 5  # that have codes
SHAPE = {"side": 1.0, "grid": {**GRID, "max_resolution": 8}, "degree": DEGREE, "time_levels": 3}
OF_WARP = {"warp": {"levels": 3, "time_levels": 2}}
OF_WAVES = {"warp": {"levels": 3, "waves": 2, "rest": 0.4}}
DEEP = PositionalFieldConfig(levels=3, direction_levels=2, width=16, depth=4, skip=1, bottleneck=8, view_width=8)
OF_DEEP = {**SHAPE, "deep": {"levels": 3, "direction_levels": 2, "skip": 1}}
OF_SLICE = {"levels": 3, "ambient": {"levels": 2, "ambient_levels": 3}}
SKIPPED = dataclasses.replace(TOLD, layers=3, skip=1)
STANDING = Standing(step=64, progress=0.4, seeds=Seeds(0, 5, 0))
MODELS = {
    "t-nerf": (T_NERF, lambda *given: t_nerf(*given, **SHAPE)),
    "d-nerf": (D_NERF, lambda *given: d_nerf(*given, **SHAPE, **OF_WARP, sees_time=True)),
    "d-nerf, pure": (dataclasses.replace(D_NERF, field_sees_time=False),
                     lambda *given: d_nerf(*given, **SHAPE, **OF_WARP, sees_time=False)),
    "d-nerf, waves": (IN_WAVES, lambda *given: d_nerf(*given, **SHAPE, **OF_WAVES, sees_time=True)),
    "d-nerf, waves alone": (dataclasses.replace(IN_WAVES, field_sees_time=False),
                            lambda *given: d_nerf(*given, **SHAPE, **OF_WAVES, sees_time=False)),
    "nerfies": (NERFIES, lambda *given: nerfies(*given, **SHAPE, levels=3, sees_time=True, rest=0.4)),
    "nerfies, pure": (dataclasses.replace(NERFIES, field_sees_time=False),
                      lambda *given: nerfies(*given, **SHAPE, levels=3, sees_time=False, rest=0.4)),
    "nerfies, told codes": (TOLD_CODES, lambda *given: nerfies(*given, **SHAPE, levels=3, sees_time=True)),
    "hypernerf": (HYPERNERF, lambda *given: hypernerf(*given, **SHAPE, **OF_SLICE, sees_time=False, rest=0.4)),
    "hypernerf, told the time": (dataclasses.replace(HYPERNERF, field_sees_time=True),
                                 lambda *given: hypernerf(*given, **SHAPE, **OF_SLICE, sees_time=True, rest=0.4)),
    "t-nerf, deep": (dataclasses.replace(T_NERF, field=DEEP), lambda *given: t_nerf(*given, **OF_DEEP)),
    "d-nerf, deep": (dataclasses.replace(D_NERF, field=DEEP, warp=dataclasses.replace(WARP, skip=0)),
                     lambda *given: d_nerf(*given, **OF_DEEP, **OF_WARP, sees_time=True)),
    "nerfies, deep": (dataclasses.replace(NERFIES, field=DEEP, warp=SKIPPED, field_sees_time=False),
                      lambda *given: nerfies(*given, **OF_DEEP, levels=3, sees_time=False)),
    "hypernerf, deep": (
        dataclasses.replace(HYPERNERF, field=DEEP, warp=SKIPPED, slice=dataclasses.replace(SLICE, skip=0)),
        lambda *given: hypernerf(*given, **OF_DEEP, **OF_SLICE, sees_time=False)),
    "hypernerf, told codes": (dataclasses.replace(HYPERNERF, warp=TOLD),
                              lambda *given: hypernerf(*given, **SHAPE, **OF_SLICE, sees_time=False)),
}

full_precision = test_family.full_precision


@pytest.fixture
def rays(rng):
    return make_rays(rng)


def prepared(backend, config, seed=3):
    """A model whose weights are larger than at the start, in the precision of the backend."""
    model = build_model(config, Box(bounded=True), seed, counts={"time": TIMES})
    know_times(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = 0.5 if "table" in name else 0.1
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model.to(backend.device, backend.dtype)


def know_times(model):
    for codes in model.codes.values():
        codes.know(Shot(time=torch.linspace(0, 1, TIMES).flip(0)), "warp")  # in whatever order


def given(backend, rays, time):
    """`rays` at a time each, or all at one, on the backend."""
    time = torch.full((len(rays),), time) if isinstance(time, float) else time
    return Rays(backend.tensor(rays.origins), backend.tensor(rays.directions), None,
                Shot(time=time.to(backend.device, torch.float32)))


def test_a_point_is_carried_to_another_time_and_back(backend, rng):
    """What the warp takes to one place are one point; at the first time it takes each to itself."""
    model = prepared(backend, D_NERF)
    with torch.no_grad():
        for parameter in model.field.warp.parameters():
            parameter.mul_(0.5)
    points = backend.tensor(0.8 * torch.rand(50, 3, generator=rng) - 0.4)
    there = model.correspondence(points, 0.3, 0.8)
    close = 1e-5 if backend.dtype == torch.float64 else 1e-2  # networks are of half precision then
    assert there.residual.max() < close and (there.points - points).norm(dim=1).max() > 1e-3
    assert torch.allclose(model.correspondence(there.points, 0.8, 0.3).points, points, atol=10 * close)
    canonical = model.field.moved(points, Shot(time=points.new_full((50,), 0.3)))
    assert torch.allclose(model.correspondence(points, 0.3, 0.0).points, canonical, atol=close)


def test_where_the_warp_is_no_inverse_the_residual_says_so(backend):
    model = prepared(backend, D_NERF)
    model.field.warp.forward = lambda positions, shot, ray_index=None: -positions * shot.time[:, None]  # to a point
    lost = model.correspondence(backend.tensor(torch.full((4, 3), 0.2)), 0.5, 1.0)
    assert torch.isfinite(lost.points).all() and (lost.residual > 0.1).all()


@pytest.mark.parametrize("name", MODELS)
def test_it_renders_what_its_reference_does_with_the_same_gradients(backend, rays, name):
    config, reference = MODELS[name]
    model = prepared(backend, config)
    time = torch.linspace(0, 1, len(rays))
    told = given(backend, rays, time)
    if hasattr(getattr(model.field, "warp", None), "let_in"):
        model.field.warp.let_in(0.5)
    if getattr(getattr(model.field, "field", None), "heard", None) is not None:
        model.field.field.hear(0.7)
    if hasattr(model.field, "surface"):
        model.field.field.open(0.6)
    state = {key: value.detach().double().cpu().requires_grad_(value.is_floating_point())
             for key, value in model.state_dict().items()}
    marched = model.grid.march(told, near=0.0)
    samples = [value.double().cpu() if value.is_floating_point() else value.cpu() for value in (
        marched.positions, marched.t, marched.dt, marched.ray_index, marched.ray_start, marched.ray_count)]
    expected = reference(state, rays.directions, time.double(), samples, SAMPLING.early_stop)
    pixels = model.render(told)
    assert 0.05 < expected[1].mean() < 1
    for what, value in zip(("colour", "opacity", "depth"), expected):
        backend.assert_close(getattr(pixels, what), value.detach(), what)
    cotangent = torch.linspace(-1, 1, expected[0].numel(), dtype=torch.float64).view_as(expected[0])
    (expected[0] * cotangent).sum().backward()
    (pixels.colour * backend.tensor(cotangent)).sum().backward()
    groups = {group.parameters[0].data_ptr(): group.gradient for group in model.parameter_groups()}
    for key, parameter in model.named_parameters():
        found = groups[parameter.data_ptr()] if key.endswith("field.table") else parameter.grad
        assert state[key].grad.abs().max() > 0, key
        backend.assert_close(found, state[key].grad, key)


@pytest.mark.parametrize("name", ["d-nerf, waves", "nerfies", "hypernerf", "hypernerf, deep"])
def test_gradients_are_the_same_whether_the_warp_is_asked_once_or_twice(cpu, backend, rays, monkeypatch, name):
    """Where few samples are kept it is asked again, and where they are too many."""
    config = dataclasses.replace(MODELS[name][0], sampling=dataclasses.replace(SAMPLING, early_stop=0.5))
    told, found, asked = given(backend, rays, torch.linspace(0, 1, len(rays))), [], []
    for most, most_kept in ((0.0, 2**16), (1.1, 2**16), (0.0, 1)):
        monkeypatch.setattr(deformed, "MOST", most)
        monkeypatch.setattr(deformed, "MOST_KEPT", most_kept)
        model, times = prepared(backend, config), []
        model.field.warp.network.register_forward_pre_hook(
            lambda *_, times=times: times.append(torch.is_grad_enabled()))
        pixels = model.render(told)
        assert pixels.visible < pixels.marched
        pixels.colour.square().sum().backward()
        found.append([group.gradient if group.gradient is not None else parameter.grad
                      for group in model.parameter_groups() for parameter in group.parameters])
        asked.append(times)
    assert asked == [[True], [True, True], [False, True]]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@pytest.mark.parametrize("name, times", [("t-nerf", 0), ("d-nerf", 2), ("d-nerf, waves", 1), ("nerfies", 1),
                                         ("nerfies, told codes", 2), ("hypernerf", 1)])
@torch.no_grad()
def test_what_a_warp_says_of_points_at_any_time_is_computed_once_for_two(cpu, backend, rays, name, times):
    """Where its network is told the time it is computed anew."""
    model, asked = prepared(backend, MODELS[name][0]), []
    positions, count = backend.tensor(rays.directions) / 3, len(rays)
    shots = [model.told(Shot(time=torch.linspace(0, end, count)), count) for end in (0.3, 1.0)]
    expected = [model.density(positions, shot) for shot in shots]
    if times:
        model.field.warp.network.register_forward_pre_hook(lambda *_: asked.append(None))
    density = model.field.at(positions)
    for shot, value in zip(shots, expected):
        torch.testing.assert_close(density(shot), value)
    assert len(asked) == times


@pytest.mark.parametrize("name", ["d-nerf", "d-nerf, deep", "hypernerf", "hypernerf, deep"])
def test_a_picture_is_what_a_training_sees(cpu, backend, rays, name):
    model, told = prepared(backend, MODELS[name][0]), given(backend, rays, torch.linspace(0, 1, len(rays)))
    with torch.no_grad():
        picture = model.render(told)
    torch.testing.assert_close(picture.colour, model.render(told).colour.detach())


@pytest.fixture
def cpu(configuration):
    if configuration != "cpu-f64":
        pytest.skip("of the arithmetic, not of a backend")


@torch.no_grad()
def test_nothing_is_displaced_at_the_first_time_and_no_time_is_the_first(cpu, backend, rays):
    model = prepared(backend, D_NERF)
    positions = backend.tensor(rays.directions) / 3
    shots = {time: Shot(time=torch.full((len(rays),), time)) for time in (0.0, 1e-3, 0.5)}
    warp = model.field.warp
    assert torch.equal(warp(positions, shots[0.0]), torch.zeros_like(positions))
    assert warp(positions, shots[1e-3]).abs().max() > 1e-3
    first, later = (model.density(positions, shots[time]) for time in (0.0, 0.5))
    assert torch.equal(first, model.density(positions)) and not torch.allclose(first, later)
    still = dataclasses.replace(given(backend, rays, 0.0), shot=Shot())
    assert torch.equal(model.render(still).colour, model.render(given(backend, rays, 0.0)).colour)


def test_an_untrained_warp_hardly_moves_anything(cpu, backend, rays):
    warp = build_model(DNeRFConfig(), Box()).field.warp
    moved = warp(rays.directions.float() / 3, Shot(time=torch.linspace(0, 1, len(rays))))
    assert 0 < moved.abs().max() < 0.02


IN_A_SKIP = dataclasses.replace(NERFIES, warp=SKIPPED)
codes_either_way = pytest.mark.parametrize("config", [NERFIES, TOLD_CODES, IN_A_SKIP],
                                           ids=["codes multiply", "codes are told", "with a skip and biases"])


def rigid_warp(backend, config):
    """A warp that moves, some positions, and their shot."""
    warp = prepared(backend, config).field.warp
    generator = torch.Generator().manual_seed(1)
    positions = backend.tensor(torch.rand(12, 3, generator=generator) - 0.5)
    return warp, positions, Shot(codes={"warp": backend.tensor(torch.randn(12, RIGID.code, generator=generator))})


@codes_either_way
def test_the_jacobian_of_a_rigid_warp_is_that_of_autodiff(cpu, backend, config):
    warp, positions, shot = rigid_warp(backend, config)
    warp.let_in(0.6)
    weights = {f"network.{name}": value.detach() for name, value in warp.network.named_parameters()}

    def moved(x, code):
        moved = rigid_displacement(weights, x[None], code[None], 1.0, 3, float(warp.alpha), config.warp.codes_multiply)
        return (x + moved)[0]

    expected = torch.func.vmap(torch.func.jacrev(moved))(positions, shot.codes["warp"])
    found = warp.jacobian(positions, shot)
    assert (expected - torch.eye(3)).abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(warp(positions, shot), torch.func.vmap(moved)(positions, shot.codes["warp"]) - positions)


@codes_either_way
def test_the_jacobian_of_a_rigid_warp_has_gradients(cpu, backend, config):
    """Along a random direction of all weights and codes."""
    warp, positions, shot = rigid_warp(backend, config)
    values = [*warp.parameters(), shot.codes["warp"].requires_grad_()]
    generator = torch.Generator().manual_seed(2)
    directions = [1e-6 * torch.randn(value.shape, dtype=value.dtype, generator=generator) for value in values]
    warp.jacobian(positions, shot).square().sum().backward()
    expected = sum(float((value.grad * direction).sum()) for value, direction in zip(values, directions))
    ends = []
    with torch.no_grad():
        for times in (1, -2):
            for value, direction in zip(values, directions):
                value += times * direction
            ends.append(float(warp.jacobian(positions, shot).square().sum()))
    assert ends[0] - ends[1] == pytest.approx(2 * expected, rel=1e-6)


def test_an_untrained_rigid_warp_hardly_moves_anything_and_its_jacobian_is_the_identity(cpu, backend, rays):
    model = build_model(NerfiesConfig(), Box(), counts={"time": TIMES})
    know_times(model)
    positions = rays.directions.float() / 3
    shot = model.told(Shot(time=torch.linspace(0, 1, len(rays))), len(rays))
    assert 0 < model.field.warp(positions, shot).abs().max() < 0.02
    assert (model.field.warp.jacobian(positions, shot) - torch.eye(3)).abs().max() < 0.05


@pytest.mark.parametrize("kind, field, warp", [
    ("t-nerf", (63 + 21, 10), None),
    ("d-nerf", (63, 10), (8, 256, 63 + 21, 3)),
    ("nerfies", (51, 8), (6, 128, 51 + 8, 6)),
    ("hypernerf", (51 + 16, 8), (6, 128, 51 + 8, 6))])
def test_deep_networks_are_those_of_the_papers(kind, field, warp):
    """Sizes, skips and frequencies of --preset paper --encoding positional: Pumarola et al. 2021 (D-NeRF, section 4.2),
    Park et al. 2021 (Nerfies and HyperNeRF) and their code; a skip puts the input before the sixth layer."""
    found = recipe(kind, "paper", "positional").model
    model = build_model(found, Box(bounded=True), counts={"time": 2})
    template = (model.field if warp is None else model.field.field).network
    inputs, levels = field
    assert found.field.levels == levels and found.field.direction_levels == 4
    assert [tuple(layer.weight.shape) for layer in template.trunk] == [
        (256, inputs), *[(256, 256)] * 4, (256, 256 + inputs), *[(256, 256)] * 2]
    assert tuple(template.view_layer.weight.shape) == (128, 256 + 27)
    assert template.density_activation == "softplus"
    if warp is not None:
        layers, width, inputs, outputs = warp
        assert sizes_of(model.field.warp.network) == with_a_skip(layers, width, inputs, outputs)
        assert all(len(bias) == len(weight) for bias, weight in zip(model.field.warp.network.biases,
                                                                    model.field.warp.network.weights))
    if kind == "hypernerf":
        assert sizes_of(model.field.surface.network) == with_a_skip(6, 64, 9 + 8, 2)
        small = recipe(kind).model
        assert found.warp.width / found.slice.width == small.warp.width / small.slice.width == 2
    if kind in ("nerfies", "hypernerf"):
        assert (found.warp.code, found.warp.codes_multiply, found.warp.elastic_scale) == (8, False, 0.03)


@pytest.mark.parametrize("kind", ["t-nerf", "d-nerf", "nerfies", "hypernerf"])
def test_the_small_preset_has_a_smaller_deep_field_before_the_warp_that_hash_grids_have(kind):
    found = recipe(kind, "small", "positional")
    check_fit(found.model, TrainingConfig(batch=found.batch, optimiser=found.optimiser))
    assert (found.model.field.width, found.model.field.depth) == (128, 4)
    assert getattr(found.model, "warp", None) == getattr(recipe(kind).model, "warp", None)


def sizes_of(network):
    return [tuple(weight.shape) for weight in network.weights]


def with_a_skip(layers, width, inputs, outputs):
    return [(width, inputs), *[(width, width)] * 4, (width, width + inputs), *[(width, width)] * (layers - 6),
            (outputs, width)]


def test_the_code_of_a_time_lies_between_those_of_its_neighbours():
    codes = TimeCodes(3, 2, torch.Generator().manual_seed(0))
    codes.know(Shot(time=torch.tensor([1.0, 0.2, 0.2, 0.6])), "warp")
    found = codes(torch.tensor([0.2, 0.6, 1.0, 0.3, 0.0]))
    table = codes.table.detach()
    assert torch.equal(found[:3], table) and torch.equal(found[4], table[0])
    torch.testing.assert_close(found[3], 0.75 * table[0] + 0.25 * table[1])
    found.sum().backward()
    assert (codes.table.grad > 0).all()
    few = TimeCodes(3, 2, torch.Generator().manual_seed(0))
    few.know(Shot(time=torch.tensor([0.2, 0.3, 0.9, 1.0])), "warp")
    assert few.time.tolist() == pytest.approx([0.2, 0.6, 1.0])
    one = TimeCodes(1, 2, torch.Generator().manual_seed(0))
    one.know(Shot(time=torch.tensor([0.5])), "warp")
    assert torch.equal(one(torch.tensor([0.1, 0.5, 0.9])), one.table.detach().expand(3, -1))


def test_the_window_of_a_rigid_warp_opens_with_the_training_and_stays_as_it_is_in_pictures(cpu, backend, rays):
    model = prepared(backend, dataclasses.replace(NERFIES, warp=dataclasses.replace(RIGID, coarse=0.5)))
    told = given(backend, rays, 0.3)
    shown = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        model.render(told, dataclasses.replace(STANDING, progress=progress))
        shown.append(float(model.field.warp.alpha))
        model.render(told)
        assert float(model.field.warp.alpha) == shown[-1]
    assert shown == [0.0, 1.5, 3.0, 3.0] and "field.warp.alpha" in model.state_dict()


def batch_of(backend, rays):
    rgba = torch.rand(len(rays), 4, generator=torch.Generator().manual_seed(0))
    return Batch(rays=rays, rgba=backend.tensor(rgba), background=backend.tensor(torch.ones(3)), image_index=None,
                 pixel_index=None)


def test_the_elastic_loss_is_nothing_for_rigid_motions_and_pulls_what_bends(cpu, backend, rays):
    model, told = prepared(backend, TOLD_CODES), given(backend, rays, 0.3)
    pixels = model.render(told, STANDING)
    batch = batch_of(backend, told)
    loss = model.losses(pixels, batch, STANDING)["elastic"]
    assert 0 < loss.item() < 2 * RIGID.elastic
    loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.field.warp.parameters())
    assert model.field.field.density_network.weights[0].grad is None  # the weights of the samples are taken as they are
    with torch.no_grad():
        model.field.warp.network.weights[0][:, :-RIGID.code] = 0  # no coordinate is seen: one motion of all
    rigid = model.losses(pixels, batch, STANDING)["elastic"]
    assert rigid.item() < 1e-20
    still = dataclasses.replace(NERFIES, warp=dataclasses.replace(RIGID, elastic=0.0))
    assert set(prepared(backend, still).losses(pixels, batch, STANDING)) == {"colour"}


def test_the_elastic_loss_of_some_samples_is_that_of_all_in_the_mean(cpu, backend, rays):
    """Over the seeds of many steps; one seed always gives the same, and fewer samples scatter more."""
    model, told = prepared(backend, TOLD_CODES), given(backend, rays, torch.linspace(0, 1, len(rays)))
    pixels, batch = model.render(told, STANDING), batch_of(backend, told)
    samples, weights = pixels.samples, pixels.weights.detach()
    with torch.no_grad():
        jacobian = model.field.warp.jacobian(samples.positions, model.told(told.shot, len(told)), samples.ray_index)
        loss = geman_mcclure(torch.linalg.svdvals(jacobian).log().square().sum(dim=1), TOLD.elastic_scale)
    exact = TOLD.elastic * float((weights * loss).sum()) / len(told)

    def estimates(every, count=100):
        model.config = dataclasses.replace(TOLD_CODES, warp=dataclasses.replace(TOLD, elastic_every=every))
        steps = [dataclasses.replace(STANDING, seeds=Seeds(0, 7919 * number, 0)) for number in range(count)]
        return np.array([model.losses(pixels, batch, step)["elastic"].item() for step in steps])

    few, many = estimates(every=len(weights) // 8), estimates(every=1)
    for found in (few, many):
        assert abs(found.mean() - exact) < 4 * found.std() / len(found) ** 0.5 + 1e-12
    assert 0 < many.std() < 0.3 * few.std() and few.std() < exact
    assert np.array_equal(few[:5], estimates(every=len(weights) // 8, count=5))


def test_the_elastic_loss_waits_for_the_end_of_the_course(cpu, backend, rays):
    """Where codes multiply and there is a course."""
    model, told = prepared(backend, NERFIES), given(backend, rays, 0.3)
    pixels, batch = model.render(told, STANDING), batch_of(backend, told)

    def elastic(progress):
        terms = model.losses(pixels, batch, dataclasses.replace(STANDING, progress=progress))
        return terms["elastic"].item() if "elastic" in terms else 0.0

    assert elastic(0.1) == elastic(0.6) == 0 < elastic(0.8) == elastic(1.0)
    assert elastic(0.7) == pytest.approx(0.5 * elastic(0.8))
    model.config = dataclasses.replace(NERFIES, warp=dataclasses.replace(RIGID, course=0.0))
    assert elastic(0.1) == elastic(0.8)


def test_the_elastic_loss_pulls_at_what_a_course_has_stretched(cpu, backend, rays):
    """By about a tenth along each axis, as measured; with the scale of the paper such are outliers."""
    energy = 3 * 0.12**2

    def left(scale):
        """Of the pull on what is nearly rigid."""
        slopes = []
        for at in (1e-6, energy):
            square = torch.tensor(at, dtype=torch.float64, requires_grad=True)
            geman_mcclure(square, scale).backward()
            slopes.append(float(square.grad))
        return slopes[1] / slopes[0]

    assert left(RigidWarpConfig().elastic_scale) > 0.2 and left(0.03) < 0.01
    model, told = prepared(backend, TOLD_CODES), given(backend, rays, 0.3)
    pixels, batch = model.render(told, STANDING), batch_of(backend, told)
    loss = model.losses(pixels, batch, STANDING)["elastic"].item()
    model.config = dataclasses.replace(TOLD_CODES, warp=dataclasses.replace(TOLD, elastic_scale=1e3))
    assert model.losses(pixels, batch, STANDING)["elastic"].item() < 1e-3 * loss


def test_points_that_stand_still_are_held(cpu, backend, rays):
    model, told = prepared(backend, NERFIES), given(backend, rays, 0.3)
    pixels, batch = model.render(told, STANDING), batch_of(backend, told)
    assert "still" not in model.losses(pixels, batch, STANDING)
    model.know_points(backend.tensor(torch.rand(20, 3) - 0.5))
    drift = model.losses(pixels, batch, STANDING)["still"]
    drift.backward()
    assert 1.5 < drift.item() < 2 and model.codes["warp"].table.grad.abs().max() > 0  # all are outliers
    with torch.no_grad():
        model.field.warp.network.weights[-1].zero_()
    assert model.losses(pixels, batch, STANDING)["still"].item() == 0


def test_ambient_dimensions_are_those_of_the_field_alone_and_open_when_the_course_is_over(cpu, backend, rays):
    """Closed, nothing depends on them; where the warp has no course they open from coarse to fine."""
    model, told = prepared(backend, HYPERNERF), given(backend, rays, 0.9)
    opened, colours = [], []
    for progress in (0.1, 0.6, 0.7, 0.8):
        model.render(told, at(progress))
        opened.append(float(model.field.field.opened))
        with torch.no_grad():
            colours.append(model.render(told).colour)
            model.field.surface.network.weights[0].mul_(1.5)
    assert opened == pytest.approx([0.0, 0.0, 1.5, 3.0]) and "field.field.opened" in model.state_dict()
    assert torch.equal(colours[0], colours[1]) and not torch.allclose(colours[0], colours[2])
    for coarse, progress, seen in ((0.5, 0.25, 1.5), (0.5, 0.9, 3.0), (0.0, 0.0, 3.0)):
        warp = dataclasses.replace(RIGID, course=0.0)
        model.config = dataclasses.replace(HYPERNERF, warp=warp, slice=dataclasses.replace(SLICE, coarse=coarse))
        model.render(told, at(progress))
        assert float(model.field.field.opened) == seen
    points = backend.tensor(rays.directions) / 3
    assert model.correspondence(points, 0.2, 0.7).points.shape == points.shape


def test_at_the_time_of_rest_a_slice_is_the_space_that_things_rest_in(cpu, backend, rays):
    model = prepared(backend, HYPERNERF)
    positions = backend.tensor(rays.directions) / 3
    asked = [model.field.asked(positions)(model.told(Shot(time=torch.full((len(rays),), time)), len(rays)))
             for time in (0.4, 0.9)]
    torch.testing.assert_close(asked[0][:, :3], positions)
    assert asked[0][:, 3:].abs().max() < 1e-6  # a time is of single precision
    assert asked[1].shape == (len(rays), 5) and asked[1][:, 3:].abs().max() > 0.01


def at(progress):
    return dataclasses.replace(STANDING, progress=progress)


@pytest.mark.parametrize("rest", [0.0, 0.4])
def test_photos_come_in_from_the_time_of_rest(cpu, rest):
    """All are there at first and in the end; those that are not are as far from the time of rest as any that are."""
    warp = dataclasses.replace(WAVES, rest=rest, course=0.6)
    model = build_model(dataclasses.replace(IN_WAVES, warp=warp), Box())
    time = torch.rand(50, generator=torch.Generator().manual_seed(0))
    model.know(Shot(time=time))
    even = torch.linspace(0, 1, 101)
    for progress, photos in ((0.2, 3), (0.4, 27), (0.599, 50)):
        seen = model.photos_seen(at(progress))
        distance = (time - rest).abs()
        assert seen.sum() == photos and (photos == 50 or distance[seen].max() < distance[~seen].min())
        asked = model._times_asked(even, at(progress))
        assert 0 <= asked[0] <= time[seen].min() + 1e-6 and time[seen].max() - 1e-6 <= asked[-1] <= 1
        assert asked[-1] - asked[0] <= 2 * distance[seen].max() + 1e-6 and (asked.diff() >= 0).all()
        assert (2 * (asked - rest).abs() > distance[seen].max()).double().mean() > 0.6  # evenly half of them were
    for progress in (0.0, 0.19, 0.6, 1.0):
        assert model.photos_seen(at(progress)) is None and torch.equal(model._times_asked(even, at(progress)), even)
    model = build_model(dataclasses.replace(IN_WAVES, warp=dataclasses.replace(warp, course=0.0)), Box())
    model.know(Shot(time=time))
    assert model.photos_seen(at(0.3)) is None


def test_along_its_course_the_warp_learns_at_one_rate_and_the_field_is_told_the_time_at_last(cpu, backend, rays):
    model = prepared(backend, IN_WAVES)
    told = given(backend, rays, 0.3)
    group = next(group for group in model.parameter_groups() if group.name == "warp")
    assert [group.factor(at(progress)) for progress in (0.0, 0.19, 0.2, 0.59, 0.6)] == [0, 0, 1, 1, 1]
    assert group.factor(at(0.8)) == pytest.approx(0.1**0.5) and group.factor(at(1.0)) == pytest.approx(0.1)
    for progress, heard in ((0.0, 0.0), (0.6, 0.0), (0.7, 0.5), (0.8, 1.0), (1.0, 1.0)):
        model.render(told, at(progress))
        assert float(model.field.field.heard) == pytest.approx(heard)
        model.render(told)
        assert float(model.field.field.heard) == pytest.approx(heard)
    assert "field.field.heard" in model.state_dict() and model.grid.occupied_fraction < 0.5
    assert build_model(D_NERF, Box()).grid.occupied_fraction == 0.5
    assert "field.field.heard" not in build_model(D_NERF, Box()).state_dict()


@torch.no_grad()
def test_cells_that_were_given_up_are_sampled_again_when_photos_begin_to_come_in(cpu, backend, monkeypatch):
    """For as many updates as are said, and once: a training that is continued does not begin its course anew."""
    def made():
        model = build_model(IN_WAVES, Box(bounded=True)).to(backend.device, backend.dtype)
        model.know(Shot(time=torch.linspace(0, 1, 5)))
        monkeypatch.setattr(model.field, "at", lambda positions: lambda shot: 200.0 * (positions[:, 0] > 0))
        return model

    def after(model, updates, progress):
        model.after_step(dataclasses.replace(STANDING, step=512 + SAMPLING.update_every * updates, progress=progress))
        return model.grid.occupied(empty).double().mean().item()

    empty = backend.tensor(torch.rand(99, 3, generator=torch.Generator().manual_seed(0)) / 2 - 0.5)
    model = made()
    assert after(model, 0, 0.19) == 0
    assert [after(model, number, 0.2) for number in range(1, 6)] == [1, 1, 1, 1, 0]
    again = made()
    again.load_state_dict(model.state_dict())
    assert after(again, 6, 0.25) == 0


@torch.no_grad()
def test_trajectories_are_at_rest_at_the_time_of_rest_and_go_on_from_there(cpu, backend, rays):
    warp = prepared(backend, IN_WAVES).field.warp
    positions = backend.tensor(rays.directions) / 3
    moved = [warp(positions, Shot(time=torch.full((len(rays),), time, dtype=torch.float64)))
             for time in (0.4, 0.4 + 1e-4, 0.4 + 2e-4, 1.0)]
    assert torch.equal(moved[0], torch.zeros_like(positions)) and moved[3].abs().max() > 0.01
    torch.testing.assert_close(moved[2], 2 * moved[1], rtol=0.02, atol=1e-6)


@torch.no_grad()
def test_a_turn_about_an_axis_is_one_rigid_motion_and_the_code_says_how_far_it_has_come(cpu, backend, rays):
    """A network that says the same everywhere turns all things, by angles in proportion to the code."""
    warp = prepared(backend, NERFIES).field.warp
    axis, pivot, angles = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.1, -0.2, 0.0]), torch.tensor([0.3, -1.2])
    twist = backend.tensor(torch.cat([axis, torch.linalg.cross(pivot, axis)]))
    warp.network.forward = lambda encoded: torch.cat([twist[:, None], 0 * twist.repeat(3)[:, None]]).view(
        4, 6, 1).transpose(0, 1).reshape(24, 1).expand(-1, encoded.shape[1])
    points = backend.tensor(rays.directions) / 3
    for angle in angles:
        code = torch.cat([angle[None], torch.ones(3)]).to(points)
        moved = points + warp(points, Shot(codes={"warp": code.expand(len(points), -1)}))
        turn = torch.linalg.matrix_exp(float(angle) * torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]]).to(points))
        middle = backend.tensor(pivot) / 2  # the box is [-1, 1]^3 to the warp
        torch.testing.assert_close(moved, (points - middle) @ turn.T + middle)


def test_codes_of_a_time_of_rest_are_waves_beside_what_they_learn(cpu, backend):
    """Nothing at rest, whatever is learned; what is learned of a time lies between its neighbours, waves do not."""
    codes = TimeCodes(3, 3, torch.Generator().manual_seed(0), rest=0.4)
    codes.know(Shot(time=torch.tensor([1.0, 0.2, 0.6])), "warp")
    time = torch.tensor([0.2, 0.4, 0.5, 0.6])
    first = codes(time).detach()
    torch.testing.assert_close(first, waves(time, 2, 0.4)[:3].t())
    with torch.no_grad():
        codes.table.copy_(torch.rand(3, 3, generator=torch.Generator().manual_seed(1)))
    found, table = codes(time).detach() - first, codes.table.detach()
    at_rest, later = (table[0] + table[1]) / 2, (table[0] + 3 * table[1]) / 4
    torch.testing.assert_close(found, torch.stack([table[0], at_rest, later, table[1]]) - at_rest)
    codes(time).sum().backward()
    assert codes.table.grad.abs().max() > 0


def test_codes_that_multiply_learn_in_pace_with_the_warp(cpu, backend):
    """So that nothing of them is learned while all stands still."""
    groups = {group.name: group for group in build_model(NERFIES, Box(), counts={"time": TIMES}).parameter_groups()}
    assert groups["codes.warp"].share < groups["warp"].share
    for name in ("warp", "codes.warp"):
        assert groups[name].factor(at(0.1)) == 0 and groups[name].factor(at(0.5)) == 1
    groups = {group.name: group for group in build_model(TOLD_CODES, Box(), counts={"time": TIMES}).parameter_groups()}
    assert groups["codes.warp"].share == 1 and groups["codes.warp"].factor is None and groups["warp"].factor is None


@torch.no_grad()
def test_a_cell_that_is_occupied_at_some_time_stays(cpu, backend, monkeypatch):
    """Of a ball that goes along x, no cell that it ever meets is lost, and nothing else is kept."""
    model = build_model(T_NERF, Box(bounded=True)).to(backend.device, backend.dtype)

    def ball(positions, shot):
        centre = torch.stack([0.6 * shot.time.to(positions) - 0.3, 0 * shot.time, 0 * shot.time], dim=1)
        return 200.0 * ((positions - centre).norm(dim=1) < 0.1)

    monkeypatch.setattr(model.field, "at", lambda positions: partial(ball, positions))
    for step in range(64, 64 + 16 * 200, 16):
        model.after_step(dataclasses.replace(STANDING, step=step, seeds=Seeds(0, step, 0)))
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    path = torch.stack([0.6 * times - 0.3, 0 * times, 0 * times], dim=1)
    beside = path + torch.tensor([0.0, 0.05, -0.05])
    assert model.grid.occupied(path).all() and model.grid.occupied(beside).all()
    assert not model.grid.occupied(path + torch.tensor([0.0, 0.3, 0.0])).any()


def test_a_learning_rate_of_its_own_moves_the_warp(cpu, backend):
    model = build_model(D_NERF, Box())
    groups = {group.name: group for group in model.parameter_groups()}
    assert set(groups) == {"field.field.table", "field", "warp"} and groups["warp"].share == WARP.rate
    listed = [id(parameter) for group in groups.values() for parameter in group.parameters]
    assert sorted(listed) == sorted(map(id, model.parameters()))
    groups = {group.name for group in build_model(NERFIES, Box(), counts={"time": TIMES}).parameter_groups()}
    assert groups == {"field.field.table", "field", "warp", "codes.warp"}


def test_a_frozen_time_is_seen_from_anywhere_and_a_frozen_camera_sees_any_time(cpu, backend):
    runtime_of = prepared(backend, T_NERF)
    cameras = facing(count=2).model_cameras("train")
    shown = {(n, time): render_view(runtime_of, cameras, n, background=1.0, shot=Shot.single(time=time)).colour
             for n in (0, 1) for time in (0.2, 0.8)}
    pairs = [((0, 0.2), (1, 0.2)), ((0, 0.2), (0, 0.8))]
    assert all(not np.allclose(shown[one], shown[other], atol=1e-3) for one, other in pairs)


def test_scenes_without_times_are_refused(cpu, backend):
    scene = facing(count=3)
    for time, said in ((None, "no image of wall has a time: give each frame"), (np.full(3, 0.5), "have the time 0.5")):
        split = dataclasses.replace(scene.splits["train"], time=time)
        for config in (T_NERF, D_NERF, NERFIES):
            with pytest.raises(UserError, match=f"--model {config.kind} is for scenes that move, and .*{said}"):
                check_scene(config, dataclasses.replace(scene, splits={"train": split}))
    check_scene(T_NERF, dataclasses.replace(scene, splits={
        "train": dataclasses.replace(scene.splits["train"], time=np.array([0.5, 0.0, 1.0]))}))


def test_settings_that_make_no_sense_are_refused():
    for config, change, said in ((T_NERF, {"grid_times": 0}, "grid-times"),
                                 (T_NERF, {"time_levels": 17}, "time-levels"), (WARP, {"layers": 0}, "layers"),
                                 (WARP, {"rate": 0.0}, "rate"),
                                 (WARP, {"waves": -1}, "waves"), (WARP, {"rest": 1.5}, "rest"),
                                 (WARP, {"course": 0.1}, "course"), (RIGID, {"course": 1.0}, "course"),
                                 (RIGID, {"code": 0}, "code"),
                                 (RIGID, {"coarse": 1.0}, "coarse"), (RIGID, {"elastic": -1.0}, "elastic"),
                                 (RIGID, {"elastic_scale": 0.0}, "elastic-scale"),
                                 (RIGID, {"elastic_every": 0}, "elastic-every"), (RIGID, {"codes": 2**21}, "codes"),
                                 (RIGID, {"skip": -1}, "skip"), (SLICE, {"dimensions": 0}, "dimensions"),
                                 (SLICE, {"ambient_levels": 0}, "ambient-levels"), (SLICE, {"coarse": 1.0}, "coarse")):
        with pytest.raises(SettingError, match=said):
            dataclasses.replace(config, **change)
    for change in ({"widths": "level"}, {"widening": 0.1}):
        with pytest.raises(SettingError, match="widths and widening are of a hash grid"):
            dataclasses.replace(T_NERF, field=DEEP, **change)
    assert dataclasses.replace(T_NERF, field=DEEP).settled(100.0, scales=True).widths == "off"
