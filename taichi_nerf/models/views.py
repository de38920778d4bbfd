"""Whole pictures: the rays of one camera through a model, in pieces that fit the memory.

H x W pixels of a view, P pixels of a piece, R rays of a piece, K visible samples of a piece.
"""

import weakref
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from .. import runtime
from ..data.scene import Cameras
from ..ops.camera import ray_offsets, rays_from_pixels
from ..ops.conical_frustum import cone_radii
from ..ops.field_rendering import FieldSettings, TaichiField, prepare_field, render_field, tile_order
from ..types import Rays
from .instant_ngp import InstantNGP
from .model import Model, Pixels, mean_of

PIECES = {"cpu": (1024, 2**15, 2**17), "cuda": (2**16, 2**20, 2**23)}
# rays of the first piece, rays of a piece at most, and marched samples of a piece to aim at: they bound the memory
EMPTY = 1e-3  # opacity below which a pixel has neither depth nor normal
NORMAL_STEPS = 2  # steps of the march to either side over which the density is compared
TRANSPARENT = 0.01  # optical thickness of these steps that counts as nothing
ROW_STRIDE = 0.6180339887  # of the picture's height: the golden ratio spreads the rows of each piece evenly
PIECE = 2**19  # rays of a launch of the fast path

Renderer = Literal["auto", "torch", "taichi"]


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


def render_view(
    model: nn.Module,
    cameras: Cameras,
    index: int,
    *,
    background: float | tuple[float, float, float],
    normals: bool = False,
    chunk: int | None = None,
    renderer: Renderer = "auto",
    image_index: int | None = None,
) -> View:
    """Render what camera `index` of `cameras`, in model space, sees.

    Args:
        model: has `render(rays)`, for normals `density(positions)`, and perhaps `rays_per_pixel`.
        background: grey value or sRGB colour behind what is transparent.
        normals: also composite the directions in which the density falls; it takes three times as long.
        chunk: pixels of a piece; by default as many as give a bounded number of samples.
        renderer: `taichi` renders in one launch, evaluates nothing behind surfaces, and computes the networks in the
            precision of the kernels; `torch` goes stage by stage, renders any model, and has normals; `auto` is
            `chosen_renderer`.
        image_index: the image whose appearance it has, for a model that knows several; by default that of none.

    Returns:
        The pictures as arrays, on the host. Not differentiable. `chunk` changes nothing but rounding.

    Raises:
        ValueError: `chunk` below 1, a background that is neither a number nor three, or `taichi` for what it
            cannot render.
        IndexError: there is no such camera.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    if not 0 <= index < len(cameras):
        raise IndexError(f"index must be in [0, {len(cameras)}), got {index}")
    background = np.broadcast_to(np.asarray(background, np.float32), (3,))
    width, height = (int(length) for length in cameras.size[index])
    camera = _camera_tensors(cameras, index, like=next(model.parameters()))
    if renderer == "auto":
        renderer = chosen_renderer(model, normals=normals or image_index is not None)
    if renderer == "taichi":
        image, samples = _render_fast(model, camera, width, height, normals, chunk)
        return _view(image.reshape(height, width, 8).numpy(), background, normals, samples)
    pixels = _spread_rows(width, height)
    image = torch.zeros(height * width, 8)
    first_rays, most_rays, most_marched = PIECES[camera[0].device.type]
    per_pixel = _per_pixel(model)
    done, marched, samples, count = 0, 0, 0, chunk or first_rays // per_pixel
    while done < len(pixels):
        piece = pixels[done : done + count]
        image[piece], rendered = _render_piece(model, camera, piece, width, normals, image_index)
        done += len(piece)
        marched += rendered.marched
        samples += rendered.visible
        count = chunk or min(2 * count, most_rays // per_pixel, max(1, most_marched * done // max(marched, 1)))
    return _view(image.reshape(height, width, 8).numpy(), background, normals, samples)


def chosen_renderer(model: nn.Module, *, normals: bool = False) -> Renderer:
    """What `auto` stands for: `taichi` for Instant-NGP on `vulkan`, where tensors would travel at every stage, else
    `torch`, whose half-precision networks are as fast on a CPU that has them."""
    fast = isinstance(model, InstantNGP) and not normals and runtime.current().backend == "vulkan"
    return "taichi" if fast else "torch"


@torch.no_grad()
def _render_fast(
    model: nn.Module, camera: list[Tensor], width: int, height: int, normals: bool, chunk: int | None
) -> tuple[Tensor, int]:
    """[H * W, 8] as of `_render_piece`, and the number of samples."""
    if not isinstance(model, InstantNGP) or normals:
        what = "normals" if normals else type(model).__name__
        raise ValueError(f"renderer must be torch or auto for {what}, got taichi")
    field, pixels = taichi_field(model), torch.from_numpy(tile_order(width, height))
    image, samples, per_pixel = torch.zeros(height * width, 8), 0, _per_pixel(model)
    for piece in pixels.split(chunk or PIECE // per_pixel):
        colour, opacity, depth, count = render_field(field, *_piece_rays(camera, piece, width, per_pixel))
        of_rays = torch.cat([colour, opacity[:, None], depth[:, None]], dim=1).float().cpu()
        image[piece, :5] = mean_of(of_rays, per_pixel)
        samples += int(count.sum())
    return image, samples


_fields: weakref.WeakKeyDictionary[nn.Module, tuple] = weakref.WeakKeyDictionary()


def taichi_field(model: InstantNGP) -> TaichiField:
    """The model's field for the fast path, which is made anew only when a tensor or the runtime has changed."""
    tensors, running = [*model.field.parameters(), model.grid.bits], runtime.current()
    state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
    known = _fields.get(model)
    if known is None or known[0] is not running or known[1] != state:
        known = _fields[model] = (running, state, _prepared(model))
    return known[2]


