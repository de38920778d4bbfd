"""A picture around a mesh: an atlas by xatlas, each of whose texels is coloured where it lies on the surface.

S x S texels.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .libraries import library
from .mesh import Mesh
from .mesh_files import Texture
from .rasterise import rasterised
from .surface import SurfaceView
from .view_colours import colours_at

__all__ = ["texture_side", "textured"]

SMALLEST, LARGEST = 256, 4096  # S
FILLED = 0.6  # of an atlas
TEXEL = 0.4  # of a cell
GUTTER = 2  # texels between parts of the surface


def texture_side(mesh: Mesh, cell: float) -> int:
    """S, a power of two, with which a texel is about 0.4 cells wide."""
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    return int(np.clip(2 ** round(np.log2((area / FILLED) ** 0.5 / (TEXEL * cell))), SMALLEST, LARGEST))


def textured(mesh: Mesh, views: Sequence[SurfaceView], cell: float,
             on_texels: Callable[[int, int], None] | None = None) -> tuple[Mesh, Texture]:
    """The mesh, with vertices of several places in the atlas several times, and the texture around it.

    `cell` says how exact the surface is; `on_texels` is told how many texels are coloured, of how many.
    """
    side = texture_side(mesh, cell)
    normals = mesh.normals
    source, faces, uv = _unwrapped(mesh, side)
    cut = Mesh(vertices=mesh.vertices[source], faces=faces, shading=normals[source])
    place = uv[faces] * (side, -side) + (0, side)  # [F, 3, 2] texels to the right and down
    texel, face, share = rasterised(place, side, side, margin=1e-6)
    texel, first = np.unique(texel, return_index=True)
    face, share = face[first], np.clip(share[first], 0, 1)[..., None]
    corner = source[faces[face]]  # [M, 3]
    position, normal = ((values[corner] * share).sum(axis=1) for values in (mesh.vertices, normals))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    picture, filled = np.zeros((side * side, 3), np.uint8), np.zeros(side * side, bool)
    picture[texel], filled[texel] = colours_at(position, normal, views, cell, on_texels), True
    return cut, Texture(picture=_filled(picture.reshape(side, side, 3), filled.reshape(side, side)), uv=uv)


def _unwrapped(mesh: Mesh, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N'] the vertex that each vertex of the atlas is, faces [F, 3] between these, and their uv [N', 2]."""
    xatlas = library("xatlas", "a texture (or use --colour vertex)")
    atlas = xatlas.Atlas()
    middle = mesh.vertices.mean(axis=0)
    atlas.add_mesh((mesh.vertices - middle).astype(np.float32), mesh.faces.astype(np.uint32),
                   mesh.normals.astype(np.float32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1
    packing.resolution, packing.padding, packing.bilinear, packing.create_image = side, GUTTER, True, False
    atlas.generate(charts, packing)
    source, faces, uv = atlas[0]
    return source.astype(np.int64), faces.astype(np.int64), uv.astype(np.float64)


def _filled(picture: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """[S, S, 3]: what is not `filled` is as the nearest texel that is, so that no seam shows."""
    ndimage = library("scipy.ndimage", "a texture")
    rows, columns = ndimage.distance_transform_edt(~filled, return_distances=False, return_indices=True)
    return picture[rows, columns]
