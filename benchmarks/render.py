"""Time of one frame of a trained field, stage by stage.

    python benchmarks/render.py RUN [--size 400 400] [--threads 2]

RUN is the folder of a training run. The frame is the first test view, by both renderers in turn. Stages are those of
the PyTorch path, timed one after the other, each to its end, so that their sum is a little above the time of the frame.
"""

import argparse
import json
import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from taichi_nerf import runtime
from taichi_nerf.devices import machine
from taichi_nerf.metrics import psnr
from taichi_nerf.models.render import select_visible
from taichi_nerf.models.views import render_view
from taichi_nerf.ops.camera import rays_from_pixels
from taichi_nerf.ops.volume_rendering import composite
from taichi_nerf.pictures import to_uint8
from taichi_nerf.training import checkpoint
from taichi_nerf.training.folder import RunFolder
from taichi_nerf.types import Rays

CHUNKS = {"cpu": 8192, "cuda": 2**18}
RENDERERS = ("taichi", "torch")


def both_paths(model, cameras, repeats=5):
    """Seconds of each renderer, the best of several in turn, and what they show."""
    seconds, views = dict.fromkeys(RENDERERS, float("inf")), {}
    for _ in range(repeats + 1):  # the first compiles
        for renderer in RENDERERS:
            start = time.perf_counter()
            views[renderer] = render_view(model, cameras, 0, background=1.0, renderer=renderer)
            seconds[renderer] = min(seconds[renderer], time.perf_counter() - start)
    return seconds, views


@torch.no_grad()
def stages(model, origins, directions) -> tuple[dict[str, float], int, int]:
    """Milliseconds of each stage over all rays, samples marched and samples visible."""
    spent, marched, visible_total = defaultdict(float), 0, 0
    last = time.perf_counter()

    def stage(name, result):
        nonlocal last
        if origins.is_cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        spent[name] += 1e3 * (now - last)
        last = now
        return result

    chunk = CHUNKS[origins.device.type]
    for first in range(0, len(origins), chunk):
        rays = Rays(origins[first : first + chunk].contiguous(), directions[first : first + chunk].contiguous())
        last = time.perf_counter()
        samples = stage("march", model.grid.march(rays, cone_angle=model.cone_angle, near=model.box.near))
        features = stage("encode", model.field.encode(samples.positions))
        density, hidden = stage("density", model.field.decode(features))
        visible, kept = stage("cut", select_visible(samples, density, model.config.sampling.early_stop))
        density, hidden = model.field.density_again(visible.positions, (density, hidden), kept)
        colour = stage("colour", model.field.colour(hidden, rays.directions, ray_index=visible.ray_index))
        stage("composite", composite(density, colour, visible.t, visible.dt, visible.ray_start, visible.ray_count, 0.0))
        marched += len(samples)
        visible_total += len(visible)
    return dict(spent), marched, visible_total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--size", type=int, nargs=2, default=(400, 400), metavar=("W", "H"),
                        help="of the frame in pixels; 400 400 by default")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(),
                        help="processor threads; %(default)s by default")
    parser.add_argument("--backend", default="cpu", help="what the kernels run on; %(default)s by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    runtime.init(arguments.backend, threads=arguments.threads)
    run, model = RunFolder.open(arguments.run), checkpoint.load(arguments.run)
    scene = run.cameras_scene()
    cameras = scene.model_cameras("test").subset([0]).resized(arguments.size)
    seconds, views = both_paths(model, cameras)

    width, height = arguments.size
    v, u = np.indices((height, width), dtype=np.float32) + 0.5
    device = runtime.current().device
    pixel = torch.from_numpy(np.stack([u, v], -1).reshape(-1, 2)).to(device)
    arrays = (cameras.camera_to_world, cameras.focal, cameras.principal, cameras.distortion, cameras.lens)
    index = torch.zeros(len(pixel), dtype=torch.int32, device=device)
    camera = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)
    origins, directions = rays_from_pixels(index, pixel, *camera)
    stages(model, origins, directions)
    spent, marched, visible = stages(model, origins, directions)
    print(f"{width} x {height}, {arguments.backend}, {arguments.threads} threads, {machine()}")
    print(f"taichi {seconds['taichi']:.3f} s a frame, {views['taichi'].samples} samples evaluated; torch "
          f"{seconds['torch']:.3f} s, {seconds['torch'] / seconds['taichi']:.2f} times as long")
    pictures = [to_uint8(views[renderer].colour).astype(np.float64) / 255 for renderer in RENDERERS]
    apart = psnr(*pictures)
    print(f"PSNR between the two 8-bit pictures: {apart:.1f} dB")
    parts = ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in spent.items())
    print(f"torch: {marched} samples marched, {visible} visible; {parts}")
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "size": list(arguments.size), "backend": arguments.backend, "frame_seconds": seconds,
            "samples": {renderer: views[renderer].samples for renderer in RENDERERS},
            "psnr": apart if math.isfinite(apart) else None,
            "stage_milliseconds": spent, "marched": marched, "visible": visible, "machine": machine()}) + "\n")


if __name__ == "__main__":
    main()
