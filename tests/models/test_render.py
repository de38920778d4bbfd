"""From samples to pixels: what the cut behind surfaces may change, and the laws of compositing."""

import dataclasses

import pytest
import torch

from taichi_nerf.fields.field import Field
from taichi_nerf.models.render import render_samples, select_visible
from taichi_nerf.reference import volume_rendering as reference
from taichi_nerf.types import UNKNOWN, PackedSamples, Shot

EARLY_STOP = 1e-3


class FreeField(Field):
    """A field with any density and colour at each sample, so that a gradient belongs to one sample alone.

    The first coordinate of a position is the number of the sample.
    """

    def __init__(self, density, colour):
        super().__init__()
        self.free_density = torch.nn.Parameter(density)
        self.free_colour = torch.nn.Parameter(colour)
        self.densities_asked = self.colours_asked = 0

    def density(self, samples, shot=UNKNOWN, ray_index=None):
        positions = samples if isinstance(samples, torch.Tensor) else samples[0]
        assert len(ray_index) == len(positions)
        self.densities_asked += len(positions)
        index = positions[:, 0].round().long()
        return self.free_density[index] * 1, self.free_colour[index]

    def density_again(self, samples, known, kept, shot=UNKNOWN, ray_index=None):
        again = self.density(samples, shot, ray_index)
        assert torch.equal(known[0][kept], again[0]), "what is known is not that of these samples"
        return again

    def colour(self, hidden, directions, shot=UNKNOWN, ray_index=None):
        assert len(hidden) == len(ray_index)
        self.colours_asked += len(hidden)
        lit = 0 if shot.time is None else shot.time[ray_index.long(), None]
        return hidden + 0.1 * directions[ray_index.long()] + lit


def make_samples(backend, rng, counts):
    """Packed samples of rays with these numbers of samples, and the rays' directions."""
    total = sum(counts)
    count = torch.tensor(counts, dtype=torch.int32).reshape(-1)
    start = (torch.cumsum(count, 0) - count).int()
    ray_index = torch.repeat_interleave(torch.arange(len(counts)), count).int()
    dt = 0.01 + 0.04 * torch.rand(total, generator=rng, dtype=torch.float64)
    t = torch.cumsum(dt, 0)
    positions = torch.arange(total, dtype=torch.float64)[:, None].repeat(1, 3)
    directions = torch.nn.functional.normalize(
        torch.randn(len(counts), 3, generator=rng, dtype=torch.float64), dim=1
    )
    integers = (backend.tensor(x, torch.int32) for x in (ray_index, start, count))
    samples = PackedSamples(backend.tensor(positions), backend.tensor(t), backend.tensor(dt), *integers)
    return samples, backend.tensor(directions)


def make_field(backend, rng, total, thickness=30.0):
    density = thickness * torch.rand(total, generator=rng, dtype=torch.float64)
    colour = torch.rand(total, 3, generator=rng, dtype=torch.float64)
    return FreeField(backend.tensor(density), backend.tensor(colour))


def reference_render(field, samples, directions, early_stop):
    """The same in float64 PyTorch, every sample asked for everything: outputs and the gradients' leaves."""
    density = field.free_density.detach().double().cpu().requires_grad_()
    colour = field.free_colour.detach().double().cpu().requires_grad_()
    seen = colour + 0.1 * directions.double().cpu()[samples.ray_index.cpu().long()]
    outputs = reference.composite(
        density,
        seen,
        samples.t.double().cpu(),
        samples.dt.double().cpu(),
        samples.ray_start.cpu(),
        samples.ray_count.cpu(),
        early_stop,
    )
    return outputs[:3], (density, colour)


COUNTS = {"many": [40, 0, 1, 63, 200, 7], "one ray": [50], "one sample": [1]}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("early_stop", [0.0, EARLY_STOP])
def test_pixels_and_gradients_equal_the_reference(backend, rng, counts, early_stop):
    samples, directions = make_samples(backend, rng, counts)
    field = make_field(backend, rng, len(samples))
    rendered = render_samples(field, samples, directions, early_stop)
    outputs = (rendered.colour, rendered.opacity, rendered.depth)
    expected, leaves = reference_render(field, samples, directions, early_stop)
    cotangents = [torch.randn(e.shape, generator=rng, dtype=torch.float64) for e in expected]
    torch.autograd.backward(outputs, [backend.tensor(c) for c in cotangents])
    gradients = torch.autograd.grad(expected, leaves, cotangents)
    for name, actual, value in zip(("colour", "opacity", "depth"), outputs, expected):
        backend.assert_close(actual, value, name)
    backend.assert_close(field.free_density.grad, gradients[0], "density gradient")
    backend.assert_close(field.free_colour.grad, gradients[1], "colour gradient")


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("early_stop", [0.0, EARLY_STOP, 0.5])
@pytest.mark.parametrize("thickness", [1.0, 200.0], ids=["thin", "dense"])
def test_without_gradients_the_passes_show_the_same_pixels_of_the_same_samples(backend, rng, counts, early_stop,
                                                                               thickness):
    samples, directions = make_samples(backend, rng, counts)
    samples = dataclasses.replace(samples, widths=samples.dt * 2)
    field = make_field(backend, rng, len(samples), thickness)
    shot = Shot(time=backend.tensor(torch.rand(len(counts), generator=rng)))
    at_once = render_samples(field, samples, directions, early_stop, shot)
    with torch.no_grad():
        in_passes = render_samples(field, samples, directions, early_stop, shot)
    for name in ("colour", "opacity", "depth", "weights"):
        assert torch.equal(getattr(in_passes, name), getattr(at_once, name)), name  # to the bit
    for column in dataclasses.fields(PackedSamples):
        assert torch.equal(getattr(in_passes.packed, column.name), getattr(at_once.packed, column.name)), column.name


