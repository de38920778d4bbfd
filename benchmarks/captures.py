"""Real captures, each with and without the option that it calls for, scored on every 8th image, which was held out.

    python benchmarks/captures.py --data DIR              DIR holds the folders of SCENES
    python benchmarks/captures.py --data DIR can statue   the rows of two of them
    python benchmarks/captures.py --data DIR --seconds 60

Each row is one run of `taichi-nerf train` in a process of its own, with so many seconds of training. "distortion
ignored" is the same capture with the distortion of its lens struck from `transforms.json`, in training and in scoring.
Where images have looks of their own, scores are those of right halves (`taichi-nerf eval --half-image`). The statue's
file has one lens for the photos of many cameras; they are found anew (`taichi-nerf process --no-single-camera`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train import measure

from taichi_nerf.devices import machine

DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
UNBOUNDED = ("--model", "mip-nerf-360", "--encoding", "hash")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to train on a capture."""

    options: tuple[str, ...] = ()
    distorted: bool = True
    """Whether the capture keeps the distortion of its lens."""


@dataclass(frozen=True, kw_only=True)
class Capture:
    """A folder, how it is read in all rows, and the rows by name."""

    folder: str
    rows: dict[str, Row]
    options: tuple[str, ...] = ()
    half_image: bool = False
    """Score right halves of images, after what the training corrected was fitted to the left halves."""
    processed: tuple[str, ...] | None = None
    """With which options the cameras of `images` are found anew; none: they are those of the folder."""


SCENES = {
    "fox": Capture(folder="fox_4", rows={
        "distortion ignored": Row(distorted=False),
        "as it is": Row(),
    }),
    "fern": Capture(folder="nerf_llff_data/fern", options=("--downscale", "4"), rows={
        "bounded": Row(),
        "unbounded": Row(options=UNBOUNDED),
    }),
    "can": Capture(folder="colmap_can", options=("--downscale", "4", "--format", "colmap"), rows={
        "as it is": Row(),
        "without its points": Row(options=("--depth.weight", "0")),
    }),
    "bonsai": Capture(folder="mip360_bonsai", options=("--downscale", "4"), rows={
        "bounded": Row(),
        "unbounded": Row(options=UNBOUNDED),
    }),
    "statue": Capture(folder="statue_of_liberty", options=("--downscale", "4", "--cut-out"), half_image=True,
                      processed=("--no-single-camera",), rows={
        "distortion ignored": Row(options=("--model.appearance", "8"), distorted=False),
        "as it is": Row(),
        "appearance": Row(options=("--model.appearance", "8")),
    }),
}


def processed(capture: Path, scene: Path, options: Sequence[str]) -> Path:
    """`scene`, a new folder with the photos of `capture`, their cameras as COLMAP finds them, and their masks."""
    command = [sys.executable, "-m", "taichi_nerf", "process", str(capture / "images"), "-o", str(scene), *options]
    print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, file=sys.stderr)
    (scene / "masks").symlink_to((capture / "masks").resolve())
    return scene


def without_distortion(scene: Path, copy: Path) -> Path:
    """`copy`, a new folder that is the scene with lenses as of a pinhole camera; its files are links."""
    copy.mkdir()
    for entry in scene.iterdir():
        if entry.name != "transforms.json":
            (copy / entry.name).symlink_to(entry.resolve())
    transforms = json.loads((scene / "transforms.json").read_text())
    for holder in (transforms, *transforms["frames"]):
        for name in DISTORTION:
            holder.pop(name, None)
    (copy / "transforms.json").write_text(json.dumps(transforms))
    return copy


def right_halves(run: Path) -> dict:
    """The scores of the half-image protocol."""
    command = [sys.executable, "-m", "taichi_nerf", "eval", str(run), "--half-image", "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=f"of {', '.join(SCENES)}; all by default")
    parser.add_argument("--data", type=Path, required=True, help="folder of the captures")
    parser.add_argument("--seconds", default="300", help="of each training")
    parser.add_argument("--output", type=Path, help="folder that keeps the runs; by default they are thrown away")
    arguments = parser.parse_args()
    unknown = set(arguments.scenes) - set(SCENES)
    if unknown:
        parser.error(f"there is no scene {', '.join(unknown)}; there are {', '.join(SCENES)}")
    print(f"{machine()}; {arguments.seconds} s of training each\n")
    print("| scene | | PSNR | SSIM | views | scored | samples/s |\n|---|---|---:|---:|---:|---|---:|")
    with tempfile.TemporaryDirectory() as temporary:
        output = arguments.output or Path(temporary)
        for name in arguments.scenes or SCENES:
            capture = SCENES[name]
            whole = arguments.data / capture.folder
            if not whole.exists():
                print(f"| {name} | left out: {capture.folder} is not in --data |")
                continue
            if capture.processed is not None:
                whole = processed(whole, output / f"{name}-processed", capture.processed)
            for words, row in capture.rows.items():
                folder, label = whole, f"{name}-{words.replace(' ', '-')}"
                if not row.distorted:
                    folder = without_distortion(whole, Path(temporary) / f"{name}-pinhole")
                options = [*capture.options, *row.options, "--seconds", arguments.seconds, "--orbit-frames", "0"]
                found = measure(folder, options, output / label)
                scores = right_halves(output / label) if capture.half_image else found
                print(f"| {name} | {words} | {scores['psnr']:.2f} | {scores['ssim']:.3f} | {scores['images']} | "
                      f"{'right halves' if capture.half_image else 'whole images'} | "
                      f"{found['samples_per_second'] / 1e6:.2f} M |", flush=True)


if __name__ == "__main__":
    main()
