"""Time of one frame of a trained field, stage by stage.

    python benchmarks/render.py RUN [--size 400 400] [--threads 2]

RUN is the folder of a training run. The frame is the first test view, by both renderers in turn. Stages are those of
the PyTorch path: the march, then passes in each of which the rays that go on take their next samples. Each is timed to
its end, so that their sum is a little above the time of the frame; `other` is the choice of samples, and the
compositing. The floor of a stage is that of its arrays, read or written once, over the bandwidth of a copy, or of the
products of its network over the speed of one large product in single precision, both timed in the same process; where
networks are computed in half precision they may be below it.
"""

import argparse
import json
import math
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from taichi_nerf import runtime
from taichi_nerf.checks import measure
from taichi_nerf.devices import machine
from taichi_nerf.metrics import psnr
from taichi_nerf.models.views import render_view
from taichi_nerf.ops.camera import rays_from_pixels
from taichi_nerf.ops.conical_frustum import cone_radii
from taichi_nerf.pictures import to_uint8
from taichi_nerf.training import checkpoint
from taichi_nerf.training.folder import RunFolder
from taichi_nerf.types import Rays

CHUNKS = {"cpu": 2**14, "cuda": 2**18}
RENDERERS = ("taichi", "torch")
WORD = 4  # bytes


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
def stages(model, rays: Rays) -> tuple[dict[str, float], dict[str, int]]:
    """Milliseconds of each stage over all rays; and how many samples were marched, evaluated and visible, in how many
    passes."""
    spent, counts = defaultdict(float), dict.fromkeys(("marched", "evaluated", "visible", "passes"), 0)

    def now():
        if rays.origins.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(name, function):
        def call(*arguments, **named):
            start = now()
            result = function(*arguments, **named)
            spent[name] += 1e3 * (now() - start)
            counts["marched"] += len(result) if name == "march" else 0
            if name == "density":
                counts["evaluated"] += len(result[0])
                counts["passes"] += 1
            return result

        return call

    begun = now()
    with ExitStack() as stack:
        for name, (owner, method) in {"march": (model.grid, "march"), "encode": (model.field, "encode"),
                                      "density": (model.field, "decode"), "colour": (model.field, "colour")}.items():
            stack.enter_context(mock.patch.object(owner, method, timed(name, getattr(owner, method))))
        chunk = CHUNKS[rays.origins.device.type]
        for first in range(0, len(rays), chunk):
            counts["visible"] += model.render(rays[first : first + chunk]).visible
    spent["other"] = 1e3 * (now() - begun) - sum(spent.values())
    return dict(spent), counts


def floors(model, rays: int, counts: dict[str, int]) -> dict[str, float]:
    """Milliseconds that the stages must take."""
    limits = measure.limits(0.2)
    field = model.field
    encoded, table = field.layout.outputs, WORD * field.layout.entries * field.layout.features
    weights = {name: sum(weight.numel() for weight in network.weights)
               for name, network in (("density", field.density_network), ("colour", field.colour_network))}
    moved = {"march": WORD * (6 * rays + 6 * counts["marched"]),
             "encode": WORD * counts["evaluated"] * (3 + encoded) + table}
    multiplied = {"density": 2 * weights["density"] * counts["evaluated"],
                  "colour": 2 * weights["colour"] * counts["visible"]}
    return ({name: 1e3 * size / limits["copy_bytes_per_second"] for name, size in moved.items()}
            | {name: 1e3 * size / limits["product_operations_per_second"] for name, size in multiplied.items()})


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
    camera = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays]
    radius = cone_radii(index, pixel, *camera[1:]) if model.sees_cones else None
    rays = Rays(*rays_from_pixels(index, pixel, *camera), radius)
    stages(model, rays)
    spent, counts = stages(model, rays)
    least = floors(model, len(rays), counts)
    print(f"{width} x {height}, {arguments.backend}, {arguments.threads} threads, {machine()}")
    print(f"taichi {seconds['taichi']:.3f} s a frame, {views['taichi'].samples} samples evaluated; torch "
          f"{seconds['torch']:.3f} s, {seconds['torch'] / seconds['taichi']:.2f} times as long")
    pictures = [to_uint8(views[renderer].colour).astype(np.float64) / 255 for renderer in RENDERERS]
    apart = psnr(*pictures)
    print(f"PSNR between the two 8-bit pictures: {apart:.1f} dB")
    print("torch: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    for name, milliseconds in spent.items():
        floor = f", floor {least[name]:.1f} ms" if name in least else ""
        print(f"  {name:8} {milliseconds:7.1f} ms{floor}")
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "size": list(arguments.size), "backend": arguments.backend, "frame_seconds": seconds,
            "samples": {renderer: views[renderer].samples for renderer in RENDERERS},
            "psnr": apart if math.isfinite(apart) else None,
            "stage_milliseconds": spent, "floor_milliseconds": least, **counts, "machine": machine()}) + "\n")


if __name__ == "__main__":
    main()
