"""Gaussians as PLY files, and another reader of them: numpy alone, from the file alone."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from taichi_nerf.data.scene import Cameras
from taichi_nerf.errors import UserError
from taichi_nerf.export.facts import facts_of
from taichi_nerf.export.splat_files import Splats, read_splats, write_splats

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))  # as for a script there

from _splat_reader import picture_of_file

HEAD_OF_VIEWERS = """ply
format binary_little_endian 1.0
element vertex 2
property float x
property float y
property float z
property float nx
property float ny
property float nz
property float f_dc_0
property float f_dc_1
property float f_dc_2
property float f_rest_0
property float f_rest_1
property float f_rest_2
property float f_rest_3
property float f_rest_4
property float f_rest_5
property float f_rest_6
property float f_rest_7
property float f_rest_8
property float opacity
property float scale_0
property float scale_1
property float scale_2
property float rot_0
property float rot_1
property float rot_2
property float rot_3
end_header
"""


def make_splats(count, functions, seed=5):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return Splats(means=0.5 * normal(count, 3), log_scales=-2.5 + 0.3 * normal(count, 3), quaternions=normal(count, 4),
                  logits=normal(count), harmonics=0.4 * normal(count, 3, functions))


@pytest.mark.parametrize("functions", [1, 4, 9, 16])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_what_is_written_is_read(tmp_path, count, functions):
    splats = make_splats(count, functions)
    write_splats(tmp_path / "a.ply", splats)
    found = read_splats(tmp_path / "a.ply")
    for name in ("means", "log_scales", "quaternions", "logits", "harmonics"):
        assert np.array_equal(getattr(found, name), getattr(splats, name)), name
        assert getattr(found, name).dtype == np.float32


def test_the_file_has_the_layout_of_viewers_to_the_byte(tmp_path):
    splats = make_splats(2, 4)
    write_splats(tmp_path / "a.ply", splats)
    content = (tmp_path / "a.ply").read_bytes()
    head = HEAD_OF_VIEWERS.encode()
    assert content.startswith(head) and len(content) == len(head) + 2 * 26 * 4
    row = np.frombuffer(content[len(head):], "<f4").reshape(2, 26)[1]
    assert row[:3].tolist() == splats.means[1].tolist() and not row[3:6].any()
    assert row[6:9].tolist() == splats.harmonics[1, :, 0].tolist()
    assert row[9:18].tolist() == splats.harmonics[1, :, 1:].reshape(-1).tolist()  # red first
    assert row[18] == splats.logits[1] and row[19:22].tolist() == splats.log_scales[1].tolist()
    assert row[22:].tolist() == splats.quaternions[1].tolist()


@pytest.mark.parametrize("change, what", [
    (lambda content: b"solid cube", "its head is another"),
    (lambda content: content[:-5], "it ends after 2 of 3 Gaussians"),
    (lambda content: content.replace(b"binary_little_endian", b"ascii"), "it is not binary and little endian"),
    (lambda content: content.replace(b"rot_3", b"rot_x"), "it has no rot_3"),
    (lambda content: content.replace(b"f_rest_8", b"unknown!"), "it has 8 f_rest, of no whole number of bands"),
    (lambda content: content.replace(b"float opacity", b"list opacity"), "a property is no plain number"),
    (lambda content: content.replace(b"scale_1", b"scale_0"), "its properties are not each there once"),
    (lambda content: content.replace(b"vertex 3", b"vertex -3"), "it has other elements than vertices"),
    (lambda content: content.replace(b"vertex 3", b"vertex 99999999999999999999"), "it ends after"),
    (lambda content: content[: -3 * 26 * 4] + np.full(3 * 26, np.nan, "<f4").tobytes(),
     "each of its 3 Gaussians has a value that is no number"),
], ids=["another", "cut", "text", "renamed", "part of a band", "list", "twice", "negative", "endless", "NaN"])
def test_a_damaged_file_is_named_in_a_sentence(tmp_path, change, what):
    path = tmp_path / "a.ply"
    write_splats(path, make_splats(3, 4))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=f"a.ply is no PLY file of Gaussians.*{what}"):
        read_splats(path)


def test_gaussians_that_are_no_numbers_are_left_out_and_counted(tmp_path):
    splats = make_splats(30, 4)
    splats.quaternions[3, 2], splats.harmonics[7, 1, 3], splats.logits[7] = np.nan, np.inf, np.nan
    write_splats(tmp_path / "a.ply", splats)
    found, rest = read_splats(tmp_path / "a.ply"), np.delete(np.arange(30), [3, 7])
    assert found.left_out == 2 and np.array_equal(found.means, splats.means[rest])
    assert np.array_equal(found.harmonics, splats.harmonics[rest])
    assert "not counted, since their values are not finite: 2 Gaussians" in facts_of(tmp_path / "a.ply")


def test_a_file_that_is_not_there_and_one_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_splats(tmp_path / "nothing.ply")
    with pytest.raises(UserError, match="cannot be written"):
        write_splats(tmp_path / "no" / "a.ply", make_splats(1, 1))


def test_info_says_what_is_in_the_file(tmp_path, capsys):
    from taichi_nerf import cli

    write_splats(tmp_path / "a.ply", make_splats(30, 9))
    assert cli.main(["info", str(tmp_path / "a.ply")]) == 0
    assert "30 Gaussians, whose colours are harmonics up to degree 2" in capsys.readouterr().out


def test_metres_change_places_and_sizes_alone():
    splats = make_splats(4, 4)
    moved = splats.moved(np.array([1.0, 2.0, 3.0]), 10.0)
    assert np.allclose(moved.means, (splats.means + (1, 2, 3)) * 10)
    assert np.allclose(np.exp(moved.log_scales), 10 * np.exp(splats.log_scales), rtol=1e-5)
    assert moved.harmonics is splats.harmonics


@pytest.mark.parametrize("functions", [4, pytest.param(9, marks=pytest.mark.slow)])
def test_another_reader_of_the_file_sees_the_same_picture(tmp_path, functions):
    from taichi_nerf import runtime
    from taichi_nerf.export.splats import learnable
    from taichi_nerf.training.splats import picture_of

    runtime.init("cpu", torch.float64, 2)  # as a configuration of the kernels' tests
    splats = make_splats(60, functions)
    write_splats(tmp_path / "a.ply", splats)
    pose = np.eye(3, 4, dtype=np.float32)
    pose[:, 3] = (0.1, 0.0, 2.5)
    camera = Cameras(camera_to_world=pose[None], focal=[(40, 42)], principal=[(16, 13)], distortion=np.zeros((1, 6)),
                     lens=[0], size=[(33, 25)])
    ours = picture_of(learnable(read_splats(tmp_path / "a.ply"), 0.01).double(), camera, 0, 1.0)
    theirs = picture_of_file(tmp_path / "a.ply", pose, (40, 42), (16, 13), (33, 25), background=1.0)
    assert ours.std() > 20
    assert np.abs(ours / 255 - theirs).mean() < 1 / 255
