"""The small fully connected networks behind an encoding, and the density activation.

Everything is feature-major, [features, N]: the layout in which the encodings write, so that nothing is transposed.
"""

import math
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .. import runtime
from ..ops.mlp import fused_mlp
from ..timing import best_seconds
from ..types import of_samples

# Half-precision products are compiled, and kept, for every shape they meet: N is OFFSET more than a multiple of COLUMNS
# or, where that is more, of an OCTAVE-th of a power of two. Without the offset rows would begin at multiples of 4 KB,
# and all want the same cache lines.
COLUMNS, OCTAVE, OFFSET = 512, 16, 32
MOST_MEASURED = 2**18  # samples with which the implementations are compared, at the most
MOMENT = 0.05  # seconds in which each is repeated
TRIED, TRIED_WIDTH, TRIES = 2**14, 64, 8  # samples and width of what is tried, and how often
SURELY = 0.8  # what part of the time of float32 is surely less
# Samples that go through all layers at once on a CPU, so that what lies between these stays in the second-level cache.
# Not in half precision: a product on matrix units is over before a call has begun.
BLOCK = 4096


def require_memory_of_weights(layers: Iterable[tuple[int, int]]) -> None:
    """Raises UserError where the weights of layers of so many inputs and outputs do not fit into the memory."""
    runtime.require_memory(4 * sum(fan_in * fan_out for fan_in, fan_out in layers), "a network of this width and depth",
                           "make it narrower")


class MLP(nn.Module):
    """Fully connected layers with ReLU between them and no bias: [inputs, N] -> [outputs, N].

    The runtime says what computes them: the fused kernels, in the type of the weights; or PyTorch, which takes products
    in `fastest_precision` if the weights are float32, and whose result is of that type. Gradients of the weights, and
    the weights themselves, stay float32. Differentiable once.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int, hidden_layers: int, generator: torch.Generator):
        """Weights are drawn from Xavier's uniform distribution (Glorot and Bengio 2010)."""
        super().__init__()
        sizes = [inputs, *[width] * hidden_layers, outputs]
        require_memory_of_weights(pairwise(sizes))
        self.weights = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = math.sqrt(6 / (fan_in + fan_out))
            self.weights.append(nn.Parameter((torch.rand(fan_out, fan_in, generator=generator) * 2 - 1) * bound))

    def forward(self, x: Tensor, of_rays: Tensor | None = None) -> Tensor:
        """`of_rays` [V, R] are the last V inputs where the samples of each of R rays share them, equally many of each,
        one ray after the other; x [inputs - V, N] then has the others. What depends on the ray is computed once for
        each."""
        weights = list(self.weights)
        fused = implementation(x, weights) == "fused"
        if of_rays is not None and (fused or len(weights) == 1):
            x, of_rays = torch.cat([x, of_samples(of_rays, x.shape[1], dim=1).to(x.dtype)]), None
        return fused_mlp(x.to(weights[0].dtype), weights) if fused else self.in_torch(x, of_rays)

    def in_torch(self, x: Tensor, of_rays: Tensor | None = None) -> Tensor:
        """The same by PyTorch's matrix products, whatever the runtime says; `of_rays` need a hidden layer."""
        weights = list(self.weights)
        precision = fastest_precision(x.device) if weights[0].dtype == torch.float32 else weights[0].dtype
        if torch.is_grad_enabled() or of_rays is not None:
            return _Layers.apply(x, of_rays, precision, *weights)
        outputs, _ = layers_forward(padded(x, precision), [weight.to(precision) for weight in weights], keep=False)
        return outputs[:, : x.shape[1]]

    def with_tangents(self, x: Tensor) -> Tensor:
        """[outputs, K, N] of x [inputs, K, N], whose first of K are inputs and the others their derivatives in some
        directions: likewise. By plain products in the type of the weights, differentiable as often as one likes."""
        samples = x
        for number, weight in enumerate(self.weights):
            samples = torch.mm(weight, samples.flatten(1)).unflatten(1, x.shape[1:])
            if number < len(self.weights) - 1:
                samples = samples * (samples[:, :1] > 0)  # a ReLU lets derivatives through where it does the value
        return samples


