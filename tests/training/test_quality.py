"""What training reaches: the numbers that users see, with room for other machines' rounding."""

import dataclasses

import numpy as np
import pytest

from taichi_nerf import runtime
from taichi_nerf.config import BatchConfig, ModelConfig, TrainingConfig
from taichi_nerf.data import load_scene
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.models.views import render_view
from taichi_nerf.training.evaluate import evaluate
from taichi_nerf.training.run import fit, make_model


def trained(scene, steps: int, **batch):
    model = make_model(scene)
    fit(model, scene, TrainingConfig(steps=steps, batch=BatchConfig(**batch)))
    return model


@pytest.fixture(scope="module")
def still_life():
    return builtin_scene(resolution=64, views=(30, 0, 4), samples_per_pixel=4)


def test_a_short_training_beats_the_mean_colour_by_far(still_life):
    """The best constant picture scores below 15 dB here."""
    assert evaluate(trained(still_life, 200, samples=4096), still_life).psnr > 22


def test_the_trained_depth_is_that_of_the_surfaces(still_life):
    model = trained(still_life, 300, samples=4096)
    view = render_view(model, still_life.model_cameras("test"), 0, background=1.0)
    truth = still_life.splits["test"].depth[0] * still_life.scale
    solid = np.isfinite(truth) & (view.opacity > 0.9)
    assert solid.mean() > 0.1
    assert np.median(np.abs(view.depth - truth)[solid]) < 0.02


@pytest.mark.slow
def test_lego_reaches_25_db_in_500_steps(real_data):
    runtime.init("cpu")
    scene = load_scene(real_data("nerf_synthetic/lego"), downscale=2, splits=("train", "test"), every={"test": 25})
    assert evaluate(trained(scene, 500), scene).psnr > 25


@pytest.mark.slow
def test_vulkan_trains_to_what_the_cpu_trains_to(still_life):
    if (reason := runtime.why_missing("vulkan")) is not None:
        pytest.skip(f"vulkan: {reason}")
    scores = {}
    for backend in ("cpu", "vulkan"):
        runtime.init(backend)
        model = make_model(still_life, ModelConfig())
        config = TrainingConfig(steps=80, batch=BatchConfig(samples=2048, marched=8192))
        fit(model, still_life, dataclasses.replace(config, seed=3))
        scores[backend] = evaluate(model, still_life, every=2).psnr
    assert abs(scores["cpu"] - scores["vulkan"]) < 0.5 and min(scores.values()) > 15, scores
