"""How far exported points and meshes of a room are from points that a depth camera measured.

    python benchmarks/measured.py --data DIR [--arms depth photos] [--seconds 300] [--downscale 2] [--output DIR]
    python benchmarks/measured.py --data DIR --runs depth=RUN points=RUN

DIR holds sevenscenes_redkitchen: photos of 320 x 240 pixels, their depth images, what structure from motion found, and
reference_points.ply, fused from all depth images, good to 1 or 2 cm. An arm says what the training knows of distances:

    depth    the depth images
    points   what structure from motion found, as by default
    photos   nothing but the photos

Trains Instant-NGP for each arm, unless runs are given, and exports points and a mesh of the box of the reference. All
distances are to the nearest reference point, which has the next one 1.6 cm away: the median and the 90th percentile of
them, in centimetres, the share of what is more than 10 cm away, and the median of the way back, from reference points
to what was exported. Structure from motion's own points stand beside them. Time is that of the wall; --processor counts
processor time of one thread instead, twice as long, as in defaults.py.

Each arm that is trained is scored on its test views as well, as they are and by the half-image protocol: the camera
exposed each photo anew, by up to 1.2 stops more or less, which no field can know of a photo that it has not seen.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from geometry import points_of, points_on
from scipy.spatial import cKDTree
from train import measure, scores_again

from taichi_nerf import cli
from taichi_nerf.data.colmap_model import find_model, read_model
from taichi_nerf.data.ply import read_ply
from taichi_nerf.devices import machine

SCENE, REFERENCE = "sevenscenes_redkitchen", "reference_points.ply"
ARMS = {"depth": ("--depth.of", "images", "--depth.weight", "0.1"), "points": (), "photos": ("--depth.weight", "0")}
EVERYWHERE = ("--appearance",)  # `info` says of these photos that their exposures differ
AIM = {"depth": 3.0, "points": 5.0, "photos": 5.0}  # cm
FAR = 0.1  # metres
EXPORTS = {"points": ("--what", "points"), "mesh": ("--colour", "vertex")}


def compare(found: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Of positions [P, 3] and [Q, 3], in metres."""
    away, _ = cKDTree(reference).query(found)
    back, _ = cKDTree(found).query(reference)
    return {"median, cm": 100 * float(np.median(away)), "90 %, cm": 100 * float(np.percentile(away, 90)),
            "far, %": 100 * float((away > FAR).mean()), "back, cm": 100 * float(np.median(back)), "points": len(found)}


def within(position: np.ndarray, box: np.ndarray) -> np.ndarray:
    return position[((position >= box[0]) & (position <= box[1])).all(axis=1)]


def exported(run: Path, box: np.ndarray, folder: Path, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """What the program makes of a run: positions of points, and of places spread over the mesh."""
    corners = [f"{value:.4f}" for value in box.reshape(-1)]
    shared = ["--box", *corners, "--resolution", str(arguments.resolution), "--backend", "cpu", "--threads",
              str(arguments.threads)]
    files = {name: folder / f"{run.name}-{name}.ply" for name in EXPORTS}
    for name, file in files.items():
        if not file.exists() and cli.main(["export", str(run), "-o", str(file), *EXPORTS[name], *shared]):
            sys.exit(f"the export of {run} failed")
    return {"points": points_of(files["points"]).position, "mesh": points_on(files["mesh"]).position}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the scenes")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["depth", "photos"], metavar="ARM",
                        help=f"of {', '.join(ARMS)}; by default depth and photos")
    parser.add_argument("--runs", nargs="+", default=[], metavar="ARM=RUN", help="runs that are there; no others then")
    parser.add_argument("--seconds", type=float, default=300, help="of each training")
    parser.add_argument("--downscale", type=int, default=1, help="of photos and depth images in the training")
    parser.add_argument("--processor", action="store_true", help="twice as many seconds of processor time, one thread")
    parser.add_argument("--resolution", type=int, default=256, help="voxels along the longest side of the box")
    parser.add_argument("--threads", type=int, default=1, help="of the exports")
    parser.add_argument("--output", type=Path, help="a folder for all that is made; by default a temporary one")
    arguments = parser.parse_args()
    runs = {arm: Path(run) for arm, _, run in (given.partition("=") for given in arguments.runs)}
    if unknown := set(runs) - set(ARMS):
        parser.error(f"there is no arm {', '.join(sorted(unknown))}; there are {', '.join(ARMS)}")
    if missing := [str(run) for run in runs.values() if not run.is_dir()]:
        parser.error(f"there is no run {', '.join(missing)}")
    scene = arguments.data / SCENE
    if not (scene / REFERENCE).exists():
        parser.error(f"{SCENE} with its {REFERENCE} is not in {arguments.data}")
    with tempfile.TemporaryDirectory() as temporary:
        report(arguments, scene, runs, Path(arguments.output or temporary))


def report(arguments: argparse.Namespace, scene: Path, runs: dict[str, Path], folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    reference, _ = read_ply(scene / REFERENCE)
    reference = reference.astype(np.float64)
    box = np.stack([reference.min(axis=0), reference.max(axis=0)])
    model = read_model(find_model(scene))
    table = {"structure from motion": compare(within(model.points.position + model.origin, box), reference)}
    clock = ["--threads", "1"] if arguments.processor else []
    seconds = arguments.seconds * (2 if arguments.processor else 1)
    for arm in runs or arguments.arms:
        run = runs.get(arm, folder / arm)
        if not run.exists():
            options = [*ARMS[arm], *EVERYWHERE, *clock, "--seconds", str(seconds), "--orbit-frames", "0", "--downscale",
                       str(arguments.downscale)]
            scores = measure(scene, options, run, processor=arguments.processor)
            halves = scores_again(run, "--half-image", "--backend", "cpu", "--threads", str(arguments.threads))
            print(f"{arm}: {scores['psnr']:.2f} dB, by halves {halves['psnr']:.2f} dB, "
                  f"{scores['steps']} steps", file=sys.stderr, flush=True)
        for name, position in exported(run, box, folder, arguments).items():
            table[f"{arm}, {name}"] = compare(position, reference)
    print(f"{machine()}\n\n| | {' | '.join(next(iter(table.values())))} | |\n|---|" + "---:|" * 5 + "---|")
    for name, row in table.items():
        aim = AIM.get(name.split(",")[0])
        verdict = "" if aim is None else f"{'reached' if row['median, cm'] <= aim else 'missed'}: {aim:g} cm"
        print(f"| {name} | " + " | ".join(f"{value:.1f}" if isinstance(value, float) else f"{value:,}"
                                          for value in row.values()) + f" | {verdict} |")
    (folder / "measured.json").write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
