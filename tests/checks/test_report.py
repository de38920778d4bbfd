"""`doctor` and `bench` as a user sees them; a worker that crashes or hangs is a line, not the end."""

import json
import signal
import sys

import pytest

from taichi_nerf import cli, runtime
from taichi_nerf.checks import report, worker

FEW = ("--kernels", "spherical_harmonics", "distortion")


@pytest.mark.slow
def test_doctor_checks_the_cpu(capsys):
    assert cli.main(["doctor", "--backends", "cpu", "cuda", *FEW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    cpu = found["backends"]["cpu"]
    assert found["healthy"] and cpu["healthy"] and set(cpu["checks"]) == {"spherical_harmonics", "distortion"}
    assert all(check["passed"] and check["worst"][1] <= check["tolerance"] for check in cpu["checks"].values())
    assert {"Python", "PyTorch", "engine"} == set(cpu["device"]["versions"])
    cuda = found["backends"]["cuda"]
    assert "missing" in cuda or cuda["healthy"]


@pytest.fixture(scope="module")
def told():
    """What the worker of the first benchmark tells."""
    return []


@pytest.fixture
def bench(monkeypatch, told, capsys):
    """`bench(*arguments)` is what the command prints of one kernel, measured once for all that ask."""
    run_worker = report.run_worker

    def telling(task, timeout):
        if not told:
            told.extend(run_worker(task, timeout))
        return iter(told)

    def run(*arguments):
        kernel = ("--backends", "cpu", "--kernels", "spherical_harmonics")
        assert cli.main(["bench", *kernel, "--seconds", "0.5", *arguments]) == 0
        return capsys.readouterr().out

    monkeypatch.setattr(report, "run_worker", telling)
    return run


@pytest.mark.slow
def test_bench_prints_a_table_of_what_is_right(bench):
    out = bench()
    for text in ("copy", "matrix product", "FLOP/s", "a launch", "directions/s", "forward + backward", "PyTorch"):
        assert text in out


def test_bench_json_has_shares_of_the_machine(bench):
    cpu = json.loads(bench("--json"))["backends"]["cpu"]
    speed = cpu["speeds"]["spherical_harmonics"]["both"]
    copy = cpu["limits"]["copy_bytes_per_second"]
    assert speed["share_of_copy"] == pytest.approx(speed["bytes_per_second"] / copy)
    assert "training" not in cpu


def pretend(monkeypatch, events):
    """Workers tell `events[backend]`."""
    monkeypatch.setattr(report, "run_worker", lambda task, timeout: iter(events[task["backend"]]))


DEVICE = {"kind": "device", "devices": [{"name": "chip", "memory": 2**30}], "notes": [], "threads": 1,
          "versions": {"Python": "3", "PyTorch": "2", "engine": "taichi 1"}}
RIGHT = {"kind": "check", "kernel": "adam", "passed": True, "errors": {"output 0": 1e-7}, "worst": ["output 0", 1e-7],
         "tolerance": 1e-4, "seconds": 0.1}
WRONG = {**RIGHT, "passed": False, "errors": {"output 0": 0.5}, "worst": ["output 0", 0.5]}
NONE = {"kind": "missing", "reason": "there is no driver"}


@pytest.mark.parametrize(
    ("cpu", "vulkan", "code"),
    [
        ([DEVICE, RIGHT], [NONE], 0),
        ([DEVICE, RIGHT], [DEVICE, RIGHT], 0),
        ([DEVICE, RIGHT], [DEVICE, WRONG], 1),
        ([DEVICE, WRONG], [NONE], 1),
        ([DEVICE, RIGHT], [DEVICE, {"kind": "error", "reason": "killed by signal 11"}], 1),
        ([{"kind": "error", "reason": "no"}], [NONE], 1),
    ],
)
def test_exit_code_says_whether_something_is_wrong(monkeypatch, capsys, cpu, vulkan, code):
    pretend(monkeypatch, {"cpu": cpu, "vulkan": vulkan})
    assert cli.main(["doctor", "--backends", "cpu", "vulkan"]) == code
    out = capsys.readouterr().out
    assert ("something is wrong" in out) == bool(code)
    assert ("FAILED: 5.0e-01" in out) == (WRONG in cpu or WRONG in vulkan)
    assert ("there is no driver" in out) == (NONE in vulkan)


def test_no_speed_is_shown_of_a_kernel_that_is_wrong(monkeypatch, capsys):
    limits = {"kind": "limits", "copy_bytes_per_second": 1e9, "product_operations_per_second": 1e9}
    launch = {"kind": "launch", "launch_seconds": 1e-5, "tensor_seconds": 1e-6}
    pretend(monkeypatch, {"cpu": [DEVICE, limits, launch, WRONG]})
    assert cli.main(["bench", "--backends", "cpu"]) == 1
    out = capsys.readouterr().out
    assert "FAILED: 5.0e-01" in out and "entries/s" not in out


def fake_interpreter(monkeypatch, tmp_path, script: str):
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(report.sys, "executable", str(program))


TASK = {"backend": "cpu"}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", "killed by signal 11"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
        ("raise OSError('the driver is of another world')", "the driver is of another world"),
    ],
)
def test_a_worker_that_breaks_off_leaves_what_it_told_and_a_reason(monkeypatch, tmp_path, script, reason):
    fake_interpreter(monkeypatch, tmp_path, f"print('{json.dumps(RIGHT)}', flush=True)\n{script}")
    told = list(report.run_worker(TASK, timeout=1))
    assert told[0] == RIGHT
    assert told[1]["kind"] == "error" and reason in told[1]["reason"] and len(told) == 2


def test_unknown_kernels_are_named(capsys):
    assert cli.main(["doctor", "--kernels", "hash_gird"]) == 2
    assert "there is no kernel hash_gird; there are adam" in capsys.readouterr().err


@pytest.mark.slow
def test_the_training_step_has_a_speed():
    runtime.init("cpu")
    speed = worker.training_speed(0.2)
    assert all(value > 0 for value in speed.values()) and speed["samples_per_second"] > speed["rays_per_second"]
