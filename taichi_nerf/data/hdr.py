"""Images of linear light, OpenEXR and Radiance (.hdr), and how they become sRGB.

    exposed = linear * 2^exposure,  sRGB = 12.92 x for x <= 0.0031308, else 1.055 x^(1 / 2.4) - 0.055, clipped to [0, 1]

(IEC 61966-2-1.) The files are decoded by the ffmpeg that imageio brings along, in a process of its own: a damaged file
crashes nothing. EXR colours are multiplied by alpha, as the format demands; they are divided by it here. A value that
is not finite becomes black where it is no number, and as bright as can be where it is infinite.
"""

import re
import struct
import subprocess
from pathlib import Path

import numpy as np

from ..errors import UserError

EXR_ENDING, RADIANCE_ENDING = ".exr", ".hdr"
HDR_ENDINGS = (EXR_ENDING, RADIANCE_ENDING)
LARGEST_SIDE = 2**16
LARGEST_AREA = 2**28  # pixels: a file that claims more is damaged
DECODING_SECONDS = 120
_HEAD_BYTES = 2**20
_EXR_MAGIC = b"\x76\x2f\x31\x01"
_EXR_TILED, _EXR_DEEP, _EXR_MULTIPART = 0x200, 0x800, 0x1000
# Of a compression, by its number in the file: the rows of a chunk.
_EXR_ROWS = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32}
_RESOLUTION = re.compile(rb"^([-+][XY]) (\d{1,9}) ([-+][XY]) (\d{1,9})$", re.MULTILINE)


def is_hdr(path: Path) -> bool:
    """Whether the name says that the file holds linear light."""
    return Path(path).suffix.lower() in HDR_ENDINGS


def srgb_from_linear(linear: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] of linear values; what is not a number is 0."""
    x = np.nan_to_num(np.asarray(linear, np.float32), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(encoded: np.ndarray) -> np.ndarray:
    """The inverse of `srgb_from_linear`, on [0, 1]."""
    x = np.asarray(encoded, np.float32)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def hdr_size(path: Path) -> tuple[int, int]:
    """Width and height, from the head of the file alone. Raises OSError, or ValueError saying what is wrong."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    size = _exr_size(head) if Path(path).suffix.lower() == EXR_ENDING else _radiance_size(head)
    if min(size) < 1 or max(size) > LARGEST_SIDE or size[0] * size[1] > LARGEST_AREA:
        raise ValueError(f"its head states {size[0]} x {size[1]} pixels")
    return size


def read_hdr(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Linear colours [H, W, 3] float32 and straight alpha [H, W] in [0, 1].

    Raises OSError, or ValueError saying what is wrong with the file; UserError where there is no ffmpeg.
    """
    width, height = hdr_size(path)
    if Path(path).suffix.lower() == EXR_ENDING:
        _check_exr(Path(path).read_bytes())
    planes = _decoded(path, width, height)
    colour = planes[[2, 0, 1] if len(planes) > 1 else [0, 0, 0]].transpose(1, 2, 0)
    if len(planes) < 4:
        return colour, np.ones((height, width), np.float32)
    alpha = np.nan_to_num(planes[3], nan=0.0).clip(0, 1)
    return colour / np.maximum(alpha, 1e-6)[..., None], alpha


def _exr_size(head: bytes) -> tuple[int, int]:
    left, top, right, bottom = struct.unpack("<4i", _exr_attributes(head)[0]["displayWindow"])
    return right - left + 1, bottom - top + 1


def _exr_attributes(data: bytes) -> tuple[dict[str, bytes], int]:
    """The attributes of the head, and where it ends."""
    if not data.startswith(_EXR_MAGIC):
        raise ValueError("no OpenEXR image")
    found, at = {}, 8
    try:
        while data[at] != 0:
            name, kind = data.index(b"\0", at), data.index(b"\0", data.index(b"\0", at) + 1)
            (size,) = struct.unpack_from("<I", data, kind + 1)
            found[data[at:name].decode("latin-1")] = data[kind + 5 : kind + 5 + size]
            at = kind + 5 + size
    except (IndexError, ValueError, struct.error):
        raise ValueError("its head is damaged") from None
    if any(len(found.get(name, b"")) != size for name, size in (("dataWindow", 16), ("displayWindow", 16),
                                                                ("compression", 1))):
        raise ValueError("its head is damaged")
    return found, at + 1


def _check_exr(data: bytes):
    """Raises ValueError for a kind that is not read, and where rows are missing: ffmpeg would leave them black."""
    attributes, end = _exr_attributes(data)
    (flags,) = struct.unpack_from("<I", data, 4)
    rows = _EXR_ROWS.get(attributes["compression"][0])
    if rows is None or flags & (_EXR_DEEP | _EXR_MULTIPART):
        raise ValueError("its compression or its several parts are not read; save it with ZIP or PIZ in one part")
    if flags & _EXR_TILED:
        return
    _, top, _, bottom = struct.unpack("<4i", attributes["dataWindow"])
    chunks = -(-(bottom - top + 1) // rows)
    if not 0 < chunks <= LARGEST_SIDE or end + 8 * chunks > len(data):
        raise ValueError("damaged")
    for offset in np.frombuffer(data, "<u8", chunks, end).tolist():
        if offset + 8 > len(data) or offset + 8 + struct.unpack_from("<I", data, offset + 4)[0] > len(data):
            raise ValueError("it ends before its last row")


def _radiance_size(head: bytes) -> tuple[int, int]:
    found = _RESOLUTION.search(head)
    if not head.startswith(b"#?") or found is None:
        raise ValueError("no Radiance image")
    if found[1] != b"-Y" or found[3] != b"+X":
        raise ValueError(f"its rows run along {found[1].decode()} {found[3].decode()}, not -Y +X")
    return int(found[4]), int(found[2])


def _decoded(path: Path, width: int, height: int) -> np.ndarray:
    """[1, 3 or 4, H, W] float32: grey, or green, blue, red and perhaps alpha, which is ffmpeg's order.

    No other pixel format is asked for than the decoder's own: a conversion would cut what is brighter than white.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        ffmpeg = get_ffmpeg_exe()
    except RuntimeError:
        raise UserError(f"{path} needs ffmpeg to be read, which is not there; pip install imageio-ffmpeg") from None
    command = [ffmpeg, "-v", "error", "-f", "image2", "-pattern_type", "none", "-i", f"file:{path}",
               "-f", "rawvideo", "-"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DECODING_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError("damaged") from None
    bytes_per_pixel, rest = divmod(len(done.stdout), width * height)
    kind = {2: np.float16, 6: np.float16, 8: np.float16, 4: np.float32, 12: np.float32, 16: np.float32}
    if done.returncode or done.stderr or rest or bytes_per_pixel not in kind:
        raise ValueError("damaged, or of an unknown kind")
    return np.frombuffer(done.stdout, kind[bytes_per_pixel]).reshape(-1, height, width).astype(np.float32)
