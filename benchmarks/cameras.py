"""What corrections are worth on cameras that are not quite right, on the built-in scene, whose cameras are known.

    python benchmarks/cameras.py --what poses
    python benchmarks/cameras.py --what exposure
    python benchmarks/cameras.py --what depth

poses       Training cameras turned by 1.5 degrees about random axes and moved by 1.5 % of the side of the scene's box.
            Test cameras are true; the similarity that takes the true training cameras to those that were trained with
            carries them over, since a scene is known up to a similarity. Test images are used for nothing but scores.
"""

import argparse
import dataclasses
from dataclasses import dataclass, replace

from taichi_nerf import builtin_scene, make_model, runtime
from taichi_nerf.config import BatchConfig, RefineConfig, TrainingConfig
from taichi_nerf.data.alignment import align_cameras, pose_errors
from taichi_nerf.data.disturb import disturb_poses, with_split
from taichi_nerf.data.scene import Cameras, Scene
from taichi_nerf.devices import machine
from taichi_nerf.training.evaluate import evaluate
from taichi_nerf.training.run import keep_average, warm_up
from taichi_nerf.training.trainer import Trainer

DEGREES, SHARE = 1.5, 0.015


@dataclass(frozen=True)
class Settings:
    steps: int
    samples: int
    seed: int


def trained(scene: Scene, settings: Settings, **training) -> Trainer:
    """A trainer that has spent its budget, its model with the weights to render with."""
    config = TrainingConfig(steps=settings.steps, batch=BatchConfig(samples=settings.samples), seed=settings.seed,
                            gradients="autograd", **training)
    trainer = Trainer(make_model(scene, seed=settings.seed), scene, config)
    warm_up(trainer)
    while trainer.progress < 1:
        trainer.step()
    keep_average(trainer)
    return trainer


def in_world(scene: Scene, cameras: Cameras) -> Cameras:
    """Cameras of model space in the scene's world."""
    pose = cameras.camera_to_world.copy()
    pose[:, :, 3] = scene.to_world(pose[:, :, 3])
    return replace(cameras, camera_to_world=pose)


def compare_poses(scene: Scene, settings: Settings, refine: RefineConfig):
    split = scene.splits["train"]
    wrong = disturb_poses(split.cameras, DEGREES, SHARE / scene.scale, seed=settings.seed)
    scores = {}
    for name, cameras, active in (("exact", split.cameras, False), ("exact, refined", split.cameras, True),
                                  ("disturbed", wrong, False), ("disturbed, refined", wrong, True)):
        given = with_split(scene, replace(split, cameras=cameras))
        trainer = trained(given, settings, refine=replace(refine, poses=active))
        final = in_world(scene, trainer.corrections.cameras.refined()) if active else cameras
        degrees, distance = pose_errors(final, split.cameras)
        test = scene.splits["test"]
        carried = align_cameras(split.cameras, final).of_cameras(test.cameras)
        score = evaluate(trainer.model, with_split(scene, replace(test, cameras=carried)))
        scores[name] = score.mean_psnr
        print(f"{name:20s} PSNR {score.mean_psnr:.2f} dB, SSIM {score.mean_ssim:.4f}; poses off by "
              f"{degrees.mean():.3f} degrees and {100 * distance.mean() * scene.scale:.3f} % of the box; "
              f"{trainer.steps_done} steps, {trainer.seconds:.0f} s", flush=True)
    lost = scores["exact"] - scores["disturbed"]
    print(f"the disturbance costs {lost:.2f} dB, of which refinement recovers "
          f"{100 * (scores['disturbed, refined'] - scores['disturbed']) / lost:.0f} %; on exact poses it costs "
          f"{scores['exact'] - scores['exact, refined']:.2f} dB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("poses", "exposure", "depth"), default="poses")
    parser.add_argument("--resolution", type=int, default=100)
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=8192, help="of a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--refine", nargs="*", default=[], metavar="NAME=VALUE", help="settings of RefineConfig")
    arguments = parser.parse_args()
    runtime.init("cpu", threads=arguments.threads)
    scene = builtin_scene(resolution=arguments.resolution, views=(arguments.views, 0, 8))
    settings = Settings(arguments.steps, arguments.samples, arguments.seed)
    kinds = {field.name: type(field.default) for field in dataclasses.fields(RefineConfig)}
    refine = RefineConfig(**{k: kinds[k](v) for k, v in (pair.split("=") for pair in arguments.refine)})
    print(f"{machine()}; {arguments.resolution} x {arguments.resolution} pixels, {arguments.views} views, {settings}")
    compare_poses(scene, settings, refine)


if __name__ == "__main__":
    main()
