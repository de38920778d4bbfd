"""Throughput of the kernels of NeRF, Mip-NeRF and Mip-NeRF 360 beside the PyTorch references.

    python benchmarks/family.py                    1024 rays of 128 intervals, f32
    python benchmarks/family.py --rays 4096 --json

Each operation gets the same inputs as its reference, in the same process, one after the other: forward, and forward +
backward where it has a gradient; the best of several runs counts. What is counted is intervals (or samples) of rays.
No figure of an operation is printed unless its values and gradients match the reference in float64 first.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from taichi_nerf import runtime
from taichi_nerf.devices import machine
from taichi_nerf.ops import (
    camera,
    conical_frustum,
    contraction,
    distortion,
    interval_sampling,
    positional_encoding,
    proposal_loss,
    volume_rendering,
)
from taichi_nerf.reference import camera as camera_reference
from taichi_nerf.reference import conical_frustum as conical_frustum_reference
from taichi_nerf.reference import contraction as contraction_reference
from taichi_nerf.reference import distortion as distortion_reference
from taichi_nerf.reference import interval_sampling as interval_sampling_reference
from taichi_nerf.reference import positional_encoding as positional_encoding_reference
from taichi_nerf.reference import proposal_loss as proposal_loss_reference
from taichi_nerf.reference import volume_rendering as volume_rendering_reference

TOLERANCE = 1e-4  # of float32 kernels, as in the tests


class Contest(NamedTuple):
    """One operation and its reference: functions of the same inputs."""

    name: str
    ours: Callable
    reference: Callable
    inputs: tuple[Tensor, ...]
    differentiable: int
    """How many of the first inputs have a gradient."""


def contests(rays: int, intervals: int) -> list[Contest]:
    """All of them, with inputs as they come in training."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def histogram(count: int) -> tuple[Tensor, Tensor]:
        length = (random(rays, count + 1) + 0.1).cumsum(1)
        weights = random(rays, count) ** 4 + 1e-3
        return (length - length[:, :1]) / (length[:, -1:] - length[:, :1]), weights / weights.sum(1, keepdim=True)

    origins = random(rays, 3) - 0.5
    directions = torch.nn.functional.normalize(random(rays, 3) - 0.5, dim=1)
    forward = directions * torch.tensor([1.0, 1, 0]) - torch.tensor([0.0, 0, 1])
    s, weights = histogram(intervals)
    fenceposts, radius = 2 + 4 * s, random(rays) * 1e-3 + 1e-3
    coarse_s, coarse_weights = histogram(intervals // 2)
    points = (random(rays * intervals, 3) - 0.5) * 4
    wide = (random(rays * intervals, 21) - 0.5) * 4
    moments = conical_frustum_reference.frustum_moments(fenceposts.double(), radius.double())
    moments = [m.float().contiguous() for m in moments]
    basis = torch.from_numpy(contraction.off_axis_basis()).float()
    density, colour = random(rays, intervals) * 2, random(rays, intervals, 3)
    middle = torch.full((rays, 1), 0.5)
    centres = ((torch.arange(intervals) + middle) / intervals).contiguous()
    coarse = coarse_s, coarse_weights
    camera_numbers = (555.0, 555.0), (400, 400)

    return [
        Contest("positional encoding, L = 10", lambda x: positional_encoding.encode_position(x, 10),
                lambda x: positional_encoding_reference.encode(x, 10), (points,), 1),
        Contest("integrated encoding, L = 16",
                lambda x, v: positional_encoding.encode_gaussian(x, v, 16),
                lambda x, v: positional_encoding_reference.encode(x, 16, v, False),
                (points, random(*points.shape) * 1e-3), 2),
        Contest("integrated encoding, 21 x 12", lambda x, v: positional_encoding.encode_gaussian(x, v, 12),
                lambda x, v: positional_encoding_reference.encode(x, 12, v, False),
                (wide, random(*wide.shape) * 1e-3), 2),
        Contest("conical frustums to Gaussians", conical_frustum.frustum_gaussians,
                conical_frustum_reference.frustum_gaussians, (fenceposts, origins, directions, radius), 4),
        Contest("contraction of points", contraction.contract_points, contraction_reference.contract, (points,), 1),
        Contest("contraction of Gaussians, 21", contraction.project_gaussians, contraction_reference.project_gaussians,
                (origins, directions, *moments, basis), 5),
        Contest("inverse CDF", lambda f, w: interval_sampling.sample_histogram(f, w, intervals, padding=0.01),
                lambda f, w: interval_sampling_reference.sample_histogram(f, w, centres.to(f.dtype), 0.01),
                coarse, 0),
        Contest("merge of two sorted lists", interval_sampling.merge_sorted,
                lambda a, b: torch.cat([a, b], dim=1).sort(dim=1)[0], (s, coarse_s), 0),
        Contest("dilation of a histogram", lambda f, w: interval_sampling.dilate_histogram(f, w, 0.01)[1],
                lambda f, w: interval_sampling_reference.dilate_histogram(f, w, 0.01)[1], coarse, 0),
        Contest("blur of a histogram", interval_sampling.blur_weights,
                lambda w: interval_sampling_reference.blur_weights(w, 0.01), (weights,), 0),
        Contest("compositing of dense intervals", volume_rendering.composite_intervals,
                volume_rendering_reference.composite_intervals, (density, colour, fenceposts), 3),
        Contest("weights alone", volume_rendering.interval_weights, volume_rendering_reference.interval_weights,
                (density, fenceposts), 2),
        Contest("distortion loss", distortion.interval_distortion_loss, distortion_reference.interval_distortion_loss,
                (weights, s), 2),
        Contest("proposal loss", lambda q, *x: proposal_loss.proposal_bound_loss(*x, q),
                lambda q, *x: proposal_loss_reference.proposal_bound_loss(*x, q),
                (coarse_weights * 0.5, s, weights, coarse_s), 1),
        Contest("NDC rays (per ray)", lambda o, d: camera.ndc_rays(o, d, *camera_numbers),
                lambda o, d: camera_reference.ndc_rays(o, d, *camera_numbers), (origins, forward), 2),
    ]


def outputs_of(function: Callable, inputs) -> list[Tensor]:
    result = function(*inputs)
    return [result] if isinstance(result, Tensor) else list(result)


def run_both(function: Callable, inputs, differentiable: int) -> tuple[list[Tensor], list[Tensor]]:
    """Values, and gradients of the sum of their products with cosines of 0, 1, 2, .. (1, 2, .. for the second)."""
    leaves = [x.detach().requires_grad_(n < differentiable) for n, x in enumerate(inputs)]
    outputs = outputs_of(function, leaves)
    if not differentiable:
        return outputs, []
    cotangents = [(n + torch.arange(y.numel(), dtype=y.dtype)).cos().view(y.shape) for n, y in enumerate(outputs)]
    return outputs, list(torch.autograd.grad(outputs, leaves[:differentiable], cotangents))


def check(contest: Contest):
    """Stop if the operation does not equal its reference in float64."""
    found = run_both(contest.ours, contest.inputs, contest.differentiable)
    exact = run_both(contest.reference, [x.double() for x in contest.inputs], contest.differentiable)
    for kind, values, wanted in zip(("value", "gradient"), found, exact):
        for value, expected in zip(values, wanted):
            error = ((value - expected).abs().max() / expected.abs().max()).item()
            if not error < TOLERANCE:
                sys.exit(f"{contest.name}: a {kind} is wrong by {error:.2g}: no speed is worth printing")


def fastest(work: Callable[[], object], seconds: float = 0.4) -> float:
    """The shortest time of `work`, of at least five runs and as many as fit in `seconds`."""
    work()  # compiles
    times = []
    while len(times) < 5 or (sum(times) < seconds and len(times) < 200):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def speeds(function: Callable, contest: Contest, count: int) -> dict[str, float]:
    """Millions of intervals a second, forward alone and with the backward pass."""
    leaves = [x.detach().requires_grad_(n < contest.differentiable) for n, x in enumerate(contest.inputs)]
    cotangents = [torch.ones_like(y) for y in outputs_of(function, contest.inputs)]

    def forward():
        with torch.no_grad():
            function(*contest.inputs)

    def both():
        torch.autograd.grad(outputs_of(function, leaves), leaves[:contest.differentiable], cotangents)

    works = {"forward": forward} | ({"forward_backward": both} if contest.differentiable else {})
    return {kind: count / fastest(work) / 1e6 for kind, work in works.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rays", type=int, default=1024, help="of a batch; %(default)s by default")
    parser.add_argument("--intervals", type=int, default=128, help="of each ray; %(default)s by default")
    parser.add_argument("--threads", type=int, default=runtime.usable_cpus(),
                        help="processor threads; %(default)s by default")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object, and nothing else")
    arguments = parser.parse_args()
    runtime.init("cpu", threads=arguments.threads)
    small = contests(64, arguments.intervals)
    result = {"machine": machine(), "threads": arguments.threads, "rays": arguments.rays,
              "intervals": arguments.intervals, "throughput": {}}
    if not arguments.json:
        print(f"{arguments.rays} rays x {arguments.intervals}, {arguments.threads} threads, {machine()}; "
              "millions of intervals a second, forward and with the backward pass")
    for few, contest in zip(small, contests(arguments.rays, arguments.intervals)):
        if arguments.only not in contest.name:
            continue
        check(few)
        count = arguments.rays * (1 if "per ray" in contest.name else arguments.intervals)
        own, reference = (speeds(f, contest, count) for f in (contest.ours, contest.reference))
        result["throughput"][contest.name] = {"taichi-nerf": own, "PyTorch reference": reference}
        if not arguments.json:
            parts = [f"{own[k]:8.2f} vs {reference[k]:7.2f} = {own[k] / reference[k]:5.1f}x" for k in own]
            print(f"{contest.name:32} {'   '.join(parts)}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
