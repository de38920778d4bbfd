"""The still life with four things that move, at any time from 0 to 1. What is known of the motion is exact.

    balls    two checkered ones swing on rods, one over the middle of the table and one at its edge; each is rigid
    reed     a chain of capsules at the other edge, each rigid, bends to one side and to the other
    bud      a striped ball that is not there at first, and grows where it stands

All that moves is spheres and capsules, in frames that are functions of the time: a point of a surface keeps its place
in the frame of its solid, and so is found at any other time. Other `Movers` than these can be given to all that asks
for what moves.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..co_seen import MOST_ONLOOKERS, CoSeenMasks, Onlookers, evenly, surface_points
from ..scene import Cameras, Images, Points, Split
from .cameras import FIELD_OF_VIEW, hemisphere_cameras, looking
from .renderer import Pictures, render
from .still_life import FLOOR, IVORY, daylight, still_life
from .world import CAPSULE, CHECKER, SPHERE, STRIPES, Material, Solid, World

__all__ = [
    "Film",
    "Movers",
    "correspondence",
    "correspondences",
    "everything",
    "filmed",
    "moves",
    "moving_mask",
    "moving_pictures",
    "moving_still_life",
    "one_view_a_time",
    "onlookers_of",
    "still_points",
    "surface_points",
    "swinging",
    "two_cameras",
]

TURN = 2 * np.pi
MOST_STILL = 2**14  # points of what stands still, as Nerfies takes them in a step
ON_SURFACE = 1e-3  # world units from a solid within which a point is of its surface
RUST = Material(colour=(0.78, 0.20, 0.05), other=(0.90, 0.85, 0.75), pattern=CHECKER, frequency=9.0, specular=0.2,
                shininess=50)
TEAL = Material(colour=(0.02, 0.30, 0.34), other=(0.86, 0.72, 0.20), pattern=CHECKER, frequency=9.0, specular=0.2,
                shininess=50)
LEAF = Material(colour=(0.10, 0.36, 0.06), other=(0.45, 0.60, 0.15), pattern=STRIPES, frequency=12.0, specular=0.1,
                shininess=30)
BUD = Material(colour=(0.55, 0.06, 0.30), other=(0.90, 0.62, 0.70), pattern=STRIPES, frequency=12.0, specular=0.2,
               shininess=50)
JOINTS, LINK, ROOT = 6, 0.12, (0.93, 0.02, FLOOR)  # of the reed: its capsules, the length of each, where it stands
BEND = 0.22  # radians between two capsules at the most
ONLOOKER_SIDE, ONLOOKER_SLACK = 256, 0.004  # pixels of the pictures of onlookers, and of the distance: rods are thin
RIG, RIG_DISTANCE = 0.35, 4.0  # world units between two cameras, and from them to the origin
RIG_ARC, RIG_HEIGHT = 0.9, 1.6  # radians that they go to and fro around the table, and their height

Movers = Callable[[float], list[Solid]]
# all that moves at a time in [0, 1], always in one order; the size of what is not there is 0


def everything(time: float) -> list[Solid]:
    """The movers of `builtin:moving`."""
    return [
        *swinging(RUST, pivot=(0.02, 0.02, 0.98), length=0.72, radius=0.14, across=(0.0, 1.0, 0.0),
                  angle=np.radians(40) * np.sin(TURN * time)),
        *swinging(TEAL, pivot=(-0.86, 0.04, 0.80), length=0.66, radius=0.12, across=(1.0, 0.0, 0.0),
                  angle=np.radians(35) * np.sin(1.5 * TURN * time)),
        *_reed(BEND * np.sin(TURN * time)),
        _bud(_smooth((time - 0.35) / 0.3)),
    ]


def swinging(material: Material, *, pivot, length: float, radius: float, across, angle: float) -> list[Solid]:
    """A rod of this `length` in world units and a ball of this `radius` at its end, which would hang straight down from
    the `pivot`, turned by `angle`, in radians, about the unit axis `across` through it."""
    rotation, pivot = _rotation(across, angle), np.asarray(pivot)
    down = rotation @ (0.0, 0.0, -1.0)
    rod = Solid(kind=CAPSULE, size=(0.014, 0.5 * (length - radius)), material=IVORY, rotation=rotation,
                position=tuple(pivot + 0.5 * (length - radius) * down))
    ball = Solid(kind=SPHERE, size=(radius,), material=material, rotation=rotation,
                 position=tuple(pivot + length * down))
    return [rod, ball]


def _reed(bend: float) -> list[Solid]:
    """Capsules end to end, each turned by `bend` against the one below it."""
    solids, foot = [], np.array(ROOT)
    for joint in range(JOINTS):
        rotation = _rotation((1.0, 0.0, 0.0), bend * (joint + 0.5))
        tip = foot + LINK * rotation[:, 2]
        solids.append(Solid(kind=CAPSULE, size=(0.05 - 0.004 * joint, 0.5 * LINK), material=LEAF, rotation=rotation,
                            position=tuple(0.5 * (foot + tip))))
        foot = tip
    return solids


def _bud(grown: float) -> Solid:
    radius = 0.13 * grown
    return Solid(kind=SPHERE, size=(radius,), material=BUD, position=(-0.03, -0.44, FLOOR + radius))


def _smooth(x: float) -> float:
    """From 0 to 1 as x does, with no slope at either end."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _rotation(axis, angle: float) -> np.ndarray:
    """[3, 3] about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@dataclass(frozen=True, kw_only=True)
class Film:
    """Which camera looks at which time."""

    cameras: Cameras
    """N cameras."""
    time: np.ndarray
    """[N] in [0, 1]."""
    ids: Mapping[str, np.ndarray] = field(default_factory=dict)
    """[N] by name, as of `Split`."""


def one_view_a_time(views: Sequence[int], resolution: int, turn: float) -> list[Film]:
    """Of each split, in D-NeRF's manner: no time is seen twice, and the cameras follow in no order.

    Training times are evenly spaced from 0 to 1; those of the other splits lie between them.
    """
    films = []
    for number, count in enumerate(views):
        cameras = hemisphere_cameras(count, resolution, turn + 2.0 * number, 0.5 + 0.17 * number)
        order = np.random.default_rng([count, number]).permutation(count)
        time = np.linspace(0, 1, count) if number == 0 else _between_times(count, views[0])
        films.append(Film(cameras=cameras.subset(order), time=time))
    return films


def _between_times(count: int, seen: int) -> np.ndarray:
    """[count] evenly spread, each halfway between two neighbours of `seen` times from 0 to 1."""
    steps = max(seen - 1, 1)
    return (np.floor((np.arange(count) + 0.5) / max(count, 1) * steps) + 0.5) / steps


def two_cameras(views: Sequence[int], resolution: int, turn: float) -> list[Film]:
    """Two cameras side by side, which go to and fro around the table: in training left and right take turns, in the
    other splits the one looks that did not, at some of the training's times. Ids: `camera`, and `warp` for the time."""
    steps = np.arange(views[0])
    films = []
    for number, count in enumerate(views):
        chosen = steps if number == 0 else np.unique(np.linspace(0, views[0] - 1, count).round().astype(int))
        time = chosen / max(views[0] - 1, 1)
        side = (chosen + (number > 0)) % 2
        angle = turn + RIG_ARC * np.sin(TURN * time)
        outward = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        across = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
        position = np.sqrt(RIG_DISTANCE**2 - RIG_HEIGHT**2) * outward + (0, 0, RIG_HEIGHT)
        position += RIG * (side - 0.5)[:, None] * across
        films.append(Film(cameras=looking(position, np.zeros(3), resolution, FIELD_OF_VIEW), time=time,
                          ids={"camera": side, "warp": chosen}))
    return films


