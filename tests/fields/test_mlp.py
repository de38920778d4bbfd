"""The small networks against plain PyTorch in float64: value and every gradient."""

import dataclasses
import math

import pytest
import torch

from taichi_nerf.fields import mlp
from taichi_nerf.fields.mlp import COLUMNS, MLP, OFFSET, fastest_precision, padded_columns, truncated_exp
from taichi_nerf_kernels.engine import on_cpu

SHAPES = {
    "density network": dict(inputs=12, outputs=16, width=64, hidden_layers=1),
    "colour network": dict(inputs=32, outputs=3, width=64, hidden_layers=2),
    "no hidden layer": dict(inputs=5, outputs=2, width=8, hidden_layers=0),
}
NARROW = dict(inputs=5, outputs=6, width=18, hidden_layers=1)  # that of tests/kernels: a CPU compiles wide ones long


@pytest.fixture(autouse=True)
def in_torch(monkeypatch):
    """PyTorch computes the networks, unless a test says otherwise."""
    here = dataclasses.replace(mlp.runtime.current(), mlp="torch")
    monkeypatch.setattr(mlp.runtime, "current", lambda: here)


def plain(x, weights):
    """[outputs, N]: the layers as anyone would write them."""
    for weight in weights[:-1]:
        x = torch.relu(weight @ x)
    return weights[-1] @ x


def make(rng, count, shape, dtype):
    """A network of this type, its inputs [inputs, N] and a cotangent; all exact in float64."""
    network = MLP(**shape, generator=rng).to(dtype)
    x = torch.randn(shape["inputs"], count, generator=rng).to(dtype).requires_grad_()
    return network, x, torch.randn(shape["outputs"], count, generator=rng).to(dtype)


def value_and_gradients(network, x, cotangent):
    output = network(x)
    return output, torch.autograd.grad(output, [x, *network.weights], cotangent)


def plain_value_and_gradients(network, x, cotangent):
    x = x.detach().double().requires_grad_()
    weights = [weight.detach().double().requires_grad_() for weight in network.weights]
    output = plain(x, weights)
    return output, torch.autograd.grad(output, [x, *weights], cotangent.double())


def assert_close(actual, expected, tolerance, name):
    assert actual.shape == expected.shape, name
    if expected.numel():
        error = (actual.double() - expected).norm() / expected.norm().clamp(min=1e-30)
        assert error <= tolerance, f"{name}: relative error {error:.3g}"


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(
    ("dtype", "precision", "tolerance"),
    [
        (torch.float64, torch.float64, 1e-13),
        (torch.float32, torch.float32, 1e-5),
        (torch.float32, torch.bfloat16, 0.1),  # ReLUs switch where rounding turns a sign
    ],
    ids=["f64", "f32", "bf16"],
)
def test_value_and_gradients_equal_plain_layers(monkeypatch, rng, count, shape, dtype, precision, tolerance):
    monkeypatch.setattr(mlp, "fastest_precision", lambda device: precision)
    network, x, cotangent = make(rng, count, shape, dtype)
    actual, gradients = value_and_gradients(network, x, cotangent)
    expected, plain_gradients = plain_value_and_gradients(network, x, cotangent)
    assert_close(actual, expected, tolerance, "value")
    names = ["input", *(f"weight {n}" for n in range(len(network.weights)))]
    for name, gradient, plain_gradient in zip(names, gradients, plain_gradients, strict=True):
        assert_close(gradient, plain_gradient, tolerance, f"gradient of {name}")
        assert gradient.dtype == dtype, name


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-13), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("shape", ["colour network", "no hidden layer"])
def test_what_the_samples_of_a_ray_share_may_be_told_once_for_each_ray(monkeypatch, rng, shape, precision, tolerance):
    """The same as if it were told of each sample; so are the gradients."""
    monkeypatch.setattr(mlp, "fastest_precision", lambda device: precision)
    dtype = torch.float64 if precision == torch.float64 else torch.float32
    for rays, each in ((7, 9), (1, 63), (7, 0), (0, 0)):
        network, x, cotangent = make(rng, rays * each, SHAPES[shape], dtype)
        of_rays = torch.randn(3, rays, generator=rng).to(dtype).requires_grad_()
        with torch.no_grad():
            x[-3:] = of_rays.repeat_interleave(each, dim=1)
        known = x[:-3].detach().requires_grad_()
        y = network(known, of_rays)
        found = torch.autograd.grad(y, [known, of_rays, *network.weights], cotangent)
        expected, (of_x, *of_weights) = plain_value_and_gradients(network, x, cotangent)
        assert_close(y, expected, tolerance, "value")
        of_rays_gradient = of_x[-3:].reshape(3, rays, each).sum(dim=2)
        for actual, gradient in zip(found, [of_x[:-3], of_rays_gradient, *of_weights], strict=True):
            assert_close(actual, gradient, tolerance, f"gradient with {rays} rays")


