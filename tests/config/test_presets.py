"""Which preset a run is of: its settings alone tell."""

import dataclasses

import pytest

from taichi_nerf.config import (
    ENCODINGS,
    PRESETS,
    SYSTEMS,
    DepthConfig,
    RefineConfig,
    RunConfig,
    SceneConfig,
    SettingError,
    TrainingConfig,
    preset_of,
    recipe,
    with_appearance,
    with_few_views,
)


def run_of(kind="instant-ngp", preset="small", encoding=None, **training) -> RunConfig:
    found = recipe(kind, preset, encoding)
    return RunConfig(model=found.model, training=TrainingConfig(
        batch=found.batch, optimiser=found.optimiser, **training))


@pytest.mark.parametrize("kind", [kind for kind, system in SYSTEMS.items() if system.made_by is None])
def test_a_run_of_a_preset_is_of_it_and_differs_in_nothing(kind):
    for preset in PRESETS:
        for encoding in ENCODINGS:
            try:
                run = run_of(kind, preset, encoding, steps=5)
            except SettingError:
                continue
            assert preset_of(run) == (preset, {})
            settled = dataclasses.replace(run, model=run.model.settled(400.0, scales=True))
            assert preset_of(settled) == (preset, {})


def test_what_is_set_otherwise_is_said_and_does_not_change_the_preset():
    found = recipe("instant-ngp", "paper")
    batch = dataclasses.replace(found.batch, samples=512, max_rays=99)
    run = RunConfig(scene=SceneConfig(test_every=2, downscale=4), model=found.model, training=TrainingConfig(
        batch=batch, optimiser=found.optimiser, seed=3, depth=DepthConfig(weight=0.1, final=0.5, of="points")))
    assert preset_of(run) == ("paper", {
        "scene.downscale": 4, "scene.test_every": 2, "training.seed": 3, "training.batch.samples": 512,
        "training.batch.max_rays": 99})


def test_what_a_flag_set_and_what_does_not_count_is_left_out():
    run = with_appearance(with_few_views(run_of(refine=RefineConfig(pull=0.5))), "codes", "a reason")
    assert preset_of(run) == ("small", {})
    run = run_of(refine=RefineConfig(poses=True, pull=0.5))
    assert preset_of(run) == ("small", {"training.refine.poses": True, "training.refine.pull": 0.5})
