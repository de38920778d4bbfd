"""A model whose pictures are known: an opaque ball with soft edges, one colour, no network.

density(x) = peak / (1 + exp((|x - centre| - radius) / softness))
"""

import torch
from torch import nn

from taichi_nerf.fields.field import Field
from taichi_nerf.models.render import ended, render_samples
from taichi_nerf.samplers.occupancy import OccupancyGrid
from taichi_nerf.types import UNKNOWN


class BallField(Field):
    def __init__(self, centre, radius, peak, softness, colour):
        super().__init__()
        self.centre = nn.Parameter(centre)
        self.colour_everywhere = nn.Parameter(colour)
        self.radius, self.peak, self.softness = radius, peak, softness

    def density(self, samples, shot=UNKNOWN, ray_index=None):
        distance = (samples - self.centre).square().sum(dim=1).sqrt()
        return self.peak * torch.sigmoid((self.radius - distance) / self.softness), samples

    def colour(self, hidden, directions, shot=UNKNOWN, ray_index=None):
        return self.colour_everywhere.expand(len(hidden), 3)


class Ball(nn.Module):
    """Renders the ball; `pieces` lists the samples that were marched in each call."""

    rays_per_pixel = 1

    def __init__(
        self,
        dtype,
        device,
        *,
        centre=(0.0, 0.0, 0.0),
        radius=0.3,
        peak=2000.0,
        softness=0.004,
        colour=(0.5, 0.4, 0.2),
        steps=256,
    ):
        super().__init__()
        values = (torch.tensor(value, dtype=dtype, device=device) for value in (centre, colour))
        centre, colour = values
        self.field = BallField(centre, radius, peak, softness, colour)
        self.grid = OccupancyGrid(16, step_min=3**0.5 / steps, dtype=dtype, device=device)
        self.pieces = []

    def density(self, positions, shot=UNKNOWN):
        return self.field.density(positions)[0]

    def render(self, rays, standing=None):
        rendered = render_samples(self.field, self.grid.march(rays), rays.directions, 1e-4)
        self.pieces.append(rendered.marched)
        return rendered.averaged(rays.per_pixel)


class EndedBall(Ball):
    """The ball as a model that ends rays."""

    ends_rays, sees_cones = True, False

    def render(self, rays, standing=None):
        samples = ended(self.grid.march(rays), rays)
        return render_samples(self.field, samples, rays.directions, 1e-4).averaged(rays.per_pixel)


class SlabField(Field):
    """Two slabs, of a density each: between z = 0.1 and 0.3, and between -0.3 and -0.1."""

    def __init__(self, densities):
        super().__init__()
        self.densities = torch.nn.Parameter(torch.tensor(densities, dtype=torch.float64))

    def density(self, samples, shot=UNKNOWN, ray_index=None):
        z = samples[:, 2]
        upper, lower = (z - 0.2).abs() < 0.1, (z + 0.2).abs() < 0.1
        return self.densities[0] * upper + self.densities[1] * lower, samples

    def colour(self, hidden, directions, shot=UNKNOWN, ray_index=None):
        return torch.sigmoid(hidden)


class Slabs(EndedBall):
    def __init__(self, densities):
        torch.nn.Module.__init__(self)
        self.field = SlabField(densities)
        self.grid = OccupancyGrid(16, step_min=3**0.5 / 256, dtype=torch.float64, device="cpu")
