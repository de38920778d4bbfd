"""The transforms.json of instant-ngp and nerfstudio."""

import math

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import FISHEYE, PERSPECTIVE, load_scene
from taichi_nerf.data.placement import focus_point
from taichi_nerf.errors import UserError

from .conftest import look_at, orbit_pose, picture


def everything(scene):
    """All cameras in the order of the file."""
    return load_scene(scene, test_every=0).splits["train"]


def test_intrinsics_distortion_poses_and_pixels_are_those_of_the_file(capture):
    split = everything(capture.folder)
    cameras = split.cameras
    np.testing.assert_allclose(cameras.focal[3], (14.0, 14.5))
    np.testing.assert_allclose(cameras.principal[3], (6.2, 7.7), rtol=1e-6)
    np.testing.assert_allclose(cameras.distortion[3], (0.05, -0.08, 0, 0, -0.001, 0.0002), rtol=1e-6)
    assert cameras.size[3].tolist() == [12, 16] and (cameras.lens == PERSPECTIVE).all()
    expected = np.array([orbit_pose(n, 12) for n in range(12)])[:, :3].astype(np.float32)
    np.testing.assert_array_equal(cameras.camera_to_world, expected)
    assert np.array_equal(split.images.image(7)[..., :3], picture(7, 12, 16, channels=3))


def test_every_kth_image_in_natural_order_is_held_out(capture):
    for n, frame in enumerate(capture.frames):
        path = capture.folder / frame["file_path"]
        path.rename(path.with_name(f"shot_{n}.png"))
        frame["file_path"] = f"images/shot_{n}.png"
    capture.frames.reverse()
    scene = load_scene(capture.write(), test_every=5)
    assert scene.held_out
    assert [path.stem for path in scene.splits["test"].paths] == ["shot_10", "shot_5", "shot_0"]
    assert len(scene.splits["train"]) == 9
    assert load_scene(capture.folder).splits["test"].images.names == ("shot_8", "shot_0")
    assert list(load_scene(capture.folder, test_every=0).splits) == ["train"]


def test_every_does_not_thin_out_what_was_held_out(capture):
    scene = load_scene(capture.folder, test_every=4, every={"test": 4}, splits=("test",))
    assert len(scene.splits["test"]) == 3 and list(scene.splits) == ["test"]


def test_the_map_to_the_model_is_the_same_whichever_split_is_loaded(capture):
    capture.write(aabb_scale=None)
    whole, test = load_scene(capture.folder), load_scene(capture.folder, splits=("test",))
    np.testing.assert_array_equal(whole.centre, test.centre)
    assert whole.scale == test.scale and whole.background == test.background


def test_aabb_scale_means_the_convention_of_instant_ngp(capture):
    scene = load_scene(capture.folder)
    assert (scene.aabb_scale, scene.scale) == (4, 0.33) and scene.centre.tolist() == [0, 0, 0]
    scene = load_scene(capture.write(scale=0.5, offset=[0.5, 0.25, 1.0]))
    point = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        scene.to_model(point), point * 0.5 + (0.5, 0.25, 1.0) - np.full(3, 0.5), rtol=1e-6
    )


def test_without_aabb_scale_the_model_is_centred_on_what_the_cameras_look_at(capture):
    target = np.array([10.0, -5.0, 2.0])
    for n, frame in enumerate(capture.frames):
        frame["transform_matrix"] = orbit_pose(n, 12, radius=7.0, target=target)
    scene = load_scene(capture.write(aabb_scale=None))
    np.testing.assert_allclose(scene.centre, target, atol=1e-4)
    np.testing.assert_allclose(scene.scale, 0.6 / 7.0, rtol=1e-4)
    assert scene.aabb_scale == 16 and not scene.bounded and scene.background == "black"


def test_one_camera_that_looks_elsewhere_does_not_move_the_centre():
    poses = np.array([orbit_pose(n, 20) for n in range(20)])[:, :3]
    poses[3, :, :3] = np.array(look_at(poses[3, :, 3], (9, 9, 9)))[:3, :3]
    focus = focus_point(poses[:, :, 3], -poses[:, :, 2])
    assert np.linalg.norm(focus) < 0.02


