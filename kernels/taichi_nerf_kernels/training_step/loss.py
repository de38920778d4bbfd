"""The loss of the pixels of a step, and its gradients with respect to what the networks put out.

    R rays, K visible samples: what arrays have room for; how many are in use only the device knows
    geometry [G, K]   outputs of the density network: log density, then what the colour network is told of the point
    raw [3, K]        outputs of the colour network: colour = sigmoid(raw)

Matrices may hold bfloat16 (see `bfloat16`). A pixel is the mean of its rays; of the last one there may be a part only,
which then counts as that part. The loss is a Huber loss, the mean over pixels and channels.
"""

from ..bfloat16 import load, store
from ..engine import live, on_cpu, stride_for, ti
from ..launch import kernel
from ..random import uniform
from ..volume_rendering import optical_depth_gradient, transmittance
from .activations import density_of, density_slope, sigmoid
from .exposure import exposed

LOSS, SQUARED_ERROR = range(2)  # places in `errors`


@ti.func
def huber_gradient(error, delta):
    """(h, dh/de) of h = e^2 / 2 where |e| < delta, else delta (|e| - delta / 2)."""
    slope = ti.min(ti.max(error, -delta), delta)
    return slope * (error - 0.5 * slope), slope


@ti.func
def composite_ray(begin, kept, geometry: ti.template(), raw: ti.template(), dt: ti.template(),
                  weights: ti.template()):
    """Colour over black and transmittance of a ray whose samples begin at `begin`; their weights are written."""
    passed, through = 0.0, 1.0
    colour = ti.Vector([0.0, 0.0, 0.0])
    for i in range(begin, begin + kept):
        passed += density_of(load(geometry, 0, i)) * dt[i]
        after = transmittance(passed)
        weights[i] = through - after
        for c in ti.static(range(3)):
            colour[c] += weights[i] * sigmoid(load(raw, c, i))
        through = after
    return ti.Vector([colour[0], colour[1], colour[2], through])


@ti.func
def composite_pixel(ray, begin, kept, geometry: ti.template(), raw: ti.template(), dt: ti.template(),
                    weights: ti.template(), shown: ti.template(), rays: ti.template(), per_pixel: ti.template()):
    """Colour over black and transmittance of the pixel of a ray, and the transmittance of the ray itself; those of
    several rays of a pixel stand in `shown`."""
    seen, end = ti.Vector([0.0, 0.0, 0.0, 0.0]), 0.0
    if ti.static(per_pixel > 1):
        first = ray - ray % per_pixel
        last = ti.min(first + per_pixel, rays[0])
        for other in range(first, last):
            for k in ti.static(range(4)):
                seen[k] += shown[other, k] / ti.cast(last - first, float)
        end = shown[ray, 3]
    else:
        seen = composite_ray(begin, kept, geometry, raw, dt, weights)
        end = seen[3]
    return ti.Vector([seen[0], seen[1], seen[2], seen[3], end])


