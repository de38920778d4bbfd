"""What is in a scene and what looks wrong with it, in sentences (`describe`) and as a picture (`frusta`)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .depth import DepthImages
from .frusta import draw_frusta as draw_frusta
from .photometry import judge_light
from .scene import LENS_NAMES, PERSPECTIVE, Cameras, Scene, Split
from .times import for_times, has_times, jump_facts, range_suspicions, time_suspicions

FEW_SIZES = 0.1  # of the images: so few that have another size than all others are unlike them
MOST_DEPTHS = 24  # depth images of a split that are decoded to be looked at


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence about a scene."""

    severity: str
    """`info`, `warning` or `suggestion`."""
    text: str


def describe(scene: Scene, space: str | None = None, *, beyond: bool = False) -> list[Finding]:
    """What was recognised, each split, the box, and then all that is suspicious.

    `space`: what of it a model represents, in words; None: no model is known. `beyond`: whether that has what lies
    between cameras outside of the box and the box.
    """
    facts = [
        f"{scene.name}: format {scene.format}",
        *scene.notes,
        *map(_split_fact, scene.splits.values()),
        *_box_facts(scene, space),
    ]
    warnings = [*scene.problems, *_suspicions(scene, beyond)]
    return [Finding(severity="info", text=t) for t in facts] + [
        Finding(severity="warning", text=t) for t in warnings
    ]


def suggestions(scene: Scene) -> list[Finding]:
    """What a training of the scene may want, as its photos say."""
    texts = [f"photos have times: {for_times()}"] if has_times(scene) else []
    light = judge_light(scene.splits["train"]) if len(scene.splits.get("train", ())) else None
    if light is not None and light.differing is not None:
        texts.append(f"{light.why}: train with --appearance, and with --robust where people, cars or leaves moved "
                     "between the photos")
    return [Finding(severity="suggestion", text=text) for text in texts]


def _split_fact(split: Split) -> str:
    cameras = split.cameras
    if len(split) == 0:
        return f"{split.name}: no images"
    sizes = np.unique(cameras.size, axis=0)
    size = (
        f"{sizes[0, 0]} x {sizes[0, 1]}"
        if len(sizes) == 1
        else f"{len(sizes)} sizes up to {sizes[:, 0].max()} x {sizes[:, 1].max()}"
    )
    lenses = " and ".join(LENS_NAMES[int(lens)] for lens in np.unique(cameras.lens))
    distorted = " with distortion" if np.any(cameras.distortion) else ""
    alpha = "with alpha" if split.images.has_alpha else "opaque"
    if split.images.allowed is not None:
        alpha += f", {100 * split.images.masked_share:.1f} % under masks"
    if split.occluded is not None:
        alpha += f", {_occluded_share(split):.1%} under occluders"
    return (
        f"{split.name}: {len(split)} images of {size} pixels, {alpha}; {lenses} lens{distorted}, "
        f"{_range(field_of_view(cameras)[:, 0], '.1f')} degrees wide"
    )


def _occluded_share(split: Split) -> float:
    """Of all pixels, those where something covers the scene."""
    return sum(int(np.count_nonzero(mask)) for mask in split.occluded) / max(len(split.images.pixels), 1)


def _box_facts(scene: Scene, space: str | None) -> list[str]:
    of_grids = f" ({_count(scene.cascades, 'cascade')})" if space is None else ""
    near = f"near {scene.near:.4g}, " if space is None else ""
    facts = [
        *([] if space is None else [f"the model works in {space} (lengths in model units)"]),
        f"model box +-{scene.half_side:g}{of_grids}, in the file's world {_world_box(scene)}; {near}background "
        f"{scene.background}",
        *_orientation_facts(scene),
        *_point_facts(scene),
    ]
    if any(len(split) for split in scene.splits.values()):
        position = np.concatenate([scene.model_cameras(name).position for name in scene.splits])
        facts.append(
            f"cameras between {_point(position.min(0))} and {_point(position.max(0))} of the model, "
            f"{_range(np.linalg.norm(position, axis=-1), '.2f')} from its centre"
        )
    if len(scene.splits.get("train", ())):
        facts.append(f"a unit of the model at its centre is {scene.pixels_per_unit:.0f} pixels wide")
    return facts


def _world_box(scene: Scene) -> str:
    half = scene.half_side
    if np.array_equal(scene.rotation, np.eye(3)):
        return f"{_point(scene.to_world(np.full(3, -half)))} to {_point(scene.to_world(np.full(3, half)))}"
    return f"of side {2 * half / scene.scale:.4g} around {_point(scene.centre)}, turned"


def _orientation_facts(scene: Scene) -> list[str]:
    facts = []
    if not np.array_equal(scene.rotation, np.eye(3)):
        facts.append(f"the model's x, y and z are {', '.join(map(_point, scene.rotation))} of the file's world")
    if scene.forward_facing:
        facts.append("the cameras face one way: fit for normalised device coordinates")
    return facts


