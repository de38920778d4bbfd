"""Where along a ray to look: spacings, stratified samples, and samples from a histogram of weights.

    R rays; a histogram has S intervals between S + 1 fenceposts s_0 <= s_1 <= .. <= s_S, and weights w_i >= 0
    s    normalised distance in [0, 1];  t  distance;  s = (g(t) - g(near)) / (g(far) - g(near))
    g    LINEAR: t    DISPARITY: 1 / t    PIECEWISE: t / 2 below 1, 1 - 1 / (2 t) above (near may be 0)
         POWER_LADDER: (1 + 4 t / 5)^(-3/2), from even near by (near may be 0) to even in t^(-3/2) far away: the ladder
         P(2 t) with p = -3/2 is (5 / 3) (1 - g), which makes no difference to s, but float32 tells no far t apart in it

Samples of a distribution come from n numbers u_k in [0, 1], ascending, by the inverse of its cumulative distribution:

    CENTRE       u_k = (k + 1/2) / n
    ENDS         u_k = k / (n - 1)
    JITTERED     u_k = (k + random) / n, a number of its own for each sample
    JITTERED_RAY u_k = (k + random) / n, one number for each ray

Every u_k lies in the k-th part of [0, 1], so that samples are in order and the k-th part of the mass gets one sample.
The mass of an interval is (w_i + padding)^exponent; one without weight or length has none. Because both lists ascend,
one sweep finds all samples of a ray: the time is linear. u = 0 is where the mass begins, u = 1 where it ends; no sample
lies in front of that, or behind. A ray without mass is sampled as if all its intervals had the same density. Random
numbers are hashes of (seed, index), index k + n ray, or ray.

`dilate` widens each interval by `reach` on both sides and takes the highest density of those that cover a place: a
window moves over the sorted ends, and a queue of falling densities holds its maximum in front (linear time).

Nothing here is differentiable. Mildenhall et al. 2020, section 5.2; Barron et al. 2021 (Mip-NeRF), eq. 18; Barron et
al. 2022 (mip-NeRF 360), sections 3 and A, and its code; Tancik et al. 2023 (nerfacto), for PIECEWISE; Barron et al.
2023 (Zip-NeRF), for POWER_LADDER.
"""

from .engine import stride_for, ti
from .launch import kernel
from .random import uniform

__all__ = [
    "CENTRE",
    "DISPARITY",
    "ENDS",
    "JITTERED",
    "JITTERED_RAY",
    "LINEAR",
    "PIECEWISE",
    "POWER_LADDER",
    "blur",
    "dilate",
    "merge_sorted",
    "position_in_part",
    "sample_histogram",
    "sample_uniform",
    "spacing",
    "spacing_inverse",
    "to_distance",
    "to_normalised",
]

LINEAR, DISPARITY, PIECEWISE, POWER_LADDER = 0, 1, 2, 3
CENTRE, ENDS, JITTERED, JITTERED_RAY = 0, 1, 2, 3
OPENS, STAYS, CLOSES, NONE = 0, 1, 2, 3  # what a fencepost of the dilated histogram is to an old interval
SHORTEST = 1e-8  # an interval counts as at least that long where its density is asked for


@ti.func
def spacing(t, kind: ti.template()):
    """g(t)."""
    value = t
    if ti.static(kind == DISPARITY):
        value = 1.0 / t
    if ti.static(kind == PIECEWISE):
        value = 0.5 * t
        if t > 1.0:
            value = 1.0 - 0.5 / t
    if ti.static(kind == POWER_LADDER):
        rung = 1.0 + 0.8 * t
        value = 1.0 / (rung * ti.sqrt(rung))
    return value


@ti.func
def spacing_inverse(value, kind: ti.template()):
    """t with g(t) = value."""
    t = value
    if ti.static(kind == DISPARITY):
        t = 1.0 / value
    if ti.static(kind == PIECEWISE):
        t = 2.0 * value
        if value > 0.5:
            t = 0.5 / (1.0 - value)
    if ti.static(kind == POWER_LADDER):
        t = (value ** (-2.0 / 3.0) - 1.0) / 0.8
    return t


@kernel
def to_distance(
    s: ti.types.ndarray(ndim=2),  # [R, K]
    near: ti.types.ndarray(ndim=1),  # [R]
    far: ti.types.ndarray(ndim=1),  # [R]
    t: ti.types.ndarray(ndim=2),  # out [R, K]
    kind: ti.template(),
):
    """t of every s; exactly `near` and `far` at the ends, and never beyond them."""
    for ray, k in ti.ndrange(s.shape[0], s.shape[1]):
        share = s[ray, k]
        g = (1.0 - share) * spacing(near[ray], kind) + share * spacing(far[ray], kind)
        value = ti.max(near[ray], ti.min(far[ray], spacing_inverse(g, kind)))
        if share <= 0.0:
            value = near[ray]
        if share >= 1.0:
            value = far[ray]
        t[ray, k] = value