def onlookers_of(film: Film) -> Callable[[], Onlookers]:
    """What some of the cameras of a film see, exactly; found at the first call, on the current runtime."""

    @functools.cache
    def onlookers() -> Onlookers:
        chosen = evenly(len(film.time), MOST_ONLOOKERS)
        cameras, time = film.cameras.subset(chosen).resized((ONLOOKER_SIDE, ONLOOKER_SIDE)), film.time[chosen]
        return Onlookers(cameras=cameras, time=time, depth=moving_pictures(cameras, time, 1).depth,
                         carried=correspondences, how="exactly", slack=ONLOOKER_SLACK)

    return onlookers


def filmed(name: str, film: Film, samples_per_axis: int, onlookers: Callable[[], Onlookers] | None = None,
           movers: Movers = everything) -> Split:
    """The split of a film, with exact depth, normals, masks of what moves and, where it has `onlookers`, of what they
    see."""
    pictures = moving_pictures(film.cameras, film.time, samples_per_axis, movers)
    masks = tuple(moving_mask(film.cameras, n, depth, film.time[n], movers) for n, depth in enumerate(pictures.depth))
    return Split(name=name, cameras=film.cameras, images=Images.from_list(list(pictures.rgba)),
                 depth=tuple(pictures.depth), normals=tuple(pictures.normals), time=film.time, ids=film.ids,
                 moving=masks,
                 co_seen=onlookers and CoSeenMasks(film.cameras, tuple(pictures.depth), film.time, onlookers))


