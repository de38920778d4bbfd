"""What shines on surfaces within a field: a lamp and the sky, the field itself, or what a picture shows all around.

    E(n) / pi = sum over l, m of a_l L_lm Y_lm(n),    a_0, a_1, a_2 = 1, 2/3, 1/4

is by how much light that comes from everywhere, L(d), multiplies the linear colour of a dull surface with normal n:
what of it is beyond the harmonics of degree 2 is a few per cent, which no dull surface shows (Ramamoorthi and Hanrahan
2001). L is what the field shows all around a place, or what a picture of linear light has there. A picture of 8 bits,
and a field that was made of such, knows no light brighter than white, so that a lamp in it counts as a white one.

M points, L directions of each. Light is linear.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..data.scene import EQUIRECTANGULAR, Cameras
from ..errors import UserError
from ..ops.spherical_harmonics import encode_direction
from ..types import UNKNOWN, Shot
from .panoramas import panorama_rays
from .views import directions_of, render_view

__all__ = ["Hidden", "Lamp", "Light", "Surroundings", "linear", "srgb", "surroundings_in", "surroundings_of"]

CLEAR = 1e-3  # of model units: a shadow ray begins so far off its surface
LIGHT_RAYS, SKY_RAYS = 32, 24  # towards a lamp that has a width, and towards the sky
GROUND = 0.35  # light from below by that of the sky
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # by which points are spread evenly over a disc
BANDS, OF_BANDS = 3, (1.0, 2 / 3, 1 / 4)  # a_l
AROUND = (64, 32)  # pixels of the picture of what is around: far more than harmonics of degree 2 tell apart
LUMINANCE = (0.2126, 0.7152, 0.0722)

Hidden = Callable[[Tensor, Tensor, Tensor], Tensor]
# points [M, 3], directions [M, L, 3], distances [M, L] -> [M, L, C]: 1 where a surface lies nearer than that, else 0;
# C is 3 where glass hides of some channels more than of others, else 1


class Light(Protocol):
    """What surfaces ask of their light."""

    def on(self, number: int, points: Tensor, normal: Tensor, hidden: Hidden) -> Tensor:
        """[M, 1] or [M, 3]: by what light multiplies the colour of points [M, 3] with unit `normal` [M, 3] of surface
        `number`."""

    def lost(self, points: Tensor, hidden: Hidden) -> Tensor:
        """[M, C]: the share of all light that surfaces hide from points [M, 3] of the field."""


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """A round light; the rest of the light comes from the sky."""

    position: tuple[float, float, float]
    """In model space."""
    up: tuple[float, float, float]
    """Unit vector in model space towards the middle of the sky."""
    radius: float = 0.0
    """In model units: how wide the edges of shadows are."""
    share: float = 0.6
    """Of all (linear) light on a surface that faces it."""

    def on(self, number: int, points: Tensor, normal: Tensor, hidden: Hidden) -> Tensor:
        towards, distance = self._rays(points)
        facing = (towards * normal[:, None]).sum(dim=-1).clamp_min(0).mean(dim=1, keepdim=True)
        height = 0.5 + 0.5 * normal @ normal.new_tensor(self.up)[:, None]
        direct = facing * (1 - hidden(points + CLEAR * normal, towards, distance).mean(dim=1))
        return self.share * direct + (1 - self.share) * (GROUND + (1 - GROUND) * height)

    def lost(self, points: Tensor, hidden: Hidden) -> Tensor:
        towards, distance = self._rays(points)
        sky = _sky(points.new_tensor(self.up)).expand(len(points), -1, -1)
        anywhere = torch.full_like(sky[..., 0], torch.inf)
        return (self.share * hidden(points, towards, distance).mean(dim=1)
                + (1 - self.share) * hidden(points, sky, anywhere).mean(dim=1))

    def _rays(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """[M, L, 3] unit directions from points [M, 3] to L points of the light, and their distances [M, L]."""
        middle = points.new_tensor(self.position) - points  # [M, 3]
        disc = self.radius * _disc(LIGHT_RAYS if self.radius > 0 else 1).to(points)  # [L, 2]
        ends = middle[:, None] + (disc[:, :, None] * _plane(middle)[:, None]).sum(dim=2)
        distance = ends.norm(dim=-1)
        return ends / distance[..., None].clamp_min(1e-12), distance


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What N surfaces have around them. They shade the field, and not each other."""

    harmonics: Tensor
    """[N, 9, 3] of E / pi at the place of each, as of `encode_direction`."""
    sky: Tensor
    """[S, 3] unit directions upwards: each the middle of the light that comes from around it."""
    share: Tensor
    """[S] of the light on what is level that comes from around each of them: 1 in all."""

    def on(self, number: int, points: Tensor, normal: Tensor, hidden: Hidden) -> Tensor:
        return (encode_direction(normal.contiguous(), BANDS) @ self.harmonics[number]).clamp_min(0)

    def lost(self, points: Tensor, hidden: Hidden) -> Tensor:
        sky = self.sky.expand(len(points), -1, -1)
        return hidden(points, sky, torch.full_like(sky[..., 0], torch.inf)).mT @ self.share


@torch.no_grad()
def surroundings_of(model: nn.Module, places: Sequence[Sequence[float]], up: np.ndarray, *,
                    background: float | tuple[float, float, float], shot: Shot = UNKNOWN) -> Surroundings:
    """The light of what `model` shows all around N places of model space, as one `shot` sees it; where it shows nothing
    the light is `background`, as of `render_view`. `up` [3]: a unit vector in model space.

    Raises:
        UserError: a model that does not look all around.
    """
    if not getattr(model, "all_directions", True):
        raise UserError("the light around an object is unknown in a model of normalised device coordinates "
                        "(--model.ndc), which looks one way; give --light X Y Z")
    found = [_around(model, place, up, background, shot) for place in places]
    like = next(model.parameters())
    return _surroundings(*(torch.from_numpy(np.stack(arrays)).to(like) for arrays in zip(*found)), up)


