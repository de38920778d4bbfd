"""Meshes as files: GLB in one file, OBJ, PLY and STL, by trimesh.

GLB is y up by its format, and OBJ by the habit of those who read it (Blender, `render --insert`); PLY and STL have the
axes of what is given.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..pictures import written_aside
from .libraries import library
from .mesh import Mesh

__all__ = ["MESH_FILES", "Texture", "turned_up", "write_mesh"]

MESH_FILES = (".glb", ".obj", ".ply", ".stl")
Y_UP = (".glb", ".obj")
JPEG_QUALITY = 92


@dataclass(frozen=True, kw_only=True)
class Texture:
    """A picture around a mesh."""

    picture: np.ndarray
    """[S, S, 3] uint8, sRGB."""
    uv: np.ndarray
    """[N, 2] of the vertices: to the right and up from the lower left corner, in [0, 1]."""

    def at(self, uv: np.ndarray) -> np.ndarray:
        """[M, 3] uint8 at uv [M, 2]."""
        side = len(self.picture)
        column, row = np.clip((uv * (side, -side) + (0, side)).astype(int), 0, side - 1).T
        return self.picture[row, column]


def turned_up(up: np.ndarray) -> np.ndarray:
    """[3, 3]: the rotation about whole right angles that turns the axis nearest to `up` to y, as glTF has it."""
    axis = int(np.abs(up).argmax())
    sign = 1.0 if up[axis] > 0 else -1.0
    turn = np.zeros((3, 3))
    if axis == 1:
        turn[0, 0], turn[1, 1], turn[2, 2] = 1.0, sign, sign
    else:
        other = 2 - axis  # x of z, z of x
        turn[1, axis], turn[axis, 1] = sign, -sign
        turn[other, other] = 1.0
    return turn


def write_mesh(path: Path, mesh: Mesh, *, texture: Texture | None = None, colour: np.ndarray | None = None,
               up: np.ndarray) -> None:
    """Write a new file of one of `MESH_FILES`; there is never half of it, though an OBJ with a texture has two files
    more beside it.

    Args:
        texture: around the mesh; colour: [N, 3] uint8 of its vertices; neither: it is grey.
        up: [3] the direction in which what it shows stands upright.

    Raises UserError where that fails, or trimesh is missing.
    """
    trimesh = library("trimesh", "a mesh")
    suffix = path.suffix.lower()
    turn = turned_up(up) if suffix in Y_UP else np.eye(3)
    made = trimesh.Trimesh(mesh.vertices @ turn.T, mesh.faces, process=False,
                           vertex_normals=mesh.normals @ turn.T)
    if texture is not None:
        made.visual = _textured(trimesh, texture)
    elif colour is not None:
        made.visual = trimesh.visual.ColorVisuals(made, vertex_colors=colour)
    _WRITERS[suffix](path, made)


def _textured(trimesh, texture: Texture):
    from PIL import Image

    picture = Image.fromarray(texture.picture)
    picture.format = "JPEG"
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=picture, baseColorFactor=[255] * 4, metallicFactor=0.0, roughnessFactor=1.0,
        doubleSided=True)  # through a rim where no camera looked one sees the other side, not nothing
    return trimesh.visual.TextureVisuals(uv=texture.uv, material=material)


def _write_whole(path: Path, made) -> None:
    with written_aside(path) as aside:
        aside.write_bytes(made.export(file_type=path.suffix.lower()[1:]))


def material_name(path: Path) -> str:
    """Of an OBJ file at `path`, without blanks, at which many readers stop; .mtl and .jpeg files have it."""
    return "_".join(path.stem.split())


def _write_obj(path: Path, made) -> None:
    """With its material and its texture, if it has one, named after it: they are there before it is."""
    if hasattr(made.visual, "material"):
        material = made.visual.material = made.visual.material.to_simple()
        material.name = material_name(path)
        # what shines is in the texture already
        material.ambient, material.specular = np.array([255] * 4, np.uint8), np.array([0, 0, 0, 255], np.uint8)
    text, others = library("trimesh.exchange.obj", "a mesh").export_obj(made, return_texture=True, mtl_name=(
        f"{material_name(path)}.mtl"))
    for name, content in others.items():
        end = b"\n" if name.endswith(".mtl") and not content.endswith(b"\n") else b""  # which trimesh leaves out
        with written_aside(path.with_name(name)) as aside:
            aside.write_bytes(content + end)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


_WRITERS: dict[str, Callable[[Path, object], None]] = {
    ".glb": _write_whole, ".ply": _write_whole, ".stl": _write_whole, ".obj": _write_obj}


def moved(mesh: Mesh, offset: np.ndarray, scale: float) -> Mesh:
    """Each vertex plus `offset` [3], times `scale`."""
    return replace(mesh, vertices=(mesh.vertices + offset) * scale)
