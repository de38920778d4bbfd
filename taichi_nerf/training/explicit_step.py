"""One training step of Instant-NGP as a sequence of kernels on arrays that live on the device, without autograd.

    rays      pixels drawn, rays, lattice samples in occupied cells            -> S marched samples
    geometry  hash grid, density network; what lies behind surfaces is cut     -> K visible samples
    colour    density network once more, viewing directions, colour network
    loss      compositing, Huber loss, and the gradient of both
    backward  colour network, density network, hash grid
    update    Adam of the table and of the networks, the moving average, the size of the next batch

The host launches, and never waits: how many rays and samples a step has only the device knows, so that every array has
room for more than are aimed at, and rays that find no room are left out. The arrays are Taichi's where a tensor would
travel through host memory at each launch (Vulkan), and PyTorch tensors elsewhere; the kernels do not care.
"""

import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from taichi_nerf_kernels import adam, camera, hash_grid, mlp, occupancy_grid, ray_marching, scan
from taichi_nerf_kernels import training_step as kernels
from taichi_nerf_kernels.engine import ti

from .. import runtime
from ..fields.mlp import (
    MLP,
    MOMENT,
    chosen_implementation,
    fastest_precision,
    layers_backward,
    layers_forward,
    padded_columns,
)
from ..ops.ray_marching import RUNS, UNBOUNDED
from ..samplers.occupancy import Visit
from ..timing import best_seconds

if TYPE_CHECKING:
    from .trainer import Trainer

BETA1 = 0.9  # of Adam, always
ROOM_MARCHED, ROOM_SAMPLES = 1.25, 1.5  # of the numbers aimed at
ROOM_SAMPLES_CUDA = 1.125  # there the networks compute over all that there is room for, and batches are large and even


class DeviceArrays:
    """Makes arrays where the kernels want them, and copies tensors into and out of them."""

    def __init__(self):
        here = runtime.current()
        self.native = here.backend == "vulkan"
        self.device, self.dtype, self.half_storage = here.device, here.dtype, here.half_storage

    def new(self, *shape: int, integer: bool = False, half: bool = False):
        """An array of zeros; with `half`, of half precision where the device keeps it."""
        half = half and self.half_storage
        if not self.native:
            dtype = torch.int32 if integer else torch.float16 if half else self.dtype
            return torch.zeros(shape, dtype=dtype, device=self.device)
        array = ti.ndarray(ti.i32 if integer else ti.f16 if half else ti.f32, shape)
        array.fill(0)
        return array

    def like(self, tensor: Tensor):
        """An array with the contents of `tensor`."""
        array = self.new(*tensor.shape, integer=not tensor.is_floating_point())
        self.put(tensor, array)
        return array

    def put(self, tensor: Tensor, array) -> None:
        """Copy `tensor` into `array`, of the same number of elements."""
        tensor = tensor.detach().reshape(tuple(array.shape))
        if self.native:
            array.from_numpy(np.ascontiguousarray(tensor.cpu().numpy(), _numpy_type(tensor)))
        else:
            array.copy_(tensor)

    def get(self, array, tensor: Tensor) -> None:
        """Copy `array` into `tensor`, of the same number of elements."""
        found = torch.from_numpy(array.to_numpy()) if self.native else array
        tensor.detach().copy_(found.reshape(tensor.shape))

    def numbers(self, array) -> np.ndarray:
        """The contents of `array` on the host, which waits for the device."""
        return array.to_numpy() if self.native else array.cpu().numpy()


def _numpy_type(tensor: Tensor):
    return np.float32 if tensor.is_floating_point() else np.int32


class Matrices:
    """Matrices with a column for each sample, attributes by the names and the numbers of rows that are given.

    For `networks` in bfloat16 they hold that, as int16, and no more columns than `fit` says.
    """

    def __init__(self, arrays: DeviceArrays, networks: Sequence["Network"], room: int, **rows: int):
        self._rows, self._flat = rows, {}
        half = all(network.in_bfloat16 for network in networks)
        for name, number in rows.items():
            if half:
                self._flat[name] = torch.zeros(number * padded_columns(room), dtype=torch.int16)
            else:
                setattr(self, name, arrays.new(number, room))

    def fit(self, count) -> None:
        """From now on count[0] columns are in use; whether there are more is the networks' business."""
        if not self._flat:  # the host need not know the count
            return
        columns = padded_columns(int(count[0]))
        for name, flat in self._flat.items():
            setattr(self, name, flat[: self._rows[name] * columns].view(self._rows[name], columns))


