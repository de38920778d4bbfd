"""Scores of a model whose pictures are known, against truths that differ by a known error."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from taichi_nerf import runtime
from taichi_nerf.data import Cameras, Images, Scene, Split
from taichi_nerf.errors import UserError
from taichi_nerf.metrics import psnr, ssim
from taichi_nerf.models.views import render_view
from taichi_nerf.pictures import to_uint8
from taichi_nerf.training import evaluate as module
from taichi_nerf.training.evaluate import evaluate, truth_picture
from tests.models.ball import Ball


@pytest.fixture
def model():
    return make_ball()


def make_ball(**changes):
    return Ball(runtime.current().dtype, runtime.current().device, steps=128, **changes)


def cameras(count, size=(16, 12)):
    """Cameras in a row that look along -z at the origin."""
    pose = np.tile(np.eye(4)[:3], (count, 1, 1))
    pose[:, 0, 3] = 0.1 * np.arange(count)
    pose[:, 2, 3] = 1.5
    return Cameras(
        camera_to_world=pose,
        focal=np.full((count, 2), 16.0),
        principal=np.tile(0.5 * np.array(size), (count, 1)),
        distortion=np.zeros((count, 6)),
        lens=np.zeros(count),
        size=np.tile(size, (count, 1)),
    )


def make_scene(model, errors, size=(16, 12), background="black", scale=1.0, **changes):
    """A scene of what the model shows, each image brighter than that by its error in steps of 1 / 255."""
    rows = cameras(len(errors), size)
    views = [render_view(model, rows, n, background=0.0) for n in range(len(rows))]
    images = []
    for view, error in zip(views, errors):
        rgb = to_uint8(view.colour) + np.uint8(error)
        images.append(np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], axis=2))
    moved = Cameras(**{**vars(rows), "camera_to_world": rows.camera_to_world * [[[1, 1, 1, 1 / scale]]]})
    split = Split(name="test", cameras=moved, images=Images.from_list(images))
    settings = dict(
        name="ball",
        format="built-in",
        splits={"test": split},
        centre=np.zeros(3),
        scale=scale,
        aabb_scale=1,
        near=0.0,
        background=background,
    )
    return Scene(**{**settings, **changes})


def pictures_of(model, scene, n):
    """Prediction and truth of a view in [0, 1]."""
    view = render_view(model, scene.model_cameras("test"), n, background=0.0)
    return to_uint8(view.colour) / 255, truth_picture(scene.splits["test"], n, 0.0) / 255


def test_psnr_is_the_mean_over_images_of_each_images_psnr(model):
    errors = (10, 20, 5)
    scene = make_scene(model, errors)
    result = evaluate(model, scene)
    expected = [-20 * math.log10(error / 255) for error in errors]
    assert result.psnr == pytest.approx(expected, abs=1e-6)
    assert result.mean_psnr == pytest.approx(np.mean(expected), abs=1e-6)
    assert result.as_json()["psnr"] == pytest.approx(np.mean(expected), abs=1e-5)
    for n, score in enumerate(result.ssim):
        assert score == pytest.approx(ssim(*pictures_of(model, scene, n)), abs=1e-9)
    assert result.mean_ssim == pytest.approx(np.mean(result.ssim))


def test_scores_of_each_scale_are_means_over_its_images_alone(model):
    errors = (10, 20, 5, 40)
    scene = make_scene(model, errors)
    split = scene.splits["test"]
    split = Split(name="test", cameras=split.cameras, images=split.images, scale=np.array([1, 4, 1, 4]))
    scene = Scene(**{**vars(scene), "splits": {"test": split}})
    expected = [-20 * math.log10(error / 255) for error in errors]
    per_scale = evaluate(model, scene).as_json()["per_scale"]
    assert [(each["scale"], each["images"]) for each in per_scale] == [(1, 2), (4, 2)]
    for each, images in zip(per_scale, (slice(0, None, 2), slice(1, None, 2))):
        assert each["psnr"] == pytest.approx(np.mean(expected[images]), abs=1e-5)
    half = evaluate(model, scene, every=2)  # of each scale
    assert half.scale == (1, 4) and half.psnr == pytest.approx(expected[:2], abs=1e-6)
    assert "per_scale" not in evaluate(model, make_scene(model, errors)).as_json()


def test_a_scene_in_other_units_is_scored_the_same(model):
    result = evaluate(model, make_scene(model, (10, 20), scale=0.25))
    assert result.psnr == pytest.approx([-20 * math.log10(error / 255) for error in (10, 20)], abs=1e-6)


def test_equal_pictures_are_valid_json(model):
    result = evaluate(model, make_scene(model, (0, 0)))
    assert result.mean_psnr == math.inf
    content = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert content["psnr"] is None and content["ssim"] == 1.0
    assert content["images"] == 2 and content["seconds"] > 0
    assert [image["name"] for image in content["per_image"]] == ["0000", "0001"]


def test_truth_and_prediction_are_composited_over_the_same_background():
    nothing = make_ball(peak=0.0)
    rgba = np.random.default_rng(1).integers(0, 256, (12, 16, 4), dtype=np.uint8)
    rgba[..., 3] = 0  # whatever colour is behind it
    for background, grey in (("white", 255), ("black", 0)):
        scene = make_scene(nothing, (0,), background=background)
        split = Split(name="test", cameras=scene.splits["test"].cameras, images=Images.from_list([rgba]))
        scene = make_scene(nothing, (0,), background=background, splits={"test": split})
        assert (truth_picture(split, 0, grey / 255) == grey).all()
        assert evaluate(nothing, scene).mean_psnr == math.inf


def test_half_transparent_truth_shows_half_the_background():
    rgba = np.full((1, 1, 4), 100, np.uint8)
    rgba[..., 3] = 51  # a fifth
    split = Split(name="test", cameras=cameras(1, (1, 1)), images=Images.from_list([rgba]))
    assert truth_picture(split, 0, 1.0).tolist() == [[[20 + 204] * 3]]


def test_every_takes_every_kth_view_and_on_view_counts_them(model):
    told = []
    scene = make_scene(model, (10, 20, 30, 40, 50))
    result = evaluate(model, scene, every=2, on_view=lambda done, total: told.append((done, total)))
    assert result.names == ("0000", "0002", "0004") and told == [(1, 3), (2, 3), (3, 3)]
    assert result.psnr == pytest.approx([-20 * math.log10(error / 255) for error in (10, 30, 50)], abs=1e-6)
    assert result.protocol["every"] == 2 and result.protocol["images"] == 3


def test_on_part_counts_within_the_first_view_and_within_those_that_take_long(model, monkeypatch):
    scene, told = make_scene(model, (10, 20, 30)), []
    evaluate(model, scene, on_part=lambda done, total: told.append((done, total)))
    assert told and all(total == 3 and 0 < done <= 1 for done, total in told) and told[-1] == (1, 3)
    monkeypatch.setattr("taichi_nerf.training.evaluate.LONG", 0.0)
    told.clear()
    evaluate(model, scene, on_part=lambda done, total: told.append((done, total)))
    done = [done for done, _ in told]
    assert done == sorted(done) and {1, 2, 3} <= set(done)


def test_the_protocol_says_what_the_scores_depend_on(model):
    result = evaluate(model, make_scene(model, (10,)), protocol={"training_seconds": 60.0})
    protocol = result.as_json()["protocol"]
    for key, value in {
        "split": "test",
        "every": 1,
        "background": "black",
        "resolution": "16 x 12",
        "backend": runtime.current().backend,
        "training_seconds": 60.0,
    }.items():
        assert protocol[key] == value
    assert "float32" in protocol["precision"]
    assert protocol["renderer"].startswith("torch, stage by stage (") and "s a frame" in protocol["renderer"]
    assert protocol["seconds"] > 0 and protocol["device"] and protocol["threads"] >= 1
    for word in ("black", "16 x 12", "split test", protocol["device"], "28.13 dB", " s on "):
        assert word in str(result)


def test_pictures_are_written_beside_their_truth(model, tmp_path):
    scene = make_scene(model, (10, 20, 30))
    result = evaluate(model, scene, every=2, folder=tmp_path / "new" / "test")
    files = sorted(path.name for path in (tmp_path / "new" / "test").iterdir())
    assert files == [
        f"{view}{what}.png" for view in ("000_0000", "002_0002") for what in ("", "_depth", "_render")
    ]
    comparison = np.asarray(Image.open(tmp_path / "new" / "test" / "002_0002.png"))
    prediction = np.asarray(Image.open(tmp_path / "new" / "test" / "002_0002_render.png"))
    assert prediction.shape == (12, 16, 3) and comparison.shape[1] > 4 * 16
    truth = truth_picture(scene.splits["test"], 2, 0.0)
    assert psnr(prediction / 255, truth / 255) == pytest.approx(result.psnr[1], abs=1e-9)
    for picture in (prediction, truth):
        assert any(
            np.array_equal(comparison[-12:, x : x + 16], picture) for x in range(comparison.shape[1] - 15)
        )


def test_pictures_too_small_for_ssim_are_scored_by_psnr(model):
    content = evaluate(model, make_scene(model, (10,), size=(16, 8))).as_json()
    assert content["ssim"] is None and content["psnr"] == pytest.approx(28.1308, abs=1e-3)


def test_lpips_is_scored_where_it_is_at_hand(model, monkeypatch):
    scene = make_scene(model, (10, 20))
    monkeypatch.setattr(module, "lpips_or_none", lambda: None)
    monkeypatch.setattr(module, "why_no_lpips", lambda: "the package lpips is not installed")
    without = evaluate(model, scene)
    assert without.lpips is None and without.mean_lpips is None and "lpips" not in without.as_json()
    assert without.protocol["lpips"] == "left out: the package lpips is not installed"
    monkeypatch.setattr(module, "lpips_or_none", lambda: lambda x, y: float(np.abs(x - y).mean()))
    monkeypatch.setattr(module, "why_no_lpips", lambda: None)
    result = evaluate(model, scene)
    assert result.lpips == pytest.approx((10 / 255, 20 / 255))
    assert result.as_json()["lpips"] == pytest.approx(15 / 255, abs=1e-6)
    assert result.protocol["lpips"] == "VGG"


def test_what_cannot_be_scored_is_a_user_error(model, tmp_path):
    scene = make_scene(model, (10,))
    with pytest.raises(UserError, match="no split 'val'; it has test"):
        evaluate(model, scene, split="val")
    empty = make_scene(model, (10,), splits={"test": scene.splits["test"].subset([])})
    with pytest.raises(UserError, match="no images"):
        evaluate(model, empty)
    with pytest.raises(UserError, match="every"):
        evaluate(model, scene, every=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        evaluate(model, scene, folder=tmp_path / "file")
