"""The lens of a frame, from the keys of a transforms file.

A frame's own value wins over the file's. Along each axis a focal length comes from the first of these that is stated:

    x_fov, y_fov                        field of view in degrees (instant-ngp)
    fl_x, fl_y                          pixels
    camera_angle_x, camera_angle_y      field of view in radians

Where only one axis has one, it is that of both. cx and cy are pixels. Both within the first pixel, they can only be
meant as shares of the picture, and so can fl_x and fl_y below 10 beside them.
"""

import math
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from .images import image_size
from .json_files import finite, flag_of, number_of, short
from .lenses import FARTHEST_FIT, Lens, with_three_coefficients
from .scene import FISHEYE, PERSPECTIVE

PERSPECTIVE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE", "FULL_OPENCV")
FISHEYE_MODELS = ("OPENCV_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "SIMPLE_FISHEYE", "FISHEYE")
COEFFICIENTS, _LISTED = ("k1", "k2", "k3", "k4", "p1", "p2"), "distortion_params"
_LARGEST = 1e3
_LEAST_SIDE_OF_SHARES = 8  # pixels
_LONGEST_SHARE = 10.0  # a focal length of so many widths has a field of view of 6 degrees
_LEAST_SIDE_TO_ROUND = 100  # pixels of a side that may differ by one


def lens_of(own: Mapping, content: Mapping, size: tuple[int, int], where: str) -> tuple[Lens, tuple[str, ...]]:
    """The checked lens of a frame with the keys `own` in a file with the keys `content`, for pictures of `size`.

    Beside it, in words, what had to be guessed. Raises UserError.
    """
    keys = merged(own, content)
    kind, shares = _kind(keys, where), _are_shares(keys, size)
    focal = _focal(own, content, size, kind, shares, where)
    principal = tuple(number_of(keys, key, 0.5 * side, where) for key, side in zip(("cx", "cy"), size))
    if shares:
        principal = tuple(share * side for share, side in zip(principal, size))
    lens = Lens(focal, principal, _distortion(own, content, where), kind, size)
    guesses = ["cx and cy are taken for shares of the picture, not for pixels"] if shares else []
    if kind == PERSPECTIVE and lens.distortion[3] != 0 and _has_four_coefficients(keys, where):
        check_intrinsics(focal, principal, (*lens.distortion[:3], 0.0, *lens.distortion[3:]), kind, size, where)
        lens = _fitted(lens, where)
        guesses.append("k1, k2 and k3 stand for a perspective lens with k4, within a ten-thousandth of the picture")
    check_intrinsics(focal, principal, lens.distortion, kind, size, where)
    return lens, tuple(guesses)


def merged(own: Mapping, content: Mapping) -> ChainMap:
    """What a frame states, and what its file states for all."""
    return ChainMap(own, {key: value for key, value in content.items() if key != "frames"})


def camera_size(keys: Mapping, image: Path, smaller: int, where: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of the camera and of the image file, which is a copy that is so many times `smaller`.

    They are the same, or differ by rounding, unless it is a smaller copy. Raises UserError.
    """
    actual = image_size(image)
    default = tuple(side * smaller for side in actual)
    stated = tuple(number_of(keys, key, side, where) for key, side in zip(("w", "h"), default))
    if min(stated) < 1 or any(abs(side - round(side)) > 0.49 or side > 2**30 for side in stated):
        raise UserError(
            f"{where}: 'w' and 'h' are {stated[0]:g} and {stated[1]:g}, no image size; correct them"
        )
    stated = (round(stated[0]), round(stated[1]))
    if stated == actual or (smaller > 1 and _is_smaller(stated, actual)):
        return stated, actual
    if min(stated) >= _LEAST_SIDE_TO_ROUND and all(abs(s - a) <= 1 for s, a in zip(stated, actual)):
        return stated, actual
    message = f"{where}: the image {image} is {actual[0]} x {actual[1]} pixels and its camera {stated[0]} x {stated[1]}"
    if stated == actual[::-1]:
        raise UserError(f"{message}, turned by 90 degrees; store the image as its camera saw it")
    if _is_smaller(stated, actual) or _is_smaller(actual, stated):
        raise UserError(
            f"{message}, another size of the same picture; scale w, h, fl_x, fl_y, cx and cy with it, "
            "or use the images in full size and --downscale N"
        )
    raise UserError(f"{message}; use the image that the camera was calibrated with")


def _is_smaller(large: tuple[int, int], small: tuple[int, int]) -> bool:
    """Whether one size is another one made smaller, up to rounding."""
    ratio = small[0] / large[0]
    return ratio < 0.98 and abs(small[1] - large[1] * ratio) <= 1


def check_intrinsics(focal, principal, distortion, lens: int, size, where: str):
    """Raises UserError where no camera has such a lens; arguments as of Frame."""
    for name, f, length in zip(("fl_x", "fl_y"), focal, size):
        half = 0.5 * length / f
        view = math.degrees(2 * (half if lens == FISHEYE else math.atan(half)))
        if not 0.1 <= view <= (400 if lens == FISHEYE else 175):
            raise UserError(
                f"{where}: a focal length of {f:g} pixels ({name}) means a field of view of "
                f"{view:.3g} degrees over {length} pixels; correct it"
            )
    if any(abs(c - 0.5 * length) > 10 * length for c, length in zip(principal, size)):
        raise UserError(
            f"{where}: the principal point ({principal[0]:g}, {principal[1]:g}) lies far outside "
            f"the image of "
            f"{size[0]} x {size[1]} pixels; correct cx and cy"
        )
    if max(map(abs, distortion)) > _LARGEST:
        raise UserError(
            f"{where}: a distortion of {max(distortion, key=abs):g} is no lens; correct k1, k2, k3, "
            f"k4, p1, p2"
        )
    if lens == PERSPECTIVE and distortion[3] != 0:
        raise UserError(
            f"{where}: 'k4' belongs to a fisheye lens, or follows k1, k2 and k3 of a perspective one; set camera_model "
            "to OPENCV_FISHEYE, state all four, or take k4 out"
        )


def _kind(keys: Mapping, where: str) -> int:
    model = keys.get("camera_model", "OPENCV")
    if not isinstance(model, str) or model.upper() not in PERSPECTIVE_MODELS + FISHEYE_MODELS:
        raise UserError(
            f"{where}: 'camera_model' is {short(model)}, which is not supported; undistort the images, "
            f"or use one of {', '.join(PERSPECTIVE_MODELS + FISHEYE_MODELS)}"
        )
    fisheye = flag_of(keys, "is_fisheye", False, where)
    return FISHEYE if fisheye or model.upper() in FISHEYE_MODELS else PERSPECTIVE


def _are_shares(keys: Mapping, size: tuple[int, int]) -> bool:
    stated = [keys.get(key) for key in ("cx", "cy")]
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in stated)
    return numbers and all(0 < value <= 1 for value in stated) and min(size) >= _LEAST_SIDE_OF_SHARES


def _focal(own: Mapping, content: Mapping, size: tuple[int, int], lens: int, shares: bool,
           where: str) -> tuple[float, float]:
    """Focal lengths in pixels: the frame's own, else the file's; where only one is stated it is both."""
    for scope in (own, content):
        focal = tuple(_focal_along(scope, axis, size[k], lens, shares, where) for k, axis in enumerate("xy"))
        if focal != (None, None):
            return (focal[0] or focal[1], focal[1] or focal[0])
    raise UserError(
        f"{where}: neither 'fl_x' nor 'camera_angle_x' is stated; add the focal length in pixels as fl_x"
    )


def _focal_along(scope: Mapping, axis: str, length: int, lens: int, shares: bool, where: str) -> float | None:
    if f"{axis}_fov" in scope:
        degrees = number_of(scope, f"{axis}_fov", None, where)
        if not 0 < degrees < 180:
            raise UserError(f"{where}: '{axis}_fov' is {degrees:g}; a field of view lies between 0 and 180 degrees, "
                            "correct it")
        return _from_angle(math.radians(degrees), length, lens)
    if f"fl_{axis}" in scope:
        focal = number_of(scope, f"fl_{axis}", None, where)
        if focal <= 0:
            raise UserError(
                f"{where}: 'fl_{axis}' is {focal:g}; a focal length in pixels is positive, correct it"
            )
        return focal * length if shares and focal < _LONGEST_SHARE else focal
    key = f"camera_angle_{axis}"
    if key not in scope or (axis == "y" and "fl_x" in scope):
        return None
    angle = number_of(scope, key, None, where)
    if not 0 < angle < math.pi:
        raise UserError(
            f"{where}: '{key}' is {angle:g}; a field of view lies between 0 and pi radians, "
            "convert it if it is in degrees"
        )
    return _from_angle(angle, length, lens)


def _from_angle(angle: float, length: int, lens: int) -> float:
    if lens == FISHEYE:
        return length / angle  # equidistant: radius = focal * angle from the axis
    return 0.5 * length / math.tan(0.5 * angle)


def _distortion(own: Mapping, content: Mapping, where: str) -> tuple[float, ...]:
    """The six coefficients, one by one or, as nerfstudio has them, in one list."""
    scope = next((scope for scope in (own, content) if any(key in scope for key in (*COEFFICIENTS, _LISTED))), {})
    if _LISTED not in scope:
        keys = merged(own, content)
        return tuple(number_of(keys, key, 0.0, where) for key in COEFFICIENTS)
    values = scope[_LISTED]
    if not isinstance(values, list) or len(values) != len(COEFFICIENTS):
        raise UserError(f"{where}: '{_LISTED}' is {short(values)}, not k1, k2, k3, k4, p1 and p2; correct it")
    return tuple(finite(value, f"{where}: '{_LISTED}'") for value in values)


def _has_four_coefficients(keys: Mapping, where: str) -> bool:
    """Whether k4 follows k1, k2 and k3, as RealityCapture and nerfstudio have it. Raises UserError for OpenCV's k4."""
    if any(key in keys for key in ("k5", "k6")) or str(keys.get("camera_model")).upper() == "FULL_OPENCV":
        raise UserError(f"{where}: 'k4' is one of OpenCV's rational lens, which is not supported; undistort the images")
    return _LISTED in keys or all(key in keys for key in ("k1", "k2", "k3"))


def _fitted(lens: Lens, where: str) -> Lens:
    fitted, off = with_three_coefficients(lens)
    if not off <= FARTHEST_FIT * max(lens.size):
        raise UserError(f"{where}: k1, k2 and k3 cannot stand for a perspective lens with 'k4' ({off:.2g} pixels off); "
                        "undistort the images")
    return fitted
