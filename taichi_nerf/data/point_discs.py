"""A cloud of points as a mesh of discs, which a ray meets as it meets any surface.

A point p with normal n and radius r becomes the regular hexagon around p, at right angles to n, that has the area of
the disc,

    p + a (cos(k pi / 3) u + sin(k pi / 3) v),    a^2 sqrt(27) / 2 = pi r^2,    k = 0 .. 5,

of four triangles. Where the file has no normals n is the direction in which the K nearest points are spread least; its
sign does not matter, as either side of a surface is seen and lit. Where no radius is given r is the distance to the
fourth neighbour, so that neighbours overlap, at most a few times the median of all.

P points.
"""

from pathlib import Path

import numpy as np

from ..errors import UserError
from .mesh_files import GREY, Mesh, read_mesh
from .ply import PlyPoints, is_point_cloud, read_ply_points

__all__ = ["discs_of", "read_surface"]

NEIGHBOURS = 12  # K
FOURTH = 4
WIDEST, SMALLEST = 3.0, 0.1  # of the radii that are found, by their median
MOST_POINTS = 2_000_000  # of which there are eight million triangles
SIDES = 6
TO_CORNER = (2 * np.pi / np.sqrt(27)) ** 0.5  # a / r


def read_surface(path: Path | str, radius: float | None = None) -> tuple[Mesh, PlyPoints | None]:
    """The mesh of a file, as of `read_mesh`, or of a PLY file without faces the discs of its points, of this `radius`
    in the units of the file; and these points.

    Raises:
        UserError: as of `read_mesh`; splats, no points, too many, or points that lie all at one place; what is no PLY
            file, whatever its name says.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".ply":
        return read_mesh(path), None
    if not is_point_cloud(path):
        _check_head(path)
        return read_mesh(path), None
    points = read_ply_points(path)
    if "f_dc_0" in points.names:
        raise UserError(f"{path} holds splats, which are no surface; put in the points or the mesh of what it shows")
    if len(points.position) == 0:
        places = " at finite places" if points.left_out else ""
        raise UserError(f"{path} holds no points{places}; give a file with some")
    if len(points.position) > MOST_POINTS:
        raise UserError(f"{path} holds {len(points.position):,} points, and discs are made of up to {MOST_POINTS:,}; "
                        "thin it out, or export it with a smaller --resolution")
    try:
        return discs_of(points.position, points.normal, points.colour, radius), points
    except ValueError as error:
        raise UserError(f"{path}: {error}; give --disc-radius") from None


def _check_head(path: Path):
    """Raises UserError where a file of that name is there, and is no PLY file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(4)
    if not head.startswith(b"ply"):
        what = "is empty" if head == b"" else "is no PLY file, whatever its name says: such a file begins with ply"
        raise UserError(f"{path} {what}; export the mesh or the points again, or give a GLB, glTF, OBJ or STL file")


def discs_of(position: np.ndarray, normal: np.ndarray | None = None, colour: np.ndarray | None = None,
             radius: float | None = None) -> Mesh:
    """The discs of points.

    Args:
        position: [P, 3]. normal: [P, 3] of any length; None: that of what is around a point. colour: [P, 3] uint8.
        radius: of every disc; None: by the distances of the points.

    Raises:
        ValueError: neither a radius is given nor distances of points say one.
        UserError: a library is missing.
    """
    distance, neighbours = _around(position) if radius is None or normal is None else (None, None)
    if radius is None:
        radius = _radii(distance)
    if normal is None:
        normal = _least_spread(position[neighbours])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.where(length > 1e-9, normal / np.maximum(length, 1e-9), (0.0, 0.0, 1.0))
    reach = TO_CORNER * np.broadcast_to(radius, len(position))
    corners = position[:, None] + reach[:, None, None] * _hexagons(normal)
    first = SIDES * np.arange(len(position), dtype=np.int32)
    fan = np.array([[0, k, k + 1] for k in range(1, SIDES - 1)], np.int32)
    faces = (first[:, None, None] + fan).reshape(-1, 3)
    shade = np.broadcast_to(np.array(GREY), position.shape) if colour is None else colour / 255

    def of_corners(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, 3 * len(fan), axis=0).reshape(-1, 3, 3)

    return Mesh(vertices=corners.reshape(-1, 3), faces=faces, corner_normals=of_corners(normal),
                corner_colours=of_corners(shade), corner_uv=np.zeros((*faces.shape, 2)),
                texture_of=np.full(len(faces), -1, np.int32))


def _around(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[P, k] distances of the nearest points, the point itself first, and which they are."""
    try:
        from scipy.spatial import KDTree
    except ImportError:
        raise UserError("points are put in by scipy, which is not installed; pip install 'taichi-nerf[geometry]'"
                        ) from None
    count = min(NEIGHBOURS + 1, len(position))
    distance, index = KDTree(position).query(position, k=count)
    return distance.reshape(-1, count), index.reshape(-1, count)


def _radii(distance: np.ndarray) -> np.ndarray:
    """[P] of the discs, by distances [P, k] of the nearest points."""
    fourth = distance[:, min(FOURTH, distance.shape[1] - 1)]
    if not (fourth > 0).any():
        raise ValueError("its points lie all at one place, whose distances say no radius")
    usual = np.median(fourth[fourth > 0])
    return fourth.clip(SMALLEST * usual, WIDEST * usual)


def _least_spread(points: np.ndarray) -> np.ndarray:
    """[P, 3]: the direction in which points [P, k, 3] are spread least."""
    apart = points - points.mean(axis=1, keepdims=True)
    return np.linalg.eigh(apart.transpose(0, 2, 1) @ apart)[1][:, :, 0]


def _hexagons(normal: np.ndarray) -> np.ndarray:
    """[P, 6, 3]: the corners of hexagons around the origin at right angles to unit vectors [P, 3], at distance 1."""
    seed = np.where(np.abs(normal[:, 2:]) < 0.9, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    u = np.cross(seed, normal)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    turn = 2 * np.pi * np.arange(SIDES) / SIDES
    return np.cos(turn)[:, None] * u[:, None] + np.sin(turn)[:, None] * np.cross(normal, u)[:, None]
