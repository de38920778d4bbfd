"""What rays carry reaches whatever a model is made of, and what is rendered of them."""

import dataclasses

import pytest
import torch

from taichi_nerf.config import SYSTEMS, recipe
from taichi_nerf.models.family import build_model
from taichi_nerf.models.model import Box
from taichi_nerf.types import Rays, Seeds, Shot, Standing

pytestmark = pytest.mark.usefixtures("all_on_cpu")

COUNT = 7
SHOT = {"image": torch.arange(COUNT, dtype=torch.int32), "time": torch.linspace(0, 1, COUNT),
        "ids": {name: torch.arange(COUNT, dtype=torch.int32) % n for name, n in (("appearance", 3), ("warp", 2))},
        "codes": {"mood": torch.ones(COUNT, 2)}}
MODELS = [(kind, encoding) for kind, system in SYSTEMS.items() for encoding in (None, "hash")
          if not (kind == "mip-nerf" and encoding == "hash") and system.made_by is None]
# a tree that is made out of another model knows nothing of a shot


def some_rays():
    directions = torch.nn.functional.normalize(torch.tensor([[0.1, 0.2, -1.0]]).repeat(COUNT, 1), dim=1)
    return Rays(torch.tensor([[0.0, 0.0, 1.2]]).repeat(COUNT, 1), directions, torch.full((COUNT,), 0.01), Shot(**SHOT),
                1)


@pytest.mark.parametrize(("kind", "encoding"), MODELS)
@pytest.mark.parametrize("standing", [None, Standing(step=3, progress=0.5, seeds=Seeds(1, 2, 3))])
def test_every_field_of_rays_survives_every_model(monkeypatch, kind, encoding, standing):
    """What a field is told of them has all that the rays have; and the rays are given back as they were."""
    model = build_model(recipe(kind, "small", encoding).model, Box(bounded=True), counts={"appearance": 3})
    told, rays = [], some_rays()

    def listening(original):
        def listen(self, samples, shot, ray_index=None, **others):
            told.append((shot, samples, ray_index))
            return original(self, samples, shot, ray_index, **others)

        return listen

    for field in {type(field) for field in model.fields().values()}:
        for question in ("density", "look"):
            monkeypatch.setattr(field, question, listening(getattr(field, question)))
    pixels = model.render(rays, standing)
    assert told
    for shot, *_ in told:
        for name in ("image", "time"):
            assert torch.equal(getattr(shot, name), SHOT[name]), name
        for name in ("ids", "codes"):
            for key, values in SHOT[name].items():
                assert torch.equal(getattr(shot, name)[key], values), (name, key)
    if pixels.rays is not None:
        for field in dataclasses.fields(Rays):
            assert getattr(pixels.rays, field.name) is getattr(rays, field.name), field.name
    assert len(pixels.colour) == COUNT


@pytest.mark.parametrize(("kind", "encoding"), [
    pytest.param(*model, marks=() if model in (("instant-ngp", None), ("nerf", None)) else pytest.mark.slow)
    for model in MODELS])
def test_nothing_is_sampled_behind_the_limit_of_a_ray_and_before_its_begin(kind, encoding):
    model = build_model(recipe(kind, "small", encoding).model, Box(bounded=True), counts={"appearance": 3})
    assert model.ends_rays
    rays = some_rays()
    limit = torch.linspace(0.0, 2.0, COUNT)
    pixels = model.render(dataclasses.replace(rays, limit=limit))
    samples = pixels.samples
    end = samples.t + samples.dt / 2
    assert len(end) and (end <= limit[samples.ray_index.long()] + 1e-5).all()
    if pixels.packed is not None:  # sampled on a lattice, which a limit does not move
        whole = model.render(rays)
        far = model.render(dataclasses.replace(rays, limit=torch.full((COUNT,), 9.0)))
        assert torch.equal(far.opacity, whole.opacity) and pixels.opacity[0] == 0
        assert (pixels.opacity <= whole.opacity + 1e-6).all()
    begin = torch.linspace(0.9, 1.2, COUNT)
    samples = model.render(dataclasses.replace(rays, begin=begin)).samples
    assert len(samples) and (samples.t - samples.dt / 2 >= begin[samples.ray_index.long()] - 1e-5).all()


def test_rays_that_are_picked_keep_what_they_are_of():
    rays = dataclasses.replace(some_rays(), per_pixel=7)
    index = torch.tensor([4, 1])
    picked = rays[index]
    assert picked.per_pixel == 1 and len(picked) == 2
    assert torch.equal(picked.shot.time, SHOT["time"][index]) and torch.equal(picked.radius, rays.radius[index])
    assert torch.equal(picked.shot.ids["appearance"], SHOT["ids"]["appearance"][index])
    assert picked.shot.codes["mood"].shape == (2, 2)


