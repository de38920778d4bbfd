"""What `auto` takes, what it says about what it leaves, about a slow device, and where compiled kernels go."""

import contextlib
import importlib.machinery
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from taichi_nerf import cli, devices, runtime
from taichi_nerf.config import InstantNGPConfig, systems
from taichi_nerf.devices import VulkanDevice
from taichi_nerf.errors import UserError
from taichi_nerf.fields.mlp import MLP
from taichi_nerf.models.family import build_model
from taichi_nerf.models.model import Box

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import torch
from taichi_nerf import runtime
from taichi_nerf.ops.spherical_harmonics import encode_direction
runtime.init("cpu", threads=1)
print(len(encode_direction(torch.eye(3)[:1])))
"""
CARD = VulkanDevice(name="Fast Card", software=False, discrete=True, memory=2**33, float_atomics=True)
OLD_CARD = VulkanDevice(name="Old Card", software=False, discrete=True, memory=2**31, float_atomics=False)
SOFTWARE = VulkanDevice(name="llvmpipe", software=True, discrete=False, memory=2**31, float_atomics=True)


@pytest.fixture
def pretend(monkeypatch):
    """A machine with these Vulkan devices, and with an NVIDIA driver or not; without CUDA in PyTorch."""

    def machine(*found, nvidia=False):
        monkeypatch.setattr(devices, "vulkan_devices", lambda: list(found))
        monkeypatch.setattr(runtime, "has_driver", lambda arch: nvidia if arch == runtime.ti.cuda else bool(found))
        monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
        monkeypatch.setattr(runtime.torch.cuda, "is_available", lambda: False)

    yield machine


def test_auto_is_silent_where_nothing_better_is_there(pretend, capfd):
    pretend(SOFTWARE)
    assert runtime.init("auto").backend == "cpu"
    assert capfd.readouterr() == ("", "")


def test_auto_says_why_it_leaves_a_card_with_cuda(pretend, capfd):
    pretend(nvidia=True)
    assert runtime.init("auto").backend == "cpu"
    said = capfd.readouterr().err
    assert "--backend auto takes cpu: an NVIDIA driver is here, but PyTorch sees no CUDA device" in said


def test_auto_says_why_it_leaves_a_card_with_vulkan(pretend, capfd):
    pretend(CARD, SOFTWARE)
    chosen = runtime.init("auto").backend
    said = capfd.readouterr().err
    assert chosen == "cpu" and "Fast Card could be used by --backend vulkan, and may train instant-ngp" in said
    assert "llvmpipe" not in said


@pytest.mark.parametrize("version, expected", [
    ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", "small"),
    ("debug = False\ncuda: Optional[str] = '13.0'\n", "paper"),
    ("cuda = '12.4'\n", "paper"),
    (None, "small"),
])
def test_a_driver_without_a_pytorch_for_it_gets_the_sizes_of_a_processor(tmp_path, monkeypatch, version, expected):
    (tmp_path / "__init__.py").touch()
    if version is not None:
        (tmp_path / "version.py").write_text(version)
    package = importlib.machinery.ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: package)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert cli.train_defaults("auto").preset == expected


def test_what_pytorch_was_built_for_is_read_right():
    assert devices.pytorch_is_for_cuda() == (runtime.torch.version.cuda is not None)


def test_a_card_with_vulkan_gets_the_sizes_of_a_gpu_for_what_stays_on_it(monkeypatch):
    for found, model, expected in (([SOFTWARE], "instant-ngp", "small"), ([], "instant-ngp", "small"),
                                   ([SOFTWARE, CARD], "instant-ngp", "paper"), ([CARD], "nerf", "small")):
        monkeypatch.setattr(systems, "vulkan_devices", lambda found=found: found)
        assert cli.train_defaults("vulkan", model).preset == expected
        assert cli.train_defaults("cpu", model).preset == "small"
    assert cli.train_defaults("vulkan", preset="paper").preset == "paper"


def test_a_backend_that_was_asked_for_is_not_explained(pretend, capfd):
    pretend(CARD, nvidia=True)
    runtime.init("cpu")
    assert capfd.readouterr() == ("", "")


def test_slow_vulkan_devices_are_named():
    assert runtime.vulkan_notes([CARD]) == []
    assert "the only Vulkan device is software (llvmpipe)" in runtime.vulkan_notes([SOFTWARE])[0]
    assert runtime.vulkan_notes([SOFTWARE, CARD]) == []
    assert "Old Card cannot add floats atomically" in runtime.vulkan_notes([OLD_CARD])[0]


def test_vulkan_devices_of_this_machine_have_names_and_memory():
    found = devices.vulkan_devices()
    if runtime.why_missing("vulkan") is None:
        assert found
    for device in found:
        assert device.name.isprintable() and device.name and device.memory > 0


def test_no_vulkan_loader_means_no_devices(monkeypatch):
    monkeypatch.setattr(devices.ctypes.util, "find_library", lambda name: "libnothing-of-this-name.so")
    assert devices.vulkan_devices() == []


def test_a_full_vulkan_device_is_a_sentence():
    error = RuntimeError("[gfx_program.cpp:allocate_memory_on_device@51] Assertion failure: res == RhiResult::success")
    assert "the memory does not suffice" in cli.sentence_for(error)


@pytest.mark.parametrize("threads", [0, -1, 1025, 100_000, 2**31 - 1])
def test_a_number_of_threads_that_no_process_has_is_refused(threads):
    with pytest.raises(UserError, match=f"threads must be from 1 to 1024, got {threads}"):
        runtime.init("cpu", threads=threads)


def test_a_machine_that_has_no_thread_left_is_a_sentence(monkeypatch):
    """Before Taichi or PyTorch ask for one, which would end the process."""
    class Refused(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(runtime.threading, "Thread", Refused)
    monkeypatch.setattr(runtime.ti, "init", lambda **_: pytest.fail("too late"))
    with pytest.raises(RuntimeError) as error:
        runtime.init("cpu", threads=2)
    assert "the system starts no further threads" in cli.sentence_for(error.value)


def test_memory_that_is_not_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(devices, "free_memory", lambda: 2**20)
    with pytest.raises(UserError, match=r"hash table with its gradient needs 0\.0 GiB of memory, of which"):
        build_model(InstantNGPConfig(), Box(bounded=True))
    for width, refused in ((64, False), (2048, True)):
        with pytest.raises(UserError, match="a network of this width") if refused else contextlib.nullcontext():
            MLP(16, 16, width=width, hidden_layers=2, generator=torch.Generator())
    monkeypatch.setattr(devices, "free_memory", lambda: None)
    runtime.require_memory(2**60, "all", "nothing")


def test_free_memory_is_less_than_all():
    assert 2**20 < devices.free_memory() <= devices.memory()


def test_a_cache_folder_that_cannot_be_written_does_no_harm(tmp_path):
    """Taichi would crash at the end of the process."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "temporary").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
        "TI_OFFLINE_CACHE_FILE_PATH": str(tmp_path / "file" / "cache"),
        "TMPDIR": str(tmp_path / "temporary"),
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
