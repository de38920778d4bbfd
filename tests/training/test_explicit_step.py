"""The explicit step is the autograd step: the same batch, loss and gradients, on every backend."""

import dataclasses

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.config import (
    DepthConfig,
    ExposureConfig,
    NearCameraConfig,
    SparsityConfig,
    TrainingConfig,
    TrimConfig,
)
from taichi_nerf.data import with_scales
from taichi_nerf.data.scene import Images
from taichi_nerf.fields import mlp
from taichi_nerf.reference.mlp import mlp as reference_mlp
from taichi_nerf.resident import instant_ngp, networks
from taichi_nerf.resident.arrays import DeviceArrays
from taichi_nerf.training import run
from taichi_nerf.training import trainer as trainer_module
from taichi_nerf.training.depth import KnownDistances
from taichi_nerf.training.run import make_model
from taichi_nerf.training.step import AutogradStep
from taichi_nerf.training.trainer import trainer_for
from taichi_nerf.types import Seeds, Standing
from taichi_nerf_kernels import launch
from taichi_nerf_kernels.engine import ti

from .conftest import BATCH, SMALL, with_points
from .test_checkpoint import assert_same

photos_of = trainer_module.photos_of
# What compiles faster; how wide a network is changes none of the laws.
NARROW = dataclasses.replace(SMALL, field=dataclasses.replace(SMALL.field, density_width=16, colour_width=16))
STANDING = Standing(step=5, progress=0.5, seeds=Seeds(rays=11, jitter=12, background=13))

TRIM = TrimConfig(patch=4, warm_in=0.3, margin=1.5)  # of which STANDING, in the middle, lets in every fifth pixel

CASES = {
    "random-background": {},
    "white": {"random_background": False},
    "rays-per-pixel": {"per_pixel": 4},
    "appearance": {"appearance": 3},
    "exposure": {"training": {"exposure": ExposureConfig(learned=True)}},
    "exposure-rays-per-pixel": {"training": {"exposure": ExposureConfig(learned=True)}, "per_pixel": 4},
    "depth": {"training": {"depth": DepthConfig(weight=0.3)}},
    "points": {"points": True, "training": {"depth": DepthConfig(weight=0.6, final=0.2, of="points")}},
    "points-fallen": {"points": True,
                      "training": {"depth": DepthConfig(weight=0.6, final=0.0, of="points", until=0.4)}},
    "depth-rays-per-pixel": {"training": {"depth": DepthConfig(weight=0.3)}, "per_pixel": 4},
    "scales": {"scales": 2},
    "masks": {"masked": True},
    "harmonics": {"harmonics": 2},
    "harmonics-appearance": {"harmonics": 1, "appearance": 3},
    "sparsity": {"training": {"sparsity": SparsityConfig(weight=0.5, points=100)}},
    "sparsity-widths": {"widths": "level", "widening": 0.1,  # more points than the step has room for samples
                        "training": {"sparsity": SparsityConfig(weight=2.0, scale=0.3, points=1500)}},
    "near-camera": {"training": {"near_camera": NearCameraConfig(weight=0.5, reach=0.4)}},
    "widths": {"widths": "level"},
    "widths-depth": {"widths": "level", "widening": 0.1, "per_pixel": 4,
                     "training": {"depth": DepthConfig(weight=0.3)}},
    "robust": {"many": True, "training": {"robust": True, "trim": dataclasses.replace(TRIM, patch=1)}},
    "robust-all": {"many": True, "appearance": 2, "scales": 2, "masked": True, "per_pixel": 4,
                   "training": {"robust": True, "trim": TRIM, "exposure": ExposureConfig(learned=True)}},
    "all": {"widths": "level", "appearance": 2, "scales": 2, "masked": True, "per_pixel": 4, "random_background": False,
            "training": {"exposure": ExposureConfig(learned=True),
                         "near_camera": NearCameraConfig(weight=2.0, reach=0.6)}},
}