class SkipMLP(nn.Module):
    """The same with biases, and with an input that enters once more after a hidden layer, as the networks of D-NeRF and
    of Nerfies: [inputs, N] -> [outputs, N], by plain products in the type of the weights."""

    def __init__(self, inputs: int, outputs: int, *, width: int, hidden_layers: int, skip: int,
                 generator: torch.Generator):
        """`skip`: the hidden layer, counted from 0, after which the input is put before what it gives. Weights as of
        `MLP`, biases 0."""
        super().__init__()
        self.skip = skip
        sizes = [(inputs, width), *[(width, width)] * (hidden_layers - 1), (width, outputs)]
        if skip < hidden_layers:
            sizes[skip + 1] = (inputs + width, sizes[skip + 1][1])
        require_memory_of_weights(sizes)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in sizes:
            bound = math.sqrt(6 / (fan_in + fan_out))
            self.weights.append(nn.Parameter((torch.rand(fan_out, fan_in, generator=generator) * 2 - 1) * bound))
            self.biases.append(nn.Parameter(torch.zeros(fan_out)))

    def forward(self, x: Tensor) -> Tensor:
        return self.with_tangents(x[:, None])[:, 0]

    def with_tangents(self, x: Tensor) -> Tensor:
        """As of `MLP`."""
        x = samples = x.to(self.weights[0].dtype)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            samples = torch.mm(weight, samples.flatten(1)).unflatten(1, x.shape[1:])
            # a bias has no slope
            samples = torch.cat([samples[:, :1] + bias[:, None, None], samples[:, 1:]], dim=1)
            if number < len(self.weights) - 1:
                samples = samples * (samples[:, :1] > 0)
                samples = torch.cat([x, samples]) if number == self.skip else samples
        return samples


