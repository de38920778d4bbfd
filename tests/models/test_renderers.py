"""`auto` takes the renderer that is faster here and now, where a frame is long enough for that to matter."""

import time

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import FieldConfig, HashGridConfig, InstantNGPConfig, SamplingConfig
from taichi_nerf.data.builtin import hemisphere_cameras
from taichi_nerf.export.pictures import render_pictures
from taichi_nerf.models import views
from taichi_nerf.models.cones import sharpest_view
from taichi_nerf.models.instant_ngp import InstantNGP
from taichi_nerf.models.model import Box
from taichi_nerf.models.renderers import renderer_words
from taichi_nerf.models.views import render_view
from taichi_nerf.viewer.door import Door
from taichi_nerf.viewer.look import Look, Shown


@pytest.fixture
def model():
    before = runtime.current()
    runtime.init("cpu", torch.float32, threads=1)
    field = FieldConfig(hash_grid=HashGridConfig(levels=2, features=2, log2_entries=8, base_resolution=4,
                                                 max_resolution=8), density_width=8, colour_width=8)
    model = InstantNGP(InstantNGPConfig(field=field, sampling=SamplingConfig(grid_resolution=16, steps=16)), Box())
    with torch.no_grad():
        model.field.table.mul_(3e4)
    yield model
    runtime.init(before.backend, before.dtype, threads=before.threads)


@pytest.fixture
def paced(monkeypatch, model):
    """`paced(torch=.., taichi=..)`: seconds that 1000 rays take by each renderer, as a clock tells that counts nothing
    else; and the rays that each has rendered so far."""
    rays, now = {"torch": 0, "taichi": 0}, [0.0]

    def pace(**seconds):
        rays.update(torch=0, taichi=0)

        def counted(name, original):
            def render(*arguments):
                pixels = next(value for value in arguments if isinstance(value, torch.Tensor))
                rays[name] += len(pixels)
                now[0] += seconds[name] * len(pixels) / 1000
                return original(*arguments)

            return render

        monkeypatch.setattr(views, "PROBED", 512)
        monkeypatch.setattr(views, "_render_piece", counted("torch", PIECE))
        monkeypatch.setattr(views, "_render_launch", counted("taichi", LAUNCH))
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])
        return rays

    return pace


SIDE = 128
PIECE, LAUNCH = views._render_piece, views._render_launch
CAMERAS = hemisphere_cameras(2, SIDE)


def shown(model, index=0):
    return render_view(model, CAMERAS, index, background=1.0)


def test_the_faster_one_renders_the_frame_and_those_that_follow(paced, model):
    rays = paced(torch=0.05, taichi=0.01)  # 0.82 s a frame, and 0.16
    first = shown(model)
    assert first.renderer == "taichi" and rays["taichi"] >= SIDE * SIDE
    tried = rays["torch"]
    assert 0 < tried < SIDE * SIDE / 8
    assert shown(model, 1).renderer == "taichi" and rays["torch"] == tried, "what was found holds for the next frames"
    alone = render_view(model, CAMERAS, 0, background=1.0, renderer="taichi")
    assert np.array_equal(alone.colour, first.colour), "a picture is of one renderer alone"


def test_pixels_of_many_rays_are_not_all_tried_at_once(paced, model):
    """Which would take 64 times the memory of two rows."""
    model.sharpest.copy_(sharpest_view(CAMERAS.resized([8 * SIDE] * 2)))
    rays = paced(torch=0.05, taichi=0.01)
    assert shown(model).renderer == "taichi"
    assert 0 < rays["torch"] * 64 <= 2 * 512 + 16 * 64, "those of the pixels that are tried, and those before them"


def test_where_the_usual_one_is_faster_it_stays(paced, model):
    rays = paced(torch=0.04, taichi=0.2)
    assert shown(model).renderer == "torch" and 0 < rays["taichi"] < SIDE * SIDE / 8


def test_a_frame_that_takes_no_time_is_not_worth_the_question(paced, model):
    rays = paced(torch=0.001, taichi=0.0)
    assert shown(model).renderer == "torch" and rays["taichi"] == 0
    small = CAMERAS.resized([40, 40])
    paced(torch=100.0, taichi=1.0)
    assert render_view(model, small, 0, background=1.0).renderer == "torch"


def test_quick_frames_are_worth_the_question_when_they_have_taken_long(paced, model, monkeypatch):
    monkeypatch.setattr(views, "PATIENCE", 1.0)
    rays = paced(torch=0.02, taichi=0.01)  # 0.33 s a frame, and 0.16
    assert [shown(model).renderer for _ in range(4)] == ["torch"] * 4 and rays["taichi"] == 0
    assert shown(model).renderer == "taichi"
    paced(torch=0.005, taichi=0.01)
    assert render_view(model, CAMERAS.resized([40, 40]), 0, background=1.0).renderer == "taichi", "it still holds"


