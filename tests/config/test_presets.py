"""Which preset a run is of: its settings alone tell."""

import dataclasses

import numpy as np
import pytest

from taichi_nerf.config import (
    ENCODINGS,
    PRESETS,
    SYSTEMS,
    DepthConfig,
    NearCameraConfig,
    RangeConfig,
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


@pytest.mark.parametrize("kind, change, said", [
    ("mip-nerf-360", {"contraction": False}, {"model.contraction": False}),
    ("mip-nerf-360", {"shared_proposal": False, "proposal_levels": (3, 5)}, {
        "model.shared_proposal": False, "model.proposal_levels": (3, 5)}),
    ("nerf", {"range": RangeConfig(near=0.5, far=3.0)}, {"model.range.near": 0.5, "model.range.far": 3.0}),
    ("nerf", {"density_noise": 1.0}, {"model.density_noise": 1.0}),
])
def test_what_a_preset_has_no_value_for_is_said_where_it_is_set(kind, change, said):
    encoding = "hash" if "proposal_levels" in change else None
    run = run_of(kind, encoding=encoding)
    assert preset_of(dataclasses.replace(run, model=dataclasses.replace(run.model, **change))) == ("small", said)


def test_only_what_the_scene_settles_is_left_out():
    run = run_of()
    clipped = dataclasses.replace(run.training, optimiser=dataclasses.replace(run.training.optimiser, clip_norm=1.0))
    assert preset_of(dataclasses.replace(run, training=clipped)) == ("small", {"training.optimiser.clip_norm": 1.0})
    run = run_of("regions")
    boxes = np.array([[[-1.0] * 3, [0.0] * 3], [[0.0] * 3, [1.0] * 3]])
    model = dataclasses.replace(run.model, count=2)
    without, settled = (preset_of(dataclasses.replace(run, model=each)) for each in (model, model.at(boxes)))
    assert settled == without


def test_what_a_flag_set_and_what_does_not_count_is_left_out():
    run = with_appearance(with_few_views(run_of(refine=RefineConfig(pull=0.5))), "codes", "a reason")
    assert preset_of(run) == ("small", {})
    run = run_of(refine=RefineConfig(poses=True, pull=0.5))
    assert preset_of(run) == ("small", {"training.refine.poses": True, "training.refine.pull": 0.5})


def test_what_is_given_beside_a_flag_that_sets_it_is_a_difference():
    run = with_few_views(run_of(near_camera=NearCameraConfig(weight=0.05)), {"training.near_camera.weight"})
    assert preset_of(run) == ("small", {"training.near_camera.weight": 0.05})
