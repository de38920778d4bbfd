"""The explicit step is the autograd step: the same batch, loss and gradients, on every backend."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import TrainingConfig
from taichi_nerf.fields import mlp
from taichi_nerf.training import explicit_step, run
from taichi_nerf.training import trainer as trainer_module
from taichi_nerf.training.explicit_step import StepSeeds
from taichi_nerf.training.run import make_model
from taichi_nerf.training.trainer import Trainer
from taichi_nerf_kernels.engine import ti

from .conftest import BATCH, SMALL
from .test_checkpoint import assert_same

device_images = trainer_module.device_images
SEEDS = StepSeeds(rays=11, jitter=12, background=13)


@pytest.fixture(params=[True, False], ids=["random-background", "white"])
def trainers(request, backend, small_scene, monkeypatch):
    """One that steps by autograd and one that steps explicitly, of equal models whose weights are not those of the
    start, all in the precision of the backend."""
    for module in (mlp, explicit_step):
        monkeypatch.setattr(module, "fastest_precision", lambda device: torch.float32)

    def make(kind):
        batch = dataclasses.replace(BATCH, random_background=request.param)
        config = TrainingConfig(steps=20, batch=batch, gradients=kind)
        return Trainer(make_model(small_scene, SMALL).to(backend.dtype), small_scene, config)

    monkeypatch.setattr(trainer_module, "device_images", in_precision(backend.dtype))
    autograd, explicit = make("autograd"), make("explicit")
    generator = torch.Generator().manual_seed(3)
    for parameter in autograd.model.parameters():  # of a size that shows in the gradients
        parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=generator).to(parameter))
    explicit.load_state_dict(autograd.state_dict())
    return autograd, explicit


def in_precision(dtype):
    """`device_images` with cameras of `dtype`."""

    def load(scene, split):
        images, has_alpha = device_images(scene, split)
        return dataclasses.replace(images, camera_table=images.camera_table.to(dtype)), has_alpha

    return load


def gradients(trainer):
    """Of table and networks after one batch, by name."""
    if trainer.explicit is None:
        trainer._optimise = lambda: None
        trainer._step(SEEDS)
        field = trainer.model.field
        flat = [torch.cat([weight.grad.reshape(-1) for weight in network.weights])
                for network in (field.density_network, field.colour_network)]
        return {"table": field.table_gradient, "density": flat[0], "colour": flat[1]}
    step = trainer.explicit
    step.differentiate(SEEDS)
    found = {"table": step.table_gradient, "density": step.density_network.gradient,
             "colour": step.colour_network.gradient}
    return {name: torch.from_numpy(step.arrays.numbers(array)) for name, array in found.items()}


def test_gradients_are_those_of_autograd(backend, trainers):
    autograd, explicit = trainers
    expected, found = gradients(autograd), gradients(explicit)
    for name, value in expected.items():
        assert value.abs().max() > 0
        backend.assert_close(found[name].reshape(value.shape), value, name)


@pytest.fixture
def moved_bytes(monkeypatch):
    """Bytes that launches moved between host and device so far: every array that is not the device's own there and back
    again, and at most 32 for each argument itself."""
    moved, launch = [0], ti.lang.kernel_impl.Kernel.launch_kernel

    def counted(kernel, compiled, *arguments):
        for argument in arguments:
            array = not isinstance(argument, ti.Ndarray) and hasattr(argument, "nbytes")
            moved[0] += 32 + (2 * argument.nbytes if array else 0)
        return launch(kernel, compiled, *arguments)

    monkeypatch.setattr(ti.lang.kernel_impl.Kernel, "launch_kernel", counted)
    return moved


def test_steps_on_vulkan_stay_on_the_device(small_scene, moved_bytes):
    if runtime.why_missing("vulkan"):
        pytest.skip(f"vulkan: {runtime.why_missing('vulkan')}")
    runtime.init("vulkan")
    trainer = Trainer(make_model(small_scene), small_scene, TrainingConfig(steps=100))
    trainer.steps_done = 60  # the next steps look at all cells of the occupancy grid, and at some
    before = moved_bytes[0]
    for _ in range(24):
        trainer.step()
    trainer.totals()
    assert 0 < (moved_bytes[0] - before) / 24 < 64 * 1024
    assert trainer.explicit.updates == 2
    before = moved_bytes[0]
    trainer.state_dict()
    assert moved_bytes[0] - before > 4 * trainer.model.field.table.numel()  # a checkpoint does move: it is counted


@pytest.fixture
def make_trainer(make_trainer):
    """On the CPU, whatever ran before."""
    runtime.init("cpu", torch.float32, threads=1)
    return make_trainer


def test_a_trainer_that_takes_over_goes_on_as_the_first_would(make_trainer):
    straight, first = make_trainer(gradients="explicit"), make_trainer(gradients="explicit")
    for _ in range(9):
        straight.step()
    for _ in range(4):
        first.step()
    second = make_trainer(gradients="explicit")
    second.load_state_dict(first.state_dict())
    for _ in range(5):
        second.step()
    assert_same(second, straight)


@pytest.mark.parametrize("kinds", [("autograd", "explicit"), ("explicit", "autograd")])
def test_either_step_goes_on_where_the_other_stood(make_trainer, kinds):
    first, second = (make_trainer(gradients=kind) for kind in kinds)
    for _ in range(6):
        first.step()
    second.load_state_dict(first.state_dict())
    numbers = [trainer.state_dict()["numbers"] for trainer in (first, second)]
    for name in numbers[0].keys() - {"seconds"}:
        assert numbers[1][name] == pytest.approx(numbers[0][name], rel=1e-6), name
    for name, value in first.state_dict()["tensors"].items():
        assert torch.equal(second.state_dict()["tensors"][name], value), name
    before = first.state_dict()["tensors"]["model.field.table"].clone()
    second.step()
    assert second.steps_done == 7
    assert not torch.equal(second.state_dict()["tensors"]["model.field.table"], before)


def test_warm_up_leaves_an_explicit_trainer_as_it_was(make_trainer):
    warm, cold = make_trainer(gradients="explicit"), make_trainer(gradients="explicit")
    run.warm_up(warm)
    assert_same(warm, cold)
    for trainer in (warm, cold):
        trainer.step()
    assert_same(warm, cold)


def test_both_steps_learn_alike(make_trainer):
    losses = []
    for kind in ("autograd", "explicit"):
        trainer, reports = make_trainer(gradients=kind, steps=120), []
        run.train(trainer, on_report=reports.append, report_seconds=1e9)
        losses.append(reports[-1].loss)
        assert reports[-1].samples_per_ray > 0
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_explicit_steps_without_any_sample_are_skipped_and_counted(make_trainer):
    trainer, reports = make_trainer(gradients="explicit", steps=3), []
    trainer.explicit.bits.zero_()
    before = trainer.state_dict()["tensors"]
    before = {name: before[name].clone() for name in before if name.startswith("model.field")}
    run.train(trainer, on_report=reports.append)
    assert reports[-1].skipped_steps == 3
    for name, value in before.items():
        assert torch.equal(trainer.state_dict()["tensors"][name], value), name


def test_overflowing_gradients_of_explicit_steps_are_counted(make_trainer):
    trainer, reports = make_trainer(gradients="explicit", steps=3), []
    trainer.explicit.table_gradient[10] = 1e30
    run.train(trainer, on_report=reports.append, report_seconds=0.0)
    assert [report.overflowed_entries for report in reports] == [1, 1, 1]
    assert torch.isfinite(trainer.state_dict()["tensors"]["model.field.table"]).all()


def test_a_batch_without_room_is_cut_and_training_goes_on(make_trainer, monkeypatch):
    monkeypatch.setattr(explicit_step, "ROOM_SAMPLES", 0.1)
    batch = dataclasses.replace(BATCH, samples=4096, marched=8192)
    trainer, reports = make_trainer(gradients="explicit", steps=30, batch=batch), []
    assert trainer.explicit.samples_room < batch.samples
    run.train(trainer, on_report=reports.append, report_seconds=1e9)
    assert reports[-1].skipped_steps == 0
    assert reports[-1].loss < 0.1


@pytest.mark.parametrize("aabb_scale", [1, 4, 64])
def test_the_first_update_looks_at_every_cell_once(small_scene, aabb_scale):
    """Of 1, 3 and 7 cascades, more cells than fit into the arrays of a step at once."""
    scene = dataclasses.replace(small_scene, aabb_scale=aabb_scale)
    config = TrainingConfig(steps=20, batch=BATCH, gradients="explicit")
    step = Trainer(make_model(scene, SMALL), scene, config).explicit
    grid = step.trainer.model.grid
    visited = [step.arrays.numbers(cells).copy() for cells, *_ in step._cells(grid.visit(grid.first_update, 0))]
    cells = grid.cascades * grid.resolution**3
    assert max(map(len, visited)) <= step.marched_room
    assert np.array_equal(np.concatenate(visited), np.arange(cells))
