"""A scene as one file that a browser opens: an octree or a field, packed, and the program that shows it.

The page asks the network for nothing, and its Content-Security-Policy lets it ask for nothing. What it is made of lies
in `assets`, as it is read: a page, a style, shaders and the program. Octrees and fields differ in what is unpacked and
in the class `Renderer`, with WebGL2 or with WebGPU; all else is the same program. The bytes of the scene are deflated
and stand in the page as text in base 85, 4 bytes in 5 characters that mean nothing to HTML.

A page that comes from a server, by https or from this machine, shows the scene in a headset as well (`vr.js`).

Poses are camera to world in the scene's world, OpenGL axes. A field of view is in radians along the shorter side of the
picture, so that a scene fits windows that are upright, too.
"""

import base64
import hashlib
import html
import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from ..data.scene import PERSPECTIVE, Cameras
from ..data.svox import SvoxTree
from ..errors import UserError
from ..models.one_launch import FieldArrays
from ..paths import point_of_interest
from ..pictures import heat_map, to_uint8, written_aside
from .field_packing import VALUES, field_shader, pack_field
from .packing import pack

__all__ = ["MEGABYTES", "PageScene", "field_scene", "octree_scene", "poster_camera", "write_page"]

MEGABYTES = 50.0  # above some 65 browsers on phones give up
PIECE = 2**21  # bytes of the scene in one element of the page: each is let go once it is read
ALPHABET = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%()*+-:;=?@[]^_`{|}~",
                         np.uint8)
PROGRAM = ("webgl.js", "content.js", "camera.js", "controls.js", "vr.js", "viewer.js")  # behind what is the scene's own
CORE = (0.25, 0.75)  # of a contracted tree
HEAT_COLOURS = 16
POSTER_QUALITY = 80
POSTER_SIDE = 512  # pixels
FOV = 0.7  # radians, where no camera says it
MOST_CAMERAS = 500  # to jump to
ARM = 1.5  # metres from the head to what is looked at, where nobody says how large it is


@dataclass(frozen=True, kw_only=True)
class PageScene:
    """What a page shows, and what shows it."""

    numbers: dict
    """What the program must know of the content, for JSON."""
    content: bytes
    box: np.ndarray
    """[2, 3]: the lowest and the highest corner, in the world, of what is not empty; of an unbounded scene within its
    core, for what is outside of that has no size that could be looked at."""
    unbounded: bool
    program: tuple[str, ...]
    """Assets: what unpacks the content, and its renderer."""
    shaders: dict[str, str]
    """By the names that the renderer has for them."""
    holds: str
    """What it consists of, in words."""
    smaller: str
    """How it would be smaller, in words."""


def octree_scene(tree: SvoxTree, *, contracted: bool = False, near: float = 0.0, empty: float | None = None,
                 on_stage: Callable[[int, int], None] | None = None) -> PageScene:
    """Of an octree, for WebGL2.

    Args:
        contracted: all of space is in the tree, as `ops.octree_rendering.Frame` says.
        near: nothing nearer to the camera is seen.
        empty: density at or below which a leaf is empty; by default the whole tree full of it would not be seen.
        on_stage: is told how many stages of the packing are done, and how many there are.

    Raises UserError: the tree is none or empty.
    """
    packed = pack(tree, empty=empty, on_stage=on_stage)
    box = packed.box
    if contracted:
        offset, scale = np.asarray(tree.offset), np.asarray(tree.scale)
        box = (np.clip(offset + scale * box, *CORE) - offset) / scale
    numbers = {"nodes": packed.nodes, "leaves": packed.leaves, "depth": packed.depth, "basis": packed.basis,
               "sigma": list(packed.sigma), "rows": list(packed.rows),
               "offset": np.asarray(tree.offset, np.float64).tolist(),
               "scale": np.asarray(tree.scale, np.float64).tolist(), "near": near}
    return PageScene(numbers=numbers, content=packed.content, box=box, unbounded=contracted,
                     program=("tree.js", "octree.js"),
                     shaders={"octree": _asset("octree.frag"), "present": _asset("present.frag")},
                     holds=f"{packed.leaves} leaves", smaller="extract the octree with a smaller --depth")


def field_scene(field: FieldArrays) -> PageScene:
    """Of a field of Instant-NGP, for WebGPU. Raises UserError for one that no page can hold, or that is empty."""
    packed, layout = pack_field(field), field.layout
    levels = [{"first": first, "size": size, "resolution": resolution, "hashed": hashed, "scale": float(scale)}
              for (first, size, resolution, hashed), scale in zip(layout.levels.tolist(), layout.scales)]
    numbers = {"levels": levels, "features": layout.features, "values": VALUES, "cells": 32 * len(field.bits),
               "weights": sum(blocks.size for blocks in packed.density + packed.colour)}
    unbounded = field.settings.cascades > 1
    box = np.clip(packed.box, -0.5, 0.5) if unbounded else packed.box
    shader = field_shader(packed, _asset("field.wgsl"), _asset("layer.wgsl"))
    return PageScene(numbers=numbers, content=packed.content, box=box, unbounded=unbounded,
                     program=("table.js", "field.js", "eyes.js"),
                     shaders={"field": shader, "present": _asset("present.wgsl"), "eye": _asset("present.frag")},
                     holds=f"{field.table.size} features of a hash grid",
                     smaller="train with a smaller --model.field.hash-grid.log2-entries")


def write_page(
    path: Path, shown: PageScene, *, name: str,
    start: Cameras | None = None, cameras: Cameras | None = None, up: Sequence[float] = (0.0, 0.0, 1.0),
    background: Sequence[float] = (1.0, 1.0, 1.0), metres: float | None = None, poster: np.ndarray | None = None,
    megabytes: float = MEGABYTES,
) -> int:
    """Write the page of a scene.

    Args:
        shown: of `octree_scene` or `field_scene`.
        name: what the page is called.
        start: the first is where the page starts; without it the page starts beside the scene.
        cameras: of the scene, in its world: they can be jumped to, and what they look at is what the view turns around;
            by default the middle of its box.
        up: [3], the direction that stays upright.
        background: [3], sRGB in [0, 1].
        metres: length of a unit of the world, for headsets; by default such that the page starts ARM metres away from
            what it turns around.
        poster: [S, S, 3], what `poster_camera` of `start` sees: it is shown until the scene is there.
        megabytes: largest size of the file, of a million bytes.

    Returns:
        The bytes of the file.

    Raises:
        UserError: the page would be larger than `megabytes`, or cannot be written.
    """
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    views = _views(shown.box, start, cameras, up)
    away = float(np.linalg.norm(np.asarray(views["start"]["pose"])[:, 3] - views["focus"]))
    scene = {
        **shown.numbers, "box": shown.box.tolist(), "unbounded": shown.unbounded, "bytes": len(shown.content),
        "background": np.asarray(background, np.float64).tolist(), "up": up.tolist(),
        "heat": heat_map(np.linspace(0, 1, HEAT_COLOURS)).round(4).tolist(), **views,
        "metres": ARM / max(away, 1e-6) if metres is None else metres,
    }
    content = _page(name, scene, shown, poster)
    if len(content) > megabytes * 1e6:
        raise UserError(f"the page would have {len(content) / 1e6:.1f} MB for {shown.holds}, and may have "
                        f"{megabytes:g}: {shown.smaller}, or allow more --megabytes")
    with written_aside(path) as aside:
        aside.write_bytes(content)
    return len(content)


def poster_camera(cameras: Cameras) -> Cameras:
    """The first of `cameras`, with the square picture that a page shows while it loads."""
    first = cameras.subset([0])
    focal = POSTER_SIDE * first.focal.max(axis=1) / first.size.min(axis=1)  # as far across as along the shorter side
    return Cameras(camera_to_world=first.camera_to_world, focal=np.stack([focal, focal], axis=1),
                   principal=np.full((1, 2), 0.5 * POSTER_SIDE), distortion=np.zeros((1, 6)), lens=[PERSPECTIVE],
                   size=[[POSTER_SIDE, POSTER_SIDE]])


def _views(box: np.ndarray, start: Cameras | None, cameras: Cameras | None, up: np.ndarray) -> dict:
    """Where the page starts, what it turns around, and the cameras it jumps to."""
    known = cameras is not None and len(cameras) > 0
    return {"start": _beside(box, up) if start is None else _looks(start)[0],
            "focus": (point_of_interest(cameras) if known else box.mean(axis=0)).tolist(),
            "cameras": _looks(cameras.subset(slice(MOST_CAMERAS))) if known else []}


def _looks(cameras: Cameras) -> list[dict]:
    """Pose and field of view of each."""
    fov = 2 * np.arctan(0.5 * cameras.size.min(axis=1) / cameras.focal.max(axis=1))
    return [{"pose": pose.astype(float).round(6).tolist(), "fov": round(float(angle), 6)}
            for pose, angle in zip(cameras.camera_to_world, fov)]


def _beside(box: np.ndarray, up: np.ndarray) -> dict:
    """A view of `box` [2, 3] from the side and a little above."""
    level = np.eye(3)[int(np.abs(up).argmin())]
    across = np.cross(up, level) / np.linalg.norm(np.cross(up, level))
    back = np.cross(across, up) + 0.4 * up + 0.5 * across
    back /= np.linalg.norm(back)
    right = np.cross(up, back) / np.linalg.norm(np.cross(up, back))
    away = 0.5 * np.linalg.norm(box[1] - box[0]) / np.sin(0.5 * FOV)
    pose = np.stack([right, np.cross(back, right), back, box.mean(axis=0) + away * back], axis=1)
    return {"pose": pose.tolist(), "fov": FOV}


def _page(name: str, scene: dict, shown: PageScene, poster: np.ndarray | None) -> bytes:
    """The file: `assets/page.html` with all that belongs into it. A name is text there, no markup."""
    colours = " ".join(f"{100 * part:.1f}%" for part in np.clip(scene["background"], 0, 1))
    style = _asset("page.css") + f":root {{ --background: rgb({colours}); }}\n"
    program = '"use strict";\n(() => {\n' + "".join(map(_asset, shown.program + PROGRAM)) + "})();\n"
    policy = (f"default-src 'none'; img-src data:; style-src 'sha256-{_digest(style)}'; "
              f"script-src 'sha256-{_digest(program)}'; base-uri 'none'; form-action 'none'")
    return Template(_asset("page.html")).substitute(
        name=html.escape(name), policy=policy, style=style, program=program,
        scene=json.dumps(scene, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        shaders="\n".join(f'<script type="text/plain" class="shader" data-name="{kind}">\n{source}</script>'
                          for kind, source in shown.shaders.items()),
        poster="hidden" if poster is None else f'src="data:image/jpeg;base64,{_jpeg(poster)}"',
        content="\n".join(_elements(zlib.compress(shown.content, 9))),
    ).encode("utf-8", "replace")


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _jpeg(picture: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(to_uint8(picture)).save(stream, format="JPEG", quality=POSTER_QUALITY)
    return base64.b64encode(stream.getvalue()).decode()


def _elements(content: bytes):
    """`content` as elements of the page, which no browser runs."""
    for start in range(0, len(content), PIECE):
        piece = content[start : start + PIECE]
        yield f'<script type="text/plain" class="content" data-bytes="{len(piece)}">{_base_85(piece)}</script>'


def _base_85(content: bytes) -> str:
    """4 bytes in 5 characters, the first being the highest, as in Ascii85; the end is filled with zeros."""
    words = np.frombuffer(content + bytes(-len(content) % 4), ">u4").astype(np.uint32)
    digits = words[:, None] // np.array([85**4, 85**3, 85**2, 85, 1], np.uint32) % np.uint32(85)
    return ALPHABET[digits].tobytes().decode("ascii")
