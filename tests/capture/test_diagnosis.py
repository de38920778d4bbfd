"""What is said about reconstructions that are known to be right, bent, split, or otherwise odd."""

import numpy as np
import pytest

pytest.importorskip("pycolmap", reason="pycolmap is not installed")

from taichi_nerf.capture.diagnosis import contradicted_pairs, read_pairs, reasons, suspicions
from taichi_nerf.capture.reconstruction import import_pycolmap


@pytest.fixture
def synthetic(request, tmp_path):
    """A reconstruction of 8 images of 400 points, and its database; the parameter is the number of cameras, 1 or 2."""
    colmap, cameras = import_pycolmap(), getattr(request, "param", 1)
    colmap.set_random_seed(3)
    options = colmap.SyntheticDatasetOptions(num_rigs=cameras, num_frames_per_rig=8 // cameras, num_points3D=400)
    database = colmap.Database.open(tmp_path / "database.db")
    model = colmap.synthesize_dataset(options, database)
    yield database, model
    database.close()


def texts(database, models, ordered=False):
    return " | ".join(finding.text for finding in suspicions(database, models, ordered=ordered))


def move(model, image_id, rotation_degrees=0.0, centre=None):
    """Turn a camera about the vertical axis of the world, or put it elsewhere."""
    colmap, image = import_pycolmap(), model.images[image_id]
    pose = image.cam_from_world().inverse().matrix()
    angle = np.radians(rotation_degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    rotation = turn @ pose[:, :3]
    position = pose[:, 3] if centre is None else np.asarray(centre, float)
    image.frame.rig_from_world = colmap.Rigid3d(colmap.Rotation3d(rotation), position).inverse()


def test_of_a_right_reconstruction_nothing_is_said(synthetic):
    database, model = synthetic
    assert contradicted_pairs(database, model) == ([], 28)
    assert texts(database, [model]) == "" and reasons(database, [model], dict.fromkeys(names(model), 1.0)) == {}


def names(model):
    return [image.name for image in model.images.values()]


def test_a_bent_reconstruction_contradicts_its_pairs(synthetic):
    database, model = synthetic
    for image_id in model.images:
        move(model, image_id, rotation_degrees=3.0 * image_id)
    wrong, seen = contradicted_pairs(database, model)
    assert seen == 28 and len(wrong) > 20
    assert "pairs of images contradict their poses" in texts(database, [model])


def test_a_split_reconstruction_and_a_large_error_are_said(synthetic):
    database, model = synthetic
    assert "split into 2 parts of 8, 8 images" in texts(database, [model, model])
    for point in model.points3D.values():
        point.error = 3.0
    assert "mean reprojection error is 3.0 pixels" in texts(database, [model])


@pytest.mark.parametrize("parameters, said", [((20000.0, 512, 384, 0.0), "field of view of 3 degrees"),
                                              ((1280.0, 512, 384, 9.0), "a distortion of")])
def test_a_lens_that_nobody_sells_is_said(synthetic, parameters, said):
    database, model = synthetic
    for camera in model.cameras.values():
        camera.params = np.array(parameters)
    assert said in texts(database, [model]) and "probably bent" in texts(database, [model])


@pytest.mark.parametrize("synthetic", [2], indirect=True)
def test_several_strange_lenses_are_said_in_one_breath(synthetic):
    database, model = synthetic
    for camera, focal in zip(model.cameras.values(), (20000.0, 10000.0), strict=True):
        camera.params = np.array([focal, 512, 384, 0.0])
    assert "the lens was found to have a field of view of 3 to 6 degrees, which" in texts(database, [model])


def test_a_jump_of_the_path_is_said_where_there_is_a_path(synthetic):
    database, model = synthetic
    order = sorted(model.images, key=lambda n: model.images[n].name)
    for number, image_id in enumerate(order):
        move(model, image_id, centre=(0.1 * number + (40 if number > 3 else 0), 0, -5))
    jump = f"jumps 1 time, most between {model.images[order[3]].name} and {model.images[order[4]].name}"
    assert jump in texts(database, [model], ordered=True) and jump in texts(database, [model])
    for number, image_id in enumerate(order):  # in no order: to and fro
        move(model, image_id, centre=(5 * (number % 2) + 0.1 * number**2, 0, -5))
    assert "jumps" not in texts(database, [model])


def test_each_image_without_a_pose_has_its_likely_reason(synthetic):
    """One is blurred, one has no matches, one matches but fits nowhere, one has no features, one is in another part."""
    colmap = import_pycolmap()
    database, model = synthetic
    by_name = {image.name: n for n, image in model.images.items()}
    blurry, lonely, odd, empty, apart, pair = sorted(by_name)[:6]
    for one, other, _ in read_pairs(database):
        if by_name[lonely] in (one, other):
            database.delete_two_view_geometry(one, other)
        elif by_name[pair] in (one, other) and by_name[empty] not in (one, other):
            database.delete_two_view_geometry(one, other)
    database.update_keypoints(by_name[empty], np.zeros((7, 2), np.float32))
    other = colmap.Reconstruction(model)
    for name in (blurry, lonely, odd, empty, apart, pair):
        model.deregister_frame(model.images[by_name[name]].frame_id)
    for name in set(by_name) - {apart}:
        other.deregister_frame(other.images[by_name[name]].frame_id)
    sharpness = {name: 1.0 if name == blurry else 100.0 for name in by_name}
    found = reasons(database, [model, other], sharpness)
    assert set(found) == {blurry, lonely, odd, empty, apart, pair}
    for name, words in ((blurry, "it is blurred (sharpness 1, usual is 100)"), (lonely, "too few matches"),
                        (odd, "agree on no pose"), (empty, "too few features (7)"), (apart, "a separate part"),
                        (pair, "it matches only images without a pose")):
        assert words in found[name], name
