"""The field against its parts in float64, written out in plain PyTorch."""

import dataclasses

import pytest
import torch

from taichi_nerf.config import FieldConfig, HashGridConfig
from taichi_nerf.fields import mlp
from taichi_nerf.fields.hash_field import HashField, Hidden
from taichi_nerf.reference.hash_grid import hash_grid_encode
from taichi_nerf.reference.spherical_harmonics import spherical_harmonics
from taichi_nerf.types import Shot

GRID = dict(levels=3, log2_entries=9, base_resolution=4, max_resolution=24)
CONFIG = FieldConfig(
    hash_grid=HashGridConfig(features=2, **GRID),
    geometry_features=6,
    density_width=16,
    colour_width=16,
    direction_degree=3,
)
SIDE = 2.0


@pytest.fixture
def field(backend, monkeypatch):
    """A field with large features, in the precision of the backend, networks included."""
    monkeypatch.setattr(mlp, "fastest_precision", lambda device: backend.dtype)
    field = HashField(CONFIG, SIDE, torch.Generator().manual_seed(3))
    with torch.no_grad():
        field.table.mul_(1e4)
    field = field.to(device=backend.device, dtype=backend.dtype)
    field.table_gradient = torch.zeros_like(field.table.detach())
    return field


def make_points(backend, rng, count):
    """Positions in the box and unit directions, the same in the precision of the backend and in float64."""
    positions = SIDE * (torch.rand(count, 3, generator=rng, dtype=torch.float64) - 0.5)
    directions = torch.nn.functional.normalize(
        torch.randn(count, 3, generator=rng, dtype=torch.float64), dim=1
    )
    return backend.tensor(positions), backend.tensor(directions)


def reference_field(field, positions, directions):
    """Density [S], colour [S, 3] and the float64 leaves they were computed from."""
    leaves = {name: p.detach().double().cpu().requires_grad_() for name, p in field.named_parameters()}
    positions, directions = positions.detach().double().cpu(), directions.double().cpu()
    grid = {**GRID, "max_resolution": int(GRID["max_resolution"] * SIDE)}
    features = hash_grid_encode(positions / SIDE + 0.5, leaves["table"], **grid)
    geometry = torch.relu(features @ leaves["density_network.weights.0"].t())
    geometry = geometry @ leaves["density_network.weights.1"].t()
    x = torch.cat([geometry, spherical_harmonics(directions, CONFIG.direction_degree)], dim=1)
    for layer in range(CONFIG.colour_layers):
        x = torch.relu(x @ leaves[f"colour_network.weights.{layer}"].t())
    x = x @ leaves[f"colour_network.weights.{CONFIG.colour_layers}"].t()
    return geometry[:, 0].exp(), torch.sigmoid(x), leaves


def evaluate(field, positions, directions):
    density, hidden = field.density(positions)
    return density, field.colour(hidden, directions)


@pytest.mark.parametrize("count", [0, 1, 63, 2000])
def test_density_colour_and_gradients_equal_the_parts_written_out(backend, rng, field, count):
    positions, directions = make_points(backend, rng, count)
    density, colour = evaluate(field, positions, directions)
    expected_density, expected_colour, leaves = reference_field(field, positions, directions)
    backend.assert_close(density, expected_density, "density")
    backend.assert_close(colour, expected_colour, "colour")
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64) for e in (density, colour)]
    torch.autograd.backward((density, colour), [backend.tensor(c) for c in cotangents])
    expected = torch.autograd.grad((expected_density, expected_colour), list(leaves.values()), cotangents)
    actual = {name: parameter.grad for name, parameter in field.named_parameters()}
    assert actual["table"] is None  # it is added to `table_gradient`
    actual["table"] = field.table_gradient
    for name, gradient in zip(leaves, expected, strict=True):
        backend.assert_close(actual[name], gradient, f"gradient of {name}")


@pytest.mark.parametrize("appearance", [0, 3])
def test_colours_in_harmonics_are_those_of_the_coefficients(backend, rng, monkeypatch, appearance):
    """Which know no direction, and a code where there is one; of rays with any number of samples."""
    monkeypatch.setattr(mlp, "fastest_precision", lambda device: backend.dtype)
    field = HashField(dataclasses.replace(CONFIG, harmonics=2), SIDE, torch.Generator().manual_seed(3), appearance)
    field = field.to(backend.device, backend.dtype)
    positions, directions = make_points(backend, rng, 70)
    directions = directions[:9].requires_grad_()
    ray_index = torch.randint(9, (70,), generator=rng, dtype=torch.int32).sort()[0].to(backend.device)
    code = backend.tensor(torch.randn(9, appearance, generator=rng))
    shot = Shot(codes={"appearance": code} if appearance else {})
    hidden = Hidden(positions[:0].t(), backend.tensor(torch.randn(6, 70, generator=rng)))

    colour = field.colour(hidden, directions, shot, ray_index)
    x = torch.cat([hidden.geometry.t(), code[ray_index]], dim=1)
    x = torch.relu(x @ field.colour_network.weights[0].t()) @ field.colour_network.weights[1].t()
    coefficients = field.colour_coefficients(hidden, shot, ray_index)
    backend.assert_close(coefficients, x.view(70, 3, 9), "coefficients")
    basis = spherical_harmonics(directions, 3)[ray_index]
    expected = torch.einsum("ncj,nj->nc", x.view(70, 3, 9), basis).sigmoid()
    backend.assert_close(colour, expected, "colour")
    learned = [directions, *field.colour_network.weights]
    cotangent = torch.randn(70, 3, generator=rng).to(colour)
    for name, a, b in zip(("directions", "first layer", "last layer"), torch.autograd.grad(colour, learned, cotangent),
                          torch.autograd.grad(expected, learned, cotangent)):
        backend.assert_close(a, b, f"gradient of {name}")


def test_the_density_gradient_by_position_is_its_slope(backend, rng, field):
    if backend.dtype != torch.float64:
        pytest.skip("finite differences need float64")
    positions, _ = make_points(backend, rng, 20)
    positions.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: field.density(x)[0], positions, eps=1e-8, atol=1e-4
    )


def test_known_features_are_taken_over_with_their_gradient(backend, rng, field):
    positions, _ = make_points(backend, rng, 50)
    features = field.encode(positions)
    features.sum().backward()
    expected = field.table_gradient.clone()
    field.table_gradient.zero_()
    again = field.encode(positions, features.detach() + 1)  # whatever is handed in is what comes out
    assert torch.equal(again, features.detach() + 1)
    again.sum().backward()
    backend.assert_close(field.table_gradient, expected, "table gradient")


def test_colours_are_colours_and_densities_positive(backend, rng, field):
    density, colour = evaluate(field, *make_points(backend, rng, 500))
    assert (density > 0).all() and torch.isfinite(density).all()
    assert (colour >= 0).all() and (colour <= 1).all()


def test_density_does_not_depend_on_the_direction(backend, rng, field):
    positions, directions = make_points(backend, rng, 30)
    density, colour = evaluate(field, positions, directions)
    other_density, other_colour = evaluate(field, positions, -directions)
    assert torch.equal(density, other_density) and not torch.allclose(colour, other_colour)


def test_the_same_generator_gives_the_same_field_and_the_finest_level_grows_with_the_box():
    one, same, other = (HashField(CONFIG, SIDE, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, dict(same.named_parameters())[name]), name
        assert not torch.equal(parameter, dict(other.named_parameters())[name]), name
    assert one.table.abs().max() <= 1e-4
    assert one.layout.scales[-1] + 1 == pytest.approx(GRID["max_resolution"] * SIDE)
