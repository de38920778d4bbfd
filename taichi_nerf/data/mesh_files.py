"""Meshes out of files (GLB, glTF, OBJ, PLY, STL and whatever else trimesh reads), as plain arrays.

F triangles. Colours are sRGB in [0, 1].
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .gltf import senseless_transmissions, transmissions
from .json_files import short
from .mesh_damage import check_sizes, readable
from .opening import check_regular

__all__ = ["GLTF", "Glass", "Mesh", "check_there", "glass_of", "not_followed", "read_mesh"]

GREY = (0.7, 0.7, 0.7)  # of what has no colour
GLTF = (".glb", ".gltf")
Y_UP = (*GLTF, ".obj")  # whose files have y up; in others it is z


class Glass(NamedTuple):
    """What a material makes of the light that meets it; the rest passes as it came."""

    opacity: float
    """The part that ends here."""
    tinted: float
    """The part that passes in the colour of the material."""


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh, which may be made of parts with textures of their own."""

    vertices: np.ndarray
    """[V, 3] float64."""
    faces: np.ndarray
    """[F, 3] int32."""
    corner_normals: np.ndarray
    """[F, 3, 3] unit vectors at the corners of the triangles."""
    corner_colours: np.ndarray
    """[F, 3, 3]"""
    corner_uv: np.ndarray
    """[F, 3, 2], v upwards."""
    texture_of: np.ndarray
    """[F] int32: the texture that multiplies the colour; -1: none."""
    textures: tuple[np.ndarray, ...] = ()
    """[H, W, 3] float32 each; [H, W, 4] where the fourth multiplies the opacity and what is tinted."""
    opacity: np.ndarray | None = None
    """[F] float64 in [0, 1] of glass; None: all is opaque."""
    tinted: np.ndarray | None = None
    """[F] float64 in [0, 1]: the part of the light that passes in the colour of the glass; None: nothing is tinted."""
    clear_corners: bool = False
    """Whether colours of corners or triangles have an alpha below 1, which counts for nothing: it is no glass."""

    def moved(self, scale: float, rotation: np.ndarray, offset: np.ndarray) -> "Mesh":
        """The same at scale * rotation x + offset."""
        return replace(self, vertices=scale * self.vertices @ rotation.T + offset,
                       corner_normals=self.corner_normals @ rotation.T)


def read_mesh(path: Path | str) -> Mesh:
    """The mesh of a file, with z up: those of formats that have y up are turned.

    Raises:
        UserError: the library is missing; the file is, or holds no triangles.
    """
    path = Path(path).expanduser()
    try:
        import trimesh
    except ImportError:
        raise UserError("meshes are read by trimesh, which is not installed; pip install 'taichi-nerf[geometry]'"
                        ) from None
    check_there(path)
    check_regular(path)
    remedy = "give a whole GLB, glTF, OBJ, PLY or STL file, or export it again"
    with readable(path, "a mesh", remedy), np.errstate(all="ignore"):  # what is not finite is refused below
        check_sizes(path)
        scene = trimesh.load_scene(path, process=False)
        if path.suffix.lower() not in GLTF:  # whose corners are as they are meant
            _merge_corners([part for part in scene.geometry.values() if isinstance(part, trimesh.Trimesh)], path)
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
        if not parts:
            raise UserError(f"{path} holds no triangles; points and curves cannot be put into a field, export it with "
                            "its faces")
        passing = transmissions(path) if path.suffix.lower() in GLTF else {}
        mesh = _joined([_mesh_of(part, passing) for part in parts])
    _check_finite(mesh.vertices, path)
    upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) if path.suffix.lower() in Y_UP else np.eye(3)
    return mesh.moved(1.0, upright, np.zeros(3))


def _merge_corners(parts: list, path: Path) -> None:
    """Make one of the corners of each mesh of trimesh that are alike, as long as it knows the normals of the file, by
    which they differ at edges. Raises UserError for those at no place, of whose triangles trimesh makes holes."""
    for part in parts:
        _check_finite(part.vertices[part.faces], path)
        part.process()


def _check_finite(places: np.ndarray, path: Path) -> None:
    if not np.isfinite(places).all():
        raise UserError(f"{path} has vertices that are not finite; repair it or export it again")


def check_there(path: Path | str) -> None:
    """Raises UserError where there is no file for `read_mesh`."""
    if not Path(path).expanduser().exists():
        raise UserError(f"{path} does not exist; check the path of the mesh")


def not_followed(path: Path | str) -> list[str]:
    """What a file says of its materials that `read_mesh` cannot follow, in sentences."""
    path = Path(path).expanduser()
    if path.suffix.lower() in GLTF:
        return senseless_transmissions(path)
    if path.suffix.lower() != ".obj":
        return []
    from trimesh.resolvers import FilePathResolver

    named = re.search(rb"^[ \t]*mtllib[ \t]+(\S.*)$", path.read_bytes(), re.MULTILINE)
    if named is None:
        return []
    name = named[1].decode(errors="replace").strip()
    words = name.split()
    try:
        FilePathResolver(str(path)).get(name)
    except (OSError, ValueError):
        if len(words) > 1 and all(word.lower().endswith(".mtl") for word in words):
            return [f"several files of its materials, {short(name)}, are named at once, which are not read: put them "
                    "into one, or it has no colours but those of its corners"]
        return [f"the file of its materials, {short(name)}, is not in its folder: put it there, or it has no "
                "colours but those of its corners"]
    return []


