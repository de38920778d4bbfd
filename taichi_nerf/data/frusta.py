"""A picture of where the cameras stand and what they look at: in perspective, from above and from the side.

Everything is drawn in model space. "Up" is the axis of the model that the cameras' own up comes closest to. What
structure from motion found is drawn as points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .scene import PERSPECTIVE, Cameras, Scene

WIDTH, HEIGHT = 1600, 1000
SUPERSAMPLING = 2
BACKGROUND, PANEL, INK, FAINT = (17, 19, 24), (24, 27, 34), (226, 229, 235), (110, 118, 132)
COLOURS = {"train": (86, 180, 233), "val": (190, 140, 255), "test": (255, 159, 64)}
AXIS_COLOURS = ((240, 98, 98), (110, 205, 120), (96, 150, 255))
MOST_CAMERAS, MOST_POINTS = 400, 6000
EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1]


@dataclass(frozen=True)
class View:
    """A way to look at model space; `distance` 0 is parallel projection."""

    title: str
    vertical: np.ndarray
    """[3]: the scene's up; `right` and `up` are those of the picture."""
    right: np.ndarray
    up: np.ndarray
    target: np.ndarray
    distance: float
    panel: tuple[int, int, int, int]
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def project(self, points: np.ndarray) -> np.ndarray:
        """[..., 3] model positions to [..., 3]: pixels right, pixels down, how much nearer."""
        local = points - self.target
        nearer = local @ np.cross(self.right, self.up)
        size = (
            self.distance / np.maximum(self.distance - nearer, 0.05 * self.distance) if self.distance else 1.0
        )
        x, y = local @ self.right * size, local @ self.up * size
        left, top, width, height = self.panel
        return np.stack(
            [
                left + width / 2 + self.zoom * (x - self.shift[0]),
                top + height / 2 - self.zoom * (y - self.shift[1]),
                nearer,
            ],
            axis=-1,
        )

    def fitted(self, points: np.ndarray, margin: float) -> "View":
        """The same view with the zoom that makes `points` fill the panel up to the margin in pixels."""
        _, _, width, height = self.panel
        plain = replace(self, panel=(0, 0, 0, 0), zoom=1.0, shift=(0.0, 0.0))
        seen = plain.project(points)[..., :2] * (1, -1)
        low, high = seen.min(axis=0), seen.max(axis=0)
        extent = np.maximum(high - low, 1e-6)
        zoom = float(((np.array([width, height]) - 2 * margin) / extent).min())
        return replace(self, zoom=zoom, shift=tuple((low + high) / 2))


def draw_frusta(scene: Scene) -> np.ndarray:
    """[1000, 1600, 3] uint8: the cameras of all splits as frusta, the model box and the unit cube."""
    groups = {name: _thinned(scene.model_cameras(name)) for name in scene.splits}
    everyone = np.concatenate([np.zeros((0, 3)), *(cameras.position for cameras in groups.values())])
    reach = max(0.6, float(np.quantile(np.abs(everyone), 0.98)) if len(everyone) else 0.6)
    length = 0.11 * reach
    frusta = {name: frustum_corners(cameras, length) for name, cameras in groups.items()}
    shown = np.concatenate([_box(0.5), *(corners.reshape(-1, 3) for corners in frusta.values())])
    shown = np.clip(shown, -1.3 * reach, 1.3 * reach)
    points = _scattered(scene, 1.3 * reach)
    boxes = [0.5] if scene.aabb_scale == 1 else [0.5, scene.half_side]
    s = SUPERSAMPLING
    image = Image.new("RGB", (WIDTH * s, HEIGHT * s), BACKGROUND)
    draw = ImageDraw.Draw(image, "RGBA")
    for view in _views(groups, shown, reach):
        _draw_panel(image, draw, view, frusta, boxes, points, reach)
    _draw_header(draw, scene, groups, _grid_step(reach))
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def frustum_corners(cameras: Cameras, length: float) -> np.ndarray:
    """[N, 6, 3]: camera centre, four corners of the image at depth `length`, tip of a mark at its top."""
    corners = np.array(
        [[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0]]
    )  # [5, 2] of the image, the last one its top
    pixel = corners * cameras.size[:, None]
    image = (pixel - cameras.principal[:, None]) / cameras.focal[:, None]  # [N, 5, 2]
    fisheye = (cameras.lens != PERSPECTIVE)[:, None, None]
    angle = np.linalg.norm(image, axis=-1, keepdims=True)
    opened = np.tan(np.minimum(angle, 1.2)) / np.maximum(angle, 1e-9)
    image = np.where(fisheye, image * opened, image) * (1, -1)
    image[:, 4, 1] += 0.25 * np.ptp(image[:, :4, 1], axis=1)
    image *= np.minimum(1, 1.2 / np.abs(image).max(axis=(1, 2), keepdims=True))
    local = length * np.concatenate([image, -np.ones_like(image[..., :1])], axis=-1)
    local = np.concatenate([np.zeros_like(local[:, :1]), local], axis=1)  # [N, 6, 3]
    rotation, position = cameras.camera_to_world[:, :, :3], cameras.position
    return np.einsum("nij,nkj->nki", rotation, local) + position[:, None]