@ti.func
def background_of(ray, channel, background, background_seed, per_pixel: ti.template()):
    """What a channel of the pixel of a ray is composited over: a random value, or with a seed below 0 `background`."""
    behind = background
    if background_seed >= 0:
        behind = uniform(background_seed, 3 * (ray // per_pixel) + channel)
    return behind


@ti.func
def differentiate_samples(begin, kept, end, gradient, opacity_gradient, geometry: ti.template(), raw: ti.template(),
                          dt: ti.template(), weights: ti.template(), raw_gradient: ti.template(),
                          log_density_gradient: ti.template()):
    """From the `gradient` of a ray's colour over black and that of its opacity to those of its samples, from back to
    front; `end` is the transmittance of the ray."""
    through, behind_sum = end, 0.0
    for step in range(kept):
        i = begin + kept - 1 - step
        weight, value = weights[i], 0.0
        for c in ti.static(range(3)):
            shade = sigmoid(load(raw, c, i))
            value += gradient[c] * shade
            store(raw_gradient, c, i, weight * gradient[c] * shade * (1.0 - shade))
        tau_gradient = optical_depth_gradient(value, through, behind_sum, opacity_gradient, end)
        log_density_gradient[i] = dt[i] * tau_gradient * density_slope(load(geometry, 0, i))
        behind_sum += weight * value
        through += weight


@kernel
def differentiate_rays(
    geometry: ti.types.ndarray(ndim=2),  # [G.., K]
    raw: ti.types.ndarray(ndim=2),  # [3, K]
    dt: ti.types.ndarray(ndim=1),  # [K]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    rgba: ti.types.ndarray(ndim=2),  # [R, 4] truth, straight alpha
    background: float,
    background_seed: int,  # of a random colour per pixel; below 0: `background`
    delta: float,
    weights: ti.types.ndarray(ndim=1),  # scratch [K]
    shown: ti.types.ndarray(ndim=2),  # scratch [R, 4], where a pixel has several rays
    raw_gradient: ti.types.ndarray(ndim=2),  # out [3, K]
    log_density_gradient: ti.types.ndarray(ndim=1),  # out [K]
    errors: ti.types.ndarray(ndim=1),  # [2] the loss and the squared error are added
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    per_pixel: ti.template(),  # rays of a pixel, which follow one another
):
    """Composite every ray, compare pixels with the truth, and differentiate the loss with respect to raw colour and log
    density: from front to back, and back again."""
    stride = ti.static(stride_for(64))
    if ti.static(per_pixel > 1):
        for slot in range(live(rgba.shape[0], rays, True) * stride):
            if slot % stride != 0:
                continue
            ray = slot // stride
            seen = composite_ray(ray_start[ray], ray_count[ray], geometry, raw, dt, weights)
            for k in ti.static(range(4)):
                shown[ray, k] = seen[k]
    for slot in range(live(rgba.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        # the pixel of the ray
        ray = slot // stride
        begin, kept = ray_start[ray], ray_count[ray]
        seen = composite_pixel(ray, begin, kept, geometry, raw, dt, weights, shown, rays, per_pixel)

        # its errors, and their gradient with respect to colour over black and opacity
        gradient = ti.Vector([0.0, 0.0, 0.0])
        opacity_gradient, loss, squared_error = 0.0, 0.0, 0.0
        scale = 1.0 / (3.0 * ti.cast(rays[0], float))
        for c in ti.static(range(3)):
            behind = background_of(ray, c, background, background_seed, per_pixel)
            error = seen[c] + seen[3] * behind - (rgba[ray, c] * rgba[ray, 3] + (1.0 - rgba[ray, 3]) * behind)
            value, slope = huber_gradient(error, delta)
            gradient[c] = scale * slope
            opacity_gradient -= gradient[c] * behind
            loss += scale * value
            squared_error += scale * error * error
        ti.atomic_add(errors[LOSS], loss)
        ti.atomic_add(errors[SQUARED_ERROR], squared_error)

        # the samples of the ray
        differentiate_samples(begin, kept, seen[4], gradient, opacity_gradient, geometry, raw, dt, weights,
                              raw_gradient, log_density_gradient)


@ti.func
def weight_of(ray, image, area_weight: ti.template(), pixel_kept: ti.template(), per_pixel: ti.template(),
              weighted: ti.template(), trimmed: ti.template()):
    """Of a ray's error in the loss, before it is divided by the sum of all."""
    weight = 1.0
    if ti.static(weighted):
        weight = area_weight[image]
    if ti.static(trimmed):
        weight *= pixel_kept[ray // per_pixel]
    return weight


@kernel
def total_weight(
    area_weight: ti.types.ndarray(ndim=1),  # [N] of the images
    image_index: ti.types.ndarray(ndim=1),  # [R] int32
    pixel_kept: ti.types.ndarray(ndim=1),  # [P] 1 for each pixel that counts, else 0
    total: ti.types.ndarray(ndim=1),  # out [1]
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    per_pixel: ti.template(),
    weighted: ti.template(),  # whether images differ in weight
    trimmed: ti.template(),  # whether some pixels do not count
):
    """The sum of the weights of a step's rays."""
    ti.loop_config(serialize=ti.static(on_cpu()))
    for _ in range(1):
        total[0] = 0.0
    ti.loop_config(serialize=ti.static(on_cpu()))
    for ray in range(live(image_index.shape[0], rays, True)):
        total[0] += weight_of(ray, image_index[ray], area_weight, pixel_kept, per_pixel, weighted, trimmed)


@kernel
def differentiate_rays_of_images(
    geometry: ti.types.ndarray(ndim=2),  # [G.., K]
    raw: ti.types.ndarray(ndim=2),  # [3, K]
    dt: ti.types.ndarray(ndim=1),  # [K]
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    rgba: ti.types.ndarray(ndim=2),  # [R, 4] truth, straight alpha
    background: float,
    background_seed: int,  # of a random colour per pixel; below 0: `background`
    delta: float,
    image_index: ti.types.ndarray(ndim=1),  # [R] int32
    area_weight: ti.types.ndarray(ndim=1),  # [N] of the errors of each image's pixels
    pixel_kept: ti.types.ndarray(ndim=1),  # [P] 1 for each pixel that counts, else 0
    total: ti.types.ndarray(ndim=1),  # [1] the sum of the weights of all rays
    stops: ti.types.ndarray(ndim=1),  # [3 N] exposure of each image
    weights: ti.types.ndarray(ndim=1),  # scratch [K]
    shown: ti.types.ndarray(ndim=2),  # scratch [R, 4], where a pixel has several rays
    raw_gradient: ti.types.ndarray(ndim=2),  # out [3, K]
    log_density_gradient: ti.types.ndarray(ndim=1),  # out [K]
    stops_gradient: ti.types.ndarray(ndim=2),  # out [R, 3] with respect to the stops of the ray's image
    errors: ti.types.ndarray(ndim=1),  # [2] the loss and the squared error are added
    rays: ti.types.ndarray(ndim=1),  # [1] int32
    per_pixel: ti.template(),  # rays of a pixel, which follow one another
    weighted: ti.template(),  # whether images differ in weight
    exposing: ti.template(),  # whether images differ in exposure
    trimmed: ti.template(),  # whether some pixels do not count
):
    """`differentiate_rays` where images differ in the weight of their errors or in exposure, or some pixels do not
    count. A kernel of its own: without any of it there is no further argument to pay for."""
    stride = ti.static(stride_for(64))
    if ti.static(per_pixel > 1):
        for slot in range(live(rgba.shape[0], rays, True) * stride):
            if slot % stride != 0:
                continue
            ray = slot // stride
            seen = composite_ray(ray_start[ray], ray_count[ray], geometry, raw, dt, weights)
            for k in ti.static(range(4)):
                shown[ray, k] = seen[k]
    for slot in range(live(rgba.shape[0], rays, True) * stride):
        if slot % stride != 0:
            continue
        # the pixel of the ray
        ray = slot // stride
        begin, kept, n = ray_start[ray], ray_count[ray], image_index[ray]
        seen = composite_pixel(ray, begin, kept, geometry, raw, dt, weights, shown, rays, per_pixel)

        # its errors, and their gradient with respect to colour over black, opacity and stops
        gradient = ti.Vector([0.0, 0.0, 0.0])
        opacity_gradient, loss, squared_error = 0.0, 0.0, 0.0
        even = 1.0 / (3.0 * ti.cast(rays[0], float))
        scale = even
        if ti.static(weighted or trimmed):
            scale = weight_of(ray, n, area_weight, pixel_kept, per_pixel, weighted, trimmed) / (3.0 * total[0])
        for c in ti.static(range(3)):
            behind = background_of(ray, c, background, background_seed, per_pixel)
            channel = ti.Vector([seen[c], 1.0, 0.0, 0.0])  # as it is shown; its slopes by colour, opacity and stops
            if ti.static(exposing):
                channel = exposed(seen[c], 1.0 - seen[3], stops[3 * n + c])
            error = channel[0] + seen[3] * behind - (rgba[ray, c] * rgba[ray, 3] + (1.0 - rgba[ray, 3]) * behind)
            value, slope = huber_gradient(error, delta)
            gradient[c] = scale * slope * channel[1]
            opacity_gradient += scale * slope * (channel[2] - behind)
            loss += scale * value
            squared_error += even * error * error
            if ti.static(exposing):
                stops_gradient[ray, c] = scale * slope * channel[3]
        ti.atomic_add(errors[LOSS], loss)
        ti.atomic_add(errors[SQUARED_ERROR], squared_error)

        # the samples of the ray
        differentiate_samples(begin, kept, seen[4], gradient, opacity_gradient, geometry, raw, dt, weights,
                              raw_gradient, log_density_gradient)
