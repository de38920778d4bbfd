"""Laws of the fused networks: nothing beyond the count is touched, nothing of the batch is forgotten."""

from itertools import pairwise

import pytest
import torch

from taichi_nerf.reference import mlp as reference
from taichi_nerf_kernels import mlp as kernel
from taichi_nerf_kernels.engine import on_cpu, ti

ONE_HIDDEN, TWO_HIDDEN, DEEP, LINEAR = (19, 33, 6), (3, 18, 20, 9), (5, 8, 4, 12, 1), (7, 5)
NETWORKS = [ONE_HIDDEN, DEEP, LINEAR]
LARGE = (90, 64, 40, 1)  # more weights than a GPU's shared memory takes
# A CPU, whose tiles are smaller, compiles the longer the wider a network is.
NARROW = {ONE_HIDDEN: (5, 18, 6), DEEP: (3, 6, 4, 5, 1), TWO_HIDDEN: (3, 6, 7, 9)}


def on_backend(sizes):
    """The network that is to be tried in place of one of these `sizes`."""
    return NARROW.get(sizes, sizes) if on_cpu() else sizes


def layers(sizes, rng):
    """Weights [fan_out, fan_in] of each layer, in float64."""
    return [torch.randn(b, a, generator=rng, dtype=torch.float64) * (2 / a) ** 0.5 for a, b in pairwise(sizes)]


def flat(weights):
    return torch.cat([weight.reshape(-1) for weight in weights])


def on_device(tensor):
    """A `ti.ndarray`: of a tensor, Vulkan copies all of an output back, written or not."""
    array = ti.ndarray({torch.float64: ti.f64, torch.float32: ti.f32, torch.int32: ti.i32}[tensor.dtype], tensor.shape)
    array.from_numpy(tensor.cpu().numpy())
    return array


def from_device(array):
    return torch.from_numpy(array.to_numpy())


def expected_gradients(x, weights, cotangent):
    x, weights = x.clone().requires_grad_(), [weight.clone().requires_grad_() for weight in weights]
    y = reference.mlp(x, weights)
    y.backward(cotangent)
    return y.detach(), x.grad, flat([weight.grad for weight in weights])


@pytest.mark.parametrize("sizes", NETWORKS, ids=str)
def test_columns_beyond_the_count_are_neither_read_nor_written(backend, rng, sizes):
    sizes, capacity, count = on_backend(sizes), 300, 131
    x = torch.randn(sizes[0], capacity, generator=rng, dtype=torch.float64)
    cotangent = torch.randn(sizes[-1], capacity, generator=rng, dtype=torch.float64)
    weights = layers(sizes, rng)
    expected, expected_x, expected_weights = expected_gradients(x[:, :count], weights, cotangent[:, :count])
    x[:, count:] = cotangent[:, count:] = float("nan")

    x, cotangent, weights = (on_device(backend.tensor(t)) for t in (x, cotangent, flat(weights)))
    number = on_device(torch.tensor([count], dtype=torch.int32))
    y = on_device(backend.empty(sizes[-1], capacity))
    activations = on_device(backend.empty(*kernel.mlp_activations_shape(sizes, capacity)))
    kernel.mlp_forward(x, weights, activations, y, sizes, count=number)
    backend.assert_close(from_device(y)[:, :count], expected, "y")
    assert from_device(y)[:, count:].isnan().all() and from_device(activations)[:, count:].isnan().all()

    x_gradient = on_device(backend.empty(sizes[0], capacity))
    scratch = on_device(backend.empty(*kernel.mlp_scratch_shape(sizes, capacity)))
    weight_gradient = on_device(torch.ones(len(expected_weights), dtype=backend.dtype))
    kernel.mlp_backward(x, weights, activations, cotangent, x_gradient, weight_gradient, scratch, sizes, count=number)
    backend.assert_close(from_device(x_gradient)[:, :count], expected_x, "x gradient")
    backend.assert_close(from_device(weight_gradient) - 1, expected_weights, "weight gradient")
    assert from_device(x_gradient)[:, count:].isnan().all() and from_device(scratch)[:, count:].isnan().all()


