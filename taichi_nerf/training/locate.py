"""Where a photo was taken: cameras are fitted until the field, which stays as it is, shows what the photo shows.

    candidate    a camera that may have taken the photo; K of them
    level        of a pyramid: the photo in some size, and the candidates that are fitted to it

The coarsest level sees many candidates, and others around the best of these; each next level those that have come
nearest. They are fitted together, by gradients that go through the rays (Yen-Chen et al. 2021, iNeRF). A field that is
seen in wide cones shows little detail, as a small photo does, and so draws a camera that is far off to where it
belongs; what no gradient finds is left to the number of candidates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from ..data.scene import Cameras, Images, Scene, Split
from ..models.model import Model
from ..models.views import render_view
from ..ops.se3 import exponential_map
from ..types import UNKNOWN, Shot
from .half_image import fit_left_halves
from .photos import GREY

__all__ = ["Located", "apart", "around", "locate", "smaller"]


@dataclass(frozen=True)
class Level:
    """Of the pyramid."""

    side: int
    """Longer side of the photo, in pixels, at most."""
    candidates: int
    """That are fitted."""
    steps: int
    rate: float
    """Learning rate of the twists at the start, radians and model units."""
    apart: tuple[float, float]
    """Degrees and parts of the scene by which the candidates are apart at the least."""


SAME, OTHER = (0.2, 0.002), (5.0, 0.05)  # degrees and parts of the scene up to which cameras are one, or of one place
LEVELS = (Level(20, 24, 60, 2e-2, SAME), Level(40, 6, 80, 1e-2, SAME), Level(80, 2, 100, 4e-3, OTHER),
          Level(160, 1, 120, 1e-3, OTHER))
ROUNDS, CHILDREN, SPREAD = 3, 8, (12.0, 0.2)
# of the search: each of the best candidates gets children around it, up to degrees and a part of the scene away, in
# each next round half as far
SEARCH_STEPS = 150  # that the search counts as
PIXELS = 256  # of a candidate in a step, or more, so that a step has some
LEAST_PIXELS = 1024
TINY = 1e-12  # a squared error that is none
STEP = 1e-3  # radians and model units by which a camera is moved to see what that changes


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where a photo was taken."""

    camera: Cameras
    """One, in the world of the scene's file, with the lens of the candidates."""
    psnr: float
    """Of the photo against what the field shows to the camera, dB, at the finest level."""
    confidence: float
    """By what part the squared error is smaller than that of the best other place, in [0, 1], at the last level that
    saw two; 1 where they came to one place."""
    degrees: float
    """Standard deviation of the camera's directions, by how much the picture changes with them: what the model shows
    wrongly, and everywhere alike, comes on top of it."""
    units: float
    """That of its place, in units of the scene's file."""
    shot: Shot
    """What the photo is of, R = 1: with the code of appearance that was fitted to it, of a model that has some."""


def locate(model: Model, scene: Scene, photo: np.ndarray, candidates: Cameras, *, seed: int = 0,
           on_step: Callable[[int, int], None] | None = None) -> Located:
    """The camera that took a photo.

    Args:
        model: is left as it is. One with codes of appearance fits that of the photo as well.
        photo: [H, W, 3 or 4] uint8, sRGB, straight alpha.
        candidates: at least one camera in the world, with the lens of the photo at its size; see `around`.
        on_step: is told how many steps are done and how many there are.
    """
    if photo.shape[2] == 3:
        photo = np.concatenate([photo, np.full_like(photo[..., :1], 255)], axis=2)  # [H, W, 4]
    told = on_step or (lambda done, total: None)
    total, done = SEARCH_STEPS + sum(level.steps for level in LEVELS), SEARCH_STEPS
    cameras, confidence = _searched(model, scene, smaller(photo, LEVELS[0].side), candidates, seed), 1.0
    told(done, total)
    for level in LEVELS:
        # those that have come nearest so far, fitted together, each to the photo
        small = smaller(photo, level.side)
        cameras = _sized(cameras.subset(_distinct(scene, cameras, level.apart)[: level.candidates]), small)
        fit = fit_left_halves(
            model, scene, Split(name="train", cameras=cameras, images=Images.from_list([small] * len(cameras))),
            poses=True, appearance="appearance" in model.codes, whole=True, steps=level.steps, pose_rate=level.rate,
            rays=max(PIXELS * len(cameras), LEAST_PIXELS), seed=seed,
            on_step=lambda step, _, before=done: told(before + step, total))
        done += level.steps
        # in the order of their errors
        cameras = scene.world_cameras(fit.cameras)
        errors = _errors(model, scene, cameras, small, fit.shots)
        order = np.argsort(errors, kind="stable")
        cameras, errors, shots = cameras.subset(order), errors[order], fit.shots[torch.from_numpy(order)]
        if len(cameras) > 1:
            other = errors[~_within(OTHER, apart(scene, cameras.subset([0] * len(cameras)), cameras))]
            confidence = 1 - errors[0] / max(other[0], TINY) if len(other) else 1.0
    best = cameras.subset([0])
    degrees, units = _deviation(model, scene, best, errors[0], shots[:1])
    return Located(camera=_sized(best, photo), psnr=-10 * math.log10(max(errors[0], TINY)),
                   confidence=float(confidence), degrees=degrees, units=units, shot=shots[:1])