COMBINED = {"exposure-rays-per-pixel", "depth-rays-per-pixel", "harmonics-appearance", "sparsity-widths",
            "widths-depth", "robust-all"}  # of what "all" does not have together


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in COMBINED)) for name in CASES])
def trainers(request, backend, small_scene, monkeypatch):
    """One that steps by autograd and one that steps explicitly, of equal models whose weights are not those of the
    start, all in the precision of the backend."""
    for module in (mlp, networks):
        monkeypatch.setattr(module, "fastest_precision", lambda device: torch.float32)
    monkeypatch.setattr(DeviceArrays, "__init__", without_half(DeviceArrays.__init__))

    def case(per_pixel=1, random_background=True, appearance=0, scales=1, masked=False, points=False, harmonics=None,
             training=None, many=False, **model):
        scene = with_scales(masked_half(small_scene) if masked else small_scene, scales)
        scene = with_points(scene) if points else scene
        batch = dataclasses.replace(BATCH, random_background=random_background, one_ray=0.0)
        batch = dataclasses.replace(batch, samples=8192, marched=2**15) if many else batch
        field = dataclasses.replace(NARROW.field, harmonics=harmonics)
        settings = dataclasses.replace(NARROW, field=field, rays_per_pixel=per_pixel, appearance=appearance, **model)

        def make(kind):
            config = TrainingConfig(steps=20, batch=batch, gradients=kind, **(training or {}))
            return trainer_for(make_model(scene, settings).to(backend.dtype), scene, config)

        return make

    make = case(**CASES[request.param])
    monkeypatch.setattr(trainer_module, "photos_of", in_precision(backend.dtype))
    autograd, explicit = make("autograd"), make("explicit")
    autograd.corrections.to(backend.dtype)
    for term in autograd.taker.terms:
        if isinstance(term, KnownDistances):
            term.distance, term.confidence = term.distance.to(backend.dtype), term.confidence.to(backend.dtype)
    generator = torch.Generator().manual_seed(3)
    learned = [*autograd.model.parameters(), *autograd.corrections.parameters()]
    for parameter in learned:  # of a size that shows in the gradients
        parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=generator).to(parameter))
    for trimming in filter(None, (autograd.trimming, explicit.trimming)):
        trimming.threshold = trimming.threshold.to(backend.dtype).fill_(0.015)
    if (trimming := autograd.trimming) is not None:  # of about half of the cells most pixels erred
        random = torch.Generator().manual_seed(0)
        trimming.drawn.copy_(torch.randint(0, 32, trimming.drawn.shape, generator=random))
        trimming.erred.copy_((trimming.drawn.cpu() * torch.rand(trimming.drawn.shape, generator=random)).floor())
    explicit.corrections.to(backend.dtype)
    explicit.load_state_dict(autograd.state_dict())
    return autograd, explicit


def masked_half(scene):
    """With masks that leave about half of the pixels of the training images."""
    split, rng = scene.splits["train"], np.random.default_rng(0)
    pictures = [split.images.image(n) for n in range(len(split))]
    masks = [rng.random(picture.shape[:2]) < 0.5 for picture in pictures]
    images = Images.from_list(pictures, split.images.names, allowed=masks)
    return dataclasses.replace(scene, splits={**scene.splits, "train": dataclasses.replace(split, images=images)})


def without_half(init):
    """Arrays of half precision are none."""

    def changed(arrays):
        init(arrays)
        arrays.half_storage = False

    return changed


def in_precision(dtype):
    """`photos_of` with cameras of `dtype`."""

    def load(scene):
        photos = photos_of(scene)
        images = dataclasses.replace(photos.images, camera_table=photos.images.camera_table.to(dtype))
        return dataclasses.replace(photos, images=images)

    return load


def gradients(trainer):
    """Of all that is learned after one batch, by name, and the loss."""
    step = trainer.taker
    if isinstance(step, AutogradStep):
        step.optimisers.step = lambda standing: None
        step.take(STANDING)
        field, model = trainer.model.field, trainer.model
        flat = [torch.cat([weight.grad.reshape(-1) for weight in network.weights])
                for network in (field.density_network, field.colour_network)]
        found = {"table": field.table_gradient, "density": flat[0], "colour": flat[1]}
        found |= {"codes": model.codes["appearance"].table.grad} if model.codes else {}
        if trainer.corrections.exposure is not None:
            found["stops"] = trainer.corrections.exposure.stops.grad
        return found | numbers_of(trainer)
    step.differentiate(STANDING)
    found = {"table": step.table.gradient, "density": step.density_network.gradient,
             "colour": step.colour_network.gradient}
    found |= {name: learned.gradient for name, learned in (("codes", step.codes), ("stops", step.stops)) if learned}
    found = {name: torch.from_numpy(step.arrays.numbers(array)) for name, array in found.items()}
    if step.trimmed is not None:
        step.trimmed.pull()
    return found | numbers_of(trainer)


