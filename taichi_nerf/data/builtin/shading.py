"""Light on surfaces: patterns, soft shadow, ambient occlusion, the sky, highlights. Linear RGB.

    p, n     point of a surface in the world and its unit normal
    light    vector of `world.LIGHT_COLUMNS`: position, radius, colour, ambient
    hidden   share of the light's disc that a solid hides, in closed form, so the shadows are smooth and
    noiseless

A shadow's edge is exact for an edge that is straight across the light's disc; solids hide independent shares
of it.
"""

import math

from taichi_nerf_kernels.engine import ti

from .solids import signed_distance
from .world import CHECKER, FIELDS, INLAY, SECTORS, SPIRAL, STRIPES

TAU = 2.0 * math.pi
GOLDEN = 0.381966  # of an interval: where golden-section search probes
SEARCH_STEPS = 14
OCCLUSION_REACH = 0.22


@ti.func
def pattern_colour(pattern, frequency, turns, first, second, p):
    """Colour of the point `p` (in the frame of its solid)."""
    rho = ti.Vector([p[0], p[1]]).norm()
    phase = 0.25  # of a period: the first colour below 0.5, the second above
    if pattern == CHECKER:
        cell = ti.floor(p * frequency + 0.5)
        phase = 0.5 * (cell[0] + cell[1] + cell[2])
    elif pattern == STRIPES:
        phase = p[2] * frequency
    elif pattern == SPIRAL or pattern == SECTORS:
        phase = ti.atan2(p[1], p[0]) / TAU * turns
        if pattern == SPIRAL:
            phase += p[2] * frequency
    colour = first
    if phase - ti.floor(phase) >= 0.5:
        colour = second
    if pattern == INLAY:
        colour = _inlay(frequency, first, second, rho, p)
    elif pattern == FIELDS:
        colour = _fields(frequency, turns, first, second, rho, p)
    return colour


@ti.func
def _inlay(frequency, first, second, rho, p):
    """Checkers in the middle of a round table, then a line, then wood with rings."""
    colour = ti.Vector([0.72, 0.50, 0.16])  # the line
    if rho < 0.74:
        cell = ti.floor(ti.Vector([p[0], p[1]]) * frequency)
        phase = 0.5 * (cell[0] + cell[1])
        colour = first
        if phase - ti.floor(phase) >= 0.5:
            colour = second
    elif rho > 0.775 and ti.abs(rho - 0.985) > 0.008:
        wobble = 0.035 * ti.sin(4.1 * p[0] + 1.7 * ti.sin(3.0 * p[1]))
        wobble += 0.012 * ti.sin(17.0 * p[1] + 5.0 * p[0])
        ring = ti.Vector([p[0] + 2.3, 0.35 * p[1] + wobble]).norm() * 13.0
        ring -= ti.floor(ring)
        colour = ti.Vector([0.36, 0.17, 0.07]) * (0.62 + 0.38 * ring * ring)
    return colour


@ti.func
def _fields(frequency, turns, first, second, rho, p):
    """A checkerboard in the angle and the logarithm of the distance, whose colours vary from field to field."""
    around = ti.atan2(p[1], p[0]) / TAU * turns
    outward = ti.log(ti.max(rho, 0.05)) * frequency
    row, column = ti.floor(outward), ti.floor(around)
    phase = 0.5 * (row + column)
    field = first
    if phase - ti.floor(phase) >= 0.5:
        field = second
    field *= 1.0 + 0.35 * ti.sin(5.1 * row + 2.7 * column)
    edge = ti.min(around - column, 1.0 - around + column, outward - row, 1.0 - outward + row)
    if edge < 0.06:
        field = 0.45 * first  # a hedge
    contrast = 1.0 / (1.0 + rho * rho / 900.0)  # finer than a pixel towards the horizon
    return 0.5 * (first + second) * (1.0 - contrast) + field * contrast


