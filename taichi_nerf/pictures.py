"""Arrays to pictures that a person looks at: colour maps, comparisons, PNG and MP4 files.

Pictures are uint8 [H, W, 3], sRGB.
"""

import os
import shutil
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .errors import UserError

GAP, CAPTION = 4, 20  # pixels between pictures, and of the line of text above them
FULL_ERROR = 0.25  # mean error over the channels that has the brightest colour
FFMPEG_HEADING = "FFMPEG STDERR OUTPUT:"  # the last line of an error whose cause ffmpeg did not tell
LEAST_SPACE = 2**16  # bytes; a disk with less is full


def to_uint8(image: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 of [H, W, 3] or grey [H, W] in [0, 1]; what lies outside is clipped, NaN is black."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = (np.clip(np.nan_to_num(image), 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def depth_limits(depth: np.ndarray, opacity: np.ndarray, margin: float = 0.0) -> tuple[float, float]:
    """Nearest and farthest distance that a depth picture shows: 1st and 99th percentile of what is opaque.

    Give the limits of one view to all pictures of a video, lest it flicker, with a `margin`: the part of the
    range by which 1 / depth is extended at either end, for what the other views show nearer or farther.
    """
    seen = depth[(opacity > 0.5) & (depth > 0) & np.isfinite(depth)]
    if seen.size == 0:
        return 0.0, 1.0
    near, far = (float(limit) for limit in np.percentile(seen, (1, 99)))
    far = max(far, near * 1.02)
    extension = margin * (1 / near - 1 / far)
    return 1 / (1 / near + extension), 1 / max(1 / far - extension, 0.5 / far)


def depth_picture(
    depth: np.ndarray, opacity: np.ndarray, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """[H, W, 3] uint8 of distances [H, W]: near is bright, far is dark, what is transparent is white.

    The colour is linear in 1 / depth between `limits` (near, far), by default `depth_limits`.
    """
    near, far = depth_limits(depth, opacity) if limits is None else limits
    inverse_near, inverse_far = 1 / max(near, 1e-6), 1 / max(far, 1e-6)
    nearness = (1 / np.maximum(depth, 1e-6) - inverse_far) / max(inverse_near - inverse_far, 1e-9)
    return _over_white(heat_map(np.where(depth > 0, nearness, 0)), opacity)


def normal_picture(normals: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 of unit normals [H, W, 3]: x, y, z are red, green, blue; the transparent is white."""
    return _over_white(0.5 * normals + 0.5, opacity)


def error_picture(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8: the mean error over the channels, black for none, the brightest from 0.25 on."""
    error = np.abs(to_uint8(prediction).astype(np.float32) - to_uint8(target)).mean(axis=-1) / 255
    return to_uint8(heat_map(error / FULL_ERROR))


def heat_map(value: np.ndarray) -> np.ndarray:
    """[..., 3] float32 sRGB of values in [0, 1]: from black over violet and red to a light yellow.

    Lightness grows in equal steps of what the eye sees, so that the map reads in grey as well.
    """
    position = np.clip(np.nan_to_num(value), 0, 1) * (len(_HEAT) - 1)
    return _HEAT[np.round(position).astype(np.int32)]


def side_by_side(*pictures: np.ndarray, captions: Sequence[str] | None = None) -> np.ndarray:
    """[H', W', 3] uint8: the pictures from left to right on white, with their captions above them."""
    pictures = [to_uint8(picture) for picture in pictures]
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    head = 0 if captions is None else CAPTION
    width = sum(picture.shape[1] for picture in pictures) + GAP * (len(pictures) - 1)
    canvas = np.full((head + max(picture.shape[0] for picture in pictures), width, 3), 255, np.uint8)
    left = 0
    for n, picture in enumerate(pictures):
        canvas[head : head + picture.shape[0], left : left + picture.shape[1]] = picture
        if captions is not None:
            canvas[:head, left : left + picture.shape[1]] = _caption(captions[n], picture.shape[1])
        left += picture.shape[1] + GAP
    return canvas


def contact_sheet(pictures: Sequence[np.ndarray], *, columns: int, captions: Sequence[str]) -> np.ndarray:
    """[H', W', 3] uint8: the pictures in rows of `columns`, with their captions above them, on white."""
    rows = [side_by_side(*pictures[n : n + columns], captions=captions[n : n + columns])
            for n in range(0, len(pictures), columns)]
    canvas = np.full((sum(len(row) for row in rows), max(row.shape[1] for row in rows), 3), 255, np.uint8)
    top = 0
    for row in rows:
        canvas[top : top + len(row), : row.shape[1]] = row
        top += len(row)
    return canvas


def write_png(path: Path | str, image: np.ndarray) -> Path:
    """Write a picture ([H, W, 3] or [H, W], uint8 or in [0, 1]) to `path`; there is never half a file.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    with written_aside(path) as aside:
        Image.fromarray(to_uint8(image)).save(aside, format="PNG")
    return path


class VideoWriter:
    """Pictures to an MP4 file (H.264, yuv420p) that any player shows; a context manager.

        with VideoWriter("orbit.mp4", fps=30) as video:
            video.write(picture)

    All pictures have the size of the first; an odd width or height is continued by one pixel, since the
    format has none. The file appears when the context ends without an error, after `finish` has added to it.

    Raises:
        UserError: there is no ffmpeg, it fails, or the file cannot be written.
    """

    def __init__(self, path: Path | str, fps: float = 30, finish: Callable[[Path], None] | None = None):
        if not fps > 0:
            raise UserError(f"a video needs a positive number of frames per second, got {fps}")
        self.path, self.fps, self.frames, self._add = Path(path), fps, 0, finish
        self._aside = self.path.with_name(f".{self.path.stem}-{uuid.uuid4().hex[:8]}.mp4")
        self._ffmpeg = _find_ffmpeg()
        self._stream, self._size = None, None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind, error, trace):
        try:
            self._close()
            if kind is None:
                self._finish()
        finally:
            self._aside.unlink(missing_ok=True)

    def write(self, image: np.ndarray):
        """Add a picture ([H, W, 3] or [H, W], uint8 or in [0, 1])."""
        image = to_uint8(image)
        if self._stream is None:
            self._size = image.shape
            self._open()
        if image.shape != self._size:
            raise ValueError(
                f"picture {self.frames} has shape {list(image.shape)}, the first had {list(self._size)}"
            )
        even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        try:
            self._stream.send(np.ascontiguousarray(even))
        except (OSError, StopIteration) as error:
            raise self._failed(error) from None
        self.frames += 1

    def _open(self):
        height, width = (length + length % 2 for length in self._size[:2])
        if not self.path.parent.is_dir():
            raise UserError(f"{self.path} cannot be written: the folder {self.path.parent} does not exist")
        self._stream = self._ffmpeg.write_frames(
            str(self._aside),
            (width, height),
            fps=self.fps,
            codec="libx264",
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            macro_block_size=1,
            quality=None,
            ffmpeg_log_level="quiet",  # it would write past us to stderr
            output_params=["-crf", "18", "-preset", "medium", "-movflags", "+faststart"],
        )
        try:
            self._stream.send(None)
        except OSError as error:
            raise self._failed(error) from None

    def _close(self):
        if self._stream is not None:
            self._stream.close()

    def _finish(self):
        if self.frames == 0:
            raise UserError(f"{self.path} was not written: a video needs at least one picture")
        try:
            self._check_whole()
            if self._add is not None:
                self._add(self._aside)
            os.replace(self._aside, self.path)
        except OSError as error:
            raise self._failed(error) from None

    def _check_whole(self):
        """That every picture can be read back: what became of ffmpeg when it closed the file, imageio does not tell."""
        try:
            found, _ = self._ffmpeg.count_frames_and_secs(str(self._aside))
        except RuntimeError:
            found = 0
        if found != self.frames:
            raise OSError(f"ffmpeg ended early: {found} of {self.frames} pictures are in the file")

    def _failed(self, error: Exception) -> UserError:
        said = str(error).strip().splitlines()
        reason = "ffmpeg ended" if not said or said[-1] == FFMPEG_HEADING else said[-1]
        with suppress(OSError):
            if shutil.disk_usage(self.path.parent).free < LEAST_SPACE:
                reason = "the disk is full"
        return UserError(
            f"{self.path} cannot be written ({reason}); check the disk, or write PNG files instead"
        )


def _find_ffmpeg():
    """The module imageio_ffmpeg, which brings an ffmpeg of its own for common platforms."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise UserError(
            "a video needs ffmpeg, which was not found; pip install imageio[ffmpeg], or write PNG files "
            "instead"
        ) from None
    return imageio_ffmpeg


@contextmanager
def written_aside(path: Path):
    """A path beside `path` that takes its place at the end; UserError where that fails."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"{path} cannot be written ({reason}); check the folder and the space on the disk"
        ) from None
    finally:
        aside.unlink(missing_ok=True)


def _over_white(colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    opacity = np.clip(opacity, 0, 1)[..., None]
    return to_uint8(colour * opacity + (1 - opacity))


def legible(text: str) -> str:
    """`text` in letters that Pillow's own font has, which are those of ASCII: accents are left out, and of other
    letters a question mark is left."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in plain)


def _caption(text: str, width: int) -> np.ndarray:
    """[CAPTION, width, 3] uint8: dark on white, in letters that fit, and of what is too long for the smallest the
    end."""
    line = Image.new("RGB", (width, CAPTION), (255, 255, 255))
    draw, size, text = ImageDraw.Draw(line), 13, legible(text)
    while size > 6 and draw.textlength(text, font=ImageFont.load_default(size)) > width - 4:
        size -= 1
    font, whole = ImageFont.load_default(size), text
    while len(text) > 3 and draw.textlength(text, font=font) > width - 4:
        whole = whole[1:]
        text = f"..{whole}"
    draw.text((2, CAPTION // 2), text, fill=(40, 40, 40), font=font, anchor="lm")
    return np.asarray(line)


def _heat_table(entries: int = 256) -> np.ndarray:
    """[entries, 3] float32 sRGB: equal steps of lightness in Oklab (Ottosson 2020), violet to yellow."""
    value = np.linspace(0, 1, entries)
    lightness = 0.10 + 0.87 * value
    hue = np.radians(-75 + 180 * value)
    chroma = 0.20 * np.sin(np.pi * (0.85 * value) ** 0.75) ** 0.8  # the end is yellow, to differ from white
    colour = np.stack(
        [_oklab_to_srgb(l, c * np.cos(h), c * np.sin(h)) for l, c, h in zip(lightness, chroma, hue)]
    )
    return np.clip(colour, 0, 1).astype(np.float32)


def _oklab_to_srgb(lightness: float, a: float, b: float) -> np.ndarray:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.array(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ]
    )
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


_HEAT = _heat_table()
