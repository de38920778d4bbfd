"""What is in a file of geometry: counts, extent, whether a mesh is closed."""

from pathlib import Path

import numpy as np

from ..data.ply import read_ply
from ..errors import UserError
from .libraries import library
from .mesh import Mesh
from .splat_files import read_splats

__all__ = ["GEOMETRY_FILES", "facts_of"]

GEOMETRY_FILES = (".glb", ".obj", ".ply", ".stl", ".las", ".npz")


def facts_of(path: Path) -> list[str]:
    """In sentences. Raises UserError for what cannot be read."""
    try:
        if path.suffix.lower() == ".npz":
            return _of_volume(path)
        if path.suffix.lower() == ".las":
            return _of_points(np.asarray(library("laspy", "LAS").read(path).xyz))
        if path.suffix.lower() == ".ply" and _head_has(path, b"property float f_dc_0"):
            return _of_splats(path)
        if path.suffix.lower() == ".ply" and not _head_has(path, b"element face"):
            return _of_points(read_ply(path)[0])
        return _of_mesh(path)
    except UserError:
        raise
    except Exception as error:  # whatever the readers of others make of a damaged file
        raise UserError(f"{path} cannot be read as {path.suffix[1:]} ({type(error).__name__}); "
                        "export it again") from None


def _of_mesh(path: Path) -> list[str]:
    trimesh = library("trimesh", "a mesh")
    mesh = trimesh.load(path, force="mesh", process=False)
    if len(getattr(mesh, "faces", ())) == 0:
        raise UserError(f"{path} cannot be read as a mesh: it has no triangles; export it again")
    picture = getattr(getattr(mesh.visual, "material", None), "baseColorTexture", None)
    picture = picture or getattr(getattr(mesh.visual, "material", None), "image", None)
    colour = (f"a texture of {picture.size[0]} x {picture.size[1]} pixels" if picture is not None
              else "colours of its corners" if mesh.visual.kind == "vertex" else "no colour")
    # corners that an atlas cuts apart are one
    places, number = np.unique(np.asarray(mesh.vertices), axis=0, return_inverse=True)
    whole = Mesh(vertices=places, faces=number.reshape(-1)[np.asarray(mesh.faces)])
    holes = whole.holes
    closed = "watertight" if holes == 0 else f"not watertight: open along {holes} rims"
    touching = len(whole.touching_edges)
    if holes == 0 and touching:
        closed += f", touching itself along {touching} edges"
    return [f"a mesh of {len(places)} corners and {len(whole.faces)} triangles, with {colour}", _extent(places), closed]


def _of_points(position: np.ndarray) -> list[str]:
    return [f"{len(position)} points", _extent(position)]


def _of_splats(path: Path) -> list[str]:
    splats = read_splats(path)
    degree = round(splats.harmonics.shape[2] ** 0.5) - 1
    return [f"{len(splats)} Gaussians, whose colours are harmonics up to degree {degree}", _extent(splats.means)]


def _of_volume(path: Path) -> list[str]:
    with np.load(path) as file:
        if "density" not in file or "transform" not in file:
            raise UserError(f"{path} is no volume of taichi-nerf export: it lacks density and transform")
        shape, transform, occupied = file["density"].shape, file["transform"], file["occupied"].mean()
    corners = np.array([[0, 0, 0], np.array(shape) - 1]) @ transform[:3, :3].T + transform[:3, 3]
    return ["a volume of {} x {} x {} places".format(*shape) + f", {100 * occupied:.1f} % occupied", _extent(corners)]


def _extent(position: np.ndarray) -> str:
    if len(position) == 0:
        return "no extent"
    lowest, highest = position.min(axis=0), position.max(axis=0)
    return ("from " + " ".join(f"{value:.4g}" for value in lowest) + " to "
            + " ".join(f"{value:.4g}" for value in highest) + ": "
            + " x ".join(f"{value:.4g}" for value in highest - lowest))


def _head_has(path: Path, words: bytes) -> bool:
    with path.open("rb") as stream:
        head = stream.read(2**16)
    return words in head[: head.find(b"end_header")]