def _views(groups: dict[str, Cameras], shown: np.ndarray, reach: float) -> Sequence[View]:
    up = _up_axis(groups)
    sign, axis = int(np.sign(up.sum())), int(np.abs(up).argmax())
    across = np.eye(3)[(axis + 1) % 3]
    deep = np.cross(up, across)
    s, gap, head = SUPERSAMPLING, 14, 84
    left, height = 980, HEIGHT - head - gap
    half = (height - gap) // 2
    panels = [
        (gap, head, left - gap, height),
        (left + gap, head, WIDTH - left - 2 * gap, half),
        (left + gap, head + half + gap, WIDTH - left - 2 * gap, half),
    ]
    panels = [tuple(s * v for v in panel) for panel in panels]
    turn, rise = np.radians(35), np.radians(24)
    right = np.cos(turn) * across + np.sin(turn) * deep
    back = np.sin(turn) * across - np.cos(turn) * deep
    tilted = np.cos(rise) * up - np.sin(rise) * back
    target = 0.5 * (shown.min(axis=0) + shown.max(axis=0))
    letter = f"{'-' if sign < 0 else ''}{'xyz'[axis]}"
    views = [
        View(f"perspective, {letter} up", up, right, tilted, target, 5 * reach, panels[0]),
        View(f"from above ({letter})", up, across, deep, target, 0, panels[1]),
        View(f"from the side, {letter} up", up, across, up, target, 0, panels[2]),
    ]
    return [view.fitted(shown, s * 46) for view in views]


def _up_axis(groups: dict[str, Cameras]) -> np.ndarray:
    ups = np.concatenate(
        [np.zeros((0, 3)), *(cameras.camera_to_world[:, :, 1] for cameras in groups.values())]
    )
    mean = ups.mean(axis=0) if len(ups) else np.array([0.0, 0.0, 1.0])
    axis = int(np.abs(mean).argmax())
    return np.eye(3)[axis] * (1.0 if mean[axis] >= 0 else -1.0)


def _draw_panel(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    view: View,
    frusta: dict[str, np.ndarray],
    boxes,
    points: tuple[np.ndarray, np.ndarray],
    reach: float,
):
    left, top, width, height = view.panel
    panel = Image.new("RGB", (width, height), PANEL)
    inner = replace(view, panel=(0, 0, width, height))
    pen = ImageDraw.Draw(panel, "RGBA")
    _draw_floor(pen, inner, reach)
    for half in boxes:
        _draw_box(pen, inner, half, alpha=235 if half == 0.5 else 90)
    _draw_points(pen, inner, *points)
    _draw_cameras(pen, inner, frusta)
    _draw_axes(pen, inner, (54 * SUPERSAMPLING, height - 54 * SUPERSAMPLING))
    pen.text((16 * SUPERSAMPLING, 12 * SUPERSAMPLING), view.title, fill=FAINT, font=_font(15))
    image.paste(panel, (left, top))
    draw.rounded_rectangle(
        (left, top, left + width, top + height), 8 * SUPERSAMPLING, outline=(52, 57, 68), width=SUPERSAMPLING
    )


def _draw_points(pen: ImageDraw.ImageDraw, view: View, position: np.ndarray, colour: np.ndarray):
    """[P, 3] model positions in their colours [P, 3], lightened so that dark ones show."""
    places = view.project(position)
    for (x, y, _), rgb in zip(places[np.argsort(places[:, 2])].tolist(), colour[np.argsort(places[:, 2])].tolist()):
        pen.rectangle((x, y, x + SUPERSAMPLING, y + SUPERSAMPLING), fill=(*rgb, 170))


