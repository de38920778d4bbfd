"""Gaussians instead of a ball that is known, in the units of its file, and how they learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from taichi_nerf import query, runtime
from taichi_nerf.data.scene import FISHEYE, Cameras, Images, Split
from taichi_nerf.errors import UserError
from taichi_nerf.export.splats import _agreed, learnable, splats_of, surface_splats
from taichi_nerf.export.surface import surface_views
from taichi_nerf.training.splats import fine_tune, picture_of, plain_photos, score

from ..test_query import CENTRE, COLOUR, RADIUS, Asked, placed

SIZE = 32


class Glowing(Asked):
    """Its colour falls with the direction's part along the model's y."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        plain = self.field.colour

        def colour(hidden, directions, shot, ray_index=None):
            ways = directions if ray_index is None else directions[ray_index.long()]
            return plain(hidden, directions) - 0.2 * ways[:, 1:2]

        self.field.colour = colour


@pytest.fixture(scope="module")
def field():
    if runtime.current().backend != "cpu" or runtime.current().dtype != torch.float32:
        runtime.init("cpu", torch.float32, threads=1)
    return query.Field(Glowing(torch.float32, "cpu", colour=COLOUR, softness=0.002, peak=1500.0), placed())


def around(count: int = 12) -> Cameras:
    """Spread evenly, 18 units from the middle of the ball."""
    poses = []
    for n in range(count):
        z = 1 - (2 * n + 1) / count
        turn = 2.4 * n
        back = np.array([np.cos(turn) * (1 - z * z) ** 0.5, np.sin(turn) * (1 - z * z) ** 0.5, z])
        right = np.cross((0.3, 0.2, 1.0), back)
        right /= np.linalg.norm(right)
        poses.append(np.stack([right, np.cross(back, right), back, CENTRE + 18 * back], axis=1))
    return Cameras(camera_to_world=np.array(poses), focal=np.full((count, 2), 1.2 * SIZE),
                   principal=np.full((count, 2), SIZE / 2), distortion=np.zeros((count, 6)), lens=np.zeros(count),
                   size=np.full((count, 2), SIZE))


@pytest.fixture(scope="module")
def made(field):
    return surface_splats(field, around(), rays=12 * SIZE**2, count=800, bands=2)


@pytest.fixture(scope="module")
def photos(field, made):
    """What the Gaussians themselves look like."""
    model, cameras = learnable(made, 0.01), around()
    images = []
    for n in range(len(cameras)):
        colour, opacity = (x.detach().numpy() for x in model.seen_by(cameras, n))
        straight = np.clip(colour / np.maximum(opacity, 1e-6)[..., None], 0, 1)
        images.append((255 * np.concatenate([straight, opacity[..., None]], axis=2) + 0.5).astype(np.uint8))
    return plain_photos(Split(name="train", cameras=cameras, images=Images.from_list(images)))


def test_discs_lie_on_the_surface_and_along_it(made):
    away = made.means - CENTRE
    distance = np.linalg.norm(away, axis=1)
    assert 200 < len(made) <= 800 and np.abs(distance - RADIUS).mean() < 0.15
    w, x, y, z = made.quaternions.T
    axis = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)  # that is thin
    assert ((axis * away).sum(axis=1) / distance > 0.9).mean() > 0.95
    wide = np.exp(made.log_scales)
    assert (wide[:, 0] == wide[:, 1]).all() and (wide[:, 2] < 0.2 * wide[:, 0]).all()
    assert 1 < len(made) * wide[:, 0].mean() ** 2 / RADIUS**2 < 10  # they overlap, and not more


def test_views_agree_on_what_is_there_and_not_on_what_hangs_in_the_air(field):
    """On the surface of the ball hardly anybody sees through a disc; out in the air hardly anybody sees one; behind all
    that is seen, or behind a camera, nobody has a say."""
    views = list(surface_views(field, around(), normals=True))
    ways = around(20).camera_to_world[:, :, 2]
    pixel = np.full(20, 18 / (1.2 * SIZE))
    for radius, least, most in ((RADIUS, 0.5, 1.0), (1.3 * RADIUS, 0.0, 0.15), (0.2 * RADIUS, 1.0, 1.0)):
        found = _agreed(CENTRE + radius * ways, pixel, views)
        assert least <= found.min() and found.max() <= most, radius
    back = views[0].camera.position - CENTRE
    assert _agreed(CENTRE + 2 * back, pixel[:1], views[:1]) == 1
    assert len(_agreed(np.zeros((0, 3)), pixel[:0], views)) == 0


@pytest.mark.slow
def test_they_look_like_the_field_from_where_no_camera_stood(field, made):
    cameras = around(7).subset([1, 3, 5])
    origins, directions = field.rays_of(cameras, 1)
    seen = field.along(origins, directions, normals=False)
    model = learnable(made, 0.01)
    picture = picture_of(model, cameras, 1, 0.0).reshape(-1, 3) / 255
    inside = seen.opacity > 0.99
    assert np.abs(picture - seen.colour)[inside].mean() < 0.03
    assert np.abs(picture - np.array(COLOUR))[inside].mean() > 0.03  # it does change with the direction


