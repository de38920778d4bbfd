"""cameras.json: the cameras of a run's scene, and of its training images enough to notice that they are others.

    {"train": {"names", each field of Cameras, "pixels", "time"}, "test": .., "refined": {.., "digest"}}

Each is a list of N entries. `pixels` has of each image 14 x 14 pixels on a grid, RGBA in base64, zero under a mask;
`time` is there where images have times. Runs of earlier releases have neither of these, nor digests.
"""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from ..data.scene import FISHEYE, PERSPECTIVE, Cameras, Images, Split

GRID = 14  # pixels along each side of an image that are compared
# By how much a picture may differ from itself, decoded by another library (levels of 255, of the channel that differs
# most). Between PIL's and ffmpeg's JPEG decoders, on photos, the mean is up to 1.3, and no pixel differs by 32.
MEAN_LEVELS, FAR_LEVELS, FAR_SHARE = 3.0, 40, 0.01
SAME_PLACE, SAME_TURN, SAME_LENS = 1e-5, 1e-5, 1e-4  # of the largest coordinate; entries of a rotation; of a side
SAME_TIME = 1e-6
LARGEST, LARGEST_WHOLE = 1e15, 2**31 - 1  # of what single precision holds the square of, and of an int32
ROTATION_TOLERANCE = 2e-3  # of R^T R from the identity, as of the poses of a scene


def camera_values(names: Sequence[str], cameras: Cameras) -> dict:
    """Plain values of cameras."""
    return {"names": list(names),
            **{field.name: getattr(cameras, field.name).tolist() for field in dataclasses.fields(Cameras)}}


def training_values(split: Split) -> dict:
    """Plain values of the training cameras, and what their images are known by."""
    pixels = [base64.b64encode(_some_pixels(split.images, n)).decode() for n in range(len(split))]
    time = {} if split.time is None else {"time": split.time.tolist()}
    return {**camera_values(split.images.names, split.cameras), "pixels": pixels, **time}


def finite_numbers(name: str, values, largest: float = LARGEST) -> np.ndarray:
    """Float64 of lists of numbers, or of one. Raises ValueError where these are none, or beyond `largest`."""
    try:
        numbers = np.array(values, float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its {name} is not made of numbers") from None
    if not (np.abs(numbers) <= largest).all():  # nor is NaN
        raise ValueError(f"its {name} is not finite")
    return numbers


def digest(content: dict) -> str:
    """Of plain values: another one for any other digit."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stored_cameras(values: object) -> Cameras:
    """The cameras that plain values are of. Raises ValueError saying what is wrong with them."""
    wanted = [field.name for field in dataclasses.fields(Cameras)]
    for key in ("names", *wanted):
        if not isinstance(values, dict) or not isinstance(values.get(key), list) or not values[key]:
            raise ValueError(f"it has no {key}")
    arrays = {name: finite_numbers(name, values[name], LARGEST_WHOLE if name in ("size", "lens") else LARGEST)
              for name in wanted}
    cameras = Cameras(**arrays)
    names, count = values["names"], len(cameras)
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its names are not those of {count} images")
    if any((getattr(cameras, name) != arrays[name]).any() for name in ("size", "lens")):
        raise ValueError("a size or a lens is no whole number")
    if not (cameras.focal > 0).all() or not (cameras.size > 0).all():
        raise ValueError("a focal length or a size is not positive")
    if not np.isin(cameras.lens, (PERSPECTIVE, FISHEYE)).all():
        raise ValueError("a lens is of no known kind")
    rotation = cameras.camera_to_world[:, :, :3].astype(float)
    off = np.abs(rotation.swapaxes(1, 2) @ rotation - np.eye(3)).max(axis=(1, 2))
    wrong = np.flatnonzero((off > ROTATION_TOLERANCE) | (np.linalg.det(rotation) < 0))
    if len(wrong):
        raise ValueError(f"the pose of {names[wrong[0]]} is not a rotation")
    return cameras


def changes(before: dict, split: Split, moved: np.ndarray) -> dict[int, str]:
    """What is other of training images than when `before`, their plain values, were written: by the image's number.

    Names and sizes are the same. `moved` [3] is to be added to today's positions. What another library or another
    processor may make of the same files is no change.
    """
    stored, now = stored_cameras(before), split.cameras
    position = now.position.astype(float) + moved
    farthest, side = np.abs(position).max(), now.size.max(axis=1).astype(float)
    turned = np.abs(stored.camera_to_world[:, :, :3] - now.camera_to_world[:, :, :3]).max(axis=(1, 2)) > SAME_TURN
    stands = np.abs(stored.position - position).max(axis=1) > SAME_PLACE * farthest
    lens = (np.abs(stored.focal - now.focal).max(axis=1) > SAME_LENS * side) | (
        np.abs(stored.principal - now.principal).max(axis=1) > SAME_LENS * side) | (
        np.abs(stored.distortion - now.distortion).max(axis=1) > SAME_LENS) | (stored.lens != now.lens)
    pixels = before.get("pixels") or [None] * len(split)
    other = [_others(pixels[n], _some_pixels(split.images, n)) for n in range(len(split))]
    found = {"another pose": turned | stands, "another lens": lens, "another time": _at_others(before, split),
             "other pixels": other}
    return {n: next(what for what, where in found.items() if where[n])
            for n in np.flatnonzero(np.logical_or.reduce(list(found.values()))).tolist()}


def _at_others(before: dict, split: Split) -> np.ndarray:
    """[N] bool: whether images are of other times than when `before` was written, or of none any more."""
    stored = before.get("time")
    if stored is None:  # of a scene that stood still, or an earlier release
        return np.zeros(len(split), bool)
    now = np.full(len(split), np.inf) if split.time is None else split.time
    return np.abs(finite_numbers("time", stored) - now) > SAME_TIME


def _some_pixels(images: Images, n: int) -> np.ndarray:
    """[GRID^2, 4] uint8: pixels of image n at the centres of a grid; zero where a mask covers them."""
    width, height = (int(side) for side in images.size[n])
    middle = np.arange(GRID) + 0.5
    x, y = (middle / GRID * width).astype(int), (middle / GRID * height).astype(int)
    at = int(images.offset[n]) + (y[:, None] * width + x).reshape(-1)
    pixels = images.pixels[at]
    if images.allowed is not None:
        at = at.astype(images.allowed.dtype)  # of which no copy is made then
        masked = np.searchsorted(images.allowed, at) == np.searchsorted(images.allowed, at, side="right")
        pixels[masked] = 0
    return pixels


def _others(stored: str | None, pixels: np.ndarray) -> bool:
    """Whether an image is another one than that of the stored pixels; None were stored by earlier releases."""
    if stored is None:
        return False
    before = np.frombuffer(base64.b64decode(stored), np.uint8).reshape(pixels.shape)
    levels = np.abs(before.astype(int) - pixels).max(axis=1)
    return levels.mean() > MEAN_LEVELS or (levels > FAR_LEVELS).mean() > FAR_SHARE
