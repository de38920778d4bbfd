"""Training of every model by the one trainer: it learns, goes on exactly, and comes back from its checkpoint."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import (
    PRESETS,
    SYSTEMS,
    BlockNeRFConfig,
    FieldConfig,
    HashGridConfig,
    HashProposalConfig,
    MipNeRF360Config,
    MipNeRFConfig,
    NeRFConfig,
    NeRFWConfig,
    PositionalFieldConfig,
    PositionalProposalConfig,
    RangeConfig,
    RayBatchConfig,
    RunConfig,
    SettingError,
    TrainingConfig,
    from_dict,
    recipe,
    todays_run,
)
from taichi_nerf.models.mip_nerf import MipNeRF
from taichi_nerf.models.views import render_view
from taichi_nerf.training import checkpoint, run
from taichi_nerf.training.run import default_training, make_model
from taichi_nerf.training.trainer import Trainer, trainer_for
from taichi_nerf.types import Shot

from ..models.test_family import facing
from .test_checkpoint import assert_same

DEEP = PositionalFieldConfig(levels=4, direction_levels=2, width=16, depth=3, skip=1, bottleneck=8, view_width=8)
HASH = FieldConfig(hash_grid=HashGridConfig(levels=4, features=2, log2_entries=10, max_resolution=64), density_width=16,
                   colour_width=16)
SMALL = {
    "nerf": NeRFConfig(field=DEEP, coarse_samples=8, fine_samples=8),
    "nerf-hash": NeRFConfig(field=HASH, coarse_samples=8, fine_samples=8),
    "nerf-w": NeRFWConfig(field=DEEP, coarse_samples=8, fine_samples=8, transient_width=16, transient_layers=2,
                          min_uncertainty=0.3),
    "nerf-w-hash": NeRFWConfig(field=HASH, coarse_samples=8, fine_samples=8, transient_width=16, transient_layers=1,
                               min_uncertainty=0.3),
    "mip-nerf": MipNeRFConfig(field=DEEP, samples=8),
    "mip-nerf-hash": MipNeRFConfig(field=HASH, samples=8, widths="level"),
    "block-nerf": BlockNeRFConfig(field=DEEP, samples=8, appearance=2, visibility_width=8, visibility_layers=1),
    "mip-nerf-360": MipNeRF360Config(
        field=DEEP, proposal=PositionalProposalConfig(width=8, depth=2), proposal_samples=(8, 6), samples=6,
        appearance=2),
    "mip-nerf-360-hash": MipNeRF360Config(
        field=HASH, proposal=HashProposalConfig(hash_grid=HASH.hash_grid), proposal_samples=(8, 6), samples=6,
        shared_proposal=False, initial_density=0.1, appearance=2),
}
SMALL["zip-nerf"] = dataclasses.replace(
    SMALL["mip-nerf-360-hash"], widths="six", proposal_blur=(0.03, 0.003), distortion_distance="power-ladder",
    range=RangeConfig(spacing="power-ladder", near=0.0))
SMALL["nerf-hash-rays"], SMALL["mip-nerf-360-rays"] = (
    dataclasses.replace(SMALL[name], rays_per_pixel=4) for name in ("nerf-hash", "mip-nerf-360-hash"))


BATCH = RayBatchConfig(rays=64, crop_steps=3, one_ray=0.2)


@pytest.fixture(params=SMALL)
def make(request, small_scene):
    """`make(steps=20)`: a new trainer of an untrained small model."""

    def make(**settings) -> Trainer:
        config = SMALL[request.param]
        training = default_training(config, **{"steps": 20, "batch": BATCH, **settings})
        rates = {"learning_rate": 0.1, "network_learning_rate": 1e-2, "warmup_steps": 2}
        optimiser = dataclasses.replace(training.optimiser, **rates)
        training = dataclasses.replace(training, optimiser=optimiser)
        return trainer_for(make_model(small_scene, config), small_scene, training)

    return make


def test_training_lowers_the_loss(make):
    trainer, totals = make(steps=90, batch=dataclasses.replace(BATCH, rays=256)), []
    for _ in range(3):
        for _ in range(30):
            trainer.step()
        totals.append(trainer.totals())
    assert (totals[2] - totals[1]).squared_error < 0.8 * totals[0].squared_error


@pytest.mark.parametrize("change", [
    {"widths": "level"}, {"widths": "six"}, {"proposal_blur": (0.03, 0.003)}, {"distortion_distance": "power-ladder"},
    {"range": RangeConfig(spacing="power-ladder")}], ids=lambda change: next(iter(change)))
def test_each_setting_of_zip_nerf_changes_a_step(change, small_scene):
    """That of its own part of the loss, and the weights after it."""
    found = []
    for config in (SMALL["mip-nerf-360-hash"], dataclasses.replace(SMALL["mip-nerf-360-hash"], **change)):
        training = default_training(config, steps=5, batch=RayBatchConfig(rays=32))
        trainer = trainer_for(make_model(small_scene, config), small_scene, training)
        standing = trainer.clock.standing
        batch = trainer.batches.draw(standing)
        losses = trainer.model.losses(trainer.model.render(batch.rays, standing), batch, standing)
        trainer.step()
        found.append(({name: loss.item() for name, loss in losses.items()}, trainer.model.state_dict()))
    (before, weights), (after, changed) = found
    own = {"proposal_blur": {"proposal"}, "distortion_distance": {"distortion"}}.get(next(iter(change)), set(before))
    assert {name for name in before if before[name] != after[name]} == own
    assert any(not torch.equal(weights[name], changed[name]) for name in weights)


@pytest.mark.parametrize("name", ["mip-nerf-hash", "mip-nerf-360-hash", "zip-nerf"])
def test_levels_of_every_hash_grid_are_held_back_and_let_go_in_the_middle_of_the_training(name, small_scene):
    """As far as can be: each entry that one of the first two steps touches goes towards nothing."""

    def of(decay: float) -> Trainer:
        config = SMALL[name]
        grid = dataclasses.replace(HASH.hash_grid, decay=decay, decay_until=0.5)
        parts = {"field": dataclasses.replace(config.field, hash_grid=grid)}
        if hasattr(config, "proposal"):
            parts["proposal"] = dataclasses.replace(config.proposal, hash_grid=grid)
        training = default_training(config, steps=4, batch=RayBatchConfig(rays=64))
        return trainer_for(make_model(small_scene, dataclasses.replace(config, **parts)), small_scene, training)

    def tables(trainer: Trainer) -> dict[str, torch.Tensor]:
        tensors = trainer.state_dict()["tensors"]
        return {key: value.clone() for key, value in tensors.items()
                if key.startswith("model.") and key.endswith(".table") and "codes" not in key}

    held, free = of(1e6), of(0.0)
    state = held.state_dict()
    for key in tables(held):
        state["tensors"][key].normal_(generator=torch.Generator().manual_seed(1))
    held.load_state_dict(state)
    assert len(tables(held)) == (1 if name == "mip-nerf-hash" else 3)
    for step in range(4):
        free.load_state_dict(held.state_dict())
        before = tables(held)
        for trainer in (held, free):
            trainer.step()
        let_go = tables(free)
        for key, after in tables(held).items():
            assert torch.equal(after, let_go[key]) == (step >= 2), key
            moved = (after != before[key]).any(dim=1)
            if step == 0:
                assert 0 < moved.sum() < len(moved), key
                nearer = after[moved].abs() < before[key][moved].abs()
                assert nearer.float().mean() > 0.98, key  # but for those nearer than the step


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_of_mip_nerf_360_with_a_hash_grid_takes_its_steps(preset, small_scene):
    """With small tables; all else is as it is."""
    found = recipe("mip-nerf-360", preset, "hash")
    parts = {name: dataclasses.replace(part, hash_grid=dataclasses.replace(part.hash_grid, log2_entries=8))
             for name, part in (("field", found.model.field), ("proposal", found.model.proposal))}
    config = dataclasses.replace(found.model, **parts)
    training = default_training(config, steps=3, batch=dataclasses.replace(found.batch, rays=16))
    trainer = trainer_for(make_model(small_scene, config), small_scene,
                          dataclasses.replace(training, optimiser=found.optimiser))
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    for _ in range(3):
        trainer.step()
    assert np.isfinite(trainer.totals().squared_error)
    for name, value in trainer.model.named_parameters():
        assert torch.isfinite(value).all() and not torch.equal(value, before[name]), name
    levels = [proposal.layout.levels.shape[0] for proposal in trainer.model.proposals]
    assert levels == ([6, 8] if preset == "paper" else [5])


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_steps_on_vulkan_are_those_on_the_cpu(name, small_scene):
    if (reason := runtime.why_missing("vulkan")) is not None:
        pytest.skip(f"vulkan: {reason}")
    errors = []
    try:
        for backend in ("vulkan", "cpu"):
            runtime.init(backend, threads=1)
            training = default_training(SMALL[name], steps=5, batch=RayBatchConfig(rays=32))
            trainer = trainer_for(make_model(small_scene, SMALL[name]), small_scene, training)
            for _ in range(3):
                trainer.step()
            errors.append(trainer.totals().squared_error)
    finally:
        runtime.init("cpu", threads=1)
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_steps_before_and_after_a_checkpoint_equal_steps_without_one(make, tmp_path):
    straight, first, second = make(), make(), make()
    run.warm_up(first)
    for _ in range(6):
        straight.step()
    for _ in range(3):
        first.step()
    checkpoint.save(tmp_path, first)
    checkpoint.load_training(tmp_path, second)
    for _ in range(3):
        second.step()
    assert_same(straight, second)


def test_loaded_model_shows_what_the_trained_one_does(make, tmp_path, small_scene):
    trainer = make()
    trainer.step()
    checkpoint.save(tmp_path, trainer)
    cameras, model = small_scene.model_cameras("test"), checkpoint.load(tmp_path)
    assert model.config == trainer.model.config and model.box == trainer.model.box
    with trainer.averaged() as averaged:
        expected = render_view(averaged, cameras, 0, background=1.0, normals=True)
    shown = render_view(model, cameras, 0, background=1.0, normals=True)
    for name in ("colour", "opacity", "depth", "normals"):
        assert np.array_equal(getattr(shown, name), getattr(expected, name)), name


def test_device_coordinates_come_back_from_the_checkpoint(tmp_path):
    scene = facing()
    config = dataclasses.replace(SMALL["nerf"], ndc=True)
    training = default_training(config, steps=2, batch=RayBatchConfig(rays=32))
    trainer = trainer_for(make_model(scene, config), scene, training)
    trainer.step()
    checkpoint.save(tmp_path, trainer)
    model, cameras = checkpoint.load(tmp_path), scene.model_cameras("train")
    with trainer.averaged() as averaged:
        expected = render_view(averaged, cameras, 1, background=0.0)
    shown = render_view(model, cameras, 1, background=0.0)
    assert model.frustum[2] > 0 and np.array_equal(shown.colour, expected.colour)
    assert np.array_equal(shown.depth, expected.depth) and (shown.depth > 0).any()


def test_rays_of_the_crop_are_of_the_central_half(make, small_scene):
    trainer = make()
    drawn = trainer.batches.drawn(trainer.clock.standing)
    size = torch.from_numpy(small_scene.splits["train"].cameras.size)[drawn.image_index.long()]
    place = trainer.batches.photos.images.pixel_centres(drawn.image_index, drawn.pixel_index) / size
    assert len(drawn.rgba) == 64 and ((place - 0.5).abs() <= 0.25).all()
    pixels = small_scene.splits["train"].images.pixels[drawn.pixel_index.numpy()]
    np.testing.assert_allclose(drawn.rgba.numpy() * 255, pixels, atol=1e-3)


def test_a_short_training_is_on_whole_images_from_a_quarter_of_it_on(small_scene):
    config = SMALL["nerf"]
    training = default_training(config, steps=20, batch=RayBatchConfig(rays=64, crop_steps=400))
    trainer = trainer_for(make_model(small_scene, config), small_scene, training)

    def farthest(step: int) -> float:
        """Of places in the images that a step sees, from their middle."""
        standing = dataclasses.replace(trainer.clock.standing, step=step, progress=step / 20)
        drawn = trainer.batches.drawn(standing)
        size = torch.from_numpy(small_scene.splits["train"].cameras.size)[drawn.image_index.long()]
        place = trainer.batches.photos.images.pixel_centres(drawn.image_index, drawn.pixel_index) / size
        return (place - 0.5).abs().max().item()

    assert farthest(0) <= 0.25 and farthest(4) <= 0.25
    assert farthest(5) > 0.25 and farthest(19) > 0.25


def test_images_without_alpha_are_not_cropped():
    scene = facing()
    config = SMALL["nerf"]
    training = default_training(config, steps=5, batch=RayBatchConfig(rays=64, crop_steps=3))
    trainer = trainer_for(make_model(scene, config), scene, training)
    drawn = trainer.batches.drawn(trainer.clock.standing)
    place = trainer.batches.photos.images.pixel_centres(drawn.image_index, drawn.pixel_index) / torch.tensor([8.0, 6.0])
    assert ((place - 0.5).abs() > 0.25).any()


def test_pixels_weigh_as_much_as_their_area(small_scene):
    split = dataclasses.replace(small_scene.splits["train"], area_weight=np.arange(6, dtype=np.float32))
    scene = dataclasses.replace(small_scene, splits={**small_scene.splits, "train": split})
    config = SMALL["mip-nerf"]
    trainer = trainer_for(make_model(scene, config), scene, default_training(config, steps=5))
    standing = trainer.clock.standing
    batch = trainer.batches.draw(standing)
    assert torch.equal(batch.weight, batch.image_index.float())
    pixels = trainer.model.render(batch.rays)
    error = (pixels.over(batch.background) - batch.target).square().mean(dim=1)
    losses = trainer.model.losses(pixels, batch, standing)
    torch.testing.assert_close(losses["fine"], (batch.weight * error).sum() / batch.weight.sum())
    even = MipNeRF(dataclasses.replace(config, area_weighting=False), trainer.model.box).losses(pixels, batch, standing)
    torch.testing.assert_close(even["fine"], error.mean())
    assert even["coarse"] < losses["fine"]


def test_an_image_has_its_appearance_in_training_and_none_in_a_new_view(small_scene):
    config = SMALL["mip-nerf-360"]
    model = make_model(small_scene, config)
    codes = model.codes["appearance"].table
    assert codes.shape == (6, 2)
    trainer = trainer_for(model, small_scene, default_training(config, steps=5))
    with torch.no_grad():
        rays = trainer.some_rays(32)
        before = model.render(rays).colour, model.render(dataclasses.replace(rays, shot=Shot())).colour
        codes[::2] += 3.0
        codes[1::2] -= 3.0
        after = model.render(rays).colour, model.render(dataclasses.replace(rays, shot=Shot())).colour
    assert not torch.allclose(before[0], after[0], atol=1e-3)
    torch.testing.assert_close(before[1], after[1])


def test_settings_of_every_model_survive_json():
    for name in SYSTEMS:
        for preset in PRESETS:
            encodings = (None, "hash", *["positional"] * SYSTEMS[name].moves)
            for encoding in encodings if SYSTEMS[name].made_by is None else (None,):
                found = recipe(name, preset, encoding)
                training = TrainingConfig(batch=found.batch, optimiser=found.optimiser)
                config = RunConfig(model=found.model, training=training)
                assert from_dict(RunConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize("name", SYSTEMS)
def test_settings_of_the_second_version_are_as_they_were(name):
    """Which knew one ray for each pixel."""
    found = recipe(name)
    of_one = {} if getattr(found.model, "rays_per_pixel", 1) == 1 else {"rays_per_pixel": 1}
    model = dataclasses.replace(found.model, **of_one)
    config = RunConfig(model=model, training=TrainingConfig(batch=found.batch, optimiser=found.optimiser))
    values = dataclasses.asdict(config)
    values["model"].pop("rays_per_pixel", None)
    del values["training"]["batch"]["one_ray"]
    assert from_dict(RunConfig, todays_run(values, 2)) == config


def test_what_does_not_go_together_is_refused(small_scene):
    with pytest.raises(SettingError, match="rays-per-pixel needs --encoding hash"):
        dataclasses.replace(SMALL["mip-nerf-360"], rays_per_pixel=4)
    for name in ("mip-nerf", "mip-nerf-360"):
        with pytest.raises(SettingError, match="widths needs --encoding hash"):
            dataclasses.replace(SMALL[name], widths="level")
    with pytest.raises(SettingError, match="proposal-blur must be one number for each of 2 proposals, or none, got 1"):
        dataclasses.replace(SMALL["mip-nerf-360"], proposal_blur=(0.03,))
    with pytest.raises(SettingError, match="proposal-levels needs --encoding hash"):
        dataclasses.replace(SMALL["mip-nerf-360"], proposal_levels=(2, 3))
    for change in ({"proposal_levels": (2,)}, {"proposal_levels": (2, 3), "shared_proposal": True}):
        with pytest.raises(SettingError, match="proposal-levels must be one number for each of 2 proposals that are"):
            dataclasses.replace(SMALL["mip-nerf-360-hash"], **change)
    with pytest.raises(SettingError, match="proposal-levels must be from 1 to 4, got 5"):
        dataclasses.replace(SMALL["mip-nerf-360-hash"], proposal_levels=(2, 5))
    with pytest.raises(SettingError, match="gradients explicit is for instant-ngp alone"):
        RunConfig(model=NeRFConfig(), training=TrainingConfig(batch=RayBatchConfig(), gradients="explicit"))
    with pytest.raises(SettingError, match="a batch of nerf is a RayBatchConfig"):
        trainer_for(make_model(small_scene, SMALL["nerf"]), small_scene, TrainingConfig())
    with pytest.raises(SettingError, match="encoding positional is not for instant-ngp"):
        recipe("instant-ngp", "small", "positional")
