"""The architecture: what may import what, one stem in five rooms, and a copy of the kernels on its own feet."""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from taichi_nerf.config import SYSTEMS

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels" / "taichi_nerf_kernels"
REFERENCE = ROOT / "taichi_nerf" / "reference"
# without an operation of their own
HELPERS = {"__init__", "bfloat16", "bounds", "engine", "integers", "launch", "random", "scan"}
COMPOSITIONS = {"training_step"}  # of other stems; tests/training/test_explicit_step.py holds it to autograd


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All of a file's tree."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def called(path: Path) -> list[str]:
    """What a file calls, as it is written there."""
    return [ast.unparse(node.func) for node in nodes_of(path) if isinstance(node, ast.Call)]


def imported(path: Path) -> set[str]:
    """Names of the packages that a file imports, wherever in it; relative imports of its own package as `.`."""
    names = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level if node.level else node.module.split(".")[0])
    return names


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def stem_of(path: Path) -> str:
    """Of a module of the kernels: its name, or that of the folder that a stem with several schedules is."""
    inside = path.relative_to(KERNELS)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


STANDARD = set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", modules(KERNELS), ids=relative)
def test_kernels_import_taichi_and_numpy_alone(path):
    inner = {"."} if path.parent == KERNELS else {".", ".."}
    allowed = {"numpy", *inner} | ({"taichi", "quadrants"} if path.stem == "engine" else set())
    assert imported(path) - STANDARD <= allowed


@pytest.mark.parametrize("path", modules(KERNELS), ids=relative)
def test_kernels_have_annotations_that_taichi_can_read(path):
    assert "annotations" not in {
        alias.name
        for node in nodes_of(path)
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


@pytest.mark.parametrize("path", modules(KERNELS), ids=relative)
def test_kernels_start_nothing(path):
    """`init` belongs to the program that uses them."""
    assert "ti.init" not in called(path)


@pytest.mark.parametrize("path", modules(REFERENCE), ids=relative)
def test_the_reference_imports_torch_alone(path):
    inner = {"."} if path.parent == REFERENCE else {".", ".."}
    assert imported(path) - STANDARD <= {"torch", *inner}


LOWEST = {"", "devices", "errors", "types", "losses", "metrics", "output"}  # they know nothing of each other, but
# the top of the package knows itself
BELOW = {  # package or module -> what it may import, besides the lowest
    "config": set(),
    "frontend": set(),
    "runtime": {"frontend"},
    "timing": {"runtime"},
    "progress": set(),
    "pictures": set(),
    "reference": set(),
    "data": {"config", "runtime"},
    "paths": {"data"},
    "wide": {"data"},
    "capture": {"data", "progress"},
    "ops": {"runtime"},
    "fields": {"config", "ops", "runtime", "timing"},
    "samplers": {"ops"},
    "models": {"config", "data", "fields", "ops", "runtime", "samplers"},
    "resident": {"config", "fields", "models", "ops", "runtime", "samplers", "timing"},
    "training": {"config", "data", "fields", "models", "ops", "pictures", "resident", "runtime"},
    "export": {"data", "models", "ops", "paths", "pictures", "query", "runtime", "wide"},
    "query": {"data", "models", "runtime", "training"},
    "viewer": {"data", "models", "paths", "pictures", "training"},
    "checks": {"data", "ops", "progress", "reference", "runtime", "timing", "training"},
    "cli": {
        "capture", "checks", "config", "data", "export", "models", "paths", "pictures", "progress", "query",
        "runtime", "viewer",
        "training", "wide",
    },
    "__main__": {"cli"},
}


def module_name(path: Path) -> str:
    """`taichi_nerf.data.scene` of its file; a package is named as its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in modules(ROOT / "taichi_nerf")}


def imported_modules(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it, for whatever reason."""
    path, found = MODULES[name], set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            targets = [".".join([*base, alias.name]) for alias in node.names]
            found |= {target if target in MODULES else ".".join(base) for target in targets}
    return found & MODULES.keys()


def test_there_is_no_import_circle():
    """Not even one that is closed within a function, or for the sake of types."""
    seen, under_way = set(), []

    def visit(name: str):
        assert name not in under_way, f"circle: {' -> '.join([*under_way[under_way.index(name):], name])}"
        if name not in seen:
            under_way.append(name)
            for other in sorted(imported_modules(name)):
                visit(other)
            under_way.pop()
            seen.add(name)

    for name in MODULES:
        visit(name)


def part_of(name: str) -> str:
    return (name.split(".") + [""])[1]


@pytest.mark.parametrize("part", sorted({part_of(name) for name in MODULES} - LOWEST))
def test_a_layer_imports_only_what_stands_below_it(part):
    assert part in BELOW, f"{part} has no row"
    for name in (name for name in MODULES if part_of(name) == part):
        above = {part_of(other) for other in imported_modules(name)} - LOWEST - BELOW[part] - {part}
        assert not above, f"{name} imports {', '.join(sorted(above))}"


@pytest.mark.parametrize("part", sorted(LOWEST))
def test_the_lowest_know_nothing(part):
    for name in (name for name in MODULES if part_of(name) == part and name != "taichi_nerf"):
        assert not imported_modules(name), name


SYSTEM_CLASSES = {system.model.split(":")[1] for system in SYSTEMS.values()} | {
    system.settings.__name__ for system in SYSTEMS.values()}


HISTORY = {"taichi_nerf.config.migrations"}  # what the files of earlier versions said of the systems of their time


def own_stem(name: str) -> bool:
    """Whether a module is of one system alone: that of its name."""
    return name.split(".")[-1].replace("_", "-") in SYSTEMS


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not own_stem(name) and name not in HISTORY))
def test_nobody_asks_which_model_it_is(name):
    """What differs between systems, they say themselves: their model, their settings, their row in the registry."""
    for node in nodes_of(MODULES[name]):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            asked = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            assert not asked & SYSTEM_CLASSES, f"{name}, line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Compare):
            words = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            assert not words & set(SYSTEMS) and not names & SYSTEM_CLASSES, (
                f"{name}, line {node.lineno}: {ast.unparse(node)}")


