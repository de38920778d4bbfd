"""What is in a file of geometry: counts, extent, whether a mesh is closed; and in a folder of depth pictures."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.gltf import transmissions
from ..data.json_files import number_of, read_object
from ..data.mesh_damage import ELSE, Damaged, check_sizes, readable
from ..data.mesh_files import GLTF, glass_of, not_followed
from ..data.opening import check_regular
from ..data.ply import read_ply_points
from ..errors import UserError
from .libraries import library, openvdb

__all__ = ["GEOMETRY_FILES", "facts_of", "facts_of_depths", "has_depths"]

GEOMETRY_FILES = (".glb", ".obj", ".ply", ".stl", ".las", ".npz", ".vdb")
OTHERWISE = {".npz": "it is no archive of arrays, or ends too early", ".las": "it is no LAS file, or ends too early",
             ".vdb": "it is no OpenVDB file, or ends too early"}  # why one cannot be read


def facts_of(path: Path) -> list[str]:
    """In sentences. Raises UserError for what cannot be read."""
    otherwise = OTHERWISE.get(path.suffix.lower(), ELSE)
    with readable(path, path.suffix[1:], "export it again", otherwise):
        if path.suffix.lower() == ".npz":
            return _of_volume(path)
        if path.suffix.lower() == ".vdb":
            return _of_vdb(path)
        if path.suffix.lower() == ".las":
            return _of_points(np.asarray(library("laspy", "LAS").read(path).xyz), 0)
        if path.suffix.lower() == ".ply" and _head_has(path, b"property float f_dc_0"):
            return _of_splats(path)
        if path.suffix.lower() == ".ply" and not _head_has(path, b"element face"):
            points = read_ply_points(path)
            return _of_points(points.position, points.left_out)
        return _of_mesh(path)


def has_depths(folder: Path) -> bool:
    """Whether it is one of depth pictures, as `depth.write_depth` makes them."""
    return (folder / "depth_0000.json").is_file()


def facts_of_depths(folder: Path) -> list[str]:
    """In sentences. Raises UserError for what cannot be read."""
    kinds, sizes, steps, units, values = Counter(), Counter(), set(), set(), []
    for told in sorted(folder.glob("depth_*.json")):
        about = read_object(told)
        step = number_of(about, "units_per_step", None, str(told))
        sizes[" x ".join(f"{number_of(about, side, None, str(told)):.0f}" for side in ("w", "h"))] += 1
        steps.add(step)
        units.add(str(about.get("unit", "unit")))
        png = told.with_suffix(".png")
        if png.is_file():
            kinds["16-bit PNG"] += 1
            values.append(_of_picture(png, step))
        else:
            kinds["EXR" if told.with_suffix(".exr").is_file() else "none"] += 1
    count = sum(kinds.values())
    found = [f"{count} depth picture{'s' if count > 1 else ''} of {' and '.join(sizes)} pixels, each with its camera "
             "beside it as JSON, in the axes of OpenGL",
             f"distances along the optical axis, unit: {' and '.join(sorted(units))}"]
    if kinds["16-bit PNG"]:
        found.append("16-bit PNG: distance = value x " + " or ".join(f"{step:g}" for step in sorted(steps))
                     + ", and 0 is no surface")
    if kinds["EXR"]:
        found.append("EXR: its values are the distances, and 0 is no surface")
    if kinds["none"]:
        found.append(f"{kinds['none']} of them lack their picture")
    if any(share > 0 for *_, share in values):
        nearest, farthest = min(low for low, _, _ in values), max(high for _, high, _ in values)
        found.append(f"from {nearest:.4g} to {farthest:.4g}; "
                     f"{100 * np.mean([share for *_, share in values]):.0f} % of the pixels see a surface")
    return found


def _of_picture(path: Path, step: float) -> tuple[float, float, float]:
    """Least and greatest distance in a depth picture, and the share of its pixels that have one."""
    try:
        check_regular(path)
        with Image.open(path) as picture:
            value = np.asarray(picture, np.float64)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as a depth picture ({error}); export it again") from None
    seen = value[value > 0] * step
    return (seen.min(), seen.max(), len(seen) / value.size) if len(seen) else (np.inf, 0.0, 0.0)


def _of_mesh(path: Path) -> list[str]:
    trimesh = library("trimesh", "a mesh")
    check_sizes(path)
    parts = [part for part in trimesh.load_scene(path, process=False).dump()
             if len(getattr(part, "faces", ())) > 0]
    if not parts:
        raise UserError(f"{path} cannot be read as a mesh: it has no triangles; export it again")
    from .mesh import Mesh  # which loads PyTorch

    first = np.cumsum([0] + [len(part.vertices) for part in parts])
    # corners that an atlas cuts apart are one
    places, number = np.unique(np.concatenate([part.vertices for part in parts]), axis=0, return_inverse=True)
    corners = np.concatenate([part.faces + start for part, start in zip(parts, first)])
    whole = Mesh(vertices=places, faces=number.reshape(-1)[corners])
    holes = whole.holes
    finite = np.isfinite(places).all(axis=1)
    closed = (f"watertight, {whole.solids}" if holes == 0
              else f"not watertight: open along {holes} rim{'s' * (holes != 1)}")
    touching = len(whole.touching_edges)
    if holes == 0 and touching:
        closed += f", touching itself along {touching} edges"
    return [f"a mesh of {len(places)} corners and {len(whole.faces)} triangles, with {_looks(parts)}",
            *_glass(path, parts), *_nowhere(finite), _extent(places[finite]), closed,
            *not_followed(path)]


def _looks(parts: list) -> str:
    """What meshes of trimesh are coloured by."""
    found, plain = [], set()
    for visual in (part.visual for part in parts):
        material = getattr(visual, "material", None)
        picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        factor = getattr(material, "baseColorFactor", None)
        if picture is not None:
            found.append(f"a texture of {picture.size[0]} x {picture.size[1]} pixels")
        elif visual.kind in ("vertex", "face"):
            found.append("colours of its corners" if visual.kind == "vertex" else "colours of its triangles")
        elif factor is not None or hasattr(material, "diffuse"):
            plain.add(tuple(np.asarray(material.diffuse if factor is None else factor)[:3].tolist()))
    if plain:
        found.append("one colour" if len(plain) == 1 else f"{len(plain)} colours")
    return " and ".join(dict.fromkeys(found)) or "no colour"


def _glass(path: Path, parts: list) -> list[str]:
    """How much of a mesh is glass, and what it lets pass."""
    if path.suffix.lower() not in GLTF:
        return []
    passing = transmissions(path)
    glass = [(len(part.faces), found) for part in parts if (found := glass_of(part, passing)) is not None]
    if not glass:
        return []
    least, most = (round(100 * (1 - extreme(found.opacity for _, found in glass))) for extreme in (max, min))
    tinted = ", tinted by its colour" if any(found.tinted > 0 for _, found in glass) else ""
    return [f"{sum(faces for faces, _ in glass)} of its triangles are glass, which lets "
            f"{least if least == most else f'{least} to {most}'} % of the light pass{tinted}"]


def _of_points(position: np.ndarray, left_out: int) -> list[str]:
    return [f"{len(position)} points", *_left_out(left_out, "points"), _extent(position)]


def _of_splats(path: Path) -> list[str]:
    from .splat_files import read_splats  # which loads PyTorch

    splats = read_splats(path)
    degree = round(splats.harmonics.shape[2] ** 0.5) - 1
    return [f"{len(splats)} Gaussians, whose colours are harmonics up to degree {degree}",
            *_left_out(splats.left_out, "Gaussians"), _extent(splats.means)]


def _left_out(count: int, what: str) -> list[str]:
    return [f"not counted, since their values are not finite: {count} {what}"] if count else []


def _nowhere(finite: np.ndarray) -> list[str]:
    """Of the corners of a mesh, those that are at no place."""
    count = int((~finite).sum())
    return [f"{count} of its corners are at no finite place, and it cannot be put into a field"] if count else []


def _of_volume(path: Path) -> list[str]:
    with np.load(path) as file:
        lacking = [name for name in ("density", "occupied", "transform") if name not in file]
        if lacking:
            raise UserError(f"{path} is no volume of taichi-nerf export: it lacks {' and '.join(lacking)}; give one "
                            "that it wrote")
        shape, transform, occupied = file["density"].shape, file["transform"], file["occupied"].mean()
    if len(shape) != 3 or transform.shape != (4, 4) or not np.isfinite(transform).all():
        raise Damaged("its density is no grid, or its transform no 4 x 4 finite numbers")
    corners = np.array([[0, 0, 0], np.array(shape) - 1]) @ transform[:3, :3].T + transform[:3, 3]
    return ["a volume of {} x {} x {} places".format(*shape) + f", {100 * occupied:.1f} % occupied", _extent(corners)]


def _of_vdb(path: Path) -> list[str]:
    grids = sorted(openvdb().readAllGridMetadata(str(path)), key=lambda grid: grid.name)
    found = [f"an OpenVDB file of {' and '.join(grid.name for grid in grids)}"]
    for grid in grids:
        corners = [grid.transform.indexToWorld(grid[f"file_bbox_{end}"]) for end in ("min", "max")]
        found.append(f"{grid.name}: {grid['file_voxel_count']} voxels, {_extent(np.array(corners))}")
    return found


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
