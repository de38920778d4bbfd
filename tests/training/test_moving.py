"""Training on scenes that move, from the first step to the scores of what moves; what the command line says of time."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from taichi_nerf import cli
from taichi_nerf.config import (
    BatchConfig,
    DNeRFConfig,
    FieldConfig,
    HashGridConfig,
    HyperNeRFConfig,
    InstantNGPConfig,
    NerfiesConfig,
    PositionalFieldConfig,
    RigidWarpConfig,
    SamplingConfig,
    SliceConfig,
    SparsityConfig,
    TNeRFConfig,
    WarpConfig,
)
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.builtin.cameras import looking
from taichi_nerf.data.export import write_blender
from taichi_nerf.data.inspect import describe, suggestions
from taichi_nerf.errors import UserError
from taichi_nerf.fields.deformed import Correspondence
from taichi_nerf.metrics import psnr, ssim
from taichi_nerf.models.views import render_view
from taichi_nerf.pictures import to_uint8
from taichi_nerf.training import checkpoint
from taichi_nerf.training.evaluate import evaluate, truth_picture
from taichi_nerf.training.motion import motion_of
from taichi_nerf.training.onlookers import depth_of, onlookers_of
from taichi_nerf.training.run import default_training, make_model
from taichi_nerf.training.sparsity import Sparsity
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.types import Seeds, Shot, Standing

from .test_checkpoint import assert_same

HASH = FieldConfig(hash_grid=HashGridConfig(levels=4, features=2, log2_entries=10, max_resolution=64), density_width=16,
                   colour_width=16)
SHARED = {"field": HASH, "sampling": SamplingConfig(grid_resolution=16, steps=32, first_update=2, update_every=2,
                                                    cells_per_update=512)}
SMALL = {"t-nerf": TNeRFConfig(**SHARED), "d-nerf": DNeRFConfig(**SHARED, warp=WarpConfig(width=16, layers=2)),
         "nerfies": NerfiesConfig(**SHARED, warp=RigidWarpConfig(width=16, layers=2, elastic=3e-3)),
         "hypernerf": HyperNeRFConfig(**SHARED, warp=RigidWarpConfig(width=16, layers=2),
                                      slice=SliceConfig(width=16, layers=2)),
         "nerfies, deep": NerfiesConfig(sampling=SHARED["sampling"], warp=RigidWarpConfig(width=16, layers=2, skip=0),
                                        field=PositionalFieldConfig(width=32, depth=3, skip=1, bottleneck=16)),
         "instant-ngp": InstantNGPConfig(**SHARED)}
BATCH = BatchConfig(samples=4096, marched=2**14, max_rays=512)


@pytest.fixture(scope="module")
def scene():
    return builtin_scene("moving", resolution=16, views=(8, 0, 3), samples_per_pixel=1)


@pytest.fixture(params=["t-nerf", *(pytest.param(name, marks=pytest.mark.slow) for name in ("d-nerf", "nerfies",
                                                                                       "hypernerf", "nerfies, deep"))])
def make(request, scene):
    """`make(steps=20)`: a new trainer of an untrained small model that knows the time."""

    def make(name=request.param, **settings):
        config = SMALL[name]
        training = default_training(config, batch=BATCH, **settings)
        optimiser = dataclasses.replace(training.optimiser, learning_rate=0.1)
        return trainer_for(make_model(scene, config), scene, dataclasses.replace(training, optimiser=optimiser))

    return make


def test_training_lowers_the_loss_and_goes_on_exactly(make, tmp_path):
    straight, first, second = make(steps=120), make(steps=120), make(steps=120)
    for _ in range(40):
        straight.step()
        first.step()
    checkpoint.save(tmp_path, first)
    checkpoint.load_training(tmp_path, second)
    before = straight.totals()
    for _ in range(40):
        straight.step()
        second.step()
    assert_same(straight, second)
    middle = straight.totals()
    for _ in range(40):
        straight.step()
    assert (straight.totals() - middle).squared_error < 0.8 * before.squared_error


@pytest.mark.parametrize("rays_per_pixel", [1, 4])
def test_along_a_course_pixels_are_of_the_photos_that_have_come_in(scene, rays_per_pixel):
    """As many rays as of all photos, whole pixels, and of each of the photos."""
    config = dataclasses.replace(SMALL["d-nerf"], rays_per_pixel=rays_per_pixel)
    batch = dataclasses.replace(BATCH, one_ray=0.0)
    trainer = trainer_for(make_model(scene, config), scene, default_training(config, batch=batch, steps=9))
    for progress, photos in ((0.0, 8), (0.2, 1), (0.5, 4), (0.84, 8), (0.9, 8)):
        standing = Standing(step=3, progress=progress, seeds=Seeds(5, 6, 7))
        seen, drawn = trainer.model.photos_seen(standing), trainer.batches.drawn(standing)
        assert len(drawn.image_index) == trainer.batches.rays_per_step()
        assert len(drawn.image_index.unique()) == photos
        if seen is not None:
            assert seen.sum() == photos and seen[drawn.image_index.long()].all()
        for of_rays in (drawn.image_index, drawn.pixel_index):
            of_pixels = of_rays.view(-1, rays_per_pixel)
            assert (of_pixels == of_pixels[:, :1]).all()


def test_each_time_has_its_scores_and_what_moves_has_its_own(scene):
    evaluation = evaluate(make_model(scene, SMALL["t-nerf"]), scene)
    assert evaluation.time == tuple(scene.splits["test"].time.tolist())
    scores = evaluation.as_json()
    assert [image["time"] for image in scores["per_image"]] == pytest.approx([3 / 14, 1 / 2, 11 / 14], abs=1e-6)
    each = [image["psnr_moving"] for image in scores["per_image"]]
    assert scores["psnr_moving"] == pytest.approx(np.mean(each)) and "PSNR of what moves" in str(evaluation)
    split = scene.splits["test"]
    split = dataclasses.replace(split, moving=(np.zeros((16, 16), bool), *split.moving[1:]))
    there = dataclasses.replace(scene, splits={"test": split})
    scores = evaluate(make_model(scene, SMALL["t-nerf"]), there).as_json()
    assert scores["per_image"][0]["psnr_moving"] is None
    assert scores["psnr_moving"] == pytest.approx(np.mean(each[1:]))


def test_what_enough_training_cameras_see_has_its_own_scores(scene):
    """Exactly where the scene knows it, else as a model has it; over these pixels alone."""
    large = builtin_scene("moving", resolution=24, views=(8, 0, 2), samples_per_pixel=1)
    model, split = make_model(large, SMALL["t-nerf"]), large.splits["test"]
    evaluation = evaluate(model, large)
    shown = [render_view(model, large.model_cameras("test"), n, background=1.0, shot=Shot.single(time=split.time[n]))
             for n in range(2)]
    for n, view in enumerate(shown):
        pictures = to_uint8(view.colour) / 255, truth_picture(split, n, 1.0) / 255, split.co_seen[n]
        assert evaluation.psnr_co_seen[n] == psnr(*pictures) and evaluation.ssim_co_seen[n] == ssim(*pictures)
    assert "seen by more than 5 of 8 training views, known exactly" in evaluation.protocol["co_seen"]
    assert evaluation.as_json()["psnr_co_seen"] == pytest.approx(np.mean(evaluation.psnr_co_seen), abs=1e-6)
    assert "of what is co-seen" in str(evaluation)
    unknown = dataclasses.replace(large, splits={"test": dataclasses.replace(split, co_seen=None)})
    assert evaluate(model, unknown).psnr_co_seen is None
    looked = []
    onlookers = onlookers_of(model, large, large.splits["train"], lambda *done: looked.append(done))
    evaluation = evaluate(model, unknown, onlookers=onlookers)
    assert looked[-1] == (8, 8) and "by the depth of the model, as if nothing moved" in evaluation.protocol["co_seen"]
    there = [onlookers.mask(large.model_cameras("test"), n, depth_of(view), split.time[n]) for n, view in
             enumerate(shown)]
    assert [np.isnan(value) for value in evaluation.psnr_co_seen] == [not mask.any() for mask in there]


def test_the_other_camera_of_a_rig_is_scored_at_the_times_of_the_training(scene):
    rig = builtin_scene("moving-rig", resolution=16, views=(8, 0, 2), samples_per_pixel=1)
    scores = evaluate(make_model(rig, SMALL["t-nerf"]), rig).as_json()
    known = rig.splits["train"].time
    assert all(np.isclose(known, image["time"], atol=1e-5).any() for image in scores["per_image"])
    assert {"psnr_moving", "psnr_co_seen", "ssim_co_seen"} <= scores.keys() and scores["psnr_co_seen"] > 0


def test_a_warp_is_measured_against_the_exact_motion(scene, monkeypatch):
    large = builtin_scene("moving", resolution=32, views=(8, 0, 3), samples_per_pixel=1)
    model, carried = make_model(large, SMALL["d-nerf"]), large.splits["test"].co_seen.onlookers.carried
    split, points = large.splits["test"], []
    as_it_is = motion_of(model, large, split, carried)  # hardly anything moves yet
    assert as_it_is.error == pytest.approx(as_it_is.still, rel=0.05) and 0.05 < as_it_is.still < 1
    assert as_it_is.found < 0.9 and as_it_is.residual < 1e-4

    def exactly(positions, time, other):
        points.append(len(positions))
        world = next(carried(large.to_world(positions.numpy()), time, [other]))
        return Correspondence(torch.from_numpy(large.to_model(world)), torch.zeros(len(positions)))

    monkeypatch.setattr(model, "correspondence", exactly)
    best = motion_of(model, large, split, carried)
    assert best.error < 0.01 * best.still and best.found == 1 and max(points) <= 256
    scores = evaluate(model, large).as_json()
    assert scores["correspondence"]["error"] == pytest.approx(best.error, abs=1e-5)
    assert "correspondence" not in evaluate(make_model(large, SMALL["t-nerf"]), large).as_json()


def test_images_without_times_are_not_scored(scene):
    test = dataclasses.replace(scene.splits["test"], time=None)
    model = make_model(scene, SMALL["t-nerf"])
    with pytest.raises(UserError, match="the model knows the time, and the images of test in moving have none"):
        evaluate(model, dataclasses.replace(scene, splits={**scene.splits, "test": test}))


def test_info_says_what_times_ask_for(scene):
    def said(time, same_place=False):
        split, cameras = scene.splits["train"], scene.splits["train"].cameras
        if same_place:
            cameras = cameras.subset([0] * len(split))
        split = dataclasses.replace(split, time=time, cameras=cameras)
        told = dataclasses.replace(scene, splits={"train": split})
        return [finding.text for finding in describe(told) + suggestions(told)]

    times = scene.splits["train"].time
    wanted = "photos have times: --model t-nerf, d-nerf, nerfies or hypernerf"
    assert wanted in said(times) and wanted in said(times[::-1])  # in whatever order
    assert wanted not in said(None) and wanted not in said(np.full(8, 0.5))
    assert any("all images have the time 0.5" in text for text in said(np.full(8, 0.5)))
    assert any("the first time is 0.25, not 0" in text for text in said(0.25 + 0.75 * times))
    assert any("one camera that does not move sees each time once" in text for text in said(times, same_place=True))
    assert not any("somebody carries" in text for text in said(times, same_place=True))
    assert any("the last time is 0.6, not 1" in text for text in said(0.6 * times))
    assert not any("last time" in text for text in said(times * 7 / 8))  # frame i of N at i / N
    assert not any("first time" in text or "does not move" in text for text in said(times))
    test = scene.splits["test"]
    both = dataclasses.replace(scene, splits={"train": dataclasses.replace(scene.splits["train"], time=times / 2),
                                              "test": test})
    after = "test: times from 0.214 to 0.786, and training images from 0 to 0.5: what is before or after those is"
    assert any(after in finding.text for finding in describe(both))
    assert not any("guessed" in finding.text for finding in describe(scene))
    held_out = dataclasses.replace(scene, splits={"train": scene.splits["train"].subset(range(1, 8)),
                                                  "test": scene.splits["train"].subset([0])})
    assert not any("guessed" in finding.text or "first time" in finding.text for finding in describe(held_out))


def test_info_says_how_far_a_camera_jumps(scene):
    """DyCheck's angular factor, of a camera in D-NeRF's manner and of one that goes around by half a degree a time."""
    split = scene.splits["train"]

    def said(cameras, time):
        told = dataclasses.replace(scene, splits={"train": dataclasses.replace(split, cameras=cameras, time=time)})
        return " ".join(finding.text for finding in describe(told))

    jumping = said(split.cameras, split.time)
    degrees = float(re.search(r"turns by ([\d.]+) degrees about what it looks at", jumping)[1])
    assert 30 < degrees < 150 and "scores do not transfer to a hand-held video" in jumping
    angle = np.radians(0.5) * np.arange(8)
    around = np.stack([4 * np.cos(angle), 4 * np.sin(angle), 0 * angle], axis=1)
    carried = looking(around, np.zeros(3), 16, 0.7)
    assert "turns by 0.5 degrees about what it looks at, as one that somebody carries" in said(carried, split.time)
    shuffled = np.random.default_rng(0).permutation(8)  # in whatever order the images are
    assert "turns by 0.5 degrees" in said(carried.subset(shuffled), split.time[shuffled])
    twice = said(split.cameras, split.time[[0, 0, 2, 2, 4, 4, 6, 6]])
    assert "4 of 8 images are of a time that another image has" in twice
    assert "turns by" not in said(split.cameras, np.zeros(8))


@pytest.fixture
def run(scene, tmp_path):
    """`run(name)`: the folder of a run of a few steps on the scene in a folder."""
    folder = write_blender(scene, tmp_path / "scene")

    def train(name) -> str:
        config, output = SMALL[name], str(tmp_path / name)
        assert cli.main(["train", str(folder), "--model", name, "--steps", "2", "--test-every", "1", "--orbit-frames",
                         "0", "--output", output, "--model.field.hash-grid.log2-entries",
                         str(config.field.hash_grid.log2_entries), "--threads", "1"]) == 0
        return output

    return train


@pytest.mark.slow
def test_a_time_or_times_along_a_path_can_be_rendered(run, tmp_path, capsys, monkeypatch):
    moving = run("d-nerf")
    assert "smeared" not in capsys.readouterr().err
    assert cli.main(["eval", moving, "--json"]) == 0
    assert "training views, known by the depth of the model" in json.loads(capsys.readouterr().out)["protocol"][
        "co_seen"]
    rendered = []

    def pictures(model, cameras, background, outputs, *, shots, **settings):
        rendered.append((cameras.panes[0], shots.time))

    monkeypatch.setattr("taichi_nerf.export.pictures.render_pictures", pictures)

    def render(*options):
        assert cli.main(["render", moving, "-o", str(tmp_path / f"out{len(rendered)}"), *options]) == 0
        return rendered[-1]

    cameras, times = render("--frames", "3")
    assert times.tolist() == [0.0, 0.5, 1.0] and len(np.unique(cameras.camera_to_world, axis=0)) == 3
    assert render("--frames", "3", "--time", "0.25")[1].tolist() == [0.25] * 3
    assert render("--frames", "3", "--time", "1", "0")[1].tolist() == [1.0, 0.5, 0.0]
    cameras, times = render("--frames", "3", "--freeze")
    assert times.tolist() == [0.0, 0.5, 1.0] and len(np.unique(cameras.camera_to_world, axis=0)) == 1
    assert render("--path", "test")[1].tolist() == pytest.approx([3 / 14, 1 / 2, 11 / 14])
    path = tmp_path / "path.json"
    frames = [{"camera_to_world": np.eye(3, 4).tolist(), "fov": 40, "time": time} for time in (0.2, 0.6)]
    path.write_text(json.dumps({"frames": frames}))
    assert render("--path", str(path), "--frames", "3")[1].tolist() == pytest.approx([0.2, 0.4, 0.6])
    for time, said in ((None, "frames 1 has no 'time', which others have"),
                       (-1, "a 'time' is -1; times lie between 0 and 1, shift")):
        frames[1]["time"] = time
        path.write_text(json.dumps({"frames": frames}))
        assert cli.main(["render", moving, "--path", str(path)]) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["render", moving, "--time", "2"]) == 2
    assert "time must be one number from 0 to 1" in capsys.readouterr().err
    assert cli.main(["render", moving, "--time", "0.5", "--freeze"]) == 2
    assert "give --time T0 T1 with it, or leave one of them out" in capsys.readouterr().err
    assert cli.main(["octree", moving]) == 2
    assert "whose scene moves, and an octree stands still" in capsys.readouterr().err
    for option in ((), ("--field",)):
        assert cli.main(["page", moving, *option]) == 2
        said = capsys.readouterr().err
        assert "a page shows what stands still, and" in said and "octree" not in said
        assert (f"taichi-nerf render {moving} --time 0 1, or look at any of its times with taichi-nerf view "
                f"{moving}") in said
    metrics = tmp_path / "d-nerf" / "metrics.json"
    metrics.write_text(json.dumps({"psnr": 20.0, "ssim": 0.5, "psnr_moving": 10.0, "images": 3}))
    assert cli.main(["info", moving]) == 0
    said = capsys.readouterr().out
    assert "scores: PSNR 20.0000, SSIM 0.5000, PSNR of what moves 10.0000 over 3 images" in said
    assert "times from" in said and "photos have times" not in said


@pytest.mark.slow
def test_hypernerf_is_trained_scored_and_rendered_at_a_time(run, tmp_path, capsys):
    moving = run("hypernerf")
    capsys.readouterr()
    assert cli.main(["eval", moving, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["per_image"]) == 3
    out = tmp_path / "out"
    assert cli.main(["render", moving, "-o", str(out), "--frames", "2", "--time", "0.25", "--size", "8", "8",
                     "--what", "colour", "depth", "normals"]) == 0
    assert len(list(out.glob("*.png"))) == 6
    assert cli.main(["info", moving]) == 0
    assert "hypernerf" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_without_time_says_so_first(run, capsys):
    still = run("instant-ngp")
    first = next(line for line in capsys.readouterr().err.splitlines() if "photos" in line)
    assert first == ("photos have times: what moves is smeared by instant-ngp, which knows none; try --model t-nerf, "
                     "d-nerf, nerfies or hypernerf")
    for option in (("--time", "0.5"), ("--freeze",)):
        assert cli.main(["render", still, *option]) == 2
        assert "is a run of instant-ngp, which knows no time" in capsys.readouterr().err


def test_the_closing_video_goes_through_time(scene, tmp_path, monkeypatch):
    from taichi_nerf.export import orbit

    given = []
    monkeypatch.setattr(orbit, "render_pictures", lambda *_, shots, **__: given.append(shots.time))
    for name in ("t-nerf", "instant-ngp"):
        orbit.orbit_video(make_model(scene, SMALL[name]), scene, tmp_path / "orbit.mp4", orbit.Orbit((8, 8), 3),
                          background=1.0)
    assert given[0].tolist() == [0.0, 0.5, 1.0] and given[1] is None


def test_empty_space_is_asked_for_at_all_times(scene, monkeypatch):
    model, given = make_model(scene, SMALL["t-nerf"]), []
    monkeypatch.setattr(model, "density", lambda positions, shot: given.append(shot.time) or positions[:, 0])
    standing = Standing(step=0, progress=0.0, seeds=Seeds(0, 1, 2))
    Sparsity(model, SparsityConfig(weight=1.0, points=100)).losses(None, None, standing)
    assert given[0].shape == (100,) and given[0].min() < 0.1 and given[0].max() > 0.9


def test_a_loaded_model_shows_the_time_that_is_asked_for(make, scene, tmp_path):
    trainer = make(steps=3)
    trainer.step()
    checkpoint.save(tmp_path, trainer)
    model, cameras = checkpoint.load(tmp_path), scene.model_cameras("test")
    shot = Shot(time=torch.tensor([0.7]))
    with trainer.averaged() as averaged:
        expected = render_view(averaged, cameras, 0, background=1.0, normals=True, shot=shot)
    shown = render_view(model, cameras, 0, background=1.0, normals=True, shot=shot)
    for name in ("colour", "opacity", "depth", "normals"):
        assert np.array_equal(getattr(shown, name), getattr(expected, name)), name
