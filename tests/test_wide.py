"""Wide and stereo pictures: where their rays begin and go, what two eyes see of a ball, and what tells a player."""

import math
import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from taichi_nerf.data.scene import PERSPECTIVE, Cameras
from taichi_nerf.errors import UserError
from taichi_nerf.export.pictures import nearest_depth, render_pictures
from taichi_nerf.export.spherical import mark_of_name, mark_video, read_panorama, read_video_mark
from taichi_nerf.models.panoramas import panorama_rays
from taichi_nerf.models.views import _frame, render_view
from taichi_nerf.pictures import VideoWriter
from taichi_nerf.types import UNKNOWN
from taichi_nerf.wide import Grid, levelled, wide_pictures

from .models.ball import Ball

pytestmark = pytest.mark.usefixtures("all_on_cpu")

UP = np.array([0.0, 0.0, 1.0])
BALL = (0.02, 0.0, -0.03)


def ball(**settings):
    return Ball(torch.float32, "cpu", centre=BALL, **settings)


def looking_along_y(position=(0.0, -2.0, 0.0), size=(64, 48), focal=60.0, tilt=0.0):
    """One camera, z up, which looks along +y and `tilt` radians down."""
    back = np.array([0.0, -math.cos(tilt), math.sin(tilt)])
    right = np.array([1.0, 0.0, 0.0])
    pose = np.stack([right, np.cross(back, right), back, np.array(position)], axis=1)
    return Cameras(camera_to_world=pose[None], focal=[[focal, focal]], principal=[[0.5 * size[0], 0.5 * size[1]]],
                   distortion=np.zeros((1, 6)), lens=[PERSPECTIVE], size=[size])


def rays_of(cameras, index=0):
    """Origins and directions [H, W, 3] of a picture, as it is rendered."""
    frame = _frame(ball(), cameras, index, UNKNOWN)
    width, height = cameras.size[index]
    rays = frame.rays(torch.arange(width * height))
    return (x.numpy().reshape(height, width, 3) for x in (rays.origins, rays.directions))


def centroid(opacity):
    """(u, v) of what is opaque."""
    v, u = np.mgrid[: opacity.shape[0], : opacity.shape[1]] + 0.5
    return (u * opacity).sum() / opacity.sum(), (v * opacity).sum() / opacity.sum()


def test_the_disparity_of_a_ball_is_focal_times_eye_distance_by_depth():
    camera, eyes = looking_along_y(size=(96, 64), focal=150.0), 0.12
    for convergence in (math.inf, 1.5):
        grid = wide_pictures(camera, "perspective", up=UP, stereo=True, eye_distance=eyes, convergence=convergence)
        left, right = (centroid(render_view(ball(radius=0.2), pane, 0, background=0.0).opacity) for pane in grid.panes)
        depth = 2.0 + BALL[1]
        assert abs((left[0] - right[0]) - 150 * eyes * (1 / depth - 1 / convergence)) < 0.5
        assert abs(left[1] - right[1]) < 0.1


def test_an_equirectangular_picture_shows_all_directions_without_a_seam():
    camera = looking_along_y(tilt=0.6)
    (pane,) = wide_pictures(camera, "equirectangular", up=UP, size=(32, 16)).panes
    origins, directions = rays_of(pane)
    assert np.allclose(origins, camera.position[0], atol=1e-6)
    assert np.allclose(np.linalg.norm(directions, axis=-1), 1, atol=1e-6)
    assert np.allclose(directions[7:9, 15:17].mean(axis=(0, 1)), (0, 0.98, 0), atol=0.02), "the middle is level, ahead"
    steps = np.linalg.norm(np.diff(directions, axis=1, append=directions[:, :1]), axis=-1)
    assert np.allclose(steps, steps[:, :1], atol=1e-6), "from the last column to the first it is one step, as elsewhere"
    assert (directions[0, :, 2] > 0.99).all() and (directions[-1, :, 2] < -0.99).all()
    assert directions[8, 20, 0] > 0, "the right half is on the right"