def small_network(config, inputs: int, outputs: int, generator: torch.Generator) -> MLP | SkipMLP:
    """As the settings say, which have a width, hidden layers, and a layer that the input skips to or None."""
    shape = {"width": config.width, "hidden_layers": config.layers, "generator": generator}
    return MLP(inputs, outputs, **shape) if config.skip is None else SkipMLP(inputs, outputs, skip=config.skip, **shape)


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, of_rays, precision, *weights):
        first, *others = (weight.detach().to(precision) for weight in weights)
        weights, to_rays = [first[:, : len(x)], *others], first[:, len(x) :]
        inputs, told, added = padded(x.detach(), precision), None, None
        if of_rays is not None:
            told = of_rays.detach().to(precision)
            added = torch.mm(told.t(), to_rays.t())[:, None]  # [R, 1, width]
            added = added.expand(-1, x.shape[1] // max(len(added), 1), -1)
        outputs, hidden = layers_forward(inputs, weights, added=added)
        ctx.save_for_backward(inputs, *hidden, *weights, to_rays, told)
        ctx.types = x.dtype, x.shape[1], len(weights)
        return outputs[:, : x.shape[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x_type, count, layers = ctx.types
        inputs, *hidden = ctx.saved_tensors[:layers]
        *weights, to_rays, told = ctx.saved_tensors[layers:]
        at_first, weight_gradients = gradient_at_first(padded(gradient, inputs.dtype), inputs, hidden, weights)
        told_gradient = None
        if told is not None:
            rays = told.shape[1]
            of_ray = at_first[:count].view(rays, count // max(rays, 1), len(to_rays)).sum(dim=1)  # [R, width]
            weight_gradients[0] = torch.cat([weight_gradients[0], torch.mm(of_ray.t(), told.t())], dim=1)
            told_gradient = torch.mm(to_rays.t(), of_ray.t()).to(x_type)
        weight_type = torch.float64 if x_type == torch.float64 else torch.float32
        return (
            torch.mm(weights[0].t(), at_first.t())[:, :count].to(x_type) if ctx.needs_input_grad[0] else None,
            told_gradient,
            None,  # precision
            *(weight_gradient.to(weight_type) for weight_gradient in weight_gradients),
        )


def layers_forward(x: Tensor, weights: list[Tensor], out: Tensor | None = None, added: Tensor | None = None,
                   keep: bool = True) -> tuple[Tensor, list[Tensor]]:
    """y [outputs, N] of x [inputs, N], in `out` if that is given, and the hidden layers, or none of them without
    `keep`; all of one type. `added` [R, S, width] are further summands of the first R S samples of the first layer.

    A hidden layer is [N, width]: products of such are the faster ones where there are matrix units, and the narrow ends
    are read and written transposed at no cost.
    """
    count = x.shape[1]
    out = x.new_empty(len(weights[-1]), count) if out is None else out
    hidden = [x.new_empty(count, len(weight)) for weight in weights[:-1]] if keep else []
    for block in [slice(None)] if added is not None else _blocks(x):
        samples = x[:, block].t()
        for number, weight in enumerate(weights[:-1]):
            samples = torch.mm(samples, weight.t(), out=hidden[number][block] if keep else None)
            if added is not None and number == 0:
                samples[: added.shape[:2].numel()].view_as(added).add_(added)
            _sign_in_integers(samples).relu_()
        torch.mm(weights[-1], samples.t(), out=out[:, block])
    return out, hidden


def layers_backward(gradient: Tensor, x: Tensor, hidden: list[Tensor], weights: list[Tensor], *, to_x: bool = True,
                    out: Tensor | None = None) -> tuple[Tensor | None, list[Tensor]]:
    """Of `gradient` [outputs, N] through `layers_forward`: the gradient to x, in `out` if that is given, or None
    without `to_x`; and those of the weights."""
    samples, weight_gradients = gradient_at_first(gradient, x, hidden, weights)
    return torch.mm(weights[0].t(), samples.t(), out=out) if to_x else None, weight_gradients


def gradient_at_first(gradient: Tensor, x: Tensor, hidden: list[Tensor],
                      weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Of `gradient` [outputs, N] through `layers_forward`: that of the sums of the first layer [N, width], and those of
    the weights."""
    inputs = [x.t(), *hidden]
    if len(weights) == 1:
        return gradient.t(), [torch.mm(gradient, inputs[0])]
    blocks = _blocks(x)
    at_first = x.new_empty(x.shape[1], len(weights[0])) if len(blocks) > 1 else None  # [N, width]
    by_input: list[Tensor | None] = [None] * (len(weights) - 1)
    last = None
    for block in blocks:
        last = _plus(last, gradient[:, block], inputs[-1][block])
        samples = gradient[:, block].t()
        for layer in reversed(range(1, len(weights))):
            samples = torch.mm(samples, weights[layer], out=None if at_first is None or layer > 1 else at_first[block])
            _rectified_backward(samples, inputs[layer][block], out=samples)
            by_input[layer - 1] = _plus(by_input[layer - 1], inputs[layer - 1][block].t(), samples)
    return samples if at_first is None else at_first, [*(gradient.t() for gradient in by_input), last]


def _plus(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """`total` and the product of two matrices; the first is a product alone, which takes less time than to add it to
    zeros."""
    return torch.mm(left, right) if total is None else total.addmm_(left, right)


def _blocks(x: Tensor) -> list[slice]:
    """Of the samples of x [inputs, N]: those that go through all layers at once; at least one, though it be empty."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return [slice(None)]
    return [slice(first, first + BLOCK) for first in range(0, max(x.shape[1], 1), BLOCK)]


def rectified(x: Tensor) -> Tensor:
    """ReLU of x, in its place. Differentiable once."""
    return _ReLU.apply(x)


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        _sign_in_integers(x).relu_()
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (y,) = ctx.saved_tensors
        return _rectified_backward(gradient, y)


def _rectified_backward(gradient: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """`gradient` where y = ReLU(..) is above zero, else zero; in `out`, which may be `gradient`, if that is given."""
    out = torch.empty_like(gradient) if out is None else out
    torch.ops.aten.threshold_backward.grad_input(_sign_in_integers(gradient), _sign_in_integers(y), 0,
                                                 grad_input=_sign_in_integers(out))
    return out


def _sign_in_integers(x: Tensor) -> Tensor:
    """A view of x in which the same numbers are above zero: bfloat16 as integers, for a ReLU four times as fast."""
    return x.view(torch.int16) if x.dtype == torch.bfloat16 else x


def padded(x: Tensor, precision: torch.dtype) -> Tensor:
    """`x` [features, N] in `precision`, with columns of zeros up to a round number where that pays."""
    count = x.shape[1]
    if precision in (torch.float32, torch.float64):
        return x.to(precision)
    padded = torch.empty(x.shape[0], padded_columns(count), dtype=precision, device=x.device)
    padded[:, :count].copy_(x)
    padded[:, count:].zero_()
    return padded


def padded_columns(count: int) -> int:
    """Columns that products in half precision take for `count` of them."""
    step = max(COLUMNS, 2 ** count.bit_length() // OCTAVE)
    return max(-(-(count - OFFSET) // step), 0) * step + OFFSET


def implementation(x: Tensor, weights: list[Tensor]) -> str:
    """`torch` or `fused`, for inputs `x`."""
    chosen = chosen_implementation(weights[0].dtype)
    if chosen != "auto":
        return chosen
    if x.shape[1] == 0:
        return "torch"
    sizes = (weights[0].shape[1], *(weight.shape[0] for weight in weights))
    samples = min(4 ** max(round(math.log(x.shape[1], 4)), 5), MOST_MEASURED)  # which of the two may depend on it
    return faster_implementation(sizes, samples, x.device, runtime.current())


def chosen_implementation(dtype: torch.dtype) -> str:
    """`torch`, `fused`, or `auto` where a measurement has to decide, for weights of `dtype`."""
    here = runtime.current()
    if here.mlp == "auto" and (here.backend == "cpu" or dtype != torch.float32):
        return "torch"  # faster in most rows of docs/benchmarks.md, and in all in bfloat16: not measured anew
    return here.mlp


@lru_cache
def faster_implementation(sizes: tuple[int, ...], samples: int, device: torch.device, here: runtime.Runtime) -> str:
    """`torch` or `fused`: what takes less time for forward and backward of so many samples on this runtime."""
    random = torch.Generator().manual_seed(0)
    network = MLP(sizes[0], sizes[-1], width=max(sizes[1:-1], default=1), hidden_layers=len(sizes) - 2,
                  generator=random).to(device)
    x = torch.rand(sizes[0], samples, generator=random).to(device).requires_grad_()
    contestants = {"torch": network.in_torch, "fused": lambda x: fused_mlp(x, list(network.weights))}
    with torch.enable_grad():
        seconds = {name: best_seconds(lambda forward=forward: forward(x).float().sum().backward(), MOMENT, 2)
                   for name, forward in contestants.items()}
    return min(seconds, key=seconds.get)


def truncated_exp(x: Tensor) -> Tensor:
    """exp(x), in whose gradient x is clamped to [-15, 15], so that the gradient neither overflows nor dies.

    The value is finite: beyond e^80, which makes any distance opaque, it grows no more.
    """
    return _TruncatedExp.apply(x)


class _TruncatedExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(max=80).exp_()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.clamp(-15, 15).exp_()


@lru_cache
def fastest_precision(device: torch.device) -> torch.dtype:
    """The type in which matrix products of small networks run fastest on `device`: half where it is surely so.

    Instructions for bfloat16 do not make a processor faster by themselves: some have matrix units for it, some do twice
    as many products of it, and some take twice as long as for float32. So a hidden layer of each is tried, once a
    process; by processor time, which others on the machine do not change.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return torch.float32
    samples, weight = torch.ones(TRIED, TRIED_WIDTH), torch.ones(TRIED_WIDTH, TRIED_WIDTH)
    products = [partial(torch.mm, samples.to(precision), weight.to(precision))
                for precision in (torch.bfloat16, torch.float32)]
    half, single = np.min([[_processor_seconds(product) for product in products] for _ in range(TRIES)], axis=0)
    return torch.bfloat16 if half < SURELY * single else torch.float32


def _processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
