"""Damaged files of every format end in one sentence or in a valid scene: no traceback, no hang, no runaway memory.

Each case damages one file of a small scene: bytes of it, or values of its JSON. What a case does is a function of its
seed alone, which a failure names.
"""

import json
import random
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from taichi_nerf.data import Scene, load_scene
from taichi_nerf.data.export import write_multiscale
from taichi_nerf.data.multiscale import with_scales
from taichi_nerf.errors import UserError

from .captures import write_colmap, write_llff, write_mega_nerf, write_nerfies, write_nsvf, write_phototourism
from .conftest import Capture
from .test_bad_input import mutate

pytest.importorskip("pycolmap")
MOST_SECONDS, MOST_MEBIBYTES = 5.0, 300
NUMBERS = [b"\xff" * 8, b"\0" * 8, b"\0\0\0\0\0\0\xf0\x7f", (2**33).to_bytes(8, "little"), b"99999999", b" nan nan"]


def write_transforms(folder: Path):
    Capture(folder, count=5)


def write_colmap_text(folder: Path):
    write_colmap(folder, binary=False, count=6)


def write_colmap_binary(folder: Path):
    """With tracks, and with the files of rigs that COLMAP writes today."""
    import pycolmap

    model = write_colmap(folder, count=6, models=("SIMPLE_RADIAL", "OPENCV_FISHEYE"))
    model.see(lambda camera, local: 24 + 50 * local[:2] / max(local[2], 0.1))
    path = folder / "sparse" / "0"
    model.write_binary(path)
    pycolmap.Reconstruction(str(path)).write_binary(str(path))


def write_scales(folder: Path):
    """mip-NeRF's layout, of a transforms scene without a lens."""
    capture = Capture(folder.parent / "plain", count=5)
    capture.write(k1=None, k2=None, p1=None, p2=None)
    write_multiscale(with_scales(load_scene(capture.folder, test_every=3), 2), folder)


WRITERS = {
    "transforms": write_transforms,
    "colmap-binary": write_colmap_binary,
    "colmap-text": write_colmap_text,
    "llff": lambda folder: write_llff(folder, count=6),
    "nerfies": lambda folder: write_nerfies(folder, count=6, scales=(2,)),
    "phototourism": lambda folder: write_phototourism(folder, count=6),
    "nsvf": lambda folder: write_nsvf(folder, count=6),
    "mega-nerf": lambda folder: write_mega_nerf(folder, count=6),
    "multiscale": write_scales,
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """By format, the files of a small scene."""
    found = {}
    for name, write in WRITERS.items():
        folder = tmp_path_factory.mktemp("fuzz") / "scene"
        write(folder)
        found[name] = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return found


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One to three of: another byte, a cut, a number overwritten, bytes taken out or put in."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, kind = rng.randrange(len(content) + 1), rng.randrange(6)
        if kind == 0:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1 and rng.random() < 0.5:
            del content[at:]
        elif kind == 2:
            content[at : at + 8] = rng.choice(NUMBERS)
        elif kind == 3:
            del content[at : at + rng.randint(1, 40)]
        elif kind == 4:
            content[at:at] = rng.randbytes(rng.randint(1, 40))
        else:  # within the head, where counts and sizes are
            at = rng.randrange(min(len(content), 64) + 1)
            content[at : at + 1] = bytes([rng.choice([0, 1, 0x7F, 0x80, 0xFF])])
    return bytes(content)


def damaged_file(name: str, content: bytes, rng: random.Random) -> bytes:
    if name.endswith(".json") and rng.random() < 0.7:
        return json.dumps(mutate(json.loads(content), rng)).encode()
    return damaged(content, rng)


def chosen_file(names: list[str], rng: random.Random) -> str:
    """Three in four of the files that say where the cameras are; images are many and alike."""
    images = [name for name in names if name.endswith((".png", ".jpg", ".JPG"))]
    others = [name for name in names if name not in images]
    return rng.choice(others if rng.random() < 0.75 else images)


def run(seeds: range, originals, folder: Path) -> dict[str, int]:
    """Load a damaged scene for each seed; how many ended in an error and how many in a scene."""
    outcomes = {"error": 0, "scene": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    present = None
    for seed in seeds:
        rng = random.Random(seed)
        form = list(WRITERS)[seed % len(WRITERS)]
        files = originals[form]
        scene_folder = folder / form
        if present != form and not scene_folder.exists():
            for name, content in files.items():
                (scene_folder / name).parent.mkdir(parents=True, exist_ok=True)
                (scene_folder / name).write_bytes(content)
        name = chosen_file(list(files), rng)
        (scene_folder / name).write_bytes(damaged_file(name, files[name], rng))
        start = time.perf_counter()
        try:
            scene = load_scene(
                scene_folder,
                format=form.split("-")[0],
                test_every=rng.choice([0, 2, 8]),
                strict=rng.random() < 0.7,
                downscale=rng.choice([1, 2]),
                orient=rng.choice([None, "up", "pca", "none"]),
            )
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 2500, (seed, str(error))
            outcomes["error"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {form}: {name}: {type(error).__name__}: {error}") from error
        else:
            assert_valid(scene, seed)
            outcomes["scene"] += 1
        assert time.perf_counter() - start < MOST_SECONDS, (seed, form, name)
        (scene_folder / name).write_bytes(files[name])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MOST_MEBIBYTES, f"{grown:.0f} MiB more than before"
    shutil.rmtree(folder)
    return outcomes


def assert_valid(scene: Scene, seed: int):
    assert np.isfinite([*scene.centre, scene.scale, scene.near]).all() and scene.near >= 0, seed
    assert scene.splits and ("train" not in scene.splits or len(scene.splits["train"]) >= 2), seed
    for split in scene.splits.values():
        cameras = scene.model_cameras(split.cameras)
        for values in (cameras.camera_to_world, cameras.focal, cameras.principal, cameras.distortion):
            assert np.isfinite(values).all(), seed
        assert (cameras.focal > 0).all() and len(split.images) == len(cameras) == len(split.paths) > 0, seed
        for values in (split.bounds, split.time, *(s.pixel for s in split.sightings or ())):
            assert values is None or np.isfinite(values).all(), seed
    if scene.points is not None:
        assert np.isfinite(scene.to_model(scene.points.position)).all(), seed


def test_damaged_files_end_in_a_user_error_or_a_valid_scene(originals, tmp_path):
    outcomes = run(range(210), originals, tmp_path / "scenes")
    assert outcomes["error"] > 50 and outcomes["scene"] > 10, outcomes


@pytest.mark.slow
def test_thousands_of_damaged_files_end_in_a_user_error_or_a_valid_scene(originals, tmp_path):
    outcomes = run(range(210, 2310), originals, tmp_path / "scenes")
    assert sum(outcomes.values()) == 2100 and outcomes["error"] > 500 and outcomes["scene"] > 100, outcomes
