"""Photos and videos become scenes whose cameras stand where they stood."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from taichi_nerf import cli, runtime
from taichi_nerf.capture import CAMERA_MODELS, process, reconstruction
from taichi_nerf.capture.photos import unread_photos
from taichi_nerf.capture.process import left_out, transforms
from taichi_nerf.capture.reconstruction import import_pycolmap
from taichi_nerf.data import Cameras, load_scene
from taichi_nerf.data.builtin import render
from taichi_nerf.data.builtin.still_life import daylight, still_life
from taichi_nerf.errors import UserError
from taichi_nerf.pictures import VideoWriter
from taichi_nerf.reference import camera as reference

BALL = 0.7  # its radius
ROOM = np.array([[-4.0, -4.5, -1.2], [4.5, 4.0, 4.0]])  # two corners


@pytest.fixture
def colmap():
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    return import_pycolmap()


PARAMETERS = {
    "SIMPLE_PINHOLE": [80.0, 33, 23],
    "PINHOLE": [80.0, 75, 33, 23],
    "SIMPLE_RADIAL": [80.0, 33, 23, 0.06],
    "RADIAL": [80.0, 33, 23, 0.06, -0.02],
    "OPENCV": [80.0, 75, 33, 23, 0.06, -0.02, 0.003, -0.002],
    "OPENCV_FISHEYE": [40.0, 42, 33, 23, 0.03, -0.01, 0.002, -0.001],
}


@pytest.mark.parametrize("name", CAMERA_MODELS)
def test_the_scene_sees_every_point_where_colmap_does(colmap, tmp_path, name):
    colmap.set_random_seed(1)
    options = colmap.SyntheticDatasetOptions(
        num_rigs=1, num_frames_per_rig=4, num_points3D=30, camera_width=64, camera_height=48,
        camera_model_id=getattr(colmap.CameraModelId, name), camera_params=PARAMETERS[name],
    )
    model = colmap.synthesize_dataset(options)
    (tmp_path / "images").mkdir()
    for image in model.images.values():
        Image.new("RGB", (64, 48)).save(tmp_path / "images" / image.name)
    (tmp_path / "transforms.json").write_text(json.dumps(transforms(model)))
    split = load_scene(tmp_path / "transforms.json", test_every=0).splits["train"]
    cameras = [torch.tensor(getattr(split.cameras, key)).double()
               for key in ("camera_to_world", "focal", "principal", "distortion")]
    stems = {Path(image.name).stem: image for image in model.images.values()}
    for n, stem in enumerate(split.images.names):
        image = stems[stem]
        seen = [point for point in image.points2D if point.has_point3D()]
        points = torch.tensor(np.array([model.points3D[point.point3D_id].xyz for point in seen]))
        index = torch.full((len(seen),), n)
        pixel, _ = reference.project(index, points, *cameras, torch.tensor(split.cameras.lens))
        assert np.abs(pixel.numpy() - np.array([point.xy for point in seen])).max() < 0.01


def test_bad_input_is_one_sentence(tmp_path, colmap):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="does not exist; give a folder of photos or a video"):
        process(tmp_path / "none", tmp_path / "scene")
    with pytest.raises(UserError, match="--moving is for a video, whose frames have times"):
        process(tmp_path / "photos", tmp_path / "scene", moving=True)
    with pytest.raises(UserError, match="photos holds no photo"):
        process(tmp_path / "photos", tmp_path / "scene")
    for n in range(4):
        (tmp_path / "photos" / f"{n}.jpg").write_text("no photo")
    with pytest.raises(UserError, match="exists already; name a new folder"):
        process(tmp_path / "photos", tmp_path / "photos")
    with pytest.raises(UserError, match=r"only 0 photos can be read \(0\.jpg cannot be read"):
        process(tmp_path / "photos", tmp_path / "scene")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_photos_of_different_things_end_in_a_sentence_and_leave_nothing(tmp_path, colmap):
    (tmp_path / "photos").mkdir()
    for n in range(3):
        noise = np.random.default_rng(n).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{n}.png")
    with pytest.raises(UserError, match=r"no poses were found for the 3 images \(0\.png: too few"):
        process(tmp_path / "photos", tmp_path / "scene")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.slow
def test_asking_for_progress_does_not_disturb_what_colmap_writes(tmp_path, colmap, monkeypatch):
    monkeypatch.setattr(reconstruction, "_POLL_SECONDS", 0.001)
    names = [f"{n}.png" for n in range(12)]
    for n, name in enumerate(names):
        noise = np.random.default_rng(n // 4).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).save(tmp_path / name)
    database = tmp_path / "database.db"
    reconstruction.extract_features(database, tmp_path, [names], camera_model="SIMPLE_RADIAL", single_camera=False,
                                    threads=2)
    reconstruction.match_features(database, tmp_path, "exhaustive", threads=2)
    with colmap.Database.open(database) as written:
        assert (written.num_images(), written.num_cameras()) == (12, 12)
        assert written.num_matched_image_pairs() >= 3 * 6  # those of one noise
        assert all(len(written.read_keypoints(image.image_id)) > 100 for image in written.read_all_images())


def test_without_pycolmap_the_message_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    assert cli.main(["process", str(tmp_path), "-o", str(tmp_path / "scene")]) == 2
    assert "pip install 'taichi-nerf[colmap]'" in capsys.readouterr().err


def test_settings_out_of_range_are_refused(capsys):
    assert cli.main(["process", "photos", "-o", "scene", "--max-images", "2"]) == 2
    assert "max-images must be from 3 to 2^31 - 1, got 2" in capsys.readouterr().err


def arc(count: int, resolution: int) -> Cameras:
    """Cameras that go half around the still life, up and down and to and fro."""
    n = np.arange(count)
    angle, height = np.radians(np.linspace(0, 150, count)), 0.4 + 0.15 * np.sin(1.7 * n)
    across = np.sqrt(1 - height**2)
    back = np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)
    right = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    position = back * (3.0 + 0.3 * np.cos(2.3 * n))[:, None]
    return Cameras(
        camera_to_world=np.stack([right, np.cross(back, right), back, position], axis=2),
        focal=np.full((count, 2), 0.5 * resolution / np.tan(0.45)),
        principal=np.full((count, 2), 0.5 * resolution),
        distortion=np.zeros((count, 6)),
        lens=np.zeros(count),
        size=np.full((count, 2), resolution),
    )


def room(cameras: Cameras, n: int) -> np.ndarray:
    """[H, W, 3] in [0, 255]: what camera n sees of the patterned floor and walls of a room around the scene."""
    width, height = cameras.size[n]
    v, u = np.mgrid[:height, :width] + 0.5
    x, y = (u - cameras.principal[n, 0]) / cameras.focal[n, 0], (v - cameras.principal[n, 1]) / cameras.focal[n, 1]
    direction = np.stack([x, -y, -np.ones_like(x)], axis=-1) @ cameras.camera_to_world[n, :, :3].T.astype(float)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    origin = cameras.position[n].astype(float)
    distance = ((np.where(direction > 0, ROOM[1], ROOM[0]) - origin) / direction).min(axis=-1)
    hit = (origin + distance[..., None] * direction) / np.abs(ROOM).max()
    wall = torch.tensor(hit, dtype=torch.float32)[None, None]
    generator = torch.Generator().manual_seed(0)
    layers = [torch.rand(1, 3, cells, cells, cells, generator=generator) for cells in (30, 60, 120)]
    pattern = sum(F.grid_sample(layer, wall, align_corners=True)[0, :, 0] for layer in layers)
    return 150 * pattern.permute(1, 2, 0).numpy() - 100


def alignment(estimate: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees and distances by which poses [N, 3, 4] differ after one similarity: the rotation that aligns their axes
    best, and the scale and translation that then align their positions best.

    Positions along an arc would hardly determine the rotation about it.
    """
    u, _, vt = np.linalg.svd(np.einsum("nij,nkj->ik", truth[:, :, :3], estimate[:, :, :3]))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    x, y = estimate[:, :, 3] @ rotation.T, truth[:, :, 3]
    x, mean = x - x.mean(0), y.mean(0)
    moved = (x * (y - mean)).sum() / (x**2).sum() * x + mean
    relative = np.einsum("nji,njk->nik", rotation @ estimate[:, :, :3], truth[:, :, :3])
    cosine = (np.trace(relative, axis1=1, axis2=2) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1))), np.linalg.norm(moved - y, axis=1)


