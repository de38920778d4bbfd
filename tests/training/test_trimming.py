"""The robust loss: which pixels count, by their errors, their neighbours and what guards them."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf.config import TrainingConfig, TrimConfig
from taichi_nerf.data.multiscale import with_scales
from taichi_nerf.data.scene import Cameras
from taichi_nerf.errors import UserError
from taichi_nerf.models.pixels import Pixels
from taichi_nerf.training.guard import CELLS, guarded_cells
from taichi_nerf.training.run import make_model
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.training.trimming import MEMORY, RATE, Trimming
from taichi_nerf.types import Batch, Rays, Seeds, Standing

from .conftest import BATCH, SMALL
from .test_checkpoint import assert_same
from .test_family import SMALL as FAMILY
from .test_family import default_training
from .test_moving import SMALL as MOVING
from .test_moving import scene as moving_scene  # noqa: F401

N = 8
LATE = Standing(step=10**6, progress=1.0, seeds=Seeds(1, 2, 3))  # nothing is let in by chance any more
ROBUST = {"robust": True, "trim": TrimConfig(patch=4, margin=1.0)}


class Photos:
    """One image of a patch, whose place in the image is that in the patch."""

    size = torch.tensor([[N, N]])

    @staticmethod
    def pixel_centres(image_index, pixel_index):
        return torch.stack([pixel_index % N, pixel_index // N], dim=1) + 0.5


NOTHING = torch.zeros(())


def kept(error, *, threshold=0.5, alpha=1.0, guard=None, standing=LATE, **settings):
    """[N, N] bool, of a patch whose pixels have these squared errors; and what decided it."""
    guard = torch.zeros(1, CELLS, CELLS, dtype=torch.int32) if guard is None else guard
    trimming = Trimming(TrimConfig(**{"margin": 1.0, "around": 0.0, **settings}), Photos, guard, N)
    trimming.threshold.fill_(threshold)
    return weighed(trimming, error, alpha, standing), trimming


def weighed(trimming, error, alpha=1.0, standing=LATE):
    """[N, N] bool, likewise, by what is known already."""
    rgba = torch.cat([torch.zeros(N * N, 3), torch.as_tensor(alpha).expand(N, N).reshape(-1, 1)], dim=1)
    black, index = torch.zeros(N * N, 3), torch.zeros(N * N, dtype=torch.int32)
    batch = Batch(rays=Rays(black, black), rgba=rgba, background=black, image_index=index,
                  pixel_index=torch.arange(N * N, dtype=torch.int32))
    colour = torch.as_tensor(error, dtype=torch.float32).sqrt().reshape(-1, 1).expand(-1, 3)
    pixels = Pixels(colour=colour, opacity=torch.ones(N * N), depth=torch.ones(N * N))
    found = trimming.weigh(pixels, batch, standing)
    assert torch.equal(found.weight, found.kept)
    return found.kept.view(N, N) > 0


def all_err(trimming):
    """Let it know of every part of every photo that it errs."""
    trimming.drawn.fill_(9)
    trimming.erred.fill_(9)


def test_a_pixel_that_errs_among_others_that_do_not_counts():
    error = torch.zeros(N, N)
    error[0, 3] = error[6, 6] = 1.0
    assert kept(error)[0].all()


def test_the_inner_half_of_a_patch_counts_where_most_of_it_agrees_and_its_border_does_not():
    error = torch.zeros(N, N)
    error[:, :3] = 1.0  # the outer two columns and one of the inner ones
    found = kept(error)[0]
    assert not found[:, 0].any() and found[:, 3:].all()
    assert found[2:6, 2].all()  # most of the patch agrees: its inner half counts
    error[:, :5] = 1.0
    found = kept(error)[0]
    assert not found[:, :4].any() and found[:, 5:].all()


def test_a_patch_that_nothing_agrees_with_is_left_out_but_for_what_is_transparent_or_guarded():
    error = torch.ones(N, N)
    error[0, 0] = 0.0  # or all would count, as none would
    expected = error == 0
    assert torch.equal(kept(error)[0], expected)
    alpha = torch.ones(N, N)
    alpha[3, 5] = 0.0
    assert torch.equal(kept(error, alpha=alpha)[0], expected | (alpha == 0))
    guard = torch.zeros(1, CELLS, CELLS, dtype=torch.int32)
    guard[0, 4, 10] = 1  # row 2 and column 5 of a patch that is the image
    expected[2, 5] = True
    assert torch.equal(kept(error, guard=guard)[0], expected)


def test_what_errs_a_little_more_than_usual_counts():
    error = torch.ones(N, N)
    error[0, 0] = 0.0
    assert kept(error, threshold=0.3, margin=4.0)[0].all()
    assert not kept(error, threshold=0.2, margin=4.0)[0].all()


@pytest.mark.parametrize("cell, left_out", [
    ((4, 10), [(2, 5)]), ((5, 11), [(2, 5), (2, 6), (3, 5), (3, 6)]), ((0, 0), [(0, 0)]), ((15, 15), [(7, 7)])])
def test_what_errs_counts_unless_most_of_a_cell_around_it_does(cell, left_out):
    """The image has two cells for each pixel, along either axis."""
    trimming = kept(torch.ones(N, N), around=0.5)[1]
    for drawn, erred, errs in ((3, 3, True), (3, 2, False), (1, 1, False), (31, 17, True), (31, 16, False)):
        for counts, number in ((trimming.drawn, drawn), (trimming.erred, erred)):
            counts.zero_()
            counts[0, cell[0], cell[1]] = number
        expected = torch.ones(N, N, dtype=torch.bool)
        for row, column in left_out:
            expected[row, column] = not errs
        assert torch.equal(weighed(trimming, torch.ones(N, N)), expected), (drawn, erred)


def test_it_remembers_where_in_a_photo_pixels_err_and_forgets_half_of_what_is_old():
    error, alpha = torch.zeros(N, N), torch.ones(N, N)
    error[2, 5] = error[7, 7] = 1.0
    alpha[7, 7] = 0.0  # before which nothing stands
    trimming = kept(error, alpha=alpha, around=0.5, threshold=0.0)[1]
    assert not trimming.drawn.any()  # as long as nobody knows what is usual
    here = torch.zeros(1, CELLS, CELLS)
    here[:, ::2, ::2] = 1.0
    for step in range(1, int(MEMORY) + 8):
        trimming.threshold.fill_(0.5)
        weighed(trimming, error, alpha)
        count = step if step < MEMORY else step - MEMORY / 2
        assert torch.equal(trimming.drawn, count * here)
        assert trimming.erred.sum() == trimming.erred[0, 4, 10] == count
    before = {name: value.clone() for name, value in trimming.state().items()}
    weighed(trimming.onlooker(), torch.ones(N, N))
    assert all(torch.equal(value, before[name]) for name, value in trimming.state().items())
    assert kept(error)[1].state().keys() == {"threshold"}  # where it is not asked for there is nothing to save


def test_what_fills_a_part_of_a_photo_is_left_out_and_what_errs_here_and_there_is_not():
    """Of pixels as large as a cell: those of the left half err, and of the others every fifth, whichever it is."""
    random = torch.Generator().manual_seed(0)
    trimming = kept(torch.zeros(N, N), around=0.67)[1]
    trimming.patch, found = 1, []
    for _ in range(200):
        error = (torch.rand(N, N, generator=random) < 0.2).float()
        error[:, :3] = 1.0
        trimming.threshold.fill_(0.5)
        found.append(weighed(trimming, error))
    late = torch.stack(found[20:]).float().mean(dim=0)
    assert not late[:, :3].any() and late[:, 3:].mean() > 0.99


def test_where_nothing_would_count_all_does():
    assert kept(torch.ones(N, N))[0].all()
    assert kept(torch.ones(N, N), threshold=0.0)[0].all()  # nor is anything left out before a threshold is known


def test_early_in_the_training_everything_counts_and_then_less_and_less():
    error = torch.ones(N, N)
    error[0, 0] = 0.0
    trimming = kept(error)[1]

    def share(step: int, seed: int) -> float:
        """Of the pixels that count, where they would not later on."""
        standing = dataclasses.replace(LATE, step=step, progress=0.0, seeds=Seeds(1, seed, 3))
        return float(kept(error, standing=standing)[0][error > 0].float().mean())

    assert share(0, 2) == 1 and share(10**6, 2) == 0
    for step in (100, 350, 1000):
        shares = [share(step, seed) for seed in range(8)]
        warm = trimming.warm(dataclasses.replace(LATE, step=step, progress=0.0))
        assert abs(np.mean(shares) - warm) < 0.1 and len(set(shares)) > 1
    warm = [trimming.warm(dataclasses.replace(LATE, step=step, progress=progress))
            for step, progress in ((0, 0.0), (10, 0.01), (10, 0.05), (1000, 0.05))]
    assert warm == pytest.approx(np.exp([0, -0.2, -1, -2]))


def test_the_threshold_becomes_the_quantile_of_what_is_seen():
    trimming, generator = kept(torch.ones(N, N), quantile=0.7)[1], torch.Generator().manual_seed(0)
    values = []
    for _ in range(400):
        trimming._follow(torch.rand(256, generator=generator), NOTHING)
        values.append(float(trimming.threshold))
    assert np.mean(values[100:]) == pytest.approx(0.7, abs=0.02)
    for _ in range(60):  # errors that are a hundredth of what they were
        trimming._follow(torch.rand(256, generator=generator) / 100, NOTHING)
    assert float(trimming.threshold) == pytest.approx(0.007, rel=0.3)
    before = trimming.threshold.clone()
    trimming._follow(torch.zeros(0), NOTHING)
    assert torch.equal(trimming.threshold, before)
    trimming._follow(torch.full((256,), 1e-3), torch.tensor(0.3))  # more than `most` of a step was left out
    assert float(trimming.threshold) == pytest.approx(float(before) * np.exp(RATE), rel=1e-5)


def test_the_usual_limit_is_that_of_what_stands_whether_something_moves_or_not():
    """Errors as of lego after 600 steps: where something moves they are a hundred times as large."""
    random = torch.Generator().manual_seed(0)
    still = torch.exp(1.75 * torch.randn(4096, generator=random) - 6.4)
    moving = torch.exp(0.8 * torch.randn(1024, generator=random) - 2.0)
    limits = []
    for error in (still, torch.cat([still, moving])):
        trimming = Trimming(TrimConfig(margin=24.0), Photos, torch.zeros(1, CELLS, CELLS, dtype=torch.int32), 4)
        for _ in range(100):
            trimming._follow(error, NOTHING)
        limits.append(float(trimming.config.margin * trimming.threshold))
        assert (still > limits[-1]).float().mean() < 0.08 and (moving > limits[-1]).float().mean() > 0.8
    assert limits[0] < limits[1] < 2 * limits[0]


def test_what_is_as_good_as_exact_is_not_what_is_usual():
    """Black ground that is black, however much of it, does not make the rest unusual."""
    error = torch.full((N, N), 1e-7)
    error[:2] = 1e-2
    trimming = kept(error, threshold=1e-2, quantile=0.5)[1]
    assert float(trimming.threshold) > 5e-3


@pytest.fixture(scope="module")
def pair(small_scene):
    """The scene with two photos alone."""
    split = small_scene.splits["train"].subset([0, 1])
    return dataclasses.replace(small_scene, splits={**small_scene.splits, "train": split})


def test_a_photo_in_several_sizes_is_no_other_photo(small_scene, pair):
    """Of itself."""
    assert guarded_cells(with_scales(pair, 2), TrimConfig()).all()
    found = guarded_cells(with_scales(small_scene, 2), TrimConfig())
    np.testing.assert_array_equal(found[::2], guarded_cells(small_scene, TrimConfig()))


def test_what_no_two_other_cameras_see_is_guarded(small_scene, pair):
    assert guarded_cells(pair, TrimConfig()).all()
    assert not guarded_cells(pair, TrimConfig(views=1)).all()
    assert guarded_cells(small_scene, TrimConfig()).mean() < 0.1  # all cameras look at the table
    turned = small_scene.splits["train"].cameras
    pose = turned.camera_to_world.copy()
    pose[2, :, [0, 2]] *= -1  # one looks the other way
    scene = with_cameras(small_scene, dataclasses.replace(turned, camera_to_world=pose))
    guarded = guarded_cells(scene, TrimConfig()).mean(axis=(1, 2))
    assert guarded[2] > 0.9 and guarded[[0, 1, 3, 4, 5]].max() < 0.2


def test_sky_is_guarded_where_there_may_be_one(small_scene):
    """Cameras on the ground that look ahead: the upper half of a photo is above the horizon."""
    level = np.zeros((6, 3, 4))
    level[:, :, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # right, up and back are x, z and -y
    level[:, 0, 3] = np.linspace(-0.1, 0.1, 6)
    ahead = with_cameras(small_scene, dataclasses.replace(small_scene.splits["train"].cameras, camera_to_world=level))
    settings = TrimConfig(views=0)
    assert not guarded_cells(ahead, settings).any()
    found = guarded_cells(dataclasses.replace(ahead, bounded=False), settings)
    upper = int(0.4 * CELLS)
    assert found[:, :upper].all() and not found[:, upper + 1 :].any()
    down = level.copy()
    down[:, :, :3] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]  # which look straight down
    looking_down = with_cameras(ahead, dataclasses.replace(ahead.splits["train"].cameras, camera_to_world=down))
    assert not guarded_cells(dataclasses.replace(looking_down, bounded=False), settings).any()


def with_cameras(scene, cameras: Cameras):
    split = dataclasses.replace(scene.splits["train"], cameras=cameras)
    return dataclasses.replace(scene, splits={**scene.splits, "train": split})


@pytest.mark.parametrize("kind", ["autograd", "explicit"])
def test_a_robust_training_goes_on_exactly_where_it_stood(make_trainer, kind):
    settings = {"gradients": kind, "batch": dataclasses.replace(BATCH, samples=2048), **ROBUST}
    straight, first = make_trainer(**settings), make_trainer(**settings)
    for _ in range(7):
        straight.step()
    for _ in range(4):
        first.step()
    state = first.state_dict()
    assert state["tensors"]["trimming.threshold"] > 0
    assert state["tensors"]["trimming.drawn"].sum() > state["tensors"]["trimming.erred"].sum() > 0
    second = make_trainer(**settings)
    second.load_state_dict(state)
    for _ in range(3):
        second.step()
    assert_same(second, straight)


ALL = {"instant-ngp": SMALL, **FAMILY, **MOVING}
FEW = {"nerf", "nerf-w", "mip-nerf", "mip-nerf-360", "block-nerf", "instant-ngp", "t-nerf"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in ALL])
def test_every_model_learns_from_what_counts_alone(name, small_scene, moving_scene):  # noqa: F811
    """The loss of the colour is that of the pixels that count, whatever the others show."""
    config, scene = ALL[name], moving_scene if name in MOVING else small_scene
    trainer = trainer_for(make_model(scene, config), scene, default_training(config, steps=20, **ROBUST))
    trainer.trimming.threshold.fill_(0.01)
    all_err(trainer.trimming)
    batch = trainer.batches.draw(LATE)
    with torch.no_grad():
        pixels = trainer.model.render(batch.rays, LATE)
        batch = trainer.trimming.weigh(pixels, batch, LATE)
        assert 0 < batch.kept.mean() < 1
        spoilt = dataclasses.replace(batch, rgba=torch.where(batch.kept[:, None] > 0, batch.rgba, 1 - batch.rgba))
        loss, same = (trainer.model.losses(pixels, each, LATE) for each in (batch, spoilt))
    assert loss.keys() == same.keys() and all(torch.equal(loss[key], same[key]) for key in loss)
    trainer.step()
    assert 0 <= trainer.totals().left_out < 1


def test_patches_are_as_small_as_a_batch(small_scene):
    config = TrainingConfig(steps=2, batch=dataclasses.replace(BATCH, max_rays=20), robust=True,
                            trim=TrimConfig(patch=8))
    trainer = trainer_for(make_model(small_scene, SMALL), small_scene, config)
    assert trainer.trimming.patch == trainer.batches.patch == 4
    trainer.step()
    assert trainer.totals().rays == 16


def test_a_square_that_a_photo_has_no_room_for_is_a_sentence(small_scene):
    model, roomy = make_model(small_scene, SMALL), TrainingConfig(steps=2, batch=BATCH, trim=TrimConfig(patch=17))
    trainer_for(model, small_scene, roomy)  # nothing is trimmed
    with pytest.raises(UserError, match=r"--trim\.patch is 17, and an image of still life has 16 x 16 pixels"):
        trainer_for(model, small_scene, dataclasses.replace(roomy, robust=True))


def test_without_it_nothing_changes(make_trainer):
    trainer = make_trainer()
    assert trainer.trimming is None and trainer.batches.patch == 1
    assert not any(name.startswith("trimming") for name in trainer.state_dict()["tensors"])