def test_the_eyes_of_omnidirectional_stereo_are_on_the_viewing_circle_and_meet_at_the_poles():
    place = torch.tensor([[0.5, 8.0], [8.0, 8.0], [16.0, 8.0], [31.5, 8.0], [3.0, 0.01], [16.0, 3.0]])
    pose, principal = torch.eye(3, 4), torch.tensor([16.0, 8.0])
    focal = torch.tensor([32 / (2 * math.pi), 16 / math.pi])
    left, ahead, radius = panorama_rays(place, pose, focal, principal, eye=-0.03)
    right, same, _ = panorama_rays(place, pose, focal, principal, eye=0.03)
    assert torch.equal(ahead, same) and torch.isfinite(radius).all() and (radius > 0).all()
    assert torch.allclose((right - left)[:4].norm(dim=1), torch.tensor(0.06), atol=1e-6)
    assert ((right * ahead).sum(dim=1).abs() < 1e-6).all(), "at right angles to where it looks"
    assert (torch.linalg.cross(ahead, right)[:4, 1] < 0).all(), "the right eye is on the right"
    assert left[4].norm() < 1e-6 and 0.005 < right[5].norm() <= 0.03


@pytest.mark.slow
def test_a_panorama_cut_to_a_view_equals_the_view():
    model = ball(radius=0.5, softness=0.03, peak=60.0)
    camera = looking_along_y(position=(0.1, -0.9, 0.2), size=(32, 24), focal=24.0, tilt=0.3)
    direct = render_view(model, camera, 0, background=1.0).colour
    (pane,) = wide_pictures(camera, "equirectangular", up=UP, size=(512, 256)).panes
    whole = render_view(model, pane, 0, background=1.0).colour
    _, directions = rays_of(camera)
    local = directions @ levelled(camera, UP).camera_to_world[0, :, :3]
    u = (np.arctan2(local[..., 0], -local[..., 2]) / (2 * math.pi) + 0.5) * 512 - 0.5
    v = (0.5 - np.arcsin(local[..., 1]) / math.pi) * 256 - 0.5
    x, y = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = (u - x)[..., None], (v - y)[..., None]
    cut = ((1 - a) * (1 - b) * whole[y, x] + a * (1 - b) * whole[y, x + 1] + (1 - a) * b * whole[y + 1, x]
           + a * b * whole[y + 1, x + 1])
    assert direct.std() > 0.1
    assert -10 * np.log10(np.square(cut - direct).mean()) > 40


def test_a_cube_map_is_that_of_ffmpeg(tmp_path):
    """ffmpeg makes the equirectangular picture of it that we make ourselves: every direction as a colour."""
    camera = looking_along_y(tilt=0.4)

    def coloured(grid):
        return np.uint8(grid.joined([127.5 * (list(rays_of(pane))[1] + 1) for pane in grid.panes]))

    faces = wide_pictures(camera, "cube-map", up=UP, size=(64, 64))
    Image.fromarray(coloured(faces)).save(tmp_path / "faces.png")
    ffmpeg("-i", tmp_path / "faces.png", "-vf", "format=gbrp,v360=c3x2:e:w=64:h=32", tmp_path / "round.png")
    expected = coloured(wide_pictures(camera, "equirectangular", up=UP, size=(64, 32)))
    with Image.open(tmp_path / "round.png") as image:
        difference = np.abs(np.asarray(image.convert("RGB"), float) - expected)
    assert difference.mean() < 1.5 and np.quantile(difference, 0.99) < 8
    with pytest.raises(UserError, match="faces of a cube map are square"):
        wide_pictures(camera, "cube-map", up=UP, size=(64, 32))


def test_a_fisheye_shows_the_half_in_front_and_default_sizes_keep_the_sharpness():
    camera = looking_along_y(focal=60.0)
    (pane,) = wide_pictures(camera, "fisheye", up=UP, size=(40, 40)).panes
    _, directions = rays_of(pane)
    assert abs(directions[20, 0] @ (0, 1, 0)) < 0.05 and directions[20, 0, 0] < -0.99
    sizes = {lens: tuple(wide_pictures(camera, lens, up=UP).panes[0].size[0])
             for lens in ("fisheye", "equirectangular", "vr180", "cube-map")}
    assert sizes == {"fisheye": (188, 188), "equirectangular": (376, 188), "vr180": (188, 188), "cube-map": (120, 120)}
    pair = wide_pictures(camera, "vr180", up=UP, eye_distance=0.1)
    assert tuple(pair.size[0]) == (376, 188)
    assert np.allclose(pair.panes[1].position - pair.panes[0].position, (0.1, 0, 0), atol=1e-6)