def calls(name: str, pattern: str) -> bool:
    """Whether a module calls what `pattern` matches."""
    return any(re.search(pattern, function) for function in called(MODULES[name]))


LOOKED_AT_FIRST = ("cli.main", "training.folder", "data", "data.load", "data.inspect", "data.mesh_files",
                   "data.panorama", "export.facts", "paths", "pictures", "viewer.port")  # by commands that refuse


@pytest.mark.parametrize("name", LOOKED_AT_FIRST)
def test_what_a_command_looks_at_first_is_loaded_without_pytorch(name):
    """What stands in functions aside, which load it when they need it."""
    waiting, seen = [f"taichi_nerf.{name}"], set()
    while waiting:
        module = waiting.pop()
        parts = module.split(".")
        if module not in MODULES or module in seen:
            continue
        seen.add(module)
        waiting += [".".join(parts[:n]) for n in range(1, len(parts))]
        package = parts if MODULES[module].name == "__init__.py" else parts[:-1]
        for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
                waiting += [".".join([*base, alias.name]) for alias in node.names] + [".".join(base)]
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                heavy = {each.split(".")[0] for each in names} & {"torch", "taichi", "taichi_nerf_kernels"}
                assert not heavy, f"{module} imports {', '.join(heavy)}"
    assert len(seen) > 1


def test_weights_take_their_steps_in_one_file():
    """The checks, which measure the kernel of a step, aside."""
    trained = [name for name in MODULES if part_of(name) != "checks"]
    for pattern in (r"(optimiser|tables|networks|corrections)\.step$", r"(torch\.optim\.Adam|SparseAdam)$"):
        assert [name for name in trained if calls(name, pattern)] == ["taichi_nerf.training.optimisers"]
    on_the_device = [name for name in trained if calls(name, r"adam\.adam_step") and part_of(name) != "ops"]
    assert on_the_device == ["taichi_nerf.resident.parameters"]


def test_all_that_is_printed_goes_through_one_module():
    """Which nothing ends; the worker of the checks writes to its parent."""
    printing = [name for name in MODULES if calls(name, r"^(print|sys\.(stdout|stderr)\.\w+)$")]
    assert printing == ["taichi_nerf.checks.worker"]


def test_kernels_folder_is_a_source_root():
    """With an __init__.py it would become a package named `kernels`, which others have, too."""
    assert not (ROOT / "kernels" / "__init__.py").exists()


@pytest.mark.parametrize("stem", sorted({stem_of(path) for path in modules(KERNELS)} - HELPERS - COMPOSITIONS))
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
    assert stems - {"conftest"} <= {stem_of(path) for path in modules(KERNELS)}


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
for module in pkgutil.walk_packages(vendored.__path__, "vendored."):
    importlib.import_module(module.name)
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
