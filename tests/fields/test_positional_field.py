"""NeRF's field against its network written out, its initial weights, and its options."""

import math

import pytest
import torch
import torch.nn.functional as F

from taichi_nerf.config import PositionalFieldConfig
from taichi_nerf.fields import positional_field
from taichi_nerf.fields.encoded import EncodedGaussians
from taichi_nerf.fields.positional_field import PositionalField
from taichi_nerf.ops.positional_encoding import encode_gaussian, encode_position, encoding_width
from taichi_nerf.reference.spherical_harmonics import spherical_harmonics
from taichi_nerf.types import Shot


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    """Products are taken in the type of the weights."""
    monkeypatch.setattr(positional_field, "fastest_precision", lambda device: torch.float32)


def make_field(rng, **options):
    return PositionalField(**{"inputs": 63, "view_inputs": 27, "generator": rng, **options})


def written_out(field, x, v, samples):
    """Figure 7 of the paper, as its code has it: eight layers, the input again before the sixth."""
    p = dict(field.named_parameters())

    def layer(name, h):
        return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    h = x
    for i in range(5):
        h = layer(f"trunk.{i}", h).relu()
    h = torch.cat([x, h], dim=1)
    for i in range(5, 8):
        h = layer(f"trunk.{i}", h).relu()
    density = layer("density_layer", h)[:, 0].relu()
    seen = torch.cat([layer("bottleneck_layer", h), v.repeat_interleave(samples, 0)], dim=1)
    return density, layer("colour_layer", layer("view_layer", seen).relu()).sigmoid()


@pytest.mark.parametrize("rays, samples", [(1, 1), (7, 9), (0, 4)])
def test_the_field_is_the_network_written_out_in_value_and_gradient(rng, rays, samples):
    field = make_field(rng).double()
    x = torch.randn(rays * samples, 63, generator=rng, dtype=torch.float64, requires_grad=True)
    v = torch.randn(rays, 27, generator=rng, dtype=torch.float64, requires_grad=True)
    density, hidden = field.density(x)
    found = density, field.colour(hidden, v)
    expected = written_out(field, x, v, samples)
    inputs = [x, v, *field.parameters()]
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64) for e in expected]
    for a, b in zip((*found, *torch.autograd.grad(found, inputs, cotangents)),
                    (*expected, *torch.autograd.grad(expected, inputs, cotangents))):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_weights_are_glorots_and_biases_zero(rng):
    field = make_field(rng)
    for name, parameter in field.named_parameters():
        if name.endswith("bias"):
            assert parameter.abs().max() == 0, name
        else:
            bound = math.sqrt(6 / sum(parameter.shape))
            assert 0.9 * bound < parameter.abs().max() <= bound, name
    he = make_field(rng, initial="he").trunk[1].weight
    assert 0.9 * math.sqrt(6 / 256) < he.abs().max() <= math.sqrt(6 / 256)


def test_the_paper_network_has_the_papers_number_of_parameters(rng):
    assert sum(p.numel() for p in make_field(rng).parameters()) == 595_844


