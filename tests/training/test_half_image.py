"""The half-image protocol, on a ball whose pictures, exposures and cameras are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from taichi_nerf.data.alignment import pose_errors
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.disturb import jitter_exposure, with_split
from taichi_nerf.data.multiscale import with_scales
from taichi_nerf.data.scene import Images
from taichi_nerf.models.views import render_view
from taichi_nerf.pictures import to_uint8
from taichi_nerf.training.evaluate import evaluate, right_half
from taichi_nerf.training.half_image import fit_left_halves
from taichi_nerf.types import Shot

from .test_evaluate import make_ball, make_scene
from .test_lights import make_lit

SIZE = (24, 20)


@pytest.fixture
def model():
    return make_ball(softness=0.05, peak=50.0)


def with_right_halves_painted(split):
    """Its images with noise in their right halves."""
    random = np.random.default_rng(0)
    images = []
    for n in range(len(split)):
        image = split.images.image(n).copy()
        image[:, image.shape[1] // 2:, :3] = random.integers(0, 256, right_half(image[..., :3]).shape)
        images.append(image)
    return replace(split, images=Images.from_list(images, split.images.names))


def test_exposures_of_left_halves_are_found_and_right_halves_scored():
    model = make_ball()
    scene = make_scene(model, [0, 0, 0], SIZE)
    test, stops = jitter_exposure(scene.splits["test"], 0.8, seed=2)
    fit = fit_left_halves(model, scene, test, exposure=True, steps=60, rays=128, exposure_rate=0.1)
    np.testing.assert_allclose(fit.stops.numpy(), stops[:, None].repeat(3, 1), atol=0.05)
    blind = fit_left_halves(model, scene, test)
    scores = [evaluate(model, with_split(scene, test), halves=halves) for halves in (blind, fit)]
    assert scores[1].mean_psnr > scores[0].mean_psnr + 10, [score.mean_psnr for score in scores]
    assert [score.protocol["fitted_to_test_images"] for score in scores] == [
        "nothing", "exposure, to the left halves"]


@pytest.mark.parametrize("per_pixel", [1, 4])
def test_poses_of_left_halves_are_found(model, per_pixel):
    model.rays_per_pixel = per_pixel
    scene = make_scene(model, [0, 0, 0], SIZE)
    truth = scene.splits["test"]
    pose = truth.cameras.camera_to_world.copy()
    pose[:, 1, 3] += [0.04, -0.04, 0.03]
    given = replace(truth, cameras=replace(truth.cameras, camera_to_world=pose))
    fit = fit_left_halves(model, scene, given, poses=True, steps=80, rays=128, pose_rate=5e-3)
    scores = [evaluate(model, with_split(scene, given), halves=halves).mean_psnr
              for halves in (fit_left_halves(model, scene, given), fit)]
    assert scores[1] > scores[0] + 10, scores
    assert pose_errors(fit.cameras, truth.cameras)[0].max() < 3


def test_a_photo_in_several_sizes_is_moved_as_one(model):
    scene = with_scales(make_scene(model, [0, 0, 0], SIZE), 2)
    test = scene.splits["test"]
    fit = fit_left_halves(model, scene, test, poses=True, steps=5, rays=64, pose_rate=1e-2)
    pose, given = fit.cameras.camera_to_world, scene.model_cameras("test").camera_to_world
    np.testing.assert_array_equal(pose[::2], pose[1::2])
    assert np.abs(pose - given).max() > 1e-3 and len(evaluate(model, scene, halves=fit).psnr) == len(test)


@pytest.mark.parametrize("per_pixel", [1, 4])
def test_right_halves_have_no_say(model, per_pixel):
    model.rays_per_pixel = per_pixel
    scene = make_scene(model, [0, 0, 0], SIZE)
    test, _ = jitter_exposure(scene.splits["test"], 0.8, seed=2)
    settings = dict(poses=True, exposure=True, steps=5, rays=64)
    found = [fit_left_halves(model, scene, split, **settings) for split in (test, with_right_halves_painted(test))]
    assert torch.equal(found[0].stops, found[1].stops)
    np.testing.assert_array_equal(found[0].cameras.camera_to_world, found[1].cameras.camera_to_world)


@pytest.fixture
def lit():
    """A model with codes of appearance, and a scene whose test images show it in lights that no training image has."""
    scene = builtin_scene(resolution=12, views=(4, 0, 2), samples_per_pixel=1)
    model, test, images = make_lit(scene), scene.splits["test"], []
    for n, change in enumerate(([0.8, -0.6, 0.4], [-0.5, 0.7, 0.6])):
        light = Shot.single(codes={"appearance": model.codes["appearance"].mean.detach() + torch.tensor(change)})
        view = render_view(model, scene.model_cameras(test.cameras), n, background=1.0, shot=light)
        images.append(np.concatenate([to_uint8(view.colour), np.full((12, 12, 1), 255, np.uint8)], axis=2))
    return model, with_split(scene, replace(test, images=Images.from_list(images, test.images.names)))


def test_codes_of_left_halves_are_found_and_right_halves_scored(lit):
    model, scene = lit
    test = scene.splits["test"]
    fit = fit_left_halves(model, scene, test, appearance=True, steps=60, rays=72, appearance_rate=0.1)
    scores = [evaluate(model, scene, halves=halves) for halves in (fit_left_halves(model, scene, test), fit)]
    assert (np.subtract(scores[1].psnr, scores[0].psnr) > 3).all(), [score.psnr for score in scores]
    assert scores[1].protocol["fitted_to_test_images"] == "appearance, to the left halves"


def test_right_halves_have_no_say_in_codes(lit):
    model, scene = lit
    found = [fit_left_halves(model, scene, split, appearance=True, steps=5, rays=64).shots.codes["appearance"]
             for split in (scene.splits["test"], with_right_halves_painted(scene.splits["test"]))]
    assert torch.equal(*found) and (found[0] - model.codes["appearance"].mean).abs().max() > 0.01


def test_the_model_is_left_as_it_is(model):
    scene = make_scene(model, [0, 0], SIZE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit_left_halves(model, scene, scene.splits["test"], poses=True, exposure=True, steps=3, rays=64)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_whole_images_say_so(model):
    protocol = evaluate(model, make_scene(model, [0], SIZE)).protocol
    assert (protocol["scored"], protocol["fitted_to_test_images"]) == ("whole images", "nothing")
    assert "cameras" not in protocol


@pytest.mark.parametrize("carried, words", [
    (0.484, "carried along with the training cameras around them, which foretell 48 % of one another's corrections"),
    (0.0, "as the scene has them, since corrections of training cameras foretell nothing of one another"),
])
def test_scores_say_where_the_cameras_of_a_refined_model_stand(model, carried, words):
    scene = make_scene(model, [0], SIZE)
    scene = with_split(scene, replace(scene.splits["test"], carried=carried))
    evaluation = evaluate(model, scene)
    assert evaluation.protocol["cameras"] == words and f"nothing; cameras {words}" in str(evaluation)


def test_masked_pixels_of_left_halves_tell_nothing():
    """Whatever colour they have, the exposures that are found are the same to the last digit."""
    model = make_ball()
    scene = make_scene(model, [0, 0], SIZE)
    test, _ = jitter_exposure(scene.splits["test"], 0.8, seed=2)
    found = []
    for grey in (0, 255):
        images, masks = [], []
        for n in range(len(test)):
            image, left = test.images.image(n).copy(), np.ones(test.images.image(n).shape[:2], bool)
            image[8:12, 4:16, :3], left[8:12, 4:16] = grey, False
            images.append(image)
            masks.append(left)
        split = replace(test, images=Images.from_list(images, test.images.names, masks))
        found.append(fit_left_halves(model, scene, split, exposure=True, steps=5, rays=64).stops)
        assert evaluate(model, with_split(scene, split)).protocol["masked"].startswith("10.00 %")
    assert torch.equal(*found) and found[0].abs().max() > 0


def test_the_fit_and_the_score_see_the_same_rays(monkeypatch):
    """Cones and all: of a pixel of a left half the fit sees the ray that a picture has there."""
    model = make_ball()
    model.sees_cones, seen, render = True, [], model.render
    monkeypatch.setattr(model, "render", lambda rays, standing=None: seen.append(rays) or render(rays))
    scene = make_scene(model, [0, 0], SIZE)
    split = scene.splits["test"]
    scene = with_split(scene, replace(split, time=np.array([0.25, 0.75], np.float32)[: len(split)]))
    seen.clear()
    fit = fit_left_halves(model, scene, scene.splits["test"], exposure=True, steps=2, rays=64)
    fitted = list(seen)
    seen.clear()
    evaluate(model, scene, halves=fit)

    def lines(rays):
        return zip(*(values.tolist() for values in (rays.origins, rays.directions, rays.radius, rays.shot.time)))

    shown = {str(line) for rays in seen for line in lines(rays)}
    assert len(fitted) == 2 and all(rays.radius.min() > 0 for rays in fitted)
    for rays in fitted:
        assert len(rays) > 40 and {str(line) for line in lines(rays)} <= shown
