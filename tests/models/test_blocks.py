"""Several models looked at as one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from taichi_nerf.models.blocks import POWER, Blocks, Part
from taichi_nerf.models.model import Box
from taichi_nerf.models.pixels import Pixels
from taichi_nerf.types import Rays, Shot
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.look import Look, Shown


class Flat(nn.Module):
    """A model that shows one grey, and where it was asked in place of the depth."""

    config, box, moves, has_normals, sees_cones, rays_per_pixel = None, Box(), False, True, False, 1
    knows_visibility = ends_rays = True

    def __init__(self, grey, visibility=None):
        super().__init__()
        self.grey, self.visibility, self.told = nn.Parameter(torch.tensor(float(grey))), visibility, None

    def render(self, rays, standing=None):
        self.told, self.limit, self.begin = rays.shot, rays.limit, rays.begin
        ones = torch.ones(len(rays))
        return Pixels(colour=self.grey * ones[:, None].expand(-1, 3), opacity=ones, depth=rays.origins[:, 0].clone(),
                      weights=ones, marched=len(rays))

    def visible(self, positions, directions):
        return torch.full((len(positions),), self.visibility)

    def density(self, positions, shot=None):
        return positions[:, 0]


def part(grey, x, *, radius=2.0, origin=(0.0, 0.0, 0.0), scale=1.0, **more):
    return Part(model=Flat(grey, more.pop("visibility", None)), centre=(x, 0.0, 0.0), radius=radius, origin=origin,
                scale=scale, **more)


def from_places(*x):
    origins = torch.tensor([[value, 0.0, 0.0] for value in x])
    return Rays(origins, torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3), None, Shot())


def colours(blocks, *x):
    with torch.no_grad():
        return blocks.render(from_places(*x)).colour[:, 0]


def test_what_is_seen_is_a_mean_by_inverse_distance_of_the_blocks_around():
    blocks = Blocks([part(0.2, 0.0), part(0.8, 1.5), part(0.5, 9.0)])
    near, far = 0.5**-POWER, 1.0**-POWER
    expected = [(0.2 * near + 0.8 * far) / (near + far), 0.8, 0.2, 0.5, 0.5]
    torch.testing.assert_close(colours(blocks, 0.5, 3.4, -1.0, 20.0, 8.0), torch.tensor(expected))
    blocks.nearest_alone = True
    torch.testing.assert_close(colours(blocks, 0.5, 1.0), torch.tensor([0.2, 0.8]))


def test_rays_that_are_pixels_of_their_own_are_weighed_each():
    """As behind boxes and objects, whatever a pixel of the models has."""
    blocks = Blocks([part(0.2, 0.0), part(0.8, 1.0)])
    expected = colours(blocks, 0.2, 0.5, 0.8)
    blocks.rays_per_pixel = 2
    torch.testing.assert_close(colours(blocks, 0.2, 0.5, 0.8), expected)


def test_equal_blocks_show_what_one_shows():
    torch.testing.assert_close(colours(Blocks([part(0.3, 0.0), part(0.3, 1.0)]), 0.4, 0.7), torch.full((2,), 0.3))


@pytest.mark.usefixtures("on_cpu")
def test_the_viewer_offers_what_blocks_have_together():
    door, place = Door(Blocks([part(0.2, 0.0), part(0.2, 1.0)])), np.eye(4)[:3]
    assert not door.can_crop and not door.has_normals and not door.moves
    look = Look(pose=tuple(map(tuple, place.tolist())), fov=0.7, window=(9, 5))
    door.warm_up(look, Shown(), (9, 5))
    assert (door.picture(look, Shown(), (9, 5), lambda: False).image == 51).all()


def test_a_block_is_asked_in_the_space_of_its_own_model():
    blocks = Blocks([part(0.3, 0.0, origin=(1.0, 0.0, 0.0), scale=4.0)])
    with torch.no_grad():
        assert blocks.render(from_places(3.0)).depth.tolist() == [(3.0 - 1.0) * 4.0 / 4.0]
        assert blocks.density(torch.tensor([[3.0, 0.0, 0.0]])).tolist() == [(3.0 - 1.0) * 4.0 * 4.0]
        blocks.render(replace(from_places(3.0), limit=torch.tensor([0.5]), begin=torch.tensor([0.25])))
    assert blocks.ends_rays and blocks.parts[0].model.limit.tolist() == [2.0]
    assert blocks.parts[0].model.begin.tolist() == [1.0]


@pytest.mark.parametrize("visibility, expected", [(0.01, 0.2), (0.5, 0.5)])
def test_a_block_with_nothing_to_show_is_left_out(visibility, expected):
    blocks = Blocks([part(0.2, 0.0), part(0.8, 1.0001, visibility=visibility, seen=torch.rand(9, 3))])
    assert colours(blocks, 0.5).item() == pytest.approx(expected, abs=1e-3)


def test_a_model_that_does_not_know_from_where_it_is_seen_is_shown():
    blocks = Blocks([part(0.2, 0.0), part(0.8, 1.0001, visibility=0.0, seen=torch.rand(9, 3))])
    blocks.parts[1].model.knows_visibility = False
    assert colours(blocks, 0.5).item() == pytest.approx(0.5, abs=1e-3)


def test_the_nearest_block_is_shown_whatever_it_sees():
    blocks = Blocks([part(0.2, 0.0, visibility=0.0, seen=torch.rand(9, 3)), part(0.8, 1.0)])
    near, far = 0.3**-POWER, 0.7**-POWER
    assert colours(blocks, 0.3).item() == pytest.approx((0.2 * near + 0.8 * far) / (near + far))


def test_a_block_that_hardly_counts_is_not_rendered():
    blocks = Blocks([part(0.2, 0.0), part(0.8, 1.0)])
    assert colours(blocks, 0.05).item() == pytest.approx(0.2)
    assert blocks.parts[1].model.told is None


def test_a_block_has_its_own_code_unless_it_is_told_an_appearance():
    code = torch.tensor([1.0, 2.0])
    blocks = Blocks([part(0.2, 0.0, code=code)])
    rays = from_places(0.0, 0.1)
    blocks.render(rays)
    assert torch.equal(blocks.parts[0].model.told.codes["appearance"], code.expand(2, 2))
    told = Rays(rays.origins, rays.directions, None, Shot(ids={"appearance": torch.zeros(2, dtype=torch.int32)}))
    blocks.render(told)
    assert not blocks.parts[0].model.told.codes
