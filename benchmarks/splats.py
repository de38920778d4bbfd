"""How much of a field Gaussians keep, before and after they are fitted to its photos, and whether others see the same.

    python benchmarks/splats.py RUN [--count 50000] [--degree 2] [--seconds 60 | --steps N] [--output DIR]

Scores the field of a run and its splats on the test views that training scored (PSNR of 8-bit pictures, the mean over
views), writes the file that `taichi-nerf export RUN --what splats` writes, and draws its first test view with a reader
of such files that is numpy alone (`_splat_reader.py`): the mean difference from our picture is in 1/255. A picture has,
from left to right, the photo, the field, the splats before and after, and what the other reader sees of them.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _splat_reader import picture_of_file

from taichi_nerf import query, runtime
from taichi_nerf.export.splat_files import write_splats
from taichi_nerf.export.splats import learnable, splats_of, surface_splats
from taichi_nerf.models.views import render_view
from taichi_nerf.pictures import side_by_side, to_uint8, write_png
from taichi_nerf.training.evaluate import chosen_views, evaluate, truth_picture
from taichi_nerf.training.folder import RunFolder
from taichi_nerf.training.photos import GREY
from taichi_nerf.training.splats import fine_tune, picture_of, plain_photos, score


def main() -> None:
    arguments = parsed()
    runtime.init("cpu", threads=arguments.threads)
    run = RunFolder.open(arguments.run)
    field = query.open(arguments.run)
    test, _, every = run.split("test")
    views, background = chosen_views(test, "test", every), GREY[test.background]
    whole = evaluate(field.model, test, split="test", every=every).mean_psnr
    photos, scored = plain_photos(run.training_scene().splits["train"]), plain_photos(views)
    print(f"field: {whole:.2f} dB, mean over {len(scored)} test views", flush=True)

    began = time.process_time()
    made = surface_splats(field, field.scene.splits["train"].cameras, rays=arguments.rays, count=arguments.count,
                          bands=arguments.degree + 1)
    model = learnable(made, field.scene.near / field.scene.scale)
    first = picture_of(model, scored.cameras, 0, background)
    report("before fitting", model, scored, background, whole, time.process_time() - began, f"{len(made)} Gaussians")
    began = time.process_time()
    steps = fine_tune(model, photos, steps=arguments.steps,
                      seconds=None if arguments.steps is not None else arguments.seconds)
    report("after fitting", model, scored, background, whole, time.process_time() - began, f"{steps} steps")

    output = arguments.output or Path(tempfile.mkdtemp())
    output.mkdir(parents=True, exist_ok=True)
    write_splats(output / "splats.ply", splats_of(model).moved(field.scene.origin, 1.0))
    camera, ours = scored.cameras.subset([0]), picture_of(model, scored.cameras, 0, background)
    theirs = picture_of_file(output / "splats.ply", camera.camera_to_world[0] + offset(field.scene.origin),
                             camera.focal[0], camera.principal[0], camera.size[0], background,
                             field.scene.near / field.scene.scale)
    print(f"another reader of the file: mean difference {np.abs(255 * theirs - ours).mean():.3f} / 255", flush=True)
    seen = render_view(field.model, test.model_cameras(views.cameras), 0, background=background)
    truth = truth_picture(views, 0, background)
    write_png(output / "splats.png", side_by_side(truth, to_uint8(seen.colour), first, ours, to_uint8(theirs)))
    print(f"files and picture: {output}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--count", type=int, default=50_000, help="Gaussians at the most; %(default)s by default")
    parser.add_argument("--degree", type=int, default=2, help="of their colours; %(default)s by default")
    parser.add_argument("--rays", type=int, default=1_000_000,
                        help="that place them, about so many at the most; %(default)s by default")
    parser.add_argument("--seconds", type=float, default=60.0,
                        help="for how long they are fitted; %(default)s by default")
    parser.add_argument("--steps", type=int, help="the same in steps")
    parser.add_argument("--threads", type=int, help="processor threads; by default as many as this process may use")
    parser.add_argument("--output", type=Path, help="folder for the file and the picture; by default a temporary one")
    return parser.parse_args()


def report(when: str, model, scored, background: float, whole: float, seconds: float, what: str) -> None:
    found = score(model, scored, background)
    print(f"{when}: {found:.2f} dB, field {found - whole:+.2f} dB, {what}, {seconds:.0f} s of processor time",
          flush=True)


def offset(origin: np.ndarray) -> np.ndarray:
    """[3, 4] that moves a pose by `origin`."""
    return np.concatenate([np.zeros((3, 3)), origin[:, None]], axis=1)


if __name__ == "__main__":
    main()