@ti.func
def hidden_by_edge(h):
    """Share of a unit disc beyond a straight edge at signed distance `h` from its centre."""
    x = ti.min(ti.max(0.5 - 0.5 * h, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


@ti.func
def hidden_share(kind, shape, half_thickness, o, d, spread, low, high):
    """Share of a light that the solid hides from the point `o` (frame of the solid).

    `d` points to the light's centre; at t the cone of its rays has the radius `spread * t`. The least signed
    distance in units of that radius, over [low, high], is found by golden-section search: along a line the
    distance to a convex solid has one minimum. (A ray may pass a torus on both sides; then one of them
    counts.)
    """
    across = ti.max(ti.abs(d[2]), 1e-6)
    half = (shape[2] + shape[4] + spread * high) / across  # the solid's planes, widened by the cone
    planes = -o[2] / d[2] if d[2] != 0.0 else 0.0
    left = ti.max(low, planes - half, 1e-3)
    right = ti.min(high, planes + half)
    best = left + GOLDEN * (right - left)
    least = 1e9
    t = best
    steps = SEARCH_STEPS
    if left >= right:
        steps = 0
    for _ in range(steps):
        h = signed_distance(kind, shape, o + t * d) / (spread * t)
        if h < least:
            if t > best:
                left = best
            elif t < best:
                right = best
            best = t
            least = h
        elif t > best:
            right = t
        else:
            left = t
        t = best - GOLDEN * (best - left)
        if right - best > best - left:
            t = best + GOLDEN * (right - best)
    return hidden_by_edge(least) - hidden_by_edge(least + 2.0 * half_thickness / (spread * best))


@ti.func
def occlusion(kind, shape, half_thickness, p, n):
    """Share of the sky that the solid hides from `p`: how much nearer it comes at a step along the normal."""
    distance = signed_distance(kind, shape, p + n * OCCLUSION_REACH)
    near = ti.min(ti.max(1.0 - distance / OCCLUSION_REACH, 0.0), 1.0)
    return 0.6 * near * ti.min(1.0, 4.0 * half_thickness / OCCLUSION_REACH)


@ti.func
def sky(d, light):
    """Light from the direction `d`: bright above, brown below, with a window whose image shows in mirrors."""
    ambient = ti.Vector([light[7], light[8], light[9]])
    height = 0.5 + 0.5 * d[2]
    colour = ti.Vector([0.30, 0.23, 0.18]) + (ambient * 1.5 - ti.Vector([0.30, 0.23, 0.18])) * height
    if d[2] > 0.05:  # the panes of a window, on a plane at unit height
        u, v = d[0] / d[2] + 0.75, d[1] / d[2] - 0.55
        if ti.abs(u) < 0.42 and ti.abs(v) < 0.42 and ti.abs(u) > 0.03 and ti.abs(v) > 0.03:
            colour = ti.Vector([2.6, 2.7, 2.8])
    return colour


@ti.func
def open_sky(d, light):
    """The sky over an endless ground, from the direction `d`: pale at the horizon, with soft clouds."""
    ambient = ti.Vector([light[7], light[8], light[9]])
    height = ti.max(d[2], 0.0)
    colour = ambient * (0.85 + (ti.Vector([0.62, 0.66, 0.70]) / ambient - 0.85) * ti.exp(-5.0 * height))
    u, v = d[0] / (height + 0.25), d[1] / (height + 0.25)  # on a dome that the horizon does not crowd
    cloud = ti.sin(1.7 * u + 1.3 * ti.sin(1.1 * v + 0.4)) + ti.sin(2.3 * v + 1.1 * ti.sin(1.9 * u + 2.0))
    share = ti.min(ti.max(0.9 * cloud - 0.3, 0.0), 1.0) * ti.min(8.0 * height, 1.0)
    return colour + (ti.Vector([0.86, 0.86, 0.88]) - colour) * share * share * (3.0 - 2.0 * share)


@ti.func
def fill_light(n, light):
    """What the sky and the floor give a surface with normal `n`, without occlusion."""
    ambient = ti.Vector([light[7], light[8], light[9]])
    height = 0.5 + 0.5 * n[2]
    return ti.Vector([0.20, 0.15, 0.11]) * (1.0 - height) + ambient * height


@ti.func
def highlight(n, to_light, to_eye, shininess):
    """Blinn-Phong, normalised."""
    cosine = ti.max(n.dot((to_light + to_eye).normalized()), 1e-6)
    return (shininess + 8.0) / (8.0 * math.pi) * ti.exp(shininess * ti.log(cosine))


@ti.func
def fresnel(reflectance, cosine):
    """Schlick's approximation."""
    x = ti.min(ti.max(1.0 - cosine, 0.0), 1.0)
    return reflectance + (1.0 - reflectance) * x * x * x * x * x


@ti.func
def srgb(linear):
    """sRGB of linear values, clipped to [0, 1]."""
    x = ti.min(ti.max(linear, 0.0), 1.0)
    encoded = 1.055 * ti.pow(ti.max(x, 0.0031308), 1.0 / 2.4) - 0.055
    for i in ti.static(range(3)):
        if x[i] <= 0.0031308:
            encoded[i] = 12.92 * x[i]
    return encoded
