"""Where the time of a training step goes, on a CUDA device or on a CPU.

    python benchmarks/step.py --data DIR              DIR holds nerf_synthetic/lego; without it the built-in scene
    python benchmarks/step.py --data DIR --backend cpu --downscale 2 --settle 20 --steps 200

Instant-NGP with the defaults of the backend is trained for some seconds, then some steps are timed, and some more are
profiled. On a CUDA device, for every kernel: microseconds a step and launches a step; and for those whose arrays are
known here the floor, every array read or written once, over the bandwidth of a copy that is timed in the same process.
Gathers and atomic sums of the hash grid count as its whole table once, which no cache achieves. On a CPU: the same
for every call of a kernel and of a network, with what Python and the threads need to begin it.
"""

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from pathlib import Path

import taichi_nerf
from taichi_nerf import runtime
from taichi_nerf.checks import measure
from taichi_nerf.config import TrainingConfig, recipe
from taichi_nerf.devices import machine
from taichi_nerf.training.run import make_model, train, warm_up
from taichi_nerf.training.trainer import Trainer, trainer_for
from taichi_nerf_kernels import launch

WORD = 4  # bytes
NAME = re.compile(r"(.*?)_c\d+_\d+_kernel_\d+_\w+")  # of a kernel of Taichi in a profile


def floors(trainer: Trainer, rays: float, marched: float, samples: float) -> dict[str, float]:
    """Bytes that the kernels of a step must move, by name."""
    layout, room = trainer.model.field.layout, trainer.taker.samples_room
    encoded, entries = layout.outputs, layout.entries
    table = entries * layout.features * WORD
    return {
        "encode_samples": WORD * marched * (3 + encoded) + table,
        "splat_samples": WORD * samples * (3 + encoded) + 2 * table,
        "adam_step": 4 * table + 3 * table + 2 * WORD * entries,
        "gather_visible": 2 * WORD * samples * (3 + 1 + encoded) + WORD * samples,
        "_fill_samples": WORD * marched * (3 + 1 + 1 + 1),
        "_march_count": WORD * rays * (3 + 3 + 1 + 8),
        "forward": WORD * marched * (encoded + 1),
        "differentiate_rays": WORD * samples * (1 + 3 + 1 + 3 + 3 + 1 + 1),
        "count_visible_rays": WORD * marched * 2,
        "columns_in_use": (WORD + 2) * room * (encoded + 32 + 3 + 16),
    }


def profiled(trainer: Trainer, steps: int) -> dict[str, list[float]]:
    """Kernel -> [launches, seconds] of `steps` steps on a CUDA device."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        for _ in range(steps):
            trainer.step()
        torch.cuda.synchronize()
    found = defaultdict(lambda: [0, 0.0])
    for event in recorded.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            name = NAME.sub(r"\1", event.name)
            found[name][0] += 1
            found[name][1] += event.device_time * 1e-6
    return found


def timed_calls(trainer: Trainer, steps: int) -> dict[str, list[float]]:
    """Kernel or method of a network -> [calls, seconds] of `steps` steps on a CPU. What one of them calls is counted as
    its own."""
    found, inside = defaultdict(lambda: [0, 0.0]), []

    def timed(name, function):
        def call(*arguments):
            inside.append(name)
            start = time.perf_counter()
            function(*arguments)
            seconds = time.perf_counter() - start
            inside.pop()
            if not inside:
                found[name][0] += 1
                found[name][1] += seconds

        return call

    def launched(kernel, *arguments):
        timed(f"{kernel.__module__.partition('.')[2]}: {kernel.__name__}", launch_kernel)(kernel, *arguments)

    launch_kernel, launch._Launcher.__call__ = launch._Launcher.__call__, launched
    for name, network in (("density", trainer.taker.density_network), ("colour", trainer.taker.colour_network)):
        for method in ("forward", "first_output", "backward"):
            setattr(network, method, timed(f"{name} network: {method}", getattr(network, method)))
    for _ in range(steps):
        trainer.step()
    launch._Launcher.__call__ = launch_kernel
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the scenes; without it the built-in scene")
    parser.add_argument("--backend", choices=("cuda", "cpu"), default="cuda",
                        help="what the kernels run on; %(default)s by default")
    parser.add_argument("--downscale", type=int, default=1, help="images so many times smaller; %(default)s by default")
    parser.add_argument("--settle", type=float, default=5.0, metavar="S", help="seconds of training before")
    parser.add_argument("--steps", type=int, default=32,
                        help="that are timed, and again as many that are profiled; %(default)s by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    if missing := runtime.why_missing(arguments.backend):
        sys.exit(f"no {arguments.backend} device: {missing}")
    runtime.init(arguments.backend)
    scene = taichi_nerf.builtin_scene()
    if arguments.data:
        scene = taichi_nerf.load_scene(arguments.data / "nerf_synthetic/lego", downscale=arguments.downscale)
    on_cpu = arguments.backend == "cpu"
    settings = recipe(preset="small" if on_cpu else "paper")
    config = TrainingConfig(seconds=arguments.settle, batch=settings.batch, optimiser=settings.optimiser,
                            gradients="explicit")
    trainer = trainer_for(make_model(scene, settings.model), scene, config)
    warm_up(trainer)
    train(trainer)
    before, steps = trainer.totals(), trainer.steps_done
    start = time.perf_counter()
    for _ in range(arguments.steps):
        trainer.step()
    host = time.perf_counter() - start
    did = trainer.totals() - before
    seconds = time.perf_counter() - start
    kernels = (timed_calls if on_cpu else profiled)(trainer, arguments.steps)

    copied = measure.limits(0.2)["copy_bytes_per_second"]
    rays, marched, samples = (count / arguments.steps for count in (did.rays, did.marched, did.samples))
    bound = {} if on_cpu else floors(trainer, rays, marched, samples)
    total = sum(seconds for _, seconds in kernels.values()) / arguments.steps
    rows = [{"kernel": name, "seconds": spent / arguments.steps, "launches": launches / arguments.steps,
             "floor_seconds": bound[name] / copied if name in bound else None}
            for name, (launches, spent) in sorted(kernels.items(), key=lambda item: -item[1][1])]
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "steps": steps, "rays": rays, "marched": marched, "samples": samples,
            "samples_per_second": did.samples / seconds, "step_seconds": seconds / arguments.steps,
            "host_seconds": host / arguments.steps, "kernel_seconds": total, "copy_bytes_per_second": copied,
            "machine": machine(), "kernels": rows}) + "\n")
    print(f"after {steps} steps: {rays:.0f} rays, {marched:.0f} marched and {samples:.0f} visible samples a step, "
          f"{did.samples / seconds / 1e6:.2f} M visible samples a second")
    print(f"a step {1e3 * seconds / arguments.steps:.2f} ms; the host needs {1e3 * host / arguments.steps:.2f} ms, "
          f"its kernels {1e3 * total:.2f} ms; a copy {copied / 1e9:.0f} GB/s; {machine()}")
    print("| kernel | us a step | launches | floor, us | floor / time |\n|---|---|---|---|---|")
    for row in rows[:24]:
        microseconds, floor = 1e6 * row["seconds"], row["floor_seconds"]
        columns = ("", "") if floor is None else (f"{1e6 * floor:.0f}", f"{1e6 * floor / microseconds:.2f}")
        print(f"| {row['kernel'][:60]} | {microseconds:.0f} | {row['launches']:.1f} | {columns[0]} | {columns[1]} |")


if __name__ == "__main__":
    main()