class Network:
    """A small network and its optimiser's state on the device: weights, gradient and moments, flat."""

    in_bfloat16 = False  # whether what it reads and writes is, in arrays of int16

    def __init__(self, arrays: DeviceArrays, module: MLP, columns: int):
        """Room for `columns` samples."""
        self.module = module
        self.shapes = [tuple(weight.shape) for weight in module.weights]
        self.sizes = (self.shapes[0][1], *(fan_out for fan_out, _ in self.shapes))
        parameters = sum(fan_in * fan_out for fan_out, fan_in in self.shapes)
        self.weights, self.gradient, self.first_moment, self.second_moment, self.average = (
            arrays.new(parameters) for _ in range(5))
        self.step_count = arrays.new(2, integer=True)
        self._prepare(arrays, columns)

    def forward(self, x, y, count) -> None:
        """y [outputs.., N] of x [inputs, N]; what the backward pass needs of it is kept."""
        raise NotImplementedError

    def first_output(self, x, y, count) -> None:
        """y [1.., N], its first row: the first output alone. No backward pass may follow."""
        mlp.mlp_forward(x, self.weights, None, y, (*self.sizes[:-1], 1), count)

    def backward(self, x, y_gradient, x_gradient, count) -> None:
        """Write x_gradient, and add to the weights' gradient; of the last forward pass."""
        raise NotImplementedError

    @property
    def first_rows(self) -> int:
        """Rows that `first_output` writes."""
        return 1

    def _per_layer(self, flat: Tensor) -> list[Tensor]:
        """Of weights or their gradient in a tensor: views, a matrix for each layer."""
        parts = flat.split([fan_out * fan_in for fan_out, fan_in in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes)]

    def _prepare(self, arrays: DeviceArrays, columns: int) -> None:
        raise NotImplementedError


class FusedNetwork(Network):
    """By the kernels of the stem `mlp`: on any device, and without the host."""

    def _prepare(self, arrays, columns):
        self.activations = arrays.new(max(sum(self.sizes[1:-1]), 1), columns, half=True)  # gradients could vanish
        self.scratch = arrays.new(*mlp.mlp_scratch_shape(self.sizes, columns))

    def forward(self, x, y, count):
        mlp.mlp_forward(x, self.weights, self.activations, y, self.sizes, count)

    def backward(self, x, y_gradient, x_gradient, count):
        mlp.mlp_backward(x, self.weights, self.activations, y_gradient, x_gradient, self.gradient, self.scratch,
                         self.sizes, count)


class TorchNetwork(Network):
    """By PyTorch's matrix products, in the precision that is fastest: for a CPU, which knows every count."""

    def _prepare(self, arrays, columns):
        self.precision = fastest_precision(arrays.device) if arrays.dtype == torch.float32 else arrays.dtype
        self.in_bfloat16 = self.precision == torch.bfloat16

    def forward(self, x, y, count):
        n = int(count[0])
        self.x = self._zero_beyond(n, self._in_use(x, self.sizes[0], n))
        self.layers = self._per_layer(self.weights.to(self.precision))
        _, self.hidden = layers_forward(self.x, self.layers, out=self._in_use(y, self.sizes[-1], n))

    def first_output(self, x, y, count):
        self.forward(x, y, count)  # a product with a single row is no faster

    @property
    def first_rows(self):
        return self.sizes[-1]

    def backward(self, x, y_gradient, x_gradient, count):
        n = int(count[0])
        y_gradient = self._zero_beyond(n, self._in_use(y_gradient, self.sizes[-1], n))
        _, gradients = layers_backward(y_gradient, self.x, self.hidden, self.layers,
                                       out=self._in_use(x_gradient, self.sizes[0], n))
        for weight_gradient, gradient in zip(self._per_layer(self.gradient), gradients):
            weight_gradient += gradient

    def _in_use(self, matrix, rows: int, n: int) -> Tensor:
        """Its first rows: n columns of them or, in bfloat16, all."""
        return matrix.view(torch.bfloat16)[:rows] if self.in_bfloat16 else matrix[:rows, :n]

    @staticmethod
    def _zero_beyond(n: int, matrix: Tensor) -> Tensor:
        """The matrix, whose columns from n on are zero now: they take part in the sums over columns."""
        matrix[:, n:].zero_()
        return matrix