@pytest.mark.parametrize("implementation", ["torch", "fused"])
def test_either_implementation_gives_the_same(backend, monkeypatch, rng, implementation):
    monkeypatch.setattr(mlp, "fastest_precision", lambda device: backend.dtype)
    monkeypatch.setattr(mlp, "implementation", lambda x, weights: implementation)
    shape = NARROW if implementation == "fused" and on_cpu() else SHAPES["colour network"]
    network, x, cotangent = make(rng, 130, shape, backend.dtype)
    network, x = network.to(backend.device), x.detach().to(backend.device).requires_grad_()
    actual, gradients = value_and_gradients(network, x, cotangent.to(backend.device))
    expected, plain_gradients = plain_value_and_gradients(network.cpu(), x.cpu(), cotangent)
    backend.assert_close(actual, expected)
    for gradient, plain_gradient in zip(gradients, plain_gradients, strict=True):
        backend.assert_close(gradient, plain_gradient, "gradient")


def test_the_runtime_says_what_computes_a_network(backend, monkeypatch, rng):
    called = []
    monkeypatch.setattr(mlp, "fused_mlp", lambda x, weights: called.append("fused") or plain(x, weights))
    network = MLP(**SHAPES["density network"], generator=rng).to(backend.device)
    x = torch.randn(12, 9, generator=rng).to(backend.device)
    for choice, expected in (("torch", []), ("fused", ["fused"])):
        here = dataclasses.replace(mlp.runtime.current(), mlp=choice)
        monkeypatch.setattr(mlp.runtime, "current", lambda here=here: here)
        called.clear()
        network(x)
        assert called == expected


def test_auto_takes_the_faster_one(monkeypatch, rng):
    here = dataclasses.replace(mlp.runtime.current(), backend="vulkan", mlp="auto")
    monkeypatch.setattr(mlp.runtime, "current", lambda: here)
    sizes = []
    monkeypatch.setattr(mlp, "fused_mlp", lambda x, weights: sizes.append(x.shape[1]) or plain(x, weights))
    network = MLP(**SHAPES["density network"], generator=rng)
    for seconds, expected in (((1, 2), "torch"), ((2, 1), "fused")):
        clock = iter(seconds)
        monkeypatch.setattr(mlp, "best_seconds", lambda work, *budget, clock=clock: work() or next(clock))
        mlp.faster_implementation.cache_clear()
        for samples in (3000, 5000):  # as many samples as about the same: measured once
            assert mlp.implementation(torch.zeros(12, samples), list(network.weights)) == expected
    mlp.faster_implementation.cache_clear()
    assert sizes == [4096, 4096]


def test_which_is_faster_is_measured_again_for_another_number_of_samples(monkeypatch, rng):
    here = dataclasses.replace(mlp.runtime.current(), backend="vulkan", mlp="auto")
    monkeypatch.setattr(mlp.runtime, "current", lambda: here)
    measured = []
    monkeypatch.setattr(mlp, "faster_implementation",
                        lambda sizes, samples, device, here: measured.append(samples) or "torch")
    weights = list(MLP(**SHAPES["density network"], generator=rng).weights)
    for samples in (0, 1, 5000, 70_000, 3_000_000):
        mlp.implementation(torch.empty(12, samples, device="meta"), weights)
    assert measured == [1024, 4096, 65_536, 262_144]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_relu_in_place_is_relu(backend, rng, dtype):
    x = torch.cat([torch.randn(63, 5, generator=rng), torch.tensor([[0.0, -0.0, 1e-30, -1e-30, float("inf")]])])
    found, expected = (backend.tensor(x, dtype).requires_grad_() for _ in range(2))
    cotangents = backend.tensor(torch.randn(x.shape, generator=rng), dtype)
    for start, rectify in ((found, mlp.rectified), (expected, torch.relu)):
        y = rectify(start * 1)
        y.backward(cotangents)
        assert torch.equal(y, torch.relu(start))
    assert torch.equal(found.grad, expected.grad) and (found.grad != 0).any()


def test_gradcheck(rng):
    network, x, _ = make(rng, 5, SHAPES["colour network"], torch.float64)
    assert torch.autograd.gradcheck(lambda x, *weights: network(x), (x, *network.weights))


@pytest.mark.parametrize("count", [1, COLUMNS - 1, COLUMNS, COLUMNS + OFFSET])
def test_padding_changes_neither_values_nor_gradients(monkeypatch, rng, count):
    """The columns are the first of a batch that needs no padding and whose others have no cotangent."""
    monkeypatch.setattr(mlp, "fastest_precision", lambda device: torch.bfloat16)
    network, x, cotangent = make(rng, 2 * COLUMNS + OFFSET, SHAPES["density network"], torch.float32)
    cotangent[:, count:] = 0
    whole, whole_gradients = value_and_gradients(network, x, cotangent)
    first = x.detach()[:, :count].requires_grad_()
    value, gradients = value_and_gradients(network, first, cotangent[:, :count])
    assert value.shape == (16, count)
    assert_close(value, whole[:, :count].double(), 1e-6, "value")
    assert_close(gradients[0], whole_gradients[0][:, :count].double(), 1e-6, "gradient of the input")
    for actual, expected in zip(gradients[1:], whole_gradients[1:], strict=True):
        assert_close(actual, expected.double(), 4e-3, "gradient of a weight")  # sums in another order


