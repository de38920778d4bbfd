"""Whole pictures: the rays of one camera through a model, in pieces that fit the memory.

What is rendered is anything that has `render(rays)`. It may say how many rays a pixel wants (`rays_per_pixel`),
whether they are cones (`sees_cones`) and what the sharpest photos saw (`sharpest`), have `density(positions)`, for
normals, and `one_launch()`, which renders rays in a single launch.

H x W pixels of a view, P pixels of a piece, R rays of a piece, K visible samples of a piece.
"""

import functools
import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from .. import runtime
from ..data.scene import EQUIRECTANGULAR, Cameras
from ..ops.camera import ray_offsets, rays_from_pixels
from ..ops.conical_frustum import cone_radii
from ..ops.field_rendering import tile_order
from ..types import UNKNOWN, Rays, Shot
from .cones import times_as_wide
from .model import RayRenderer
from .panoramas import panorama_rays
from .pixels import Pixels, mean_of
from .probe import next_piece

EMPTY = 1e-3  # opacity below which a pixel has neither depth nor normal
NORMAL_STEPS = 2  # steps of the march to either side over which the density is compared
TRANSPARENT = 0.01  # optical thickness of these steps that counts as nothing
ROW_STRIDE = 0.6180339887  # of the picture's height: the golden ratio spreads the rows of each piece evenly
MOST_BESIDE = 8  # rays of a pixel side by side
PIECE = 2**19  # rays of a launch of the fast path
# the same where a picture can be broken off, or somebody is told how far it is: some hundredths of a second
BREAKABLE = {"cpu": 2**13, "cuda": PIECE}

Renderer = Literal["auto", "torch", "taichi"]


PROBE_FROM = 0.5  # seconds of a frame from which on the faster renderer is looked for
PROBED = 4096  # rays that are rendered by each to find it out, of at least two rows
LONG = 5.0  # seconds of a view, from which on it is said how far the next one is
FRAMES = 32  # for which the answer is taken to hold
PATIENCE = 10.0  # seconds of quicker frames, after which it is looked for all the same: the other has to be compiled

_faster: weakref.WeakKeyDictionary[nn.Module, tuple] = weakref.WeakKeyDictionary()
_spent: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()  # seconds of frames of either


