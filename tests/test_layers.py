"""The architecture: what may import what, one stem in five rooms, and a copy of the kernels on its own feet."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels" / "taichi_nerf_kernels"
REFERENCE = ROOT / "taichi_nerf" / "reference"
HELPERS = {"__init__", "bfloat16", "engine", "integers", "launch", "random", "scan"}  # no operation of their own
COMPOSITIONS = {"training_step"}  # of other stems; tests/training/test_explicit_step.py holds it to autograd


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Names of the packages that a file imports, wherever in it; relative imports of its own package as `.`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level if node.level else node.module.split(".")[0])
    return names


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


STANDARD = set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", modules(KERNELS), ids=relative)
def test_kernels_import_taichi_and_numpy_alone(path):
    allowed = {"numpy", "."} | ({"taichi", "quadrants"} if path.stem == "engine" else set())
    assert imported(path) - STANDARD <= allowed


@pytest.mark.parametrize("path", modules(KERNELS), ids=relative)
def test_kernels_have_annotations_that_taichi_can_read(path):
    assert "annotations" not in {
        alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


@pytest.mark.parametrize("path", modules(KERNELS), ids=relative)
def test_kernels_start_nothing(path):
    """`init` belongs to the program that uses them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "ti.init" not in calls


@pytest.mark.parametrize("path", modules(REFERENCE), ids=relative)
def test_the_reference_imports_torch_alone(path):
    inner = {"."} if path.parent == REFERENCE else {".", ".."}
    assert imported(path) - STANDARD <= {"torch", *inner}


def test_leaves_know_nothing_of_models_and_training():
    package = ROOT / "taichi_nerf"
    leaves = [package / f"{name}.py" for name in ("devices", "losses", "metrics", "types", "errors")]
    for path in [*leaves, *modules(package / "config")]:
        tree, outwards = ast.parse(path.read_text(encoding="utf-8")), len(path.relative_to(package).parts)
        inner = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level >= outwards}
        assert inner <= {"errors", "types", "devices"}, f"{relative(path)} imports {inner}"


@pytest.mark.parametrize(
    "layer, above",
    [
        ("ops", {"fields", "samplers", "models", "training", "data"}),
        ("fields", {"models", "training", "data"}),
        ("samplers", {"models", "training"}),
        ("models", {"training"}),
        ("data", {"fields", "samplers", "models", "training", "capture"}),
        ("capture", {"fields", "samplers", "models", "training"}),
    ],
)
def test_a_layer_imports_nothing_that_stands_above_it(layer, above):
    for path in modules(ROOT / "taichi_nerf" / layer):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                home = path.parent.relative_to(ROOT / "taichi_nerf").parts
                target = [*home[: len(home) - node.level + 1], *(node.module or "").split(".")]
                assert target[0] not in above, f"{relative(path)} imports {'.'.join(target)}"


def test_kernels_folder_is_a_source_root():
    """With an __init__.py it would become a package named `kernels`, which others have, too."""
    assert not (ROOT / "kernels" / "__init__.py").exists()


@pytest.mark.parametrize("stem", sorted({path.stem for path in modules(KERNELS)} - HELPERS - COMPOSITIONS))
def test_a_stem_has_its_rooms(stem):
    rooms = [
        ROOT / "taichi_nerf" / "ops" / f"{stem}.py",
        REFERENCE / f"{stem}.py",
        ROOT / "tests" / "kernels" / f"test_{stem}.py",
        ROOT / "tests" / "ops" / f"test_{stem}.py",
    ]
    assert not [relative(room) for room in rooms if not room.is_file()]


@pytest.mark.parametrize("room", ["taichi_nerf/ops", "taichi_nerf/reference", "tests/kernels", "tests/ops"])
def test_a_room_without_a_kernel_is_empty(room):
    stems = {path.stem.removeprefix("test_") for path in (ROOT / room).glob("*.py") if not path.stem.startswith("_")}
    assert stems - {"conftest"} <= {path.stem for path in modules(KERNELS)}


COPY = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "taichi_nerf", "taichi_nerf_kernels"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import importlib, pkgutil

import numpy as np
import taichi as ti
import vendored
for module in pkgutil.iter_modules(vendored.__path__):
    importlib.import_module(f"vendored.{module.name}")
from vendored import hash_grid, volume_rendering

ti.init(arch=ti.cpu, default_fp=ti.f64, log_level=ti.ERROR)

# a constant table is interpolated to that constant
layout = hash_grid.hash_grid_layout(levels=3, features=2, log2_entries=8, base_resolution=4, max_resolution=20)
table = np.tile([2.0, -3.0], layout.entries)
x = np.random.default_rng(0).random((100, 3))
y = np.full((layout.outputs, 100), np.nan)
hash_grid.hash_grid_forward(x, table, layout.levels, layout.scales, y, layout.features)
assert np.allclose(y, np.tile([[2.0], [-3.0]], (3, 100)))

# two intervals of optical depth ln 2: weights 1/2 and 1/4
one, out = np.ones(2), [np.full(s, np.nan) for s in ((1, 3), 1, 1, 2)]
count = np.zeros(1, np.int32)
volume_rendering.composite_forward(
    one * np.log(2), np.array([[1.0, 0, 0], [0, 1.0, 0]]), np.array([1.0, 2.0]), one,
    np.array([0], np.int32), np.array([2], np.int32), 0.0, *out, count)
colour, opacity, depth, weights = out
assert np.allclose(weights, [0.5, 0.25]) and np.allclose(colour, [[0.5, 0.25, 0]])
assert np.allclose(opacity, 0.75) and np.allclose(depth, 1.0) and count[0] == 2
assert "torch" not in sys.modules
print("fine")
"""


def test_a_copy_of_the_kernels_under_another_name_works_without_torch(tmp_path):
    shutil.copytree(KERNELS, tmp_path / "vendored", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "program.py").write_text(COPY, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "fine"
