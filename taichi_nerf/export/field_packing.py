"""A trained field of Instant-NGP in as few bytes as the eye allows, and the shader that renders it.

What is packed, L levels of F features, level l with E_l entries, and an occupancy grid of C cascades of G^3 cells:

    weights    [.., 4, 4] float32: the layers one after the other, in blocks of 4 x 4, a row of blocks after the other;
               in a block column after column, as WGSL has its matrices. Rows and columns that fill up are 0
    codebook   [L, 64] float16: the values that features of a level have
    bits       [C * G^3 / 32] int32
    code       for each level [F, E_l], one byte: the number of the value

A value of a codebook stands for those that are nearest to it, as in `codebooks`; there are the more of them the denser
the features are, by the cube root (Panter and Dite 1951), and then each moves to the mean of its own (Lloyd 1982).
"""

import math
from dataclasses import dataclass
from string import Template

import numpy as np

from ..errors import UserError
from ..models.one_launch import FieldArrays

__all__ = ["VALUES", "PackedField", "field_shader", "pack_field"]

VALUES = 64  # of a codebook: pictures of lego are then those of the field to 54 dB, with 256 to 62
BINS = 2**8  # of the histogram that it starts from
ROUNDS = 8  # of Lloyd's algorithm
WIDEST = 256  # numbers of a layer: what a thread may have for itself is bounded
LARGEST_BUFFER = 2**27  # bytes: what every device with WebGPU can bind


@dataclass(frozen=True, kw_only=True)
class PackedField:
    """A packed field."""

    field: FieldArrays
    density: list[np.ndarray]
    """Layers in blocks, [R, I, 4, 4] float32: y_r = sum_i block_ri x_i of vectors of four."""
    colour: list[np.ndarray]
    """The same. What it sees begins with the geometry, filled up to fours; of coefficients a channel is filled up."""
    box: np.ndarray
    """[2, 3] float64: the lowest and the highest corner, in model space, of what is occupied."""
    content: bytes
    """As the module says."""


def pack_field(field: FieldArrays) -> PackedField:
    """Pack `field`. Raises UserError for one that no page can hold, or that is empty."""
    _check_size(field)
    geometry, functions = field.settings.density_sizes[-1], field.settings.degree**2
    density = [_in_blocks(weight) for weight in field.density_weights]
    first, *others = field.colour_weights
    colour = [np.concatenate([_filled(first[:, :geometry]), first[:, geometry:]], axis=1), *others]
    if field.settings.harmonic:
        channels = colour[-1].reshape(3, functions, -1)
        colour[-1] = _filled(channels.transpose(0, 2, 1)).transpose(0, 2, 1).reshape(-1, channels.shape[2])
    colour = [_in_blocks(weight) for weight in colour]
    books, codes = zip(*(_coded(entries) for entries in _entries_of_levels(field)))
    parts = [*density, *colour, *books, field.bits, *codes]
    return PackedField(field=field, density=density, colour=colour, box=occupied_box(field),
                       content=b"".join(np.ascontiguousarray(part).tobytes() for part in parts))


def field_shader(packed: PackedField, source: str, layer: str) -> str:
    """The WGSL that renders a field: its numbers, its networks, each `layer` by the template, and the `source`."""
    settings, layout = packed.field.settings, packed.field.layout
    numbers = {
        "LEVELS": f"{len(layout.levels)}u", "FEATURES": f"{layout.features}u",
        "INPUTS": f"{packed.density[0].shape[1]}u", "GEOMETRY": f"{packed.density[-1].shape[0]}u",
        "VIEW": f"{_fours(settings.degree**2)}u", "SEEN": f"{packed.colour[0].shape[1]}u",
        "OUTPUTS": f"{packed.colour[-1].shape[0]}u", "HARMONIC": _bool(settings.harmonic),
        "WIDE": _bool(packed.field.sees_cones), "RESOLUTION": f"{settings.resolution}",
        "CASCADES": f"{settings.cascades}u", "LOW": _vector(packed.box[0]), "HIGH": _vector(packed.box[1]),
        "SIDE": _number(settings.side), "STEP": _number(settings.step), "CONE": _number(settings.cone),
        "GROWTH": _number(math.log1p(settings.cone) or 1.0), "NEAR": _number(settings.near),
        "MAX_SAMPLES": f"{settings.max_samples}", "RAYS": f"{math.isqrt(packed.field.rays_per_pixel)}u",
        "THICKEST": _number(-math.log(settings.early_stop) if settings.early_stop else 1e30),
    }
    constants = "".join(f"const {name} = {value};\n" for name, value in numbers.items())
    first = sum(len(block.reshape(-1, 16)) for block in packed.density)
    networks = _network("density", packed.density, 0, layer) + _network("colour", packed.colour, first, layer)
    return f"{constants}{networks}\n{source}"


