"""Time of one frame of an octree.

    python benchmarks/octree.py [TREE] [--size 400 400] [--depth 8] [--degree 3] [--threads 2]

TREE is an npz file of svox, or the folder of a run whose model is an octree. Without it a crumpled shell is made, which
at depth 8 has as many leaves as the excavator of Blender's scenes, about 300,000. The camera is that of these scenes:
it looks from a distance of 3.1 radii of the box at its middle, under 40 degrees. What is timed is all rays of the frame
in one launch, and the step that trains the tree further on 4,096 rays.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from _measure import seconds_of

from taichi_nerf import runtime
from taichi_nerf.config import PlenOctreeConfig
from taichi_nerf.data.svox import read_svox
from taichi_nerf.devices import machine
from taichi_nerf.models.model import Box
from taichi_nerf.models.plenoctree import PlenOctree
from taichi_nerf.ops.camera import rays_from_pixels
from taichi_nerf.ops.field_rendering import tile_order
from taichi_nerf.ops.octree import descend, insert_points, root_of
from taichi_nerf.training import checkpoint
from taichi_nerf.types import Rays, Seeds, Standing

DISTANCE, FIELD_OF_VIEW, OPAQUE = 3.1, 0.69, 400.0  # radii; radians; optical thickness of a side of the box
FRAMES = 20
TRAINED = 4096  # rays of a step


def crumpled_shell(depth: int, degree: int) -> PlenOctree:
    """A crumpled sphere of leaves of the greatest depth; all else is empty."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(5 * 4**depth, 3, generator=rng), dim=1)
    waves = torch.sin(9 * directions[:, :1]) * torch.sin(7 * directions[:, 1:2])
    points = 0.5 + (0.27 + 0.13 * waves) * directions
    tree, _ = insert_points(root_of(), points, depth)
    density = torch.zeros(tree.cells)
    density[descend(tree, points)[0].long()] = OPAQUE
    coefficients = torch.randn(tree.cells, 3 * degree**2, generator=rng)
    return PlenOctree.of_tree(PlenOctreeConfig(degree=degree), Box(), tree, density, coefficients)


def model_of(path: Path | None, depth: int, degree: int) -> PlenOctree:
    if path is None:
        return crumpled_shell(depth, degree)
    if path.suffix == ".npz":
        return PlenOctree.of_svox(read_svox(path), Box())
    return checkpoint.load(path)


def frame_rays(model: PlenOctree, size: tuple[int, int]) -> Rays:
    """Of one camera, tile by tile."""
    (width, height), device = size, model.field.child.device
    elevation, turn = math.radians(30), math.radians(40)
    down = torch.tensor([[1, 0, 0], [0, math.cos(elevation), -math.sin(elevation)],
                         [0, math.sin(elevation), math.cos(elevation)]])
    around = torch.tensor([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
    rotation = around @ down.T
    reach = DISTANCE * max(model.config.radius)
    pose = torch.cat([rotation, torch.tensor(model.config.centre)[:, None] + reach * rotation[:, 2:]], dim=1)
    order = torch.from_numpy(tile_order(width, height))
    pixel = torch.stack([order % width, order.div(width, rounding_mode="floor")], dim=1).float() + 0.5
    focal = 0.5 * width / math.tan(0.5 * FIELD_OF_VIEW)
    camera = [pose[None], torch.tensor([[focal, focal]]), torch.tensor([[width / 2, height / 2]]), torch.zeros(1, 6),
              torch.zeros(1, dtype=torch.int32)]
    return Rays(*rays_from_pixels(torch.zeros(len(pixel), dtype=torch.int32, device=device), pixel.to(device),
                                  *(x.to(device) for x in camera)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path, nargs="?", metavar="TREE",
                        help="npz file of svox, or the folder of an octree's run; by default one is made")
    parser.add_argument("--size", type=int, nargs=2, default=(400, 400), metavar=("W", "H"),
                        help="of the frame in pixels; 400 400 by default")
    parser.add_argument("--depth", type=int, default=8, help="of the tree that is made; %(default)s by default")
    parser.add_argument("--degree", type=int, default=3, help="of its harmonics; %(default)s by default")
    parser.add_argument("--threads", type=int, help="processor threads; by default as many as this process may use")
    parser.add_argument("--backend", default="auto", help="what the kernels run on; %(default)s by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    here = runtime.init(options.backend, threads=options.threads)
    model = model_of(options.tree, options.depth, options.degree).to(here.device)
    tree, rays = model.field.tree, frame_rays(model, options.size)
    full = int((model.field.cell_density[tree.leaves] > model.config.skip).sum())
    print(f"{machine()}, {here.backend}, {here.threads} threads: {len(tree.leaves)} leaves, {full} of them not empty, "
          f"depth {tree.depth}, {model.field.coefficients.shape[1]} numbers of colour")

    launch = model.one_launch()

    def frame():
        result = launch(rays)
        result[0].sum().item()  # waits for the device
        return result

    _, opacity, _, leaves = frame()
    busy = time.process_time()
    seconds = seconds_of(frame, repeats=FRAMES)
    busy = (time.process_time() - busy) / (FRAMES + 2)
    print(f"{options.size[0]} x {options.size[1]}: {1e3 * seconds:.1f} ms a frame ({1e3 * busy:.1f} ms of all "
          f"processors), {leaves.float().mean():.1f} full leaves a ray, {100 * (opacity > 0.01).float().mean():.0f} % "
          "of the rays meet something")

    some = rays[torch.randperm(len(rays))[:TRAINED].to(here.device)]
    standing = Standing(step=0, progress=0.0, seeds=Seeds(0, 0, 0))
    step = seconds_of(lambda: model.render(some, standing).colour.square().mean().backward())
    print(f"forward and backward of {len(some)} rays: {1e3 * step:.1f} ms")
    if options.json:
        options.json.write_text(json.dumps({
            "size": list(options.size), "backend": here.backend, "frame_seconds": seconds, "leaves": len(tree.leaves),
            "full_leaves": full, "full_leaves_a_ray": float(leaves.float().mean()), "step_seconds": step,
            "machine": machine()}) + "\n")


if __name__ == "__main__":
    main()
