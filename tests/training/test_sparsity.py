"""The term of empty space: where its points lie, what it says, and what it does to a model."""

import dataclasses

import pytest
import torch

from taichi_nerf.config import SparsityConfig
from taichi_nerf.models.family import build_model
from taichi_nerf.models.model import Box
from taichi_nerf.training.sparsity import OPAQUE_WEIGHT, Sparsity, settled_sparsity
from taichi_nerf.types import Seeds, Standing

from .conftest import SMALL, without_alpha
from .test_family import SMALL as FAMILY

STANDING = Standing(step=5, progress=0.5, seeds=Seeds(rays=11, jitter=12, background=13))
POINTS = 3000


def test_points_are_anywhere_in_the_box_and_others_in_each_step():
    for box in (Box(bounded=True), Box(aabb_scale=8)):
        term = Sparsity(build_model(SMALL, box), SparsityConfig(weight=1.0, points=POINTS))
        x, side = term.draw(term.seed(STANDING.seeds)), box.aabb_scale
        assert x.shape == (POINTS, 3) and x.abs().max() <= side / 2
        cells = ((x / side + 0.5) * 2).long()  # eighths of the box
        assert (torch.bincount(cells @ torch.tensor([4, 2, 1]), minlength=8) > POINTS / 8 * 0.8).all()
        assert torch.equal(x, term.draw(term.seed(STANDING.seeds)))
        assert not torch.equal(x, term.draw(term.seed(STANDING.seeds._replace(jitter=15))))
    assert term.seed(STANDING.seeds) not in STANDING.seeds


def test_where_images_of_what_moves_have_no_alpha_it_counts_unless_a_weight_is_given(small_scene):
    assert small_scene.bounded and small_scene.splits["train"].images.has_alpha
    opaque = without_alpha(small_scene)
    everywhere = dataclasses.replace(opaque, bounded=False)
    weights = {moves: [settled_sparsity(SparsityConfig(), scene, moves).weight
                       for scene in (small_scene, opaque, everywhere)] for moves in (True, False)}
    assert weights == {True: [0, OPAQUE_WEIGHT, 0], False: [0, 0, 0]}
    for weight in (0.0, 0.5):
        assert settled_sparsity(SparsityConfig(weight=weight), opaque, moves=True).weight == weight


@pytest.mark.parametrize("name", ["nerf", "mip-nerf", "mip-nerf-360", "mip-nerf-360-hash"])
def test_the_loss_is_the_light_that_a_stretch_at_the_points_takes(name):
    model, config = build_model(FAMILY[name], Box(bounded=True), 0), SparsityConfig(weight=0.3, scale=0.2, points=50)
    term = Sparsity(model, config)
    (value,) = term.losses(None, None, STANDING).values()
    density = model.density(term.draw(term.seed(STANDING.seeds)))
    torch.testing.assert_close(value, 0.3 * (1 - torch.exp(-0.2 * density)).mean())
    value.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters()
               if parameter.requires_grad)


@pytest.mark.parametrize("gradients", ["autograd", "explicit"])
def test_a_box_that_is_to_be_empty_becomes_so(make_trainer, gradients):
    found = {}
    for weight in (0.0, 10.0):
        trainer = make_trainer(gradients=gradients, sparsity=SparsityConfig(weight=weight, points=200))
        for _ in range(20):
            trainer.step()
        trainer.state_dict()  # brings the model up to date
        x = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.5
        found[weight] = float(trainer.model.density(x).detach().mean())
    assert found[10.0] < 0.8 * found[0.0]


def test_a_step_without_samples_learns_nothing_of_empty_space_either(make_trainer):
    trainer = make_trainer(gradients="explicit", sparsity=SparsityConfig(weight=1.0, points=200))
    before = {name: value.clone() for name, value in trainer.state_dict()["tensors"].items() if "model.field" in name}
    trainer.taker.occupancy.bits.zero_()
    trainer.step()
    assert before and trainer.totals().loss > 0
    for name, value in before.items():
        assert torch.equal(trainer.state_dict()["tensors"][name], value), name


def test_without_a_weight_there_is_no_such_term(make_trainer):
    assert make_trainer(gradients="explicit").taker.sparsity is None
    assert not any(isinstance(term, Sparsity) for term in make_trainer(gradients="autograd").taker.terms)
    assert dataclasses.replace(SparsityConfig(), weight=1e-3).scale == 0.2
