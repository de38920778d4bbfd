"""The term of what is right before the cameras: what it looks at, what it says, and what it does to a model."""

import pytest
import torch

from taichi_nerf.config import NearCameraConfig
from taichi_nerf.models.family import build_model
from taichi_nerf.models.model import Box
from taichi_nerf.training.near_camera import NearCamera
from taichi_nerf.types import Batch, Rays, Seeds, Standing

from .conftest import SMALL
from .test_family import SMALL as FAMILY

STANDING = Standing(step=5, progress=0.5, seeds=Seeds(rays=11, jitter=12, background=13))


def batch_of(rays: Rays) -> Batch:
    """Of pixels that are all black."""
    nothing = torch.zeros(len(rays), 4)
    index = torch.zeros(len(rays), dtype=torch.int32)
    return Batch(rays=rays, rgba=nothing, background=nothing[:, :3], image_index=index, pixel_index=index)


def test_the_beginning_of_a_ray_is_that_in_the_box():
    """Of one from before the box, one from within, one that misses it, and one that leaves it behind; not before the
    near plane."""
    origins = torch.tensor([[-3.0, 0, 0], [0.5, 0, 0], [-3.0, 5, 0], [3.0, 0, 0]])
    rays = Rays(origins, torch.tensor([[1.0, 0, 0]]).repeat(4, 1))
    term = NearCamera(build_model(SMALL, Box(aabb_scale=4)), NearCameraConfig(weight=1.0, reach=0.25))
    torch.testing.assert_close(term.end(rays), torch.tensor([1.25, 0.25, 0.25, 0.25]))
    term = NearCamera(build_model(SMALL, Box(aabb_scale=4, near=0.5)), NearCameraConfig(weight=1.0, reach=0.25))
    torch.testing.assert_close(term.end(rays), torch.tensor([1.25, 0.75, 0.75, 0.75]))


@pytest.mark.parametrize("name", ["nerf", "mip-nerf", "mip-nerf-360", "mip-nerf-360-hash"])
def test_the_loss_is_the_light_that_the_beginning_of_rays_takes(name):
    model = build_model(FAMILY[name], Box(bounded=True), 0)
    towards = torch.tensor([[0.1, 0.2, 1.0], [-0.3, 0.1, 1.0], [0.0, 0.0, 1.0]])
    directions = torch.nn.functional.normalize(towards, dim=1)
    rays = Rays(torch.tensor([[0.0, 0.0, -1.4]]).repeat(3, 1), directions, torch.full((3,), 0.01))
    term = NearCamera(model, NearCameraConfig(weight=0.3, reach=0.4))
    pixels = model.render(rays, STANDING)
    (value,) = term.losses(pixels, batch_of(rays), STANDING).values()
    level, end = pixels.levels[-1], term.end(rays)
    middle, taken = (level.t[:, 1:] + level.t[:, :-1]) / 2, 0.0
    for ray in range(3):
        taken += sum(level.weights[ray, i] for i in range(middle.shape[1]) if middle[ray, i] < end[ray])
    assert 0 < taken < level.weights.sum()
    torch.testing.assert_close(value, 0.3 * taken / 3)
    value.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("gradients", ["autograd", "explicit"])
def test_what_is_right_before_the_cameras_becomes_empty(make_trainer, gradients):
    found = {}
    for weight in (0.0, 10.0):
        trainer = make_trainer(gradients=gradients, near_camera=NearCameraConfig(weight=weight, reach=0.5))
        for _ in range(20):
            trainer.step()
        trainer.state_dict()  # brings the model up to date
        rays, term = trainer.some_rays(200), NearCamera(trainer.model, NearCameraConfig(weight=1.0, reach=0.5))
        with torch.no_grad():
            found[weight] = float(term.losses(trainer.model.render(rays), batch_of(rays), STANDING)["near_camera"])
    assert found[10.0] < 0.8 * found[0.0]


def test_without_a_weight_there_is_no_such_term(make_trainer):
    assert make_trainer(gradients="explicit").taker.near_camera is None
    assert not any(isinstance(term, NearCamera) for term in make_trainer(gradients="autograd").taker.terms)
