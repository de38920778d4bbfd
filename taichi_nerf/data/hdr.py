"""Images of linear light, OpenEXR and Radiance (.hdr), and how they become sRGB.

    exposed = linear * 2^exposure,  sRGB = 12.92 x for x <= 0.0031308, else 1.055 x^(1 / 2.4) - 0.055, clipped to [0, 1]

(IEC 61966-2-1.) An EXR file is read by the package OpenEXR, a Radiance file by the ffmpeg that imageio brings along.
EXR colours are multiplied by alpha, as the format demands; they are divided by it here. A pixel that is not finite
becomes black where it is no number, and as bright as can be where it is infinite.
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
_HEAD_BYTES = 2**16
_EXR_MAGIC = b"\x76\x2f\x31\x01"
_DATA_WINDOW = b"dataWindow\0box2i\0\x10\0\0\0"
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

    Raises:
        OSError, or ValueError saying what is wrong with the file.
        UserError: OpenEXR is not installed.
    """
    width, height = hdr_size(path)
    if Path(path).suffix.lower() == EXR_ENDING:
        return _read_exr(path)
    return _read_radiance(path, width, height), np.ones((height, width), np.float32)


def _exr_size(head: bytes) -> tuple[int, int]:
    start = head.find(_DATA_WINDOW)
    if not head.startswith(_EXR_MAGIC) or start < 0 or len(head) < start + len(_DATA_WINDOW) + 16:
        raise ValueError("no OpenEXR image")
    left, top, right, bottom = struct.unpack_from("<4i", head, start + len(_DATA_WINDOW))
    return right - left + 1, bottom - top + 1


def _radiance_size(head: bytes) -> tuple[int, int]:
    found = _RESOLUTION.search(head)
    if not head.startswith(b"#?") or found is None:
        raise ValueError("no Radiance image")
    if found[1] != b"-Y" or found[3] != b"+X":
        raise ValueError(f"its rows run along {found[1].decode()} {found[3].decode()}, not -Y +X")
    return int(found[4]), int(found[2])


def _read_exr(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        import OpenEXR
    except ImportError:
        raise UserError(
            f"{path} is an OpenEXR image, and the package OpenEXR is not installed; "
            "pip install 'taichi-nerf[hdr]', or save the image as a 16-bit PNG"
        ) from None
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(" ".join(str(error).split()) or "damaged") from None
    names = "RGB" if all(name in channels for name in "RGB") else "YYY" if "Y" in channels else None
    if names is None:
        raise ValueError(f"it has the channels {', '.join(sorted(channels))}, not R, G and B")
    colour = np.stack([np.asarray(channels[name], np.float32) for name in names], axis=-1)
    if "A" not in channels:
        return colour, np.ones(colour.shape[:2], np.float32)
    alpha = np.nan_to_num(np.asarray(channels["A"], np.float32), nan=0.0).clip(0, 1)
    return colour / np.maximum(alpha, 1e-6)[..., None], alpha


def _read_radiance(path: Path, width: int, height: int) -> np.ndarray:
    from imageio_ffmpeg import get_ffmpeg_exe

    command = [get_ffmpeg_exe(), "-v", "error", "-f", "image2", "-i", str(path), "-f", "rawvideo",
               "-pix_fmt", "gbrpf32le", "-"]  # the decoder's own format: nothing is converted, or cut at white
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DECODING_SECONDS)
    planes = np.frombuffer(done.stdout, np.float32)
    if done.returncode or done.stderr or planes.size != 3 * width * height:
        raise ValueError("damaged")
    return planes.reshape(3, height, width)[[2, 0, 1]].transpose(1, 2, 0)
