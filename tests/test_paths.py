"""Camera paths: rigid, level, looking where they should; files that are read, or refused in one sentence."""

import json
import math

import numpy as np
import pytest

from taichi_nerf import paths
from taichi_nerf.data import FISHEYE, Cameras, Images, Scene, Split, with_scales
from taichi_nerf.data.placement import up_axis
from taichi_nerf.errors import UserError
from taichi_nerf.paths import from_json, interpolate, of_split, orbit, point_of_interest, spiral

from .data.conftest import look_at


def make_cameras(poses, size=(40, 30), focal=50.0, lens=0):
    count = len(poses)
    return Cameras(
        camera_to_world=np.asarray(poses, dtype=np.float64)[:, :3],
        focal=np.full((count, 2), focal),
        principal=np.tile(0.5 * np.array(size), (count, 1)),
        distortion=np.zeros((count, 6)),
        lens=np.full(count, lens),
        size=np.tile(size, (count, 1)),
    )


def make_scene(cameras, centre=(0.0, 0.0, 0.0), scale=1.0, split="train"):
    images = Images.from_list([np.zeros((height, width, 4), np.uint8) for width, height in cameras.size])
    return Scene(
        name="made up",
        format="transforms",
        splits={split: Split(name=split, cameras=cameras, images=images)},
        centre=np.array(centre),
        scale=scale,
        aabb_scale=1,
        near=0.0,
        background="black",
    )


def ring(count=24, radius=2.0, height=1.0, target=(0.0, 0.0, 0.0), arc=2 * math.pi, outwards=False):
    """Poses around the vertical axis through `target`, looking at it."""
    target = np.asarray(target)
    poses = []
    for n in range(count):
        angle = arc * n / count + 0.1
        position = target + (radius * math.cos(angle), radius * math.sin(angle), height)
        poses.append(look_at(position, 2 * position - target if outwards else target))
    return poses


def rotations(cameras):
    return cameras.camera_to_world[:, :, :3].astype(np.float64)


def assert_rigid_and_level(cameras, up):
    rotation = rotations(cameras)
    assert np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max() < 1e-5
    assert np.allclose(np.linalg.det(rotation), 1, atol=1e-5)
    assert np.abs(rotation[:, :, 0] @ up).max() < 1e-5, "the horizon is level"
    assert (rotation[:, :, 1] @ up > 0).all(), "and up is up"


def assert_looks_at(cameras, point):
    towards = point - cameras.position
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    assert (towards * cameras.view_direction).sum(axis=1).min() > 1 - 1e-4


Z = np.array([0.0, 0.0, 1.0])


def test_an_orbit_follows_the_ring_of_the_cameras_once_around():
    path = orbit(make_scene(make_cameras(ring())), 30)
    assert len(path) == 30
    assert_rigid_and_level(path, Z)
    assert_looks_at(path, np.zeros(3))
    assert np.allclose(np.linalg.norm(path.position, axis=1), math.hypot(2, 1), atol=1e-3)
    assert np.allclose(path.position[:, 2], 1, atol=1e-3)
    steps = np.linalg.norm(path.position - np.roll(path.position, 1, axis=0), axis=1)
    assert np.allclose(steps, steps[0], rtol=1e-3), "the last frame leads to the first"


def test_an_orbit_is_in_model_space():
    target = (10.0, -4.0, 3.0)
    scene = make_scene(make_cameras(ring(target=target)), centre=target, scale=0.25)
    path = orbit(scene, 8)
    assert_looks_at(path, np.zeros(3))
    assert np.allclose(np.linalg.norm(path.position, axis=1), 0.25 * math.hypot(2, 1), atol=1e-3)


def test_turning_the_world_turns_the_orbit():
    rng = np.random.default_rng(5)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    poses = np.array(ring())[:, :3]
    path = orbit(make_scene(make_cameras(turn @ poses)), 12)
    assert_rigid_and_level(path, turn @ Z)
    assert_looks_at(path, np.zeros(3))
    assert np.allclose(path.position @ (turn @ Z), 1, atol=1e-3)


def test_an_orbit_keeps_to_the_arc_that_was_seen():
    path = orbit(make_scene(make_cameras(ring(arc=math.radians(150)))), 40)
    angle = np.degrees(np.arctan2(path.position[:, 1], path.position[:, 0])) - math.degrees(0.1)
    assert angle.min() > 0 and angle.max() < 150 and np.ptp(angle) > 100
    assert_looks_at(path, point_of_interest(make_cameras(ring(arc=math.radians(150)))))
    steps = np.linalg.norm(path.position - np.roll(path.position, 1, axis=0), axis=1)
    assert steps.max() < 0.5, "it comes back to where it began"


