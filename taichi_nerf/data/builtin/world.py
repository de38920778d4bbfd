"""What a computed scene is made of: solids with materials, in groups, under a light. No kernel.

A solid lives in its own frame, whose axis is z, and is put into the world by a rotation and a position.
Lengths are world units, colours linear RGB. A group is a list of solids, or of groups, that lie near each other:
rays that miss its bounding sphere skip it. `World.tables` packs everything into the arrays that the kernels read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

# Kinds of solids, with the sizes of each
SPHERE = 0  # radius; the kernels see a capsule without length
CAPSULE = 1  # radius, half length of the axis
BOX = 2  # half extents along x, y, z, and the radius of the rounded edges
CYLINDER = 3  # radius, half height, and the radius of the rounded edges; from here on: solids of revolution
TORUS = 4  # radius of the ring, radius of the tube
FRUSTUM = 5  # radius at the bottom, radius at the top, half height

# Patterns that alternate between a material's two colours
PLAIN = 0
CHECKER = 1  # cubes of side 1 / frequency
STRIPES = 2  # along the axis, `frequency` periods per unit
SPIRAL = 3  # `frequency` periods per unit along the axis, `turns` around it
SECTORS = 4  # `turns` periods around the axis
INLAY = 5  # a round table: checkers inside 1, a wooden rim with a line at its edge
FIELDS = 6  # `turns` periods around the axis and `frequency` over each e-fold of the distance from it: as many fields
# at any distance, with hedges between them, which pale towards the horizon

NO_SOLID = -1
ENDLESS = 1e9  # half extent of the ground
LIGHT_COLUMNS = 10  # of `Light.row`


@dataclass(frozen=True, kw_only=True)
class Material:
    """How a surface looks: Lambert, a Blinn-Phong highlight, and a mirror image by Schlick's Fresnel term."""

    colour: tuple[float, float, float]
    """Linear RGB."""
    other: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The second colour of the pattern."""
    pattern: int = PLAIN
    """PLAIN, CHECKER, STRIPES, SPIRAL, SECTORS, INLAY or FIELDS."""
    frequency: float = 1.0
    """Periods of the pattern per unit of length."""
    turns: float = 0.0
    """Periods of the pattern around the axis, a whole number."""
    specular: float = 0.0
    """Strength of the highlight."""
    shininess: float = 32.0
    """Blinn-Phong exponent."""
    reflectance: float = 0.0
    """Mirror reflectance at normal incidence; 0: no mirror image."""
    metallic: float = 0.0
    """1: no diffuse light, highlight and mirror image in the surface's colour."""

    def row(self) -> list[float]:
        """The 12 numbers that the kernels read."""
        return [*self.colour, *self.other, self.frequency, self.turns, self.specular, self.shininess,
                self.reflectance, self.metallic]


@dataclass(frozen=True, kw_only=True)
class Solid:
    """One analytic body."""

    kind: int
    """SPHERE, CAPSULE, CYLINDER, BOX, TORUS or FRUSTUM."""
    size: Sequence[float]
    """Up to four lengths, as listed with the kinds."""
    material: Material
    """Of its whole surface."""
    position: Sequence[float] = (0.0, 0.0, 0.0)
    """World position of its centre."""
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    """[3, 3]: its frame to the world."""

    def shape(self) -> list[float]:
        """The seven numbers that `solids` reads: half extents x y z, ring, edge, taper, its cosine."""
        a, b, c, d = [*self.size, 0.0, 0.0, 0.0][:4]
        taper = 0.5 * (a - b) / c if self.kind == FRUSTUM else 0.0
        extents_ring_edge = {
            SPHERE: (0, 0, 0, 0, a),
            CAPSULE: (0, 0, b, 0, a),
            BOX: (a - d, b - d, c - d, 0, d),
            CYLINDER: (a - c, 0, b - c, 0, c),
            TORUS: (0, 0, 0, a, b),
            FRUSTUM: (0.5 * (a + b), 0, c, 0, 0),
        }[self.kind]
        return [*extents_ring_edge, taper, 1 / math.hypot(1, taper)]

    def kernel_kind(self) -> int:
        """The kind as which the kernels meet it: a sphere as a capsule, a rounded cylinder as a torus."""
        if self.kind == CYLINDER and self.shape()[4] > 0:
            return TORUS
        return CAPSULE if self.kind == SPHERE else self.kind

    def bounding_radius(self) -> float:
        """Radius of a sphere around its centre."""
        x, y, z, ring, edge, taper, _ = self.shape()
        return math.hypot(ring + x + abs(taper) * z, y, z) + edge

    def half_thickness(self) -> float:
        """Half of its width across: how much of a light it can hide."""
        x, y, z, _, edge, _, _ = self.shape()
        return edge + {BOX: min(x, y, z), CYLINDER: min(x, z), FRUSTUM: x}.get(self.kind, 0.0)

    def row(self) -> list[float]:
        """The 20 numbers that the kernels read: rotation row by row, position, shape, half thickness."""
        return [*np.asarray(self.rotation, dtype=float).ravel(), *self.position, *self.shape(),
                self.half_thickness()]


