"""The registry: what is registered, from wherever, is read, listed, made, trained and shown like any other system."""

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import torch
from tyro.conf import Suppress

from taichi_nerf import cli, runtime
from taichi_nerf.config import (
    PRESETS,
    SYSTEMS,
    BatchConfig,
    FieldConfig,
    HashGridConfig,
    ModelConfig,
    NeRFConfig,
    OptimiserConfig,
    RayBatchConfig,
    Recipe,
    RunConfig,
    SettingError,
    System,
    TrainingConfig,
    check_fit,
    from_dict,
    preset_for,
    recipe,
    register,
    system_of,
)
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.errors import UserError
from taichi_nerf.models.family import box_of, build_model, check_scene, settled
from taichi_nerf.models.model import Box, Model
from taichi_nerf.models.nerf import NeRF
from taichi_nerf.training import checkpoint
from taichi_nerf.training.run import default_training, make_model


@dataclass(frozen=True, kw_only=True)
class GlowConfig(NeRFConfig):
    """A field that glows: a system of somebody else's program."""

    kind: Annotated[Literal["glow"], Suppress] = dataclasses.field(default="glow", init=False)
    strength: float = 0.25
    """Of the light that is added to every colour."""


class Glow(NeRF):
    @classmethod
    def check_scene(cls, config, scene):
        if config.strength > 1:
            raise UserError("--model.strength is for stars; use less")


SMALL = GlowConfig(
    field=FieldConfig(hash_grid=HashGridConfig(levels=2, features=2, log2_entries=8, base_resolution=4),
                      density_width=8, colour_width=8),
    coarse_samples=4, fine_samples=4)
RECIPE = Recipe(model=SMALL, batch=RayBatchConfig(rays=48), optimiser=OptimiserConfig(beta2=0.5))
GLOW = System(settings=GlowConfig, model=Glow, presets={"small": RECIPE, "paper": RECIPE})


@pytest.fixture
def glow():
    yield register(GLOW)
    del SYSTEMS["glow"]


@pytest.fixture(scope="module")
def scene():
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)
    yield builtin_scene(resolution=8, views=(3, 0, 1), samples_per_pixel=1)
    runtime.init(before.backend, before.dtype, before.threads, mlp=before.mlp)


def test_the_systems_of_the_package_are_known_in_their_order():
    assert list(SYSTEMS) == ["instant-ngp", "nerf", "nerf-w", "mip-nerf", "mip-nerf-360", "block-nerf", "regions",
                             "t-nerf", "d-nerf", "nerfies", "hypernerf", "plenoctree"]


@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_system_is_what_it_says_of_itself(kind):
    system = SYSTEMS[kind]
    assert system_of(kind) is system_of(system.settings()) is system and system.kind == kind
    assert issubclass(system.model_class, Model) and system.model_class.__module__.startswith("taichi_nerf.models.")
    for preset in PRESETS:
        found = recipe(kind, preset)
        check_fit(found.model, TrainingConfig(batch=found.batch, optimiser=found.optimiser))
        assert recipe(kind, preset, found.model.encoding) == found  # its own is the default
        assert type(build_model(dataclasses.replace(system.settings()), Box(bounded=True))) is system.model_class


def test_the_preset_paper_of_mip_nerf_360_with_a_hash_grid_is_zip_nerf():
    """In its own numbers. Contracted space has a side of 4, and features here are ten times those of the paper, which
    then count ten times: what Adam does to them, and a decay does, is the same with ten times the rate, and a hundredth
    of the decay."""
    found = recipe("mip-nerf-360", "paper", "hash")
    model, side, factor = found.model, 4, 10
    for grid, levels, features in ((model.field.hash_grid, 10, 4), (model.proposal.hash_grid, 8, 1)):
        resolutions = [16 * 2**level for level in range(levels)]
        assert (grid.base_resolution, grid.max_resolution * side, grid.levels) == (16, resolutions[-1], levels)
        assert (grid.features, 2**grid.log2_entries) == (features, 2**21)
        assert grid.decay * factor**2 == pytest.approx(0.1) and grid.decay_at(1.0) == grid.decay
    assert [16 * 2 ** (levels - 1) for levels in model.proposal_levels] == [512, 2048] and not model.shared_proposal
    assert (model.field.density_width, model.proposal.width, model.field.geometry_features) == (64, 64, 256)
    assert (model.field.colour_width, model.field.colour_layers) == (256, 3)
    assert model.initial_density == pytest.approx(math.exp(-1))
    assert (*model.proposal_samples, model.samples) == (64, 64, 32)
    assert (model.dilation, model.anneal_slope, model.single_jitter, model.widths) == (0.0, 10.0, True, "six")
    assert (model.range.spacing, model.range.near) == ("power-ladder", 0.0)
    assert (model.proposal_weight, model.proposal_blur, model.charbonnier) == (0.01, (0.03, 0.003), 0.001)
    assert (model.distortion_weight, model.distortion_distance) == (0.01, "power-ladder")
    optimiser = found.optimiser
    assert (optimiser.learning_rate / factor, optimiser.network_learning_rate) == pytest.approx((1.25e-3, 1.25e-3))
    assert (optimiser.final_fraction, optimiser.decay_start, optimiser.warmup_steps) == (0.1, 0.0, 2500)
    assert (optimiser.beta2, optimiser.epsilon, optimiser.clip_norm, optimiser.weight_decay) == (0.99, 1e-15, None, 0.0)
    assert found.batch.rays == 8192 and found.batch.random_background


