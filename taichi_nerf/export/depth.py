"""Depth pictures for machines: 16-bit PNG, or EXR, each with its camera beside it as JSON.

A value of an EXR is the distance along the optical axis, its channel being Z; that of a PNG is the same in steps that
the JSON states: of a millimetre, where the scene's metres are known, else of a thousandth of its unit, and ten or a
hundred times as much where the farthest thing would not fit. 0: there is no surface.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.scene import Cameras
from ..pictures import written_aside
from ..query import Field
from .surface import SurfaceView, pinhole, surface_views

__all__ = ["write_depth"]

STEP, LARGEST = 0.001, 65535


def write_depth(folder: Path, field: Field, cameras: Cameras, *, unit: float | None = None, exr: bool = False,
                time: float | None = None, on_view: Callable[[int, int], None] | None = None) -> float:
    """Write `depth_0000.png`, or .exr, and `depth_0000.json` of each of `cameras`, of the world of the splits.

    Args:
        unit: metres in a unit of the file; None: unknown.
        exr: write 32-bit floats.
        time, on_view: as of `surface_views`.

    Returns:
        The largest step of a picture; 1 of an EXR.
    """
    largest = 0.0
    views = surface_views(field, pinhole(cameras), time=time, on_view=on_view)
    for number, view in enumerate(views):
        depth = _along_axis(view) * (unit or 1.0)
        step = STEP * 10.0 ** max(0, int(np.ceil(np.log10(max(depth.max(), 1e-9) / (STEP * LARGEST)))))
        step = 1.0 if exr else step
        with written_aside(folder / f"depth_{number:04d}.{'exr' if exr else 'png'}") as aside:
            if exr:
                aside.write_bytes(_exr(depth))
            else:
                Image.fromarray(np.round(depth / step).astype(np.uint16)).save(aside, format="PNG")
        with written_aside(folder / f"depth_{number:04d}.json") as aside:
            aside.write_text(json.dumps(_about(view, field.scene.origin, unit, step), indent=2) + "\n")
        largest = max(largest, step)
    return largest


def _along_axis(view: SurfaceView) -> np.ndarray:
    """[H, W] distance along the optical axis; 0 where there is no surface."""
    away = view.position.astype(np.float64) - view.camera.position[0]
    return np.where(view.met, np.nan_to_num(away) @ view.camera.view_direction[0], 0.0)


def _about(view: SurfaceView, origin: np.ndarray, unit: float | None, step: float) -> dict:
    camera, scale = view.camera, unit or 1.0
    pose = np.eye(4)
    pose[:3] = camera.camera_to_world[0]
    pose[:3, 3] = (pose[:3, 3] + origin) * scale
    (width, height), (fl_x, fl_y), (cx, cy) = camera.size[0].tolist(), camera.focal[0].tolist(), camera.principal[
        0].tolist()
    return {"w": width, "h": height, "fl_x": fl_x, "fl_y": fl_y, "cx": cx, "cy": cy, "transform_matrix": pose.tolist(),
            "axes": "opengl: x right, y up, z back", "depth": "along the optical axis, 0 where there is no surface",
            "unit": "metre" if unit else "unit of the scene's file", "units_per_step": step}


def _exr(depth: np.ndarray) -> bytes:
    """An OpenEXR file of [H, W]: one channel of float32, rows as they are."""
    height, width = depth.shape
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = (("channels", "chlist", b"Z\0" + struct.pack("<iB3x2i", 2, 0, 1, 1) + b"\0"),
                  ("compression", "compression", b"\0"), ("dataWindow", "box2i", window),
                  ("displayWindow", "box2i", window), ("lineOrder", "lineOrder", b"\0"),
                  ("pixelAspectRatio", "float", struct.pack("<f", 1)),
                  ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
                  ("screenWindowWidth", "float", struct.pack("<f", 1)))
    told = (f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value for name, kind, value in attributes)
    head = struct.pack("<2i", 20000630, 2) + b"".join(told) + b"\0"
    rows = np.zeros(height, [("number", "<i4"), ("bytes", "<i4"), ("values", "<f4", width)])
    rows["number"], rows["bytes"], rows["values"] = np.arange(height), 4 * width, depth
    places = len(head) + 8 * height + rows.itemsize * np.arange(height, dtype="<u8")
    return head + places.tobytes() + rows.tobytes()
