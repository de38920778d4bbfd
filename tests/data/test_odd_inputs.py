"""Inputs that users of other programs stumbled over: each is read as it is meant, or ends in a sentence that helps."""

import json
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import load_scene
from taichi_nerf.errors import UserError

from .captures import write_images
from .conftest import orbit_pose
from .odd import (
    FLIP,
    FOCAL,
    FOV,
    SIZE,
    VIEWS,
    Transforms,
    assert_same,
    blender,
    colmap,
    over_white,
    photo,
    poses,
    save,
    write,
)

UTM = np.array([455000.0, 4421000.0, 300.0])


# Read as the well-formed version: what makes the odd one, and the good one.


def frames_with(keys, **head):
    """Every second frame is of another lens, stated in `keys` of a factor on the focal length; the `head` changed."""
    def make(folder):
        scene = Transforms(folder)
        for n, frame in enumerate(scene.frames):
            frame.update(keys(1.4 if n % 2 else 1.0))
        return scene.write(**head)
    return make


def angles(zoom):
    return dict.fromkeys(("x_fov", "y_fov"), float(np.degrees(2 * np.arctan(SIZE / 2 / (FOCAL * zoom)))))


def lengths(zoom):
    return {"fl_x": FOCAL * zoom, "fl_y": FOCAL * zoom}


def nothing_but_angles(folder):
    scene = Transforms(folder)
    for frame in scene.frames:
        frame["x_fov"] = FOV
    return scene.write(fl_x=None, fl_y=None, cx=None, cy=None)


def head(**keys):
    return lambda folder: Transforms(folder).write(**keys)


def objects(folder):
    return Transforms(folder, objects=True).write()


def plain(folder):
    return Transforms(folder).write()


def reposed(function):
    return lambda folder: Transforms(folder).repose(function).write()


def moved(pose):
    pose[:3, 3] += UTM
    return pose


def one_soft_pixel(folder):
    def paint(n, image):
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        image[0, 0, 3] = 254 if n == 0 else 255
        return image
    return Transforms(folder).repaint(paint).write()


def capitals(folder):
    scene = Transforms(folder)
    for n in range(VIEWS):
        scene.image(n).rename(scene.image(n).with_suffix(".PNG"))
    return folder


def commented(folder):
    path = head(source="http://example.org/*.png")(folder) / "transforms.json"
    path.write_text(path.read_text().replace('"frames"', '// "by hand"\n /* and\n over lines */ "frames"', 1))
    return folder


def own_test_frames(folder):
    scene = Transforms(folder)
    return scene.write(test_frames=scene.frames[:2], frames=scene.frames[2:])


def listed_splits(folder):
    scene = Transforms(folder)
    names = [frame["file_path"] for frame in scene.frames]
    return scene.write(train_filenames=names[2:], test_filenames=names[:2])


def of_another_machine(place):
    def make(folder):
        scene = Transforms(folder)
        for frame in scene.frames:
            frame["file_path"] = place + frame["file_path"]
        return scene.write()
    return make


