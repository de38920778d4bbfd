"""What pixels are composited over in a step."""

import dataclasses
import itertools

import numpy as np
import pytest

from taichi_nerf.config import RayBatchConfig
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.disturb import with_split
from taichi_nerf.data.scene import Images
from taichi_nerf.training.run import default_training, make_model
from taichi_nerf.training.trainer import trainer_for

from .conftest import BATCH, SMALL, without_alpha
from .test_family import SMALL as FAMILY
from .test_moving import SMALL as MOVING


@pytest.mark.parametrize("alpha", [True, False])
def test_over_random_colours_where_nothing_may_hide_in_the_background(small_scene, alpha):
    """Behind what is transparent, if it is, and else behind what must not be, if that is asked for."""
    scene = small_scene if alpha else without_alpha(small_scene)
    for config, batch in ((SMALL, BATCH), (FAMILY["nerf"], RayBatchConfig(rays=64))):
        for behind, opaque in itertools.product((True, False), repeat=2):
            asked = dataclasses.replace(batch, random_background=behind, opaque=opaque)
            trainer = trainer_for(make_model(scene, config), scene, default_training(config, steps=5, batch=asked))
            background = trainer.batches.draw(trainer.clock.standing).background
            assert (background.std() > 0.2) == (behind if alpha else opaque)


def test_photos_of_a_place_where_something_moves_are_opaque_unless_it_is_said_otherwise():
    cut_out = without_alpha(builtin_scene("moving", resolution=16, views=(6, 0, 1)))
    split = cut_out.splits["train"]
    photos = [np.maximum(split.images.image(n), 1) for n in range(len(split))]  # nothing is as black as the background
    place = with_split(cut_out, dataclasses.replace(split, images=Images.from_list(photos)))
    cases = [("t-nerf", None, place, False, True), ("t-nerf", None, place, True, False),
             ("t-nerf", None, cut_out, False, False), ("t-nerf", False, place, False, False),
             ("instant-ngp", None, place, False, False), ("instant-ngp", True, place, False, True)]
    for name, opaque, scene, bounded, expected in cases:
        scene = dataclasses.replace(scene, bounded=bounded, background="black")
        training = default_training(MOVING[name], steps=5, batch=dataclasses.replace(BATCH, opaque=opaque))
        assert trainer_for(make_model(scene, MOVING[name]), scene, training).batches.random_background is expected