class TensorCoreNetwork(Network):
    """By PyTorch's matrix products with sums in single precision: for a GPU, over all columns that there is room for.
    Those not in use are zero, so that the host need not know how many are.

    Where the GPU has units for it products take half precision, with gradients scaled so that those of single samples
    do not vanish; one that overflows makes no step, as everywhere.
    """

    def _prepare(self, arrays, columns):
        half = fastest_precision(arrays.device) != torch.float32
        self.precision, self.scale = (torch.float16, 1024.0) if half else (torch.float32, 1.0)
        rows = self.sizes[0], self.sizes[-1]
        self.input, self.output_gradient = (
            torch.zeros(count, columns, dtype=self.precision, device=arrays.device) for count in rows)
        self.unscale = torch.tensor([1 / self.scale], device=arrays.device)  # an array: the product is in float32

    def forward(self, x, y, count):
        kernels.columns_in_use(x, 1.0, count, self.input)
        self.inputs = [self.input]
        self.layers = [weight.to(self.precision) for weight in self._per_layer(self.weights)]
        for weight in self.layers[:-1]:
            self.inputs.append(torch.mm(weight, self.inputs[-1]).relu_())
        y[: self.sizes[-1]].copy_(torch.mm(self.layers[-1], self.inputs[-1]))

    def backward(self, x, y_gradient, x_gradient, count):
        kernels.columns_in_use(y_gradient, self.scale, count, self.output_gradient)
        gradient = self.output_gradient
        with _single_precision_sums():
            for layer, weight_gradient in reversed(list(enumerate(self._per_layer(self.gradient)))):
                weight_gradient.add_(torch.mm(gradient, self.inputs[layer].t()), alpha=1 / self.scale)
                gradient = torch.mm(self.layers[layer].t(), gradient)
                if layer > 0:
                    gradient = torch.ops.aten.threshold_backward(gradient, self.inputs[layer], 0)
        torch.mul(gradient, self.unscale, out=x_gradient)


@contextmanager
def _single_precision_sums():
    """Within, products in half precision do not round the sums of their parts to half precision."""
    settings = torch.backends.cuda.matmul
    before = settings.allow_fp16_reduced_precision_reduction
    settings.allow_fp16_reduced_precision_reduction = False
    try:
        yield
    finally:
        settings.allow_fp16_reduced_precision_reduction = before


def make_network(arrays: DeviceArrays, module: MLP, columns: int) -> Network:
    """Of the kind that the runtime says is to compute `module`; on Vulkan, and in double precision on a GPU, fused.

    Where it leaves that open, the faster one on this device with as many samples as there is room for: with a few
    thousand it is another one.
    """
    chosen, on_cpu = chosen_implementation(arrays.dtype), arrays.device.type == "cpu"
    if arrays.native or chosen == "fused" or (arrays.dtype == torch.float64 and not on_cpu):
        return FusedNetwork(arrays, module, columns)
    network = (TorchNetwork if on_cpu else TensorCoreNetwork)(arrays, module, columns)
    if chosen == "torch":
        return network
    return faster_network(arrays, columns, [network, FusedNetwork(arrays, module, columns)])


def faster_network(arrays: DeviceArrays, columns: int, networks: Sequence[Network]) -> Network:
    """Of some for one module the one whose passes over so many columns, all in use, take the least time. They leave
    something in its gradient."""
    x = arrays.like(torch.rand(networks[0].sizes[0], columns, generator=torch.Generator().manual_seed(0)))
    y, x_gradient = arrays.new(networks[0].sizes[-1], columns), arrays.new(*x.shape)
    count = arrays.like(torch.tensor([columns], dtype=torch.int32))

    def seconds(network: Network) -> float:
        arrays.put(_flat(list(network.module.weights)), network.weights)

        def there_and_back():
            network.forward(x, y, count)
            network.backward(x, y, x_gradient, count)

        return best_seconds(there_and_back, MOMENT, 2)

    return min(networks, key=seconds)