def numbers_of(trainer):
    """What a step counts, as tensors."""
    totals, trimming = trainer.totals(), trainer.trimming
    found = {"loss": torch.as_tensor(totals.loss)}
    if trimming is not None:
        assert 0.1 < totals.left_out < 0.9
        found |= {"left_out": torch.as_tensor(totals.left_out), **trimming.state()}
    return found


def test_gradients_are_those_of_autograd(backend, trainers):
    autograd, explicit = trainers
    expected, found = gradients(autograd), gradients(explicit)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.abs().max() > 0
        backend.assert_close(found[name].reshape(value.shape), value, name)


@pytest.mark.parametrize("precision", [torch.float16, torch.float32])
def test_a_network_over_all_columns_is_the_network_of_those_in_use(backend, rng, monkeypatch, precision):
    """The network of a GPU, which knows no count on the host; in half precision as near as that comes."""
    if backend.dtype == torch.float64 or backend.name == "vulkan-f32":
        pytest.skip("single precision and tensors of PyTorch are what it is for")
    monkeypatch.setattr(networks, "fastest_precision", lambda device: precision)
    room, n, scale = 700, 333, 1e-4
    module = mlp.MLP(32, 16, width=64, hidden_layers=2, generator=rng).to(backend.device)
    x, y_gradient = (torch.randn(rows, room, generator=rng).to(backend.device) for rows in (32, 16))
    y_gradient *= scale  # gradients of single samples are small
    expected = (tensor.detach().double() for tensor in module.weights)
    expected = [weight.requires_grad_() for weight in expected]
    inputs = x[:, :n].double().requires_grad_()
    outputs = reference_mlp(inputs, expected)
    outputs.backward(y_gradient[:, :n].double())
    x[:, n:] = y_gradient[:, n:] = float("nan")

    count = torch.tensor([n], dtype=torch.int32, device=backend.device)
    arrays = DeviceArrays()
    network = networks.TensorCoreNetwork(arrays, module, room)
    arrays.put(torch.cat([weight.reshape(-1) for weight in module.weights]), network.weights)
    y, first, x_gradient = backend.empty(16, room), backend.empty(1, room), backend.empty(32, room)
    network.first_output(x, first, count)
    network.forward(x, y, count)
    network.backward(x, y_gradient, x_gradient, count)
    few = 400  # columns of another pass of the step
    y_few, x_few = backend.empty(16, few), backend.empty(32, few)
    network.forward(x[:, :few].contiguous(), y_few, count)
    network.backward(x[:, :few].contiguous(), y_gradient[:, :few].contiguous(), x_few, count)
    assert torch.allclose(y_few[:, :n], y[:, :n]) and torch.allclose(x_few[:, :n], x_gradient[:, :n])
    network.gradient *= 0.5  # of both passes
    # by norm; rounding cuts a unit near zero, whose whole gradient is lost: the square root of the share of these units
    of_values, of_gradients = (2e-3, 4e-2) if precision == torch.float16 else (1e-5, 1e-5)
    weights_gradient = torch.cat([weight.grad.reshape(-1) for weight in expected])
    for actual, exact, tolerance in ((y[:, :n], outputs, of_values), (first[:, :n], outputs[:1], of_values),
                                     (x_gradient[:, :n], inputs.grad, of_gradients),
                                     (network.gradient, weights_gradient, of_gradients)):
        exact = exact.detach()
        assert (actual.double() - exact).norm() <= tolerance * exact.norm()


