"""The multisampling operation against the float64 reference, and its arguments."""

import pytest
import torch

from taichi_nerf.ops.multisampling import multisample_cones
from taichi_nerf.reference import multisampling as reference

NAMES = ("t_0", "t_1", "origins", "directions", "radius")


def make_inputs(backend, counts, rng):
    """Intervals of rays with so many of each."""
    rays, samples = len(counts), sum(counts)
    step = torch.rand(samples, generator=rng, dtype=torch.float64) * 0.3 + 0.05
    lines = [torch.randn(rays, 3, generator=rng, dtype=torch.float64) for _ in range(2)]
    lines[1] += lines[1].sign()  # no direction near zero length
    radius = torch.rand(rays, generator=rng, dtype=torch.float64) * 0.2 + 0.05
    t_0 = torch.rand(samples, generator=rng, dtype=torch.float64) * 2
    return [backend.tensor(x).requires_grad_() for x in (t_0, t_0 + step, *lines, radius)]


def packed(backend, counts):
    count = torch.tensor(counts, dtype=torch.int32)
    return [backend.tensor(x, torch.int32) for x in (count.cumsum(0) - count, count)]


@pytest.mark.parametrize("counts", [[], [0, 0], [1], [7] * 9, [3, 0, 5, 55], [1000] * 2],
                         ids=["no rays", "no intervals", "one", "even", "ragged", "many"])
@pytest.mark.parametrize("seed", [None, 2**33 + 5])
def test_value_and_gradient_equal_the_reference(backend, rng, counts, seed):
    inputs = make_inputs(backend, counts, rng)
    pack = packed(backend, counts) if len(set(counts)) > 1 else [None, None]
    exact = [i.detach().double().requires_grad_() for i in inputs]
    outputs = multisample_cones(*inputs, *pack, seed=seed)
    expected = reference.multisample_cones(*exact, *pack, seed=seed)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64).to(e.device) for e in expected]
    for name, actual, value in zip(("positions", "widths"), outputs, expected):
        backend.assert_close(actual, value, name)
    gradients = torch.autograd.grad(outputs, inputs, [backend.tensor(c) for c in cotangents])
    expected_gradients = torch.autograd.grad(expected, exact, cotangents)
    for name, actual, value in zip(NAMES, gradients, expected_gradients):
        backend.assert_close(actual, value, f"gradient of {name}")


def test_gradcheck(backend, rng):
    if backend.dtype != torch.float64:
        pytest.skip("gradcheck needs float64")
    inputs = make_inputs(backend, [2, 0, 3], rng)
    for seed in (None, 3):
        assert torch.autograd.gradcheck(
            lambda *x, seed=seed: multisample_cones(*x, *packed(backend, [2, 0, 3]), seed=seed), inputs)


def test_equally_many_of_each_ray_are_as_if_packed(backend, rng):
    inputs = make_inputs(backend, [5] * 4, rng)
    for a, b in zip(multisample_cones(*inputs), multisample_cones(*inputs, *packed(backend, [5] * 4))):
        assert torch.equal(a, b)


def test_wrong_arguments_raise_an_error_that_names_them(backend, rng):
    t_0, t_1, *rays = make_inputs(backend, [3] * 4, rng)
    with pytest.raises(ValueError, match=r"t_1 must have shape \(12\)"):
        multisample_cones(t_0, t_1[1:], *rays)
    with pytest.raises(ValueError, match=r"radius must have shape \(4\)"):
        multisample_cones(t_0, t_1, *rays[:2], rays[2][1:])
    with pytest.raises(TypeError, match="directions must be"):
        multisample_cones(t_0, t_1, rays[0], rays[1].half(), rays[2])
    with pytest.raises(ValueError, match="t_0 must have equally many intervals of each of 4 rays, got 11"):
        multisample_cones(t_0[1:], t_1[1:], *rays)
    with pytest.raises(ValueError, match=r"ray_start must have shape \(4\), got \(3,\)"):
        multisample_cones(t_0, t_1, *rays, *packed(backend, [3, 3, 6]))
    if backend.device.type == "cpu":
        with pytest.raises(ValueError, match="ray_start and ray_count must lie among the 12 samples"):
            multisample_cones(t_0, t_1, *rays, *packed(backend, [3, 3, 3, 4]))
