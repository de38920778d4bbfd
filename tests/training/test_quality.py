"""What training reaches: the numbers that users see, with room for other machines' rounding."""

import numpy as np
import pytest

from taichi_nerf import runtime
from taichi_nerf.config import BatchConfig, InstantNGPConfig, TrainingConfig
from taichi_nerf.data import load_scene
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.models.views import render_view
from taichi_nerf.training.evaluate import evaluate
from taichi_nerf.training.run import fit, make_model


def trained(scene, steps: int, **batch):
    model = make_model(scene, InstantNGPConfig())
    fit(model, scene, TrainingConfig(steps=steps, batch=BatchConfig(**batch)))
    return model


@pytest.fixture(scope="module")
def still_life():
    return builtin_scene(resolution=64, views=(30, 0, 4), samples_per_pixel=4)


@pytest.fixture(scope="module")
def model(still_life):
    return trained(still_life, 400, samples=4096)


def test_a_short_training_shows_the_scene(model, still_life):
    """Measured: 22.4 dB. The best constant picture scores below 15 dB."""
    assert evaluate(model, still_life).mean_psnr > 21


def test_the_trained_depth_is_that_of_the_surfaces(model, still_life):
    """Measured: medians of 0.020 and 0.012; a cell of the occupancy grid is 0.016 wide."""
    for view in range(2):
        seen = render_view(model, still_life.model_cameras("test"), view, background=1.0)
        truth = still_life.splits["test"].depth[view] * still_life.scale
        solid = np.isfinite(truth) & (seen.opacity > 0.9)
        assert solid.mean() > 0.2
        assert np.median(np.abs(seen.depth - truth)[solid]) < 0.025


@pytest.mark.slow
def test_lego_reaches_25_db_in_1000_steps(real_data):
    runtime.init("cpu")
    scene = load_scene(real_data("nerf_synthetic/lego"), downscale=2, splits=("train", "test"), every={"test": 25})
    assert evaluate(trained(scene, 1000), scene).mean_psnr > 25


@pytest.mark.slow
def test_vulkan_trains_to_what_the_cpu_trains_to(still_life):
    if (reason := runtime.why_missing("vulkan")) is not None:
        pytest.skip(f"vulkan: {reason}")
    scores = {}
    for backend in ("cpu", "vulkan"):
        runtime.init(backend)
        model = make_model(still_life, InstantNGPConfig())
        fit(model, still_life, TrainingConfig(steps=200, batch=BatchConfig(samples=4096)))
        scores[backend] = evaluate(model, still_life, every=2).mean_psnr
    assert abs(scores["cpu"] - scores["vulkan"]) < 0.2 and min(scores.values()) > 16, scores
