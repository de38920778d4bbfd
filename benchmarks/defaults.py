"""What a default is worth: `taichi-nerf train` as it is beside the same with other settings, in equal time.

    python benchmarks/defaults.py objects --data DIR          DIR holds the folders of SCENES
    python benchmarks/defaults.py captures --data DIR --seeds 3
    python benchmarks/defaults.py other-captures bonsai --data DIR --scenes bonsai fox
    python benchmarks/defaults.py few-views --data DIR --processor --jobs 2 --output FILE.json

objects        Lego, mic and the still life at 100 x 100 and 200 x 200, 60 s, without the decay of a hash grid's
               levels, and with an occupancy grid that gives up cells as readily in its first update as later.
captures       A courtyard, fields from above and a kitchen at half of their size, 300 s, the same, and without the
               points of structure from motion.
other-captures The same of captures that have no points, or need none: none of them may lose by it.
bonsai         Mip-NeRF 360 with a hash grid, 300 s: without points, and with widths in two ways.
few-views      Eight views of lego at 200 x 200, 300 s, with the settings for few views and without.
few-photos     Three photos of a fern and six of a fountain, 60 s, the same, and as captures were before.
refined        A phone's capture whose cameras are good, refined or not, 300 s.
harmonics      Lego and the still life at 200 x 200, 120 s, with colour in spherical harmonics and without.
passers-by     Two captures with squares pasted into their training photos, 300 s, with the robust loss and without.
nobody-passes  The same captures as they are: the robust loss must not cost much.
moving-lego    D-NeRF's lego at 100 x 100, 300 s, by a model of what stands still and by those of what moves, scored on
               the views of its validation, as the test views are of another motion.
moving-hand    A hand before a shelf, 300 s, the same, scored where the hand is (by its colour), and on the rest.
moving-balls   The built-in scene that moves at 200 x 200, 600 s, the same.
light          A kitchen whose exposures differ, 300 s, with --appearance and without, scored on right halves of photos
               to whose left halves the light was fitted.
masked         A statue inside its masks, codes of appearance with the robust loss and without, scored so, too.

Each training is a process of its own, scored on views that were held out; a gap is that of the first arm and another
of the same seed, the smallest over the seeds counts; where things move, that of the best arm and the first. Time is
that of the wall, of a machine with nothing else to do; --processor counts processor time of one thread instead, twice
as long, which stands for two quiet cores on a machine that has more to do, and lets --jobs trainings run side by side.
--output keeps every figure and goes on where it was stopped.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from _hand import hand_pixels
from experiments import EIGHT_OF_LEGO
from PIL import Image
from train import measure, scores_again

from taichi_nerf import load_scene
from taichi_nerf.devices import machine
from taichi_nerf.metrics import psnr

BEFORE = ("--model.field.hash-grid.decay", "0", "--model.sampling.warmup-threshold", "1")  # of Instant-NGP
NO_POINTS = ("--depth.weight", "0")
OCCLUDED = ("--perturb", "occluders")
HASH_360 = ("--model", "mip-nerf-360", "--encoding", "hash")
LEGO, HALF, QUARTER = "nerf_synthetic/lego", ("--downscale", "2"), ("--downscale", "4")
ALL = ("--test-every", "1")  # of the test views are scored
SCENES: dict[str, tuple[str | None, tuple[str, ...]]] = {  # folder, or none of a built-in scene, and how it is read
    "lego 100": (LEGO, QUARTER),
    "lego 200": (LEGO, HALF),
    "mic 100": ("nerf_synthetic/mic", HALF),
    "mic 200": ("nerf_synthetic/mic", ()),
    "still life 100": (None, HALF),
    "still life 200": (None, ()),
    "castle": ("strecha_castle_p30", HALF),
    "caliterra": ("odm_caliterra", HALF),
    "kitchen": ("sevenscenes_redkitchen", HALF),
    "fox": ("fox_4", HALF),
    "fern": ("nerf_llff_data/fern", QUARTER),
    "can": ("colmap_can", (*QUARTER, "--format", "colmap")),
    "bonsai": ("mip360_bonsai", QUARTER),
    "statue": ("statue_of_liberty", (*QUARTER, "--cut-out", "--model.appearance", "8")),
    "moving lego": ("dnerf/lego_100", ()),
    "hand": ("nerfies/nrnerf_hand", ALL),
    "moving balls": ("builtin:moving", ()),
    "eight of lego": (LEGO, HALF),
    "three of fern": ("nerf_llff_data/fern", (*QUARTER, *ALL)),
    "six of fountain": ("strecha_fountain_p11", (*HALF, *ALL)),
}
FEW: dict[str, tuple[int, ...]] = {  # of these scenes, the photos that are trained on; the others are test views
    "three of fern": (1, 10, 19),
    "six of fountain": (0, 2, 4, 6, 8, 10),
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """Scenes, the arms that are trained on each, and what the first must be ahead of another by."""

    scenes: tuple[str, ...]
    arms: dict[str, tuple[str, ...]]
    seconds: float
    least: dict[str, float]
    """By the name of another arm."""
    half_image: bool = False
    """Whether the light of test photos is fitted to their left halves, and their right halves are scored."""


@dataclass(frozen=True, kw_only=True)
class Race(Question):
    """Which arm is best, by the first score of `least`. That is by the name of a score: what the best arm must be ahead
    of the first one by, or with `outright` what it must reach; None: it is but reported. The smallest over the seeds
    counts."""

    least: dict[str, float | None]
    split: str = "test"
    """Whose views are scored."""
    moving: Callable[[np.ndarray], np.ndarray] | None = None
    """Which pixels [H, W] of a test photo [H, W, 3] show what moves; None: nobody says but the scene."""
    outright: bool = False


OF_MOVING: dict[str, tuple[str, ...]] = {
    "static": ("--model", "instant-ngp"), "t-nerf": ("--model", "t-nerf"), "d-nerf": ("--model", "d-nerf"),
    "nerfies": ("--model", "nerfies")}


QUESTIONS = {
    "objects": Question(
        scenes=("lego 100", "lego 200", "mic 100", "mic 200", "still life 100", "still life 200"), seconds=60,
        arms={"as it is": (), "as before": BEFORE}, least={"as before": -0.1}),
    "captures": Question(
        scenes=("castle", "caliterra", "kitchen"), seconds=300,
        arms={"as it is": (), "as before": (*NO_POINTS, *BEFORE)}, least={"as before": 1.0}),
    "other-captures": Question(
        scenes=("fox", "fern", "can", "bonsai", "statue"), seconds=300,
        arms={"as it is": (), "as before": (*NO_POINTS, *BEFORE)}, least={"as before": -0.1}),
    "bonsai": Question(
        scenes=("bonsai",), seconds=300,
        arms={"as it is": HASH_360, "without points": (*HASH_360, *NO_POINTS),
              "widths level": (*HASH_360, "--model.widths", "level"),
              "widths six": (*HASH_360, "--model.widths", "six")},
        least={"without points": 0.5}),
    "few-views": Question(
        scenes=("eight of lego",), seconds=300,
        arms={"few-views": ("--few-views",), "as it is": ()}, least={"as it is": 3.0}),
    "few-photos": Question(
        scenes=("three of fern", "six of fountain"), seconds=60,
        arms={"as it is": (), "few-views": ("--few-views",), "as before": (*NO_POINTS, *BEFORE)},
        least={"as before": 0.0}),
    "refined": Question(
        scenes=("fox",), seconds=300,
        arms={"refined": ("--refine.poses",), "as it is": ()}, least={"as it is": 0.0}),
    "harmonics": Question(
        scenes=("lego 200", "still life 200"), seconds=120,
        arms={"harmonics": ("--model.field.harmonics", "2"), "as it is": ()}, least={"as it is": -0.5}),
    "passers-by": Question(
        scenes=("fox", "bonsai"), seconds=300,
        arms={"robust": (*OCCLUDED, "--robust"), "as it is": OCCLUDED}, least={"as it is": 1.0}),
    "nobody-passes": Question(
        scenes=("fox", "bonsai"), seconds=300,
        arms={"robust": ("--robust",), "as it is": ()}, least={"as it is": -0.2}),
    "moving-lego": Race(
        scenes=("moving lego",), seconds=300, arms=OF_MOVING, split="val", least={"psnr": 3.0}),
    "moving-hand": Race(
        scenes=("hand",), seconds=300, arms=OF_MOVING, moving=hand_pixels,
        least={"psnr_moving": 3.0, "psnr_still": -0.1, "psnr": 0.0}),
    "moving-balls": Race(
        scenes=("moving balls",), seconds=600, arms=OF_MOVING, least={"psnr": 28.0, "psnr_moving": None},
        outright=True),
    "light": Question(
        scenes=("kitchen",), seconds=300, half_image=True,
        arms={"appearance": ("--appearance",), "as it is": ()}, least={"as it is": 0.0}),
    "masked": Question(
        scenes=("statue",), seconds=300, half_image=True,
        arms={"robust, codes": ("--robust",), "codes": ()}, least={"codes": 0.0}),
}


def with_file(folder: Path, copy: Path, name: str, content: dict) -> Path:
    """`copy`, a new folder of links to what is in `folder`, but for the JSON file of that name."""
    copy.mkdir()
    for entry in folder.iterdir():
        if entry.name != name:
            (copy / entry.name).symlink_to(entry.resolve())
    (copy / name).write_text(json.dumps(content))
    return copy


def eight_views(lego: Path, copy: Path) -> Path:
    """Lego with the training views that few-view methods take."""
    training = json.loads((lego / "transforms_train.json").read_text())
    training["frames"] = [training["frames"][n] for n in EIGHT_OF_LEGO]
    return with_file(lego, copy, "transforms_train.json", training)


def few_photos(capture: Path, copy: Path, chosen: tuple[int, ...]) -> Path:
    """A capture of which the chosen photos are trained on, and the others are test views."""
    content = json.loads((capture / "transforms.json").read_text())
    files = [frame["file_path"] for frame in content["frames"]]
    content["train_filenames"] = [files[n] for n in chosen]
    content["test_filenames"] = [file for n, file in enumerate(files) if n not in chosen]
    return with_file(capture, copy, "transforms.json", content)


def scores_by_mask(run: Path, scene: Path, moving: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Of what moves and of the rest of the test photos, from the pictures that a training left."""
    photos, found = load_scene(scene, splits=["test"]).splits["test"].images, []
    for n in range(len(photos)):
        truth, (picture,) = photos.image(n)[..., :3], (run / "test").glob(f"{n:03d}_*_render.png")
        shown, moves = np.asarray(Image.open(picture).convert("RGB")), moving(truth)
        found.append([psnr(shown / 255, truth / 255, where) for where in (moves, ~moves)])
    of_moving, of_still = np.mean(found, axis=0)
    return {"psnr_moving": float(of_moving), "psnr_still": float(of_still)}


