"""Every mistake ends in one sentence that names the file, what is wrong and what to do."""

import contextlib
import copy
import json
import math
import os
import random
import signal
import time

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import Scene, load_scene
from taichi_nerf.data.inspect import describe
from taichi_nerf.errors import UserError

from .captures import write_colmap, write_llff, write_mega_nerf, write_nerfies, write_nsvf, write_phototourism
from .conftest import Capture, picture


def refusal(path, **options) -> str:
    """The message with which the scene is refused: one line, and after a semicolon what to do."""
    with pytest.raises(UserError) as caught:
        load_scene(path, **options)
    message = str(caught.value)
    assert "\n" not in message and "; " in message, message
    return message


def test_missing_folder(tmp_path):
    assert "nowhere does not exist" in refusal(tmp_path / "nowhere")
    assert "does not exist" in refusal("a" * 5000)


def test_unknown_format_lists_what_was_looked_for(tmp_path):
    message = refusal(tmp_path)
    assert "transforms_train.json" in message and "transforms.json" in message


def test_unknown_format_points_at_scenes_inside_and_at_colmap(blender_folder, tmp_path):
    assert "give one of the scenes in it: blender" in refusal(blender_folder.parent)
    (tmp_path / "colmap" / "sparse").mkdir(parents=True)
    assert "COLMAP" in refusal(tmp_path / "colmap")


def test_a_file_that_is_no_transforms_file(capture):
    assert "0000.png is not a transforms file" in refusal(capture.folder / "images" / "0000.png")


def test_broken_json_names_the_line(capture):
    lines = json.dumps(capture.content, indent=1).splitlines()
    lines[4] = lines[4].replace(":", "")
    capture.path.write_text("\n".join(lines))
    message = refusal(capture.folder)
    assert "transforms.json is not valid JSON" in message and "line 5" in message


NO_TRANSFORMS = [b"", b"\xff\xfe\x00", b"[" * 100_000, b"1" * 5000, b"{", b"null", b"[]", b'{"a": 1}',
                 b'{"frames": 3}', b'{"frames": [1]}', b'{"frames": []}', b'{"frames": [{}]}']  # fmt: skip


@pytest.mark.parametrize("data", NO_TRANSFORMS)
def test_files_that_are_no_transforms(capture, data):
    capture.path.write_bytes(data)
    assert "transforms.json" in refusal(capture.folder)


def test_transforms_that_is_a_folder(tmp_path):
    (tmp_path / "transforms.json").mkdir()
    assert "known format" in refusal(tmp_path)


def test_missing_images(capture):
    for n in (4, 5, 6):
        (capture.folder / "images" / f"000{n}.png").unlink()
    message = refusal(capture.folder)
    assert "frame 4" in message and "0004.png does not exist" in message


def test_truncated_image(capture):
    path = capture.folder / "images" / "0004.png"
    path.write_bytes(path.read_bytes()[:-200])
    assert "0004.png cannot be read as an image" in refusal(capture.folder)


def test_image_of_another_size_than_its_camera(capture):
    path = capture.folder / "images" / "0004.png"
    Image.fromarray(picture(1, 12, 15)).save(path)
    message = refusal(capture.folder)
    assert "0004.png is 12 x 15 pixels and its camera 12 x 16; use the image" in message
    Image.fromarray(picture(1, 6, 8)).save(path)
    message = refusal(capture.folder)
    assert "another size of the same picture" in message and "--downscale" in message
    Image.fromarray(picture(1, 16, 12)).save(path)
    assert "turned by 90 degrees" in refusal(capture.folder)