READ = {
    "x_fov of a frame wins over the head": (frames_with(angles), frames_with(lengths)),
    "x_fov wins over fl_x of the same frame": (frames_with(lambda z: {**angles(z), "fl_x": 10.0, "fl_y": 10.0}),
                                               frames_with(lengths)),
    "x_fov alone": (nothing_but_angles, plain),
    "distortion_params": (head(distortion_params=[0.02, -0.01, 0.003, 0.0, 0.001, 0.002]),
                          head(k1=0.02, k2=-0.01, k3=0.003, p1=0.001, p2=0.002)),
    "principal point as a share": (head(cx=0.5, cy=0.48), head(cx=SIZE / 2, cy=0.48 * SIZE)),
    "focal length and principal point as shares": (head(cx=0.5, cy=0.5, fl_x=FOCAL / SIZE, fl_y=FOCAL / SIZE), plain),
    "alpha of 254 in one pixel": (one_soft_pixel, plain),
    "test_frames": (own_test_frames, listed_splits),
    "rotations times 0.37": (reposed(lambda m: np.block([[0.37 * m[:3, :3], m[:3, 3:]], [m[3:]]])), plain),
    "UTM coordinates": (reposed(moved), plain),
    "applied_transform of 4 rows": (head(applied_transform=np.eye(4)[[0, 2, 1, 3]].tolist()), plain),
    "endings in capitals": (capitals, plain),
    "comments": (commented, plain),
    "paths of another machine": (of_another_machine("/home/me/scene/"), plain),
    "paths of another machine, with Windows": (of_another_machine("C:\\Users\\me\\my scene\\"), plain),
    "the start of a shutter that is not rolling": (
        lambda folder: _with_shutter(folder, [0, 0, 0, 0]), plain),
    "a box of two corners": (head(aabb=[[-1, -2, -3], [3, 1, 1]], aabb_scale=4),
                             head(scale=0.25, offset=[0.25, 0.625, 0.75], aabb_scale=4)),
    "one offset for all axes": (head(offset=0.4, scale=0.3), head(offset=[0.4, 0.4, 0.4], scale=0.3, aabb_scale=1)),
    "n_frames": (head(n_frames=9), lambda folder: (s := Transforms(folder)).write(frames=s.frames[:9])),
    "COLMAP without empty lines": (lambda f: colmap(f, blank=False), colmap),
    "COLMAP with backslashes": (lambda f: colmap(f, stored="cam{k}/{n:04d}.png", listed="cam{k}\\{n:04d}.png"),
                                lambda f: colmap(f, stored="cam{k}/{n:04d}.png")),
    "COLMAP with images/ before each name": (lambda f: colmap(f, listed="images/{n:04d}.png"), colmap),
    "COLMAP with paths of another machine": (lambda f: colmap(f, listed="D:\\shoot 1\\images\\{n:04d}.png"), colmap),
    "only sparse/1": (lambda f: colmap(f, place="sparse/1"), colmap),
    "UTM coordinates in COLMAP": (lambda f: colmap(f, shift=UTM), colmap),
    "FULL_OPENCV without its rational part": (
        lambda f: colmap(f, camera=f"FULL_OPENCV {SIZE} {SIZE} {FOCAL} {FOCAL} 12 12 0 0 0 0 0 0 0 0"), colmap),
    "Blender's layout, three times as large": (lambda f: blender(f, scale=3.0), blender),
    "Blender's layout, a tenth as large": (lambda f: blender(f, scale=0.1), blender),
    "Blender's layout, off centre": (lambda f: blender(f, shift=(7.0, -2.0, 30.0)), blender),
}


def _with_shutter(folder, rolling):
    scene = Transforms(folder)
    for frame in scene.frames:
        frame["transform_matrix_start"] = frame.pop("transform_matrix")
        frame["transform_matrix_end"] = orbit_pose(3, 50)
    return scene.write(rolling_shutter=rolling)


@pytest.mark.parametrize("name", READ)
def test_it_is_read_as_the_well_formed_version(tmp_path, name):
    odd, good = READ[name]
    scene, expected = load_scene(odd(tmp_path / "odd")), load_scene(good(tmp_path / "good"))
    assert_same(scene, expected, tolerance=0.07 if name.startswith("Blender") else 1e-5)  # a box of what is seen
    assert scene.problems == []


# Ends in a sentence that a person can act on.


def beside(*keys):
    return lambda folder: (scene := Transforms(folder)).write(**dict(keys)) and scene.folder


def record3d(folder):
    save(folder / "rgbd" / "0.jpg", photo(0))
    write(folder / "metadata.json", {"w": SIZE, "h": SIZE, "K": [60, 0, 0, 0, 60, 0, 40, 40, 1], "poses": []})
    return folder


def polycam(folder):
    save(folder / "keyframes" / "images" / "1.jpg", photo(0))
    write(folder / "keyframes" / "cameras" / "1.json", {"fx": 30.0, "t_00": 1.0})
    return folder


def photos(folder):
    write_images(folder, [f"IMG {n}.jpg" for n in range(4)])
    return folder


def photos_in_folders(folder):
    write_images(folder / "left", [f"{n}.jpg" for n in range(4)])
    return folder


def a_video(folder):
    folder.mkdir()
    (folder / "walk about.mp4").write_bytes(b"")
    return folder / "walk about.mp4"


def k4_too_strong(folder):
    return Transforms(folder).write(fl_x=12.0, fl_y=12.0, k1=0.1, k2=-0.2, k3=0.3, k4=0.6)


def same_tails(folder):
    colmap(folder, listed="cam{k}/0000.png", stored="{n:04d}.png")
    return folder