def _network(name: str, layers: list[np.ndarray], first: int, template: str) -> str:
    """`NAME_network` in WGSL, whose first block is number `first` of the weights."""
    text, calls, given = "", "", "x"
    for n, blocks in enumerate(layers):
        last = n == len(layers) - 1
        rows, columns = blocks.shape[:2]
        text += Template(template).substitute(name=f"{name}_layer_{n}", network=name, inputs=columns, outputs=rows,
                                              first=first, activation="sum" if last else "max(sum, vec4f(0.0))")
        calls += f"  return {name}_layer_{n}({given});\n" if last else f"  var y_{n} = {name}_layer_{n}({given});\n"
        given, first = f"&y_{n}", first + rows * columns
    inputs, outputs = layers[0].shape[1], layers[-1].shape[0]
    return (f"{text}\nfn {name}_network(x: ptr<function, array<vec4f, {inputs}>>) -> array<vec4f, {outputs}> {{\n"
            f"{calls}}}\n")


def occupied_box(field: FieldArrays) -> np.ndarray:
    """[2, 3]: the box around the occupied blocks of 4 x 4 x 4 cells. Raises UserError if there are none."""
    settings = field.settings
    blocks = np.flatnonzero(field.bits.view(np.uint64))
    if not len(blocks):
        raise UserError("the field is empty: no cell of its occupancy grid is occupied; train it for longer")
    cascade, number = np.divmod(blocks, settings.resolution**3 // 64)
    corner = np.stack([_every_third_bit(number >> axis) for axis in range(3)], axis=1) * 4 / settings.resolution
    scale, side = 2.0 ** cascade[:, None], 4 / settings.resolution
    return np.stack([((corner - 0.5) * scale).min(axis=0), ((corner + side - 0.5) * scale).max(axis=0)])


def _check_size(field: FieldArrays) -> None:
    layers = {"density": field.settings.density_sizes, "colour": field.settings.colour_sizes}
    for name, sizes in layers.items():
        if max(sizes) > WIDEST:
            raise UserError(f"the {name} network has {max(sizes)} numbers in a layer, and in a page it may have "
                            f"{WIDEST}; train a narrower one, or make an octree of it")
    for name, size, setting in (("hash table", 2 * field.table.size, "hash-grid.log2-entries"),
                                ("occupancy grid", 4 * field.bits.size, "grid-resolution")):
        if size > LARGEST_BUFFER:
            raise UserError(f"the {name} has {size / 2**20:.0f} MiB, and browsers take {LARGEST_BUFFER >> 20}; train "
                            f"with a smaller {setting}, or make an octree of it")


def _entries_of_levels(field: FieldArrays):
    """[E_l, F] of each level."""
    table = field.table.reshape(-1, field.layout.features)
    for first, size, *_ in field.layout.levels.tolist():
        yield table[first : first + size]


def _coded(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codebook [64] float16 of [E, F], and the numbers [F, E] uint8 of its values."""
    book = _scalar_codebook(entries.reshape(-1)).astype(np.float16)
    middle = 0.5 * (book[1:].astype(np.float32) + book[:-1])
    return book, np.searchsorted(middle, entries.T.astype(np.float32)).astype(np.uint8)


def _scalar_codebook(values: np.ndarray) -> np.ndarray:
    """[64] that stand for `values`, in ascending order."""
    values = np.sort(values).astype(np.float64)
    count, edges = np.histogram(values, BINS)
    share = np.cumsum(np.cbrt(count))
    book = np.interp((np.arange(VALUES) + 0.5) / VALUES * share[-1], share, edges[1:])
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(ROUNDS):
        ends = np.searchsorted(values, np.concatenate([[-np.inf], 0.5 * (book[1:] + book[:-1]), [np.inf]]))
        many = np.diff(ends)
        book = np.where(many > 0, np.diff(sums[ends]) / np.maximum(many, 1), book)
    return np.sort(book)


def _in_blocks(weight: np.ndarray) -> np.ndarray:
    """[R, I, 4, 4] of a layer [out, in]: block ri is transposed."""
    filled = _filled(_filled(np.asarray(weight, np.float32)).T).T
    rows, columns = filled.shape
    return filled.reshape(rows // 4, 4, columns // 4, 4).transpose(0, 2, 3, 1)


def _filled(values: np.ndarray) -> np.ndarray:
    """With a last axis of whole fours."""
    lacking = -values.shape[-1] % 4
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, lacking)])


def _every_third_bit(morton: np.ndarray) -> np.ndarray:
    return sum((morton >> 3 * bit & 1) << bit for bit in range(10))


def _fours(count: int) -> int:
    return -(-count // 4)


def _number(value: float) -> str:
    return repr(float(np.float32(value))) + "f"


def _vector(values: np.ndarray) -> str:
    return f"vec3f({', '.join(map(_number, values))})"


def _bool(value: bool) -> str:
    return str(value).lower()
