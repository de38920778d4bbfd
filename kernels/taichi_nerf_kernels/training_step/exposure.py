"""Pictures as their images show them: a gain for each image and channel of linear light, on colours over black.

    x = srgb(linear(colour / o) 2^s),  o = max(opacity, THIN)      s [N, 3] in stops, of N images, less their mean
    shown = o (min(x, 1) + LEAK max(x - 1, 0))                     like a sensor, a picture ends at 1

As `taichi_nerf.training.exposure`, whose gradients these are.
"""

from ..engine import live, on_cpu, ti
from ..launch import kernel

THIN = 1e-3  # opacity below which the colour of a ray is that of nothing
LEAK = 1e-2  # slope beyond 1, where the picture is darker: without it the prediction would never come back
LOG_2 = 0.6931471805599453
LINEAR_BELOW, LINEAR_SLOPE = 0.04045, 12.92  # of sRGB (IEC 61966-2-1)
LINEAR_LIGHT_BELOW = 0.0031308


@ti.func
def linear_light(srgb):
    """(linear light of an sRGB value, its slope)."""
    base = (ti.max(srgb, LINEAR_BELOW) + 0.055) / 1.055
    value, slope = base**2.4, 2.4 / 1.055 * base**1.4
    if srgb <= LINEAR_BELOW:
        value, slope = srgb / LINEAR_SLOPE, 1.0 / LINEAR_SLOPE
    return ti.Vector([value, slope])


@ti.func
def srgb_value(light):
    """(sRGB value of linear light, its slope); the curve goes on beyond 1."""
    base = ti.max(light, LINEAR_LIGHT_BELOW)
    value, slope = 1.055 * base ** (1.0 / 2.4) - 0.055, 1.055 / 2.4 * base ** (1.0 / 2.4 - 1.0)
    if light <= LINEAR_LIGHT_BELOW:
        value, slope = light * LINEAR_SLOPE, LINEAR_SLOPE
    return ti.Vector([value, slope])


@ti.func
def exposed(colour, opacity, stops):
    """A channel as it is shown, and its slopes with respect to colour, opacity and stops."""
    o = ti.max(opacity, THIN)
    light = linear_light(colour / o)
    gain = ti.pow(2.0, stops)
    x = srgb_value(light[0] * gain)
    sensor, sensor_slope = x[0], 1.0
    if x[0] > 1.0:
        sensor, sensor_slope = 1.0 + LEAK * (x[0] - 1.0), LEAK
    of_light = sensor_slope * x[1]  # d sensor / d (light gain)
    of_colour = of_light * gain * light[1]  # o d sensor / d colour
    of_opacity = 0.0
    if opacity >= THIN:
        of_opacity = sensor - of_colour * colour / o
    return ti.Vector([o * sensor, of_colour, of_opacity, o * of_light * light[0] * gain * LOG_2])


@kernel
def centred_stops(
    stops: ti.types.ndarray(ndim=1),  # [3 N]
    centred: ti.types.ndarray(ndim=1),  # out [3 N]: what all images share is the field's
):
    ti.loop_config(serialize=ti.static(on_cpu()))
    for channel in range(3):
        images = stops.shape[0] // 3
        total = 0.0
        for n in range(images):
            total += stops[3 * n + channel]
        for n in range(images):
            centred[3 * n + channel] = stops[3 * n + channel] - total / ti.cast(images, float)


@kernel
def gather_stops_gradient(
    of_pixel: ti.types.ndarray(ndim=2),  # [R, 3] with respect to the centred stops of the ray's image
    image_index: ti.types.ndarray(ndim=1),  # [R] int32
    gradient: ti.types.ndarray(ndim=1),  # [3 N] out: with respect to the stops
    rays: ti.types.ndarray(ndim=1),  # [1] int32
):
    """The sums over the rays of each image, zero before, less their mean: on a CPU in the order of the rays, on a GPU a
    thread for each ray and channel."""
    if ti.static(on_cpu()):
        ti.loop_config(serialize=True)
        for ray in range(live(of_pixel.shape[0], rays, True)):
            for channel in ti.static(range(3)):
                gradient[3 * image_index[ray] + channel] += of_pixel[ray, channel]
    else:
        for thread in range(live(of_pixel.shape[0], rays, True) * 3):
            ray, channel = thread // 3, thread % 3
            ti.atomic_add(gradient[3 * image_index[ray] + channel], of_pixel[ray, channel])
    ti.loop_config(serialize=ti.static(on_cpu()))
    for channel in range(3):
        images = gradient.shape[0] // 3
        total = 0.0
        for n in range(images):
            total += gradient[3 * n + channel]
        for n in range(images):
            gradient[3 * n + channel] -= total / ti.cast(images, float)
