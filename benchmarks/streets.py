"""Block-NeRF on the built-in street: blocks against one model, and what each of its parts is worth.

    python benchmarks/streets.py [--segments 4] [--blocks 4] [--resolution 100] [--steps 1500] [--seeds 3]
    python benchmarks/streets.py --only cast                       # of all that the colour cast alone
    python benchmarks/streets.py --only blocks exposure --steps 1500

Test views lie between the training views, in the light of the first drive and neutral exposure. For each seed:

    one               one model, so many steps
    one, as long      one model, with as many steps as all blocks together, and a hash table as large as all of theirs
    blocks            a model of each block with the settings and steps of `one`, seen as one
    nearest           the same, each picture by the nearest block alone
    all that reach    the same, without asking what is visible
    no exposure       one model that is told no exposure
    colour cast       the second block is trained on photos times CAST; how far apart it and the first one are, where
                      cameras of both stand, in their mean appearances, and in those that matching finds: mean absolute
                      differences of pixels, and of the mean colours of views, in hundredths. Beside them the same of
                      the second block without a cast

The jump is the largest mean difference between neighbouring frames of a drive, less that of the exact pictures. A point
is hidden from a block where no training camera of it sees it; the area under the curve is that of the greatest
visibility over directions to its cameras, the smallest over the blocks. It is occluded in the picture of a camera where
something opaque stands between. Prints a table in Markdown.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _measure import kept_figures

from taichi_nerf import runtime
from taichi_nerf.config import TrainingConfig, recipe
from taichi_nerf.data.blocks import Block, blocks_of, within_block
from taichi_nerf.data.builtin import builtin_scene, render
from taichi_nerf.data.builtin.moving import surface_points
from taichi_nerf.data.builtin.street import drive_along, lights_of_drives, street
from taichi_nerf.data.disturb import with_split
from taichi_nerf.data.scene import Cameras, Images, Scene
from taichi_nerf.devices import machine
from taichi_nerf.models.views import render_view
from taichi_nerf.training.blocks import BlockOnDisk, as_one, codes_of_neighbours, points_seen
from taichi_nerf.training.evaluate import GREY, evaluate
from taichi_nerf.training.run import fit, make_model
from taichi_nerf.types import Shot

DRIVE = 60  # frames
CAST = (1.2, 1.0, 0.8)  # of the photos of a block
PARTS = ("blocks", "exposure", "long", "cast")
SEEN = 12  # views that two blocks are compared in
FINEST = 256  # cells of the hash grid along the box, which is longer than the street by little


def trained(scene: Scene, model: str, steps: int, seed: int, **changes):
    """A model of the scene after so many steps."""
    found = recipe(model, "small", "hash")
    table = changes.pop("log2_entries", found.model.field.hash_grid.log2_entries)
    grid = replace(found.model.field.hash_grid, log2_entries=table, max_resolution=FINEST)
    config = replace(found.model, field=replace(found.model.field, hash_grid=grid), **changes)
    made = make_model(scene, config, seed=seed)
    fit(made, scene, TrainingConfig(steps=steps, seed=seed, batch=found.batch, optimiser=found.optimiser))
    return made


def matched(blocks: list[Block], models: list, parts: list[Scene]) -> list[BlockOnDisk]:
    """What is known of blocks once they are trained."""
    codes = codes_of_neighbours(blocks, models, parts)
    return [BlockOnDisk(block=block, trained=True, code=tuple(code.tolist()),
                        seen=tuple(map(tuple, points_seen(model, part).tolist())))
            for block, code, model, part in zip(blocks, codes, models, parts)]


def with_cast(scene: Scene) -> Scene:
    """With the training photos times CAST."""
    split, factor = scene.splits["train"], np.array((*CAST, 1.0))
    images = [np.round(np.clip(factor * split.images.image(n), 0, 255)).astype(np.uint8) for n in range(len(split))]
    return with_split(scene, replace(split, images=Images.from_list(images, split.images.names)))


def residuals(blocks: list[Block], models: list, parts: list[Scene], scene: Scene) -> dict[str, float]:
    """How far apart two blocks are before and after they are matched, where cameras of both stand."""
    cameras = scene.splits["train"].cameras
    both = np.flatnonzero(np.all([block.holds(cameras.position + scene.origin) for block in blocks], axis=0))
    both = both[np.unique(np.linspace(0, len(both) - 1, SEEN).round().astype(int))]
    placed = scene.model_cameras(cameras.subset(both))

    def apart(codes) -> tuple[float, float]:
        shown = [np.stack([render_view(model, placed, n, background=GREY[scene.background],
                                       shot=Shot(codes={"appearance": code[None]})).colour for n in range(len(placed))])
                 for model, code in zip(models, codes)]  # of each block [N, H, W, 3]
        of_pixels, of_views = shown[0] - shown[1], (shown[0] - shown[1]).mean(axis=(1, 2))
        return 100 * float(np.abs(of_pixels).mean()), 100 * float(np.abs(of_views).mean())

    before = apart([model.codes["appearance"].mean.detach() for model in models])
    after = apart(codes_of_neighbours(blocks, models, parts))
    return {f"{what} {when}": value for when, values in (("before", before), ("after", after))
            for what, value in zip(("of pixels", "of views"), values)}


def measured_cast(blocks: list[Block], models: list, parts: list[Scene], scene: Scene,
                  settings: argparse.Namespace, seed: int) -> dict[str, float]:
    """The figures of the colour cast, of the first two blocks and their models."""
    cast = [parts[0], with_cast(parts[1])]
    of_cast = [models[0], trained(cast[1], settings.model, settings.steps, seed)]
    rows = {"apart by a cast": (of_cast, cast), "apart without one": (models[:2], parts[:2])}
    return {f"{name}, {key}": value for name, (pair, scenes) in rows.items()
            for key, value in residuals(blocks[:2], pair, scenes, scene).items()}


def psnr(model, scene: Scene) -> float:
    return evaluate(model, scene).mean_psnr


def frames_of(model, scene: Scene, cameras) -> np.ndarray:
    """[N, H, W, 3] of a drive."""
    placed = scene.model_cameras(cameras)
    return np.stack([render_view(model, placed, n, background=GREY[scene.background]).colour
                     for n in range(len(placed))])


def jump(shown: np.ndarray, exact: np.ndarray) -> float:
    """The largest change from one frame to the next beyond that of the exact pictures, of a mean over pixels."""
    change, usual = (np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)) for frames in (shown, exact))
    return float((change - usual).max())


def hidden_areas(model, scene: Scene, part: Scene, seed: int) -> tuple[float, float]:
    """Areas under the curve of a block's visibility as a sign that none of its training cameras sees a point, and that
    one which has a point in its picture does not see it."""
    random, split = np.random.default_rng(seed), scene.splits["train"]
    points = [surface_points(split.cameras, n, split.depth[n]).reshape(-1, 3) for n in range(len(split))]
    points = np.concatenate(points)
    points = random.permutation(points[np.isfinite(points).all(axis=1)])[:1000]
    own = part.splits["train"]
    framed, seen = np.stack([sees(own.cameras, n, own.depth[n], points) for n in range(len(own))], axis=2)  # [M, N]
    towards = points[:, None] - own.cameras.position  # [M, N, 3]
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    inside = torch.from_numpy(part.to_model(points)).repeat_interleave(len(own), dim=0)
    turned = torch.from_numpy((towards.reshape(-1, 3) @ part.rotation.T).astype(np.float32))
    with torch.no_grad():
        visible = model.visible(inside, turned).view(framed.shape).numpy()
    return area(visible.max(axis=1), seen.any(axis=1)), area(visible[framed], seen[framed])


def area(value: np.ndarray, true: np.ndarray) -> float:
    """Under the curve of `value` [M] as a sign of what is `true` [M]."""
    rank = np.empty(len(value))
    rank[np.argsort(value)] = np.arange(len(value))
    return float((rank[true].sum() - true.sum() * (true.sum() - 1) / 2) / (true.sum() * (~true).sum()))


def sees(cameras, n: int, depth: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[M] bool each: whether camera n has points [M, 3] in its picture, and sees them, by its exact depth [H, W]."""
    inside = (points - cameras.camera_to_world[n, :, 3]) @ cameras.camera_to_world[n, :, :3]  # [M, 3] in its axes
    with np.errstate(divide="ignore", invalid="ignore"):
        pixel = cameras.focal[n] * inside[:, :2] * (1, -1) / -inside[:, 2:] + cameras.principal[n]
    framed = (inside[:, 2] < 0) & (pixel >= 0).all(axis=1) & (pixel < cameras.size[n]).all(axis=1)
    column, row = np.where(framed[:, None], pixel, 0).astype(int).T
    distance = np.linalg.norm(inside, axis=1)
    return framed, framed & (distance <= 1.02 * depth[row, column] + 0.01)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=4, choices=(1, 2, 4, 8, 16),
                        help="of the built-in street; %(default)s by default")
    parser.add_argument("--blocks", type=int, default=4, help="that it is cut into; %(default)s by default")
    parser.add_argument("--resolution", type=int, default=100,
                        help="pixels along a side of the photos; %(default)s by default")
    parser.add_argument("--steps", type=int, default=1500, help="of each block; %(default)s by default")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row; %(default)s by default")
    parser.add_argument("--model", default="block-nerf", help="what is trained; %(default)s by default")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what is measured; all by default")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(),
                        help="processor threads; %(default)s by default")
    parser.add_argument("--output", type=Path,
                        help="JSON file of all figures; with the same settings it goes on where it was stopped")
    settings = parser.parse_args()
    runtime.init("cpu", threads=settings.threads)
    name = "street" if settings.segments == 4 else f"street-{settings.segments}"
    scene = builtin_scene(name, resolution=settings.resolution, splits=("train", "test"))
    about = {name: value for name, value in vars(settings).items() if name not in ("seeds", "threads", "output")}
    about["only"] = sorted(settings.only)
    found = kept_figures(settings.output, about)
    for seed in range(settings.seeds):
        if str(seed) not in found:
            found[str(seed)] = measured(scene, settings, seed)
        if settings.output:
            settings.output.write_text(json.dumps({"about": about, "seeds": found}, indent=1) + "\n")
    rows = [found[str(seed)] for seed in range(settings.seeds)]
    print(f"{machine()}; {scene.name}, {settings.steps} steps at {settings.resolution} pixels, "
          f"{settings.blocks} blocks\n")
    print("| | " + " | ".join(f"seed {seed}" for seed in range(settings.seeds)) + " |")
    print("|---" * (1 + settings.seeds) + "|")
    for key in rows[0]:
        print(f"| {key} | " + " | ".join(f"{row[key]:.3g}" if key.startswith(("jump", "apart")) else f"{row[key]:.2f}"
                                         for row in rows) + " |")


