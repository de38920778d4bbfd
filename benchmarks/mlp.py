"""Throughput of the fused networks beside PyTorch, forward and forward + backward.

    python benchmarks/mlp.py                       the networks of Instant-NGP, 2,048 to 131,072 samples, f32
    python benchmarks/mlp.py --samples 8192 --backend vulkan --json

Rivals: PyTorch's matrix products in f32, and in bf16 where the device has units for it (or with --bf16). No figure is
printed unless value and gradients match the float64 reference first.
"""

import argparse
import json
import sys
from functools import partial
from itertools import pairwise

import torch
from _measure import seconds_of

from taichi_nerf import runtime
from taichi_nerf.devices import machine
from taichi_nerf.fields import mlp as field
from taichi_nerf.ops.mlp import fused_mlp
from taichi_nerf.reference import mlp as reference

NETWORKS = {"density": (32, 64, 16), "colour": (32, 64, 64, 3)}


def network(sizes: tuple[int, ...], device: torch.device) -> field.MLP:
    """A network of these sizes, whose hidden layers are alike."""
    random = torch.Generator().manual_seed(0)
    return field.MLP(sizes[0], sizes[-1], width=sizes[1], hidden_layers=len(sizes) - 2, generator=random).to(device)


def check(made: field.MLP, sizes: tuple[int, ...], device: torch.device):
    """Ends the program if a value or a gradient of the kernels is wrong."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(sizes[0], 1000, generator=random).to(device).requires_grad_()
    cotangent = torch.randn(sizes[-1], 1000, generator=random).to(device)
    exact = [leaf.detach().double().cpu().requires_grad_() for leaf in (x, *made.weights)]
    actual, expected = fused_mlp(x, list(made.weights)), reference.mlp(exact[0], exact[1:])
    gradients = torch.autograd.grad(actual, [x, *made.weights], cotangent)
    wanted = torch.autograd.grad(expected, exact, cotangent.double().cpu())
    names = ["value", "input gradient", *(f"weight gradient {i}" for i in range(len(made.weights)))]
    for name, got, right in zip(names, (actual, *gradients), (expected, *wanted), strict=True):
        error = ((got.double().cpu() - right).abs().max() / right.abs().max()).item()
        if not error < 1e-4:
            sys.exit(f"{sizes}: the {name} is wrong by {error:.2g}: no speed is worth printing")


def timed(compute, x: torch.Tensor, repeats: int) -> dict[str, float]:
    """Millions of samples a second."""

    def finished():
        if x.device.type == "cuda":
            torch.cuda.synchronize()

    def forward():
        with torch.no_grad():
            compute(x)
        finished()

    def both():
        y = compute(x)
        y.backward(y.detach())
        finished()

    return {name: x.shape[1] / seconds_of(work, repeats) / 1e6
            for name, work in (("forward", forward), ("forward_backward", both))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[2048, 8192, 32768, 131072],
                        help="numbers of samples; by default 2048 8192 32768 131072")
    parser.add_argument("--backend", default="cpu", choices=runtime.BACKENDS,
                        help="what the kernels run on; %(default)s by default")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(),
                        help="processor threads; %(default)s by default")
    parser.add_argument("--repeats", type=int, default=7,
                        help="of each call, of which the best counts; %(default)s by default")
    parser.add_argument("--bf16", action="store_true", help="PyTorch in bf16 even where it is slow")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object, and nothing else")
    arguments = parser.parse_args()
    started = runtime.init(arguments.backend, threads=arguments.threads)
    bf16 = arguments.bf16 or field.fastest_precision(started.device) == torch.bfloat16
    rows = []
    for name, sizes in NETWORKS.items():
        made = network(sizes, started.device)
        check(made, sizes, started.device)
        operations = 2 * sum(a * b for a, b in pairwise(sizes))  # of a sample, forward
        contestants = {"fused": (partial(fused_mlp, weights=list(made.weights)), torch.float32),
                       "torch f32": (made.in_torch, torch.float32),
                       **({"torch bf16": (made.in_torch, torch.bfloat16)} if bf16 else {})}
        for samples in arguments.samples:
            x = torch.randn(sizes[0], samples, device=started.device).requires_grad_()
            for contestant, (compute, precision) in contestants.items():
                field.fastest_precision = lambda device, precision=precision: precision
                speed = timed(compute, x, arguments.repeats)
                rows.append({"network": name, "samples": samples, "implementation": contestant, **speed,
                             "forward_gflops": speed["forward"] * operations / 1e3,
                             "forward_backward_gflops": speed["forward_backward"] * 3 * operations / 1e3})
    if arguments.json:
        print(json.dumps({"machine": machine(), "backend": started.backend, "threads": started.threads, "rows": rows}))
        return
    print(f"fused networks on {started.backend}, {started.threads} threads, {machine()}")
    for row in rows:
        print(f"{row['network']:8} {row['samples']:7} {row['implementation']:10} "
              f"forward {row['forward']:7.2f} M/s ({row['forward_gflops']:6.1f} GFLOP/s), forward + backward "
              f"{row['forward_backward']:7.2f} M/s ({row['forward_backward_gflops']:6.1f} GFLOP/s)")


if __name__ == "__main__":
    main()
