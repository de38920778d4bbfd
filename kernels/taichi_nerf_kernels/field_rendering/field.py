"""A trained field that renders pictures without PyTorch."""

import numpy as np

from ..camera import rays_forward
from ..engine import in_double, on_cpu, ti
from ..mlp import mlp_weights
from .render import render_rays, render_scratch, summarise_bits
from .settings import FieldSettings

PIECE = 2**19  # rays of a launch
TILE = 8  # pixels along a tile of a picture


class TaichiField:
    """A trained field and its occupancy grid, ready to be rendered, without PyTorch.

    >>> field = TaichiField.from_arrays(settings, layout, bits, table, density_weights, colour_weights)
    >>> colour, opacity, depth = field.render(camera_to_world, focal, principal, (400, 400))

    Valid until `ti.init` is called again.
    """

    def __init__(self, settings: FieldSettings, *, bits, blocks, table, levels, scales, density_weights,
                 colour_weights):
        """Arrays as of `render_rays`, used in place; `blocks` is written now, and `bits` must not change later.

        Raises ValueError for an array of another size than `settings` say.
        """
        cells, levels_count = settings.cascades * settings.resolution**3, settings.density_sizes[0] // settings.features
        for name, array, shape in (("bits", bits, (cells // 32,)), ("blocks", blocks, (cells // 2048 + 6,)),
                                   ("levels", levels, (levels_count, 4)), ("scales", scales, (levels_count,)),
                                   ("density_weights", density_weights, (mlp_weights(settings.density_sizes),)),
                                   ("colour_weights", colour_weights, (mlp_weights(settings.colour_sizes),))):
            if tuple(array.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(array.shape)}")
        self.settings = settings
        self.arrays = (bits, blocks, table, levels, scales, density_weights, colour_weights)
        self._room, self._scratch = 0, ()
        summarise_bits(bits, blocks, settings.resolution)

    @classmethod
    def from_arrays(cls, settings: FieldSettings, layout, *, bits, table, density_weights, colour_weights):
        """Upload numpy arrays once: bits [C * G^3 / 32], table [E, F], and the layers of each network, [out, in]."""
        settings.check_layout(layout)
        features = layout.features
        table = np.reshape(table, (layout.entries, features))
        if on_cpu() and features > 1:
            entries = ti.Vector.ndarray(features, float, layout.entries)
            entries.from_numpy(np.asarray(table, _float()))
        else:
            entries = _uploaded(np.reshape(table, -1), float)
        flat = [np.concatenate([np.reshape(w, -1) for w in layers]) for layers in (density_weights, colour_weights)]
        blocks = ti.ndarray(ti.i32, len(bits) // 64 + 6)
        return cls(settings, bits=_uploaded(bits, ti.i32), table=entries, levels=_uploaded(layout.levels, ti.i32),
                   scales=_uploaded(layout.scales, float), density_weights=_uploaded(flat[0], float),
                   colour_weights=_uploaded(flat[1], float), blocks=blocks)

    def render_rays(self, origins, directions, colour, opacity, depth, samples, spread=None) -> None:
        """Pixels of R rays, as `render_rays`."""
        if not on_cpu() and self._room < origins.shape[0]:
            self._room = origins.shape[0]
            self._scratch = render_scratch(self._room, self.settings.max_samples)
        render_rays(self.settings, origins, directions, *self.arrays, self._scratch, colour, opacity, depth, samples,
                    spread)

    def render(self, camera_to_world, focal, principal, size: tuple[int, int], distortion=(0,) * 6, lens: int = 0):
        """What one camera sees, as numpy arrays: colour [H, W, 3] over black, opacity and depth (sum w t) [H, W].

        camera_to_world [3, 4] in model space, OpenGL axes; focal and principal (u, v), in pixels; size (width,
        height); distortion and lens as in `camera`.
        """
        width, height = size
        order = tile_order(width, height)
        pixel = np.stack([order % width, order // width], axis=1) + 0.5
        camera = [np.asarray(camera_to_world)[None, :3], [focal], [principal], [distortion]]
        image = np.empty((width * height, 5), _float())
        for first in range(0, len(order), PIECE):
            piece = pixel[first:first + PIECE]
            rays = len(piece)
            origins, directions, colour = (ti.ndarray(float, (rays, 3)) for _ in range(3))
            opacity, depth, samples = ti.ndarray(float, rays), ti.ndarray(float, rays), ti.ndarray(ti.i32, rays)
            rays_forward(np.zeros(rays, np.int32), piece.astype(_float()), *(np.array(c, _float()) for c in camera),
                         np.array([lens], np.int32), origins, directions)
            self.render_rays(origins, directions, colour, opacity, depth, samples)
            where = order[first:first + PIECE]
            image[where, :3], image[where, 3], image[where, 4] = (a.to_numpy() for a in (colour, opacity, depth))
        image = image.reshape(height, width, 5)
        return image[..., :3], image[..., 3], image[..., 4]


def tile_order(width: int, height: int) -> np.ndarray:
    """[H * W] the pixels, y * width + x, tile by tile: neighbours in the picture share cells of the grid."""
    y, x = (axis.reshape(-1) for axis in np.indices((height, width)))
    return np.lexsort((x % TILE, y % TILE, x // TILE, y // TILE))


def _float():
    """numpy's name of the precision that Taichi computes with."""
    return np.float64 if in_double() else np.float32


def _uploaded(values, dtype):
    values = np.ascontiguousarray(values, np.int32 if dtype == ti.i32 else _float())
    array = ti.ndarray(dtype, values.shape)
    array.from_numpy(values)
    return array