def poses_of(folder) -> tuple[list[str], np.ndarray]:
    """Names and camera-to-world matrices of all frames of a scene."""
    split = load_scene(folder / "transforms.json", test_every=0).splits["train"]
    return list(split.images.names), split.cameras.camera_to_world.astype(float)


@pytest.fixture(scope="module")
def room_photos(tmp_path_factory):
    """A folder with 12 photos of the still life in a room, and their cameras."""
    runtime.init("cpu", torch.float32)
    folder, cameras = tmp_path_factory.mktemp("room"), arc(12, 400)
    pictures = render(still_life(), cameras, daylight(), 4)
    for n in range(len(cameras)):
        rgba = np.asarray(pictures.rgba[n]).astype(float)
        alpha = rgba[..., 3:] / 255
        picture = rgba[..., :3] * alpha + room(cameras, n) * (1 - alpha)
        Image.fromarray(picture.round().clip(0, 255).astype(np.uint8)).save(folder / f"{n:04d}.png")
    return folder, cameras


@pytest.mark.slow
@pytest.mark.parametrize("matching", ["auto", "vocabulary"])
def test_the_built_in_scene_as_photos_is_registered_to_its_true_poses(room_photos, tmp_path, colmap, matching):
    photos, cameras = room_photos
    done = process(photos, tmp_path / "scene", matching=matching)
    assert (done.images, done.placed, done.unplaced, done.findings) == (12, 12, {}, [])
    names, poses = poses_of(tmp_path / "scene")
    degrees, distances = alignment(poses, cameras.camera_to_world[[int(name) for name in names]].astype(float))
    print(f"rotation {degrees.mean():.3f} degrees, at most {degrees.max():.3f}; "
          f"position {distances.mean():.4f}, at most {distances.max():.4f}")
    assert degrees.max() < 0.2
    assert distances.max() < 0.01 * 2.2  # the table is 2.2 across
    for name in ("sparse/0/cameras.bin", "sparse/0/images.bin", "sparse/0/points3D.bin", "database.db", "process.json"):
        assert (tmp_path / "scene" / name).is_file()


