"""A scene and a model small enough to train in a test, and a runtime that outlasts the module."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import (
    BatchConfig,
    FieldConfig,
    HashGridConfig,
    InstantNGPConfig,
    OptimiserConfig,
    SamplingConfig,
    TrainingConfig,
)
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.disturb import with_split
from taichi_nerf.data.scene import Images, Points, Scene, Sightings
from taichi_nerf.training.run import make_model
from taichi_nerf.training.trainer import Trainer, trainer_for

SMALL = InstantNGPConfig(
    field=FieldConfig(hash_grid=HashGridConfig(levels=4, features=2, log2_entries=10, max_resolution=64)),
    sampling=SamplingConfig(grid_resolution=16, steps=64, first_update=4, update_every=4, warmup_updates=2),
)
BATCH = BatchConfig(samples=512, marched=2048, max_rays=128)


def with_points(scene: Scene) -> Scene:
    """With points that every training image saw in its first opaque pixels, with errors of their own."""
    split, rng = scene.splits["train"], np.random.default_rng(0)
    points = Points(position=rng.uniform(-0.5, 0.5, (20, 3)), error=rng.uniform(0.1, 2, 20),
                    views=np.full(20, len(split)))
    opaque = [np.argwhere(split.images.image(n)[..., 3] == 255)[:20, ::-1] + 0.5 for n in range(len(split))]
    seen = [Sightings(point=np.arange(20), pixel=pixels) for pixels in opaque]
    return with_split(dataclasses.replace(scene, points=points), dataclasses.replace(split, sightings=seen))


def without_alpha(scene: Scene) -> Scene:
    """With what its training images have behind what is transparent."""
    split = scene.splits["train"]
    images = [split.images.image(n).copy() for n in range(len(split))]
    for image in images:
        image[..., 3] = 255
    return with_split(scene, dataclasses.replace(split, images=Images.from_list(images)))


@pytest.fixture(scope="module", autouse=True)
def one_runtime():
    """Float32 on the CPU for the tests of the module; the runtime of the other tests is then restored."""
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)
    yield
    runtime.init(before.backend, before.dtype, before.threads, mlp=before.mlp)


@pytest.fixture(scope="session")
def small_scene():
    """16 x 16 pixels."""
    return builtin_scene(resolution=16, views=(6, 1, 2), samples_per_pixel=1)


@pytest.fixture
def make_trainer(small_scene):
    """`make_trainer(steps=20)`: a new trainer of an untrained small model."""

    def make(model: InstantNGPConfig = SMALL, average_every: int = 4, **settings) -> Trainer:
        settings = {"steps": 20, "batch": BATCH, **settings}
        optimiser = OptimiserConfig(average_every=average_every)
        config = dataclasses.replace(TrainingConfig(optimiser=optimiser), **settings)
        return trainer_for(make_model(small_scene, model), small_scene, config)

    return make
