"""Octrees of trained models, beside their models: scores, seconds, leaves and frames.

    python benchmarks/plenoctrees.py SCENE [--downscale 2] [--seconds 120] [--steps N] [--tuning 120] [--seeds 3]
                                     [--every 8] [--model instant-ngp] [--harmonics 2] [--depth D]
                                     [--sparsity WEIGHT SCALE]

For each seed a model is trained, with colour in harmonics or, with --harmonics -1, without; an octree is made of it,
and trained further. With --sparsity there are two models of each seed, one without and one with that pull towards empty
space; --steps and --depth make them alike in all else. The scores are those of every so many-th test view, a frame is
one of these. Prints a table in Markdown; the gap of the seed that loses most is what counts.
"""

import argparse
import itertools
import resource
import time
from dataclasses import dataclass, replace

import torch
from _measure import seconds_of

from taichi_nerf import load_scene, runtime
from taichi_nerf.config import ExtractionConfig, SparsityConfig, TrainingConfig, recipe
from taichi_nerf.devices import machine
from taichi_nerf.models.views import render_view
from taichi_nerf.training.evaluate import GREY, evaluate
from taichi_nerf.training.extraction import extract, without_unseen
from taichi_nerf.training.fine_tuning import fine_tune, without_validation
from taichi_nerf.training.run import fit, make_model, warm_up
from taichi_nerf.training.trainer import trainer_for

FRAMES = 5


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one training gave."""

    sparsity: float
    model: float
    extracted: float
    tuned: float
    leaves: int
    surface: float
    """Of the leaves, in sides of the box squared: their number if all octrees had leaves of one size."""
    extracting: float
    tuning: float
    model_frame: float
    octree_frame: float


def silent(name: str):
    return lambda done, total: None


def measured(scene, settings: argparse.Namespace, seed: int, sparsity: SparsityConfig) -> Row:
    found = recipe(settings.model)
    harmonics = None if settings.harmonics < 0 else settings.harmonics
    config = replace(found.model, field=replace(found.model.field, harmonics=harmonics))
    model = make_model(scene, config, seed=seed)
    budget = {"steps": settings.steps} if settings.steps else {"seconds": settings.seconds}
    fit(model, scene, TrainingConfig(**budget, seed=seed, batch=found.batch, optimiser=found.optimiser,
                                     sparsity=sparsity))

    def score(of) -> float:
        return evaluate(of, scene).mean_psnr

    def frame(of) -> float:
        cameras = scene.model_cameras("test")
        return seconds_of(lambda: render_view(of, cameras, 0, background=GREY[scene.background]), FRAMES)

    extraction = ExtractionConfig(depth=settings.depth)
    start = time.perf_counter()
    octree = extract(model, scene, extraction, silent)
    extracting = time.perf_counter() - start
    of_model, of_extraction = score(model), score(octree)
    start, tuned = time.perf_counter(), recipe("plenoctree")
    rest, validation = without_validation(scene)
    trainer = trainer_for(octree, rest, TrainingConfig(seconds=settings.tuning, seed=seed, batch=tuned.batch,
                                                       optimiser=tuned.optimiser))
    warm_up(trainer)
    fine_tune(trainer, validation, told=lambda share, text: None)
    octree = without_unseen(octree, scene, extraction.threshold, silent)
    leaves = int((octree.field.cell_density > 0).sum())
    side = 2 * octree.config.radius[0] / 2**octree.field.tree.depth
    return Row(sparsity=sparsity.weight, model=of_model, extracted=of_extraction, tuned=score(octree),
               leaves=leaves, surface=leaves * side**2, extracting=extracting,
               tuning=time.perf_counter() - start, model_frame=frame(model), octree_frame=frame(octree))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", metavar="SCENE", help="folder of a scene")
    parser.add_argument("--downscale", type=int, default=2, help="images so many times smaller; %(default)s by default")
    parser.add_argument("--seconds", type=float, default=120.0, help="of training; %(default)s by default")
    parser.add_argument("--tuning", type=float, default=120.0,
                        help="seconds of training the octree further, at the most; %(default)s by default")
    parser.add_argument("--seeds", type=int, default=3, help="models; %(default)s by default")
    parser.add_argument("--every", type=int, default=8, help="score every so many-th test view; %(default)s by default")
    parser.add_argument("--model", default="instant-ngp", help="what is trained; %(default)s by default")
    parser.add_argument("--harmonics", type=int, default=2,
                        help="degree of the model's colours; -1: without harmonics; %(default)s by default")
    parser.add_argument("--steps", type=int, help="of training, in place of --seconds")
    parser.add_argument("--depth", type=int, help="of the octree; by default as the command has it")
    parser.add_argument("--sparsity", type=float, nargs=2, metavar=("WEIGHT", "SCALE"),
                        help="of a second model of each seed")
    parser.add_argument("--backend", default="auto", help="what the kernels run on; %(default)s by default")
    settings = parser.parse_args()
    started = runtime.init(settings.backend)
    scene = load_scene(settings.scene, downscale=settings.downscale, splits=["train", "test"],
                       every={"test": settings.every})
    print(f"{machine()}, {started.backend}, {started.threads} threads; PyTorch {torch.__version__}; {scene.name}, "
          f"{settings.model}, harmonics {settings.harmonics}, "
          f"{f'{settings.steps} steps' if settings.steps else f'{settings.seconds:g} s'} and {settings.tuning:g} s\n")
    print("| seed | sparsity | model, dB | octree | fine-tuned | gaps | leaves | extraction, s | tuning, s | "
          "frame: model, ms | octree |")
    print("|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|", flush=True)
    pulls = [SparsityConfig(weight=0.0)]
    if settings.sparsity:
        pulls.append(SparsityConfig(weight=settings.sparsity[0], scale=settings.sparsity[1]))
    rows = []
    for seed, pull in itertools.product(range(settings.seeds), pulls):
        row = measured(scene, settings, seed, pull)
        rows.append(row)
        print(f"| {seed} | {row.sparsity:g} | {row.model:.2f} | {row.extracted:.2f} | {row.tuned:.2f} | "
              f"{row.extracted - row.model:+.2f}, {row.tuned - row.model:+.2f} | {row.leaves} | {row.extracting:.0f} | "
              f"{row.tuning:.0f} | {1000 * row.model_frame:.0f} | {1000 * row.octree_frame:.0f} |", flush=True)
    print(f"\nworst: {min(row.extracted - row.model for row in rows):+.2f} dB after extraction, "
          f"{min(row.tuned - row.model for row in rows):+.2f} dB after fine-tuning; the process has held "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB at the most")
    if settings.sparsity:
        without, pulled = (sum(row.surface for row in rows if (row.sparsity > 0) == on) for on in (False, True))
        print(f"leaves with the pull towards empty space, of one size: {pulled / without:.0%} of those without")


if __name__ == "__main__":
    main()
