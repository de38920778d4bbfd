"""What of space a model says it represents."""

import pytest

from taichi_nerf.config import SYSTEMS, MipNeRF360Config, NeRFConfig, PlenOctreeConfig, RangeConfig, recipe, system_of
from taichi_nerf.models.model import Box, Space

OBJECT, STREET = Box(near=0.05, bounded=True), Box(aabb_scale=4, near=0.05)
OF_STREET = {  # words, and whether it represents what is beyond its box
    **dict.fromkeys(("instant-ngp", "t-nerf", "d-nerf", "nerfies", "hypernerf"),
                    ("the model box, +-2, by an occupancy grid of 3 cascades, from 0.05 on", False)),
    **dict.fromkeys(("nerf", "nerf-w", "mip-nerf", "block-nerf"),
                    ("what rays meet from 0.05 on to where they leave the model box, +-2", True)),
    "regions": ("2 regions of the model box, +-2, each by an occupancy grid, from 0.05 on", False),
    "mip-nerf-360": ("all of space, of which the ball of radius 0.7 is left as it is, and what lies beyond is drawn "
                     "together around it; rays are sampled from 0.1 to 1e+06", True),
    "plenoctree": ("the box of its octree, 1 x 1 x 1", False),
}


def space(config, box: Box) -> Space:
    return system_of(config).model_class.space(config, box)


@pytest.mark.parametrize("kind", SYSTEMS)
def test_every_model_says_in_what_it_works_and_of_an_object_that_this_is_its_box(kind):
    config = recipe(kind).model
    assert "box" in space(config, OBJECT).words and not space(config, OBJECT).beyond


@pytest.mark.parametrize("kind", SYSTEMS)
def test_of_a_street_every_model_says_how_far_it_reaches(kind):
    assert space(recipe(kind).model, STREET) == OF_STREET[kind]


def test_only_an_occupancy_grid_has_cascades():
    assert "the model box, +-2, by an occupancy grid of 3 cascades, from 0.05 on" in space(
        recipe("instant-ngp").model, STREET).words
    for kind in ("nerf", "mip-nerf", "mip-nerf-360", "block-nerf"):
        assert "cascade" not in space(recipe(kind).model, STREET).words


def test_a_contracted_model_has_all_of_space_from_where_its_rays_begin():
    words, beyond = space(MipNeRF360Config(radius=0.5), STREET)
    assert beyond and "all of space, of which the ball of radius 0.5 is left" in words
    assert "rays are sampled from 0.1 to 1e+06" in words  # not from the scene's 0.05: see MipNeRF360.nearest
    words, beyond = space(MipNeRF360Config(contraction=False), STREET)
    assert "what rays meet from 0.1 on to where they leave the model box, +-2" in words


def test_a_hash_grid_ends_at_its_box_and_a_deep_network_does_not():
    assert space(recipe("nerf").model, STREET).beyond
    assert not space(recipe("nerf", encoding="hash").model, STREET).beyond
    words, beyond = space(NeRFConfig(range=RangeConfig(near=0.5, far=3.0)), STREET)
    assert words == "what rays meet between 0.5 and 3" and beyond
    assert "normalised device coordinates, from a plane at 0.05" in space(NeRFConfig(ndc=True), STREET).words


def test_an_octree_has_the_box_that_it_divides_or_all_of_space():
    config = PlenOctreeConfig(radius=(0.5, 0.25, 0.5))
    assert space(config, OBJECT).words == "the box of its octree, 1 x 0.5 x 1"
    assert space(PlenOctreeConfig(unbounded=True), STREET).beyond
