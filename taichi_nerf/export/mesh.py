"""A mesh of what cameras see of a field: truncated signed distances of depths, marching cubes, less triangles.

The distances lie where a share of the opacity is reached, which sees through the fog that a field is full of, and of
which a level set of its density makes lumps; and where no camera looked there is nothing, instead of whatever the field
was left with.

N vertices, F triangles, in the world of the scene's splits; normals point outwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from .. import runtime
from ..errors import UserError
from ..ops.tsdf import BEYOND, integrate_depth
from ..query import Field
from .libraries import library
from .surface import SurfaceView

__all__ = ["BYTES_A_VOXEL", "Grid", "Mesh", "closed", "density_grid", "distance_grid", "grid_around", "known_enough",
           "mesh_of", "simplified", "smoothed", "with_even_normals", "without_small_parts"]

TRUNCATION = 3.0  # cells
MARGIN = 2  # cells around all that is seen
VIEWS_AT_ONCE = 2**22  # pixels
SEEN = 0.005  # of the views, whose weight a place must have: of what less is known, nobody looked at
PASS, BACK, PASSES = 0.5, -0.53, 20  # of smoothing: towards the neighbours, and a little farther back
SMALL = 0.04  # of the diagonal of all: parts with a smaller one are dropped
EVEN_PASSES, ALIKE = 3, 0.2  # over normals, and how far two of them lie apart that are still of one surface
BYTES_A_VOXEL = 24  # of a grid, while a surface is found in it
BOX_QUANTILE = 0.0005  # of the points seen that may lie outside of the grid, at either end of an axis


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Places of which something is known."""

    corner: np.ndarray
    """[3] float64: the place with index 0, 0, 0."""
    cell: float
    """Between two places."""
    shape: tuple[int, int, int]

    def places(self, index: np.ndarray) -> np.ndarray:
        """[M, 3] float64 of indices [M, 3], which may lie between."""
        return self.corner + self.cell * index


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Triangles."""

    vertices: np.ndarray
    """[N, 3] float64."""
    faces: np.ndarray
    """[F, 3] int64, counter-clockwise from outside."""
    shading: np.ndarray | None = None
    """[N, 3] float64 unit, the `normals`; None: those of the triangles."""

    @property
    def normals(self) -> np.ndarray:
        """[N, 3] float64 unit: `shading`, or the means of those of the triangles around, by their areas."""
        if self.shading is not None:
            return self.shading
        a, b, c = self.vertices[self.faces].transpose(1, 0, 2)
        of_faces = np.cross(b - a, c - a)
        found = np.stack([np.bincount(self.faces.reshape(-1), np.repeat(of_faces[:, axis], 3), len(self.vertices))
                          for axis in range(3)], axis=1)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)

    @property
    def open_edges(self) -> np.ndarray:
        """[E, 2]: those of one triangle alone."""
        edges, count = self._edges()
        return edges[count == 1]

    @property
    def touching_edges(self) -> np.ndarray:
        """[E, 2]: those of more than two triangles, where it touches itself."""
        edges, count = self._edges()
        return edges[count > 2]

    @property
    def solids(self) -> str:
        """How many parts it has, in words, of one without holes: those that turn outwards are solids, and those that
        turn inwards hollows in them."""
        part = _parts(self.faces, len(self.vertices))[self.faces[:, 0]]
        a, b, c = (self.vertices - self.vertices.mean(axis=0))[self.faces].transpose(1, 0, 2)
        used, number = np.unique(part, return_inverse=True)
        volume = np.bincount(number.reshape(-1), (a * np.cross(b, c)).sum(axis=1), len(used))
        hollows = int((volume < 0).sum())
        solids = len(used) - hollows
        return ("one part" if solids == 1 else f"{solids} separate parts") + (
            f", {hollows} hollow{'s' * (hollows != 1)} inside" if hollows else "")

    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """[E, 2], and [E] of how many triangles each is."""
        edges = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        return np.unique(edges, axis=0, return_counts=True)

    @property
    def holes(self) -> int:
        """Rims along which it is open."""
        return len(np.unique(_parts(self.open_edges, len(self.vertices))[np.unique(self.open_edges)]))


def grid_around(views: Sequence[SurfaceView], box: np.ndarray, resolution: int) -> Grid:
    """Of all that the views see within the box [2, 3], or of the box where it is smaller. Raises UserError where they
    see nothing."""
    seen = np.concatenate([view.position[view.met] for view in views])
    seen = seen[((seen >= box[0]) & (seen <= box[1])).all(axis=1)]
    if len(seen) == 0:
        raise UserError("the cameras see no surface in the box: nothing there is opaque; train longer, or give another "
                        "--box")
    lowest, highest = np.quantile(seen.astype(np.float64), (BOX_QUANTILE, 1 - BOX_QUANTILE), axis=0)
    cell = float((highest - lowest).max()) / max(resolution - 2 * MARGIN, 1)
    corner = lowest - MARGIN * cell
    shape = np.ceil((highest - lowest) / cell).astype(int) + 2 * MARGIN + 1
    return Grid(corner=corner, cell=max(cell, 1e-9), shape=tuple(int(side) for side in shape))


def distance_grid(grid: Grid, views: Sequence[SurfaceView], on_view: Callable[[int, int], None] | None = None
                  ) -> tuple[np.ndarray, np.ndarray]:
    """Mean signed distances in truncations, positive outside, and the sums of their weights: shape of the grid."""
    now = runtime.current()
    total, weight = (torch.zeros(grid.shape, dtype=now.dtype, device=now.device) for _ in range(2))
    middle = grid.corner + 0.5 * grid.cell * np.array(grid.shape)  # numbers stay small

    def tensor(array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(total)

    done = 0
    for some in _alike(views):
        pose = np.concatenate([view.camera.camera_to_world for view in some]).astype(np.float64)
        pose[:, :, 3] -= middle
        distance = np.stack([np.where(view.met, view.distance, BEYOND) for view in some])
        integrate_depth(tensor(distance), tensor(np.stack([view.confidence for view in some])), tensor(pose),
                        tensor(np.concatenate([view.camera.focal for view in some])),
                        tensor(np.concatenate([view.camera.principal for view in some])),
                        tensor(grid.corner - middle), total, weight, grid.cell, TRUNCATION * grid.cell)
        done += len(some)
        if on_view is not None:
            on_view(done, len(views))
    mean = torch.where(weight > 0, total / weight.clamp_min(1e-9), 1.0)
    return mean.cpu().numpy(), weight.cpu().numpy()


def density_grid(grid: Grid, field: Field, level: float, time: float | None = None,
                 on_points: Callable[[int, int], None] | None = None) -> np.ndarray:
    """How far the density, per unit of the file, lies below a level, in levels: negative inside. Shape of the grid."""
    found = np.zeros(grid.shape, np.float32)
    for number in range(grid.shape[0]):
        index = np.stack(np.meshgrid([number], *(np.arange(side) for side in grid.shape[1:]), indexing="ij"), axis=-1)
        density = field.at(grid.places(index.reshape(-1, 3)) + field.scene.origin, (0, 0, -1), time=time).density
        found[number] = (1 - density / level).reshape(grid.shape[1:]).clip(-1e3, 1)
        if on_points is not None:
            on_points(number + 1, grid.shape[0])
    return found


def mesh_of(grid: Grid, distance: np.ndarray, known: np.ndarray | None = None) -> Mesh:
    """Where `distance` is zero, negative inside, and both places beside it are `known`. Raises UserError where it is
    nowhere."""
    measure = library("skimage.measure", "a mesh")
    if not (distance.min() < 0 < distance.max()):
        raise UserError("there is no surface in the box: nothing there is as opaque as that; give another --box, or "
                        "train longer")
    vertices, faces, _, _ = measure.marching_cubes(distance, 0.0, gradient_direction="descent")
    faces = faces.astype(np.int64)
    if known is not None:
        low, high = np.floor(vertices).astype(int), np.ceil(vertices).astype(int)
        seen = known[tuple(low.T)] & known[tuple(high.T)]
        faces = faces[seen[faces].all(axis=1)]
    return _compact(Mesh(vertices=grid.places(vertices.astype(np.float64)), faces=faces))


def known_enough(weight: np.ndarray, views: int) -> np.ndarray:
    """Bool: of which places enough is known by so many views."""
    return weight > SEEN * views


def smoothed(mesh: Mesh, passes: int = PASSES) -> Mesh:
    """Without the steps of the grid, and as large as before: each pass moves the corners towards the means of their
    neighbours, and back (Taubin 1995, A Signal Processing Approach to Fair Surface Design)."""
    sparse = library("scipy.sparse", "a mesh")
    rows, columns = _neighbours(mesh)
    count = len(mesh.vertices)
    beside = sparse.csr_matrix((1 / np.bincount(rows, minlength=count)[rows], (rows, columns)), shape=(count, count))
    middle = mesh.vertices.mean(axis=0)
    place = mesh.vertices - middle
    for _ in range(passes):
        for share in (PASS, BACK):
            place = place + share * (beside @ place - place)
    return replace(mesh, vertices=place + middle)


def with_even_normals(mesh: Mesh, passes: int = EVEN_PASSES) -> Mesh:
    """The same surface, whose shading has edges, but no ripples: each pass adds to a normal those of its neighbours, by
    how like they are, exp(-|n - m|^2 / (2 ALIKE^2)) (Fleishman et al. 2003, Bilateral Mesh Denoising)."""
    normals = mesh.normals
    rows, columns = _neighbours(mesh)
    for _ in range(passes):
        alike = np.exp(-((normals[rows] - normals[columns]) ** 2).sum(axis=1) / (2 * ALIKE**2))[:, None]
        added = alike * normals[columns]
        normals = normals + np.stack([np.bincount(rows, added[:, axis], len(normals)) for axis in range(3)], axis=1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    return replace(mesh, shading=normals)


def without_small_parts(mesh: Mesh, least: float = SMALL) -> tuple[Mesh, int]:
    """The parts whose diagonal is at least this part of that of all, and how many are dropped."""
    part = _parts(mesh.faces, len(mesh.vertices))
    count = part.max(initial=-1) + 1
    lowest, highest = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(lowest, part, mesh.vertices)
    np.maximum.at(highest, part, mesh.vertices)
    diagonal = np.linalg.norm(highest - lowest, axis=1)
    large = diagonal >= least * np.linalg.norm(np.ptp(mesh.vertices, axis=0)) if count else diagonal > 0
    kept = _compact(replace(mesh, faces=mesh.faces[large[part[mesh.faces[:, 0]]]]))
    return kept, int((~large).sum())


def closed(distance: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """The distances of a solid, whose surface is watertight: what is not `known` is inside, as what no camera saw may
    be, and all that lies outside of the grid is outside."""
    solid = distance.copy() if known is None else np.where(known, distance, -1.0).astype(distance.dtype)
    for axis in range(3):
        np.moveaxis(solid, axis, 0)[[0, -1]] = 1.0
    return solid


def simplified(mesh: Mesh, faces: int) -> Mesh:
    """About the same surface in at most so many triangles."""
    if len(mesh.faces) <= faces:
        return mesh
    library_ = library("fast_simplification", "--faces")
    middle = mesh.vertices.mean(axis=0)
    vertices, triangles = library_.simplify((mesh.vertices - middle).astype(np.float32), mesh.faces.astype(np.int32),
                                            target_count=faces)
    triangles = _without_flaps(triangles.astype(np.int64))
    return _compact(Mesh(vertices=vertices.astype(np.float64) + middle, faces=triangles))


def _without_flaps(faces: np.ndarray) -> np.ndarray:
    """[F', 3]: less the pairs of triangles that lie back to back, where a thin thing was pressed flat."""
    first = faces.argmin(axis=1)[:, None]
    turned = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)  # any corner may be the first
    _, number = np.unique(np.concatenate([turned, turned[:, [0, 2, 1]]]), axis=0, return_inverse=True)
    front, back = number.reshape(2, -1)
    count = np.bincount(front, minlength=number.max(initial=0) + 1)
    return faces[count[front] != count[back]]