@dataclass(frozen=True, kw_only=True)
class Light:
    """A round area light, and the sky around, which fills the shadows and is seen in mirrors."""

    position: Sequence[float] = (1.9, -1.6, 3.6)
    """World position of its centre."""
    radius: float = 0.42
    """Its radius: the width of the shadows' edges."""
    colour: Sequence[float] = (1.0, 0.93, 0.82)
    """Linear RGB irradiance of a surface that faces it, by pi."""
    ambient: Sequence[float] = (0.40, 0.46, 0.55)
    """Linear RGB of the sky overhead."""

    def row(self) -> list[float]:
        """The 10 numbers that the kernels read."""
        return [*self.position, self.radius, *self.colour, *self.ambient]


Group: TypeAlias = "Sequence[Solid | Group]"


@dataclass(frozen=True, kw_only=True)
class World:
    """Groups of solids, and the ground that they stand on where it has no end."""

    groups: Group
    """Solids that lie near each other share a group."""
    ground: Material | None = None
    """Of the plane z = 0, which reaches to the horizon under an open sky; none: nothing lies behind the solids."""

    @property
    def ground_solid(self) -> int:
        """The row of the ground among the solids, or NO_SOLID."""
        return NO_SOLID if self.ground is None else len(solids_of(self.groups))

    def tables(self, dtype=np.float32) -> dict[str, np.ndarray]:
        """The arrays of the kernels.

        nodes [B, 4] and node_index [B, 2] int32: bounding spheres (centre, radius) in the order of a walk
        through the tree of all, groups and solids; the node to go on with where the ray misses the sphere,
        and the solid or NO_SOLID. solids [K, 20] and solid_index [K, 2] int32 (kind, material). materials [M,
        12] and material_pattern [M] int32. The ground is the last solid, a box without end, and has no node.
        """
        solids = solids_of(self.groups)
        if self.ground is not None:
            solids.append(Solid(kind=BOX, size=(ENDLESS, ENDLESS, 1.0), material=self.ground, position=(0, 0, -1)))
        materials = list(dict.fromkeys(s.material for s in solids))
        nodes, node_index = _tree(self.groups)
        floats = {
            "nodes": nodes,
            "solids": [s.row() for s in solids],
            "materials": [m.row() for m in materials],
        }
        integers = {
            "node_index": node_index,
            "solid_index": [(s.kernel_kind(), materials.index(s.material)) for s in solids],
            "material_pattern": [m.pattern for m in materials],
        }
        return {name: np.array(v, dtype=dtype) for name, v in floats.items()} | {
            name: np.array(v, dtype=np.int32) for name, v in integers.items()}


def rod(start, end, radius: float, material: Material) -> Solid:
    """A capsule from `start` to `end`."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    return Solid(kind=CAPSULE, size=(radius, 0.5 * float(np.linalg.norm(end - start))), material=material,
                 position=tuple(0.5 * (start + end)), rotation=axis_frame(end - start))


def axis_frame(axis) -> np.ndarray:
    """[3, 3] rotation that takes z to the direction `axis`."""
    z = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    x = np.cross((0.0, 1.0, 0.0) if abs(z[1]) < 0.9 else (1.0, 0.0, 0.0), z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def turned(degrees: float) -> np.ndarray:
    """[3, 3] rotation about z."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def solids_of(group: Group) -> list[Solid]:
    """All solids of a group and of the groups in it, in order."""
    return [solid for member in group
            for solid in ([member] if isinstance(member, Solid) else solids_of(member))]


def _tree(group: Group) -> tuple[list[list[float]], list[tuple[int, int]]]:
    """Bounding spheres in the order of a walk; for each the node behind all that it holds, and its solid."""
    nodes, index = [], []

    def visit(member: "Solid | Group"):
        number, leaf = len(nodes), isinstance(member, Solid)
        solid = sum(k != NO_SOLID for _, k in index)
        nodes.append([*member.position, member.bounding_radius()] if leaf else _bounding_sphere(solids_of(member)))
        index.append((number + 1, solid if leaf else NO_SOLID))
        for inner in () if leaf else member:
            visit(inner)
        index[number] = (len(nodes), index[number][1])

    visit(group)
    return nodes, index


def _bounding_sphere(group: Sequence[Solid]) -> list[float]:
    """Centre and radius of a sphere around the solids: about the middle of their bounding box."""
    position = np.array([s.position for s in group], dtype=float)
    radius = np.array([s.bounding_radius() for s in group])
    low, high = (position - radius[:, None]).min(axis=0), (position + radius[:, None]).max(axis=0)
    centre = 0.5 * (low + high)
    return [*centre, float((np.linalg.norm(position - centre, axis=1) + radius).max())]