@pytest.mark.parametrize("sizes", [*NETWORKS, LARGE], ids=str)
def test_the_gradient_of_the_inputs_may_be_left_out(backend, rng, sizes):
    if sizes in (DEEP, LARGE) and on_cpu():
        pytest.skip("a CPU stages no weights and treats all layers alike: one path, which is slow to compile")
    sizes = on_backend(sizes)
    x = torch.randn(sizes[0], 77, generator=rng, dtype=torch.float64)
    cotangent = torch.randn(sizes[-1], 77, generator=rng, dtype=torch.float64)
    weights = layers(sizes, rng)
    _, _, expected = expected_gradients(x, weights, cotangent)
    x, cotangent, weights = backend.tensor(x), backend.tensor(cotangent), backend.tensor(flat(weights))
    y, activations = backend.empty(sizes[-1], 77), backend.empty(*kernel.mlp_activations_shape(sizes, 77))
    kernel.mlp_forward(x, weights, activations, y, sizes)
    gradient, scratch = torch.zeros_like(weights), backend.empty(*kernel.mlp_scratch_shape(sizes, 77))
    kernel.mlp_backward(x, weights, activations, cotangent, None, gradient, scratch, sizes)
    backend.assert_close(gradient, expected, "weight gradient")


def test_activations_need_not_be_kept_and_the_first_outputs_are_a_network(backend, rng):
    x, weights = torch.randn(5, 70, generator=rng, dtype=torch.float64), layers((5, 4, 4, 3), rng)
    expected = reference.mlp(x, weights)[:1]
    y = backend.empty(1, 70)
    kernel.mlp_forward(backend.tensor(x), backend.tensor(flat(weights)), None, y, (5, 4, 4, 1))
    backend.assert_close(y, expected)


def test_no_samples_change_nothing(backend):
    sizes, count = LINEAR, on_device(torch.zeros(1, dtype=torch.int32))
    x, weights = on_device(backend.empty(7, 20)), on_device(backend.empty(35))
    activations, y = on_device(backend.empty(1, 20)), on_device(backend.empty(5, 20))
    kernel.mlp_forward(x, weights, activations, y, sizes, count=count)
    gradient = on_device(torch.ones(35, dtype=backend.dtype))
    kernel.mlp_backward(x, weights, activations, y, x, gradient, activations, sizes, count=count)
    assert from_device(y).isnan().all() and (from_device(gradient) == 1).all()


@pytest.mark.parametrize("sizes", NETWORKS, ids=str)
def test_a_network_within_a_kernel_is_the_same_network(backend, rng, sizes):
    sizes = on_backend(sizes)

    @ti.kernel
    def in_blocks(x: ti.types.ndarray(ndim=2), weights: ti.types.ndarray(ndim=1), y: ti.types.ndarray(ndim=2)):
        for block in range(x.shape[1] // kernel.LANES):
            a = ti.Vector.zero(float, sizes[0] * kernel.LANES)
            out = ti.Vector.zero(float, sizes[-1] * kernel.LANES)
            kernel.load_lanes(x, 0, block * kernel.LANES, kernel.LANES, sizes[0], a)
            kernel.network_lanes(a, weights, out, 2, sizes)
            kernel.store_lanes(out, 0, block * kernel.LANES, kernel.LANES, sizes[-1], y)

    @ti.kernel
    def by_sample(x: ti.types.ndarray(ndim=2), weights: ti.types.ndarray(ndim=1), y: ti.types.ndarray(ndim=2)):
        for i in range(x.shape[1]):
            a = kernel.load_sample(x, i, sizes[0])
            kernel.store_sample(kernel.network_sample(a, weights, 2, sizes), y, 0, i, sizes[-1])

    x = torch.randn(sizes[0], 4 * kernel.LANES, generator=rng, dtype=torch.float64)
    weights = layers(sizes, rng)
    shifted = torch.cat([torch.full((2,), 9.0, dtype=torch.float64), flat(weights)])
    y = backend.empty(sizes[-1], x.shape[1])
    (in_blocks if on_cpu() else by_sample)(backend.tensor(x), backend.tensor(shifted), y)
    backend.assert_close(y, reference.mlp(x, weights))


def test_the_order_of_samples_does_not_matter(backend, rng):
    sizes = on_backend(ONE_HIDDEN)
    x = backend.tensor(torch.randn(sizes[0], 1000, generator=rng, dtype=torch.float64))
    weights = backend.tensor(flat(layers(sizes, rng)))
    order = torch.randperm(1000, generator=rng).to(backend.device)
    results = []
    for inputs in (x, x[:, order].contiguous()):
        y, activations = backend.empty(sizes[2], 1000), backend.empty(sizes[1], 1000)
        kernel.mlp_forward(inputs, weights, activations, y, sizes)
        results.append(y)
    assert torch.equal(results[0][:, order], results[1])


def test_a_network_without_outputs_is_refused(backend):
    x = backend.empty(3, 4)
    with pytest.raises(ValueError, match="sizes must be at least two positive numbers"):
        kernel.mlp_forward(x, x[0], x, x, (3,))