@kernel
def to_normalised(
    t: ti.types.ndarray(ndim=2),  # [R, K]
    near: ti.types.ndarray(ndim=1),  # [R]
    far: ti.types.ndarray(ndim=1),  # [R]
    s: ti.types.ndarray(ndim=2),  # out [R, K]
    kind: ti.template(),
):
    """s of every t."""
    for ray, k in ti.ndrange(t.shape[0], t.shape[1]):
        low, high = spacing(near[ray], kind), spacing(far[ray], kind)
        s[ray, k] = (spacing(t[ray, k], kind) - low) / (high - low)


@ti.func
def position_in_part(seed, ray, k, count, mode: ti.template()):
    """u_k."""
    inside = 0.5
    if ti.static(mode == JITTERED):
        inside = uniform(seed, ray * count + k)
    if ti.static(mode == JITTERED_RAY):
        inside = uniform(seed, ray)
    value = (k + inside) / count
    if ti.static(mode == ENDS):
        value = ti.cast(k, float) / ti.max(count - 1, 1)
    return value


@kernel
def sample_uniform(
    seed: int,
    samples: ti.types.ndarray(ndim=2),  # out [R, n]
    mode: ti.template(),
):
    """u_k of every ray: samples of the uniform distribution on [0, 1]."""
    for ray, k in ti.ndrange(samples.shape[0], samples.shape[1]):
        samples[ray, k] = position_in_part(seed, ray, k, samples.shape[1], mode)


@ti.func
def interval_mass(weight, length, padding, exponent):
    """(w + padding)^exponent; 0 without weight or length, also if the exponent is 0."""
    mass = 0.0
    if length > 0.0:
        mass = weight + padding
        if exponent != 1.0:
            mass = ti.select(mass > 0.0, mass ** ti.cast(exponent, float), 0.0)
    return mass


@ti.func
def total_mass(fenceposts: ti.template(), weights: ti.template(), ray, padding, exponent):
    """The mass of all intervals of a ray, and the last of them that has any."""
    total, last = 0.0, weights.shape[1] - 1
    for i in range(weights.shape[1]):
        mass = interval_mass(weights[ray, i], fenceposts[ray, i + 1] - fenceposts[ray, i], padding, exponent)
        total += mass
        if mass > 0.0:
            last = i
    return total, last


@ti.func
def place_in_interval(target, mass, start, length, end):
    """Where an interval has `target` of its `mass` in front."""
    share = 1.0
    if mass > 0.0:
        share = ti.min(1.0, ti.max(0.0, target / mass))
    return ti.min(end, start + share * length)


@ti.func
def write_between(samples: ti.template(), ray, k, low, previous, value):
    """The fencepost between the samples k - 1, `previous`, and k, `value`; with the first of these the one before."""
    if k > 0:
        middle = 0.5 * (previous + value)
        samples[ray, k] = middle
        if k == 1:
            samples[ray, 0] = ti.max(low, 2.0 * previous - middle)