def test_cameras_that_look_outwards_are_followed_outwards():
    path = orbit(make_scene(make_cameras(ring(height=0.0, outwards=True))), 10)
    assert_rigid_and_level(path, Z)
    assert ((path.position * path.view_direction).sum(axis=1) > 1.9).all()


def test_cameras_from_above_give_an_orbit_that_can_be_level():
    path = orbit(make_scene(make_cameras(ring(radius=0.2, height=3.0))), 10)
    assert_rigid_and_level(path, Z)
    assert_looks_at(path, np.zeros(3))


@pytest.mark.parametrize(
    ("size", "focal"), [(None, 50.0), ((80, 60), 100.0), ((160, 60), 100.0), ((20, 60), 25.0)]
)
def test_what_the_training_cameras_see_fits_into_pictures_of_any_size(size, focal):
    path = orbit(make_scene(make_cameras(ring())), 3, size=size)
    assert path.size.tolist() == [list(size or (40, 30))] * 3
    assert np.allclose(path.focal, focal) and np.allclose(path.principal, 0.5 * path.size)


def test_a_fisheye_capture_gets_a_perspective_path():
    path = orbit(make_scene(make_cameras(ring(), focal=20.0, lens=FISHEYE)), 3)
    assert (path.lens == 0).all()
    half = math.atan(20 / path.focal[0, 0])
    assert math.degrees(2 * half) == pytest.approx(100)


def forward_facing(count=15):
    """Poses in a plane that look the same way, along -z, with y up."""
    rng = np.random.default_rng(2)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :2, 3] = rng.uniform(-0.3, 0.3, (count, 2))
    poses[:, 2, 3] = 2 + rng.uniform(-0.05, 0.05, count)
    return poses


def test_a_spiral_stays_among_forward_facing_cameras_and_looks_where_they_look():
    cameras = make_cameras(forward_facing())
    path = spiral(make_scene(cameras), 24)
    assert_rigid_and_level(path, np.array([0.0, 1.0, 0.0]))
    reach = np.abs(cameras.position - cameras.position.mean(axis=0)).max(axis=0)
    assert (np.abs(path.position - cameras.position.mean(axis=0)) <= reach + 1e-6).all()
    assert np.ptp(path.position[:, 0]) > 0.3 and np.ptp(path.position[:, 1]) > 0.3
    assert path.view_direction[:, 2].max() < -0.9
    towards = path.position + path.view_direction * (path.position[:, 2:] / -path.view_direction[:, 2:])
    assert np.ptp(towards, axis=0).max() < 0.15, "all look at one point"


def test_a_spiral_is_refused_where_cameras_look_all_around():
    with pytest.raises(UserError, match="choose an orbit"):
        spiral(make_scene(make_cameras(ring(height=0.0))), 10)


@pytest.mark.parametrize("path", [orbit, spiral])
def test_paths_of_nothing_are_user_errors(path):
    scene = make_scene(make_cameras(forward_facing()))
    with pytest.raises(UserError, match="frame"):
        path(scene, 0)
    for size in ((0, 10), (10.5, 10), (10,), "ab", (10**9, 10)):
        with pytest.raises(UserError, match=r"size|width"):
            path(scene, 2, size=size)
    with pytest.raises(UserError, match="no cameras"):
        path(make_scene(make_cameras(np.zeros((0, 4, 4)))), 2)


def test_one_frame_is_a_path():
    assert (
        len(orbit(make_scene(make_cameras(ring())), 1))
        == len(spiral(make_scene(make_cameras(forward_facing())), 1))
        == 1
    )


def test_the_up_axis_is_found_whatever_the_cameras_elevation():
    for height in (-1.0, 0.0, 0.5, 4.0):
        assert np.allclose(up_axis(make_cameras(ring(height=height)).camera_to_world), Z, atol=1e-5)
    assert np.allclose(up_axis(make_cameras(forward_facing()).camera_to_world), (0, 1, 0), atol=1e-5)


def test_the_point_of_interest_is_where_the_axes_meet():
    for target in ((0.0, 0.0, 0.0), (0.3, -0.2, 0.4)):
        assert np.allclose(point_of_interest(make_cameras(ring(target=target))), target, atol=2e-3)


