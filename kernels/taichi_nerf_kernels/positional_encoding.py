"""Positional encoding of points, and of Gaussians (integrated), with a window over the frequencies.

    N points of D coordinates, L frequencies; x_d coordinate d, v_d its variance (0 for a point), k = 0 .. L - 1

    a_kd     = window_k exp(-4^k v_d / 2)     amplitude
    features = x_d (identity, optional), then for each k  a_kd sin(2^k x_d) of all d, a_kd cos(2^k x_d) of all d

There is no factor pi. With v the features are the means of sin and cos over a Gaussian; coordinates may be those of
the world or the projections of a Gaussian on any set of directions. The window is 1, or that of Nerfies, which
lets the frequencies in one after the other:

    window_k = (1 - cos(pi clip(alpha - k, 0, 1))) / 2

The sine of 2^k x is wanted for arguments of 10^5 and more, where the sines of some backends are wrong by far more than
rounding. So x is divided by 2 pi once, as a sum of parts with so few bits that doubling them and taking their
fractions is exact; what is left is the sine of at most an eighth of a turn, a short polynomial. Between those, the
next frequencies follow by sin 2a = 2 sin a cos a and cos 2a = 1 - 2 sin^2 a, and exp(-4 b) by exp(-b)^4.

The backward pass needs no sine: d(a sin)/dx = 2^k a cos and d(a sin)/dv = -4^k / 2 a sin are in the features.

Mildenhall et al. 2020, eq. 4; Barron et al. 2021 (Mip-NeRF), eq. 14; Park et al. 2021 (Nerfies), eq. 8.
"""

import math

from .engine import in_double, on_cpu, stride_for, ti
from .launch import kernel

__all__ = ["encode_backward", "encode_forward", "encoding_width", "fraction", "sin_cos_of_turns", "turns", "window"]

MANTISSA_HALF = -4096  # mask that leaves 12 of the 24 bits of a float32's mantissa
LANES, TASKS = 16, 32  # points side by side on a CPU, and how many times as many a thread takes at a time
ANCHOR = 4  # every fourth frequency is computed afresh; those between follow, and their errors double
TURN = 1 / (2 * math.pi)
TURN_HIGH = math.floor(TURN * 2**14) / 2**14  # 12 bits
TURN_MIDDLE = math.floor((TURN - TURN_HIGH) * 2**26) / 2**26  # 12 bits
TURN_LOW = TURN - TURN_HIGH - TURN_MIDDLE


def encoding_width(dimensions: int, levels: int, identity: bool) -> int:
    """Number of features."""
    return dimensions * (2 * levels + int(identity))


def window(levels: int, alpha: float | None) -> list[float]:
    """Weight of each frequency; 1 without `alpha`."""
    if alpha is None:
        return [1.0] * levels
    return [0.5 * (1 - math.cos(math.pi * min(max(alpha - k, 0.0), 1.0))) for k in range(levels)]


@ti.func
def turns(x):
    """x / 2 pi as a sum of four parts, of which the first three are products without rounding."""
    value = ti.cast(x, float)
    parts = ti.Vector([0.0, 0.0, 0.0, value * TURN])
    if ti.static(not in_double()):
        high = ti.bit_cast(ti.bit_cast(value, ti.i32) & MANTISSA_HALF, ti.f32)
        low = value - high
        parts = ti.Vector([high * TURN_HIGH, high * TURN_MIDDLE, low * TURN_HIGH, low * TURN_MIDDLE + value * TURN_LOW])
    return parts


@ti.func
def fraction(parts, scale):
    """scale (sum of parts) less the nearest integer, in [-1/2, 1/2]; `scale` is a power of two."""
    total = parts[3] * scale
    if ti.static(not in_double()):
        for i in ti.static(range(3)):
            part = parts[i] * scale
            # Without the clamp, which changes nothing, a compiler that may reorder sums would undo the split.
            total += ti.max(-0.5, ti.min(0.5, part - ti.floor(part + 0.5)))
    return total - ti.floor(total + 0.5)


@ti.func
def sin_cos_of_turns(turn):
    """Sine and cosine of 2 pi `turn` for `turn` in [-1/2, 1/2]."""
    quarter = ti.floor(4.0 * turn + 0.5)
    angle = (turn - 0.25 * quarter) * (2.0 * math.pi)  # at most pi / 4
    square = angle * angle
    terms = ti.static(8 if in_double() else 5)
    sine, cosine = 0.0, 0.0
    for i in ti.static(range(terms - 1, -1, -1)):
        sine = sine * square + ti.static((-1) ** i / math.factorial(2 * i + 1))
        cosine = cosine * square + ti.static((-1) ** i / math.factorial(2 * i))
    sine *= angle
    q = ti.cast(quarter, ti.i32)
    odd = (q & 1) == 1
    sine, cosine = ti.select(odd, cosine, sine), ti.select(odd, -sine, cosine)
    sign = ti.select((q & 2) == 2, -1.0, 1.0)
    return sign * sine, sign * cosine