def race_report(race: Race, scenes: list[str], by_score: dict[str, dict[str, float]]) -> str:
    """Tables in Markdown: means over the seeds, and by how much each arm is ahead of the first."""
    base = next(iter(race.arms))
    lines = [f"| scene | score | {' | '.join(race.arms)} | best | |",
             "|---|---|" + "---:|" * len(race.arms) + "---|---|"]
    for scene in scenes:
        best = None
        for score, least in race.least.items():
            of_arms = {arm: {key.split("/")[1]: value for key, value in by_score.get(score, {}).items()
                             if key.startswith(f"{scene}/") and key.endswith(f"/{arm}")} for arm in race.arms}
            seeds = sorted(set.intersection(*map(set, of_arms.values())))
            if not seeds:
                lines.append(f"| {scene} | {score} | not complete |")
                continue
            gaps = {arm: [found[seed] - (0 if race.outright else of_arms[base][seed]) for seed in seeds]
                    for arm, found in of_arms.items() if arm != base}
            best = best or max(gaps, key=lambda arm: min(gaps[arm]))
            verdict = "reached" if least is not None and min(gaps[best]) >= least else "missed"
            lines.append(f"| {scene} | {score} | " + " | ".join(
                f"{np.mean([found[seed] for seed in seeds]):.2f}" for found in of_arms.values()) +
                f" | {best}: {', '.join(f'{gap:+.2f}' for gap in gaps[best])} | "
                f"{'' if least is None else f'{verdict}: {least:+.1f}'} |")
    return "\n".join(lines)