BAD_POSES = {
    "NaN": (lambda m: m[1].__setitem__(2, math.nan), r"entry (1, 2) is NaN"),
    "infinite": (lambda m: m[0].__setitem__(3, math.inf), "not a finite number"),
    "huge integer": (lambda m: m[0].__setitem__(3, 10**400), "not a finite number"),
    "text": (lambda m: m[0].__setitem__(3, "1.0"), "not a number"),
    "null": (lambda m: m[0].__setitem__(3, None), "not a number"),
    "true": (lambda m: m[0].__setitem__(3, True), "not a number"),
    "scaled": (
        lambda m: [m[i].__setitem__(j, 1.1 * m[i][j]) for i in range(3) for j in range(3)],
        "not a rotation",
    ),
    "sheared": (lambda m: m[0].__setitem__(0, m[0][0] + 0.05), "not a rotation"),
    "mirrored": (lambda m: [m[i].__setitem__(0, -m[i][0]) for i in range(3)], "mirrors"),
    "zero": (lambda m: [m[i].__setitem__(j, 0) for i in range(3) for j in range(3)], "not a rotation"),
    "far away": (lambda m: m[0].__setitem__(3, 1e9), "too far"),
    "last row": (lambda m: m[3].__setitem__(0, 1), "last row"),
    "short row": (lambda m: m[2].pop(), "3 or 4 rows of 4 numbers"),
    "few rows": (lambda m: [m.pop(), m.pop()], "3 or 4 rows of 4 numbers"),
}


@pytest.mark.parametrize("name", BAD_POSES)
def test_poses_that_are_none(capture, name):
    change, expected = BAD_POSES[name]
    change(capture.frames[3]["transform_matrix"])
    message = refusal(capture.write())
    assert "frame 3" in message and "0003.png" in message and expected in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fl_x": 0}, "positive"),
        ({"fl_x": -14.0, "fl_y": -14.0}, "positive"),
        ({"fl_x": 1e-3}, "field of view of 180 degrees"),
        ({"fl_x": 1e9}, "field of view"),
        ({"fl_x": "14"}, "'fl_x' is \"14\", not a number"),
        ({"fl_x": None, "fl_y": None}, "neither 'fl_x' nor 'camera_angle_x'"),
        ({"fl_x": None, "fl_y": None, "camera_angle_x": 40.0}, "convert it if it is in degrees"),
        ({"fl_x": None, "fl_y": None, "camera_angle_x": 0}, "between 0 and pi"),
        ({"cx": 5000.0}, "principal point"),
        ({"cx": math.nan}, "'cx' is NaN"),
        ({"w": 12.5}, "no image size"),
        ({"w": 0}, "no image size"),
        ({"k1": 1e9}, "no lens"),
        ({"k1": []}, "not a number"),
        ({"k4": 0.1}, "fisheye"),
        ({"camera_model": "EQUIRECTANGULAR"}, "not supported"),
        ({"camera_model": 3}, "not supported"),
        ({"is_fisheye": "yes"}, "true or false"),
        ({"ftheta_p0": 0.1}, "not supported"),
        ({"aabb_scale": 3}, "power of two"),
        ({"aabb_scale": 256}, "power of two"),
        ({"aabb_scale": "4"}, "not a number"),
        ({"scale": 0}, "positive"),
        ({"offset": [1, 2]}, "three numbers"),
        ({"offset": [1, 2, "3"]}, "not a number"),
        ({"train_filenames": "images"}, "not a list of file names"),
        ({"train_filenames": []}, "no image for the split 'train'"),
    ],
)
def test_intrinsics_and_other_keys_that_make_no_sense(capture, changes, expected):
    message = refusal(capture.write(**changes))
    assert "transforms.json" in message and expected in message


@pytest.mark.parametrize(
    "file_path", ["", "  ", None, 3, [], "\0", "x" * 5000, "images", "../../nothing.png"]
)
def test_file_paths_that_lead_nowhere(capture, file_path):
    for frame in capture.frames[2:6]:  # of one alone, that is not there, the user would be warned
        frame["file_path"] = file_path
    assert "frame 2" in refusal(capture.write())


def test_missing_keys_of_a_frame(capture):
    for key in ("file_path", "transform_matrix"):
        frame = copy.deepcopy(capture.frames[1])
        del capture.frames[1][key]
        message = refusal(capture.write())
        assert "frame 1" in message and key in message
        capture.frames[1] = frame


