"""Block-NeRF on the built-in street: blocks against one model, and what each of its parts is worth.

    python benchmarks/streets.py [--segments 4] [--blocks 4] [--resolution 100] [--steps 1500] [--seeds 3]

Test views lie between the training views, in the light of the first drive and neutral exposure. For each seed:

    one               one model, so many steps
    one, as long      one model, with as many steps as all blocks together, and a hash table as large as all of theirs
    blocks            a model of each block with the settings and steps of `one`, seen as one
    nearest           the same, each picture by the nearest block alone
    all that reach    the same, without asking what is visible
    no exposure       one model that is told no exposure

The jump is the largest mean difference between neighbouring frames of a drive, less that of the exact pictures. A point
is hidden from a block where no training camera of it sees it; the area under the curve is that of the mean visibility
over directions to its cameras, the smallest over the blocks. Prints a table in Markdown.
"""

import argparse
import json
from dataclasses import replace

import numpy as np
import torch

from taichi_nerf import runtime
from taichi_nerf.config import TrainingConfig, recipe
from taichi_nerf.data.blocks import Block, blocks_of, within_block
from taichi_nerf.data.builtin import builtin_scene, render
from taichi_nerf.data.builtin.moving import surface_points
from taichi_nerf.data.builtin.street import drive_along, lights_of_drives, street
from taichi_nerf.data.scene import Scene
from taichi_nerf.devices import machine
from taichi_nerf.models.views import render_view
from taichi_nerf.training.blocks import BlockOnDisk, as_one, codes_of_neighbours, points_seen
from taichi_nerf.training.evaluate import GREY, evaluate
from taichi_nerf.training.run import fit, make_model

DRIVE = 60  # frames


def trained(scene: Scene, model: str, steps: int, seed: int, **changes):
    """A model of the scene after so many steps."""
    found = recipe(model, "small", "hash")
    table = changes.pop("log2_entries", found.model.field.hash_grid.log2_entries)
    grid = replace(found.model.field.hash_grid, log2_entries=table, max_resolution=1024)
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


def hidden_area(model, scene: Scene, part: Scene, seed: int) -> float:
    """Area under the curve of a block's visibility as a sign that none of its training cameras sees a point."""
    random, split = np.random.default_rng(seed), scene.splits["train"]
    points = [surface_points(split.cameras, n, split.depth[n]).reshape(-1, 3) for n in range(len(split))]
    points = np.concatenate(points)
    points = random.permutation(points[np.isfinite(points).all(axis=1)])[:1000]
    seen = np.zeros(len(points), bool)
    cameras = part.splits["train"].cameras
    for n in range(len(cameras)):
        seen |= sees(cameras, n, part.splits["train"].depth[n], points)
    towards = points[:, None] - cameras.position  # [M, N, 3]
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    inside = torch.from_numpy(scene.to_model(points)).repeat_interleave(len(cameras), dim=0)
    turned = torch.from_numpy((towards.reshape(-1, 3) @ scene.rotation.T).astype(np.float32))
    with torch.no_grad():
        visible = model.visible(inside, turned).view(len(points), -1).amax(dim=1).numpy()
    rank = np.empty(len(points))
    rank[np.argsort(visible)] = np.arange(len(points))
    return float((rank[seen].sum() - seen.sum() * (seen.sum() - 1) / 2) / (seen.sum() * (~seen).sum()))


def sees(cameras, n: int, depth: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[M] bool: whether camera n sees points [M, 3], by its exact depth [H, W]."""
    inside = (points - cameras.camera_to_world[n, :, 3]) @ cameras.camera_to_world[n, :, :3]  # [M, 3] in its axes
    with np.errstate(divide="ignore", invalid="ignore"):
        pixel = cameras.focal[n] * inside[:, :2] * (1, -1) / -inside[:, 2:] + cameras.principal[n]
    within = (inside[:, 2] < 0) & (pixel >= 0).all(axis=1) & (pixel < cameras.size[n]).all(axis=1)
    column, row = np.where(within[:, None], pixel, 0).astype(int).T
    distance = np.linalg.norm(inside, axis=1)
    return within & (distance <= 1.02 * depth[row, column] + 0.01)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=4, choices=(1, 2, 4, 8, 16))
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--resolution", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="block-nerf")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus())
    parser.add_argument("--output", help="JSON file of all figures")
    settings = parser.parse_args()
    runtime.init("cpu", threads=settings.threads)
    name = "street" if settings.segments == 4 else f"street-{settings.segments}"
    scene = builtin_scene(name, resolution=settings.resolution, splits=("train", "test"))
    cameras = drive_along(settings.segments, DRIVE, settings.resolution)
    exact = render(street(settings.segments), cameras, lights_of_drives(1)[0]).rgba / 255
    exact = exact[..., :3] * exact[..., 3:] + (1 - exact[..., 3:]) * GREY[scene.background]
    rows = [measured(scene, cameras, exact, settings, seed) for seed in range(settings.seeds)]
    print(f"{machine()}; {scene.name}, {settings.steps} steps at {settings.resolution} pixels, "
          f"{settings.blocks} blocks\n")
    print("| | " + " | ".join(f"seed {seed}" for seed in range(settings.seeds)) + " |")
    print("|---" * (1 + settings.seeds) + "|")
    for key in rows[0]:
        print(f"| {key} | " + " | ".join(f"{row[key]:.3g}" if key.startswith("jump") else f"{row[key]:.2f}"
                                         for row in rows) + " |")
    if settings.output:
        with open(settings.output, "w") as file:
            json.dump(rows, file, indent=1)


def measured(scene: Scene, cameras, exact: np.ndarray, settings: argparse.Namespace, seed: int) -> dict[str, float]:
    """All figures of a seed."""
    blocks = blocks_of(scene, settings.blocks)
    parts = [within_block(scene, block) for block in blocks]
    one = trained(scene, settings.model, settings.steps, seed)
    found = {"PSNR of one, dB": psnr(one, scene)}
    models = [trained(part, settings.model, settings.steps, seed) for part in parts]
    known = matched(blocks, models, parts)
    whole = as_one(scene, known, models, parts)
    found["of blocks"] = psnr(whole, scene)
    found["jump of blocks"] = jump(frames_of(whole, scene, cameras), exact)
    whole.nearest_alone = True
    found["of nearest"] = psnr(whole, scene)
    found["jump of nearest"] = jump(frames_of(whole, scene, cameras), exact)
    whole.nearest_alone = False
    found["of all that reach"] = psnr(as_one(scene, [replace(each, seen=()) for each in known], models, parts), scene)
    if settings.model == "block-nerf":
        found["hidden points, AUC"] = min(hidden_area(model, scene, part, seed) for model, part in zip(models, parts))
        dark = trained(scene, settings.model, settings.steps, seed, exposure_levels=0)
        found["of one, no exposure"] = psnr(dark, scene)
    larger = recipe(settings.model, "small", "hash").model.field.hash_grid.log2_entries + int(np.log2(settings.blocks))
    long = trained(scene, settings.model, settings.steps * settings.blocks, seed, log2_entries=larger)
    found["of one, as long"] = psnr(long, scene)
    return found


if __name__ == "__main__":
    main()