def test_of_split_gives_the_splits_cameras_in_model_space():
    cameras = make_cameras(ring(count=5, target=(1.0, 0.0, 0.0)))
    scene = make_scene(cameras, centre=(1.0, 0.0, 0.0), scale=0.5, split="val")
    path = of_split(scene, "val", every=2)
    assert len(path) == 3
    assert np.allclose(path.position, (cameras.position[::2] - (1, 0, 0)) * 0.5, atol=1e-6)
    assert of_split(scene, "val", size=(80, 60)).focal[0].tolist() == [100, 100]
    for split, every in (("test", 1), ("val", 0)):
        with pytest.raises(UserError):
            of_split(scene, split, every)


def test_of_split_gives_a_view_of_several_sizes_once_where_a_size_is_asked_for():
    cameras = make_cameras(ring(count=3))
    scene = with_scales(make_scene(cameras, split="val"), 2)
    assert of_split(scene, "val").size.tolist() == [[40, 30], [20, 15]] * 3
    assert of_split(scene, "val", 2).size.tolist() == [[40, 30], [20, 15]] * 2
    path = of_split(scene, "val", size=(80, 60))
    assert np.array_equal(path.camera_to_world, cameras.camera_to_world) and (path.size == (80, 60)).all()


@pytest.fixture
def scene():
    return make_scene(make_cameras(ring()), centre=(1.0, 2.0, 3.0), scale=0.5)


def write(tmp_path, content):
    path = tmp_path / "path.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


POSE = look_at((3.0, 1.0, 2.0))


def test_a_path_file_states_poses_in_the_files_world(tmp_path, scene):
    frames = [{"camera_to_world": POSE}, {"camera_to_world": POSE[:3], "fov": 90, "size": [10, 20]}]
    path = from_json(write(tmp_path, {"fov": 40, "size": [64, 48], "frames": frames}), scene)
    assert np.allclose(path.position, (np.array([3, 1, 2]) - (1, 2, 3)) * 0.5, atol=1e-6)
    assert np.allclose(rotations(path), np.array(POSE)[:3, :3], atol=1e-6)
    assert path.size.tolist() == [[64, 48], [10, 20]] and path.principal.tolist() == [[32, 24], [5, 10]]
    assert path.focal[:, 1].tolist() == pytest.approx([24 / math.tan(math.radians(20)), 10])
    assert np.array_equal(path.focal[:, 0], path.focal[:, 1])


def test_a_size_that_is_asked_for_keeps_the_vertical_field_of_view(tmp_path, scene):
    file = write(tmp_path, {"focal": 30, "size": [64, 48], "frames": [{"camera_to_world": POSE}]})
    path = from_json(file, scene, size=(200, 96))
    assert path.size.tolist() == [[200, 96]] and path.focal.tolist() == [[60, 60]]
    without = write(tmp_path, {"fov": 90, "frames": [{"camera_to_world": POSE}]})
    assert from_json(without, scene).size.tolist() == [[40, 30]], "else the size of the training images"


def test_nerfstudios_camera_path_is_read(tmp_path, scene):
    flat = [number for row in POSE for number in row]
    content = {
        "camera_type": "perspective",
        "render_height": 60,
        "render_width": 100,
        "fps": 24,
        "seconds": 4,
        "keyframes": [],
        "camera_path": [{"camera_to_world": flat, "fov": 90, "aspect": 1.6}] * 3,
    }
    path = from_json(write(tmp_path, content), scene)
    assert path.size.tolist() == [[100, 60]] * 3 and np.allclose(path.focal, 30)
    assert np.allclose(rotations(path), np.array(POSE)[:3, :3], atol=1e-6)


def test_key_frames_are_met_and_joined_by_rigid_motion(tmp_path, scene):
    keys = [look_at((2.0, 0.0, 1.0)), look_at((0.0, 2.0, 0.5)), look_at((-2.0, 0.5, 1.5))]
    frames = [{"camera_to_world": key, "fov": fov} for key, fov in zip(keys, (30, 40, 50))]
    file = write(tmp_path, {"size": [64, 48], "frames": frames})
    path, smooth = from_json(file, scene), from_json(file, scene, frames=21)
    assert len(smooth) == 21
    for n, key in enumerate((0, 10, 20)):
        assert np.allclose(smooth.camera_to_world[key], path.camera_to_world[n], atol=1e-5)
        assert np.allclose(smooth.focal[key], path.focal[n], rtol=1e-5)
    rotation = rotations(smooth)
    assert np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max() < 1e-5
    steps = np.linalg.norm(np.diff(smooth.position, axis=0), axis=1)
    assert steps.max() < 3 * steps.min()
    assert (np.diff(smooth.focal[:, 0]) < 0).all()


