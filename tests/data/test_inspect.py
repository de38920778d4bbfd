"""What `info` says about a scene, and its picture."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import load_scene
from taichi_nerf.data.frusta import COLOURS, frustum_corners
from taichi_nerf.data.inspect import describe, draw_frusta, field_of_view, suggestions
from taichi_nerf.data.scene import Images, Sightings

from .captures import write_colmap
from .conftest import look_at, orbit_pose


def warnings(scene) -> str:
    return " | ".join(finding.text for finding in describe(scene) if finding.severity == "warning")


def facts(scene) -> str:
    return " | ".join(finding.text for finding in describe(scene) if finding.severity == "info")


def with_cameras(scene, name: str, **changes):
    split = scene.splits[name]
    split = dataclasses.replace(split, cameras=dataclasses.replace(split.cameras, **changes))
    return dataclasses.replace(scene, splits={**scene.splits, name: split})


def test_a_sound_scene_is_described_and_not_suspected(blender_folder):
    scene = load_scene(blender_folder)
    assert warnings(scene) == ""
    text = facts(scene)
    assert "train: 4 images of 10 x 8 pixels, with alpha; perspective lens, 39.5 degrees wide" in text
    assert "model box +-0.5 (1 cascade)" in text and "(-1.50, -1.50, -1.50) to (1.50, 1.50, 1.50)" in text


def test_a_scene_of_a_colmap_model_tells_its_orientation_points_and_bounds(tmp_path):
    pytest.importorskip("pycolmap")
    write_colmap(tmp_path)
    scene = load_scene(tmp_path)
    text = facts(scene)
    for expected in (
        "format colmap",
        "COLMAP model of 12 images and 1 camera (OPENCV)",
        "40 points, 0.50 pixels from where they were seen, without tracks",
        "turned so that z is up",
        "of 40 points 100% lie in the unit cube",
        f"lies between {scene.near:.4g} and {scene.far:.4g} of the cameras",
        f"of side {scene.aabb_scale / scene.scale:.4g} around",
    ):
        assert expected in text, text
    assert warnings(scene) == ""
    picture, empty = draw_frusta(scene), draw_frusta(dataclasses.replace(scene, points=None))
    assert (picture != empty).any(axis=2).sum() > 100


def test_what_was_left_out_is_reported(blender_folder):
    (blender_folder / "train" / "r_1.png").unlink()
    assert "r_1" in warnings(load_scene(blender_folder, strict=False))


def test_poses_that_are_no_rotations_are_found(blender_folder):
    scene = load_scene(blender_folder)
    poses = scene.splits["train"].cameras.camera_to_world.copy()
    poses[2, :, :3] *= 1.1
    assert "train: poses are not rotations: r_2" in warnings(
        with_cameras(scene, "train", camera_to_world=poses)
    )
    poses[2] = np.nan
    assert "not rotations: r_2" in warnings(with_cameras(scene, "train", camera_to_world=poses))


def test_cameras_outside_the_grid_are_found_in_an_unbounded_scene(capture):
    capture.frames[5]["transform_matrix"] = orbit_pose(5, 12, radius=40.0)
    scene = load_scene(capture.write())
    assert "train: 1 camera outside the grid: 0005" in warnings(scene)
    # of a model whose rays are sampled on their way to the box nothing is missing
    said = [finding.text for finding in describe(scene, "all of space", beyond=True)]
    assert "the model works in all of space (lengths in model units)" in said
    assert not any("outside the grid" in text or "cascade" in text for text in said)


def test_cameras_outside_the_box_are_normal_in_a_bounded_scene(blender_folder):
    assert "outside" not in warnings(load_scene(blender_folder))


def test_cameras_that_look_away_are_found(blender_folder):
    scene = load_scene(blender_folder)
    poses = scene.splits["train"].cameras.camera_to_world.copy()
    place = poses[1, :, 3].astype(np.float64)
    poses[1] = np.array(look_at(place, 2 * place))[:3]
    text = warnings(with_cameras(scene, "train", camera_to_world=poses))
    assert "1 camera turned away from the centre: r_1" in text
    assert "nothing of the model box is seen by 1 camera: r_1" in text


def test_cameras_all_at_one_place_are_found(capture):
    for n, frame in enumerate(capture.frames):
        target = np.array(orbit_pose(n, 12))[:3, 3]
        frame["transform_matrix"] = look_at((0.0, 0.0, 0.1), target)
    assert "all 10 cameras stand at one place" in warnings(load_scene(capture.write()))


def test_a_near_plane_inside_the_object_is_found(blender_folder):
    scene = load_scene(blender_folder)
    poses = scene.splits["train"].cameras.camera_to_world.copy()
    poses[0, :, 3] *= 0.1
    moved = with_cameras(scene, "train", camera_to_world=poses)
    assert "near plane (0.05) may lie inside the object for 1 camera: r_0" in warnings(moved)
    split = dataclasses.replace(
        scene.splits["train"], depth=[np.full((8, 10), 3.0)] * 3 + [np.full((8, 10), 0.1)]
    )
    known = dataclasses.replace(scene, splits={"train": split})
    assert "inside the object for 1 camera: r_3" in warnings(known)


def test_blank_images_are_found(blender_folder):
    Image.new("RGBA", (10, 8), (0, 0, 0, 0)).save(blender_folder / "val" / "r_1.png")
    assert "val: images of one colour only: r_1" in warnings(load_scene(blender_folder))


def test_poses_shared_by_train_and_test_are_found(blender_folder):
    scene = load_scene(blender_folder)
    poses = scene.splits["test"].cameras.camera_to_world.copy()
    poses[4] = scene.splits["train"].cameras.camera_to_world[0]
    shared = with_cameras(scene, "test", camera_to_world=poses)
    assert "train and test share 1 poses: r_4" in warnings(shared)

    def timed(first):
        """All training images at the time `first`, all others at 0."""
        return dataclasses.replace(shared, splits={
            name: dataclasses.replace(split, time=np.full(len(split), first if name == "train" else 0.0))
            for name, split in shared.splits.items()})

    assert "share 1 poses" in warnings(timed(0.0)) and "share" not in warnings(timed(0.5))


def test_field_of_view_of_a_blender_camera_is_its_angle(blender_folder):
    cameras = load_scene(blender_folder).splits["train"].cameras
    np.testing.assert_allclose(field_of_view(cameras)[:, 0], np.degrees(0.69), rtol=1e-6)


def test_frusta_start_at_the_camera_and_open_along_its_view(blender_folder):
    cameras = load_scene(blender_folder).splits["train"].cameras
    corners = frustum_corners(cameras, 0.5)
    np.testing.assert_allclose(corners[:, 0], cameras.position, atol=1e-6)
    middle = corners[:, 1:5].mean(axis=1) - cameras.position
    np.testing.assert_allclose(middle, 0.5 * cameras.view_direction, atol=1e-5)
    upper_left = np.einsum("nij,ni->nj", cameras.camera_to_world[:, :, :3], corners[:, 1] - cameras.position)
    assert (upper_left[:, 0] < 0).all() and (upper_left[:, 1] > 0).all() and (upper_left[:, 2] < 0).all()


def test_the_picture_shows_every_split_in_its_colour(blender_folder):
    image = draw_frusta(load_scene(blender_folder))
    assert image.dtype == np.uint8 and image.shape == (1000, 1600, 3)
    for colour in COLOURS.values():
        assert (np.abs(image.astype(int) - colour).max(axis=-1) < 12).sum() > 50


def test_the_picture_of_no_and_of_coinciding_cameras_is_drawn(blender_folder, capture):
    scene = load_scene(blender_folder)
    assert draw_frusta(dataclasses.replace(scene, splits={})).shape == (1000, 1600, 3)
    for frame in capture.frames:
        frame["transform_matrix"] = capture.frames[0]["transform_matrix"]
    assert draw_frusta(load_scene(capture.write(is_fisheye=True))).std() > 1


@pytest.mark.parametrize("name", ["nerf_synthetic/lego", "fox_4"])
def test_real_scenes_are_not_suspected(real_data, name):
    scene = load_scene(real_data(name), downscale=2, every={"train": 10, "val": 10, "test": 20})
    assert warnings(scene) == ""


def with_images(scene, images):
    split = scene.splits["train"]
    cameras = split.cameras.resized([(image.shape[1], image.shape[0]) for image in images])
    split = dataclasses.replace(split, images=Images.from_list(images, split.images.names), cameras=cameras)
    return dataclasses.replace(scene, splits={**scene.splits, "train": split})


def test_photos_that_look_as_if_they_did_not_belong_are_named(capture):
    scene = load_scene(capture.write(), test_every=0)
    split = scene.splits["train"]
    images = [split.images.image(n) for n in range(len(split))]
    assert "of another" not in warnings(scene)
    found = warnings(with_images(scene, [images[0][:-2], *images[1:]]))
    assert f"train: {split.images.names[0]} is of another size than all other images: of another place, or" in found
    half = len(images) // 2
    assert "another size" not in warnings(with_images(scene, [image[:-2] for image in images[:half]] + images[half:]))
    seen = [Sightings(point=np.arange(3), pixel=np.ones((3, 2)))] * len(split)
    seen[2] = Sightings(point=np.zeros(0), pixel=np.zeros((0, 2)))
    blind = dataclasses.replace(scene, splits={"train": dataclasses.replace(split, sightings=seen)})
    assert f"found nothing that others show in {split.images.names[2]}: of another place?" in warnings(blind)


def test_photos_that_are_all_one_picture_are_found(capture):
    scene = load_scene(capture.write(), test_every=0)
    image = scene.splits["train"].images.image(0)
    count = len(scene.splits["train"])
    assert f"train: all {count} images are one and the same picture" in warnings(with_images(scene, [image] * count))


def test_what_photos_call_for_is_suggested(capture):
    scene = load_scene(capture.write(), test_every=0)
    split = scene.splits["train"]
    assert suggestions(with_images(scene, [split.images.image(0)] * len(split))) == []
    darker = [split.images.image(0) // np.array([1 + n % 3] * 3 + [1], np.uint8) for n in range(len(split))]
    (found,) = suggestions(with_images(scene, darker))
    assert found.severity == "suggestion" and "train with --appearance, and with --robust where people" in found.text
