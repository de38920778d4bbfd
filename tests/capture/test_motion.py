"""What moves before a camera is found by made-up matches of which some are of a ball that moves, and some are wrong."""

import numpy as np
import pytest

pytest.importorskip("pycolmap", reason="pycolmap is not installed")

from PIL import Image

from taichi_nerf.capture.motion import Votes, moving_mask, moving_sheet, votes_of, write_masks
from taichi_nerf.capture.process import transforms
from taichi_nerf.capture.reconstruction import import_pycolmap

FRAMES, STILL, BALL = 8, 1500, 60
SIZE = (1024, 768)


class Matches:
    """As a database has them."""

    def __init__(self, model, pixels, matches):
        self.pixels, self.matches = pixels, matches

    def read_keypoints(self, image_id):
        return self.pixels[image_id]

    def read_all_matches(self):
        return list(self.matches), list(self.matches.values())


@pytest.fixture(scope="module")
def filmed():
    """A reconstruction; matches of points that stand still and of a ball, a tenth wrong; where the ball is seen."""
    colmap, random = import_pycolmap(), np.random.default_rng(0)
    colmap.set_random_seed(3)
    model = colmap.synthesize_dataset(colmap.SyntheticDatasetOptions(
        num_rigs=1, num_frames_per_rig=FRAMES, num_points3D=20, camera_width=SIZE[0], camera_height=SIZE[1]))
    still = random.uniform(-2, 2, (STILL, 3))
    ball = random.normal(size=(BALL, 3))
    ball *= 0.25 / np.linalg.norm(ball, axis=1, keepdims=True)
    pixels, middle = {}, {}
    for number, image_id in enumerate(sorted(model.images)):
        moved = 0.3 * np.array([np.sin(number), np.cos(2 * number), np.sin(3 * number)])
        image = model.images[image_id]
        camera, pose = model.cameras[image.camera_id], image.cam_from_world()
        local = np.array([pose * point for point in np.concatenate([still, ball + moved, [moved]])])
        pixel = camera.img_from_cam(local)
        pixels[image_id], middle[image_id] = pixel[:-1].astype(np.float32), pixel[-1]
    matches = {}
    for one in pixels:
        for other in pixels:
            if one < other:
                pair = np.tile(np.arange(STILL + BALL, dtype=np.uint32)[:, None], (1, 2))
                wrong = random.choice(len(pair), len(pair) // 10, replace=False)
                pair[wrong, 1] = pair[random.permutation(wrong), 1]
                matches[colmap.image_pair_to_pair_id(one, other)] = pair
    return model, Matches(model, pixels, matches), middle


def test_the_ball_is_found_and_nothing_else(filmed):
    model, database, middle = filmed
    votes = votes_of(database, model)
    assert set(votes) == {image.name for image in model.images.values()}
    for image_id, image in model.images.items():
        of_image, mask = votes[image.name], moving_mask(votes[image.name], SIZE)
        column, row = middle[image_id].astype(int)
        assert mask.shape == SIZE[::-1] and mask[row, column], image.name
        assert 0.002 < mask.mean() < 0.15
        column, row = of_image.pixel.astype(int).T
        inside = (column >= 0) & (column < SIZE[0]) & (row >= 0) & (row < SIZE[1])
        on_ball = np.arange(STILL + BALL) >= STILL
        assert mask[row[inside & on_ball], column[inside & on_ball]].mean() > 0.9
        assert mask[row[inside & ~on_ball], column[inside & ~on_ball]].mean() < 0.15


def test_of_what_stands_still_nothing_is_masked(filmed):
    votes = next(iter(votes_of(filmed[1], filmed[0]).values()))
    still = Votes(*(values[:STILL] for values in votes))
    assert not moving_mask(still, SIZE).any()  # although a tenth of its matches is wrong
    assert not moving_mask(Votes(np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, int)), SIZE).any()


def test_masks_are_files_and_a_picture(tmp_path):
    (tmp_path / "images").mkdir()
    masks = {}
    for n in range(3):
        Image.new("RGB", (64, 48), (0, 0, 200)).save(tmp_path / "images" / f"frame_{n:06d}.jpg")
        masks[f"frame_{n:06d}.jpg"] = np.indices((48, 64))[1] < 20 * n
    write_masks(masks, tmp_path / "moving", moving=255)
    back = np.asarray(Image.open(tmp_path / "moving" / "frame_000002.jpg.png"))
    assert np.array_equal(back == 255, masks["frame_000002.jpg"]) and set(np.unique(back)) == {0, 255}
    sheet = np.asarray(moving_sheet(tmp_path / "images", masks))
    assert sheet.shape == (480, 640, 3) and sheet[300, 50, 0] > 100 > sheet[100, 50, 0]


def test_frames_of_a_video_have_times(filmed):
    model, numbers = filmed[0], (10, 20, 25, 30, 40, 45, 50, 60)
    for image, number in zip(sorted(model.images.values(), key=lambda image: image.name), numbers):
        image.name = f"frame_{number:06d}.jpg"
    times = [frame["time"] for frame in transforms(model, timed=True)["frames"]]
    assert times == pytest.approx([0, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 1.0])
    assert "time" not in transforms(model)["frames"][0]