@kernel
def sample_histogram(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1]
    weights: ti.types.ndarray(ndim=2),  # [R, S]
    padding: float,
    exponent: float,
    seed: int,
    low: float,  # with `between`: the range that the fenceposts do not leave
    high: float,
    samples: ti.types.ndarray(ndim=2),  # out [R, n], or [R, n + 1] with `between`
    mode: ti.template(),
    between: ti.template(),
):
    """Samples of every ray's histogram, in order; or (`between`) the fenceposts half way between n samples.

    The first and the last fencepost then lie as far outside of the samples as the second and the last but one inside,
    in [low, high], which may be wider than the histogram.
    """
    stride = ti.static(stride_for(16))
    for slot in range(fenceposts.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        intervals = weights.shape[1]
        count = samples.shape[1]
        if ti.static(between):
            count -= 1
        # The mass to share out; where there is none the length takes its place.
        total, last = total_mass(fenceposts, weights, ray, padding, exponent)
        massless = not (total > 0.0)
        if massless:
            total = fenceposts[ray, intervals] - fenceposts[ray, 0]
        # One sweep over samples and intervals.
        i = -1
        passed, mass = 0.0, 0.0  # of the intervals before i, and of i
        start = fenceposts[ray, 0]
        length = 0.0 * start
        previous, before = start, start  # the last sample, and the one before
        for k in range(count):
            # To the interval that holds the sample's part of the mass.
            target = position_in_part(seed, ray, k, count, mode) * total
            while i < last and passed + mass <= target:
                i += 1
                passed += mass
                start = fenceposts[ray, i]
                length = fenceposts[ray, i + 1] - start
                mass = length
                if not massless:
                    mass = interval_mass(weights[ray, i], length, padding, exponent)
            value = place_in_interval(target - passed, mass, start, length, fenceposts[ray, i + 1])
            if ti.static(between):
                write_between(samples, ray, k, low, previous, value)
                before = previous
                previous = value
            else:
                samples[ray, k] = value
        if ti.static(between):
            samples[ray, count] = ti.min(high, 2.0 * previous - 0.5 * (before + previous))


@kernel
def blur(
    weights: ti.types.ndarray(ndim=2),  # [R, S]
    padding: float,
    blurred: ti.types.ndarray(ndim=2),  # out [R, S]
):
    """(max(w_{i-1}, w_i) + max(w_i, w_{i+1})) / 2 + padding: a hull, then a mean (Barron et al. 2021, eq. 18)."""
    stride = ti.static(stride_for(64))
    for slot in range(weights.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        last = weights.shape[1] - 1
        before, here = weights[ray, 0], weights[ray, 0]
        for i in range(last + 1):
            after = weights[ray, ti.min(i + 1, last)]
            blurred[ray, i] = 0.5 * (ti.max(before, here) + ti.max(here, after)) + padding
            before, here = here, after


@kernel
def merge_sorted(
    a: ti.types.ndarray(ndim=2),  # [R, A] ascending
    b: ti.types.ndarray(ndim=2),  # [R, B] ascending
    merged: ti.types.ndarray(ndim=2),  # out [R, A + B]
):
    """The numbers of both lists of every ray in ascending order, in linear time."""
    stride = ti.static(stride_for(32))
    for slot in range(merged.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        i, j = 0, 0
        for k in range(merged.shape[1]):
            from_a = j >= b.shape[1]
            if i < a.shape[1] and j < b.shape[1]:
                from_a = a[ray, i] <= b[ray, j]
            if from_a:
                merged[ray, k] = a[ray, i]
                i += 1
            else:
                merged[ray, k] = b[ray, j]
                j += 1


@ti.func
def _density(fenceposts: ti.template(), weights: ti.template(), ray, i):
    return weights[ray, i] / ti.max(fenceposts[ray, i + 1] - fenceposts[ray, i], SHORTEST)


@ti.func
def next_end(fenceposts: ti.template(), ray, intervals, reach, opened, kept, closed):
    """The least of s_i - reach of start `opened`, s_i of fencepost `kept` and s_i + reach of the end of interval
    `closed`, and which it is."""
    at, which = 0.0 * reach, NONE
    if closed < intervals:
        at, which = fenceposts[ray, closed + 1] + reach, CLOSES
    if kept <= intervals:  # where no number is less than another, as with NaN, each list still ends where it does
        if which == NONE or fenceposts[ray, kept] <= at:
            at, which = fenceposts[ray, kept], STAYS
    if opened < intervals:
        if which == NONE or fenceposts[ray, opened] - reach <= at:
            at, which = fenceposts[ray, opened] - reach, OPENS
    return at, which


@ti.func
def queue_up(fenceposts: ti.template(), weights: ti.template(), ray, interval, queue: ti.template(), head, tail):
    """Puts an interval at the tail of the queue, behind those that are denser; the others are gone. Returns the tail.
    """
    fresh = _density(fenceposts, weights, ray, interval)
    end = tail
    covering = end > head  # by itself: a function's arguments are evaluated whatever stands before `and`
    while covering:
        covering = _density(fenceposts, weights, ray, queue[ray, end - 1]) <= fresh
        if covering:
            end -= 1
            covering = end > head
    queue[ray, end] = interval
    return end + 1


@kernel
def dilate(
    fenceposts: ti.types.ndarray(ndim=2),  # [R, S + 1], S >= 1
    weights: ti.types.ndarray(ndim=2),  # [R, S]
    reach: float,  # >= 0
    low: float,
    high: float,  # the new fenceposts lie in [low, high]
    queue: ti.types.ndarray(ndim=2),  # [R, S] int32 scratch
    new_fenceposts: ti.types.ndarray(ndim=2),  # out [R, 3 S + 1]
    new_weights: ti.types.ndarray(ndim=2),  # out [R, 3 S] sum 1 (0 if all weights are)
):
    """The dilated histogram: its fenceposts are the old ones, and those moved by `reach` to either side."""
    stride = ti.static(stride_for(8))
    for slot in range(weights.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        intervals = weights.shape[1]
        # Merge s_i of all i, s_i - reach of the starts and s_i + reach of the ends.
        opened, kept, closed = 0, 0, 0
        head, tail = 0, 0  # the queue holds the open intervals that no later and denser one covers
        total = 0.0
        last, density = 0.0, 0.0
        for k in range(3 * intervals + 1):
            at, which = next_end(fenceposts, ray, intervals, reach, opened, kept, closed)
            at = ti.max(low, ti.min(high, at))
            new_fenceposts[ray, k] = at
            # From the last one to here the density has been the highest of the open intervals.
            if k > 0:
                mass = density * (at - last)
                new_weights[ray, k - 1] = mass
                total += mass
            last = at
            # Which intervals are open from here on.
            if which == OPENS:
                tail = queue_up(fenceposts, weights, ray, opened, queue, head, tail)
                opened += 1
            elif which == STAYS:
                kept += 1
            else:
                if tail > head and queue[ray, head] == closed:
                    head += 1
                closed += 1
            density = 0.0
            if tail > head:
                density = _density(fenceposts, weights, ray, queue[ray, head])
        for k in range(3 * intervals):
            if total > 0.0:
                new_weights[ray, k] = new_weights[ray, k] / total