@pytest.mark.slow
def test_a_dozen_real_photos_are_registered_as_the_original_model_has_them(tmp_path, real_data, colmap, capsys):
    folder = real_data("colmap_can")
    (tmp_path / "photos").mkdir()
    for path in sorted((folder / "images").iterdir())[:12]:
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    assert cli.main(["process", str(tmp_path / "photos"), "-o", str(tmp_path / "scene"), "--max-size", "960"]) == 0
    assert "12 of 12 images have a pose" in capsys.readouterr().out
    names, poses = poses_of(tmp_path / "scene")
    all_names, all_poses = poses_of(folder)
    truth = all_poses[[all_names.index(name) for name in names]]
    degrees, distances = alignment(poses, truth)
    extent = np.linalg.norm(np.ptp(truth[:, :, 3], axis=0))
    print(f"rotation {degrees.mean():.3f} degrees; position {100 * distances.mean() / extent:.2f} % of the path")
    assert degrees.mean() < 1.0 and distances.mean() < 0.02 * extent


def rolling_ball(cameras: Cameras, n: int, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[H, W, 3] in [0, 255] of camera n in the room with a patterned ball at `middle`; and [H, W] where that is."""
    picture = room(cameras, n)
    width, height = cameras.size[n]
    v, u = np.mgrid[:height, :width] + 0.5
    x, y = (u - cameras.principal[n, 0]) / cameras.focal[n, 0], (v - cameras.principal[n, 1]) / cameras.focal[n, 1]
    direction = np.stack([x, -y, -np.ones_like(x)], axis=-1) @ cameras.camera_to_world[n, :, :3].T.astype(float)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    origin = cameras.position[n] - middle
    along = direction @ origin
    inside = along**2 - origin @ origin + BALL**2
    hit = origin + (-along - np.sqrt(np.maximum(inside, 0)))[..., None] * direction
    layers = [torch.rand(1, 3, cells, cells, cells, generator=torch.Generator().manual_seed(1)) for cells in (12, 24)]
    place = torch.tensor(hit / BALL, dtype=torch.float32)[None, None]
    pattern = sum(F.grid_sample(layer, place, align_corners=True)[0, :, 0] for layer in layers)
    seen = (inside > 0) & (along < 0)
    return np.where(seen[..., None], 220 * pattern.permute(1, 2, 0).numpy() - 90, picture), seen


@pytest.mark.slow
def test_what_moves_in_a_video_is_left_out_and_its_frames_have_times(tmp_path, colmap, capsys):
    count = 24
    whole = arc(60, 300)
    cameras, seen = whole.subset(range(count)), []
    with VideoWriter(tmp_path / "ball.mp4", fps=10) as video:
        for n in range(count):
            middle = np.array([0.6 * np.sin(0.7 * n), 0.6 * np.cos(0.9 * n), 0.5 * np.sin(1.1 * n)])
            picture, ball = rolling_ball(cameras, n, middle)
            video.write(picture.round().clip(0, 255).astype(np.uint8))
            seen.append(ball)
    scene = tmp_path / "scene"
    assert cli.main(["process", str(tmp_path / "ball.mp4"), "-o", str(scene), "--moving", "--threads", "2"]) == 0
    said = capsys.readouterr().out
    assert "of the pixels move, and were left out of matching" in said and "model box" in said
    assert f"taichi-nerf train {scene} --model t-nerf" in said and (scene / "moving.jpg").is_file()
    frames = json.loads((scene / "transforms.json").read_text())["frames"]
    numbers = [int(Path(frame["file_path"]).stem.removeprefix("frame_")) for frame in frames]
    assert len(frames) >= 0.8 * count / 2
    assert np.allclose([frame["time"] for frame in frames],
                       (np.array(numbers) - numbers[0]) / (numbers[-1] - numbers[0]), atol=1e-6)
    found = [np.asarray(Image.open(scene / "moving" / f"frame_{number:06d}.jpg.png")) > 0 for number in numbers]
    on = np.mean([mask[seen[number]].mean() for number, mask in zip(numbers, found)])
    off = np.mean([mask[~seen[number]].mean() for number, mask in zip(numbers, found)])
    assert on > 0.6 and off < 0.03
    degrees, distances = alignment(poses_of(scene)[1], cameras.camera_to_world[numbers])
    assert degrees.max() < 0.3 and distances.max() < 0.03


def noise_photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for n in range(count):
        noise = np.random.default_rng(n).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((960, 720), Image.Resampling.BICUBIC).save(folder / f"{n}.png")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path, colmap, number):
    photos = noise_photos(tmp_path / "photos", 12)
    command = [sys.executable, "-m", "taichi_nerf", "process", str(photos), "-o", str(tmp_path / "scene")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        while not list(tmp_path.glob(".scene-*/database.db")) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, said
    assert said.splitlines()[-1] == "taichi-nerf: stopped"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_is_left_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photos = noise_photos(tmp_path / "photos", 3)
    (photos / "IMG_9.HEIC").write_bytes(b"")
    noise_photos(photos / "more", 1)
    unread = unread_photos(photos)
    texts = [finding.text for finding in left_out(photos, {"0.png": 1.0}, unread, video=False)]
    assert texts[0].startswith("1 of 2 photos were not read, such as IMG_9.HEIC (HEIC is not read without pillow-heif")
    assert texts[1].startswith("1 photos in the folders of photos are not taken")


def test_what_is_left_out_is_told_where_nothing_was_found_either(tmp_path, colmap, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photos = noise_photos(tmp_path / "photos", 3)
    (photos / "IMG_9.HEIC").write_bytes(b"")
    with pytest.raises(UserError, match=r"no poses were found .*; 1 of 4 photos were not read, such as IMG_9\.HEIC"):
        process(photos, tmp_path / "scene", max_size=160)


def test_a_name_that_colmap_cannot_have_is_refused(tmp_path, colmap):
    photos = noise_photos(tmp_path / "photos", 3)
    with pytest.raises(UserError, match="is no name in UTF-8, which COLMAP needs"):
        process(photos, tmp_path / os.fsdecode(b"caf\xe9"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="every name is in UTF-8")
@pytest.mark.parametrize("command", ["photos", "video", "folder"])
def test_names_that_are_no_utf8_end_in_a_sentence(tmp_path, colmap, capsys, monkeypatch, command):
    """Of photos, of their folder, and of a video, on a terminal that shows ASCII alone."""
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict"))
    source = noise_photos(tmp_path / "photos", 3)
    if command == "photos":
        for path in list(source.iterdir()):
            path.rename(path.with_name(os.fsdecode(b"caf\xe9_") + path.name))
    elif command == "folder":
        source = source.rename(tmp_path / os.fsdecode(b"caf\xe9 [b]"))
        (source / "0.png").write_text("no photo")
    else:
        source = tmp_path / os.fsdecode(b"caf\xe9.mp4")
        source.write_text("no video")
    assert cli.main(["process", str(source), "-o", str(tmp_path / "scene"), "--max-size", "160"]) == 2
    said = sys.stderr.buffer.getvalue().decode("ascii").splitlines()[-1]
    assert ("(caf__0.png: " if command == "photos" else r"caf\xe9") in said and said.startswith("taichi-nerf: ")


def test_a_kind_of_lens_that_all_share_is_in_the_head_of_the_file(colmap):
    colmap.set_random_seed(1)
    options = colmap.SyntheticDatasetOptions(
        num_rigs=2, num_frames_per_rig=2, num_points3D=10, camera_width=64, camera_height=48,
        camera_model_id=colmap.CameraModelId.OPENCV_FISHEYE, camera_params=PARAMETERS["OPENCV_FISHEYE"],
    )
    model = colmap.synthesize_dataset(options)
    next(iter(model.cameras.values())).params = [41.0, *PARAMETERS["OPENCV_FISHEYE"][1:]]
    content = transforms(model)
    assert content["camera_model"] == "OPENCV_FISHEYE" and "fl_x" not in content
    assert {frame["fl_x"] for frame in content["frames"]} == {40.0, 41.0}