def test_passes_ask_for_little_behind_surfaces(backend, rng):
    samples, directions = make_samples(backend, rng, [300, 0, 5, 200, 300])
    density = torch.zeros(len(samples))
    density[[10, 310, 804]] = 1e4  # the 11th sample of the first ray, the 6th of the fourth, the last of the last
    field = FreeField(backend.tensor(density), backend.tensor(torch.rand(len(samples), 3, generator=rng)))
    with torch.no_grad():
        pixels = render_samples(field, samples, directions, EARLY_STOP)
    visible = 11 + 0 + 5 + 6 + 300
    assert pixels.visible == visible
    assert field.colours_asked == visible
    passes = (8 + 16) + 0 + 5 + 8 + 300  # twice as many samples of a ray in each pass
    assert field.densities_asked == passes + visible  # this field is asked once more for what is visible
    assert pixels.marched == passes + (len(samples) - passes) // 2  # which are lighter


def test_the_cut_changes_pixels_by_no_more_than_early_stop(backend, rng):
    samples, directions = make_samples(backend, rng, [80, 200, 5])
    field = make_field(backend, rng, len(samples))
    cut = render_samples(field, samples, directions, EARLY_STOP)
    whole = render_samples(field, samples, directions, 0.0)
    assert len(cut.samples) < len(whole.samples) == cut.marched, "the test needs samples behind a surface"
    brightest = 1.1  # of a colour
    rounding = 1e-5 if backend.dtype == torch.float32 else 1e-12
    assert (cut.opacity - whole.opacity).abs().max() <= EARLY_STOP + rounding
    assert (cut.colour - whole.colour).abs().max() <= brightest * EARLY_STOP + rounding
    farthest = float(samples.t.max())
    assert (cut.depth - whole.depth).abs().max() <= farthest * (EARLY_STOP + rounding)


def test_gradients_of_visible_samples_are_those_without_the_cut_and_the_hidden_have_none(backend, rng):
    samples, directions = make_samples(backend, rng, [80, 200, 5])
    field = make_field(backend, rng, len(samples))
    cotangent = backend.tensor(torch.randn(3, 3, generator=rng, dtype=torch.float64))
    gradients = {}
    for early_stop in (0.0, EARLY_STOP):
        rendered = render_samples(field, samples, directions, early_stop)
        gradients[early_stop] = torch.autograd.grad(rendered.colour, list(field.parameters()), cotangent)
        kept = rendered.samples.positions[:, 0].long()
    hidden = torch.ones(len(samples), dtype=torch.bool, device=backend.device).index_fill_(0, kept, False)
    assert hidden.any()
    # what a visible sample hides has at most the transmittance at the cut, so its gradient changes by as much
    dt, largest = float(samples.dt.max()), float(cotangent.abs().sum(dim=1).max())
    rounding = 1e-5 if backend.dtype == torch.float32 else 1e-12
    bounds = (1.1 * EARLY_STOP * dt * largest + rounding, rounding)
    for name, whole, cut, bound in zip(
        ("density", "colour"), gradients[0.0], gradients[EARLY_STOP], bounds, strict=True
    ):
        assert cut[hidden].abs().max() == 0, name
        assert (cut - whole)[~hidden].abs().max() <= bound, name


def test_colour_is_asked_for_at_visible_samples_alone(backend, rng):
    samples, directions = make_samples(backend, rng, [80, 200, 5])
    field = make_field(backend, rng, len(samples))
    rendered = render_samples(field, samples, directions, EARLY_STOP)
    assert field.colours_asked == len(rendered.samples) < rendered.marched == len(samples)
    assert rendered.weights.shape == (len(rendered.samples),)


