"""Which frames of a video are taken."""

import stat
import subprocess

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from taichi_nerf.capture import video
from taichi_nerf.capture.photos import sharpness
from taichi_nerf.capture.video import HEIGHT, STEP, WIDTH, displacement, look_at, pick, pick_frames
from taichi_nerf.errors import UserError
from taichi_nerf.pictures import VideoWriter


def texture(height: int, width: int) -> np.ndarray:
    """[H, W] in [0, 255], with detail of every size above a few pixels."""
    generator, result = torch.Generator().manual_seed(1), 0.0
    for cells in (4, 12, 40, 90):
        noise = torch.rand(1, 1, cells, 2 * cells, generator=generator)
        result = result + F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)[0, 0].numpy()
    return (255 * (result - result.min()) / np.ptp(result)).astype(np.float32)


def blurred(picture: np.ndarray, length: int) -> np.ndarray:
    """As if the camera had moved sideways by `length` pixels meanwhile."""
    return np.mean([np.roll(picture, k, axis=1) for k in range(length)], axis=0)


def write_video(path, frames):
    with VideoWriter(path, fps=30) as video:
        for frame in frames:
            video.write(np.repeat(frame.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return path


@pytest.fixture
def pan(tmp_path):
    """40 frames of 320 x 192 that move by 4 pixels each, those whose number is not 2 modulo 4 blurred."""
    wide = texture(192, 640)
    frames = [wide[:, 4 * n : 4 * n + 320] for n in range(40)]
    return write_video(tmp_path / "pan.mp4", [f if n % 4 == 2 else blurred(f, 9) for n, f in enumerate(frames)])


def test_displacement_of_a_moved_picture_is_how_far_it_moved():
    soft = F.avg_pool2d(torch.tensor(texture(400, 640))[None, None], 4)[0, 0].numpy()
    fine = np.kron(soft, np.ones((1, 8)))
    fine = np.stack([np.convolve(row, np.ones(9) / 9, "same") for row in fine])
    one = fine[:, 64:-64:8]
    assert displacement(one, one) == 0
    for steps in (2, 4, 8):  # eighths of a pixel; edges along the motion are not seen to move
        assert 0.4 * steps / 8 < displacement(one, fine[:, 64 + steps : steps - 64 : 8]) < 1.1 * steps / 8


def test_of_each_stretch_of_equal_motion_the_sharpest_frame_is_picked():
    sharp = np.array([5, 9, 1, 3, 2, 8, 7, 1, 4, 6], float)
    motion = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1]) * STEP * 5 / 9
    assert pick(sharp, motion, 100) == [1, 3, 5, 6, 9]
    assert pick(sharp, motion, 2) == [1, 5]


def test_of_fast_frames_every_second_one_is_picked():
    picked = pick(np.tile([1.0, 2.0], 20), np.full(40, 0.3 * STEP), 100)
    assert len(picked) == 20 and sum(n % 2 for n in picked) > 15


def test_where_nothing_moves_one_frame_is_picked_and_a_pause_gives_no_frames():
    assert pick(np.arange(20.0), np.zeros(20), 10) == [19]
    motion = np.concatenate([np.full(20, STEP), np.zeros(50), np.full(20, STEP)])
    picked = np.array(pick(np.ones(90), motion, 100))
    assert 36 <= len(picked) <= 41 and ((picked > 20) & (picked < 69)).sum() <= 1


def test_blurred_frames_are_passed_over(pan, tmp_path):
    (tmp_path / "frames").mkdir()
    sharp, motion = look_at(pan)
    assert len(sharp) == len(motion) == 40
    assert motion[1:].mean() == pytest.approx(4 / 320, rel=0.6)
    seen = []
    picked = pick_frames(pan, tmp_path / "frames", most=9, max_size=160, told=seen.append)
    assert seen == list(range(1, 41)) and 3 <= len(picked) <= 9
    numbers = [int(name[6:12]) for name in picked]
    assert numbers == sorted(numbers) and np.mean([n % 4 == 2 for n in numbers]) > 0.8
    for name in picked:
        with Image.open(tmp_path / "frames" / name) as image:
            assert image.size == (160, 96)
            number = int(name[6:12])
            expected = texture(192, 640)[:, 4 * number : 4 * number + 320].reshape(96, 2, 160, 2).mean(axis=(1, 3))
            assert np.abs(np.asarray(image.convert("L")) - expected).mean() < 8


def test_sharpness_falls_with_blur():
    picture = texture(100, 200)
    values = [sharpness(blurred(picture, length)) for length in (1, 3, 9)]
    assert values[0] > 2 * values[1] > 2 * values[2]
    assert sharpness(np.zeros((2, 2))) == 0


def test_what_is_no_video_and_what_does_not_move_is_one_sentence(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mov").write_bytes(b"")
    for name in ("text.mp4", "empty.mov"):
        with pytest.raises(UserError, match=rf"{name} cannot be read as a video \(.+\); give a video file"):
            pick_frames(tmp_path / name, tmp_path, most=10, max_size=100)
    still = write_video(tmp_path / "still.mp4", [texture(96, 160)] * 5)
    with pytest.raises(UserError, match=r"still\.mp4 has 5 frames and shows hardly any motion"):
        pick_frames(still, tmp_path, most=10, max_size=100)


def test_pixels_that_are_wider_than_high_become_square(tmp_path):
    plain, wide = tmp_path / "plain.mp4", tmp_path / "wide.mp4"
    write_video(plain, [texture(96, 400)[:, 4 * n : 4 * n + 160] for n in range(20)])
    subprocess.run([video._ffmpeg(), "-v", "error", "-i", str(plain), "-vf", "setsar=4/3", str(wide)],
                   check=True)
    sizes = []
    for path in (plain, wide):
        (tmp_path / path.stem).mkdir()
        names = list(pick_frames(path, tmp_path / path.stem, most=5, max_size=1000))
        with Image.open(tmp_path / path.stem / names[0]) as image:
            sizes.append(image.size)
    assert sizes == [(160, 96), (213, 96)]
    (tmp_path / "small").mkdir()
    name = next(iter(pick_frames(wide, tmp_path / "small", most=5, max_size=106)))
    with Image.open(tmp_path / "small" / name) as image:
        assert image.size == (106, 48)


def test_names_of_videos_and_folders_are_no_addresses_and_no_patterns(pan, tmp_path):
    folder = tmp_path / "100% done %d"
    folder.mkdir()
    odd = pan.rename(folder / "12:30 %03d.mp4")
    (folder / "frames").mkdir()
    picked = pick_frames(odd, folder / "frames", most=9, max_size=160)
    assert len(picked) >= 3 and {path.name for path in (folder / "frames").iterdir()} == set(picked)


def test_a_video_that_points_at_other_files_is_refused(pan, tmp_path):
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/{pan.name}\n")
    with pytest.raises(UserError, match=r"list\.mp4 cannot be read as a video"):
        pick_frames(tmp_path / "list.mp4", tmp_path, most=10, max_size=100)


def test_a_reader_that_fails_half_way_is_not_believed(pan, tmp_path, monkeypatch):
    reader = tmp_path / "reader"
    reader.write_text(f"#!/bin/sh\nhead -c {5 * WIDTH * HEIGHT} /dev/zero\necho 'a [x @ 1] broken' >&2\nexit 1\n")
    reader.chmod(reader.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(video, "_ffmpeg", lambda: str(reader))
    with pytest.raises(UserError, match=r"pan\.mp4 can be read up to frame 5 only \(broken\); copy it again"):
        look_at(pan)