class BrokenOff(Exception):
    """Nobody wants the picture any more."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What a model shows to one camera."""

    colour: np.ndarray
    """[H, W, 3] float32 in [0, 1], over the background."""
    opacity: np.ndarray
    """[H, W] float32 in [0, 1]."""
    depth: np.ndarray
    """[H, W] float32: mean distance along the ray in model units; 0 where there is nothing."""
    normals: np.ndarray | None
    """[H, W, 3] float32: unit normals pointing outwards, in the world's axes; 0 where there is nothing."""
    samples: int
    """Visible samples of all rays."""
    renderer: Literal["torch", "taichi"] = "torch"
    """What rendered it."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """That it took its renderer, and that it would take others which were tried."""


def render_view(
    model: nn.Module,
    cameras: Cameras,
    index: int,
    *,
    background: float | tuple[float, float, float],
    normals: bool = False,
    chunk: int | None = None,
    renderer: Renderer = "auto",
    shot: Shot = UNKNOWN,
    stopped: Callable[[], bool] | None = None,
    wanted: np.ndarray | None = None,
    on_piece: Callable[[int, int], None] | None = None,
    supersample: bool = True,
) -> View:
    """Render what camera `index` of `cameras`, in model space, sees.

    Args:
        model: has `render(rays)`, for normals `density(positions)`, and perhaps `rays_per_pixel`.
        background: grey value or sRGB colour behind what is transparent.
        normals: also composite the directions in which the density falls; it takes three times as long.
        chunk: pixels of a piece; by default as many as give a bounded number of samples.
        renderer: `taichi` renders in one launch, evaluates nothing behind surfaces, and computes the networks in the
            precision of the kernels; `torch` goes stage by stage, renders any model, and has normals; `auto` is
            `taichi` on Vulkan where the model has it, else `torch`, or where a frame takes longer than half a second,
            or frames have taken ten, the one that is faster here and now, which holds for the frames that follow.
        shot: what the view is of besides its camera, R = 1: a time, the image or the ids whose codes it has, or codes;
            by default nothing, which is the mean of the codes that a model has learned.
        stopped: is asked before each piece whether the picture is still wanted.
        wanted: [H, W] bool: the pixels that are rendered; the others are empty. None: all.
        on_piece: is told after each piece how many pixels are done, and how many there are.
        supersample: whether a pixel that sees more than one of the sharpest photos, as the picture is smaller or from
            farther away, is the mean of several rays: about as many side by side as those are beside each other in
            it, 8 at the most. A photo made smaller is such a mean, too.

    Returns:
        The pictures as arrays, on the host. Not differentiable. `chunk` changes nothing but rounding.

    Raises:
        BrokenOff: it was `stopped`.
        ValueError: `chunk` below 1, a background that is neither a number nor three, or `taichi` for what it
            cannot render.
        IndexError: there is no such camera.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    if not 0 <= index < len(cameras):
        raise IndexError(f"index must be in [0, {len(cameras)}), got {index}")
    background = np.broadcast_to(np.asarray(background, np.float32), (3,))
    tried: dict[str, float] = {}
    frame = _frame(model, cameras, index, shot, background, supersample)
    launch = None if normals or renderer == "torch" else _one_launch(model, frame.shot)
    if renderer == "taichi" and launch is None:
        what = "normals" if normals else type(model).__name__
        raise ValueError(f"renderer must be torch or auto for {what}, got taichi")
    if renderer == "auto":
        # on Vulkan tensors would travel at every stage; elsewhere networks in half precision are as fast, if not busy
        quick = runtime.current().backend == "vulkan" or getattr(model, "quickest_in_one_launch", False)
        renderer = "taichi" if launch is not None and quick else "torch"
        if launch is not None:
            renderer, tried = _faster_renderer(model, frame, launch, renderer)
    began = time.perf_counter()
    if renderer == "taichi":
        image, samples = _render_fast(launch, frame, chunk, stopped, wanted, on_piece)
    else:
        image, samples = _render_pieces(model, frame, normals, chunk, stopped, wanted, on_piece)
    seconds = {**tried, renderer: time.perf_counter() - began}
    _spent[model] = _spent.get(model, 0.0) + seconds[renderer]
    image = image.reshape(frame.height, frame.width, 8).numpy()
    return replace(_view(image, background, normals, samples), renderer=renderer, seconds=seconds)


def rays_of_pixel(model: nn.Module, cameras: Cameras, index: int) -> int:
    """Those whose mean a pixel of camera `index` of `cameras`, in model space, is where the picture may supersample."""
    of_photo = getattr(model, "rays_per_pixel", 1)
    if int(cameras.lens[index]) == EQUIRECTANGULAR or not hasattr(model, "sharpest"):
        return of_photo
    times = min(times_as_wide(cameras, index, model.sharpest), MOST_BESIDE)
    return max(of_photo, min(math.isqrt(of_photo) * round(times), MOST_BESIDE) ** 2)


def told_of(on_part: Callable[[float, int], None] | None, done: float, total: int,
            share: float = 1.0) -> Callable[[int, int], None] | None:
    """`on_piece` of a picture that follows `done` of `total` views, and is a `share` of one, or stands for several that
    are rendered at once: tells `on_part` how many are done, with the part of it."""
    if on_part is None:
        return None
    return lambda pixels, of: on_part(min(done + share * pixels / of, total), total)


def camera_rays(model: nn.Module, cameras: Cameras, index: int) -> Rays:
    """One ray through the centre of each pixel of camera `index`, in model space, row by row: where the model is."""
    frame = replace(_frame(model, cameras, index, UNKNOWN), per_pixel=1)
    return frame.rays(torch.arange(frame.width * frame.height, device=frame.camera[0].device))


