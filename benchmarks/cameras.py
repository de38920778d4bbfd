"""What corrections are worth on cameras that are not quite right, on the built-in scene, whose cameras are known.

    python benchmarks/cameras.py --what poses
    python benchmarks/cameras.py --what exposure
    python benchmarks/cameras.py --what depth

poses       Training cameras turned by 1.5 degrees (--degrees) about random axes and moved by 1.5 % (--share) of the
            side of the scene's box. Test cameras are true; the similarity that takes the true training cameras to those
            that were trained with carries them over, since a scene is known up to a similarity. Test images are used
            for nothing but scores.
exposure    Images exposed by up to one stop more or less, training images and test images. Scored twice: at neutral
            exposure against test images without jitter, and by the half-image protocol: the exposure of each test image
            is fitted to its left half, and its right half is scored.
depth       A third of the training views, with and without their depth images.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from taichi_nerf import builtin_scene, make_model, runtime
from taichi_nerf.config import (
    BatchConfig,
    DepthConfig,
    ExposureConfig,
    InstantNGPConfig,
    RefineConfig,
    SamplingConfig,
    TrainingConfig,
)
from taichi_nerf.data.alignment import align_cameras, pose_errors
from taichi_nerf.data.disturb import disturb_poses, jitter_exposure, with_split
from taichi_nerf.data.scene import Scene
from taichi_nerf.devices import machine
from taichi_nerf.models.views import render_view
from taichi_nerf.training.evaluate import evaluate
from taichi_nerf.training.half_image import fit_left_halves
from taichi_nerf.training.run import keep_average, warm_up
from taichi_nerf.training.trainer import Trainer, trainer_for

STOPS = 1.0
POSE_ARMS = ["exact", "exact, refined", "disturbed", "disturbed, refined"]


@dataclass(frozen=True)
class Settings:
    steps: int
    samples: int
    march: int
    seed: int


def trained(scene: Scene, settings: Settings, **training) -> Trainer:
    """A trainer that has spent its budget, its model with the weights to render with."""
    config = TrainingConfig(steps=settings.steps, batch=BatchConfig(samples=settings.samples), seed=settings.seed,
                            gradients="autograd", **training)
    model = make_model(scene, InstantNGPConfig(sampling=SamplingConfig(steps=settings.march)), seed=settings.seed)
    trainer = trainer_for(model, scene, config)
    warm_up(trainer)
    while trainer.progress < 1:
        trainer.step()
    keep_average(trainer)
    return trainer


def compare_poses(scene: Scene, settings: Settings, refine: RefineConfig, arms: list[str], pictures: Path | None,
                  degrees: float, share: float):
    split = scene.splits["train"]
    wrong = disturb_poses(split.cameras, degrees, share / scene.scale, seed=settings.seed)
    scores = {}
    for name in arms:
        cameras, active = wrong if name.startswith("disturbed") else split.cameras, name.endswith("refined")
        given = with_split(scene, replace(split, cameras=cameras))
        trainer = trained(given, settings, refine=replace(refine, poses=active))
        final = scene.world_cameras(trainer.corrections.cameras.refined()) if active else cameras
        turned, distance = pose_errors(final, split.cameras)
        test = scene.splits["test"]
        carried = align_cameras(split.cameras, final).of_cameras(test.cameras)
        folder = None if pictures is None else pictures / name.replace(", ", "-")
        score = evaluate(trainer.model, with_split(scene, replace(test, cameras=carried)), folder=folder)
        scores[name] = score.mean_psnr
        print(f"{name:20s} PSNR {score.mean_psnr:.2f} dB, SSIM {score.mean_ssim:.4f}; poses off by "
              f"{turned.mean():.3f} degrees and {100 * distance.mean() * scene.scale:.3f} % of the box; "
              f"{trainer.steps_done} steps, {trainer.seconds:.0f} s", flush=True)
    if set(scores) != set(POSE_ARMS):
        return
    lost = scores["exact"] - scores["disturbed"]
    print(f"the disturbance costs {lost:.2f} dB, of which refinement recovers "
          f"{100 * (scores['disturbed, refined'] - scores['disturbed']) / lost:.0f} %; on exact poses it costs "
          f"{scores['exact'] - scores['exact, refined']:.2f} dB")


def compare_exposure(scene: Scene, settings: Settings):
    train, plain = scene.splits["train"], scene.splits["test"]
    jittered = with_split(scene, jitter_exposure(train, STOPS, seed=settings.seed)[0])
    test, _ = jitter_exposure(plain, STOPS, seed=settings.seed + 1)
    scores = {}
    for name, learned in (("without", False), ("learned", True)):
        trainer = trained(jittered, settings, exposure=ExposureConfig(learned=learned))
        neutral = evaluate(trainer.model, scene).mean_psnr
        halves = {}
        for fitted in (False, True):
            fit = fit_left_halves(trainer.model, scene, test, exposure=fitted, seed=settings.seed)
            halves[fitted] = evaluate(trainer.model, with_split(scene, test), halves=fit).mean_psnr
        scores[name] = halves[learned]
        print(f"exposure {name:8s} neutral exposure against test images without jitter {neutral:.2f} dB; right halves "
              f"of images with jitter {halves[False]:.2f} dB, after a fit to the left halves {halves[True]:.2f} dB; "
              f"{trainer.steps_done} steps, {trainer.seconds:.0f} s", flush=True)
    print(f"learned, by the half-image protocol, {scores['learned'] - scores['without']:+.2f} dB over without")


def compare_depth(scene: Scene, settings: Settings, weight: float):
    few = with_split(scene, scene.splits["train"].subset(slice(None, None, 3)))
    scores, errors = {}, {}
    for name, given, depth in (("all views", scene, 0.0), ("a third", few, 0.0), ("a third, depth", few, weight)):
        trainer = trained(given, settings, depth=DepthConfig(weight=depth))
        scores[name], errors[name] = evaluate(trainer.model, scene).mean_psnr, depth_error(trainer.model, scene)
        print(f"{name:15s} PSNR {scores[name]:.2f} dB, depth off by {100 * errors[name]:.2f} % of the box in the mean; "
              f"{trainer.steps_done} steps, {trainer.seconds:.0f} s", flush=True)
    few, deep = "a third", "a third, depth"
    print(f"depth gives {scores[deep] - scores[few]:+.2f} dB and {errors[deep] / errors[few]:.2f} of the depth error")


def depth_error(model, scene: Scene) -> float:
    """The mean over pixels of test views that show something of by how much the distance is off, in model units."""
    errors = []
    for n, depth in enumerate(scene.splits["test"].depth):
        seen, truth = render_view(model, scene.model_cameras("test"), n, background=1.0), depth * scene.scale
        solid = np.isfinite(truth) & (seen.opacity > 0.5)
        errors.append(np.abs(seen.depth - truth)[solid])
    return float(np.concatenate(errors).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("poses", "exposure", "depth"), default="poses",
                        help="which corrections; %(default)s by default")
    parser.add_argument("--resolution", type=int, default=64,
                        help="pixels along a side of the images; %(default)s by default")
    parser.add_argument("--views", type=int, default=30, help="training views; %(default)s by default")
    parser.add_argument("--steps", type=int, default=1000, help="of each training; %(default)s by default")
    parser.add_argument("--samples", type=int, default=8192, help="visible ones of a step")
    parser.add_argument("--seed", type=int, default=0, help="of everything random; %(default)s by default")
    parser.add_argument("--threads", type=int, help="processor threads; by default as many as this process may use")
    parser.add_argument("--march", type=int, default=128, help="steps along the box's diagonal")
    parser.add_argument("--arms", nargs="+", choices=POSE_ARMS, default=POSE_ARMS, help="of the poses")
    parser.add_argument("--degrees", type=float, default=1.5, help="by which the poses are turned")
    parser.add_argument("--share", type=float, default=0.015, help="of the box, by which they are moved")
    parser.add_argument("--pictures", type=Path, help="new folder for the test views of the poses")
    parser.add_argument("--refine", nargs="*", default=[], metavar="NAME=VALUE",
                        help="settings of RefineConfig, their values as JSON")
    parser.add_argument("--depth-weight", type=float, default=0.1, help="of the depth images; %(default)s by default")
    arguments = parser.parse_args()
    runtime.init("cpu", threads=arguments.threads)
    scene = builtin_scene(resolution=arguments.resolution, views=(arguments.views, 0, 8))
    settings = Settings(arguments.steps, arguments.samples, arguments.march, arguments.seed)
    pairs = (pair.split("=") for pair in arguments.refine)
    refine = RefineConfig(**{name: json.loads(value) for name, value in pairs})
    print(f"{machine()}; {arguments.resolution} x {arguments.resolution} pixels, {arguments.views} views, {settings}")
    if arguments.what == "poses":
        compare_poses(scene, settings, refine, arguments.arms, arguments.pictures, arguments.degrees,
                      arguments.share)
    elif arguments.what == "exposure":
        compare_exposure(scene, settings)
    else:
        compare_depth(scene, settings, arguments.depth_weight)


if __name__ == "__main__":
    main()