def test_what_is_learned_comes_back_as_it_was(made):
    found = splats_of(learnable(made, 0.01))
    for name in ("means", "log_scales", "quaternions", "logits", "harmonics"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name


def disturbed(made):
    draw = np.random.default_rng(3)
    return replace(made, harmonics=(0.3 * made.harmonics).astype(np.float32),
                   means=(made.means + draw.normal(size=made.means.shape) * 0.1).astype(np.float32))


@pytest.mark.slow
def test_fitting_makes_pictures_better_and_is_the_same_every_time(made, photos):
    found = []
    for _ in range(2):
        model = learnable(disturbed(made), 0.01)
        before = score(model, photos, 1.0)
        assert fine_tune(model, photos, steps=25) == 25
        assert score(model, photos, 1.0) > before + 0.5
        found.append(model.means.detach().clone())
    assert torch.equal(*found)


def test_fitting_ends_when_it_is_told_to_and_keeps_what_was_learned(made, photos):
    model, seen = learnable(disturbed(made), 0.01), []
    done = fine_tune(model, photos, steps=40, stopped=lambda: len(seen) == 3,
                     on_step=lambda step, share: seen.append((step, share)))
    assert done == 3 and seen == [(1, 1 / 40), (2, 2 / 40), (3, 3 / 40)]
    assert not np.array_equal(splats_of(model).means, disturbed(made).means)


@pytest.mark.parametrize("lens", ["perspective", "fisheye"])
def test_photos_of_lenses_are_straightened(field, lens):
    """A picture whose colours say the direction: after straightening, that of the plain camera."""
    from taichi_nerf.ops.camera import rays_from_pixels

    distortion = [[0.1, 0.02, 0, 0, 0.003, -0.002]] if lens == "perspective" else [[0.02, 0.01, 0, 0, 0, 0]]
    camera = Cameras(camera_to_world=np.eye(3, 4)[None], focal=[(40, 42)], principal=[(31, 25)], distortion=distortion,
                     lens=[FISHEYE if lens == "fisheye" else 0], size=[(60, 50)])

    def directions(camera):
        x, y = np.meshgrid(np.arange(60) + 0.5, np.arange(50) + 0.5)
        pixel = torch.from_numpy(np.stack([x, y], axis=2).reshape(-1, 2)).float()
        values = (camera.camera_to_world, camera.focal, camera.principal, camera.distortion, camera.lens)
        rays = rays_from_pixels(torch.zeros(3000, dtype=torch.int32), pixel, *map(torch.from_numpy, values))
        return rays[1].numpy().reshape(50, 60, 3)

    image = np.full((50, 60, 4), 255, np.uint8)
    image[..., :3] = 127.5 + 120 * directions(camera)
    photos = plain_photos(Split(name="train", cameras=camera, images=Images.from_list([image])))
    expected = 127.5 + 120 * directions(photos.cameras)
    counted = photos.counted[0].numpy()
    assert counted.mean() > 0.5 and not photos.cameras.distortion.any()
    assert np.abs(photos.rgba[0].numpy()[..., :3] - expected)[counted].max() < 2
    assert np.abs(image[..., :3] - expected).max() > 4


def test_surfaces_that_no_two_views_agree_on_are_refused(field, monkeypatch):
    monkeypatch.setattr("taichi_nerf.export.splats._agreed", lambda position, side, views: np.zeros(len(position)))
    with pytest.raises(UserError, match="see through each other's surfaces: they are fog; train longer"):
        surface_splats(field, around(), rays=2000, count=500)


def test_nothing_to_see_and_nobody_to_look_are_said(field):
    with pytest.raises(UserError, match="ball has no training views"):
        surface_splats(field, around().subset([]), rays=1000, count=10)
    with pytest.raises(UserError, match="see no surface in the box"):
        surface_splats(field, around().subset([0]), rays=300, count=10, box=np.array([CENTRE + 50, CENTRE + 60]))
    empty = query.Field(Asked(torch.float32, "cpu", peak=0.0), placed())
    with pytest.raises(UserError, match="see no surface: nothing is opaque"):
        surface_splats(empty, around().subset([0]), rays=300, count=10)


def test_the_command_refuses_counts_and_degrees_that_cannot_be(tmp_path, capsys):
    from taichi_nerf import cli

    for option, value in (("--count", "0"), ("--degree", "4"), ("--steps", "-1"), ("--seconds", "-3")):
        assert cli.main(["export", str(tmp_path), "--what", "splats", option, value]) != 0
        said = capsys.readouterr().err.strip()
        assert option.removeprefix("--") in said and said.count("\n") == 0
