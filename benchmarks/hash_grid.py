"""Throughput of the hash grid, forward and forward + backward, beside the peers that are installed.

    python benchmarks/hash_grid.py                 16 levels x 2, 2^19 entries, 2^17 points along rays, f32
    python benchmarks/hash_grid.py --json

Every encoder gets the same points in the same process, one after the other, in turns. Peers: `drjit`
(pip install drjit; LLVM backend), nerfstudio's PyTorch fallback, and this project's own PyTorch reference. No figure is
printed unless our value and gradient match the reference first.
"""

import argparse
import json
import math
import sys

import numpy as np
from _measure import seconds_of

from taichi_nerf import runtime
from taichi_nerf.devices import machine

GRID = dict(levels=16, features=2, log2_entries=19, base_resolution=16, max_resolution=2048)


def points_along_rays(count: int, seed: int = 0) -> np.ndarray:
    """[count, 3] float32 in the unit cube: 128 neighbouring samples, sqrt(3) / 1024 apart, on each ray."""
    rng = np.random.default_rng(seed)
    origins, directions = rng.random((count // 128, 1, 3)), rng.normal(size=(count // 128, 1, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    t = (np.arange(128) - 63.5) * math.sqrt(3) / 1024
    return (origins + t[None, :, None] * directions).clip(0, 1).reshape(-1, 3).astype(np.float32)


def ours(points: np.ndarray):
    """Forward, forward + backward of the kernels, on preallocated arrays; and their check."""
    import torch

    from taichi_nerf.reference.hash_grid import hash_grid_encode
    from taichi_nerf_kernels import hash_grid as kernel

    layout = kernel.hash_grid_layout(**GRID)
    levels, scales = torch.from_numpy(layout.levels), torch.from_numpy(layout.scales).float()
    x = torch.from_numpy(points)
    table = torch.from_numpy(np.zeros((layout.entries, layout.features), np.float32)).uniform_(-1e-4, 1e-4)
    table_gradient = torch.from_numpy(np.zeros_like(table.numpy()))
    y = torch.from_numpy(np.zeros((layout.outputs, len(x)), np.float32))

    def forward():
        kernel.hash_grid_forward(x, table.view(-1), levels, scales, y, layout.features)

    def both():
        forward()
        kernel.hash_grid_backward_table(x, y, levels, scales, table_gradient.view(-1), layout.features)

    few = x[:1000].contiguous()
    expected_table = table.double().requires_grad_()
    shape = {key: value for key, value in GRID.items() if key != "features"}
    expected = hash_grid_encode(few.double(), expected_table, **shape)
    expected.backward(expected.detach())
    actual, gradient = torch.empty(layout.outputs, len(few)), torch.zeros_like(table)
    kernel.hash_grid_forward(few, table.view(-1), levels, scales, actual, layout.features)
    kernel.hash_grid_backward_table(few, actual, levels, scales, gradient.view(-1), layout.features)
    for name, value, wanted in (("value", actual.t(), expected), ("gradient", gradient, expected_table.grad)):
        error = ((value - wanted).abs().max() / wanted.abs().max()).item()
        if not error < 1e-3:
            sys.exit(f"the {name} is wrong by {error:.2g}: no speed is worth printing")
    return forward, both


def drjit(points: np.ndarray):
    import torch

    from taichi_nerf.checks.peers import drjit_hash_grid

    return drjit_hash_grid(torch.from_numpy(points), **GRID)


def pytorch_reference(points: np.ndarray):
    import torch

    from taichi_nerf.reference.hash_grid import hash_grid_encode

    shape = {key: value for key, value in GRID.items() if key != "features"}
    from taichi_nerf.ops.hash_grid import hash_grid_layout

    table = torch.rand(hash_grid_layout(**GRID).entries, GRID["features"]).mul_(1e-4).requires_grad_()
    return _autograd(lambda x: hash_grid_encode(x, table, **shape), table, torch.from_numpy(points))


def nerfstudio_fallback(points: np.ndarray):
    import torch
    from nerfstudio.field_components.encodings import HashEncoding

    encoder = HashEncoding(num_levels=GRID["levels"], min_res=GRID["base_resolution"], max_res=GRID["max_resolution"],
                           log2_hashmap_size=GRID["log2_entries"], features_per_level=GRID["features"],
                           implementation="torch")
    return _autograd(encoder, encoder.hash_table, torch.from_numpy(points))


def _autograd(encode, table, x):
    import torch

    def forward():
        with torch.no_grad():
            encode(x)

    def both():
        table.grad = None
        y = encode(x)
        y.backward(y.detach())

    return forward, both


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=2**17, help="a multiple of 128")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(),
                        help="processor threads; %(default)s by default")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object, and nothing else")
    arguments = parser.parse_args()
    runtime.init("cpu", threads=arguments.threads)
    points = points_along_rays(arguments.points)
    few = points[: 2**14]  # the PyTorch versions need gigabytes for more
    contestants = {"taichi-nerf": (lambda: ours(points), points, 7),
                   "Dr.Jit": (lambda: drjit(points), points, 7),
                   "PyTorch reference": (lambda: pytorch_reference(few), few, 2),
                   "nerfstudio fallback": (lambda: nerfstudio_fallback(few), few, 2)}
    result = {"machine": machine(), "threads": arguments.threads, "points": arguments.points, "throughput": {}}
    for name, (prepare, used, repeats) in contestants.items():
        try:
            forward, both = prepare()
        except ImportError as missing:
            print(f"{name}: left out, {missing}", file=sys.stderr)
            continue
        speeds = [len(used) / seconds_of(work, repeats) / 1e6 for work in (forward, both)]
        result["throughput"][name] = dict(zip(("forward", "forward_backward"), speeds))
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"hash grid 16 x 2, 2^19 entries, {arguments.points} points, {arguments.threads} threads, {machine()}")
    own = result["throughput"]["taichi-nerf"]
    for name, speed in result["throughput"].items():
        ratios = ", ".join(f"{own[kind] / speed[kind]:.2f}x" for kind in speed)
        print(f"{name:20} forward {speed['forward']:7.3f} M/s, forward + backward {speed['forward_backward']:7.3f} M/s"
              f"   taichi-nerf is {ratios} as fast")


if __name__ == "__main__":
    main()