def directions_of(model: nn.Module, cameras: Cameras, index: int) -> np.ndarray:
    """[H, W, 3]: unit directions in which the pixels of camera `index` look, as they are rendered."""
    width, height = (int(side) for side in cameras.size[index])
    return camera_rays(model, cameras, index).directions.cpu().numpy().reshape(height, width, 3)


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What one camera is asked for."""

    camera: list[Tensor]
    """Pose, focal, principal, distortion, lens: [1, ..] each."""
    width: int
    height: int
    per_pixel: int
    """Rays of a pixel."""
    cones: bool
    """Whether rays have a radius."""
    panorama: bool
    """Whether the picture is equirectangular."""
    shot: Shot
    """R = 1"""
    background: Tensor
    """[3]"""

    def rays(self, pixels: Tensor) -> Rays:
        """Those of pixels [P], numbered row by row."""
        x, y = pixels % self.width, pixels.div(self.width, rounding_mode="floor")
        centre = torch.stack([x, y], dim=1).to(self.camera[0]) + 0.5  # [P, 2]
        place = (centre[:, None] + ray_offsets(self.per_pixel).to(centre)).reshape(-1, 2)  # [R, 2]
        origins, directions, radius = self._lines(place)
        shot = self.shot.map(lambda values: values.expand(len(place), *values.shape[1:]))
        return Rays(origins, directions, radius, shot, self.per_pixel)

    def _lines(self, place: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Origins, unit directions and, of cones, radii of the rays at places [R, 2]."""
        if self.panorama:
            pose, focal, principal, distortion = (values[0] for values in self.camera[:4])
            return panorama_rays(place, pose, focal, principal, eye=float(distortion[0]))
        of_camera = torch.zeros(len(place), dtype=torch.int32, device=place.device)
        origins, directions = rays_from_pixels(of_camera, place, *self.camera)
        return origins, directions, cone_radii(of_camera, place, *self.camera[1:]) if self.cones else None


def _frame(model: nn.Module, cameras: Cameras, index: int, shot: Shot,
           background: Sequence[float] = (0.0, 0.0, 0.0), supersample: bool = False) -> _Frame:
    width, height = (int(length) for length in cameras.size[index])
    like = next(model.parameters())
    per_pixel = rays_of_pixel(model, cameras, index) if supersample else getattr(model, "rays_per_pixel", 1)
    return _Frame(camera=_camera_tensors(cameras, index, like), width=width, height=height,
                  per_pixel=per_pixel, cones=getattr(model, "sees_cones", False),
                  panorama=int(cameras.lens[index]) == EQUIRECTANGULAR,
                  shot=shot.map(lambda values: values.to(like.device)), background=like.new_tensor(background))


def _one_launch(model: nn.Module, shot: Shot) -> RayRenderer | None:
    return model.one_launch(shot) if hasattr(model, "one_launch") else None


