"""One level at one point: its features, their adjoint, and the gradients to the point and to its width. For use within
any kernel, where a point without a width is seen by every level.
"""

from ..engine import ti
from ..integers import wrapping_multiply_signed

PRIME_Y = 2654435761 - 2**32  # as int32: products wrap alike
PRIME_Z = 805459861
SQRT_8 = 8**0.5
ERF = (0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)  # see `_polynomial`
WIDEST = 1e6  # of sqrt(8) width scale, whose sixth power is a float32; anything wider sees as little, a millionth


@ti.func
def locate(x, scale, resolution):
    """The cell of coordinate `x` along one axis, and the fraction within it."""
    p = ti.min(ti.max(x, 0.0), 1.0) * scale + 0.5
    cell = ti.min(ti.max(ti.cast(p, ti.i32), 0), resolution - 1)
    return cell, p - cell


@ti.func
def _polynomial(u):
    """u^6 + a_1 u^5 + .. + a_6, and its derivative: u^6 times the series of Abramowitz and Stegun 7.1.28 in 1 / u."""
    value, slope = 1.0, 0.0
    for a in ti.static(ERF):
        slope = slope * u + value
        value = value * u + a
    return value, slope


@ti.func
def level_weight(width, scale):
    """How much a Gaussian of standard deviation `width` sees of a level: erf(1 / (sqrt(8) width scale)), which is 1 for
    a point and falls to nothing where the Gaussian is wider than a cell. To 1e-6, without an exponential."""
    u = ti.min(ti.max(SQRT_8 * width * scale, 0.0), WIDEST)
    series, _ = _polynomial(u)
    r = u * u * u * u * u * u / series
    r *= r
    r *= r
    r *= r
    return 1.0 - r * r


@ti.func
def level_weight_gradient(width, scale):
    """d level_weight / d width"""
    u = SQRT_8 * width * scale
    inside = ti.cast(u > 0.0 and u < WIDEST, float)
    u = ti.min(ti.max(u, 0.0), WIDEST)
    series, slope = _polynomial(u)
    fifth = u * u * u * u * u / series
    r = fifth * u
    r_slope = fifth * (6.0 - u * slope / series)
    return -16.0 * r**15 * r_slope * SQRT_8 * scale * inside


@ti.func
def hashed_entry(x: int, y: int, z: int, size: int):
    """Entry of vertex (x, y, z) in a hashed level of `size` entries, a power of two."""
    return (x ^ wrapping_multiply_signed(y, PRIME_Y) ^ wrapping_multiply_signed(z, PRIME_Z)) & (size - 1)


@ti.func
def dense_entry(x: int, y: int, z: int, resolution: int, size: int):
    """Entry of vertex (x, y, z) in a dense level; the half-cell offset lets the last vertex wrap around."""
    entry = x + resolution * (y + resolution * z)
    return ti.select(entry >= size, entry - size, entry)


@ti.func
def vertex_entry(x: int, y: int, z: int, levels: ti.template(), level: int):
    """Entry of vertex (x, y, z) of `level` in the table of all levels."""
    size, resolution = levels[level, 1], levels[level, 2]
    entry = 0
    if levels[level, 3] == 1:
        entry = hashed_entry(x, y, z, size)
    else:
        entry = dense_entry(x, y, z, resolution, size)
    return levels[level, 0] + entry


def _given(width) -> bool:
    """While a kernel is compiled, which knows no `is`."""
    return width is not None


@ti.func
def _seen(values, scale, width: ti.template()):
    """What of a level's `values` a Gaussian of this width sees; of no width (None) all."""
    y = values
    if ti.static(_given(width)):
        y *= level_weight(width, scale)
    return y