def test_what_there_is_not_is_refused_by_name():
    with pytest.raises(SettingError, match=r"model must be one of instant-ngp, nerf, .*, plenoctree, got glow"):
        recipe("glow")
    with pytest.raises(SettingError, match="preset must be one of small, paper, got large"):
        recipe("nerf", "large")
    with pytest.raises(ValueError, match=r"kind must be one of instant-ngp, .*, got 'glow'"):
        from_dict(ModelConfig, dataclasses.asdict(SMALL))


def test_a_kind_is_registered_once(glow):
    with pytest.raises(SettingError, match="there is a system of the kind glow already"):
        register(GLOW)
    assert SYSTEMS["glow"] is GLOW


@pytest.mark.parametrize("change, message", [
    ({"presets": {"small": RECIPE}}, "presets of glow must be small, paper"),
    ({"settings": ModelConfig}, "ModelConfig must derive from ModelConfig and have a kind"),
    ({"settings": OptimiserConfig}, "OptimiserConfig must derive from ModelConfig"),
    ({"batch": BatchConfig}, "a recipe of glow has a GlowConfig and a BatchConfig"),
    ({"presets": {name: recipe("nerf") for name in PRESETS}}, "a recipe of glow has a GlowConfig"),
])
def test_a_system_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(SettingError, match=message):
        dataclasses.replace(GLOW, **change)


def test_a_system_from_outside_has_its_recipes(glow, scene):
    assert recipe("glow", "paper") == recipe("glow", "small", "hash") == RECIPE
    assert (preset_for("cpu", "glow"), preset_for("vulkan", "glow"), preset_for("cuda", "glow")) == (
        "small", "small", "paper")
    with pytest.raises(SettingError, match="encoding positional is not for glow, which has no choice of it"):
        recipe("glow", "small", "positional")
    chosen = default_training(SMALL, steps=3)
    assert (chosen.batch, chosen.optimiser, chosen.steps) == (RECIPE.batch, RECIPE.optimiser, 3)


def test_settings_from_outside_are_read_and_checked(glow):
    config = RunConfig(model=SMALL, training=TrainingConfig(batch=RECIPE.batch))
    assert from_dict(RunConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config
    with pytest.raises(ValueError, match="model lacks 'strength'"):
        from_dict(ModelConfig, {k: v for k, v in dataclasses.asdict(SMALL).items() if k != "strength"}, "model")
    with pytest.raises(SettingError, match="a batch of glow is a RayBatchConfig, got a BatchConfig"):
        RunConfig(model=SMALL)
    with pytest.raises(SettingError, match="explicit is for instant-ngp alone: glow has no step of kernels"):
        RunConfig(model=SMALL, training=TrainingConfig(batch=RECIPE.batch, gradients="explicit"))


def test_a_model_from_outside_is_made_for_a_scene_and_comes_back_from_its_file(glow, scene, tmp_path):
    with pytest.raises(UserError, match="strength is for stars"):
        check_scene(dataclasses.replace(SMALL, strength=2.0), scene)
    found = settled(SMALL, scene)
    assert found.field.hash_grid.max_resolution == round(1.25 * scene.pixels_per_unit * scene.aabb_scale / 2)
    model = make_model(scene, SMALL)
    assert type(model) is Glow and model.config == found and model.box == box_of(scene)
    checkpoint.save_model(tmp_path / "model.safetensors", model)
    loaded = checkpoint.load(tmp_path / "model.safetensors")
    assert type(loaded) is Glow and loaded.config == found
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


def test_a_file_of_a_system_that_is_not_known_says_which_are(glow, scene, tmp_path):
    checkpoint.save_model(tmp_path / "model.safetensors", make_model(scene, SMALL))
    del SYSTEMS["glow"]
    try:
        with pytest.raises(UserError, match="holds model of glow, where model of one of instant-ngp, nerf, nerf-w, "):
            checkpoint.load(tmp_path / "model.safetensors")
    finally:
        register(GLOW)


def test_the_command_line_has_a_system_from_outside(glow, scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "init", lambda *_, **__: runtime.current())
    assert cli.main(["train", "--model", "glow", "--help"]) == 0
    said = capsys.readouterr().out
    kinds = ("instant-ngp,nerf,nerf-w,mip-nerf,mip-nerf-360,block-nerf,regions,t-nerf,d-nerf,nerfies,hypernerf,"
             "plenoctree,glow")
    assert f"--model{{{kinds}}}" in re.sub(r"[│\s]", "", said)
    assert "--model.strength FLOAT" in said and "Of the light that is added to every colour. (default: 0.25)" in said
    run = tmp_path / "run"
    small = ["--steps", "2", "--downscale", "25", "--test-every", "8", "--orbit-frames", "0", "--output", str(run)]
    assert cli.main(["train", "--model", "glow", "--model.strength", "0.5", *small]) == 0
    model = json.loads((run / "config.json").read_text())["run"]["model"]
    assert (model["kind"], model["strength"]) == ("glow", 0.5)
    assert cli.main(["train", "--resume", str(run), "--steps", "3", "--orbit-frames", "0"]) == 0
    assert cli.main(["eval", str(run)]) == 0
    assert "trained 3 steps" in capsys.readouterr().out
    assert cli.main(["eval", str(run), "--renderer", "taichi"]) == 2
    assert "taichi is for instant-ngp, plenoctree alone, and" in capsys.readouterr().err


def test_the_command_line_has_no_system_that_is_not_known(capsys):
    assert cli.main(["train", "--model", "glow"]) == 2
    assert "glow" not in SYSTEMS and "hypernerf, plenoctree, got glow; see" in capsys.readouterr().err