def _prepared(model: InstantNGP) -> TaichiField:
    field, grid, sampling = model.field, model.grid, model.config.sampling
    networks = [list(network.weights) for network in (field.density_network, field.colour_network)]
    known = model.config.field.geometry_features + field.degree**2
    networks[1][0] = networks[1][0][:, :known].contiguous()  # what lies behind is multiplied by an appearance of 0
    density_sizes, colour_sizes = ((w[0].shape[1], *(layer.shape[0] for layer in w)) for w in networks)
    settings = FieldSettings(
        features=field.layout.features,
        density_sizes=density_sizes,
        colour_sizes=colour_sizes,
        degree=field.degree,
        side=float(field.side),
        resolution=grid.resolution,
        cascades=grid.cascades,
        step=grid.step_min,
        cone=model.cone_angle,
        near=model.box.near,
        max_samples=sampling.max_samples,
        early_stop=sampling.early_stop,
    )
    return prepare_field(settings, field.layout, grid.bits, field.table, *networks)


def _per_pixel(model: nn.Module) -> int:
    return getattr(model, "rays_per_pixel", 1)


def _piece_rays(camera: list[Tensor], pixels: Tensor, width: int, per_pixel: int) -> tuple[Tensor, Tensor]:
    """Origins and directions [R, 3] of the rays of pixels [P] of a camera."""
    return rays_from_pixels(*_piece_places(camera, pixels, width, per_pixel), *camera)


def _piece_radii(camera: list[Tensor], pixels: Tensor, width: int, per_pixel: int) -> Tensor:
    """Radii [R] at distance 1 of the cones of the rays of pixels [P] of a camera."""
    return cone_radii(*_piece_places(camera, pixels, width, per_pixel), *camera[1:])


def _piece_places(camera: list[Tensor], pixels: Tensor, width: int, per_pixel: int) -> tuple[Tensor, Tensor]:
    """The only camera, for each ray of pixels [P], and where the rays pass in the picture [R, 2]."""
    centre = torch.stack([pixels % width, pixels.div(width, rounding_mode="floor")], dim=1).to(camera[0]) + 0.5
    place = (centre[:, None] + ray_offsets(per_pixel).to(centre)).reshape(-1, 2)
    return torch.zeros(len(place), dtype=torch.int32, device=place.device), place


@torch.no_grad()
def _render_piece(
    model: nn.Module, camera: list[Tensor], pixels: Tensor, width: int, normals: bool, image_index: int | None
) -> tuple[Tensor, Pixels]:
    """[P, 8] colour, opacity, depth and, where asked for, normal of pixels [P] of a camera, on the host."""
    per_pixel = _per_pixel(model)
    origins, directions = _piece_rays(camera, pixels, width, per_pixel)
    sees_cones = isinstance(model, Model) and model.sees_cones
    radius = _piece_radii(camera, pixels, width, per_pixel) if sees_cones else None
    index = None
    if image_index is not None:
        index = torch.full((len(origins),), image_index, dtype=torch.int32, device=origins.device)
    rendered = model.render(Rays(origins, directions, radius, index, per_pixel))
    colour = rendered.colour
    normal = torch.zeros_like(colour)
    if normals:
        normal = mean_of(_composite_normals(model, rendered), per_pixel)
    columns = (colour, rendered.opacity[:, None], rendered.depth[:, None], normal)
    return torch.cat(columns, dim=1).float().cpu(), rendered


def _composite_normals(model: nn.Module, rendered: Pixels) -> Tensor:
    """[R, 3]: the sum over the samples of each ray of w times the slope of its density, downwards.

    The slope is that of log(density h + 0.01), which does not see what is next to transparent, over a
    distance h of some steps to either side. The gradient of the density in a point would be that of a hash
    grid's finest level, mostly noise; differences see the coarser ones, too (Li et al. 2023, Neuralangelo,
    section 3.2).
    """
    samples = rendered.samples
    reach = NORMAL_STEPS * samples.dt  # [K]
    slope = torch.zeros_like(samples.positions)
    for axis in range(3):
        for sign in (-1, 1):
            beside = samples.positions.clone()
            beside[:, axis] += sign * reach
            density = model.density(beside)
            slope[:, axis] -= sign * torch.log(density * reach + TRANSPARENT)
    return slope.new_zeros(samples.ray_total, 3).index_add_(0, samples.ray_index, rendered.weights[:, None] * slope)


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


def _view(image: np.ndarray, background: np.ndarray, normals: bool, samples: int) -> View:
    opacity = image[..., 3]
    present = opacity > EMPTY
    depth = np.where(present, image[..., 4] / np.maximum(opacity, EMPTY), 0)
    length = np.linalg.norm(image[..., 5:], axis=-1)
    there = (present & (length > 1e-6))[..., None]
    normal = np.where(there, image[..., 5:] / np.maximum(length, 1e-6)[..., None], 0) if normals else None
    return View(
        colour=np.clip(image[..., :3] + (1 - opacity)[..., None] * background, 0, 1),
        opacity=opacity.copy(),
        depth=depth.astype(np.float32),
        normals=normal,
        samples=samples,
    )