@dataclass(frozen=True)
class StepSeeds:
    """Of the random numbers of one step, by purpose."""

    rays: int
    jitter: int
    background: int


class ExplicitStep:
    """Takes the steps of a `Trainer` on the device.

    `push` hands the trainer's tensors to the device, `pull` brings them back; in between the device's are the truth.
    """

    def __init__(self, trainer: "Trainer"):
        self.trainer, self.arrays = trainer, DeviceArrays()
        batch, field = trainer.config.batch, trainer.model.field
        new, grid = self.arrays.new, trainer.model.grid
        self.most_per_pixel = trainer.model.rays_per_pixel
        self.rays_room = batch.max_rays - batch.max_rays % self.most_per_pixel
        drawn = max(grid.warmup_cells if grid.warmup_cells < len(grid.values) else 0, grid.cells_per_update)
        self.marched_room = _room(max(ROOM_MARCHED * batch.marched, drawn))
        on_cuda = self.arrays.device.type == "cuda"
        self.samples_room = _room((ROOM_SAMPLES_CUDA if on_cuda else ROOM_SAMPLES) * batch.samples)
        rays, marched, samples = self.rays_room, self.marched_room, self.samples_room
        self.degree, self.geometry_rows = field.degree, field.density_network.weights[-1].shape[0]
        encoded, colour_inputs = field.layout.outputs, self.geometry_rows + self.degree**2

        images = trainer.images
        self.pixels, self.allowed = images.pixels, images.allowed
        self.image_table = self.arrays.like(images.image_table)
        self.camera_table = self.arrays.like(images.camera_table)
        self.levels = self.arrays.like(torch.from_numpy(field.layout.levels))
        self.scales = self.arrays.like(torch.from_numpy(field.layout.scales))
        digits = 53 if self.arrays.dtype == torch.float64 else 24
        correction = adam.bias_correction_table(BETA1, trainer.config.optimiser.beta2, digits)
        self.bias_correction = self.arrays.like(torch.from_numpy(correction))

        entries = field.table.numel()
        self.table, self.table_gradient, self.first_moment, self.second_moment, self.average = (
            new(entries) for _ in range(5))
        self.step_count, self.touched = (new(len(field.table), integer=True) for _ in range(2))
        self.overflowed = new(1, integer=True)
        self.density_network = make_network(self.arrays, field.density_network, samples)
        self.colour_network = make_network(self.arrays, field.colour_network, samples)
        self.networks = (self.density_network, self.colour_network)

        self.values, self.bits = new(len(grid.values)), new(len(grid.bits), integer=True)
        self.updates = 0
        self.blocks = new(len(grid.bits) // 64 + 6, integer=True)
        self.bit_counts, self.bit_sums = (new(len(grid.bits), integer=True) for _ in range(2))
        self.span_sums = new(grid.resolution**3 // occupancy_grid.SPAN + 1)
        self.visits = {}  # number of cells -> their cells, positions and densities

        self.rays, self.marched, self.samples = (new(1, integer=True) for _ in range(3))
        self.pace, self.errors, self.totals = new(2), new(2), new(4, integer=True)
        self.origins, self.directions, self.rgba = new(rays, 3), new(rays, 3), new(rays, 4)
        self.image_index, self.pixel_index, self.ray_count, self.ray_start, self.kept_count, self.kept_start = (
            new(rays, integer=True) for _ in range(6))
        self.runs = new(rays, 2 * RUNS, integer=True)
        self.partial = new(max(rays, len(grid.bits)) // scan.CHUNK + 1, integer=True)

        self.positions, self.unit, self.t, self.dt = new(marched, 3), new(marched, 3), new(marched), new(marched)
        self.ray_index = new(marched, integer=True)
        self.at_marched = Matrices(self.arrays, self.networks, marched, features=encoded,
                                   geometry=self.density_network.first_rows)

        self.visible_unit, self.visible_dt = new(samples, 3), new(samples)
        self.visible_ray = new(samples, integer=True)
        self.at_visible = Matrices(
            self.arrays, self.networks, samples, features=encoded, features_gradient=encoded,
            colour_inputs=colour_inputs, colour_inputs_gradient=colour_inputs, raw=3, raw_gradient=3)
        self.weights, self.log_density_gradient = new(samples), new(samples)
        self.shown = new(rays if self.most_per_pixel > 1 else 1, 4)
        self.push()

    def take(self, step: int, seeds: StepSeeds, factor: float) -> None:
        """One step with learning rates times `factor`."""
        self.differentiate(seeds)
        self._update(factor)
        self._update_grid(step)
        batch = self.trainer.config.batch
        kernels.next_batch(self.rays, self.marched, self.samples, self.pace, self.totals, self.trainer.smoothing,
                           batch.marched, batch.samples, self.rays_room, self.most_per_pixel)

    def differentiate(self, seeds: StepSeeds) -> None:
        """Add the gradients of the loss of one batch to `table_gradient` and the networks' `gradient`."""
        self._sample(seeds)
        self._cut()
        self._loss(seeds)
        self._backward()

    def move_average(self, share: float) -> None:
        """average <- average + share (parameter - average), of the table and of the networks."""
        kernels.move_average(self.table, share, self.average)
        for network in self.networks:
            kernels.move_average(network.weights, share, network.average)

    def add_totals(self) -> None:
        """Add what the steps since the last call did to the trainer's totals; waits for the device."""
        totals, errors = self.arrays.numbers(self.totals), self.arrays.numbers(self.errors)
        self.trainer.add_totals(
            rays=int(totals[kernels.RAYS]), marched=int(totals[kernels.MARCHED]), samples=int(totals[kernels.SAMPLES]),
            skipped=int(totals[kernels.SKIPPED]), loss=float(errors[kernels.LOSS]),
            squared_error=float(errors[kernels.SQUARED_ERROR]))
        self.trainer.table_optimiser.count_overflowed(int(self.arrays.numbers(self.overflowed)[0]))
        for array in (self.totals, self.errors, self.overflowed):
            self._put_or_zero(None, array)

    def push(self) -> None:
        """Take over the state of the trainer."""
        trainer, put = self.trainer, self.arrays.put
        field, grid = trainer.model.field, trainer.model.grid
        average = dict(zip((id(p) for p in trainer.model.parameters()), trainer.average))
        put(field.table, self.table)
        put(field.table_gradient, self.table_gradient)
        put(average[id(field.table)], self.average)
        state = trainer.table_optimiser.state.get(field.table)
        for key in ("first_moment", "second_moment", "step_count"):
            array = getattr(self, key)
            self._put_or_zero(state[key] if state else None, array)
        for network in self.networks:
            weights = list(network.module.weights)
            put(_flat(weights), network.weights)
            put(_flat([average[id(weight)] for weight in weights]), network.average)
            self._put_or_zero(None, network.gradient)
            states = [trainer.network_optimiser.state.get(weight) for weight in weights]
            known = all(states)
            for key, array in (("exp_avg", network.first_moment), ("exp_avg_sq", network.second_moment)):
                self._put_or_zero(_flat([state[key] for state in states]) if known else None, array)
            steps = int(states[0]["step"]) if known else 0
            put(torch.tensor([steps, 0], dtype=torch.int32), network.step_count)
        for array in (self.totals, self.errors, self.overflowed):
            self._put_or_zero(None, array)
        put(grid.values, self.values)
        put(grid.bits, self.bits)
        self.updates = int(grid.updates)
        put(torch.tensor([trainer.rays_per_step], dtype=torch.int32), self.rays)
        put(torch.tensor([trainer.marched_per_ray, trainer.samples_per_ray]), self.pace)

    def pull(self) -> None:
        """Bring the trainer's state up to date; waits for the device."""
        trainer, get = self.trainer, self.arrays.get
        field, grid = trainer.model.field, trainer.model.grid
        average = dict(zip((id(p) for p in trainer.model.parameters()), trainer.average))
        get(self.table, field.table)
        get(self.average, average[id(field.table)])
        counts = [self.arrays.numbers(network.step_count)[0] for network in self.networks]
        if max(counts) > 0:
            state = trainer.table_optimiser.state[field.table]
            if not state:
                state["first_moment"], state["second_moment"] = (torch.zeros_like(field.table) for _ in range(2))
                state["step_count"] = torch.zeros(len(field.table), dtype=torch.int32, device=field.table.device)
            for key in ("first_moment", "second_moment", "step_count"):
                get(getattr(self, key), state[key])
        for network, steps in zip(self.networks, counts):
            weights = list(network.module.weights)
            self._get_flat(network.weights, weights)
            self._get_flat(network.average, [average[id(weight)] for weight in weights])
            if max(counts) > 0:
                for weight in weights:
                    state = trainer.network_optimiser.state[weight]
                    state["step"] = torch.tensor(float(steps), device=weight.device)
                    state.setdefault("exp_avg", torch.zeros_like(weight))
                    state.setdefault("exp_avg_sq", torch.zeros_like(weight))
                for key, array in (("exp_avg", network.first_moment), ("exp_avg_sq", network.second_moment)):
                    self._get_flat(array, [trainer.network_optimiser.state[weight][key] for weight in weights])
        get(self.values, grid.values)
        get(self.bits, grid.bits)
        grid.updates.fill_(self.updates)
        pace = self.arrays.numbers(self.pace)
        trainer.marched_per_ray, trainer.samples_per_ray = float(pace[0]), float(pace[1])

    def _sample(self, seeds: StepSeeds) -> None:
        model = self.trainer.model
        grid, sampling = model.grid, model.config.sampling
        camera.gather_rays(self.pixels, self.image_table, self.camera_table, seeds.rays, self.origins, self.directions,
                           self.rgba, self.image_index, self.pixel_index, self.rays, self.allowed,
                           math.isqrt(self.trainer.rays_per_pixel))
        lattice = (grid.resolution, grid.cascades, model.cone_angle, math.log1p(model.cone_angle), grid.step_min,
                   UNBOUNDED, model.box.near, UNBOUNDED, seeds.jitter)
        ray_marching.march_count(self.origins, self.directions, self.bits, self.blocks, *lattice, sampling.max_samples,
                                 self.ray_count, self.runs, self.rays)
        self._pack(self.ray_count, self.ray_start, self.marched_room, self.marched)
        ray_marching.fill_samples(self.origins, self.directions, self.bits, self.blocks, *lattice, self.runs,
                                  self.ray_start, self.ray_count, self.positions, self.t, self.dt, self.ray_index,
                                  self.rays)

    def _cut(self) -> None:
        field, marched, visible = self.trainer.model.field, self.at_marched, self.at_visible
        kernels.unit_positions(self.positions, field.side, self.unit, self.marched)
        self._log_density(self.marched)
        kernels.count_visible_rays(marched.geometry, self.dt, self.ray_start, self.ray_count,
                                   self.trainer.model.config.sampling.early_stop, self.kept_count, self.rays)
        self._pack(self.kept_count, self.kept_start, self.samples_room, self.samples)
        visible.fit(self.samples)
        kernels.gather_visible(self.ray_start, self.kept_start, self.kept_count, self.unit, self.dt, marched.features,
                               self.visible_unit, self.visible_dt, self.visible_ray, visible.features, self.rays,
                               self.samples)

    def _loss(self, seeds: StepSeeds) -> None:
        trainer, visible = self.trainer, self.at_visible
        self.density_network.forward(visible.features, visible.colour_inputs, self.samples)
        kernels.view_rows(self.directions, self.visible_ray, self.geometry_rows, visible.colour_inputs, self.samples,
                          self.degree)
        self.colour_network.forward(visible.colour_inputs, visible.raw, self.samples)
        kernels.differentiate_rays(visible.colour_inputs, visible.raw, self.visible_dt, self.kept_start,
                                   self.kept_count, self.rgba, trainer.background,
                                   seeds.background if trainer.random_background else -1, trainer.model.config.huber,
                                   self.weights, self.shown, visible.raw_gradient, self.log_density_gradient,
                                   self.errors, self.rays, trainer.rays_per_pixel)

    def _backward(self) -> None:
        visible = self.at_visible
        self.colour_network.backward(visible.colour_inputs, visible.raw_gradient, visible.colour_inputs_gradient,
                                     self.samples)
        kernels.add_to_row(self.log_density_gradient, visible.colour_inputs_gradient, self.samples)
        self.density_network.backward(visible.features, visible.colour_inputs_gradient, visible.features_gradient,
                                      self.samples)
        hash_grid.hash_grid_backward_table(self.visible_unit, visible.features_gradient, self.levels, self.scales,
                                           self.table_gradient, self.trainer.model.field.layout.features, self.samples)

    def _update(self, factor: float) -> None:
        settings = self.trainer.config.optimiser
        betas, epsilon = (BETA1, settings.beta2), settings.epsilon
        adam.adam_step(self.table, self.table_gradient, self.first_moment, self.second_moment, self.step_count,
                       self.bias_correction, self.touched, self.overflowed, settings.learning_rate * factor, *betas,
                       epsilon, self.trainer.model.field.layout.features, True)
        for network in self.networks:
            adam.adam_step_dense(network.weights, network.gradient, network.first_moment, network.second_moment,
                                 network.step_count, self.samples, self.bias_correction,
                                 settings.network_learning_rate * factor, *betas, epsilon, settings.weight_decay)

    def _update_grid(self, step: int) -> None:
        grid = self.trainer.model.grid
        visit = grid.visit(step, self.updates)
        if visit is None:
            return
        occupancy_grid.decay_values(grid.decay, self.values)
        for number, cells in enumerate(self._cells(visit)):
            self._look_at(cells, visit.seed + 1 + (number << 16))
        cube = grid.resolution**3
        occupancy_grid.pack_bits(grid.threshold, cube, self.values, self.span_sums, self.bits)
        for cascade in range(1, grid.cascades):
            occupancy_grid.pool_bits(cascade, grid.resolution, self.bits)
        self.updates += 1

    def _cells(self, visit: Visit):
        """The cells of an update, in arrays that fit."""
        total = visit.uniform + visit.occupied
        if visit.everywhere:
            chunk = min(total & -total, 2 ** int(math.log2(self.marched_room)))  # a power of two that divides the total
            for first in range(0, total, chunk):
                kernels.consecutive(first, self._visited(chunk)[0])
                yield self._visited(chunk)
            return
        visited = self._visited(total)
        occupancy_grid.count_set_bits(self.bits, self.bit_counts)
        scan.inclusive_scan(self.bit_counts, self.partial, self.bit_sums)
        occupancy_grid.choose_cells_forward(self.bits, self.bit_sums, visit.seed & 0x7FFFFFFF, visit.uniform,
                                            visited[0])
        yield visited

    def _visited(self, cells: int):
        if cells not in self.visits:
            new = self.arrays.new
            number = self.arrays.like(torch.tensor([cells], dtype=torch.int32))
            self.visits[cells] = new(cells, integer=True), new(cells, 3), new(cells), number
        return self.visits[cells]

    def _look_at(self, visited, seed: int) -> None:
        grid, field = self.trainer.model.grid, self.trainer.model.field
        cells, positions, density, number = visited
        occupancy_grid.cell_positions_forward(cells, seed & 0x7FFFFFFF, grid.resolution, positions)
        kernels.unit_positions(positions, field.side, self.unit, number)
        self._log_density(number)
        kernels.density_row(self.at_marched.geometry, density)
        occupancy_grid.splat_max(cells, density, grid.step_min, self.values)

    def _log_density(self, count) -> None:
        """Features and log density, the first row of the geometry, at the first `count` of the unit positions."""
        marched = self.at_marched
        marched.fit(count)
        hash_grid.hash_grid_forward(self.unit, self.table, self.levels, self.scales, marched.features,
                                    self.trainer.model.field.layout.features, count)
        self.density_network.first_output(marched.features, marched.geometry, count)

    def _pack(self, counts, starts, room: int, total) -> None:
        scan.inclusive_scan(counts, self.partial, starts)
        ray_marching.pack_samples(counts, starts, room, self.rays, total)

    def _put_or_zero(self, tensor: Tensor | None, array) -> None:
        if tensor is not None:
            self.arrays.put(tensor, array)
        elif self.arrays.native:
            array.fill(0)
        else:
            array.zero_()

    def _get_flat(self, array, tensors: list[Tensor]) -> None:
        sizes = [tensor.numel() for tensor in tensors]
        flat = torch.empty(sum(sizes), dtype=self.arrays.dtype, device=self.arrays.device)
        self.arrays.get(array, flat)
        for tensor, part in zip(tensors, flat.split(sizes)):
            tensor.detach().copy_(part.view(tensor.shape))


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _room(samples: float) -> int:
    """At least `samples` columns; not a power of two, or all rows of a matrix would want the same cache lines."""
    return -(-int(samples) // 512) * 512 + 48
