"""Frames of a video: the sharpest one of each stretch in which the picture moves by a few per cent.

Between two frames I and J, both small and soft, the picture moves by about

    sum |J - I| / sum |grad I|      pixels,

since J - I = -u . grad I for a small displacement u (the brightness constancy of optical flow; its component along the
edges is not seen, so that this is a little too small). A displacement that is larger than what is seen looks no larger
than that, so that of a video of few or fast frames more are taken than by this measure.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import UserError
from .photos import sharpness

WIDTH, HEIGHT = 640, 360  # of the frames that are looked at, whatever their shape
SOFTENING = 4  # and for the motion as many times smaller
STEP = 0.05  # of the width: motion between two frames that are picked
LEAST = 60  # frames that are picked if anything moves, or every second one of fewer
FEWEST = 3


def pick_frames(path: Path, folder: Path, *, most: int, max_size: int,
                told: Callable[[int], None] | None = None) -> dict[str, float]:
    """Write the frames of the video `path` that are picked into `folder`.

    `told(frames)` is told how many frames were looked at so far.

    Returns:
        the sharpness of each by its file name.

    Raises:
        UserError: the file is no video, or hardly anything moves in it.
    """
    sharp, motion = look_at(path, told)
    picked = pick(sharp, motion, most)
    if len(picked) < FEWEST:
        raise UserError(
            f"{path} has {len(sharp)} frames and shows hardly any motion; move the camera around the scene, or give "
            "photos"
        )
    return {name: sharp[n] for name, n in zip(_extract(path, folder, picked, max_size), picked)}


def number_of_frame(file: str) -> int:
    """Of a frame in its video, by the name that it was written under."""
    return int(Path(file).stem.removeprefix("frame_"))


def look_at(path: Path, told: Callable[[int], None] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Of each frame the sharpness, and the motion since the frame before, in widths of the picture."""
    command = [*_reading(path), "-vf", f"scale={WIDTH}:{HEIGHT}:flags=area,format=gray", "-fps_mode", "passthrough",
               "-f", "rawvideo", "-"]
    sharp, motion, before = [], [], None
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as process:
            try:
                while len(data := process.stdout.read(WIDTH * HEIGHT)) == WIDTH * HEIGHT:
                    frame = np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH)
                    cells = frame.reshape(HEIGHT // SOFTENING, SOFTENING, -1, SOFTENING)
                    soft = cells.mean(axis=(1, 3), dtype=np.float32)
                    sharp.append(sharpness(frame))
                    motion.append(0.0 if before is None else displacement(before, soft) / soft.shape[1])
                    before = soft
                    if told is not None:
                        told(len(sharp))
            except BaseException:
                process.kill()
                raise
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    reason = lines[-1].split("] ")[-1].removeprefix(f"file:{path}: ") if lines else "no frames"
    if not sharp:
        raise UserError(f"{path} cannot be read as a video ({reason}); give a video file, or a folder of photos")
    if process.returncode:
        raise UserError(f"{path} can be read up to frame {len(sharp)} only ({reason}); copy it again, or convert it")
    return np.array(sharp), np.array(motion)


def displacement(before: np.ndarray, after: np.ndarray) -> float:
    """How far the picture [H, W] moves, in pixels."""
    down, right = np.gradient(before)
    slope = np.hypot(down, right).sum()
    return float(np.abs(after - before).sum() / slope) if slope > 0 else 0.0


def pick(sharp: np.ndarray, motion: np.ndarray, most: int) -> list[int]:
    """Numbers of the frames to take: the path of the picture in windows of equal motion, of each the sharpest frame."""
    travelled = np.cumsum(motion)
    if travelled[-1] < STEP:
        return [int(np.argmax(sharp))]
    windows = min(max(int(travelled[-1] / STEP), min(LEAST, len(sharp) // 2)), most)
    window = np.minimum((travelled / travelled[-1] * windows).astype(int), windows - 1)
    picked = []
    for number in np.unique(window):
        members = np.flatnonzero(window == number)
        picked.append(int(members[np.argmax(sharp[members])]))
    return picked


def _extract(path: Path, folder: Path, picked: list[int], max_size: int) -> list[str]:
    """The names of the files written."""
    chosen = "+".join(rf"eq(n\,{n})" for n in picked)
    square = r"scale=w='if(gt(sar\,0)\,round(iw*sar)\,iw)':h=ih,setsar=1"  # an anamorphic video has wider pixels
    smaller = rf"scale=w='if(gt(iw\,ih)\,min(iw\,{max_size})\,-2)':h='if(gt(iw\,ih)\,-2\,min(ih\,{max_size}))'"
    pattern = str(folder).replace("%", "%%") + "/picked_%06d.jpg"
    command = [*_reading(path), "-vf", f"select='{chosen}',{square},{smaller}", "-fps_mode", "passthrough",
               "-pix_fmt", "yuvj444p", "-q:v", "2", f"file:{pattern}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    written = sorted(folder.glob("picked_*.jpg"))
    if done.returncode or len(written) != len(picked):
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["it ended early"])[-1]
        raise UserError(f"{path} cannot be read as a video ({reason}); give a video file, or a folder of photos")
    return [file.rename(folder / f"frame_{n:06d}.jpg").name for file, n in zip(written, picked)]


def _reading(path: Path) -> list[str]:
    """The beginning of a command that reads the video, and no other file: its name is no address, whatever it holds."""
    return [_ffmpeg(), "-v", "error", "-nostdin", "-protocol_whitelist", "file", "-i", f"file:{path}", "-map", "0:v:0"]


def _ffmpeg() -> str:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise UserError("a video needs ffmpeg, which is not there; pip install imageio-ffmpeg") from None