def test_who_looks_straight_down_turns_to_the_upper_edge_of_the_picture():
    head = levelled(looking_along_y(tilt=math.pi / 2), UP)
    assert np.allclose(head.view_direction[0], (0, 1, 0), atol=1e-6)
    assert np.allclose(head.camera_to_world[0, :, 1], UP, atol=1e-6)


@pytest.mark.slow
def test_the_nearest_depth_is_that_of_the_ball():
    grid = wide_pictures(looking_along_y(), "perspective", up=UP, stereo=True)
    assert abs(nearest_depth(ball(radius=0.3), grid) - (2 - 0.3)) < 0.05
    away = wide_pictures(looking_along_y(tilt=math.pi / 2), "perspective", up=UP)
    assert nearest_depth(ball(radius=0.3), away) is None


MARKS = {  # what is read back, and what ffmpeg says of the file
    ("equirectangular", "mono"): ("equirectangular", (0, 0, 0, 0), "Spherical Mapping: equirectangular"),
    ("omnidirectional-stereo", "top-bottom"): ("equirectangular", (0, 0, 0, 0), "3D: top and bottom"),
    ("vr180", "left-right"): ("equirectangular", (0, 0, 0.25, 0.25), "3D: side by side"),
    ("cube-map", "mono"): ("cube-map", None, "Spherical Mapping: cubemap"),
    ("perspective", "left-right"): (None, None, "3D: side by side"),
}


@pytest.mark.parametrize(("lens", "stereo"), MARKS)
def test_a_video_says_what_it_shows_and_plays_as_before(tmp_path, lens, stereo):
    path, rng = tmp_path / "video.mp4", np.random.default_rng(3)
    pictures = rng.integers(0, 255, (3, 16, 32, 3), dtype=np.uint8)
    with VideoWriter(path, 10) as video:
        for picture in pictures:
            video.write(picture)
    before = frames_of(path)
    mark_video(path, lens, stereo)
    projection, bounds, said = MARKS[lens, stereo]
    found = read_video_mark(path)
    assert found["stereo"] == stereo and found.get("projection") == projection and found.get("bounds") == bounds
    if lens in ("equirectangular", "omnidirectional-stereo"):
        assert found["v1"]["ProjectionType"] == "equirectangular" and found["v1"]["StereoMode"] == stereo
    assert len(before) == pictures.size and frames_of(path) == before
    assert said in re.sub(r" +", " ", ffmpeg("-i", path).stderr.decode())


def frames_of(path):
    """All its pixels."""
    return ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-").stdout


def ffmpeg(*arguments):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *map(str, arguments)]
    return subprocess.run(command, capture_output=True)


def test_an_ordinary_video_is_left_as_it_is(tmp_path):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 10) as video:
        video.write(np.zeros((16, 16, 3), np.uint8))
    before = path.read_bytes()
    mark_video(path, "perspective", "mono")
    assert path.read_bytes() == before and read_video_mark(path) == {}


def test_pictures_all_around_carry_the_packet_and_pairs_the_end_of_a_name(tmp_path):
    model, camera = ball(), looking_along_y()
    one = wide_pictures(camera, "equirectangular", up=UP, size=(32, 16))
    render_pictures(model, one, 1.0, {"colour": tmp_path, "depth": tmp_path})
    assert {path.name for path in tmp_path.iterdir()} == {"colour_0000_360.jpg", "depth_0000_360.png"}
    packet = read_panorama(tmp_path / "colour_0000_360.jpg")
    assert packet["ProjectionType"] == "equirectangular"
    assert packet["FullPanoWidthPixels"] == packet["CroppedAreaImageWidthPixels"] == "32"
    assert packet["FullPanoHeightPixels"] == "16"
    pair = wide_pictures(camera, "omnidirectional-stereo", up=UP, size=(32, 16), eye_distance=0.1)
    render_pictures(model, pair, 1.0, {"colour": tmp_path})
    with Image.open(tmp_path / "colour_0000_360_TB.png") as image:
        assert image.size == (32, 32)
    assert mark_of_name(wide_pictures(camera, "vr180", up=UP)) == "_180_LR"
    assert mark_of_name(Grid(panes=(camera,))) == ""
