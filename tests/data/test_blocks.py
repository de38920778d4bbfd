"""Cutting a scene into blocks."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from taichi_nerf.data import blocks
from taichi_nerf.data.blocks import Block, around_block, blocks_of, blocks_of_size, within_block
from taichi_nerf.data.builtin.cameras import looking
from taichi_nerf.data.scene import Images, Scene, Split
from taichi_nerf.errors import UserError

UTM = np.array((500_000.0, 5_800_000.0, 300.0))


def along_a_street(count=40, length=8.0, origin=(0.0, 0.0, 0.0)):
    """A scene of `count` cameras along x, and as many test views between them."""
    splits = {}
    for name, shift in (("train", 0.0), ("test", 0.05)):
        x = np.linspace(-0.5 * length, 0.5 * length, count) + shift
        cameras = looking(np.stack([x, 0.1 * np.cos(9 * x), 0 * x], axis=1), np.array((99.0, 1.0, 0.3)), 4, 1.0)
        images = Images.from_list([np.zeros((4, 4, 4), np.uint8)] * count)
        splits[name] = Split(name=name, cameras=cameras, images=images)
    return Scene(name="street", format="made up", splits=splits, centre=np.zeros(3), scale=0.5, aabb_scale=8, near=0.1,
                 background="black", origin=np.array(origin))


def alone(scene):
    """The scene with one training view."""
    return dataclasses.replace(scene, splits={**scene.splits, "train": scene.splits["train"].subset([0])})


def test_blocks_lie_along_the_street_overlap_by_half_and_hold_every_camera():
    scene = along_a_street()
    blocks = blocks_of(scene, 4)
    centres = np.array([block.centre for block in blocks])
    np.testing.assert_allclose(np.abs(np.diff(centres[:, 0])), 2.0, atol=0.3)
    for (before, after), apart in zip(pairwise(blocks), np.linalg.norm(np.diff(centres, axis=0), axis=1)):
        assert before.radius + after.radius - apart >= 0.5 * (before.radius + after.radius) * 0.9
    held = np.array([block.holds(scene.splits["train"].cameras.position) for block in blocks])
    assert held.any(axis=0).all() and not held.all(axis=1).any()


def test_positions_far_from_the_origin_are_those_of_the_file():
    near, far = blocks_of(along_a_street(), 3), blocks_of(along_a_street(origin=UTM), 3)
    for block, other in zip(near, far):
        np.testing.assert_allclose(np.array(other.centre) - UTM, block.centre, atol=1e-5)
    views = within_block(along_a_street(origin=UTM), far[0]).splits
    assert len(views["train"]) == len(within_block(along_a_street(), near[0]).splits["train"]) > 0


def test_words_tell_blocks_apart_wherever_they_are():
    for radius, centre, words in ((0.8459, (400000.2139, 5500000.0, -0.00004), "0.8459 of 400000.2139, 5500000, 0"),
                                  (25.0, (-0.5347, 3.14159, 1234.5678), "25 of -0.53, 3.14, 1234.57"),
                                  (3e5, (1234567.0, 0.0, -9.0), "3e+05 of 1234600, 0, 0")):
        assert str(Block(centre=centre, radius=radius)) == f"within {words}"


def test_one_block_has_all_views():
    scene = along_a_street()
    (block,) = blocks_of(scene, 1)
    assert len(within_block(scene, block).splits["train"]) == 40


def test_blocks_of_a_size_are_as_few_as_it_takes():
    scene = along_a_street()
    for size, count in ((20.0, 1), (4.2, 2), (2.2, 4)):
        assert len(blocks_of_size(scene, size)) == count


def test_more_blocks_than_anybody_wants_are_refused(monkeypatch):
    monkeypatch.setattr(blocks, "MOST", 8)
    with pytest.raises(UserError, match=r"more than 8 blocks of 0\.1; give a larger --block-size"):
        blocks_of_size(along_a_street(), 0.1)


def test_views_are_those_that_stand_in_the_block():
    part = within_block(along_a_street(), Block(centre=(-4.0, 0.0, 0.0), radius=1.0))
    for split in part.splits.values():
        assert 0 < len(split) < 10 and (split.cameras.position[:, 0] < -2.9).all()
    assert "test" not in within_block(along_a_street(), Block(centre=(-4.05, 0.0, 0.0), radius=0.08)).splits


def test_the_model_of_a_block_without_bounds_is_larger_around_it():
    scene = along_a_street()
    block = blocks_of(scene, 4)[0]
    part = around_block(scene, block)
    np.testing.assert_allclose(part.centre, block.centre)
    assert part.scale / scene.scale == pytest.approx(4.0 / block.radius, rel=0.1)
    assert part.near / scene.near == pytest.approx(part.scale / scene.scale)
    bounded = dataclasses.replace(scene, bounded=True)
    assert around_block(bounded, block) is bounded


def test_what_cannot_be_cut_is_said():
    with pytest.raises(UserError, match="cannot be cut into 41 blocks: its 40 training images are from 40 places"):
        blocks_of(along_a_street(), 41)
    for count in (1, 2):  # one would have no extent
        with pytest.raises(UserError, match="street cannot be cut into blocks: all that it is trained on was seen from "
                                            "one place; leave out --blocks and --block-size"):
            blocks_of(alone(along_a_street()), count)
    with pytest.raises(UserError, match=r"no training image of street is within 0\.1 of 9, 9, 9: give another place"):
        within_block(along_a_street(), Block(centre=(9.0, 9.0, 9.0), radius=0.1))