def moving_still_life(time: float, movers: Movers = everything) -> World:
    """The solids at a time in [0, 1]."""
    there = [solid for solid in movers(time) if solid.size[0] > 0]
    return World(groups=[*still_life().groups, there])


def moving_pictures(cameras: Cameras, times: Sequence[float], samples_per_axis: int,
                    movers: Movers = everything) -> Pictures:
    """What each of N cameras sees at its time [N]; `samples_per_axis`^2 rays a pixel. Runs on the current runtime."""
    found = [render(moving_still_life(float(time), movers), cameras.subset([n]), daylight(), samples_per_axis)
             for n, time in enumerate(times)]
    return Pictures(*(np.concatenate([getattr(each, name) for each in found]) for name in ("rgba", "depth", "normals")))


def correspondence(points: np.ndarray, time: float, other: float, movers: Movers = everything) -> np.ndarray:
    """[P, 3] where the surface points [P, 3] of `time` are at the `other` time; NaN for those that are not there then.

    Points and results are world positions. What is no surface of a thing that moves stays.
    """
    return next(correspondences(points, time, [other], movers))


def correspondences(points: np.ndarray, time: float, others: Sequence[float],
                    movers: Movers = everything) -> Iterator[np.ndarray]:
    """As `correspondence`, at each of several times."""
    points = np.asarray(points, dtype=np.float64)
    solids = movers(time)
    of = _solid_at(points, solids)
    for other in others:
        result, then = points.copy(), movers(other)
        for number in np.unique(of[of >= 0]):
            result[of == number] = _moved(points[of == number], solids[number], then[number])
        yield result


def _moved(points: np.ndarray, now: Solid, then: Solid) -> np.ndarray:
    """[P, 3] where the points [P, 3] of a solid are on it as it is then."""
    if then.size[0] == 0:
        return np.full_like(points, np.nan)
    local = (points - now.position) @ now.rotation * (then.size[0] / now.size[0])
    return local @ then.rotation.T + then.position


def moves(points: np.ndarray, time: float, movers: Movers = everything) -> np.ndarray:
    """[P] bool: which of the world positions [P, 3] lie on the surface of a thing that moves, at `time`."""
    return _solid_at(np.asarray(points, dtype=np.float64), movers(time)) >= 0


def still_points(split: Split) -> Points:
    """Some of what the pixel centres of a split see that stands still: exact points of its surface."""
    seen = [surface_points(split.cameras, n, depth)[np.isfinite(depth) & ~split.moving[n]]
            for n, depth in enumerate(split.depth)]
    seen = np.concatenate(seen)
    return Points(position=seen[np.random.default_rng(0).permutation(len(seen))[:MOST_STILL]])


def moving_mask(cameras: Cameras, n: int, depth: np.ndarray, time: float, movers: Movers = everything) -> np.ndarray:
    """[H, W] bool: whether the centre of a pixel of camera n shows something that moves, by exact `depth` [H, W]."""
    seen = surface_points(cameras, n, depth).reshape(-1, 3)
    there = np.isfinite(seen).all(axis=1)
    mask = np.zeros(len(seen), bool)
    mask[there] = moves(seen[there], time, movers)
    return mask.reshape(depth.shape)


def _solid_at(points: np.ndarray, solids: Sequence[Solid]) -> np.ndarray:
    """[P]: the number of the solid on whose surface each point lies, or -1."""
    of, nearest = np.full(len(points), -1), np.full(len(points), ON_SURFACE)
    for number, solid in enumerate(solids):
        if solid.size[0] == 0:
            continue
        local = (points - solid.position) @ solid.rotation
        half = solid.size[1] if solid.kind == CAPSULE else 0.0
        local[:, 2] -= np.clip(local[:, 2], -half, half)
        distance = np.abs(np.linalg.norm(local, axis=1) - solid.size[0])
        closer = distance < nearest
        of[closer], nearest[closer] = number, distance[closer]
    return of