def test_too_few_images(capture):
    frames = capture.frames
    for count, expected in ((0, "no image"), (1, "one camera only"), (2, "hold out none")):
        assert expected in refusal(capture.write(frames=frames[:count]))
    assert "one camera only" in refusal(capture.write(frames=frames[:1]), test_every=0)
    assert len(load_scene(capture.write(frames=frames[:3])).splits["train"]) == 2


def test_an_image_listed_twice_may_not_be_held_out(capture):
    capture.frames.append(copy.deepcopy(capture.frames[8]))
    assert "0008.png is in the training images and in the test images" in refusal(capture.write())
    scene = load_scene(capture.folder, test_every=0)
    assert any("more than once" in note for note in scene.notes)


@pytest.mark.parametrize("downscale", [0, -1, 1.5, True, "2", math.nan])
def test_downscale_must_be_a_whole_number_of_at_least_one(capture, downscale):
    assert "--downscale" in refusal(capture.folder, downscale=downscale)


def test_downscale_may_not_exceed_the_image(capture):
    assert "12 x 16 pixels, too small for --downscale 13" in refusal(capture.folder, downscale=13)
    assert load_scene(capture.folder, downscale=12).splits["train"].images.image(0).shape == (1, 1, 4)


def test_other_options_that_make_no_sense(capture):
    assert "--test-every" in refusal(capture.folder, test_every=-1)
    assert "leaves 0 to train on" in refusal(capture.folder, test_every=1)
    assert "split 'training' is unknown" in refusal(capture.folder, splits=("training",))
    assert "no split 'val'" in refusal(capture.folder, splits=("val",))


def test_without_strict_what_is_left_must_still_be_a_scene(capture):
    for frame in capture.frames:
        frame["transform_matrix"][0][0] = math.nan
    message = refusal(capture.write(), strict=False)
    assert "no image" in message and "the first: " in message and "frame 0" in message


VALUES = [None, True, False, 0, -1, 1, 3, 128, 1e-30, 1e6, 1e30, 1e300, 10**400, math.nan, math.inf,
          "", "x", "1", "../..", "images/0001.png", "images/0001", "\0", "x" * 3000,
          [], {}, [[]], {"a": 1}, [1, 2, 3]]  # fmt: skip
KEYS = ["fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "k3", "k4", "p1", "p2", "camera_model",
        "is_fisheye", "camera_angle_x", "camera_angle_y", "aabb_scale", "scale", "offset", "frames",
        "file_path", "ftheta_p0", "transform_matrix", "train_filenames", "time"]  # fmt: skip