def _point_facts(scene: Scene) -> list[str]:
    facts = []
    if scene.far is not None:
        facts.append(f"what is known of lies between {scene.near:.4g} and {scene.far:.4g} of the cameras, in the model")
    if scene.points is not None:
        position = scene.to_model(scene.points.position)
        cube, box = (np.mean((np.abs(position) <= half).all(axis=1)) for half in (0.5, scene.half_side))
        facts.append(f"of {len(position)} points {cube:.0%} lie in the unit cube and {box:.1%} in the model box")
    for name, split in scene.splits.items():
        if split.sightings is not None and len(split):
            count = [len(sightings) for sightings in split.sightings]
            facts.append(f"{name}: {np.median(count):.0f} points seen by the median image")
        if split.depth is not None and len(split):
            facts.append(f"{name}: depth images")
        if split.time is not None and len(split):
            facts.append(f"{name}: times from {split.time.min():.3g} to {split.time.max():.3g}")
            facts += jump_facts(split, scene.model_cameras(name)) if name == "train" else []
        if split.exposure is not None and len(split) and np.ptp(split.exposure) > 0:
            facts.append(f"{name}: exposures that differ by {np.ptp(split.exposure):.2g} stops")
    return facts


def _suspicions(scene: Scene, beyond: bool) -> Iterator[str]:
    for name, split in scene.splits.items():
        if len(split) == 0:
            yield f"{name}: no images"
            continue
        cameras = scene.model_cameras(name)
        names = np.array(split.images.names)
        yield from _pose_suspicions(name, names, cameras)
        yield from _box_suspicions(scene, name, names, cameras, beyond)
        yield from _near_suspicions(scene, split, names, cameras)
        yield from _image_suspicions(name, names, split)
        yield from _stranger_suspicions(name, names, split)
        if name == "train":
            yield from time_suspicions(split, cameras)
    yield from _shared_views(scene)
    yield from range_suspicions(scene)


def _pose_suspicions(name: str, names: np.ndarray, cameras: Cameras) -> Iterator[str]:
    rotation = cameras.camera_to_world[:, :, :3].astype(np.float64)
    deviation = np.abs(np.swapaxes(rotation, 1, 2) @ rotation - np.eye(3)).max(axis=(1, 2))
    wrong = (
        ~(deviation < 2e-3)
        | ~(np.linalg.det(np.nan_to_num(rotation)) > 0)
        | ~np.isfinite(cameras.position).all(-1)
    )
    if wrong.any():
        yield f"{name}: poses are not rotations: {_list(names[wrong])}"
    spread = np.ptp(cameras.position, axis=0).max()
    if len(cameras) > 1 and spread < 1e-4:
        yield f"{name}: all {len(cameras)} cameras stand at one place, which shows no depth"
    outside = ((cameras.principal < 0) | (cameras.principal > cameras.size)).any(-1)
    if outside.any():
        yield f"{name}: the principal point lies outside the image: {_list(names[outside])}"


def _box_suspicions(scene: Scene, name: str, names: np.ndarray, cameras: Cameras, beyond: bool) -> Iterator[str]:
    inside = (np.abs(cameras.position) <= scene.half_side).all(-1)
    if not scene.bounded and not beyond and not inside.all():
        yield (
            f"{name}: {_count((~inside).sum(), 'camera')} outside the grid: "
            f"{_list(names[~inside])}; what lies between them and "
            "the box is not modelled, a larger aabb_scale would include them"
        )
    missing = ~inside & ~_frustum_meets_box(cameras, scene.half_side)
    if missing.any():
        yield (
            f"{name}: nothing of the model box is seen by {_count(missing.sum(), 'camera')}: "
            f"{_list(names[missing])}"
        )
    alignment = np.einsum("ni,ni->n", cameras.view_direction, -cameras.position)
    alignment = alignment / np.maximum(np.linalg.norm(cameras.position, axis=-1), 1e-9)
    behind = alignment < 0
    if behind.any() and np.median(alignment) > 0.5:  # else the scene is no object that all look at
        yield f"{name}: {_count(behind.sum(), 'camera')} turned away from the centre: {_list(names[behind])}"