def _scattered(scene: Scene, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Model positions [P, 3] and colours [P, 3] of the scene's points within `reach`, thinned out."""
    if scene.points is None:
        return np.zeros((0, 3)), np.zeros((0, 3), int)
    position = scene.to_model(scene.points.position)
    near = np.flatnonzero((np.abs(position) < reach).all(axis=1))
    near = near[:: 1 + len(near) // MOST_POINTS]
    if scene.points.colour is None:
        return position[near], np.tile(np.array(FAINT), (len(near), 1))
    return position[near], 55 + scene.points.colour[near].astype(int) * 200 // 255


def _draw_cameras(pen: ImageDraw.ImageDraw, view: View, frusta: dict[str, np.ndarray]):
    """Far ones first and fainter, so that the near ones stand out."""
    items = [
        (view.project(corners), COLOURS.get(name, INK)) for name, group in frusta.items() for corners in group
    ]
    if not items:
        return
    depth = np.array([points[0, 2] for points, _ in items])
    nearness = (
        (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6) if view.distance else np.full(len(items), 0.6)
    )
    for k in np.argsort(depth):
        points, colour = items[k]
        flat = [tuple(p) for p in points[:, :2].tolist()]
        alpha = int(95 + 150 * nearness[k])
        pen.polygon(flat[1:5], fill=(*colour, alpha // 4))
        for corner in flat[1:5]:
            pen.line([flat[0], corner], fill=(*colour, alpha * 2 // 3), width=SUPERSAMPLING)
        pen.line([*flat[1:5], flat[1]], fill=(*colour, alpha), width=SUPERSAMPLING + 1)
        pen.line([flat[1], flat[5], flat[2]], fill=(*colour, alpha), width=SUPERSAMPLING)
        _dot(pen, flat[0], 1.7 * SUPERSAMPLING, (*colour, min(alpha + 40, 255)))


def _draw_floor(pen: ImageDraw.ImageDraw, view: View, reach: float):
    """A grid through the bottom of the unit cube."""
    axis = int(np.abs(view.vertical).argmax())
    others = [k for k in range(3) if k != axis]
    step = _grid_step(reach)
    count = int(np.ceil(1.2 * reach / step))
    for k in range(-count, count + 1):
        for along, fixed in (others, others[::-1]):
            ends = np.zeros((2, 3))
            ends[:, axis] = -0.5 * view.vertical[axis]
            ends[:, fixed] = k * step
            ends[:, along] = (-count * step, count * step)
            line = [tuple(p) for p in view.project(ends)[:, :2].tolist()]
            pen.line(line, fill=(255, 255, 255, 26 if k else 48), width=SUPERSAMPLING)


def _grid_step(reach: float) -> float:
    """Half a model unit, doubled until a dozen lines are enough."""
    return 0.5 * 2.0 ** max(0, int(np.ceil(np.log2(reach / 4))))


def _draw_box(pen: ImageDraw.ImageDraw, view: View, half: float, alpha: int):
    corners = view.project(_box(half))
    depth = corners[:, 2]
    for a, b in EDGES:
        far = view.distance and depth.argmin() in (a, b)
        pen.line(
            [tuple(corners[a, :2].tolist()), tuple(corners[b, :2].tolist())],
            fill=(*INK, alpha // 3 if far else alpha),
            width=SUPERSAMPLING + (half == 0.5),
        )


def _draw_axes(pen: ImageDraw.ImageDraw, view: View, origin: tuple[int, int]):
    normal, length = np.cross(view.right, view.up), 30 * SUPERSAMPLING
    for axis in np.argsort(np.eye(3) @ normal):
        x, y = view.right[axis] * length, -view.up[axis] * length
        if np.hypot(x, y) < 0.1 * length:
            continue
        tip = (origin[0] + x, origin[1] + y)
        pen.line([origin, tip], fill=AXIS_COLOURS[axis], width=2 * SUPERSAMPLING)
        pen.text(
            (origin[0] + 1.35 * x, origin[1] + 1.35 * y),
            "xyz"[axis],
            fill=AXIS_COLOURS[axis],
            font=_font(14),
            anchor="mm",
        )


def _draw_header(draw: ImageDraw.ImageDraw, scene: Scene, groups: dict[str, Cameras], step: float):
    s = SUPERSAMPLING
    draw.text((20 * s, 16 * s), scene.name, fill=INK, font=_font(26))
    box = "unit cube" if scene.aabb_scale == 1 else f"unit cube and model box ±{scene.half_side:g}"
    draw.text(
        (20 * s, 52 * s),
        f"{scene.format} scene; white: {box}; grid: {step:g} model units",
        fill=FAINT,
        font=_font(15),
    )
    x = WIDTH * s - 20 * s
    for name in reversed(list(groups)):
        text = f"{name}: {len(scene.splits[name])}"
        draw.text((x, 30 * s), text, fill=COLOURS.get(name, INK), font=_font(20), anchor="rm")
        x -= int(draw.textlength(text, font=_font(20))) + 12 * s
        _dot(draw, (x, 31 * s), 6 * s, COLOURS.get(name, INK))
        x -= 30 * s


def _dot(pen: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, fill):
    x, y = centre
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _font(size: int):
    return ImageFont.load_default(size * SUPERSAMPLING)


def _box(half: float) -> np.ndarray:
    """[8, 3]: the corners; those whose numbers differ in one bit share an edge."""
    return half * np.array([[1 if n >> k & 1 else -1 for k in range(3)] for n in range(8)], dtype=np.float64)


def _thinned(cameras: Cameras) -> Cameras:
    return (
        cameras.subset(slice(None, None, 1 + (len(cameras) - 1) // MOST_CAMERAS)) if len(cameras) else cameras
    )