def test_a_network_in_bfloat16_is_the_network_but_for_rounding(rng, monkeypatch):
    """On a CPU, whatever stands in the columns that are not in use."""
    runtime.init("cpu", torch.float32, threads=1)
    monkeypatch.setattr(networks, "fastest_precision", lambda device: torch.bfloat16)
    n = 333
    module = mlp.MLP(32, 16, width=64, hidden_layers=2, generator=rng)
    arrays = DeviceArrays()
    network = networks.make_network(arrays, module, 700)
    matrices = networks.Matrices(arrays, [network], 700, x=32, y=20, y_gradient=20, x_gradient=32)
    assert isinstance(network, networks.TorchNetwork) and network.precision == torch.bfloat16
    arrays.put(torch.cat([weight.reshape(-1) for weight in module.weights]), network.weights)
    matrices.fit(torch.tensor([n]))
    half = {name: getattr(matrices, name).view(torch.bfloat16) for name in ("x", "y", "y_gradient", "x_gradient")}
    assert all(n < matrix.shape[1] <= n + mlp.COLUMNS for matrix in half.values())
    for matrix in half.values():
        matrix.copy_(torch.randn(matrix.shape, generator=rng))
        matrix[:, n:] = float("nan")
    half["y"][16:] = below = torch.randn(4, half["y"].shape[1], generator=rng).to(torch.bfloat16)
    weights = [weight.detach().double().requires_grad_() for weight in module.weights]
    x = half["x"][:, :n].double().requires_grad_()
    y = reference_mlp(x, weights)
    y.backward(half["y_gradient"][:16, :n].double())

    count = torch.tensor([n], dtype=torch.int32)
    network.forward(matrices.x, matrices.y, count)
    network.backward(matrices.x, matrices.y_gradient, matrices.x_gradient, count)
    assert torch.equal(half["y"][16:], below)  # the rows of others
    exact = torch.cat([weight.grad.reshape(-1) for weight in weights])
    for found, value, tolerance in ((half["y"][:16, :n], y.detach(), 0.01), (half["x_gradient"][:, :n], x.grad, 0.1),
                                    (network.gradient, exact, 0.1)):  # units are cut where rounding turns a sign
        assert (found.double() - value).norm() <= tolerance * value.norm()


def test_auto_takes_the_network_that_is_faster_with_all_samples_of_a_step(backend, rng, monkeypatch):
    if backend.dtype == torch.float64 or backend.name == "vulkan-f32":
        pytest.skip("in double precision and on Vulkan networks are fused, whatever is faster")
    monkeypatch.setattr(networks, "chosen_implementation", lambda dtype: "auto")
    monkeypatch.setattr(networks, "TorchNetwork", networks.TensorCoreNetwork)  # that of a GPU, on a CPU too
    passes = []
    for kind in (networks.TensorCoreNetwork, networks.FusedNetwork):
        for name in ("forward", "backward"):
            method = getattr(kind, name)
            monkeypatch.setattr(kind, name, lambda self, *arrays, method=method, name=name: (
                passes.append((type(self), name, arrays[0].shape[1], int(arrays[-1][0]))), method(self, *arrays)))
    module = mlp.MLP(16, 16, width=16, hidden_layers=1, generator=rng).to(backend.device)
    arrays = DeviceArrays()
    for seconds, expected in (((1, 2), networks.TensorCoreNetwork), ((2, 1), networks.FusedNetwork)):
        clock = iter(seconds)
        monkeypatch.setattr(networks, "best_seconds", lambda work, *budget, clock=clock: work() or next(clock))
        passes.clear()
        assert type(networks.make_network(arrays, module, 777)) is expected
        assert passes == [(kind, name, 777, 777) for kind in (networks.TensorCoreNetwork,
                                                              networks.FusedNetwork)
                          for name in ("forward", "backward")]


@pytest.mark.slow
@pytest.mark.parametrize("harmonics", [None, 2])
def test_steps_in_bfloat16_have_the_gradients_but_for_rounding(small_scene, monkeypatch, harmonics):
    runtime.init("cpu", torch.float32, threads=2)
    found, field = [], dataclasses.replace(NARROW.field, harmonics=harmonics)
    settings, sparsity = dataclasses.replace(NARROW, field=field), SparsityConfig(weight=0.1, points=100)
    config = TrainingConfig(steps=20, batch=BATCH, gradients="explicit", sparsity=sparsity,
                            near_camera=NearCameraConfig(weight=0.5, reach=0.4))
    for precision in (torch.float32, torch.bfloat16):
        for module in (mlp, networks):
            monkeypatch.setattr(module, "fastest_precision", lambda device, precision=precision: precision)
        trainer = trainer_for(make_model(small_scene, settings), small_scene, config)
        generator = torch.Generator().manual_seed(3)
        weights = trainer.taker.table.weights
        weights.add_(0.2 * torch.randn(weights.shape, generator=generator))
        found.append(gradients(trainer))
        assert (trainer.taker.colours.at_visible.raw.dtype == torch.int16) == (precision == torch.bfloat16)
    for name, value in found[0].items():
        assert value.abs().max() > 0
        assert (found[1][name] - value).norm() <= 0.05 * value.norm(), name


