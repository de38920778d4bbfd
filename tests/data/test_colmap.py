"""COLMAP's models: poses, every lens, points with tracks, images in several sizes, and what is refused."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from taichi_nerf.data import load_scene
from taichi_nerf.data.folders import pick_size
from taichi_nerf.data.scene import FISHEYE, PERSPECTIVE
from taichi_nerf.errors import UserError
from taichi_nerf.reference.camera import project

from .captures import HEIGHT, MODEL_PARAMETERS, WIDTH, ColmapModel, write_colmap, write_images, write_json

pycolmap = pytest.importorskip("pycolmap")


def pixels_of(cameras, index: int, points: np.ndarray) -> np.ndarray:
    """[P, 2]: where camera `index` sees points [P, 3] of the same space, by the float64 reference."""
    arrays = (cameras.camera_to_world, cameras.focal, cameras.principal, cameras.distortion)
    tensors = [torch.from_numpy(array).double() for array in arrays]
    which = torch.full((len(points),), index, dtype=torch.int64)
    seen = project(which, torch.from_numpy(points).double(), *tensors, torch.from_numpy(cameras.lens))
    return (seen[0] if isinstance(seen, tuple) else seen).numpy()


def pycolmap_projection(model: ColmapModel):
    cameras = {
        camera_id: pycolmap.Camera(model=name, width=WIDTH, height=HEIGHT, params=list(parameters))
        for camera_id, (name, _, parameters) in model.cameras.items()
    }
    return lambda camera_id, local: cameras[camera_id].img_from_cam(np.asarray(local).reshape(1, 3)).reshape(2)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_poses_come_back_wherever_the_model_lies(tmp_path, binary, place):
    model = write_colmap(tmp_path / "scene", binary=binary, place=place)
    scene = load_scene(tmp_path / "scene", test_every=0)
    assert (scene.format, scene.name, scene.background) == ("colmap", "scene", "black")
    cameras = scene.splits["train"].cameras
    np.testing.assert_allclose(cameras.camera_to_world, model.poses[:, :3], atol=1e-6)
    assert scene.splits["train"].images.names == tuple(name[:-4] for name in model.names)
    np.testing.assert_array_equal(scene.splits["train"].ids["camera"], np.full(12, 7))


@pytest.mark.parametrize("name", MODEL_PARAMETERS)
def test_every_lens_projects_as_colmap_does(tmp_path, name):
    model = ColmapModel(models=(name,))
    model.see(pycolmap_projection(model))
    model.write_binary(tmp_path / "sparse" / "0")
    write_images(tmp_path / "images", model.names)
    split = load_scene(tmp_path, test_every=0).splits["train"]
    assert (split.cameras.lens == (FISHEYE if "FISHEYE" in name else PERSPECTIVE)).all()
    points = np.array([point["xyz"] for point in model.points.values()])
    for n in (0, 5, 11):
        expected = np.array([(x, y) for x, y, point in model.images[100 - n]["seen"] if point >= 0])
        np.testing.assert_allclose(pixels_of(split.cameras, n, points), expected, atol=2e-4)


def test_points_keep_colours_errors_and_tracks(tmp_path):
    model = ColmapModel(models=("SIMPLE_RADIAL", "PINHOLE"))
    model.see(pycolmap_projection(model))
    model.points[11]["xyz"] = np.full(3, np.nan)  # dropped, and with it its sightings
    model.write_binary(tmp_path / "sparse")
    write_images(tmp_path / "images", model.names)
    scene = load_scene(tmp_path, downscale=2)
    assert len(scene.points) == 39 and (scene.points.views == 12).all() and np.allclose(scene.points.error, 0.5)
    assert any("39 points, 0.50 pixels from where they were seen; 1 more lie" in note for note in scene.notes)
    assert {tuple(rgb) for rgb in scene.points.colour.tolist()} == {(k, 200, 10) for k in range(1, 40)}
    for split in scene.splits.values():
        cameras = scene.model_cameras(split.cameras)
        assert len(split.sightings) == len(split) and split.bounds.shape == (len(split), 2)
        for n, sightings in enumerate(split.sightings):
            assert sorted(sightings.point) == list(range(39))
            seen = scene.to_model(scene.points.position[sightings.point])
            np.testing.assert_allclose(pixels_of(cameras, n, seen), sightings.pixel, atol=1e-3)
            distance = np.linalg.norm(scene.points.position - split.cameras.position[n], axis=1)
            np.testing.assert_allclose(split.bounds[n], np.quantile(distance, (0.001, 0.999)), rtol=1e-5)
    subset = scene.splits["train"].subset([2, 0])
    np.testing.assert_array_equal(subset.sightings[1].pixel, scene.splits["train"].sightings[0].pixel)
    np.testing.assert_array_equal(subset.bounds, scene.splits["train"].bounds[[2, 0]])


def test_points_whose_error_is_not_known_have_that_of_the_others(tmp_path):
    model = ColmapModel()
    model.see(pycolmap_projection(model))
    points = list(model.points.values())
    for point, error in zip(points, (-1.0, np.nan, np.inf, 0.2)):
        point["error"] = error
    model.write_binary(tmp_path / "sparse")
    write_images(tmp_path / "images", model.names)
    np.testing.assert_allclose(load_scene(tmp_path).points.error, [0.5, 0.5, 0.5, 0.2] + [0.5] * (len(points) - 4))
    for point in points:
        point["error"] = -1.0
    model.write_binary(tmp_path / "sparse")
    assert load_scene(tmp_path).points.error is None


def test_points_without_tracks_still_bound_what_each_view_sees(tmp_path):
    write_colmap(tmp_path)
    scene = load_scene(tmp_path, test_every=0)
    train = scene.splits["train"]
    assert train.sightings is None and scene.points.views is None
    distance = np.linalg.norm(train.cameras.position[:, None] - scene.points.position, axis=2)
    np.testing.assert_allclose(train.bounds, np.quantile(distance, (0.001, 0.999), axis=1).T, rtol=1e-5)
    assert scene.near == pytest.approx(0.75 * train.bounds.min() * scene.scale)
    assert scene.far == pytest.approx(train.bounds.max() * scene.scale)


def test_smaller_copies_of_the_images_are_used_and_cameras_follow(tmp_path):
    model = write_colmap(tmp_path)
    write_images(tmp_path / "images_2", model.names[::-1], (WIDTH // 2, HEIGHT // 2))
    (tmp_path / "images_2" / model.names[3]).rename(tmp_path / "images_2" / "view_003.jpg")  # another ending
    full, half, quarter = (load_scene(tmp_path, downscale=d, test_every=0) for d in (1, 2, 4))
    assert {path.parent.name for path in full.splits["train"].paths} == {"images"}
    for scene, factor in ((half, 2), (quarter, 4)):
        split = scene.splits["train"]
        assert {path.parent.name for path in split.paths} == {"images_2"}
        np.testing.assert_array_equal(split.cameras.size, [[WIDTH // factor, HEIGHT // factor]] * 12)
        for values in ("focal", "principal"):
            expected = getattr(full.splits["train"].cameras, values) / factor
            np.testing.assert_allclose(getattr(split.cameras, values), expected, rtol=1e-6)
        np.testing.assert_allclose(scene.centre, full.centre)
    assert "images of images_2, made smaller by 2" in quarter.notes


@pytest.mark.parametrize("ending", [".png", ""], ids=["as COLMAP", "as the image"])
def test_masks_beside_the_images_leave_out_what_is_black(tmp_path, ending):
    model = write_colmap(tmp_path)
    write_images(tmp_path / "images_2", model.names, (WIDTH // 2, HEIGHT // 2))  # has no masks: not used
    (tmp_path / "masks").mkdir()
    for name in model.names[1:]:
        mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
        mask[:10] = 0
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}{ending}")
    for downscale in (1, 2):
        split = load_scene(tmp_path, test_every=0, downscale=downscale).splits["train"]
        assert {path.parent.name for path in split.paths} == {"images"}
        pixels = WIDTH * HEIGHT // downscale**2
        assert len(split.images.allowed) == pixels + 11 * (pixels - 10 * WIDTH // downscale**2)
    unmasked = load_scene(tmp_path, test_every=0, downscale=2, masks=False).splits["train"]
    assert unmasked.images.allowed is None and unmasked.paths[0].parent.name == "images_2"


def test_images_that_are_all_smaller_than_their_cameras_are_read_as_they_are(tmp_path):
    model = write_colmap(tmp_path)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    write_images(tmp_path / "images_4", model.names, (WIDTH // 4, HEIGHT // 4))
    cameras = load_scene(tmp_path, test_every=0).splits["train"].cameras
    np.testing.assert_allclose(cameras.focal, np.array([[50.0, 52.0]] * 12) / 4)


@pytest.mark.parametrize(
    ("sizes", "downscale", "expected"),
    [((1, 2, 4), 1, (1, 1)), ((1, 2, 4), 8, (4, 2)), ((1, 2, 4), 6, (2, 3)), ((2, 4), 1, (2, 1)), ((2, 4), 5, (2, 2))],
)
def test_the_copies_nearest_to_what_is_asked_for_are_picked(tmp_path, sizes, downscale, expected):
    assert pick_size({size: tmp_path for size in sizes}, downscale) == expected


def test_every_eighth_image_in_natural_order_is_held_out(tmp_path):
    write_colmap(tmp_path, count=20)
    scene = load_scene(tmp_path)
    assert scene.held_out and scene.splits["test"].images.names == ("view_000", "view_008", "view_016")


def test_a_model_that_colmap_itself_wrote_loads_with_its_rigs(tmp_path):
    model = write_colmap(tmp_path / "a")
    (tmp_path / "b" / "sparse" / "0").mkdir(parents=True)
    pycolmap.Reconstruction(str(tmp_path / "a" / "sparse" / "0")).write_binary(str(tmp_path / "b" / "sparse" / "0"))
    (tmp_path / "a" / "images").rename(tmp_path / "b" / "images")
    assert (tmp_path / "b" / "sparse" / "0" / "rigs.bin").is_file()
    cameras = load_scene(tmp_path / "b", test_every=0).splits["train"].cameras
    np.testing.assert_allclose(cameras.camera_to_world, model.poses[:, :3], atol=1e-6)


def test_a_transforms_file_beside_the_model_gets_its_points_and_a_place_among_them(tmp_path):
    model = ColmapModel()
    model.see(pycolmap_projection(model))
    model.write_binary(tmp_path / "colmap" / "sparse" / "0")
    write_images(tmp_path / "images", model.names, (WIDTH // 2, HEIGHT // 2))
    turn = np.array([[1.0, 0, 0, 0.5], [0, 0, 1, 0], [0, -1, 0, 0]])  # as nerfstudio turns the world
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": (turn @ pose).tolist()}
        for name, pose in zip(model.names, model.poses)
    ]
    content = {"fl_x": 25.0, "fl_y": 26.0, "cx": 11.75, "cy": 8.25, "k1": -0.1, "k2": 0.03, "p1": 0.004, "p2": -0.003}
    path, turned = tmp_path / "transforms.json", {**content, "applied_transform": turn.tolist(), "frames": frames}
    write_json(path, turned)
    scene = load_scene(tmp_path)
    split = scene.splits["train"]
    assert scene.format == "transforms" and len(scene.points) == 40 and split.bounds is not None
    for n, sightings in enumerate(split.sightings):
        seen = scene.points.position[sightings.point]
        np.testing.assert_allclose(pixels_of(split.cameras, n, seen), sightings.pixel, atol=1e-3)
    bare = load_scene(tmp_path, format="colmap")  # the same place in the model, from another world
    for name in ("train", "test"):
        np.testing.assert_allclose(scene.model_cameras(name).camera_to_world,
                                   bare.model_cameras(name).camera_to_world, atol=1e-5)
    assert (scene.near, scene.far, scene.aabb_scale) == pytest.approx((bare.near, bare.far, bare.aabb_scale))
    write_json(path, {**turned, "aabb_scale": 4})
    stated = load_scene(tmp_path)
    assert len(stated.points) == 40 and (stated.aabb_scale, stated.scale) == (4, 0.33)
    assert np.array_equal(stated.rotation, np.eye(3))
    black = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    (tmp_path / "masks").mkdir()
    Image.fromarray(black).save(tmp_path / "masks" / f"{model.names[3]}.png")
    masked = load_scene(tmp_path, test_every=0).splits["train"].images
    assert [masked.allowed_in(n).any() for n in range(len(masked.names))] == [n != 3 for n in range(len(model.names))]
    assert load_scene(tmp_path, masks=False).splits["train"].images.allowed is None
    write_json(path, {**content, "frames": frames})  # now the model's poses are others
    other = load_scene(tmp_path)
    assert other.points is None and any("has other cameras" in note for note in other.notes)
    assert np.array_equal(other.rotation, np.eye(3))


def test_without_pycolmap_the_message_says_what_to_install(tmp_path, monkeypatch):
    write_colmap(tmp_path)
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(UserError, match=r"read with pycolmap; install it: pip install 'taichi-nerf\[colmap\]'"):
        load_scene(tmp_path)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: cut(f / "sparse/0/images.bin", 500), "images.bin is cut off or damaged"),
        (lambda f: cut(f / "sparse/0/points3D.bin", -9), "points3D.bin is cut off or damaged"),
        (lambda f: cut(f / "sparse/0/cameras.bin", 3), "cameras.bin is cut off or damaged"),
        (lambda f: (f / "sparse/0/points3D.bin").unlink(), "lacks points3D.bin"),
        (lambda f: [(f / f"images/view_00{n}.png").unlink() for n in (4, 5, 6)], "view_004.png does not exist"),
        (lambda f: (f / "images").rename(f / "photos"), "a COLMAP model but no images"),
        (lambda f: write_images(f / "images", ["view_004.png"], (32, 32)), "its camera 48 x 32"),
    ],
)
def test_what_is_missing_or_cut_off_is_named(tmp_path, damage, message):
    write_colmap(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        load_scene(tmp_path)


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (("FOV", 7, (50.0, 52.0, 24.0, 16.0, 0.3)), "of the model FOV, which is not supported"),
        (
            ("FULL_OPENCV", 6, (50.0, 52.0, 24.0, 16.0, 0.1, 0, 0, 0, 0, 0.2, 0, 0)),
            "rational distortion",
        ),
        (("PINHOLE", 1, (-50.0, 52.0, 24.0, 16.0)), "not positive"),
        (("PINHOLE", 1, (float("nan"), 52.0, 24.0, 16.0)), "not a finite number|damaged"),
        (("PINHOLE", 99, (50.0, 52.0, 24.0, 16.0)), "camera of model 99"),
    ],
)
def test_cameras_that_cannot_be_used_are_refused(tmp_path, camera, message):
    model = ColmapModel()
    model.cameras[7] = camera
    model.write_binary(tmp_path / "sparse" / "0")
    write_images(tmp_path / "images", model.names)
    with pytest.raises(UserError, match=message):
        load_scene(tmp_path)


def test_a_camera_without_its_parameters_is_refused(tmp_path):
    write_colmap(tmp_path, binary=False)
    cameras = tmp_path / "sparse/0/cameras.txt"
    lines = cameras.read_text().splitlines()
    cameras.write_text("\n".join(line if line.startswith("#") else " ".join(line.split()[:4]) for line in lines) + "\n")
    with pytest.raises(UserError, match="sparse/0") as refused:
        load_scene(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_broken_image_is_left_out_where_that_is_allowed(tmp_path):
    write_colmap(tmp_path)
    (tmp_path / "images" / "view_004.png").unlink()
    scene = load_scene(tmp_path, strict=False)
    assert sum(map(len, scene.splits.values())) == 11 and "view_004" in scene.problems[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "downscale", "tracks"),
    [
        ("nerf_llff_data/fern", 4, False),
        ("colmap_can", 8, True),
        ("mip360_bonsai", 8, True),
        ("statue_of_liberty", 8, False),
    ],
)
def test_real_models_have_the_cameras_of_the_transforms_file_beside_them(real_data, name, downscale, tracks):
    folder = real_data(name)
    options = {"downscale": downscale, "splits": ["test"]}
    scene, other = (load_scene(folder, format=name, **options) for name in ("colmap", "transforms"))
    split, stated = scene.splits["test"], other.splits["test"]
    order = [stated.images.names.index(name) for name in split.images.names]
    for values in ("camera_to_world", "focal", "principal", "distortion"):
        expected = getattr(stated.cameras, values)[order]
        np.testing.assert_allclose(getattr(split.cameras, values), expected, rtol=1e-5, atol=1e-5)
    assert (split.sightings is not None) == tracks
    position = scene.to_model(scene.points.position)
    assert (np.abs(position) < scene.half_side).all(axis=1).mean() > 0.99
    assert (np.abs(scene.model_cameras("test").position) < scene.half_side).all()
    if tracks:  # the model's own figure is its mean reprojection error
        error = [
            np.linalg.norm(
                pixels_of(split.cameras, n, scene.points.position[seen.point]) - seen.pixel, axis=1
            ).mean()
            for n, seen in enumerate(split.sightings)
        ]
        assert np.mean(error) * downscale < 1.5
