"""The small networks of a resident step: weights, gradient and moments on the device, and what computes them there.

Matrices have a column for each sample.
"""

from collections.abc import Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from taichi_nerf_kernels import mlp
from taichi_nerf_kernels import training_step as kernels

from ..fields.mlp import (
    MLP,
    MOMENT,
    chosen_implementation,
    fastest_precision,
    layers_backward,
    layers_forward,
    padded_columns,
)
from ..timing import best_seconds
from .arrays import DeviceArrays, flat
from .parameters import Learned

__all__ = ["FusedNetwork", "Matrices", "Network", "TensorCoreNetwork", "TorchNetwork", "faster_network", "make_network"]


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
        for name, whole in self._flat.items():
            setattr(self, name, whole[: self._rows[name] * columns].view(self._rows[name], columns))


class Network(Learned):
    """A small network on the device."""

    in_bfloat16 = False  # whether what it reads and writes is, in arrays of int16

    def __init__(self, arrays: DeviceArrays, module: MLP, columns: int):
        """Room for `columns` samples."""
        super().__init__(arrays, module.weights)
        self.module = module
        self.shapes = [tuple(weight.shape) for weight in module.weights]
        self.sizes = (self.shapes[0][1], *(fan_out for fan_out, _ in self.shapes))
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
        self.scratch = {}  # number of columns -> the input, and the gradient of the output, in that precision
        self.device = arrays.device
        self.unscale = torch.tensor([1 / self.scale], device=arrays.device)  # an array: the product is in float32

    def forward(self, x, y, count):
        self.input, self.output_gradient = self._scratch(x.shape[1])
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

    def _scratch(self, columns: int) -> tuple[Tensor, Tensor]:
        """For matrices of so many columns, of which the passes of a step have one number each."""
        if columns not in self.scratch:
            self.scratch[columns] = tuple(
                torch.zeros(rows, columns, dtype=self.precision, device=self.device)
                for rows in (self.sizes[0], self.sizes[-1]))
        return self.scratch[columns]


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
        arrays.put(flat(list(network.module.weights)), network.weights)

        def there_and_back():
            network.forward(x, y, count)
            network.backward(x, y, x_gradient, count)

        return best_seconds(there_and_back, MOMENT, 2)

    return min(networks, key=seconds)
