"""A trained field on a machine that has no PyTorch: one file is read, and frames of an orbit are rendered or shown.

    python examples/06_render_without_torch.py runs/lego/model.safetensors --frames 30
    python examples/06_render_without_torch.py runs/lego/model.safetensors --backend vulkan --window

It needs taichi, numpy, safetensors and Pillow, and the folder kernels/ on the path. The file's header says what the
arrays mean; `TaichiField` uploads them once and renders a frame in two launches: the rays, and all the rest.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import taichi as ti
from PIL import Image
from safetensors import safe_open

from taichi_nerf_kernels.field_rendering import FieldSettings, TaichiField
from taichi_nerf_kernels.hash_grid import hash_grid_layout


def load(path: Path) -> tuple[TaichiField, int]:
    """The field in a `model.safetensors` of taichi-nerf, and along how many rows and columns a pixel has its rays."""
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["header"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    field, sampling, box = header["model"]["field"], header["model"]["sampling"], header["box"]
    side, grid = box["aabb_scale"], field["hash_grid"]
    sizes = {name: grid[name] for name in ("levels", "features", "log2_entries", "base_resolution")}
    layout = hash_grid_layout(**sizes, max_resolution=grid["max_resolution"] * side)
    density, colour = (layers(arrays, f"field.{name}_network.weights.") for name in ("density", "colour"))
    cone, harmonics = sampling["cone_angle"], field.get("harmonics")
    settings = FieldSettings(
        features=layout.features,
        density_sizes=(density[0].shape[1], *(len(w) for w in density)),
        colour_sizes=(colour[0].shape[1], *(len(w) for w in colour)),
        degree=field["direction_degree"] if harmonics is None else harmonics + 1,
        harmonic=harmonics is not None,
        side=float(side),
        resolution=sampling["grid_resolution"],
        cascades=side.bit_length(),
        step=math.sqrt(3) / sampling["steps"],
        cone=cone if cone is not None else (0.0 if side == 1 else 1 / 256),
        near=box["near"],
        max_samples=sampling["max_samples"],
        early_stop=sampling["early_stop"],
    )
    loaded = TaichiField.from_arrays(
        settings, layout, bits=arrays["grid.bits"], table=arrays["field.table"],
        density_weights=density, colour_weights=colour,
    )  # fmt: skip
    return loaded, math.isqrt(header["model"].get("rays_per_pixel") or 1)


def layers(arrays: dict[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    """The weights of a network, [out, in], layer after layer."""
    return [arrays[f"{prefix}{n}"] for n in range(sum(name.startswith(prefix) for name in arrays))]


def orbit_pose(angle: float, distance: float = 1.35, height: float = 0.5) -> np.ndarray:
    """[3, 4] camera to world, OpenGL axes: it circles around the z axis and looks at the origin."""
    back = np.array([math.cos(angle), math.sin(angle), height])
    back /= np.linalg.norm(back)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back, distance * back], axis=1)


def frame(field: TaichiField, side: int, angle: float, size: int) -> np.ndarray:
    """[size, size, 3] in [0, 1], over white: each pixel the mean of side x side rays."""
    fine = size * side
    colour, opacity, _ = field.render(orbit_pose(angle), (1.4 * fine,) * 2, (0.5 * fine,) * 2, (fine, fine))
    picture = colour + (1 - opacity)[..., None]
    return np.clip(picture.reshape(size, side, size, side, 3).mean(axis=(1, 3)), 0, 1)


def show(field: TaichiField, side: int, size: int):
    """A window in which the camera circles until it is closed."""
    window, start = ti.GUI("taichi-nerf", (size, size)), time.perf_counter()
    while window.running:
        picture = frame(field, side, 0.5 * (time.perf_counter() - start), size)
        window.set_image(picture[::-1].swapaxes(0, 1).astype(np.float32))  # GUI counts x first, and y upwards
        window.show()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model.safetensors of a run")
    parser.add_argument("--backend", choices=("cpu", "cuda", "vulkan"), default="cpu")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, default=400, help="pixels along a side")
    parser.add_argument("--output", type=Path, default=Path("runs/without_torch"), help="folder of the frames")
    parser.add_argument("--window", action="store_true", help="show a window instead of writing frames")
    parser.add_argument("--small", action="store_true", help="two small frames")
    arguments = parser.parse_args()
    frames, size = (2, 48) if arguments.small else (arguments.frames, arguments.size)

    ti.init(arch=getattr(ti, arguments.backend), log_level=ti.ERROR)
    field, side = load(arguments.model)
    if arguments.window:
        return show(field, side, size)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for n in range(frames):
        start = time.perf_counter()
        picture = frame(field, side, 2 * math.pi * n / frames, size)
        path = arguments.output / f"frame_{n:03d}.png"
        Image.fromarray((255 * picture + 0.5).astype(np.uint8)).save(path)
        print(f"{path}: {time.perf_counter() - start:.2f} s" + (", compiling included" if n == 0 else ""))


if __name__ == "__main__":
    main()