def report(question: Question, scenes: list[str], found: dict[str, float]) -> str:
    """Tables in Markdown: mean scores over the seeds, and by how much the first arm is ahead."""
    first, *others = question.arms
    lines = [f"| scene | {' | '.join(question.arms)} | {' | '.join(f'ahead of {other}' for other in others)} | |",
             "|---|" + "---:|" * len(question.arms) + "---|" * len(others) + "---|"]
    for scene in scenes:
        by_arm = {arm: {key.split("/")[1]: score for key, score in found.items()
                        if key.startswith(f"{scene}/") and key.endswith(f"/{arm}")} for arm in question.arms}
        seeds = sorted(set.intersection(*(set(scores) for scores in by_arm.values())))
        if not seeds:
            lines.append(f"| {scene} | not complete |")
            continue
        gaps = {other: [by_arm[first][seed] - by_arm[other][seed] for seed in seeds] for other in others}
        verdicts = [f"{'reached' if min(gaps[other]) >= least else 'missed'}: {least:+.1f}"
                    for other, least in question.least.items()]
        lines.append(f"| {scene} | " + " | ".join(f"{np.mean([by_arm[arm][s] for s in seeds]):.2f}"
                                                  for arm in question.arms) + " | " +
                     " | ".join(", ".join(f"{gap:+.2f}" for gap in gaps[other]) for other in others) +
                     f" | {', '.join(verdicts)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="+", choices=QUESTIONS, metavar="QUESTION",
                        help=f"of {', '.join(QUESTIONS)}")
    parser.add_argument("--data", type=Path, required=True, help="folder of the scenes")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, metavar="SCENE", help="these alone")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="these alone, and none that has been trained is lost")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each arm; %(default)s by default")
    parser.add_argument("--seconds", type=float, help="of each training; by default those of the question")
    parser.add_argument("--processor", action="store_true", help="twice as many seconds of processor time, one thread")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side, with --processor")
    parser.add_argument("--output", type=Path, help="JSON file of all figures")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs; by default they are thrown away")
    settings = parser.parse_args()
    if settings.jobs > 1 and not settings.processor:
        parser.error("trainings side by side take each other's time: --jobs needs --processor")
    if not settings.data.is_dir():
        parser.error(f"{settings.data} is no folder; give the one of the scenes")
    if settings.seeds < 1 or settings.jobs < 1:
        parser.error("--seeds and --jobs must be at least 1")
    known = {arm for name in settings.questions for arm in QUESTIONS[name].arms}
    if unknown := set(settings.arms or ()) - known:
        parser.error(f"there is no arm {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    kept = json.loads(settings.output.read_text()) if settings.output and settings.output.exists() else {}
    lock = Lock()
    with tempfile.TemporaryDirectory() as temporary:
        few: dict[str, Path] = {}
        if (settings.data / LEGO).exists():
            few["eight of lego"] = eight_views(settings.data / LEGO, Path(temporary) / "eight-of-lego")
        for name, chosen in FEW.items():
            if (capture := settings.data / SCENES[name][0]).exists():
                few[name] = few_photos(capture, Path(temporary) / name.replace(" ", "-"), chosen)

        def train(name: str, scene: str, seed: int, arm: str):
            question, (folder, how) = QUESTIONS[name], SCENES[scene]
            built_in = folder is not None and folder.startswith("builtin:")
            path = few.get(scene) or (Path(folder) if built_in else folder and settings.data / folder)
            seconds = settings.seconds or question.seconds
            clock = ["--threads", "1"] if settings.processor else []
            options = [*how, *question.arms[arm], *clock, "--seed", str(seed), "--orbit-frames", "0",
                       "--seconds", str(seconds * (2 if settings.processor else 1))]
            run = (settings.runs or Path(temporary)) / "-".join((name, scene, str(seed), arm)).replace(" ", "-")
            shutil.rmtree(run, ignore_errors=True)  # one that was stopped
            scores = measure(path, options, run, processor=settings.processor)
            if question.half_image:
                scores |= scores_again(run, "--half-image", *clock)
            others: dict[str, float] = {}
            if isinstance(question, Race):
                scores = json.loads((run / "metrics.json").read_text()) | scores
                if question.split != "test":
                    scores |= scores_again(run, "--split", question.split, "--every", "1", *clock)
                if question.moving is not None:
                    scores |= scores_by_mask(run, path, question.moving)
                others = {score: scores[score] for score in question.least if score != "psnr"}
            with lock:
                kept.setdefault(name, {})[f"{scene}/{seed}/{arm}"] = scores["psnr"]
                for score, value in others.items():
                    kept.setdefault(f"{name}, {score}", {})[f"{scene}/{seed}/{arm}"] = value
                print(f"{name}, {scene}, seed {seed}, {arm}: {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}, "
                      f"{scores['steps']} steps" + "".join(f", {score} {value:.2f}" for score, value in others.items()),
                      file=sys.stderr, flush=True)
                if settings.output:
                    settings.output.write_text(json.dumps(kept, indent=1) + "\n")
            if settings.runs is None:
                shutil.rmtree(run)

        with ThreadPoolExecutor(settings.jobs) as pool:
            waiting = [pool.submit(train, name, scene, seed, arm)
                       for name in settings.questions for seed in range(settings.seeds)
                       for scene in QUESTIONS[name].scenes if scene in (settings.scenes or SCENES)
                       for arm in QUESTIONS[name].arms if arm in (settings.arms or QUESTIONS[name].arms)
                       if f"{scene}/{seed}/{arm}" not in kept.get(name, {})]
            for each in waiting:
                each.result()
    print(f"{machine()}; {'processor time' if settings.processor else 'time'}")
    for name in settings.questions:
        scenes = [scene for scene in QUESTIONS[name].scenes if scene in (settings.scenes or SCENES)]
        question, found = QUESTIONS[name], kept.get(name, {})
        if isinstance(question, Race):
            by_score = {score: kept.get(f"{name}, {score}", {}) for score in question.least} | {"psnr": found}
            print(f"\n{name}:\n\n{race_report(question, scenes, by_score)}")
        else:
            print(f"\n{name}:\n\n{report(question, scenes, found)}")


if __name__ == "__main__":
    main()