def test_activations_in_half_precision_change_gradients_by_their_rounding(backend, rng):
    if not runtime.current().half_storage:
        pytest.skip("this device keeps no arrays of half precision")
    room, n = 500, 333
    module = mlp.MLP(16, 16, width=16, hidden_layers=1, generator=rng).to(backend.device)
    x, y_gradient = (torch.randn(16, room, generator=rng) for _ in range(2))
    expected = [weight.detach().double().cpu().requires_grad_() for weight in module.weights]
    reference_mlp(x[:, :n].double(), expected).backward(y_gradient[:, :n].double())
    arrays = DeviceArrays()
    network = networks.FusedNetwork(arrays, module, room)
    assert str(network.activations.dtype).endswith("f16") or network.activations.dtype == torch.float16
    arrays.put(torch.cat([weight.reshape(-1) for weight in module.weights]), network.weights)
    x, y_gradient, count = arrays.like(x), arrays.like(y_gradient), arrays.like(torch.tensor([n], dtype=torch.int32))
    network.forward(x, arrays.new(16, room), count)
    network.backward(x, y_gradient, arrays.new(16, room), count)
    exact = torch.cat([weight.grad.reshape(-1) for weight in expected])
    found = torch.from_numpy(arrays.numbers(network.gradient)).double()
    assert 1e-7 * exact.norm() < (found - exact).norm() < 1e-3 * exact.norm()


@pytest.fixture
def moved_bytes(monkeypatch):
    """Bytes that launches moved between host and device so far: every array that is not the device's own there and back
    again, and at most 32 for each argument itself."""
    moved = [0]

    def count(owner, name, given):
        original = getattr(owner, name)

        def counted(self, code, *arguments):
            for argument in given(arguments):
                array = not isinstance(argument, ti.Ndarray) and hasattr(argument, "nbytes")
                moved[0] += 32 + (2 * argument.nbytes if array else 0)
            return original(self, code, *arguments)

        monkeypatch.setattr(owner, name, counted)

    count(ti.lang.kernel_impl.Kernel, "launch_kernel", lambda arguments: arguments)
    count(launch._Launcher, "_launch", lambda arguments: arguments[0])
    return moved


@pytest.mark.slow
def test_steps_on_vulkan_stay_on_the_device(small_scene, moved_bytes):
    if runtime.why_missing("vulkan"):
        pytest.skip(f"vulkan: {runtime.why_missing('vulkan')}")
    runtime.init("vulkan")
    trainer = trainer_for(make_model(small_scene, NARROW), small_scene, TrainingConfig(steps=100, batch=BATCH))
    trainer.clock.steps_done = 60  # the next steps look at all cells of the occupancy grid, and at some
    before = moved_bytes[0]
    for _ in range(24):
        trainer.step()
    trainer.totals()
    assert 0 < (moved_bytes[0] - before) / 24 < 64 * 1024
    assert trainer.taker.occupancy.updates == 24 // SMALL.sampling.update_every
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


@pytest.mark.parametrize("per_pixel", [1, 4])
def test_warm_up_leaves_an_explicit_trainer_as_it_was(make_trainer, per_pixel):
    model = dataclasses.replace(SMALL, rays_per_pixel=per_pixel)
    warm, cold = make_trainer(model, gradients="explicit"), make_trainer(model, gradients="explicit")
    run.warm_up(warm)
    assert_same(warm, cold)
    for trainer in (warm, cold):
        trainer.step()
    assert_same(warm, cold)


@pytest.mark.parametrize("per_pixel", [1, 4])
def test_both_steps_learn_alike(make_trainer, per_pixel):
    model, losses = dataclasses.replace(SMALL, rays_per_pixel=per_pixel), []
    for kind in ("autograd", "explicit"):
        trainer, reports = make_trainer(model, gradients=kind, steps=120), []
        run.train(trainer, on_report=reports.append, report_seconds=1e9)
        losses.append(reports[-1].loss)
        assert reports[-1].samples_per_ray > 0
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize("kind", ["autograd", "explicit"])
def test_levels_of_the_hash_grid_are_held_back(make_trainer, kind):
    """As far as can be: each entry that a step touches goes towards nothing."""
    grid = dataclasses.replace(NARROW.field.hash_grid, decay=1e6)
    model = dataclasses.replace(NARROW, field=dataclasses.replace(NARROW.field, hash_grid=grid))
    trainer = make_trainer(model, gradients=kind)
    state = trainer.state_dict()
    before = state["tensors"]["model.field.table"].normal_(generator=torch.Generator().manual_seed(1)).clone()
    trainer.load_state_dict(state)
    trainer.step()
    after = trainer.state_dict()["tensors"]["model.field.table"]
    moved = (after != before).any(dim=1)
    assert 0 < moved.sum() < len(moved)
    assert (after[moved].abs() < before[moved].abs()).float().mean() > 0.99  # but for those nearer than the step