@ti.func
def encode_level(x, table: ti.template(), levels: ti.template(), scales: ti.template(), level: int,
                 features: ti.template(), width: ti.template() = None):
    """The F features of one level at position `x` (a 3-vector), as a Gaussian of this `width` around it sees them."""
    cell_x, fx = locate(x[0], scales[level], levels[level, 2])
    cell_y, fy = locate(x[1], scales[level], levels[level, 2])
    cell_z, fz = locate(x[2], scales[level], levels[level, 2])
    y = ti.Vector.zero(float, features)
    for corner in ti.static(range(8)):
        cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
        w = (fx if ti.static(cx) else 1 - fx) * (fy if ti.static(cy) else 1 - fy) * (fz if ti.static(cz) else 1 - fz)
        entry = vertex_entry(cell_x + cx, cell_y + cy, cell_z + cz, levels, level)
        for k in ti.static(range(features)):
            y[k] += w * table[entry * features + k]
    return _seen(y, scales[level], width)


@ti.func
def splat_cell(cell, sums: ti.template(), table_gradient: ti.template(), levels: ti.template(), level: int,
               features: ti.template()):
    """Adds row c of `sums` [8, F] to corner c of a cell, atomically."""
    for corner in ti.static(range(8)):
        cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
        entry = vertex_entry(cell[0] + cx, cell[1] + cy, cell[2] + cz, levels, level)
        for k in ti.static(range(features)):
            ti.atomic_add(table_gradient[entry * features + k], sums[corner, k])


@ti.func
def add_to_corners(fraction, gradient, sums: ti.template(), features: ti.template()):
    """sums[c] += w_c * gradient"""
    for corner in ti.static(range(8)):
        w = 1.0
        for axis in ti.static(range(3)):
            w *= fraction[axis] if ti.static(corner >> axis & 1) else 1 - fraction[axis]
        for k in ti.static(range(features)):
            sums[corner, k] += w * gradient[k]


@ti.func
def splat_level(x, gradient, table_gradient: ti.template(), levels: ti.template(), scales: ti.template(), level: int,
                features: ti.template(), width: ti.template() = None):
    """The adjoint of `encode_level`: adds w_c * gradient to the eight corners, atomically."""
    cell, fraction = ti.Vector.zero(ti.i32, 3), ti.Vector.zero(float, 3)
    for axis in ti.static(range(3)):
        cell[axis], fraction[axis] = locate(x[axis], scales[level], levels[level, 2])
    sums = ti.Matrix.zero(float, 8, features)
    add_to_corners(fraction, _seen(gradient, scales[level], width), sums, features)
    splat_cell(cell, sums, table_gradient, levels, level, features)


@ti.func
def level_position_gradient(x, gradient, table: ti.template(), levels: ti.template(), scales: ti.template(),
                            level: int, features: ti.template(), width: ti.template() = None):
    """d(gradient . y_l) / dx: per axis, scale times the weighted differences along the four edges of the cell."""
    scale = scales[level]
    cell_x, fx = locate(x[0], scale, levels[level, 2])
    cell_y, fy = locate(x[1], scale, levels[level, 2])
    cell_z, fz = locate(x[2], scale, levels[level, 2])
    weighted = _seen(gradient, scale, width)
    d = ti.Vector.zero(float, 3)
    for corner in ti.static(range(8)):
        cx, cy, cz = ti.static(corner & 1, corner >> 1 & 1, corner >> 2)
        wx = fx if ti.static(cx) else 1 - fx
        wy = fy if ti.static(cy) else 1 - fy
        wz = fz if ti.static(cz) else 1 - fz
        entry = vertex_entry(cell_x + cx, cell_y + cy, cell_z + cz, levels, level)
        value = 0.0
        for k in ti.static(range(features)):
            value += weighted[k] * table[entry * features + k]
        d[0] += ti.static(2 * cx - 1) * wy * wz * value
        d[1] += ti.static(2 * cy - 1) * wx * wz * value
        d[2] += ti.static(2 * cz - 1) * wx * wy * value
    for axis in ti.static(range(3)):
        inside = ti.cast(x[axis] > 0.0 and x[axis] < 1.0, float)
        d[axis] *= scale * inside
    return d


@ti.func
def level_width_gradient(x, width, gradient, table: ti.template(), levels: ti.template(), scales: ti.template(),
                         level: int, features: ti.template()):
    """d(gradient . y_l) / d width"""
    point = encode_level(x, table, levels, scales, level, features)
    return gradient.dot(point) * level_weight_gradient(width, scales[level])