def _near_suspicions(scene: Scene, split: Split, names: np.ndarray, cameras: Cameras) -> Iterator[str]:
    if split.depth is not None:
        most = MOST_DEPTHS if isinstance(split.depth, DepthImages) else len(split)
        looked_at = np.unique(np.linspace(0, len(split) - 1, min(len(split), most)).astype(int))
        nearest = np.array([float(np.min(split.depth[n], initial=np.inf)) for n in looked_at]) * scene.scale
        cut = np.isin(np.arange(len(split)), looked_at[nearest < scene.near])
    elif split.bounds is not None:
        cut = split.bounds[:, 0] * scene.scale < scene.near
    elif scene.bounded:
        cut = (np.abs(cameras.position) < scene.half_side).all(-1)
    else:
        distance = np.linalg.norm(cameras.position, axis=-1)
        ahead = np.einsum("ni,ni->n", cameras.view_direction, -cameras.position) > 0.5 * distance
        cut = ahead & (distance < 2 * scene.near)
    if cut.any():
        yield (
            f"{split.name}: the near plane ({scene.near:g}) may lie inside the object for "
            f"{_count(cut.sum(), 'camera')}: {_list(names[cut])}"
        )


def _image_suspicions(name: str, names: np.ndarray, split: Split) -> Iterator[str]:
    blank = np.array([_is_blank(split.images.image(n)) for n in range(len(split))])
    if blank.any():
        yield f"{name}: images of one colour only: {_list(names[blank])}"
    if len({_sample(split.images.image(n)) for n in range(len(split))}) == 1 < len(split) and not blank.all():
        yield f"{name}: all {len(split)} images are one and the same picture, which shows no depth"


def _stranger_suspicions(name: str, names: np.ndarray, split: Split) -> Iterator[str]:
    """Photos that do not look as if they belong to the others."""
    if split.sightings is not None:
        blind = np.array([len(sightings) == 0 for sightings in split.sightings])
        if blind.any() and not blind.all():
            yield (f"{name}: structure from motion found nothing that others show in {_list(names[blind])}: "
                   "of another place?")
    _, which, count = np.unique(split.cameras.size, axis=0, return_inverse=True, return_counts=True)
    odd = which.reshape(-1) != count.argmax()
    if split.scale is None and 0 < odd.sum() <= FEW_SIZES * len(split):
        yield (f"{name}: {_list(names[odd])} {'is' if odd.sum() == 1 else 'are'} of another size than all other "
               "images: of another place, or a screenshot?")


def _shared_views(scene: Scene) -> Iterator[str]:
    for one, other in combinations(scene.splits.values(), 2):
        shared = set(map(os.path.realpath, one.paths)) & set(map(os.path.realpath, other.paths))
        if shared:
            yield (
                f"{one.name} and {other.name} share {len(shared)} images: "
                f"{_list(sorted(map(os.path.basename, shared)))}"
            )
            continue
        views = set(_views(one))
        same = np.array([view in views for view in _views(other)], dtype=bool)
        if same.any():
            yield (
                f"{one.name} and {other.name} share {same.sum()} poses: "
                f"{_list(np.array(other.images.names)[same])}"
            )


def _views(split: Split) -> list[tuple[bytes, float]]:
    """From where each image was taken, and when: what moves looks different from the same place later."""
    times = np.zeros(len(split)) if split.time is None else split.time
    return [(pose.round(6).tobytes(), time) for pose, time in zip(split.cameras.camera_to_world, times.tolist())]


def field_of_view(cameras: Cameras) -> np.ndarray:
    """[N, 2] degrees across and down, without distortion."""
    half = 0.5 * cameras.size / cameras.focal
    return np.degrees(2 * np.where((cameras.lens == PERSPECTIVE)[:, None], np.arctan(half), half))


def _frustum_meets_box(cameras: Cameras, half_side: float) -> np.ndarray:
    """[N] bool: whether any of 9 x 9 rays over the image, lens distortion aside, hits the box."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 2), axis=-1).reshape(-1, 2)  # [81, 2]
    image = (grid * cameras.size[:, None] - cameras.principal[:, None]) / cameras.focal[:, None]  # [N, 81, 2]
    local = np.concatenate([image * (1, -1), -np.ones_like(image[..., :1])], axis=-1)
    direction = np.einsum("nij,nkj->nki", cameras.camera_to_world[:, :, :3], local)
    direction = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    ends = (np.array([-half_side, half_side])[:, None, None, None] - cameras.position[:, None]) / direction
    enter, leave = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)  # [N, 81]
    return ((enter < leave) & (leave > 0)).any(axis=-1)


def _sample(image: np.ndarray) -> bytes:
    """Some pixels, evenly spread: images that differ hardly ever have the same."""
    step = max(1, min(image.shape[:2]) // 32)
    return image[::step, ::step].tobytes()


def _is_blank(image: np.ndarray) -> bool:
    some = image[::16, ::16]
    if some[..., 3].any() and (some != some[0, 0]).any():
        return False
    return bool((image[..., 3] == 0).all() or (image == image[0, 0]).all())


def _range(values: np.ndarray, form: str) -> str:
    low, high = format(float(values.min()), form), format(float(values.max()), form)
    return low if low == high else f"{low} to {high}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _point(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.2f}" for v in values) + ")"


def _list(names) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
