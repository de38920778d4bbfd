"""What COLMAP does not say: why a photo has no pose, and whether the poses of the others can be believed.

Pairs of images hold their matches independently of the reconstruction. For a match p, q in two images with the relative
pose [R | t], the epipolar constraint q^T [t]_x R p = 0 must hold; where most matches of many pairs break it, the
reconstruction is bent, or was closed at the wrong place.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..data.inspect import Finding
from .reconstruction import import_pycolmap

FEW_FEATURES = 300
FEW_MATCHES = 30
BLURRED = 0.25  # of the median sharpness of the images that have a pose
LARGE_ERROR = 1.5  # pixels, mean reprojection error
EPIPOLAR_PIXELS = 4.0
CONTRADICTED = 0.1  # share of the pairs whose matches the poses do not explain
NARROWEST, WIDEST = 10.0, 130.0  # degrees along the longer side, as lenses of photos have
STRONG_DISTORTION = 0.3  # relative displacement at the corner of the image
JUMP = 6.0  # times the usual step between neighbours
PATH = 0.25  # usual step, of the usual distance between any two images, under which their names follow a path


class Pair(NamedTuple):
    """Two images whose features match."""

    one: int
    other: int
    matches: int
    """That a motion of the camera explains."""


def read_pairs(database) -> list[Pair]:
    """The verified pairs of a pycolmap database."""
    colmap = import_pycolmap()
    ids, inliers = database.read_two_view_geometry_num_inliers()
    return [Pair(*colmap.pair_id_to_image_pair(pair), count) for pair, count in zip(ids, inliers) if count > 0]


def reasons(database, models: Sequence, sharpness: Mapping[str, float]) -> dict[str, str]:
    """Why each image that is not in `models[0]` has no pose there, by its name, as likely as can be told."""
    images = {image.image_id: image.name for image in database.read_all_images()}
    placed = _placed(models[0]) if models else set()
    others = {image_id: number for number, model in enumerate(models[1:], 1) for image_id in _placed(model)}
    usual = float(np.median([sharpness[images[n]] for n in placed])) if placed else 0.0
    partners = {image_id: [] for image_id in images}
    for one, other, matches in read_pairs(database):
        partners[one].append((matches, other))
        partners[other].append((matches, one))
    found = {}
    for image_id, name in images.items():
        if image_id in placed:
            continue
        features = database.num_keypoints_for_image(image_id)
        best, partner = max(partners[image_id], default=(0, None))
        with_placed = max((matches for matches, other in partners[image_id] if other in placed), default=0)
        if features < FEW_FEATURES:
            found[name] = f"too few features ({features}): it is blurred, dark or shows smooth surfaces"
        elif image_id in others:
            found[name] = f"it belongs to a separate part of the reconstruction (model {others[image_id]})"
        elif sharpness[name] < BLURRED * usual:
            found[name] = f"it is blurred (sharpness {sharpness[name]:.0f}, usual is {usual:.0f})"
        elif best < FEW_MATCHES:
            near = f"at most {best}, with {images[partner]}" if partner is not None else "none"
            found[name] = f"too few matches with other images ({near}): nothing else shows the same from nearby"
        elif with_placed < FEW_MATCHES:
            found[name] = f"it matches only images without a pose ({best} matches with {images[partner]})"
        else:
            found[name] = f"its {with_placed} matches agree on no pose: what it shows moved, repeats itself or is flat"
    return dict(sorted(found.items()))


def suspicions(database, models: Sequence, *, ordered: bool) -> list[Finding]:
    """What looks wrong about the reconstruction; `ordered` if the images certainly follow each other along a path."""
    model = models[0]
    names = sorted(image.name for image in database.read_all_images())
    texts = [*_split(models), *_fit(model), *_lenses(model), *_contradictions(database, model),
             *_jumps(model, names, ordered)]
    return [Finding(severity="warning", text=text) for text in texts]


def contradicted_pairs(database, model) -> tuple[list[tuple[str, str]], int]:
    """Pairs of names most of whose matches the poses do not explain, and the number of pairs that were looked at."""
    colmap = import_pycolmap()
    ids, geometries = database.read_two_view_geometries()
    placed, wrong, seen = _placed(model), [], 0
    for pair_id, geometry in zip(ids, geometries):
        one, other = colmap.pair_id_to_image_pair(pair_id)
        if len(geometry.inlier_matches) < FEW_MATCHES or one not in placed or other not in placed:
            continue
        seen += 1
        images = model.images[one], model.images[other]
        points = [database.read_keypoints(n)[:, :2][geometry.inlier_matches[:, k]] for k, n in enumerate((one, other))]
        if (epipolar_errors(model, images, points) < EPIPOLAR_PIXELS).mean() < 0.5:
            wrong.append((images[0].name, images[1].name))
    return wrong, seen


def epipolar_errors(model, images, points) -> np.ndarray:
    """[M] pixels: how far the matches, `points` [M, 2] of each of two `images` of a model, lie from their epipolar
    lines, as Sampson has it."""
    colmap = import_pycolmap()
    cameras = [model.cameras[image.camera_id] for image in images]
    rays = [camera.cam_from_img(p.astype(np.float64)) for camera, p in zip(cameras, points)]
    relative = images[1].cam_from_world() * images[0].cam_from_world().inverse()
    error = np.sqrt(colmap.compute_squared_sampson_error(*rays, colmap.essential_matrix_from_pose(relative)))
    focal = np.mean([camera.mean_focal_length() for camera in cameras])
    return error * focal


def _split(models: Sequence):
    if len(models) > 1:
        sizes = ", ".join(str(model.num_reg_images()) for model in models)
        yield (
            f"the reconstruction is split into {len(models)} parts of {sizes} images that are not connected; the first "
            "is used: take more photos between the parts"
        )


def _fit(model):
    error = model.compute_mean_reprojection_error()
    if error > LARGE_ERROR:
        yield (
            f"the mean reprojection error is {error:.1f} pixels, where less than 1 is usual: the poses are inexact; "
            "try --camera-model OPENCV, or --no-single-camera if the photos come from several cameras or zooms"
        )


def _lenses(model):
    angles, shifts = set(), set()  # that no usual lens has
    for image_id in _placed(model):
        camera = model.cameras[model.images[image_id].camera_id]
        size = np.array([camera.width, camera.height])
        angle = float(np.degrees(2 * np.arctan(0.5 * size.max() / camera.mean_focal_length())))
        if not (camera.is_perspective_fisheye() or NARROWEST <= angle <= WIDEST):
            angles.add(round(angle))
        elif not camera.is_perspective_fisheye() and _displacement(camera) > STRONG_DISTORTION:
            shifts.add(round(100 * _displacement(camera)))
    strange = [f"a field of view of {_span(angles)} degrees"] if angles else []
    strange += [f"a distortion of {_span(shifts)} % at the corners"] if shifts else []
    if strange:
        yield (
            f"the lens was found to have {' and '.join(strange)}, which is no usual one: the reconstruction is "
            "probably bent; photograph from more directions and distances, or try --camera-model SIMPLE_PINHOLE"
        )


def _span(values: set[int]) -> str:
    return str(min(values)) if len(values) == 1 else f"{min(values)} to {max(values)}"


def _displacement(camera) -> float:
    """How far the lens moves a corner of the image, relative to its distance from the centre."""
    corner = np.array([[0.0, 0.0]])
    straight = (corner - [camera.principal_point_x, camera.principal_point_y]) / camera.mean_focal_length()
    ray = np.asarray(camera.cam_from_img(corner), dtype=np.float64)
    if not np.isfinite(ray).all():
        return np.inf
    return float(np.linalg.norm(ray - straight) / np.linalg.norm(straight))


def _contradictions(database, model):
    wrong, seen = contradicted_pairs(database, model)
    if seen and len(wrong) > CONTRADICTED * seen:
        yield (
            f"{len(wrong)} of {seen} pairs of images contradict their poses, such as {wrong[0][0]} and {wrong[0][1]}: "
            "the reconstruction is bent, or things that look alike were taken for one; try --matching exhaustive, or "
            "leave out such photos"
        )


def _jumps(model, every_name: Sequence[str], ordered: bool):
    """Steps of the camera between neighbours of a path that are far larger than the usual one.

    Images in between that have no pose count as so many steps. Photos are taken to follow a path where the usual step
    is small against the distance between any two of them.
    """
    number = {name: n for n, name in enumerate(every_name)}
    names = sorted((model.images[image_id].name, image_id) for image_id in _placed(model))
    position = np.array([model.images[image_id].projection_center() for _, image_id in names])
    steps = np.linalg.norm(np.diff(position, axis=0), axis=1) / np.diff([number[name] for name, _ in names])
    if len(steps) < 5:
        return
    apart = np.median(np.linalg.norm(position[:, None] - position[None], axis=-1)[np.triu_indices(len(names), 1)])
    if not ordered and np.median(steps) > PATH * apart:
        return
    large = np.flatnonzero(steps > JUMP * np.median(steps))
    if len(large):
        n = int(large[np.argmax(steps[large])])
        yield (
            f"the path of the camera jumps {len(large)} {'time' if len(large) == 1 else 'times'}, most between "
            f"{names[n][0]} and {names[n + 1][0]} ({steps[n] / np.median(steps):.0f} times the usual step): the parts "
            "before and after may not fit together"
        )


def _placed(model) -> set[int]:
    """Numbers of the images that have a pose."""
    return {image_id for image_id, image in model.images.items() if image.has_pose}
