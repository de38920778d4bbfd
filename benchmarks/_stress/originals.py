"""What is damaged: small scenes in every format, and a run. They are made once for a folder of results.

The scenes of other programs are those of the tests (`tests/data/captures.py`), of 48 x 32 pixels; the others have
four views of 8 x 8.
"""

import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.data import captures  # noqa: E402
from tests.data.conftest import look_at  # noqa: E402

SIDE, VIEWS, STEPS = 8, 4, 6
SMALL = (
    "--backend cpu --threads 1 --orbit-frames 2 --batch.samples 512 --batch.marched 2048 --batch.max-rays 128 "
    "--model.field.hash-grid.levels 2 --model.field.hash-grid.log2-entries 8 "
    "--model.field.hash-grid.max-resolution 64 --model.field.density-width 16 --model.field.colour-width 16 "
    "--model.sampling.grid-resolution 16 --model.sampling.steps 64"
).split()
SPARING = ("--test-every", "4", "--checkpoint-seconds", "0", *SMALL)  # a run that saves after each step


@dataclass(frozen=True)
class Originals:
    """Where they lie."""

    folder: Path

    @property
    def scenes(self) -> dict[str, Path]:
        """By name of the format."""
        return {path.name: path for path in sorted((self.folder / "scenes").iterdir())}

    @property
    def scene(self) -> Path:
        """What the run was trained on."""
        return self.folder / "scenes" / "transforms"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def on(self) -> Path:
        """The run after two more steps."""
        return self.folder / "on"

    @property
    def facts(self) -> dict:
        """What the run shows: `psnr`, and how many changes of files it takes to train it: `changes`."""
        return json.loads((self.folder / "facts.json").read_text())

    def picture(self) -> np.ndarray:
        """[8, 8, 3] uint8: what `render` makes of the run."""
        return pixels_of(self.folder / "picture")


def pixels_of(folder: Path) -> np.ndarray:
    """The only picture in a folder."""
    with Image.open(next(folder.glob("*.png"))) as image:
        return np.asarray(image)


def write_scenes(folder: Path):
    """A scene of each format in `folder`."""
    for name, write in WRITERS.items():
        write(folder / name)


def photo(n: int, channels: int = 3) -> np.ndarray:
    """[8, 8, channels] uint8, different for every n."""
    image = np.random.default_rng(n).integers(0, 256, (SIDE, SIDE, channels), dtype=np.uint8)
    if channels == 4:
        image[..., 3] = np.where(np.arange(SIDE) < 2, 0, 255)
    return image


def _poses() -> list[list[list[float]]]:
    angles = [2 * math.pi * n / VIEWS for n in range(VIEWS)]
    return [look_at((3 * math.cos(a), 3 * math.sin(a), 1.5 + 0.1 * n)) for n, a in enumerate(angles)]


def _transforms(folder: Path, ending: str = "png", **keys) -> dict:
    (folder / "images").mkdir(parents=True)
    frames = [{"file_path": f"images/{n:04d}.{ending}", "transform_matrix": pose} for n, pose in enumerate(_poses())]
    half = SIDE / 2
    return {"fl_x": 8.0, "fl_y": 8.0, "cx": half, "cy": half, "w": SIDE, "h": SIDE, "aabb_scale": 4, **keys,
            "frames": frames}


def _write_transforms(folder: Path):
    content = _transforms(folder, k1=0.01, k2=0.0, p1=0.0, p2=0.0)
    for n in range(VIEWS):
        Image.fromarray(photo(n)).save(folder / "images" / f"{n:04d}.png")
    captures.write_json(folder / "transforms.json", content)


def _write_rich(folder: Path):
    """With masks, depths, points, times, images of 16 bits and of linear light, a JPEG, and a lens that fans out."""
    content = _transforms(folder, camera_model="OPENCV_FISHEYE", k1=0.01, k2=0.0, k3=0.0, k4=0.0,
                          ply_file_path="points.ply", applied_transform=[[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]])
    frames = content["frames"]
    for n, ending in enumerate(("png", "jpg", "hdr", "png")):
        path = folder / "images" / f"{n:04d}.{ending}"
        if ending == "hdr":
            path.write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 8 +X 8\n" + photo(n, 4).tobytes())
        elif n == 3:
            Image.fromarray(photo(n)[..., 0].astype(np.uint16) * 257).save(path)
        else:
            Image.fromarray(photo(n)).save(path)
        frames[n] |= {"file_path": f"images/{path.name}", "time": n / VIEWS, "mask_path": f"masks/{n}.png",
                      "depth_file_path": f"depth/{n}.{'npy' if n % 2 else 'png'}", "appearance_id": n}
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.where(np.arange(64).reshape(8, 8) > 8, 255, 0).astype(np.uint8)).save(
            folder / frames[n]["mask_path"])
        (folder / "depth").mkdir(exist_ok=True)
        depth = np.full((SIDE, SIDE), 3000, np.uint16)
        if n % 2:
            np.save(folder / frames[n]["depth_file_path"], depth.astype(np.float32))
        else:
            Image.fromarray(depth).save(folder / frames[n]["depth_file_path"])
    points = captures.cloud(20)
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 20\n" + "".join(
        f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    (folder / "points.ply").write_bytes(head.encode() + points.astype("<f4").tobytes())
    captures.write_json(folder / "transforms.json", content)


def _write_blender(folder: Path):
    poses = _poses()
    for split, numbers in (("train", (0, 1, 2)), ("test", (3,))):
        (folder / split).mkdir(parents=True)
        for n in numbers:
            Image.fromarray(photo(n, 4)).save(folder / split / f"r_{n}.png")
        frames = [{"file_path": f"./{split}/r_{n}", "transform_matrix": poses[n]} for n in numbers]
        captures.write_json(folder / f"transforms_{split}.json", {"camera_angle_x": 0.9, "frames": frames})


def _write_multiscale(folder: Path):
    from taichi_nerf.data import load_scene
    from taichi_nerf.data.export import write_multiscale
    from taichi_nerf.data.multiscale import with_scales

    plain = folder.with_name("plain")
    content = _transforms(plain)
    for n in range(VIEWS):
        Image.fromarray(photo(n)).save(plain / "images" / f"{n:04d}.png")
    captures.write_json(plain / "transforms.json", content)
    write_multiscale(with_scales(load_scene(plain, test_every=3), 2), folder)
    shutil.rmtree(plain)


def _write_colmap(folder: Path):
    """With tracks."""
    model = captures.write_colmap(folder, count=5, models=("SIMPLE_RADIAL", "OPENCV_FISHEYE"))
    model.points = dict(list(model.points.items())[:12])
    model.see(lambda camera, local: 24 + 50 * local[:2] / max(local[2], 0.1))
    model.write_binary(folder / "sparse" / "0")


WRITERS = {
    "transforms": _write_transforms,
    "rich": _write_rich,
    "blender": _write_blender,
    "colmap": _write_colmap,
    "colmap-text": lambda folder: captures.write_colmap(folder, binary=False, count=5),
    "llff": lambda folder: captures.write_llff(folder, count=5),
    "nerfies": lambda folder: captures.write_nerfies(folder, count=6, scales=(2,)),
    "phototourism": lambda folder: captures.write_phototourism(folder, count=6),
    "nsvf": lambda folder: captures.write_nsvf(folder, count=6),
    "multiscale": _write_multiscale,
}
FORMAT = {"rich": "transforms", "colmap-text": "colmap"}  # of a scene by its name, where they differ