def mutate(content: dict, rng: random.Random) -> dict:
    """A copy in which one to three values, anywhere, are replaced, removed or added."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        node = content
        while True:
            keys = list(node.keys() if isinstance(node, dict) else range(len(node)))
            key = rng.choice([*keys, rng.choice(KEYS)] if isinstance(node, dict) else keys) if keys else None
            if key is None:
                break
            child = node[key] if key in keys else None
            if isinstance(child, (dict, list)) and child and rng.random() < 0.8:
                node = child
            elif rng.random() < 0.2 and key in keys:
                del node[key]
                break
            else:
                node[key] = rng.choice(VALUES)
                break
    return content


def test_mutated_files_end_in_a_user_error_or_a_valid_scene(capture):
    capture.write(frames=capture.frames[:5])
    start, outcomes = time.perf_counter(), {"scene": 0, "error": 0}
    for seed in range(400):
        rng = random.Random(seed)
        text = json.dumps(mutate(capture.content, rng))
        if seed % 10 == 0:  # damage of the text itself
            cut = rng.randrange(len(text))
            text = text[:cut] + rng.choice(["", "}", "\x00", '"', "é"]) + text[cut + rng.randint(0, 5) :]
        capture.path.write_text(text, encoding="utf-8")
        try:
            scene = load_scene(capture.folder, test_every=rng.choice([0, 2, 8]), strict=rng.random() < 0.7)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 2500, (seed, str(error))
            outcomes["error"] += 1
        else:
            assert_valid(scene)
            outcomes["scene"] += 1
    assert outcomes["scene"] > 40 and outcomes["error"] > 100, outcomes
    assert time.perf_counter() - start < 30


def assert_valid(scene: Scene):
    assert np.isfinite(scene.centre).all() and np.isfinite(scene.scale) and len(scene.splits["train"]) >= 2
    for split in scene.splits.values():
        cameras = scene.model_cameras(split.cameras)
        for values in (cameras.camera_to_world, cameras.focal, cameras.principal, cameras.distortion):
            assert np.isfinite(values).all()
        assert (cameras.focal > 0).all() and len(split.images) == len(cameras) == len(split.paths) > 0


PIPES = {"transforms": "transforms.json", "nerfies": "camera/000000.json", "colmap": "sparse/0/points3D.bin",
         "phototourism": "gate.tsv", "nsvf": "pose/0_0000.txt", "llff": "poses_bounds.npy",
         "mega-nerf": "train/metadata/000001.pt"}
WRITERS = {"nerfies": write_nerfies, "colmap": write_colmap, "phototourism": write_phototourism, "nsvf": write_nsvf,
           "llff": write_llff, "mega-nerf": write_mega_nerf}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("form", PIPES)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(form, tmp_path):
    if form in ("colmap", "phototourism"):
        pytest.importorskip("pycolmap")
    folder = tmp_path / "scene"
    WRITERS.get(form, lambda folder: Capture(folder))(folder)
    path = folder / PIPES[form]
    path.unlink()
    os.mkfifo(path)
    with alarm(5):
        refusal(folder, format=form)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("name", ["points.ply", "depth.npy"])
def test_a_pipe_that_a_file_names_is_not_waited_for(capture, name):
    os.mkfifo(capture.folder / name)
    if name.endswith(".ply"):
        capture.write(ply_file_path=name)
    for frame in capture.frames:
        frame["depth_file_path"] = name
    with alarm(5), contextlib.suppress(UserError):
        load_scene(capture.write())


@contextlib.contextmanager
def alarm(seconds: int):
    """The test fails where it takes longer."""
    def ring(number, frame):
        pytest.fail(f"it waits for more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("alpha", ["auto", "mask", "background"])
def test_a_split_whose_images_all_fail_is_not_said_to_be_masked(blender_folder, alpha):
    for path in (blender_folder / "test").glob("r_?.png"):
        path.write_bytes(path.read_bytes()[:60])
    assert "masks" not in refusal(blender_folder, alpha=alpha, strict=False)
    path = blender_folder / "transforms_test.json"
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        frame["transform_matrix"] = 3
    path.write_text(json.dumps(content))
    assert "masks" not in refusal(blender_folder, alpha=alpha, strict=False)


@pytest.mark.parametrize("head", [
    b"{'descr': '<f8', 'shape': (5, 17", b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 16), }",
    b"3", b"{"])
def test_a_depth_array_with_a_damaged_head_is_refused(capture, head):
    path = capture.folder / "depth.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(64))
    for frame in capture.frames:
        frame["depth_file_path"] = path.name
    scene = load_scene(capture.write())
    with pytest.raises(UserError, match=r"depth image .*depth\.npy cannot be read"):
        scene.splits["train"].depth[0]


def test_distances_beyond_single_precision_are_unknown(capture):
    capture.frames[0]["depth_file_path"] = "depth.npy"
    np.save(capture.folder / "depth.npy", np.full((4, 4), 1e200))
    scene = load_scene(capture.write(), test_every=0)
    assert np.isinf(scene.splits["train"].depth[0]).all()


@pytest.mark.skipif(os.name == "nt", reason="links need permission there")
@pytest.mark.parametrize("strict", [True, False])
def test_links_in_a_circle_are_refused_or_left_out(capture, strict):
    """Of images, and of masks."""
    (capture.folder / "masks").mkdir()
    for n, frame in enumerate(capture.frames):
        frame["mask_path"] = f"masks/{n:04d}.png"
        Image.fromarray(np.full((16, 12), 255, np.uint8)).save(capture.folder / frame["mask_path"])
    for name in ("masks/0003.png", "images/0005.png"):
        path = capture.folder / name
        path.unlink()
        path.symlink_to(path.name)
        with contextlib.suppress(UserError):
            describe(load_scene(capture.write(), strict=strict))