SENTENCES = {
    "a rational lens": (head(k1=0.4, k2=-0.1, k3=0.0, k4=0.0, k5=0.3, k6=0.1), r"'k5' is 0\.3, .*undistort the images"),
    "k4 of a rational lens": (head(k1=0.4, k2=-0.1, k3=0.0, k4=0.2, k5=0.0), r"'k4' is one of OpenCV's rational"),
    "k4 that no k3 stands for": (k4_too_strong, r"cannot stand for a perspective lens with 'k4' \(.* pixels off\)"),
    "a thin prism": (head(s1=0.01), r"'s1' is 0\.01, .*prism.*undistort"),
    "skewed pixels": (head(b2=0.3), "'b2' is 0.3, skewed pixels"),
    "a rolling shutter": (lambda f: _with_shutter(f, [0, 0, 1, 0]), "a camera that moves during the exposure"),
    "distortion_params of twelve": (head(distortion_params=[0.1] * 12), "not k1, k2, k3, k4, p1 and p2"),
    "Record3D": (record3d, r"an export of Record3D.*ns-process-data record3d.*taichi-nerf process .*rgbd -o SCENE"),
    "Polycam": (polycam, r"a raw export of Polycam.*taichi-nerf process .*images -o SCENE"),
    "photos": (photos, r"4 photos without poses; find their cameras with: taichi-nerf process .* -o SCENE"),
    "photos in folders": (photos_in_folders, r"left holds 4 photos without poses; .*taichi-nerf process "),
    "a video": (a_video, r"is a video; .* taichi-nerf process '.*walk about\.mp4' -o SCENE"),
    "two views of one file": (same_tails, "put the images into the folders that their names say"),
    "an orientation that is none": (head(orientation_override="left"), "'orientation_override' is \"left\""),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_it_ends_in_a_sentence(tmp_path, name):
    make, message = SENTENCES[name]
    with pytest.raises(UserError, match=message) as refused:
        load_scene(make(tmp_path / "odd"))
    assert "\n" not in str(refused.value)


# What has more to it than a table.


def test_names_with_spaces_and_the_largest_of_several_models(tmp_path):
    expected = load_scene(colmap(tmp_path / "good", stored="DJI (1) {n:04d}.png"))
    assert expected.splits["train"].images.names[0] == "DJI (1) 0001"
    folder = colmap(tmp_path / "odd", stored="DJI (1) {n:04d}.png", count=4)
    colmap(tmp_path / "whole", stored="DJI (1) {n:04d}.png", place="sparse/1")
    (tmp_path / "whole" / "sparse" / "1").rename(folder / "sparse" / "1")
    scene = load_scene(folder)
    assert_same(scene, expected)
    assert "of 2 models in sparse the one called 1 is used, the largest: they have 12, 4 images" in scene.notes


def test_a_text_model_needs_no_points_and_no_pycolmap(tmp_path, monkeypatch):
    good = load_scene(colmap(tmp_path / "good"))
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    assert_same(load_scene(colmap(tmp_path / "same")), good)
    scene = load_scene(colmap(tmp_path / "odd", points=False))
    assert scene.points is None and "the model has no points" in scene.notes
    for name, split in good.splits.items():
        np.testing.assert_allclose(scene.splits[name].cameras.camera_to_world, split.cameras.camera_to_world, atol=1e-6)


@pytest.mark.parametrize(("name", "parameters"), [("SIMPLE_FISHEYE", "34 12 12"), ("FISHEYE", "34 33 12 11")])
def test_fisheyes_without_coefficients_are_ours_without(tmp_path, name, parameters):
    numbers = [float(word) for word in parameters.split()]
    focal = (numbers[0], numbers[-3])
    whole = f"OPENCV_FISHEYE {SIZE} {SIZE} {focal[0]} {focal[1]} {numbers[-2]} {numbers[-1]} 0 0 0 0"
    scene = load_scene(colmap(tmp_path / "odd", camera=f"{name} {SIZE} {SIZE} {parameters}"))
    assert_same(scene, load_scene(colmap(tmp_path / "good", camera=whole)))
    stated = Transforms(tmp_path / "stated").write(camera_model=name, fl_x=focal[0], fl_y=focal[1])
    np.testing.assert_array_equal(load_scene(stated, test_every=0).splits["train"].cameras.lens, np.ones(VIEWS))


def test_the_world_of_utm_scenes_comes_back_where_it_was(tmp_path):
    from taichi_nerf.data.export import write_blender

    scene = load_scene(Transforms(tmp_path / "odd").repose(moved).write())
    np.testing.assert_allclose(scene.origin, UTM, atol=3)
    assert f"({', '.join(f'{v:.0f}' for v in scene.origin)}) is taken from all positions" in " ".join(scene.notes)
    folder = write_blender(scene, tmp_path / "export")
    content = json.loads((folder / "transforms_train.json").read_text())
    position = np.array([frame["transform_matrix"] for frame in content["frames"]])[:, :3, 3]
    expected = poses()[[n for n in range(VIEWS) if n % 8], :3, 3] + UTM
    np.testing.assert_allclose(position, expected, atol=1e-6)
    again = load_scene(folder)
    np.testing.assert_allclose(again.model_cameras("train").camera_to_world,
                               scene.model_cameras("train").camera_to_world, atol=1e-6)


def test_axes_and_direction_of_poses_are_named_and_mended(tmp_path):
    good = load_scene(objects(tmp_path / "good"))
    odd = {
        "opencv": (lambda m: m @ FLIP, {"axes": "opencv"}, "meet behind the cameras.*--axes opencv"),
        "inverse": (np.linalg.inv, {"world_to_camera": True}, "--world-to-camera$"),
        "colmap": (lambda m: np.linalg.inv(m @ FLIP), {"axes": "opencv", "world_to_camera": True},
                   "--world-to-camera --axes opencv$"),
    }
    for name, (function, options, message) in odd.items():
        folder = Transforms(tmp_path / name, objects=True).repose(function).write()
        with pytest.raises(AssertionError):
            assert_same(load_scene(folder), good)
        [warning] = load_scene(folder).problems
        assert re.search(message, warning), warning
        mended = load_scene(folder, **options)
        assert_same(mended, good)
        assert mended.problems == []
    with pytest.raises(UserError, match="--axes and --world-to-camera are for transforms files"):
        load_scene(colmap(tmp_path / "model"), axes="opencv")


def test_cameras_that_look_past_each_other_are_no_mistake(tmp_path):
    def aside(pose):
        pose[:3, :3] = np.array(orbit_pose(0, 12))[:3, :3]
        return pose
    assert load_scene(Transforms(tmp_path).repose(aside).write()).problems == []


def test_a_folding_lens_leaves_out_what_it_does_not_see(tmp_path):
    odd = load_scene(Transforms(tmp_path / "odd").write(fl_x=SIZE / 2, fl_y=SIZE / 2, k1=-0.2))
    assert len(odd.problems) == 2 and "no ray meets, are left out" in odd.problems[0]
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2) / (SIZE / 2)
    fold = np.sqrt(1 / 0.6)  # where d/dr (r - 0.2 r^3) is 0
    seen = np.hypot(x, y) < fold - 0.2 * fold**3
    for split in odd.splits.values():
        for n in range(len(split)):
            assert (split.images.allowed_in(n) != seen).mean() < 0.01
        assert split.images.masked_share == pytest.approx(1 - seen.mean(), abs=0.01) and 0.35 < 1 - seen.mean() < 0.45
    half = load_scene(tmp_path / "odd", downscale=2).splits["train"].images
    whole = seen.reshape(SIZE // 2, 2, SIZE // 2, 2).all(axis=(1, 3))
    assert (half.allowed_in(0) != whole).mean() < 0.03
    assert load_scene(tmp_path / "odd", cache="disk").splits["train"].images.masked_share == pytest.approx(
        odd.splits["train"].images.masked_share)
    assert load_scene(Transforms(tmp_path / "good").write(k1=-0.2)).splits["train"].images.allowed is None


def test_nothing_counts_beyond_the_crop_of_a_fisheye(tmp_path):
    scene = load_scene(Transforms(tmp_path).write(camera_model="OPENCV_FISHEYE", fisheye_crop_radius=8.0))
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    assert np.array_equal(scene.splits["train"].images.allowed_in(0), np.hypot(x, y) <= 8)


def test_the_lens_of_realitycapture_is_that_of_its_polynomial(tmp_path):
    scene = load_scene(Transforms(tmp_path).write(k1=0.02, k2=-0.01, k3=0.003, k4=-0.001), test_every=0)
    k1, k2, k3, k4, *_ = scene.splits["train"].cameras.distortion[0].astype(float)
    r = np.linspace(0, 0.5, 100)
    wanted = r * (1 + 0.02 * r**2 - 0.01 * r**4 + 0.003 * r**6 - 0.001 * r**8)
    assert k4 == 0 and np.abs(r * (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) - wanted).max() * FOCAL < 1e-4 * SIZE
    assert any("stand for a perspective lens with k4" in note for note in scene.notes)


def test_empty_corners_are_left_out_of_a_capture(tmp_path):
    y, x = np.abs(np.mgrid[:SIZE, :SIZE] - 0.5 * (SIZE - 1))
    alpha = np.where(x + y > 0.93 * SIZE, 0, 255).astype(np.uint8)
    odd = load_scene(Transforms(tmp_path / "odd").repaint(lambda n, image: np.dstack([image, alpha])).write())
    good = load_scene(plain(tmp_path / "good"))
    assert_same(odd, good, pixels=False)
    for name, split in odd.splits.items():
        assert np.array_equal(split.images.pixels, good.splits[name].images.pixels)
        assert np.array_equal(split.images.allowed_in(0), alpha > 0)
    assert any("transparent in their corners alone" in note and "--alpha background" in note for note in odd.notes)
    taken = load_scene(tmp_path / "odd", alpha="background")
    assert taken.bounded and taken.background == "white" and taken.splits["train"].images.allowed is None


def test_what_is_transparent_around_a_thing_is_its_background(tmp_path):
    scene = load_scene(objects(tmp_path / "whole"))
    assert scene.bounded and "images have alpha: white background" in scene.notes
    def small_holes(n, image):
        image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        image[10:13, 8 + n % 3 : 12, 3] = 0
        return image
    holes = load_scene(Transforms(tmp_path / "holes").repaint(small_holes).write())
    assert holes.bounded and any("pixels are transparent; --alpha mask leaves them out" in n for n in holes.notes)


def test_a_white_border_is_the_ground_of_an_object(tmp_path):
    good, odd = load_scene(blender(tmp_path / "good")), load_scene(blender(tmp_path / "odd", opaque=True))
    assert_same(odd, good, pixels=False)
    for name, split in odd.splits.items():
        rgba = good.splits[name].images.pixels.astype(float)
        composited = rgba[:, :3] * rgba[:, 3:] / 255 + 255 - rgba[:, 3:]
        assert np.abs(split.images.pixels[:, :3] - composited).max() <= 0.5
    assert any("a white border" in note and "--alpha background" in note for note in odd.notes)
    assert load_scene(tmp_path / "odd", alpha="background").background == "black"
    on_white = Transforms(tmp_path / "file", objects=True).repaint(lambda n, image: over_white(image))
    assert load_scene(on_white.write()).bounded
    assert not load_scene(plain(tmp_path / "photos")).bounded


@pytest.mark.parametrize(("key", "grey"), [("white_transparent", 255), ("black_transparent", 0)])
def test_a_file_may_say_which_colour_is_transparent(tmp_path, key, grey):
    def paint(n, image):
        return np.where(image[..., 3:] > 0, image, grey)[..., :3].astype(np.uint8)
    odd = load_scene(Transforms(tmp_path / "odd", objects=True).repaint(paint).write(**{key: True}))
    good = load_scene(objects(tmp_path / "good"))
    assert_same(odd, good, pixels=False)
    for name, split in odd.splits.items():
        assert np.array_equal(split.images.pixels[:, 3], good.splits[name].images.pixels[:, 3])
    assert load_scene(tmp_path / "odd", cache="disk").splits["train"].images.has_alpha


def half_mask() -> np.ndarray:
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    mask[: SIZE // 2] = 0
    return mask


MASKS = {
    "grey": half_mask,
    "alpha beside white": lambda: np.dstack([np.full((SIZE, SIZE, 3), 255, np.uint8), half_mask()]),
    "alpha beside black": lambda: np.dstack([np.zeros((SIZE, SIZE, 3), np.uint8), half_mask()]),
    "white that is opaque": lambda: np.dstack([half_mask()] * 3 + [np.full((SIZE, SIZE), 255, np.uint8)]),
    "grey and alpha, two channels": lambda: Image.merge("LA", [Image.new("L", (SIZE, SIZE), 255),
                                                              Image.fromarray(half_mask())]),
    "16 bits": lambda: (half_mask() > 0).astype(np.uint16),
}


@pytest.mark.parametrize("name", MASKS)
def test_the_mask_is_wherever_the_file_has_it(tmp_path, name):
    scene = Transforms(tmp_path)
    (tmp_path / "masks").mkdir()
    for n, frame in enumerate(scene.frames):
        frame["mask_path"] = f"masks/{n:04d}.png"
        mask = MASKS[name]()
        (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(tmp_path / frame["mask_path"])
    images = load_scene(scene.write()).splits["train"].images
    assert all(np.array_equal(images.allowed_in(n), half_mask() > 0) for n in range(len(images)))


def test_masks_of_no_image_are_named(tmp_path):
    folder = colmap(tmp_path / "model")
    for name in ("0001.png.png", "0002.png", "IMG_0003.png"):
        save(folder / "masks" / name, half_mask())
    save(folder / "images" / "dynamic_mask_0003.png", half_mask())
    save(folder / "images" / "dynamic_mask_0099.png", half_mask())
    said = " | ".join(load_scene(folder).problems)
    assert "a mask of masks is not used (IMG_0003.png): call it as its image" in said
    assert "dynamic_mask_0099.png" in said and "dynamic_mask_0003" not in said
    scene = Transforms(tmp_path / "file")
    save(scene.folder / "masks" / "0001.png", half_mask())
    assert load_scene(scene.write()).problems == ["a mask of masks is not used (0001.png): name it with mask_path"]
    save(folder / "images" / "9999.png", photo(1))  # an image that COLMAP found no pose for may have a mask
    save(folder / "masks" / "9999.png", half_mask())
    assert "9999" not in " | ".join(load_scene(folder).problems)


def test_missing_images_are_left_out_if_few_or_if_asked(tmp_path):
    scene = Transforms(tmp_path / "odd")
    good = load_scene(plain(tmp_path / "good"))
    for n in (3, 7):
        scene.image(n).unlink()
    model = colmap(tmp_path / "model")
    for n in (3, 7):
        (model / "images" / f"{n:04d}.png").unlink()
    for folder in (scene.write(), model):
        loaded = load_scene(folder)
        assert "2 of 12 images are missing and left out" in loaded.problems[0]
        assert {n: s.images.names for n, s in loaded.splits.items()} == {
            n: tuple(name for name in s.images.names if name not in ("0003", "0007")) for n, s in good.splits.items()}
    for n in (1, 2, 4, 5):
        scene.image(n).unlink()
    with pytest.raises(UserError, match=r"0001\.png does not exist; .*--skip-missing"):
        load_scene(scene.folder)
    assert sum(map(len, load_scene(scene.folder, skip_missing=True).splits.values())) == 6


def test_a_split_of_cameras_alone_is_left_out(tmp_path):
    odd, good = load_scene(blender(tmp_path / "odd", images=("train",))), load_scene(blender(tmp_path / "good"))
    assert list(odd.splits) == ["train"] and "it lists cameras alone" in odd.problems[0]
    assert_same(odd, load_scene(tmp_path / "good", splits=["train"]))
    assert odd.scale == good.scale
    with pytest.raises(UserError, match="does not exist"):
        load_scene(tmp_path / "odd", splits=["test"])


@pytest.mark.parametrize("downscale", [1, 4, 8])
def test_smaller_copies_alone_are_read_and_cameras_follow(tmp_path, downscale):
    scene = Transforms(tmp_path / "odd")
    for n in range(VIEWS):
        small = photo(n).reshape(SIZE // 4, 4, SIZE // 4, 4, 3).mean(axis=(1, 3)).round().astype(np.uint8)
        save(scene.folder / "images_4" / f"{n:04d}.png", small)
        scene.image(n).unlink()
    odd = load_scene(scene.folder, downscale=downscale)
    good = load_scene(plain(tmp_path / "good"), downscale=max(downscale, 4))
    assert_same(odd, good, pixels=False)
    assert "images are copies that are 4 times smaller" in odd.notes
    assert np.abs(odd.splits["train"].images.pixels.astype(int) - good.splits["train"].images.pixels).max() <= 1


def test_sizes_that_differ_by_rounding_are_the_same_picture(tmp_path):
    scene = Transforms(tmp_path)
    for n in range(VIEWS):
        save(scene.image(n), photo(n, 120)[:, :119])
    scene.write(w=119.7, h=120, fl_x=170.0, fl_y=170.0, cx=60.0, cy=60.0)
    cameras = load_scene(tmp_path, test_every=0).splits["train"].cameras
    assert cameras.size[0].tolist() == [119, 120]
    np.testing.assert_allclose(cameras.focal[0], (170 * 119 / 120, 170), rtol=1e-6)
    scene.write(w=240, h=241, fl_x=340.0, fl_y=340.0, cx=120.0, cy=120.0)
    with pytest.raises(UserError, match="another size of the same picture"):
        load_scene(tmp_path)


def test_depth_images_are_distances_along_the_rays(tmp_path):
    scene = Transforms(tmp_path)
    depth = np.full((SIZE, SIZE), 1500, np.uint16)
    depth[3, 4] = 0
    for n, frame in enumerate(scene.frames):
        save(tmp_path / "depth" / f"{n:04d}.png", depth)
        frame["depth_file_path"] = f"depth/{n:04d}.png"
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2) / FOCAL
    expected = np.where(depth > 0, 1.5 * np.sqrt(1 + x**2 + y**2), np.inf)
    split = load_scene(scene.write()).splits["train"]
    assert len(split.depth) == len(split) and split.depth[0].dtype == np.float32
    np.testing.assert_allclose(split.depth[2], expected, rtol=1e-6)
    np.testing.assert_allclose(split.subset([3, 1]).depth[1], expected, rtol=1e-6)
    np.testing.assert_allclose(load_scene(scene.write(depth_unit_scale_factor=0.002)).splits["train"].depth[0],
                               2 * expected, rtol=1e-6)
    half = load_scene(tmp_path, downscale=2).splits["train"]
    np.testing.assert_allclose(half.depth[0][5, 5], 3.0 * np.sqrt(1 + 2 * (0.5 / (FOCAL / 2)) ** 2), rtol=1e-3)
    for frame in scene.frames:
        frame["depth_path"] = frame.pop("depth_file_path")
    scene.write(depth_unit_scale_factor=None)
    unused = load_scene(tmp_path)
    assert unused.splits["train"].depth is None and any("states no integer_depth_scale" in n for n in unused.notes)
    np.testing.assert_allclose(load_scene(scene.write(integer_depth_scale=0.001)).splits["train"].depth[0], expected,
                               rtol=1e-6)
    assert load_scene(scene.write(enable_depth_loading=False)).splits["train"].depth is None


def test_known_distances_come_from_depth_images(tmp_path):
    from taichi_nerf.training.depth import known_pixels

    scene = Transforms(tmp_path)
    for n, frame in enumerate(scene.frames):
        np.save(tmp_path / f"{n}.npy", np.full((SIZE, SIZE), 2.0))
        frame["depth_file_path"] = f"{n}.npy"
    loaded = load_scene(scene.write(depth_unit_scale_factor=1.0))
    known = known_pixels(loaded, "images")
    assert len(known.pixel_index) == len(loaded.splits["train"].images.pixels)
    assert known.distance.min() == pytest.approx(2.0 * loaded.scale, rel=1e-2)
    (tmp_path / "3.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"the depth image .*3\.npy cannot be read"):
        known_pixels(load_scene(tmp_path), "images")


PLY = "ply\nformat {form} 1.0\ncomment made by hand\nelement vertex 200\n{properties}element face 1\n" \
      "property list uchar int vertex_indices\nend_header\n"


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_the_points_of_a_ply_file_are_the_scenes(tmp_path, form):
    scene = Transforms(tmp_path).repose(moved)
    cloud = np.random.default_rng(0).uniform(-1, 1, (200, 3)) + UTM
    kinds = [("x", "double"), ("y", "double"), ("red", "uchar"), ("green", "uchar"), ("blue", "uchar"), ("z", "double")]
    types = [(name, {"double": "f8", "uchar": "u1"}[kind]) for name, kind in kinds]
    rows = np.zeros(200, [(name, (">" if "big" in form else "<") + kind) for name, kind in types])
    for k, axis in enumerate("xyz"):
        rows[axis] = cloud[:, k]
    rows["red"], rows["blue"] = 200, np.arange(200)
    text = PLY.format(form=form, properties="".join(f"property {kind} {name}\n" for name, kind in kinds)).encode()
    lines = "".join(" ".join(map(repr, row)) + "\n" for row in rows.tolist())
    body = lines.encode() if form == "ascii" else rows.tobytes()
    (tmp_path / "sparse_pc.ply").write_bytes(text + body + b"3 0 1 2\n")
    loaded = load_scene(scene.write(ply_file_path="sparse_pc.ply"))
    np.testing.assert_allclose(loaded.points.position, cloud - loaded.origin, atol=1e-6)
    assert loaded.points.colour[7].tolist() == [200, 0, 7] and "200 points of sparse_pc.ply" in loaded.notes
    assert loaded.splits["train"].bounds is not None and loaded.rotation[2, 2] == pytest.approx(1, abs=1e-3)
    for damage in (b"", b"ply\n", text[:40], text + body[:100]):
        (tmp_path / "sparse_pc.ply").write_bytes(damage)
        again = load_scene(tmp_path)
        assert again.points is None and "sparse_pc.ply" in again.problems[0]


def test_keys_that_are_not_read_are_named_once(tmp_path):
    scene = Transforms(tmp_path)
    for frame in scene.frames:
        frame.update(colmap_im_id=1, mood=0.5)
    notes = load_scene(scene.write(sharpen=0.2, up=[0, 0, 1])).notes
    assert [note for note in notes if "not used" in note] == ["not used: 'sharpen', 'up', 'mood'"]


def test_frames_less_sharp_than_their_neighbours_are_left_out_as_the_file_says(tmp_path):
    scene = Transforms(tmp_path)
    for n, frame in enumerate(scene.frames):
        frame["sharpness"] = 10.0 if n == 5 else 100.0
    assert sum(map(len, load_scene(scene.write()).splits.values())) == VIEWS
    loaded = load_scene(scene.write(sharpness_discard_threshold=0.5))
    assert "0005" not in {name for split in loaded.splits.values() for name in split.images.names}
    assert sum(map(len, loaded.splits.values())) == VIEWS - 1
    assert "1 frames are left out, as sharpness_discard_threshold says" in loaded.notes


def test_poses_of_two_decimals_are_the_nearest_rotations(tmp_path):
    def rounded(pose):
        pose[:3, :3] = pose[:3, :3].round(2)
        return pose
    cameras = load_scene(Transforms(tmp_path).repose(rounded).write(), test_every=0).splits["train"].cameras
    rotation = cameras.camera_to_world[:, :, :3].astype(float)
    assert np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max() < 1e-6
    assert np.abs(rotation - poses()[:, :3, :3]).max() < 0.01


def test_mitsubas_axes_are_read_as_instant_ngp_reads_them(tmp_path):
    flip = np.diag([-1.0, 1.0, -1.0, 1.0])
    odd = load_scene(Transforms(tmp_path / "odd").repose(lambda m: m @ flip).write(from_mitsuba=True, aabb_scale=2))
    good = load_scene(head(scale=0.66, offset=[0.165] * 3, aabb_scale=2)(tmp_path / "good"))
    assert_same(odd, good)


def test_a_model_in_the_world_of_old_nerfstudio_files_has_its_points(tmp_path):
    turn = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    for name, matrix, keys in (("old", turn, {}), ("scaled", np.diag([2.0, 2, 2, 1]), {"applied_scale": 2.0})):
        folder = colmap(tmp_path / name, place="colmap/sparse/0")
        scale = np.cbrt(abs(np.linalg.det(matrix)))
        scene = Transforms(folder)
        scene.repose(lambda m, t=matrix, s=scale: np.block([[(t @ m)[:3, :3] / s, (t @ m)[:3, 3:]], [m[3:]]]))
        loaded = load_scene(scene.write(**keys))
        assert len(loaded.points) == 60, loaded.notes
        assert_same(loaded, load_scene(folder, format="colmap"), tolerance=1e-4)


def test_pipes_and_other_formats_are_refused_as_images(tmp_path):
    scene = Transforms(tmp_path)
    scene.image(2).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match=r"0002\.png cannot be read as an image \(no known image format\)"):
        load_scene(tmp_path)
    save(scene.image(2), photo(2))
    os.mkfifo(tmp_path / "mask.png")
    scene.frames[1]["mask_path"] = "mask.png"
    with pytest.raises(UserError, match=r"the mask .*mask\.png cannot be read as an image \(it is a pipe"):
        load_scene(scene.write())


def test_what_instant_ngp_would_read_beside_the_images_is_named(tmp_path):
    scene = Transforms(tmp_path)
    (tmp_path / "images" / "rays_0001.dat").write_bytes(b"")
    save(tmp_path / "images" / "0001.png.alpha.png", half_mask())
    said = load_scene(scene.folder).problems
    assert [text.split(" are not read, such as ")[1].split(",")[0] for text in said] == ["rays_0001.dat",
                                                                                       "0001.png.alpha.png"]
