"""Meshes in model space that rays meet: what they look like, and how much light they let pass.

A surface of opacity a shows its own colour by a, and by 1 - a what lies behind it, without refraction: the ray goes on
as it came. Of that the part s is tinted: it takes the colour c of the surface, channel by channel. A pane of glass is
two surfaces, and of several that a ray crosses

    passed = product of (1 - a_i - s_i (1 - c_i))

is what is left behind them. Along the rays of a picture c is sRGB, as are the colours that it multiplies, so that white
behind glass has the colour of the glass; along those of light it is linear.

F triangles, M points or rays; C channels, 3 where something is tinted, else 1.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.mesh_files import Mesh
from ..ops.ray_mesh import RayMesh, intersect_ray_mesh, occluded_by_mesh, ray_mesh
from .lights import linear

__all__ = ["BEHIND", "DARK", "MOST_LAYERS", "Surface", "surface_of"]

MOST_LAYERS = 16  # surfaces that a ray goes through: eight panes, or four bottles
BEHIND = 1e-5  # of model units: so far behind a surface a ray goes on, beyond what rounding makes of where that is
DARK = 1e-4  # of the light: a ray of which no more is left goes no further


class Looks(NamedTuple):
    """What points of a surface show."""

    colour: Tensor
    """[M, 3] sRGB."""
    normal: Tensor
    """[M, 3] unit vectors."""
    opacity: Tensor
    """[M, 1]"""
    tinted: Tensor
    """[M, 1]: the part of the light that passes in the colour."""

    def passed(self, colour: Tensor) -> Tensor:
        """[M, 3]: 1 - a - s (1 - c), of the light of each channel, for a `colour` [M, 3] of the glass."""
        return 1 - self.opacity - self.tinted * (1 - colour)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A mesh in model space and what it looks like."""

    mesh: RayMesh
    normals: Tensor
    """[F, 3, 3] unit vectors at the corners of the triangles."""
    colours: Tensor
    """[F, 3, 3] sRGB at the corners of the triangles."""
    uv: Tensor
    """[F, 3, 2] at the corners, in [0, 1] over the texture, v upwards."""
    texture_of: Tensor
    """[F] int64: which texture multiplies the colour; -1: none."""
    textures: tuple[Tensor, ...] = ()
    """[H, W, 3] sRGB in [0, 1] each; [H, W, 4] where the fourth multiplies the opacity and what is tinted."""
    opacity: Tensor | None = None
    """[F] in [0, 1]; None: all is opaque."""
    tinted: Tensor | None = None
    """[F] in [0, 1]: what passes in the colour of the surface; None: nothing."""

    def looks(self, triangle: Tensor, barycentric: Tensor) -> Looks:
        """At points of triangles [M]."""
        triangle, share = triangle.long(), barycentric[..., None]
        colour = (share * self.colours[triangle]).sum(dim=1)
        normal = torch.nn.functional.normalize((share * self.normals[triangle]).sum(dim=1), dim=1)
        opacity = torch.ones_like(colour[:, :1]) if self.opacity is None else self.opacity[triangle, None]
        tinted = torch.zeros_like(opacity) if self.tinted is None else self.tinted[triangle, None]
        uv, of = (share * self.uv[triangle]).sum(dim=1), self.texture_of[triangle]
        for number, texture in enumerate(self.textures):
            mine = of == number
            shown = _sampled(texture, uv[mine])
            colour[mine] = colour[mine] * shown[:, :3]
            if shown.shape[1] == 4:
                opacity[mine] = opacity[mine] * shown[:, 3:]
                tinted[mine] = tinted[mine] * shown[:, 3:]
        return Looks(colour, normal, opacity, tinted)

    def passed(self, origins: Tensor, directions: Tensor, limit: Tensor) -> Tensor:
        """[M, C]: how much light passes along rays [M, 3] before the distances `limit` [M]. Not differentiable."""
        if self.opacity is None:
            return (~occluded_by_mesh(self.mesh, origins, directions, limit=limit)).to(origins)[:, None]
        passed = origins.new_ones(len(limit), 1 if self.tinted is None else 3)
        begin = torch.zeros_like(limit)
        index = torch.arange(len(limit), device=limit.device)
        for _ in range(MOST_LAYERS):
            start = origins[index] + begin[index, None] * directions[index]
            hits = intersect_ray_mesh(self.mesh, start, directions[index], limit=limit[index] - begin[index])
            met = hits.triangle >= 0
            index = index[met]
            if len(index) == 0:
                break
            looks = self.looks(hits.triangle[met], hits.barycentric[met])
            passed[index] *= looks.passed(linear(looks.colour))[:, : passed.shape[1]]
            begin[index] += hits.t[met] + BEHIND
            index = index[passed[index].amax(dim=1) > DARK]
        return passed


def surface_of(mesh: Mesh, like: Tensor) -> Surface:
    """The surface of a mesh whose vertices are in model space, of the type and on the device of `like`."""
    def put(array) -> Tensor:
        return torch.from_numpy(array).to(like)

    faces = torch.from_numpy(mesh.faces).to(like.device, torch.int32)
    return Surface(mesh=ray_mesh(put(mesh.vertices), faces), normals=put(mesh.corner_normals),
                   colours=put(mesh.corner_colours), uv=put(mesh.corner_uv),
                   texture_of=torch.from_numpy(mesh.texture_of).to(like.device).long(),
                   textures=tuple(put(texture) for texture in mesh.textures),
                   opacity=None if mesh.opacity is None else put(mesh.opacity),
                   tinted=None if mesh.tinted is None else put(mesh.tinted))


def _sampled(texture: Tensor, uv: Tensor) -> Tensor:
    """[M, C]: a repeated texture [H, W, C], bilinear, at uv [M, 2]."""
    height, width = texture.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = x.floor(), y.floor()
    a, b = (x - left)[:, None], (y - top)[:, None]
    columns = [(left.long() + k) % width for k in (0, 1)]
    rows = [(top.long() + k) % height for k in (0, 1)]
    above = (1 - a) * texture[rows[0], columns[0]] + a * texture[rows[0], columns[1]]
    below = (1 - a) * texture[rows[1], columns[0]] + a * texture[rows[1], columns[1]]
    return (1 - b) * above + b * below
