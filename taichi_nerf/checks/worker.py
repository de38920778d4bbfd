"""One backend in a process of its own: `python -m taichi_nerf.checks.worker TASK`, where TASK is JSON.

Results go to stdout as they come, a JSON object a line, so that a driver that crashes takes nothing back. What drivers
themselves print goes to stderr.

    {"kind": "missing", "reason"}                            the end: the backend does not work here
    {"kind": "device", "devices", "versions", "notes"}
    {"kind": "limits", ..}, {"kind": "launch", ..}           of a benchmark
    {"kind": "check", "kernel", "passed", "errors", ..}      one for each kernel
    {"kind": "speed", "kernel", "forward", "both", "peers"}  after its check, if it passed
    {"kind": "training", ..}                                 of a benchmark, if all passed
"""

import json
import os
import platform
import sys
import time

import torch

from taichi_nerf_kernels import engine

from .. import devices, runtime
from ..data.builtin import builtin_scene
from ..timing import best_seconds
from ..training.run import default_training, make_model, warm_up
from ..training.trainer import trainer_for
from . import measure
from .cases import CASES, Case, Work

LIMIT_SECONDS = 0.3  # of the copy and of the product
SHARE_OF_KERNELS = 0.6  # of the budget; the training step has the rest
PEER_SHARE = 0.25  # of a kernel's time, for each peer


def main():
    """Do the task in the arguments."""
    task = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(kind: str, **content):
        print(json.dumps({"kind": kind, **content}), file=out, flush=True)

    reason = runtime.why_missing(task["backend"])
    if reason is not None:
        tell("missing", reason=reason)
        return
    running = runtime.init(task["backend"], threads=task["threads"])
    found, notes = describe(running.backend)
    tell("device", devices=found, notes=notes, threads=running.threads, versions={
        "Python": platform.python_version(), "PyTorch": torch.__version__, "engine": engine.version()})
    names = task["kernels"] or list(CASES)
    if task["seconds"] is None:
        check_all(names, tell)
    else:
        benchmark(names, task["seconds"], task["training"], tell)


def describe(backend: str) -> tuple[list[dict], list[str]]:
    """Names and memory of the backend's devices, and what to know about them."""
    if backend == "cpu":
        return [{"name": devices.machine(), "memory": devices.memory()}], []
    if backend == "cuda":
        properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [{"name": p.name, "memory": p.total_memory} for p in properties], []
    found = devices.vulkan_devices()
    return [{"name": d.name, "memory": d.memory} for d in found], runtime.vulkan_notes(found)


def check_all(names: list[str], tell) -> dict[str, bool]:
    """Check the kernels `names`; returns which passed."""
    return {name: _checked(name, tell) for name in names}


def _checked(name: str, tell) -> bool:
    try:
        result = measure.check(CASES[name])
    except Exception as error:  # a kernel that does not compile here is a line in the table
        sentence = f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else ''}"
        tell("check", kernel=name, passed=False, error=sentence)
        return False
    tell("check", kernel=name, passed=result.passed, errors=result.errors, worst=result.worst,
         tolerance=result.tolerance, seconds=result.seconds)
    return result.passed


def benchmark(names: list[str], seconds: float, training: bool, tell):
    """Check and time the kernels `names`, then training steps, in about `seconds` besides compiling and checking."""
    machine = measure.limits(LIMIT_SECONDS)
    tell("limits", **machine)
    tell("launch", **measure.launch_overhead())
    budget = (SHARE_OF_KERNELS if training else 1.0) * seconds / len(names)
    passed = [_checked(name, tell) and _timed(name, budget, machine, tell) for name in names]
    if training and all(passed):
        tell("training", **training_speed((1 - SHARE_OF_KERNELS) * seconds))


def _timed(name: str, budget: float, machine: dict, tell) -> bool:
    case = CASES[name]
    forward, both, items, inputs = measure.timed_work(case)
    spent = budget * (1 - PEER_SHARE * (1 + len(case.peers))) / (1 if both is None else 2)
    speeds = {"forward": speed(forward, items, case.forward, spent, machine)}
    if both is not None:
        speeds["both"] = speed(both, items, case.forward + case.backward, spent, machine)
    tell("speed", kernel=name, item=case.item, items=items, **speeds,
         peers=dict(_peers(case, inputs, items, PEER_SHARE * budget)))
    return True


def speed(work, items: int, least: Work, budget: float, machine: dict) -> dict:
    """Items/s, bytes/s and operations/s after the model, and their shares of the machine's limits."""
    rate = items / best_seconds(work, budget)
    return {
        "items_per_second": rate,
        "bytes_per_second": rate * least.bytes,
        "operations_per_second": rate * least.operations,
        "share_of_copy": rate * least.bytes / machine["copy_bytes_per_second"],
        "share_of_product": rate * least.operations / machine["product_operations_per_second"],
    }


def _peers(case: Case, inputs: dict, items: int, budget: float):
    """(name, items/s forward and both) of what is installed."""
    contestants = {"PyTorch": lambda: measure.reference_work(case)}
    if runtime.current().backend != "vulkan":  # no other library here runs on it
        contestants |= {name: lambda make=make: (*make(inputs), items) for name, make in case.peers.items()}
    for name, make in contestants.items():
        try:
            forward, both, count = make()
            with runtime.current().device:  # as of the reference's inputs
                rates = {"forward": count / best_seconds(forward, budget / 2, least=1)}
                if both is not None and case.backward is not None:
                    rates["both"] = count / best_seconds(both, budget / 2, least=1)
        except (ImportError, RuntimeError):  # not installed, without the compiler that it needs, or not for this device
            continue
        yield name, rates


def training_speed(budget: float) -> dict:
    """Steps, rays and visible samples a second of the defaults on the built-in scene, small, past the warm-up."""
    scene = builtin_scene(resolution=64, views=(12, 0, 0), samples_per_pixel=1)
    model = make_model(scene)
    trainer = trainer_for(model, scene, default_training(model.config, steps=100_000))
    warm_up(trainer)
    settle = time.perf_counter() + budget / 2
    while trainer.steps_done < 20 or time.perf_counter() < settle:  # the batch finds its size, the grid its cells
        trainer.step()
    before, first = trainer.totals(), trainer.steps_done
    start = time.perf_counter()
    while trainer.steps_done < first + 5 or time.perf_counter() < start + budget / 2:
        trainer.step()
    did = trainer.totals() - before  # waits for the device
    seconds = time.perf_counter() - start
    return {"steps_per_second": (trainer.steps_done - first) / seconds, "rays_per_second": did.rays / seconds,
            "samples_per_second": did.samples / seconds}



if __name__ == "__main__":
    main()
