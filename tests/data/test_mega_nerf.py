"""Mega-NeRF's folders: cameras in metres and with z up, splits, and files in which something would be executed."""

import pickle

import numpy as np
import pytest
import torch

from taichi_nerf.data import load_scene
from taichi_nerf.errors import UserError

from .captures import write_mega_nerf


def test_cameras_come_back(tmp_path):
    poses = write_mega_nerf(tmp_path)
    scene = load_scene(tmp_path)
    assert (scene.format, scene.held_out) == ("mega-nerf", False)
    np.testing.assert_allclose(scene.origin, [5e5, 4e6, 100.0])
    for name, chosen in (("test", np.arange(9) % 3 == 0), ("train", np.arange(9) % 3 != 0)):
        cameras = scene.splits[name].cameras
        np.testing.assert_allclose(cameras.camera_to_world, poses[chosen, :3], atol=1e-4)
        np.testing.assert_allclose(cameras.focal, [[50.0, 52.0]] * chosen.sum())
        np.testing.assert_allclose(cameras.principal, [[23.5, 16.5]] * chosen.sum())


class Executed:
    """What runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["coordinates.pt", "train/metadata/000001.pt"])
def test_nothing_in_a_file_is_executed(tmp_path, name):
    write_mega_nerf(tmp_path / "scene")
    made = tmp_path / "made"
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        save({"W": Executed(made)}, tmp_path / "scene" / name)
        with pytest.raises(UserError, match=r"is not a file of tensors alone, .* and is not; export it again"):
            load_scene(tmp_path / "scene")
        assert not made.exists()


@pytest.mark.parametrize(("name", "content", "message"), [
    ("coordinates.pt", {"origin_drb": torch.zeros(3)}, "coordinates.pt lacks pose_scale_factor"),
    ("coordinates.pt", {"origin_drb": torch.zeros(2), "pose_scale_factor": 1.0}, "origin_drb must be 3 finite numbers"),
    ("coordinates.pt", {"origin_drb": torch.zeros(3), "pose_scale_factor": 0.0}, "pose_scale_factor is 0, no number"),
    ("coordinates.pt", [1, 2], "holds no names with values"),
    ("train/metadata/000001.pt", {"W": 48, "H": 32, "intrinsics": torch.ones(4) * 50, "c2w": torch.zeros(3, 3)},
     r"000001.pt: c2w must be 3 x 4 finite numbers"),
    ("train/metadata/000001.pt", {"W": "48", "H": [32], "intrinsics": "x", "c2w": None}, "intrinsics is no array"),
    ("train/metadata/000001.pt", {"W": 48, "H": 32, "intrinsics": torch.full((4,), float("nan")), "c2w": None},
     "intrinsics must be 4 finite numbers"),
    ("train/metadata/000001.pt", {"intrinsics": torch.ones(4).to_sparse()}, "intrinsics is no array of numbers"),
    ("train/metadata/000001.pt", {"intrinsics": torch.ones(4, device="meta")}, "intrinsics is no array of numbers"),
    ("train/metadata/000001.pt", {"intrinsics": torch.ones(1).expand(10**11)}, "intrinsics must be 4 finite numbers"),
])
def test_what_is_missing_or_no_number_is_named(tmp_path, name, content, message):
    write_mega_nerf(tmp_path)
    torch.save(content, tmp_path / name)
    with pytest.raises(UserError, match=message):
        load_scene(tmp_path)


def test_a_photo_that_is_missing_is_named_or_left_out(tmp_path):
    write_mega_nerf(tmp_path)
    (tmp_path / "train" / "rgbs" / "000001.jpg").unlink()
    with pytest.raises(UserError, match=r"the image .*000001.jpg does not exist"):
        load_scene(tmp_path)
    assert len(load_scene(tmp_path, skip_missing=True).splits["train"]) == 5