@ti.func
def _encode_lanes(x: ti.template(), variance: ti.template(), weight: ti.template(), features: ti.template(), first: int,
                  d: int, identity: ti.template(), integrated: ti.template(), lanes: ti.template()):
    """Features of coordinate d of the points first .. first + lanes - 1, as far as there are. On a CPU loops over lanes
    become vector code; part `row` of what a lane has is at row * lanes + lane."""
    dimensions, there = x.shape[1], ti.min(lanes, x.shape[0] - first)
    parts = ti.Vector.zero(float, 4 * lanes)
    sine = ti.Vector.zero(float, lanes)
    cosine = ti.Vector.zero(float, lanes)
    attenuation = ti.Vector.one(float, lanes)
    for lane in range(lanes):
        found = turns(x[first + ti.min(lane, there - 1), d])
        for row in ti.static(range(4)):
            parts[row * lanes + lane] = found[row]
    column = d
    if ti.static(identity):
        for lane in range(there):
            features[first + lane, column] = x[first + lane, d]
        column += dimensions
    scale = 1.0
    for k in range(weight.shape[0]):
        if k % ANCHOR == 0:
            for lane in range(lanes):
                of_lane = ti.Vector([parts[row * lanes + lane] for row in ti.static(range(4))])
                sine[lane], cosine[lane] = sin_cos_of_turns(fraction(of_lane, scale))
                if ti.static(integrated):
                    attenuation[lane] = ti.exp(-0.5 * scale * scale * variance[first + ti.min(lane, there - 1), d])
        else:
            for lane in range(lanes):
                sine[lane], cosine[lane] = 2.0 * sine[lane] * cosine[lane], 1.0 - 2.0 * sine[lane] * sine[lane]
                if ti.static(integrated):
                    squared = attenuation[lane] * attenuation[lane]
                    attenuation[lane] = squared * squared
        for lane in range(there):
            amplitude = weight[k] * attenuation[lane]
            features[first + lane, column] = amplitude * sine[lane]
            features[first + lane, column + dimensions] = amplitude * cosine[lane]
        column += 2 * dimensions
        scale *= 2.0


@kernel
def encode_forward(
    x: ti.types.ndarray(ndim=2),  # [N, D]
    variance: ti.types.ndarray(ndim=2),  # [N, D] at least 0; without `integrated` not read
    weight: ti.types.ndarray(ndim=1),  # [L] `window`
    features: ti.types.ndarray(ndim=2),  # out [N, D (2 L + identity)]
    identity: ti.template(),
    integrated: ti.template(),
):
    """Features of every point."""
    if ti.static(on_cpu()):
        skip = ti.static(stride_for(TASKS))
        for slot in range(((x.shape[0] + LANES - 1) // LANES) * skip):
            if slot % skip == 0:
                for d in range(x.shape[1]):
                    _encode_lanes(x, variance, weight, features, slot // skip * LANES, d, identity, integrated, LANES)
    else:
        for n, d in ti.ndrange(x.shape[0], x.shape[1]):
            _encode_lanes(x, variance, weight, features, n, d, identity, integrated, 1)


@kernel
def encode_backward(
    features: ti.types.ndarray(ndim=2),  # [N, D (2 L + identity)] of the forward pass
    features_gradient: ti.types.ndarray(ndim=2),  # likewise
    levels: int,
    x_gradient: ti.types.ndarray(ndim=2),  # out [N, D]
    variance_gradient: ti.types.ndarray(ndim=2),  # out [N, D]; without `integrated` not written
    identity: ti.template(),
    integrated: ti.template(),
):
    """Gradient with respect to the points and their variances."""
    for n, d in ti.ndrange(x_gradient.shape[0], x_gradient.shape[1]):
        dimensions = x_gradient.shape[1]
        column = d
        at_x, at_variance = 0.0, 0.0
        if ti.static(identity):
            at_x += features_gradient[n, column]
            column += dimensions
        scale = 1.0
        for _ in range(levels):
            sine, cosine = features[n, column], features[n, column + dimensions]
            sine_gradient, cosine_gradient = features_gradient[n, column], features_gradient[n, column + dimensions]
            at_x += scale * (sine_gradient * cosine - cosine_gradient * sine)
            if ti.static(integrated):
                at_variance -= 0.5 * scale * scale * (sine_gradient * sine + cosine_gradient * cosine)
            column += 2 * dimensions
            scale *= 2.0
        x_gradient[n, d] = at_x
        if ti.static(integrated):
            variance_gradient[n, d] = at_variance