@pytest.mark.parametrize("kind", ["autograd", "explicit"])
def test_levels_are_let_go_in_the_course_of_the_training(make_trainer, kind):
    def of(decay: float):
        grid = dataclasses.replace(NARROW.field.hash_grid, decay=decay, decay_until=0.5)
        return make_trainer(dataclasses.replace(NARROW, field=dataclasses.replace(NARROW.field, hash_grid=grid)),
                            gradients=kind, steps=4)

    held, free, tables = of(1e6), of(0.0), []
    for _ in range(4):
        free.load_state_dict(held.state_dict())
        for trainer in (held, free):
            trainer.step()
            tables.append(trainer.state_dict()["tensors"]["model.field.table"].clone())
    alike = [torch.equal(one, other) for one, other in zip(tables[::2], tables[1::2])]
    assert alike == [False, False, True, True]


def test_explicit_steps_without_any_sample_are_skipped_and_counted(make_trainer):
    trainer, reports = make_trainer(gradients="explicit", steps=3), []
    trainer.taker.occupancy.bits.zero_()
    before = trainer.state_dict()["tensors"]
    before = {name: before[name].clone() for name in before if name.startswith("model.field")}
    run.train(trainer, on_report=reports.append)
    assert reports[-1].skipped_steps == 3
    for name, value in before.items():
        assert torch.equal(trainer.state_dict()["tensors"][name], value), name


def test_overflowing_gradients_of_explicit_steps_are_counted(make_trainer):
    trainer, reports = make_trainer(gradients="explicit", steps=3), []
    trainer.taker.table.gradient[10] = 1e30
    run.train(trainer, on_report=reports.append, report_seconds=0.0)
    assert [report.overflowed_entries for report in reports] == [1, 1, 1]
    assert torch.isfinite(trainer.state_dict()["tensors"]["model.field.table"]).all()


def test_a_batch_without_room_is_cut_and_training_goes_on(make_trainer, monkeypatch):
    monkeypatch.setattr(instant_ngp, "ROOM_SAMPLES", 0.1)
    batch = dataclasses.replace(BATCH, samples=4096, marched=8192)
    trainer, reports = make_trainer(gradients="explicit", steps=30, batch=batch), []
    assert trainer.taker.samples_room < batch.samples
    run.train(trainer, on_report=reports.append, report_seconds=1e9)
    assert reports[-1].skipped_steps == 0
    assert reports[-1].loss < 0.1


@pytest.mark.parametrize("aabb_scale", [1, 4, 64])
def test_the_first_update_looks_at_every_cell_once(small_scene, aabb_scale):
    """Of 1, 3 and 7 cascades, more cells than fit into the arrays of a step at once."""
    scene = dataclasses.replace(small_scene, aabb_scale=aabb_scale)
    config = TrainingConfig(steps=20, batch=BATCH, gradients="explicit")
    step = trainer_for(make_model(scene, SMALL), scene, config).taker
    grid, occupancy = step.model.grid, step.occupancy
    visited = [step.arrays.numbers(cells).copy() for cells, *_ in occupancy.cells(grid.visit(grid.first_update, 0))]
    cells = grid.cascades * grid.resolution**3
    assert max(map(len, visited)) <= step.marched_room
    assert np.array_equal(np.concatenate(visited), np.arange(cells))


def test_only_auto_asks_whether_there_is_a_resident_step(monkeypatch):
    """It loads the module of it."""
    asked = []
    monkeypatch.setattr(trainer_module, "why_not_resident", lambda model, config: asked.append(config.gradients))
    for kind, explicit in (("autograd", False), ("explicit", True)):
        assert trainer_module.has_explicit_steps(SMALL, TrainingConfig(steps=1, gradients=kind)) == explicit
    assert not asked
    assert trainer_module.has_explicit_steps(SMALL, TrainingConfig(steps=1)) and asked == ["auto"]
    assert not trainer_module.has_explicit_steps(SMALL, TrainingConfig(steps=1), exchanges=False)
