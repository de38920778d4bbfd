"""Every example, small and headless: it must write what it says, and the loss must fall.

Those that do without torch have processes of their own; the others run in this one, on one runtime of the CPU.
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taichi_nerf import runtime
from taichi_nerf.config import FieldConfig, HashGridConfig, InstantNGPConfig, SamplingConfig
from taichi_nerf.data import Cameras
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.export import write_blender
from taichi_nerf.models.instant_ngp import InstantNGP
from taichi_nerf.models.model import Box
from taichi_nerf.models.views import render_view
from taichi_nerf.training.checkpoint import save_model

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))

# Runs a script as `python script.py` would, in a Python that has no torch and no taichi_nerf.
WITHOUT_TORCH = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "taichi_nerf"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert "torch" not in sys.modules
"""


@pytest.fixture
def run_example(capsys, monkeypatch):
    """`run_example(name, *arguments)` is what the example prints."""
    def run(name: str, *arguments) -> str:
        program = str(ROOT / "examples" / name)
        monkeypatch.setattr("sys.argv", [program, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(program, run_name="__main__")
        return capsys.readouterr().out

    runtime.init("cpu")
    return run


def run_without_torch(name: str, *arguments) -> str:
    """What the example prints in a Python without torch; the test fails if it does."""
    command = [sys.executable, "-W", "error::FutureWarning", "-c", WITHOUT_TORCH, str(ROOT / "examples" / name),
               *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, f"{name} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def losses(output: str) -> list[float]:
    return [float(number) for number in re.findall(r"loss ([\d.]+)", output)]


def psnr(output: str) -> float:
    return float(re.search(r"PSNR ([\d.]+) dB", output)[1])


def detail(path: Path) -> float:
    """Standard deviation of a picture: 0 if it is of one colour."""
    return float(np.asarray(Image.open(path).convert("RGB")).std())


def test_every_example_is_numbered_has_a_docstring_and_is_tested_here():
    here = Path(__file__).read_text(encoding="utf-8")
    assert [path.name[:2] for path in EXAMPLES] == ["01", "02", "03", "04", "05", "06", "07"]
    for path in EXAMPLES:
        assert path.read_text(encoding="utf-8").startswith('"""'), f"{path.name} does not say what it teaches"
        assert f'"{path.name}"' in here, f"{path.name} has no test"


def test_gradient_of_one_ray_agrees_with_finite_differences_without_torch():
    output = run_without_torch("01_composite_one_ray.py", "--samples", 9)
    assert float(re.search(r"finite differences: (\S+)", output)[1]) < 1e-8
    assert "its weight: True" in output
    assert "9 of 9 samples" in output


def test_a_ray_that_stops_early_looks_at_fewer_samples():
    output = run_without_torch("01_composite_one_ray.py", "--samples", 100, "--stop", 0.5)
    assert int(re.search(r"(\d+) of 100 samples", output)[1]) < 100


def test_an_image_is_fitted(run_example, tmp_path):
    output = run_example("02_fit_image.py", "--small", "--output", tmp_path / "fit.png")
    assert losses(output)[-1] < 0.2 * losses(output)[0]
    assert psnr(output) > 19
    assert detail(tmp_path / "fit.png") > 10


@pytest.mark.slow
def test_the_builtin_scene_is_trained_scored_and_filmed(run_example, tmp_path):
    output = run_example("03_train_builtin.py", "--small", "--backend", "cpu", "--output", tmp_path)
    assert losses(output)[-1] < losses(output)[0]
    assert psnr(output) > 12
    assert (tmp_path / "orbit.mp4").stat().st_size > 1000
    assert detail(tmp_path / "depth.png") > 5
    assert len(list((tmp_path / "test").glob("*_render.png"))) == 2


@pytest.mark.slow
def test_a_capture_is_trained_scored_filmed_and_saved(run_example, tmp_path):
    write_blender(builtin_scene(resolution=40, views=(16, 0, 2), samples_per_pixel=4), tmp_path / "capture")
    output = run_example("04_train_capture.py", tmp_path / "capture", "--small", "--output", tmp_path / "out")
    assert losses(output)[-1] < losses(output)[0]
    assert psnr(output) > 12
    assert (tmp_path / "out" / "orbit.mp4").stat().st_size > 1000
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 1000


def test_a_field_is_fitted_in_pure_taichi_without_torch(tmp_path):
    output = run_without_torch("05_pure_taichi.py", "--small", "--output", tmp_path / "pure.png")
    assert losses(output)[-1] < 0.3 * losses(output)[0]
    assert psnr(output) > 20
    assert detail(tmp_path / "pure.png") > 10


@pytest.mark.slow
def test_a_saved_model_is_rendered_without_torch_as_with_it(tmp_path):
    runtime.init("cpu")
    name, size = "06_render_without_torch.py", 48
    grid = HashGridConfig(levels=4, features=2, log2_entries=10, base_resolution=4, max_resolution=24)
    field = FieldConfig(hash_grid=grid, geometry_features=4, density_width=16, colour_width=16, direction_degree=2)
    sampling = SamplingConfig(grid_resolution=16, steps=64)
    model = InstantNGP(InstantNGPConfig(field=field, sampling=sampling), Box(aabb_scale=2, near=0.1))
    with torch.no_grad():
        model.field.table.mul_(3e4)
    save_model(tmp_path / "model.safetensors", model)
    output = run_without_torch(name, tmp_path / "model.safetensors", "--small", "--output", tmp_path / "frames")
    assert output.count(".png: ") == 2 and detail(tmp_path / "frames" / "frame_001.png") > 5
    pose = runpy.run_path(str(ROOT / "examples" / name))["orbit_pose"](0.0)
    cameras = Cameras(
        camera_to_world=pose[None], focal=np.full((1, 2), 1.4 * size), principal=np.full((1, 2), 0.5 * size),
        distortion=np.zeros((1, 6)), lens=np.zeros(1), size=np.full((1, 2), size),
    )  # fmt: skip
    expected = render_view(model, cameras, 0, background=1.0, renderer="torch").colour
    actual = np.asarray(Image.open(tmp_path / "frames" / "frame_000.png")) / 255.0
    assert np.abs(actual - expected).max() < 0.02 and np.square(actual - expected).mean() < 1e-4


@pytest.mark.slow
def test_the_builtin_scene_is_trained_on_vulkan(run_example, tmp_path):
    if (reason := runtime.why_missing("vulkan")) is not None:
        pytest.skip(f"vulkan: {reason}")
    output = run_example("07_train_on_vulkan.py", "--small", "--output", tmp_path)
    scores = [float(score) for score in re.findall(r"PSNR (\S+) dB", output)]
    assert min(scores) > 16 and abs(scores[0] - scores[1]) < 0.1
    assert detail(tmp_path / "vulkan.png") > 5