def test_the_answer_is_asked_for_again_after_some_frames_and_in_another_runtime(paced, model, monkeypatch):
    monkeypatch.setattr(views, "FRAMES", 2)
    paced(torch=0.05, taichi=0.01)
    assert [shown(model).renderer for _ in range(3)] == ["taichi"] * 3
    paced(torch=0.04, taichi=0.2)
    assert shown(model).renderer == "torch"
    runtime.init("cpu", torch.float32, threads=1)
    paced(torch=0.05, taichi=0.01)
    assert shown(model).renderer == "taichi"


def test_a_frame_tells_how_long_it_took_its_renderer_and_would_have_taken_the_other(paced, model):
    paced(torch=0.05, taichi=0.01)
    seconds = shown(model).seconds
    assert seconds["taichi"] == pytest.approx(0.01 * SIDE**2 / 1000)
    assert seconds["torch"] == pytest.approx(0.05 * SIDE**2 / 1000)
    assert set(shown(model, 1).seconds) == {"taichi"}


def test_pictures_say_once_what_rendered_them(paced, model, tmp_path, capsys):
    paced(torch=0.05, taichi=0.01)
    told = []
    render_pictures(model, CAMERAS, 1.0, {"colour": tmp_path}, on_part=lambda done, total: told.append((done, total)))
    assert told[-1] == (1, len(CAMERAS))  # within the first; the others are quick
    assert capsys.readouterr().err == "renderer: taichi, one launch (0.16 s a frame; torch 0.82 s)\n"


def test_a_viewer_says_what_it_takes(paced, model):
    paced(torch=0.05, taichi=0.01)
    pose = tuple(map(tuple, CAMERAS.camera_to_world[0].tolist()))
    door = Door(model)
    door.warm_up(Look(pose=pose, fov=0.7, window=(20, 10)), Shown(), (20, 10))
    assert door.renderer_words == "taichi, one launch (0.002 s a frame; torch 0.01 s) of 20 x 10 pixels"


def test_the_words_name_the_way_and_the_others():
    assert renderer_words("torch", {"torch": 12.34}) == "torch, stage by stage (12 s a frame)"


def test_normals_have_one_renderer(paced, model):
    paced(torch=0.05, taichi=0.01)
    assert render_view(model, CAMERAS, 0, background=1.0, normals=True).renderer == "torch"


@pytest.mark.parametrize("renderer", ["torch", "taichi"])
def test_what_lies_outside_of_a_crop_box_is_not_seen_and_nothing_is_left_of_the_box(model, renderer):
    cameras, bits = CAMERAS.resized([24, 24]), model.grid.bits.clone()
    whole = render_view(model, cameras, 0, background=0.0, renderer=renderer)
    with model.cropped((-0.5,) * 3, (0.5,) * 3):
        assert np.array_equal(render_view(model, cameras, 0, background=0.0, renderer=renderer).opacity, whole.opacity)
    with model.cropped((-0.25,) * 3, (0.25,) * 3):
        part = render_view(model, cameras, 0, background=0.0, renderer=renderer)
    with model.cropped((0.6,) * 3, (0.7,) * 3):
        assert not render_view(model, cameras, 0, background=0.0, renderer=renderer).opacity.any()
    assert 0 < (part.opacity > 0).sum() < (whole.opacity > 0).sum()
    distance = np.linalg.norm(CAMERAS.position[0])
    seen = part.opacity > 0.1
    assert part.depth[seen].min() > distance - 0.25 * 3**0.5 - 0.1 and part.depth[seen].max() < distance + 0.6
    assert torch.equal(model.grid.bits, bits)


def test_the_cells_of_a_crop_box_are_those_whose_middles_lie_in_it(model):
    positions = torch.rand(500, 3) - 0.5
    lower, upper = (-0.3, -0.1, 0.0), (0.2, 0.4, 0.5)
    side = model.grid.resolution
    cell = ((positions + 0.5) * side).long()
    middle = (cell + 0.5) / side - 0.5
    inside = ((middle >= torch.tensor(lower)) & (middle <= torch.tensor(upper))).all(dim=1)
    morton = sum((cell[:, axis] >> bit & 1) << (3 * bit + axis) for axis in range(3) for bit in range(4))
    with model.cropped(lower, upper):
        found = model.grid.bits[morton // 32] >> (morton % 32) & 1
    assert torch.equal(found.bool(), inside)
