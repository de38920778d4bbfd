"""The loss of a step and its gradients, against PyTorch in double precision."""

import pytest
import torch
from torch.nn.functional import huber_loss

from taichi_nerf_kernels import training_step as kernels

WHITE, DELTA = 0.7, 0.1


def expected_loss(geometry, raw, dt, count, rgba, per_pixel):
    """Pixel by pixel, weighted by how many of its rays there are; the squared error likewise."""
    colour, shown, start = torch.sigmoid(raw), [], 0
    for n in count:
        tau = geometry[0, start : start + n].exp() * dt[start : start + n]
        through = torch.cat([torch.ones(1, dtype=tau.dtype), (-tau.cumsum(0)).exp()])
        weight = through[:-1] - through[1:]
        shown.append((colour[:, start : start + n] * weight).sum(1) + through[-1] * WHITE)
        start += n
    loss = squared = 0.0
    for first in range(0, len(count), per_pixel):
        pixel = torch.stack(shown[first : first + per_pixel])
        alpha = rgba[first, 3]
        target = rgba[first, :3] * alpha + (1 - alpha) * WHITE
        share = len(pixel) / len(count)
        loss = loss + share * huber_loss(pixel.mean(0), target, delta=DELTA)
        squared = squared + share * (pixel.mean(0) - target).square().mean()
    return loss, squared


@pytest.mark.parametrize("rays", [1, 4, 6, 63])
@pytest.mark.parametrize("per_pixel", [1, 4, 9])
def test_loss_and_gradients_are_those_of_the_mean_of_a_pixels_rays(backend, rng, per_pixel, rays):
    """Of the last pixel there may be a part only."""
    count = torch.randint(0, 6, (rays,), generator=rng)
    count[rays // 2] = 0  # a ray with no samples
    count[-1] = 3
    total, room = int(count.sum()), rays + 2
    geometry, raw, dt = (torch.randn(rows, total, generator=rng, dtype=torch.float64) for rows in (4, 3, 1))
    geometry, raw, dt = geometry.float().double(), raw.float().double(), (0.5 * dt.abs() + 0.1)[0].float().double()
    drawn = torch.rand(-(-room // per_pixel), 4, generator=rng).double()
    rgba = drawn.repeat_interleave(per_pixel, dim=0)[:room]
    for tensor in (geometry, raw):
        tensor.requires_grad_()
    loss, squared = expected_loss(geometry, raw, dt, count.tolist(), rgba, per_pixel)
    loss.backward()

    def room_for(values):
        return backend.tensor(torch.cat([values, torch.zeros(room - rays, dtype=values.dtype)]), torch.int32)

    start = count.cumsum(0) - count
    raw_gradient, density_gradient = backend.empty(3, total), backend.empty(total)
    errors = torch.zeros(2, dtype=backend.dtype, device=backend.device)
    kernels.differentiate_rays(
        backend.tensor(geometry.detach()), backend.tensor(raw.detach()), backend.tensor(dt), room_for(start),
        room_for(count), backend.tensor(rgba), WHITE, -1, DELTA, backend.empty(total), backend.empty(room, 4),
        raw_gradient, density_gradient, errors, backend.tensor([rays], torch.int32), per_pixel)
    backend.assert_close(errors, torch.stack([loss, squared]).detach(), "errors")
    backend.assert_close(raw_gradient, raw.grad, "raw")
    backend.assert_close(density_gradient, geometry.grad[0], "log density")


@pytest.mark.parametrize(("most", "per_pixel", "expected"), [(1000, 1, 250), (1000, 4, 248), (1000, 9, 243),
                                                             (100, 4, 100), (16, 9, 9)])
def test_the_next_batch_is_of_whole_pixels(backend, most, per_pixel, expected):
    """Where each ray had 4 visible samples and 1,000 are aimed at."""
    integers = [backend.tensor([value], torch.int32) for value in (50, 500, 200)]
    pace, totals = backend.tensor([10.0, 4.0]), backend.tensor([0] * 4, torch.int32)
    kernels.next_batch(*integers, pace, totals, 0.9, 10**6, 1000, most, per_pixel)
    assert integers[0].item() == expected and totals.tolist() == [50, 500, 200, 0]