def test_padded_columns_are_few_numbers_and_grow_with_the_count():
    columns = [padded_columns(count) for count in range(70_000)]
    assert all(count <= number <= 1.13 * count + COLUMNS for count, number in enumerate(columns))
    assert columns == sorted(columns) and len(set(columns)) < 80
    assert all(number % COLUMNS == OFFSET for number in columns)


def test_a_column_does_not_depend_on_its_neighbours(monkeypatch, rng):
    monkeypatch.setattr(mlp, "fastest_precision", lambda device: torch.float32)
    network, x, _ = make(rng, 40, SHAPES["colour network"], torch.float32)
    order = torch.randperm(40, generator=rng)
    assert torch.allclose(network(x)[:, order], network(x[:, order]), atol=1e-6)


def test_inputs_that_need_no_gradient_get_none(rng):
    network, x, cotangent = make(rng, 9, SHAPES["density network"], torch.float64)
    network(x.detach()).backward(cotangent)
    assert x.grad is None and all(weight.grad is not None for weight in network.weights)


def test_a_second_derivative_is_refused(rng):
    network, x, cotangent = make(rng, 9, SHAPES["density network"], torch.float64)
    cotangent.requires_grad_()
    (gradient,) = torch.autograd.grad(network(x), x, cotangent, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_initial_weights_are_bounded_centred_and_a_function_of_the_generator():
    networks = [
        MLP(32, 16, width=64, hidden_layers=1, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    for weight, same, other in zip(*(network.weights for network in networks)):
        bound = math.sqrt(6 / sum(weight.shape))
        assert weight.abs().max() <= bound and weight.abs().max() > 0.95 * bound
        assert weight.mean().abs() < 0.1 * bound
        assert torch.equal(weight, same) and not torch.equal(weight, other)


def test_truncated_exp_is_exp_where_exp_is_harmless():
    x = torch.linspace(-14.9, 14.9, 101, dtype=torch.float64).requires_grad_()
    assert torch.equal(truncated_exp(x), x.exp())
    assert torch.autograd.gradcheck(truncated_exp, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_truncated_exp_has_the_gradient_of_the_clamped_argument(dtype):
    x = torch.tensor([-1e30, -100.0, -15.0, 0.0, 15.0, 20.0, 100.0, 1e30], dtype=dtype).requires_grad_()
    value = truncated_exp(x)
    value.sum().backward()
    assert torch.isfinite(value).all() and (value >= 0).all()
    assert torch.equal(x.grad, x.detach().clamp(-15, 15).exp())


def test_truncated_exp_grows_up_to_what_is_opaque_at_any_distance():
    x = torch.tensor([0.0, 20.0, 79.0, 81.0, 200.0])
    value = truncated_exp(x)
    assert torch.allclose(value[:3], x[:3].exp())
    assert value[3] == value[4] >= 1e30


@pytest.mark.parametrize("has_bfloat16, half, expected", [
    (False, 0.1, torch.float32), (True, 0.5, torch.bfloat16), (True, 0.9, torch.float32), (True, 1.8, torch.float32)])
def test_products_are_in_bfloat16_where_a_processor_is_surely_faster_by_it(monkeypatch, has_bfloat16, half, expected):
    tried = []

    def seconds(product):
        tried.append(product().dtype)
        busy = 5.0 if len(tried) < 5 else 0.0
        return busy + (half if tried[-1] == torch.bfloat16 else 1.0)

    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_bfloat16, raising=False)
    monkeypatch.setattr(mlp, "_processor_seconds", seconds)
    assert fastest_precision.__wrapped__(torch.device("cpu")) == expected
    assert set(tried) == ({torch.bfloat16, torch.float32} if has_bfloat16 else set())


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 1000])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_blocks_of_samples_are_as_all_at_once(rng, monkeypatch, shape, count):
    monkeypatch.setattr(mlp, "BLOCK", 100)
    network, x, cotangent = make(rng, count, shape, torch.float64)
    output, gradients = value_and_gradients(network, x, cotangent)
    expected, expected_gradients = plain_value_and_gradients(network, x, cotangent)
    assert_close(output, expected, 1e-12, "output")
    for number, gradient in enumerate(gradients):
        assert_close(gradient, expected_gradients[number], 1e-12, f"gradient {number}")
    with torch.no_grad():
        assert torch.equal(network(x), output), "without gradients it is the same"


def test_blocks_write_into_what_is_given_and_keep_nothing_that_is_not_asked_for(rng, monkeypatch):
    monkeypatch.setattr(mlp, "BLOCK", 100)
    network, x, _ = make(rng, 250, SHAPES["colour network"], torch.float64)
    weights, room = [weight.detach() for weight in network.weights], torch.full((4, 300), torch.nan).double()
    out, hidden = mlp.layers_forward(x.detach(), weights, out=room[1:, :250])
    assert [len(layer) for layer in hidden] == [250, 250] and out.data_ptr() == room[1:].data_ptr()
    assert_close(out, plain(x, weights), 1e-12, "output")
    assert room[0].isnan().all() and room[:, 250:].isnan().all()
    assert mlp.layers_forward(x.detach(), weights, keep=False)[1] == []