def _mesh_of(part, passing: Mapping[str | None, float]) -> Mesh:
    """A mesh of trimesh, whose glass lets pass so much by the names of materials."""
    faces = np.asarray(part.faces, np.int32)
    glass = glass_of(part, passing)
    colours, uv, texture = _looks(part)
    coloured = part.visual if part.visual.kind in ("vertex", "face") else None
    return Mesh(vertices=np.asarray(part.vertices, np.float64), faces=faces,
                corner_normals=np.asarray(part.vertex_normals, np.float64)[faces],
                corner_colours=colours, corner_uv=uv,
                texture_of=np.full(len(faces), -1 if texture is None else 0, np.int32),
                textures=() if texture is None else (texture,),
                opacity=None if glass is None else np.full(len(faces), glass.opacity),
                tinted=None if glass is None or glass.tinted == 0 else np.full(len(faces), glass.tinted),
                clear_corners=coloured is not None and bool((_colours(coloured)[:, 3] < 255).any()))


def _colours(visual) -> np.ndarray:
    """[V or F, 4] uint8 of a mesh of trimesh that has colours of its corners or its triangles."""
    return np.asarray(visual.vertex_colors if visual.kind == "vertex" else visual.face_colors)


def glass_of(part, passing: Mapping[str | None, float]) -> Glass | None:
    """Of a mesh of trimesh; the alpha of its texture multiplies both parts. None where its material is not transparent.

    As in glTF: alpha says how much of the surface is there, and lets the rest of the light pass as it came; of what is
    there a transmission t passes, in the base colour (KHR_materials_transmission).
    """
    material = getattr(part.visual, "material", None)
    blended = getattr(material, "alphaMode", None) == "BLEND"
    name = getattr(material, "name", None)  # of a file: it may be anything
    passed = passing.get(name, 0.0) if isinstance(name, str | None) else 0.0
    if not blended and passed == 0:
        return None
    factor = getattr(material, "baseColorFactor", None) if blended else None
    there = 1.0 if factor is None else float(factor[3]) / 255
    return Glass(opacity=there * (1 - passed), tinted=there * passed)


def _looks(part) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Colours [F, 3, 3] and uv [F, 3, 2] at the corners, and the texture, of a mesh of trimesh."""
    faces, visual = np.asarray(part.faces), part.visual
    plain = np.broadcast_to(np.array(GREY), (*faces.shape, 3)).copy()
    uv = np.zeros((*faces.shape, 2))
    if visual.kind == "vertex":
        return _colours(visual)[faces][..., :3] / 255.0, uv, None
    if visual.kind == "face":
        return np.repeat(_colours(visual)[:, None, :3] / 255.0, 3, axis=1), uv, None
    if visual.kind != "texture":
        return plain, uv, None
    material = visual.material
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    factor = getattr(material, "baseColorFactor", None)
    if factor is None and image is None:
        factor = material.main_color
    if factor is not None:
        factor = np.asarray(factor, np.float64)[:3]
        plain[:] = factor / 255 if factor.max() > 1 else factor
    elif image is not None:
        plain[:] = 1.0
    if image is None or visual.uv is None:
        return plain, uv, None
    channels = "RGBA" if getattr(material, "alphaMode", None) == "BLEND" and "A" in image.getbands() else "RGB"
    return plain, np.asarray(visual.uv, np.float64)[faces], np.asarray(image.convert(channels), np.float32) / 255


def _joined(parts: list[Mesh]) -> Mesh:
    first_vertex = np.cumsum([0] + [len(part.vertices) for part in parts])
    first_texture = np.cumsum([0] + [len(part.textures) for part in parts])
    faces = [part.faces + start for part, start in zip(parts, first_vertex)]
    of = [np.where(part.texture_of < 0, -1, part.texture_of + start) for part, start in zip(parts, first_texture)]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts])
              for name in ("vertices", "corner_normals", "corner_colours", "corner_uv")}

    def of_faces(name: str, otherwise: float) -> np.ndarray | None:
        found = [getattr(part, name) for part in parts]
        if all(values is None for values in found):
            return None
        return np.concatenate([np.full(len(part.faces), otherwise) if values is None else values
                               for part, values in zip(parts, found)])

    return Mesh(**arrays, faces=np.concatenate(faces).astype(np.int32), texture_of=np.concatenate(of).astype(np.int32),
                opacity=of_faces("opacity", 1.0), tinted=of_faces("tinted", 0.0),
                textures=tuple(texture for part in parts for texture in part.textures),
                clear_corners=any(part.clear_corners for part in parts))