def exact_drive(scene: Scene, settings: argparse.Namespace) -> tuple[Cameras, np.ndarray]:
    """Cameras of a drive, and the pictures [N, H, W, 3] that they would take."""
    cameras = drive_along(settings.segments, DRIVE, settings.resolution)
    rgba = render(street(settings.segments), cameras, lights_of_drives(1)[0]).rgba / 255
    return cameras, rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * GREY[scene.background]


def measured(scene: Scene, settings: argparse.Namespace, seed: int) -> dict[str, float]:
    """The figures of a seed."""
    blocks, found = blocks_of(scene, settings.blocks), {}
    parts = [within_block(scene, block) for block in blocks]
    if {"blocks", "exposure"} & {*settings.only}:
        found["PSNR of one, dB"] = psnr(trained(scene, settings.model, settings.steps, seed), scene)
    if "exposure" in settings.only and settings.model == "block-nerf":
        dark = trained(scene, settings.model, settings.steps, seed, exposure_levels=0)
        found["of one, no exposure"] = psnr(dark, scene)
    if "long" in settings.only:
        larger = recipe(settings.model, "small", "hash").model.field.hash_grid.log2_entries
        long = trained(scene, settings.model, settings.steps * settings.blocks, seed,
                       log2_entries=larger + int(np.log2(settings.blocks)))
        found["of one, as long"] = psnr(long, scene)
    count = len(blocks) if "blocks" in settings.only else 2 if "cast" in settings.only else 0
    models = [trained(part, settings.model, settings.steps, seed) for part in parts[:count]]
    if "blocks" in settings.only:
        found |= measured_blocks(blocks, models, parts, scene, settings, seed)
    if "cast" in settings.only:
        found |= measured_cast(blocks, models, parts, scene, settings, seed)
    return found


def measured_blocks(blocks: list[Block], models: list, parts: list[Scene], scene: Scene,
                    settings: argparse.Namespace, seed: int) -> dict[str, float]:
    """The figures of trained blocks."""
    (cameras, exact), found = exact_drive(scene, settings), {}
    known = matched(blocks, models, parts)
    whole = as_one(scene, known, models, parts)
    found["of blocks"] = psnr(whole, scene)
    found["jump of blocks"] = jump(frames_of(whole, scene, cameras), exact)
    whole.nearest_alone = True
    found["of nearest"] = psnr(whole, scene)
    found["jump of nearest"] = jump(frames_of(whole, scene, cameras), exact)
    found["of all that reach"] = psnr(as_one(scene, [replace(each, seen=()) for each in known], models, parts), scene)
    if settings.model == "block-nerf":
        areas = [hidden_areas(model, scene, part, seed) for model, part in zip(models, parts)]
        for what, values in zip(("hidden points", "occluded in the picture"), zip(*areas)):
            found[f"{what}, AUC"] = min(values)
    return found


if __name__ == "__main__":
    main()