def test_without_gradients_the_pixels_are_the_same(backend, rng):
    samples, directions = make_samples(backend, rng, [40, 0, 200])
    field = make_field(backend, rng, len(samples))
    trained = render_samples(field, samples, directions, EARLY_STOP)
    with torch.no_grad():
        seen = render_samples(field, samples, directions, EARLY_STOP)
    for name in ("colour", "opacity", "depth", "weights"):
        assert torch.equal(getattr(trained, name), getattr(seen, name)), name
        assert not getattr(seen, name).requires_grad


@pytest.mark.parametrize("rays", [0, 1, 5])
def test_rays_without_samples_show_the_background(backend, rng, rays):
    samples, directions = make_samples(backend, rng, [0] * rays)
    field = make_field(backend, rng, 0)
    rendered = render_samples(field, samples, directions.reshape(rays, 3), EARLY_STOP)
    background = backend.tensor([0.2, 0.4, 0.6])
    assert torch.equal(rendered.over(background), background.expand(rays, 3))
    assert rendered.opacity.abs().sum() == rendered.depth.abs().sum() == 0
    assert (rendered.marched, len(rendered.samples)) == (0, 0)
    rendered.over(background).sum().backward()  # a batch that meets nothing is a valid batch
    assert field.free_density.grad is None or field.free_density.grad.numel() == 0


def test_permuting_the_rays_permutes_pixels_and_leaves_gradients(backend, rng):
    counts = [40, 0, 1, 63, 200, 7]
    samples, directions = make_samples(backend, rng, counts)
    field = make_field(backend, rng, len(samples))
    order = [3, 5, 0, 4, 1, 2]
    start = samples.ray_start.tolist()
    where = torch.cat([torch.arange(start[r], start[r] + counts[r]) for r in order])
    where = where.to(backend.device)
    count = [counts[r] for r in order]
    moved, _ = make_samples(backend, rng, count)
    moved = PackedSamples(
        samples.positions[where],
        samples.t[where],
        samples.dt[where],
        moved.ray_index,
        moved.ray_start,
        moved.ray_count,
    )
    cotangent = backend.tensor(torch.randn(len(counts), 3, generator=rng, dtype=torch.float64))
    one = render_samples(field, samples, directions, EARLY_STOP)
    other = render_samples(field, moved, directions[order], EARLY_STOP)
    for name in ("colour", "opacity", "depth"):
        backend.assert_close(getattr(other, name), getattr(one, name)[order], name)
    leaves = list(field.parameters())
    gradients = torch.autograd.grad(one.colour, leaves, cotangent)
    moved_gradients = torch.autograd.grad(other.colour, leaves, cotangent[order])
    for name, actual, expected in zip(("density", "colour"), moved_gradients, gradients):
        backend.assert_close(actual, expected, f"{name} gradient")


def test_an_opaque_first_sample_hides_the_rest(backend, rng):
    samples, directions = make_samples(backend, rng, [30, 30])
    field = make_field(backend, rng, len(samples))
    with torch.no_grad():
        field.free_density[0] = 1e9
    rendered = render_samples(field, samples, directions, EARLY_STOP)
    assert rendered.samples.ray_count.tolist()[0] == 1
    assert rendered.opacity[0] == 1
    backend.assert_close(rendered.colour[0], field.free_colour[0] + 0.1 * directions[0], "colour")


@pytest.mark.parametrize("density", [0.0, 1e-30, 1e30])
def test_extreme_densities_stay_finite(backend, rng, density):
    samples, directions = make_samples(backend, rng, [20, 3])
    field = make_field(backend, rng, len(samples))
    with torch.no_grad():
        field.free_density.fill_(density)
    rendered = render_samples(field, samples, directions, EARLY_STOP)
    rendered.over(backend.tensor([1.0, 1.0, 1.0])).sum().backward()
    for value in (rendered.colour, rendered.opacity, rendered.depth, field.free_density.grad):
        assert torch.isfinite(value).all()
    assert (rendered.opacity >= 0).all() and (rendered.opacity <= 1 + 1e-6).all()


def test_select_visible_keeps_a_prefix_of_every_ray(backend, rng):
    samples, _ = make_samples(backend, rng, [40, 0, 100, 1])
    density = backend.tensor(30 * torch.rand(len(samples), generator=rng, dtype=torch.float64))
    visible, kept = select_visible(samples, density, EARLY_STOP)
    kept = kept.tolist()
    for ray in range(4):
        start, count = visible.ray_start[ray].item(), visible.ray_count[ray].item()
        first = samples.ray_start[ray].item()
        assert kept[start : start + count] == list(range(first, first + count))
    for name in ("positions", "t", "dt", "ray_index"):
        assert torch.equal(getattr(visible, name), getattr(samples, name)[kept]), name