def test_forward_facing_and_outward_cameras_are_centred_on_themselves(capture):
    for n, frame in enumerate(capture.frames):
        frame["transform_matrix"] = look_at(
            (n % 4 + 1.0, 20.0, n // 4 + 1.0), (n % 4 + 1.0, 0.0, n // 4 + 1.0)
        )
    scene = load_scene(capture.write(aabb_scale=None))
    np.testing.assert_allclose(scene.centre, (2.5, 20.0, 2.0), atol=1e-5)
    distance = np.linalg.norm(scene.model_cameras(everything(capture.folder).cameras).position, axis=1)
    np.testing.assert_allclose(np.median(distance), 0.2, rtol=1e-4)
    for n, frame in enumerate(capture.frames):
        place = np.array(orbit_pose(n, 12, radius=1.0))[:3, 3]
        frame["transform_matrix"] = look_at(place, 2 * place)
    scene = load_scene(capture.write())
    np.testing.assert_allclose(scene.centre, (0, 0, 0.6), atol=1e-5)


def test_images_with_alpha_make_a_bounded_scene_that_fills_the_unit_cube(capture):
    for n, frame in enumerate(capture.frames):
        Image.fromarray(picture(n, 12, 16)).save(capture.folder / frame["file_path"])
    scene = load_scene(capture.write(aabb_scale=None))
    assert scene.background == "white" and scene.bounded and scene.aabb_scale == 1
    np.testing.assert_allclose(scene.scale * 4.0 * (8 / 14.5), 0.5, rtol=1e-4)  # half a view at the centre


def test_camera_angle_alone_gives_the_focal_length_of_both_axes(capture):
    capture.write(fl_x=None, fl_y=None, cx=None, cy=None, w=None, h=None, camera_angle_x=0.8)
    cameras = everything(capture.folder).cameras
    np.testing.assert_allclose(cameras.focal, np.full((12, 2), 6 / math.tan(0.4)), rtol=1e-6)
    np.testing.assert_array_equal(cameras.principal, np.full((12, 2), (6, 8)))
    capture.write(camera_angle_y=1.0)
    np.testing.assert_allclose(everything(capture.folder).cameras.focal[0, 1], 8 / math.tan(0.5), rtol=1e-6)


def test_a_stated_focal_length_wins_over_the_angles(capture):
    capture.write(fl_y=None, camera_angle_x=0.8, camera_angle_y=0.8)
    np.testing.assert_allclose(everything(capture.folder).cameras.focal[0], (14.0, 14.0))


def test_a_frame_overrides_the_file(capture):
    Image.fromarray(picture(2, 20, 10, channels=3)).save(capture.folder / "images/0002.png")
    capture.frames[2].update(fl_x=30.0, fl_y=31.0, w=20, h=10, cx=9.0, cy=4.0, k1=0.2)
    capture.frames[3].update(camera_angle_x=1.0)
    cameras = everything(capture.write()).cameras
    np.testing.assert_allclose(cameras.focal[2], (30, 31))
    np.testing.assert_allclose(cameras.distortion[2, :2], (0.2, -0.08), rtol=1e-6)
    assert cameras.size[2].tolist() == [20, 10] and cameras.size[1].tolist() == [12, 16]
    np.testing.assert_allclose(cameras.focal[3], np.full(2, 6 / math.tan(0.5)), rtol=1e-6)


def test_mixed_sizes_without_stated_size(capture):
    Image.fromarray(picture(2, 20, 10, channels=3)).save(capture.folder / "images/0002.png")
    capture.write(w=None, h=None, cx=None, cy=None)
    split = everything(capture.folder)
    assert split.images.image(2).shape == (10, 20, 4) and split.images.image(3).shape == (16, 12, 4)
    np.testing.assert_array_equal(split.cameras.principal[2], (10, 5))


@pytest.mark.parametrize("keys", [{"camera_model": "OPENCV_FISHEYE"}, {"is_fisheye": True}])
def test_fisheye_lenses(capture, keys):
    capture.write(p1=None, p2=None, k3=0.01, k4=-0.002, **keys)
    cameras = everything(capture.folder).cameras
    assert (cameras.lens == FISHEYE).all()
    np.testing.assert_allclose(cameras.distortion[0], (0.05, -0.08, 0.01, -0.002, 0, 0), rtol=1e-6)


def test_a_fisheye_angle_is_equidistant(capture):
    capture.write(fl_x=None, fl_y=None, camera_angle_x=3.0, is_fisheye=True)
    np.testing.assert_allclose(everything(capture.folder).cameras.focal[0], 12 / 3.0)


@pytest.mark.parametrize("model", ["PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "pinhole"])
def test_perspective_models(capture, model):
    capture.write(camera_model=model)
    assert (everything(capture.folder).cameras.lens == PERSPECTIVE).all()


def test_file_path_without_ending_absolute_and_with_backslashes(capture):
    for frame in capture.frames[:4]:
        frame["file_path"] = frame["file_path"].removesuffix(".png")
    capture.frames[4]["file_path"] = str(capture.folder / capture.frames[4]["file_path"])
    capture.frames[5]["file_path"] = capture.frames[5]["file_path"].replace("/", "\\")
    names = [path.name for path in everything(capture.write()).paths]
    assert names == [f"{n:04d}.png" for n in range(12)]


def test_three_rows_of_a_pose_are_enough(capture):
    for frame in capture.frames:
        frame["transform_matrix"] = frame["transform_matrix"][:3]
    assert len(everything(capture.write())) == 12


def test_a_file_with_a_byte_order_mark(capture):
    capture.path.write_bytes(b"\xef\xbb\xbf" + capture.path.read_bytes())
    assert len(everything(capture.folder)) == 12


def test_the_splits_of_nerfstudio_are_respected(capture):
    names = [frame["file_path"] for frame in capture.frames]
    val = [f"./{name}" for name in names[7:9]]
    capture.write(train_filenames=names[:7], val_filenames=val, test_filenames=names[9:11])
    scene = load_scene(capture.folder)
    assert not scene.held_out
    assert [split.images.names[0] for split in scene.splits.values()] == ["0000", "0007", "0009"]
    assert [len(split) for split in scene.splits.values()] == [7, 2, 2]
    assert any("1 frames are in no split" in note for note in scene.notes)
    assert len(load_scene(capture.folder, every={"test": 2}).splits["test"]) == 1
    with pytest.raises(UserError, match="which no frame has"):
        load_scene(capture.write(test_filenames=["images/nothing.png"]))
    with pytest.raises(UserError, match=r"0003\.png is in the training images and in the test images"):
        load_scene(capture.write(test_filenames=names[3:4]))


def test_the_file_may_have_another_name(capture):
    path = capture.path.rename(capture.folder / "base_cam.json")
    assert load_scene(path).format == "transforms"


def test_fox(real_data):
    scene = load_scene(real_data("fox_4"))
    train, test = scene.splits["train"], scene.splits["test"]
    assert (len(train), len(test), scene.aabb_scale, scene.background) == (43, 7, 4, "black")
    np.testing.assert_allclose(train.cameras.focal[0], (343.88, 343.6225))
    assert train.images.image(0).shape == (480, 270, 4)
    assert (np.abs(scene.model_cameras("train").position) < scene.half_side).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "downscale", "count"),
    [("nerf_llff_data/fern", 4, 20), ("colmap_can", 4, 71), ("statue_of_liberty", 8, 135)],
)
def test_a_file_beside_the_points_of_its_cameras_lies_as_a_scene_of_colmap(real_data, name, downscale, count):
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    formats = ("transforms", "colmap")
    scenes = [load_scene(real_data(name), format=f, downscale=downscale, test_every=0) for f in formats]
    assert len(scenes[0].splits["train"]) == count and len(scenes[0].points) == len(scenes[1].points)
    assert scenes[0].aabb_scale == scenes[1].aabb_scale
    for key in ("rotation", "centre", "scale", "near", "far"):
        np.testing.assert_allclose(getattr(scenes[0], key), getattr(scenes[1], key), rtol=1e-3, atol=1e-5, err_msg=key)