def around(camera: Cameras, scene: Scene, *, degrees: float, share: float, count: int, seed: int = 0) -> Cameras:
    """`count` cameras, the first as given: one in the world, turned about the middle of the scene and about itself, by
    up to `degrees` each, and moved by up to a `share` of half of the scene's side."""
    random, inside = np.random.default_rng(seed), scene.model_cameras(camera)
    turn = random.uniform(-1, 1, (count, 6)) * math.radians(degrees) / math.sqrt(3)
    move = random.uniform(-1, 1, (count, 3, 1)) * share * scene.half_side / math.sqrt(3)
    turn[0], move[0] = 0, 0
    about_middle, about_itself = _rotations(turn[:, :3]), _rotations(turn[:, 3:])
    pose = about_middle @ inside.camera_to_world
    pose = np.concatenate([pose[:, :, :3] @ about_itself, pose[:, :, 3:] + move], axis=2)
    return scene.world_cameras(replace(inside.subset([0] * count), camera_to_world=pose.astype(np.float32)))


def apart(scene: Scene, first: Cameras, second: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """[N] degrees between the directions of N cameras and N others, and [N] how far apart they stand, as a part of the
    side of the scene's box."""
    turn = np.einsum("nki,nki->n", first.camera_to_world[:, :, :3], second.camera_to_world[:, :, :3])  # the trace
    angle = np.degrees(np.arccos(np.clip((turn - 1) / 2, -1, 1)))
    return angle, np.linalg.norm(first.position - second.position, axis=1) * scene.scale / (2 * scene.half_side)


def _searched(model: Model, scene: Scene, photo: np.ndarray, cameras: Cameras, seed: int) -> Cameras:
    """The best of the candidates, and of others around them, in the order of their errors."""
    most = LEVELS[0].candidates
    cameras = _sized(cameras, photo)
    errors = _errors(model, scene, cameras, photo)
    for number in range(ROUNDS):
        best = np.argsort(errors, kind="stable")[:most]
        degrees, share = (value / 2**number for value in SPREAD)
        children = Cameras.joined([
            around(cameras.subset([n]), scene, degrees=degrees, share=share, count=CHILDREN + 1,
                   seed=seed + most * number + place).subset(slice(1, None)) for place, n in enumerate(best)])
        cameras = Cameras.joined([cameras.subset(best), children])
        errors = np.concatenate([errors[best], _errors(model, scene, children, photo)])
    return cameras.subset(np.argsort(errors, kind="stable"))


def _distinct(scene: Scene, cameras: Cameras, bounds: tuple[float, float]) -> list[int]:
    """Those that are apart from all before them."""
    kept = []
    for n in range(len(cameras)):
        same = _within(bounds, apart(scene, cameras.subset([n] * len(kept)), cameras.subset(kept)))
        if not same.any():
            kept.append(n)
    return kept


def _within(bounds: tuple[float, float], found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return (found[0] < bounds[0]) & (found[1] < bounds[1])


def _errors(model: Model, scene: Scene, cameras: Cameras, photo: np.ndarray, shots: Shot | None = None) -> np.ndarray:
    """[K] mean squared differences of what the cameras see, each as its shot, and the photo."""
    grey, placed = GREY[scene.background], scene.model_cameras(cameras)
    alpha = photo[..., 3:] / 255
    truth = photo[..., :3] / 255 * alpha + (1 - alpha) * grey
    return np.array([np.square(_seen(model, placed, n, grey, shots and shots[n : n + 1]) - truth).mean()
                     for n in range(len(placed))])


def _seen(model: Model, cameras: Cameras, n: int, grey: float, shot: Shot | None) -> np.ndarray:
    return render_view(model, cameras, n, background=grey, shot=UNKNOWN if shot is None else shot,
                       supersample=False).colour


def _deviation(model: Model, scene: Scene, camera: Cameras, error: float, shot: Shot) -> tuple[float, float]:
    """Standard deviations of directions, in degrees, and of the place, in units of the file: those of a least-squares
    fit whose residuals have the mean square `error` and nothing in common. Infinite, where nothing changes with the
    camera."""
    inside, grey = scene.model_cameras(camera), GREY[scene.background]
    twist = np.concatenate([STEP * np.eye(6), -STEP * np.eye(6)])  # of the camera about itself, and in the model
    pose = np.concatenate([inside.camera_to_world[:, :, :3] @ _rotations(twist[:, :3]),
                           inside.camera_to_world[:, :, 3:] + twist[:, 3:, None]], axis=2)
    moved = replace(inside.subset([0] * 12), camera_to_world=pose.astype(np.float32))
    shown = np.stack([_seen(model, moved, n, grey, shot).reshape(-1) for n in range(12)])
    slope = (shown[:6] - shown[6:]) / (2 * STEP)  # [6, 3 P]
    if not slope.any(axis=1).all():
        return math.inf, math.inf
    deviation = np.sqrt(error * np.diagonal(np.linalg.pinv(slope @ slope.T)))
    return math.degrees(math.hypot(*deviation[:3])), math.hypot(*deviation[3:]) / scene.scale


def _sized(cameras: Cameras, photo: np.ndarray) -> Cameras:
    return cameras.resized(photo.shape[1::-1])


def smaller(photo: np.ndarray, side: int) -> np.ndarray:
    """The photo with a longer side of at most so many pixels."""
    height, width = photo.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX))


def _rotations(vectors: np.ndarray) -> np.ndarray:
    """[N, 3, 3] of rotation vectors [N, 3]."""
    twist = torch.from_numpy(np.concatenate([vectors, np.zeros_like(vectors)], axis=1)).float()
    return exponential_map(twist)[:, :, :3].numpy()
