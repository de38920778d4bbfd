"""No command connects to anywhere: with sockets forbidden, in this process and in all that it starts, each does its
work."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from taichi_nerf.data.svox import write_svox
from taichi_nerf_kernels.engine import ti

from .export.scenes import ball_and_box, tree_of
from .test_cli import SMALL

VIEWER = importlib.util.find_spec("viser") is not None

FORBIDDING = """
import os, socket

def refuse(self, address, *others):
    if self.family != socket.AF_UNIX:
        with open(os.environ["CONNECTIONS"], "a") as file:
            print(address, file=file)
        raise OSError("no connections here")
    return connect(self, address, *others)

def listen(self, address):
    if self.family != socket.AF_UNIX:
        with open(os.environ["LISTENING"], "a") as file:
            print(address[0], file=file)
    return bind(self, address)

def unknown(host, *others, **more):
    if host == "127.0.0.1":  # which is no name
        return known(host, *others, **more)
    with open(os.environ["CONNECTIONS"], "a") as file:
        print(host, file=file)
    raise OSError("no names here")

connect, bind, known = socket.socket.connect, socket.socket.bind, socket.getaddrinfo
socket.socket.connect, socket.socket.bind, socket.getaddrinfo = refuse, listen, unknown
"""


# In one process, on one runtime: in another of either, Taichi prepares all kernels anew.
COMMANDS = """
import functools, json, sys
from taichi_nerf import runtime
from taichi_nerf.cli import main
from taichi_nerf.viewer.studio import Studio

def interrupted(studio, most):  # the page is served, and Ctrl-C ends it
    raise KeyboardInterrupt

runtime.init = functools.cache(runtime.init)
Studio.serve_or_wait = interrupted
print([main(command) for command in json.loads(sys.argv[1])])
"""


@pytest.fixture
def without_connections(tmp_path):
    """`without_connections(program, *arguments)` runs it on a day on which Taichi has not asked yet, and gives what it
    prints."""
    (tmp_path / "forbidding").mkdir()
    (tmp_path / "forbidding" / "sitecustomize.py").write_text(FORBIDDING, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "TI_SKIP_VERSION_CHECK"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path / "forbidding"), *filter(None, sys.path)]),
                    "HOME": str(tmp_path), "CONNECTIONS": str(tmp_path / "connections"),
                    "LISTENING": str(tmp_path / "listening"),
                    "TI_OFFLINE_CACHE_FILE_PATH": ti.lang.impl.default_cfg().offline_cache_file_path}

    def run(program, *arguments):
        done = subprocess.run([sys.executable, "-c", program, *arguments], env=environment, capture_output=True,
                              text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_the_commands_connect_to_nothing(without_connections, tmp_path):
    run, common = str(tmp_path / "run"), ("--backend", "cpu", "--threads", "1")
    (tmp_path / "photos").mkdir()
    write_svox(tmp_path / "tree.npz", tree_of(ball_and_box(3, 4)))
    commands = {
        ("train", "--downscale", "8", "--steps", "2", "--test-every", "16", "--output", run, *SMALL): 0,
        ("eval", run, "--every", "16", *common): 0,
        ("render", run, "--frames", "1", "--size", "16", "16", *common): 0,
        ("info", run): 0,
        ("view", run, *common): 130 if VIEWER else 2,
        ("page", str(tmp_path / "tree.npz")): 0,
        ("doctor", "--backends", "cpu", "--kernels", "ray_aabb", "--threads", "1"): 0,
        ("process", "photos", "--output", "scene"): 2,  # there are none, which it says
    }
    said = without_connections(COMMANDS, json.dumps(list(commands)))
    assert said.splitlines()[-1] == str(list(commands.values())), said
    assert not (tmp_path / "connections").exists(), (tmp_path / "connections").read_text()
    if VIEWER:
        assert set((tmp_path / "listening").read_text().split()) == {"127.0.0.1"}  # nobody else can reach it


def test_what_is_forbidden_would_be_noticed(without_connections, tmp_path):
    """Taichi without this package asks its makers' server."""
    without_connections("import taichi as ti, time; ti.init(arch=ti.cpu); time.sleep(3)")
    assert "taichi" in (tmp_path / "connections").read_text()