def test_the_same_generator_gives_the_same_field():
    a, b = (make_field(torch.Generator().manual_seed(5)).state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_density_does_not_see_the_direction_and_colour_does(rng):
    field = make_field(rng)
    _, hidden = field.density(torch.randn(20, 63, generator=rng))
    a, b = (field.colour(hidden, torch.randn(4, 27, generator=rng)) for _ in range(2))
    assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize("activation, expected", [("relu", F.relu), ("softplus", lambda x: F.softplus(x - 1)),
                                                  ("exp", torch.exp)])
def test_density_activations_and_noise_act_on_the_raw_density(rng, activation, expected):
    field = make_field(rng, density_activation=activation)
    x, noise = torch.randn(50, 63, generator=rng), torch.randn(50, generator=rng)
    _, hidden = field.density(x)
    raw = field.density_layer(hidden)[:, 0]
    torch.testing.assert_close(field.density(x)[0], expected(raw))
    torch.testing.assert_close(field.density(x, noise)[0], expected(raw + noise))


def test_colour_padding_reaches_a_little_past_black_and_white(rng):
    field = make_field(rng, view_inputs=0, colour_padding=0.001)
    with torch.no_grad():
        field.colour_layer.bias.copy_(torch.tensor([-50.0, 0.0, 50.0]))
        field.colour_layer.weight.zero_()
    torch.testing.assert_close(field.colour(torch.zeros(1, 256))[0], torch.tensor([-0.001, 0.5, 1.001]))


def test_encoded_points_and_gaussians_go_in_as_they_come(backend, rng):
    points = backend.tensor(torch.randn(12, 3, generator=rng))
    direction = backend.tensor(F.normalize(torch.randn(3, 3, generator=rng), dim=1))
    encodings = encode_position(points, 10), encode_gaussian(points, points.square() * 1e-2, 16)
    for features in encodings:
        field = make_field(rng, inputs=features.shape[1], view_inputs=encoding_width(3, 4, True)).to(features)
        density, hidden = field.density(features)
        colour = field.colour(hidden, encode_position(direction, 4))
        assert density.shape == (12,) and colour.shape == (12, 3)
        (density.sum() + colour.sum()).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in field.parameters())


@pytest.mark.parametrize("appearance", [0, 2])
def test_colours_in_harmonics_are_those_of_the_coefficients(backend, rng, appearance):
    """Which know no direction, and no padding."""
    config = PositionalFieldConfig(levels=3, width=16, depth=2, bottleneck=8, view_width=8, harmonics=2)
    field = EncodedGaussians(config, 3, rng, appearance=appearance, colour_padding=0.001)
    field = field.to(backend.device, backend.dtype)
    samples = [backend.tensor(torch.rand(12, 3, generator=rng)) for _ in range(2)]
    directions = backend.tensor(F.normalize(torch.randn(3, 3, generator=rng), dim=1)).requires_grad_()
    code = backend.tensor(torch.randn(3, appearance, generator=rng))
    shot = Shot(codes={"appearance": code} if appearance else {})
    _, hidden = field.density(samples)

    colour, coefficients = field.colour(hidden, directions, shot), field.colour_coefficients(hidden, shot)
    raw = field.network.raw_colour(hidden, code if appearance else None)
    assert torch.equal(coefficients, raw.view(12, 3, 9))
    assert (field.network.view_layer is None) == (appearance == 0)
    basis = spherical_harmonics(directions, 3).repeat_interleave(4, 0)
    expected = torch.einsum("ncj,nj->nc", coefficients, basis).sigmoid()
    backend.assert_close(colour, expected, "colour")
    learned = [directions, field.network.colour_layer.weight]
    found, wanted = (torch.autograd.grad(x.square().sum(), learned, retain_graph=True) for x in (colour, expected))
    for name, a, b in zip(("directions", "weights"), found, wanted):
        backend.assert_close(a, b, f"gradient of {name}")


def test_a_proposal_network_has_density_alone(rng):
    field = make_field(rng, view_inputs=0, depth=4, colour=False, density_activation="softplus")
    density, hidden = field.density(torch.randn(9, 63, generator=rng))
    assert density.shape == (9,) and not any("colour" in name for name, _ in field.named_parameters())
    with pytest.raises(ValueError, match="this field has no colour"):
        field.colour(hidden)


def test_wrong_options_raise_an_error_that_names_them(rng):
    with pytest.raises(ValueError, match="density_activation must be one of relu, softplus, exp, got 'tanh'"):
        make_field(rng, density_activation="tanh")
    with pytest.raises(ValueError, match="initial must be one of glorot, he"):
        make_field(rng, initial="normal")
    with pytest.raises(ValueError, match="must be at least 1"):
        make_field(rng, depth=0)
    with pytest.raises(ValueError, match="wants the encoded directions"):
        make_field(rng).colour(torch.zeros(2, 256))
    with pytest.raises(ValueError, match="was made without view_inputs"):
        make_field(rng, view_inputs=0).colour(torch.zeros(2, 256), torch.zeros(1, 27))
