"""Two ranks with a thread each against one process with as many threads: samples a second, and bytes a step.

    python benchmarks/ranks.py

Both train the built-in scene with the same batch, whose rays the ranks share. They take turns, each time in new
processes, so that a busy machine disturbs both alike; only steps after the kernels are compiled count. Beside the
seconds there is the processor time of all threads, which others on the machine disturb less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

WORKER = "TAICHI_NERF_BENCHMARK_RANKS"
STARTUP = 300  # seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2, help="processes that train together; %(default)s by default")
    parser.add_argument("--model", default="instant-ngp", help="what is trained; %(default)s by default")
    parser.add_argument("--encoding", default=None, help="what represents space; by default what the model's paper has")
    parser.add_argument("--resolution", type=int, default=128, help="of the built-in scene")
    parser.add_argument("--steps", type=int, default=120, help="that are timed, in each turn")
    parser.add_argument("--before", type=int, default=60, help="steps before these, in which samples settle")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    arguments = parser.parse_args()
    if WORKER in os.environ:
        measure(arguments)
        return
    found = {ranks: [] for ranks in (1, arguments.ranks)}
    for number in range(arguments.rounds):
        for ranks in found:
            found[ranks].append(launched(ranks, arguments.ranks // ranks))
            print(f"turn {number + 1}, {described(ranks, found[ranks][-1])}", flush=True)
    one, several = (statistics.median(each["samples"] / each["seconds"] for each in turns) for turns in found.values())
    work = [statistics.median(each["processor"] / each["samples"] for each in turns) for turns in found.values()]
    print(f"samples/s of {arguments.ranks} ranks against one process with {arguments.ranks} threads: "
          f"{several / one:.2f}, samples per processor second {work[0] / work[1]:.2f}; medians of {arguments.rounds} "
          "turns")


def described(ranks: int, turn: dict) -> str:
    threads, steps = turn["threads"], turn["steps"]
    return (f"{ranks} rank{'s' * (ranks > 1)} of {threads} thread{'s' * (threads > 1)}: "
            f"{turn['samples'] / turn['seconds'] / 1e3:.0f}k samples/s, {1e3 * turn['seconds'] / steps:.1f} ms and "
            f"{turn['bytes'] / 1e6:.2f} MB a step, loss {turn['loss']:.5f}")


def launched(ranks: int, threads: int) -> dict:
    """What so many ranks measure."""
    command = [sys.executable]
    if ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = {**os.environ, WORKER: str(threads), "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([*command, *sys.argv], env=environment, stdout=subprocess.PIPE, text=True, timeout=STARTUP)
    return json.loads(done.stdout.splitlines()[-1])


class Counted:
    """`torch.distributed`, and how many bytes of tensors are handed to it."""

    def __init__(self, group):
        self.group, self.bytes = group, 0

    def __getattr__(self, name):
        return getattr(self.group, name)

    def all_reduce(self, tensor, **more):
        self.bytes += tensor.numel() * tensor.element_size()
        self.group.all_reduce(tensor, **more)

    def all_gather(self, gathered, tensor, **more):
        self.bytes += tensor.numel() * tensor.element_size()
        self.group.all_gather(gathered, tensor, **more)


def measure(arguments):
    """Print what this rank's team does, if it is the first."""
    from taichi_nerf import runtime
    from taichi_nerf.config import TrainingConfig, recipe
    from taichi_nerf.data.builtin import builtin_scene
    from taichi_nerf.training.run import make_model, warm_up
    from taichi_nerf.training.team import team_of
    from taichi_nerf.training.trainer import trainer_for

    with team_of() as team:
        runtime.init("cpu", threads=int(os.environ[WORKER]))
        scene = builtin_scene(resolution=arguments.resolution)
        counted = Counted(team.group if team.world > 1 else None)
        if team.world > 1:
            team.group = counted
        found = recipe(arguments.model, "small", arguments.encoding)
        config = TrainingConfig(steps=arguments.before + arguments.steps, batch=found.batch, optimiser=found.optimiser)
        trainer = trainer_for(make_model(scene, found.model), scene, config, team)
        warm_up(trainer)
        for _ in range(arguments.before):
            trainer.step()
        first, sent, start, work = trainer.totals(), counted.bytes, time.perf_counter(), time.process_time()
        for _ in range(arguments.steps):
            trainer.step()
        did, seconds = trainer.totals() - first, time.perf_counter() - start
        work = sum(team.gathered(time.process_time() - work))
        if team.first:
            print(json.dumps({"samples": did.samples, "seconds": seconds, "processor": work, "steps": arguments.steps,
                              "bytes": (counted.bytes - sent) / arguments.steps, "loss": did.loss / arguments.steps,
                              "threads": int(os.environ[WORKER])}))


if __name__ == "__main__":
    main()