def _compact(mesh: Mesh) -> Mesh:
    """Without triangles of fewer than three corners, and without vertices of no triangle."""
    faces = mesh.faces[(mesh.faces != np.roll(mesh.faces, 1, axis=1)).all(axis=1)]
    used, faces = np.unique(faces, return_inverse=True)
    return Mesh(vertices=mesh.vertices[used], faces=faces.reshape(-1, 3))


def _neighbours(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """[K] vertices, and [K] those at the other ends of their edges."""
    edges, _ = mesh._edges()
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    return rows, columns


def _parts(groups: np.ndarray, count: int) -> np.ndarray:
    """[count]: the number of the part that each vertex belongs to, of groups [G, K] that hold together."""
    sparse = library("scipy.sparse", "a mesh")
    graph = library("scipy.sparse.csgraph", "a mesh")
    pairs = np.concatenate([groups[:, [0, other]] for other in range(1, groups.shape[1])])
    links = sparse.coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return graph.connected_components(links, directed=False)[1]


def _alike(views: Sequence[SurfaceView]):
    """Views of one size, some at a time."""
    waiting: list[SurfaceView] = []
    for view in sorted(views, key=lambda view: view.distance.shape):
        shape = view.distance.shape
        if waiting and (waiting[0].distance.shape != shape or (len(waiting) + 1) * np.prod(shape) > VIEWS_AT_ONCE):
            yield waiting
            waiting = []
        waiting.append(view)
    if waiting:
        yield waiting
