"""No command connects to anywhere: with sockets forbidden, in this process and in all that it starts, each does its
work."""

import json
import os
import subprocess
import sys

import pytest

from taichi_nerf_kernels.engine import ti

from .test_cli import SMALL

FORBIDDING = """
import os, socket

def refuse(self, address, *others):
    if self.family != socket.AF_UNIX:
        with open(os.environ["CONNECTIONS"], "a") as file:
            print(address, file=file)
        raise OSError("no connections here")
    return connect(self, address, *others)

def unknown(host, *others, **more):
    with open(os.environ["CONNECTIONS"], "a") as file:
        print(host, file=file)
    raise OSError("no names here")

connect, socket.socket.connect, socket.getaddrinfo = socket.socket.connect, refuse, unknown
"""


@pytest.fixture
def command(tmp_path):
    """`command("train", ..)` runs it on a day on which Taichi has not asked yet, and gives its exit code and output."""
    (tmp_path / "forbidding").mkdir()
    (tmp_path / "forbidding" / "sitecustomize.py").write_text(FORBIDDING, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "TI_SKIP_VERSION_CHECK"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path / "forbidding"), *filter(None, sys.path)]),
                    "HOME": str(tmp_path), "CONNECTIONS": str(tmp_path / "connections"),
                    "TI_OFFLINE_CACHE_FILE_PATH": ti.lang.impl.default_cfg().offline_cache_file_path}

    def run(*arguments):
        done = subprocess.run([sys.executable, "-m", "taichi_nerf", *arguments], env=environment, capture_output=True,
                              text=True, timeout=300, cwd=tmp_path)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_commands_connect_to_nothing(command, tmp_path):
    run, common = str(tmp_path / "run"), ("--backend", "cpu", "--threads", "1")
    trained = command("train", "--downscale", "8", "--steps", "2", "--test-every", "16", "--output", run, *SMALL)
    assert trained[0] == 0, trained[2]
    assert command("eval", run, "--every", "16", *common)[0] == 0
    assert command("render", run, "--frames", "1", "--size", "16", "16", *common)[0] == 0
    assert command("info", run)[0] == 0
    code, said, _ = command("doctor", "--backends", "cpu", "--kernels", "ray_aabb", "--threads", "1", "--json")
    assert code == 0 and json.loads(said)["healthy"], said
    (tmp_path / "photos").mkdir()
    assert command("process", "photos", "--output", "scene")[0] == 2  # there are none, which it says
    assert not (tmp_path / "connections").exists(), (tmp_path / "connections").read_text()


def test_what_is_forbidden_would_be_noticed(tmp_path, command):
    """Taichi without this package asks its makers' server."""
    program = "import os, taichi as ti, time; ti.init(arch=ti.cpu); time.sleep(3)"
    environment = {**os.environ, "HOME": str(tmp_path), "CONNECTIONS": str(tmp_path / "connections"),
                   "PYTHONPATH": str(tmp_path / "forbidding")}
    environment.pop("TI_SKIP_VERSION_CHECK", None)
    subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=120, cwd=tmp_path)
    assert "taichi" in (tmp_path / "connections").read_text()