def surroundings_in(picture: np.ndarray, surfaces: int, up: np.ndarray, ahead: np.ndarray,
                    like: Tensor) -> Surroundings:
    """The light of an equirectangular picture of linear light [H, 2 H, 3], the same for so many surfaces, of the type
    and on the device of `like`. `up` and `ahead` [3], where the middle of the picture lies: unit vectors in model
    space, at right angles."""
    height, width = picture.shape[:2]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack([columns, rows], dim=-1).reshape(-1, 2).double() + 0.5
    size = place.new_tensor([width, height])
    pose = torch.from_numpy(_pose(np.zeros(3), up, np.cross(ahead, up)))
    _, directions, _ = panorama_rays(place, pose, size / place.new_tensor([2 * math.pi, math.pi]), size / 2)
    solid = torch.from_numpy(_solid_angles(directions.numpy(), up, width, height))
    light = torch.from_numpy(picture.reshape(-1, 3))
    one = _surroundings(*(values[None].to(like) for values in (directions, light, solid)), up)
    return replace(one, harmonics=one.harmonics.expand(surfaces, -1, -1))


def _surroundings(directions: Tensor, light: Tensor, solid: Tensor, up: np.ndarray) -> Surroundings:
    """Of `light` [N, P, 3] that comes from `directions` [N, P, 3] over solid angles [N, P]."""
    basis = encode_direction(directions.view(-1, 3), BANDS).view(*directions.shape[:2], -1)  # [N, P, 9]
    harmonics = torch.einsum("npk,npc,np->nkc", basis, light, solid)
    of_bands = light.new_tensor(OF_BANDS).repeat_interleave(light.new_tensor((1, 3, 5)).long())
    up = torch.from_numpy(up).to(light)
    sky = _sky(up)
    level = (directions @ up).clamp_min(0) * solid * (light @ light.new_tensor(LUMINANCE))
    nearest = (directions @ sky.T).argmax(dim=-1).view(-1)
    share = sky.new_zeros(len(sky)).index_add(0, nearest, level.view(-1))
    middle = torch.zeros_like(sky).index_add(0, nearest, (level[..., None] * directions).view(-1, 3))  # of the light
    sky = torch.nn.functional.normalize(torch.where(share[:, None] > 0, middle, sky), dim=1)
    return Surroundings(harmonics=of_bands[:, None] * harmonics, sky=sky, share=share / share.sum().clamp_min(1e-12))


def _around(model: nn.Module, place: Sequence[float], up: np.ndarray, background: float | tuple[float, float, float],
            shot: Shot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit directions [P, 3] of the pixels of a picture all around, their linear light [P, 3], and solid angles [P]."""
    width, height = AROUND
    right = _plane(torch.from_numpy(up)[None])[0, 0].numpy()
    camera = Cameras(camera_to_world=_pose(np.asarray(place), up, right)[None],
                     focal=np.array([[width / (2 * np.pi), height / np.pi]]),
                     principal=np.array([[width / 2, height / 2]]), distortion=np.zeros((1, 6)),
                     lens=np.array([EQUIRECTANGULAR]), size=np.array([AROUND]))
    view = render_view(model, camera, 0, background=background, shot=shot)
    directions = directions_of(model, camera, 0).astype(np.float64)
    solid = _solid_angles(directions, up, width, height)
    light = linear(torch.from_numpy(view.colour).double()).numpy()
    return directions.reshape(-1, 3), light.reshape(-1, 3), solid.reshape(-1)


def _pose(place: np.ndarray, up: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[3, 4] camera to world of an upright camera."""
    return np.stack([right, up, np.cross(right, up), place], axis=1)


def _solid_angles(directions: np.ndarray, up: np.ndarray, width: int, height: int) -> np.ndarray:
    """[..] of the pixels of an upright picture all around, which lie in `directions` [.., 3]."""
    level = np.sqrt((1 - (directions @ up) ** 2).clip(0))  # cosine of the height
    return level * (2 * np.pi / width) * 2 * np.sin(np.pi / (2 * height))


def _sky(up: Tensor) -> Tensor:
    """[S, 3] unit directions to the sky, as close together as light from there counts on what is level."""
    disc = _disc(SKY_RAYS).to(up)
    height = (1 - disc.square().sum(dim=1)).clamp_min(0).sqrt()
    return (disc[:, :, None] * _plane(up[None])).sum(dim=1) + height[:, None] * up


def _disc(count: int) -> Tensor:
    """[count, 2] points spread over the unit disc, the first in its middle."""
    number = torch.arange(count)
    radius, turn = (number / count).sqrt(), number * GOLDEN_ANGLE
    return torch.stack([radius * turn.cos(), radius * turn.sin()], dim=1)


def _plane(normal: Tensor) -> Tensor:
    """[M, 2, 3]: two unit vectors at right angles to each of `normal` [M, 3], of any length, and to each other."""
    normal = torch.nn.functional.normalize(normal, dim=1)
    axes = torch.eye(3).to(normal)
    seed = torch.where(normal[:, 2:].abs() < 0.9, axes[2], axes[0])
    across = torch.nn.functional.normalize(torch.linalg.cross(seed, normal), dim=1)
    return torch.stack([across, torch.linalg.cross(normal, across)], dim=1)


def linear(colour: Tensor) -> Tensor:
    """Light of sRGB colours."""
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055).clamp_min(0) ** 2.4)


def srgb(light: Tensor) -> Tensor:
    """The inverse of `linear`."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(1e-12) ** (1 / 2.4) - 0.055)