def test_the_way_between_two_rotations_turns_at_a_constant_rate():
    half_turn = np.diag([-1.0, -1.0, 1.0])
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for target, angle in ((quarter, math.pi / 2), (half_turn, math.pi), (np.eye(3), 0.0)):
        poses = np.concatenate([np.stack([np.eye(3), target]), np.zeros((2, 3, 1))], axis=2)
        between, _ = interpolate(poses, np.ones(2), 5)
        for n, rotation in enumerate(between[:, :, :3]):
            assert np.trace(rotation) == pytest.approx(1 + 2 * math.cos(angle * n / 4), abs=1e-9)
        assert np.allclose(between[-1, :, :3], target)


def test_one_key_frame_stands_still(tmp_path, scene):
    path = from_json(write(tmp_path, {"fov": 40, "frames": [{"camera_to_world": POSE}]}), scene, frames=4)
    assert np.allclose(path.camera_to_world, path.camera_to_world[0])


def scaled(pose, factor):
    return [[factor * v for v in row[:3]] + row[3:] for row in pose[:3]]


MIRRORED = [[-row[0], *row[1:]] for row in POSE[:3]]
TRANSPOSED = np.array(POSE).T.tolist()
BAD = {
    "no JSON": ("{", "not valid JSON"),
    "a number": (3, "neither an object nor a list"),
    "no frames": ({"fov": 40}, "no frames"),
    "an empty list": ({"frames": []}, "no frames"),
    "frames are no list": ({"frames": {}}, "no frames"),
    "a frame is no object": ({"fov": 40, "frames": [4]}, "frames 0 is 4"),
    "no pose": ({"fov": 40, "frames": [{}]}, "no 'camera_to_world'"),
    "a pose of text": ({"fov": 40, "frames": [{"camera_to_world": "x"}]}, "not a matrix"),
    "too few numbers": ({"fov": 40, "frames": [{"camera_to_world": [1, 2]}]}, "3 or 4 rows"),
    "ragged rows": ({"fov": 40, "frames": [{"camera_to_world": [[1] * 3] * 4}]}, "3 or 4 rows"),
    "a hole": ({"fov": 40, "frames": [{"camera_to_world": [[None] * 4] * 3}]}, "not a number"),
    "not finite": (
        '{"fov": 40, "frames": [{"camera_to_world": [[NaN, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}]}',
        "finite",
    ),
    "scaled": ({"fov": 40, "frames": [{"camera_to_world": scaled(POSE, 2)}]}, "not a rotation"),
    "mirrored": ({"fov": 40, "frames": [{"camera_to_world": MIRRORED}]}, "not a rotation"),
    "transposed": ({"fov": 40, "frames": [{"camera_to_world": TRANSPOSED}]}, "transposed"),
    "transposed, as of transforms.json": (
        {"fov": 40, "frames": [{"transform_matrix": TRANSPOSED}]}, "frames 0: 'transform_matrix' has the last row"),
    "no lens": ({"frames": [{"camera_to_world": POSE}]}, "neither 'fov' nor 'focal'"),
    "a wide lens": ({"fov": 190, "frames": [{"camera_to_world": POSE}]}, "field of view"),
    "no focal length": ({"focal": -1, "size": [4, 4], "frames": [{"camera_to_world": POSE}]}, "positive"),
    "focal without size": ({"focal": 9, "frames": [{"camera_to_world": POSE}]}, "without a size"),
    "a size that is none": (
        {"fov": 40, "size": [0, 4], "frames": [{"camera_to_world": POSE}]},
        "width and height",
    ),
    "a panorama": ({"camera_type": "equirectangular", "fov": 4, "camera_path": [{}]}, "not supported"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_a_bad_path_file_is_refused_by_name(tmp_path, scene, content, words):
    file = write(tmp_path, content)
    with pytest.raises(UserError) as error:
        from_json(file, scene)
    assert str(file) in str(error.value) and words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_path_file_is_refused_by_name(tmp_path, scene):
    with pytest.raises(UserError, match=r"nothing\.json does not exist"):
        from_json(tmp_path / "nothing.json", scene)
    with pytest.raises(UserError, match="cannot be read"):
        from_json(tmp_path, scene)
    with pytest.raises(UserError, match="at least one frame"):
        from_json(write(tmp_path, {"fov": 40, "frames": [{"camera_to_world": POSE}]}), scene, frames=0)


def test_the_documented_format_is_what_is_read(tmp_path, scene):
    example = paths.__doc__.split("\n    {")[1].split("\n\n")[0]
    for key in ('"size"', '"fov"', '"frames"', '"camera_to_world"'):
        assert key in example