def _faster_renderer(model: nn.Module, frame: _Frame, launch: RayRenderer,
                     first: Literal["torch", "taichi"]) -> tuple[Literal["torch", "taichi"], dict[str, float]]:
    """The renderer that takes less time for this frame here and now, found with some rows of it if it pays; `first` is
    the one that is likely to. What it finds holds for some frames. And the seconds of a frame by those it tried."""
    running, count = runtime.current(), frame.width * frame.height
    known = _faster.get(model)
    if known is not None and known[0] is running and known[2] > 0:
        _faster[model] = (running, known[1], known[2] - 1)
        return known[1], {}
    rows = _spread_rows(frame.width, frame.height)
    tiles = _spread_over(rows[: max(PROBED // frame.per_pixel, 2 * frame.width)],
                         max(PROBED, 2 * frame.width) // frame.per_pixel)
    patient = _spent.get(model, 0.0) < PATIENCE
    if len(tiles) * 8 > count and patient:
        return first, {}

    ways = {"torch": lambda pixels: _render_piece(model, frame, pixels, False),
            "taichi": lambda pixels: _render_launch(launch, frame, pixels)}
    seconds = {}
    for name in sorted(ways, key=lambda name: name != first):
        ways[name](tiles[:16])  # which compiles
        start = time.perf_counter()
        ways[name](tiles)
        seconds[name] = (time.perf_counter() - start) * count / len(tiles)
        if seconds[first] < PROBE_FROM and patient:
            return first, seconds
    best = min(seconds, key=seconds.get)
    _faster[model] = (running, best, FRAMES)
    return best, seconds


@torch.no_grad()
def _render_fast(launch: RayRenderer, frame: _Frame, chunk: int | None, stopped: Callable[[], bool] | None,
                 wanted: np.ndarray | None, on_piece: Callable[[int, int], None] | None) -> tuple[Tensor, int]:
    """[H * W, 8] as of `_render_piece`, and the number of samples."""
    pixels = _wanted_of(_tiles(frame.width, frame.height), wanted)
    image, done, samples = torch.zeros(frame.height * frame.width, 8), 0, 0
    most = PIECE if stopped is None and on_piece is None else BREAKABLE[frame.camera[0].device.type]
    for piece in pixels.split(chunk or most // frame.per_pixel):
        _go_on(stopped)
        image[piece, :5], count = _render_launch(launch, frame, piece)
        done += len(piece)
        samples += count
        _tell(on_piece, done, len(pixels))
    return image, samples


@functools.lru_cache(maxsize=4)
def _tiles(width: int, height: int) -> Tensor:
    """[H * W] the pixels in the order of `tile_order`, which takes as long as a part of a picture."""
    return torch.from_numpy(tile_order(width, height))


@torch.no_grad()
def _render_launch(launch: RayRenderer, frame: _Frame, pixels: Tensor) -> tuple[Tensor, int]:
    """[P, 5] colour, opacity and depth of pixels [P], on the host, and their samples."""
    rays = frame.rays(pixels)
    colour, opacity, depth, count = launch(rays)
    of_rays = torch.cat([colour, opacity[:, None], depth[:, None]], dim=1).float().cpu()
    return mean_of(of_rays, frame.per_pixel), int(count.sum())


def _render_pieces(model: nn.Module, frame: _Frame, normals: bool, chunk: int | None,
                   stopped: Callable[[], bool] | None, wanted: np.ndarray | None,
                   on_piece: Callable[[int, int], None] | None) -> tuple[Tensor, int]:
    """[H * W, 8] as of `_render_piece`, in pieces as large as the memory allows, and the number of samples."""
    pixels, per_pixel = _wanted_of(_spread_rows(frame.width, frame.height), wanted), frame.per_pixel
    image = torch.zeros(frame.height * frame.width, 8)
    device = frame.camera[0].device
    done, marched, samples, count = 0, 0, 0, chunk or next_piece(0, 0, 0, device, per_pixel)
    while done < len(pixels):
        _go_on(stopped)
        piece = pixels[done : done + count]
        image[piece], rendered = _render_piece(model, frame, piece, normals)
        done += len(piece)
        marched += rendered.marched
        samples += rendered.visible
        _tell(on_piece, done, len(pixels))
        count = chunk or next_piece(count, done, marched, device, per_pixel)
    return image, samples


def _wanted_of(pixels: Tensor, wanted: np.ndarray | None) -> Tensor:
    """Those of the pixels, in an order of theirs, that are `wanted` [H, W]."""
    return pixels if wanted is None else pixels[torch.from_numpy(wanted.reshape(-1))[pixels]]


def _go_on(stopped: Callable[[], bool] | None):
    if stopped is not None and stopped():
        raise BrokenOff


def _tell(on_piece: Callable[[int, int], None] | None, done: int, count: int):
    if on_piece is not None:
        on_piece(done, count)


@torch.no_grad()
def _render_piece(model: nn.Module, frame: _Frame, pixels: Tensor, normals: bool) -> tuple[Tensor, Pixels]:
    """[P, 8] colour, opacity, depth and, where asked for, normal of pixels [P], on the host. The colour is over black;
    if a background is seen through tinted glass, its tint is in it."""
    rendered = model.render(frame.rays(pixels))
    colour = rendered.colour + rendered.extras.get("tint", 0) * frame.background
    normal = torch.zeros_like(colour)
    if normals:
        normal = mean_of(_composite_normals(model, rendered, frame.shot), frame.per_pixel)
        normal = _with_surfaces(normal, rendered)
    columns = (colour, rendered.opacity[:, None], rendered.depth[:, None], normal)
    return torch.cat(columns, dim=1).float().cpu(), rendered


def _composite_normals(model: nn.Module, rendered: Pixels, shot: Shot) -> Tensor:
    """[R, 3]: the sum over the samples of each ray of w times the slope of its density, downwards.

    The slope is that of log(density h + 0.01), which does not see what is next to transparent, over a
    distance h of some steps to either side. The gradient of the density in a point would be that of a hash
    grid's finest level, mostly noise; differences see the coarser ones, too (Li et al. 2023, Neuralangelo,
    section 3.2).
    """
    samples = rendered.samples
    shot = shot.map(lambda values: values.expand(len(samples), *values.shape[1:]))
    reach = NORMAL_STEPS * samples.dt  # [K]
    slope = torch.zeros_like(samples.positions)
    for axis in range(3):
        for sign in (-1, 1):
            beside = samples.positions.clone()
            beside[:, axis] += sign * reach
            density = model.density(beside, shot)
            slope[:, axis] -= sign * torch.log(density * reach + TRANSPARENT)
    return slope.new_zeros(samples.ray_total, 3).index_add_(0, samples.ray_index, rendered.weights[:, None] * slope)


def _with_surfaces(normal: Tensor, rendered: Pixels) -> Tensor:
    """[P, 3]: the normals of the field and, where there are some, of surfaces, each by its part of the opacity."""
    if "surfaces" not in rendered.extras:
        return normal
    of_field = (rendered.opacity - rendered.extras["surfaces"])[:, None]
    return of_field * torch.nn.functional.normalize(normal, dim=1) + rendered.extras["normals"]


def _camera_tensors(cameras: Cameras, index: int, like: Tensor) -> list[Tensor]:
    one = cameras.subset([index])
    floats = (one.camera_to_world, one.focal, one.principal, one.distortion)
    return [
        *(torch.from_numpy(np.ascontiguousarray(array)).to(like) for array in floats),
        torch.from_numpy(one.lens).to(like.device),
    ]


def _spread_rows(width: int, height: int) -> Tensor:
    """[H * W] the pixels row by row, the rows so ordered that any run of them is spread over the picture.

    Every piece then has about as many samples per ray as the picture, and its size can be chosen by that.
    """
    rows = np.argsort(np.arange(height) * ROW_STRIDE % 1)
    return torch.from_numpy((rows[:, None] * width + np.arange(width)).reshape(-1))


def _spread_over(pixels: Tensor, most: int) -> Tensor:
    """About `most` of the pixels, spread over them, or all if they are not so many."""
    return pixels[:: max(1, len(pixels) // max(most, 1))]


def _view(image: np.ndarray, background: np.ndarray, normals: bool, samples: int) -> View:
    opacity = image[..., 3]
    present = opacity > EMPTY
    depth = np.where(present, image[..., 4] / np.maximum(opacity, EMPTY), 0)
    return View(
        colour=np.clip(image[..., :3] + (1 - opacity)[..., None] * background, 0, 1),
        opacity=opacity.copy(),
        depth=depth.astype(np.float32),
        normals=_unit_normals(image[..., 5:], present) if normals else None,
        samples=samples,
    )


def _unit_normals(composited: np.ndarray, present: np.ndarray) -> np.ndarray:
    """[H, W, 3]: 0 where nothing is `present` [H, W], or has no direction."""
    length = np.linalg.norm(composited, axis=-1)
    there = (present & (length > 1e-6))[..., None]
    return np.where(there, composited / np.maximum(length, 1e-6)[..., None], 0)
