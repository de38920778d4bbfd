"""A radiance field in pure Taichi: the hash grid and the compositor inside a program of one's own. No torch.

    python examples/05_pure_taichi.py
    python examples/05_pure_taichi.py --backend vulkan --steps 1000

Pictures of two balls are computed, and a field is fitted to them by gradient descent. The field has no network:
the four features of a point, summed over the levels of the grid, are the logarithm of its density and its colour
before the sigmoid. A step is seven launches:

    sample_rays          random pixels, and S points along each of their rays           (ours)
    field_forward        density and colour, by the function `encode_level`             (ours, theirs inside)
    composite_forward    the colour of each ray                                         (theirs)
    loss_backward        squared error over a random background, and its derivative     (ours)
    composite_backward   derivatives with respect to density and colour                 (theirs)
    field_backward       derivatives with respect to the table, by `splat_level`        (ours, theirs inside)
    adam_step            the step                                                       (theirs)

Everything stays on the device, which is why the same program runs on a CPU, on CUDA and on Vulkan.
Space is the unit cube; cameras circle around its middle.
"""

import argparse
from pathlib import Path

import numpy as np
import taichi as ti
from PIL import Image

from taichi_nerf_kernels.adam import adam_step, bias_correction_table
from taichi_nerf_kernels.hash_grid import encode_level, hash_grid_layout, splat_level
from taichi_nerf_kernels.random import uniform
from taichi_nerf_kernels.volume_rendering import composite_backward, composite_forward

FEATURES = 4  # logarithm of the density, red, green, blue
NEAR, FAR = 0.6, 1.8  # distances along a ray between which it may meet the cube
array = ti.types.ndarray


@ti.func
def camera_ray(view, views, x, y, size):
    """Origin and unit direction of the ray through pixel (x, y) of a camera on a circle around the cube."""
    angle = 6.2831853 * view / views
    back = ti.Vector([ti.cos(angle), ti.sin(angle), 0.45]).normalized()
    right = ti.Vector([-ti.sin(angle), ti.cos(angle), 0.0])
    up = back.cross(right)
    middle = ti.Vector([0.5, 0.5, 0.5])
    u, v = (x + 0.5) / size - 0.5, 0.5 - (y + 0.5) / size
    return middle + 1.2 * back, (1.1 * (u * right + v * up) - 1.2 * back).normalized()


@ti.func
def ball(o, d, centre, radius):
    """Distance along the ray to a ball; 1e9 if it is missed."""
    b = (centre - o).dot(d)
    root = radius**2 - (centre - o).norm_sqr() + b**2
    return b - ti.sqrt(root) if root > 0 else 1e9


@ti.kernel
def take_pictures(pictures: array(ndim=4)):  # [V, H, H, 4] RGBA
    for view, y, x in ti.ndrange(pictures.shape[0], pictures.shape[1], pictures.shape[2]):
        o, d = camera_ray(view, pictures.shape[0], x, y, pictures.shape[1])
        red = ball(o, d, ti.Vector([0.38, 0.5, 0.42]), 0.2)
        blue = ball(o, d, ti.Vector([0.68, 0.55, 0.6]), 0.14)
        t = ti.min(red, blue)
        p = (o + t * d) * 10.0
        stripe = 0.35 + 0.65 * ti.cast(ti.floor(p[2]) % 2 == 0, float)
        colour = ti.Vector([0.9, 0.3, 0.2]) if red < blue else ti.Vector([0.2, 0.4, 0.9])
        hit = ti.cast(t < 1e8, float)
        for k in ti.static(range(3)):
            pictures[view, y, x, k] = hit * stripe * colour[k]
        pictures[view, y, x, 3] = hit


@ti.kernel
def sample_rays(seed: int, view: int, pictures: array(ndim=4), truth: array(ndim=2), points: array(ndim=2),
                t: array(ndim=1), dt: array(ndim=1), ray_start: array(ndim=1), ray_count: array(ndim=1)):  # fmt: skip
    """Rays through random pixels (`view` below 0), or through all pixels of one view in their order."""
    rays, samples, size = ray_start.shape[0], t.shape[0] // ray_start.shape[0], pictures.shape[1]
    for ray in range(rays):
        chosen, pixel = view, ray
        if view < 0:
            chosen = ti.cast(uniform(seed, 3 * ray) * pictures.shape[0], ti.i32)
            pixel = ti.cast(uniform(seed, 3 * ray + 1) * size * size, ti.i32)
        y, x = pixel // size, pixel % size
        for k in ti.static(range(4)):
            truth[ray, k] = pictures[chosen, y, x, k]
        o, d = camera_ray(chosen, pictures.shape[0], x, y, size)
        ray_start[ray], ray_count[ray] = ray * samples, samples
        offset = uniform(seed, 3 * ray + 2)
        for s in range(samples):
            i = ray * samples + s
            t[i] = NEAR + (FAR - NEAR) * (s + offset) / samples
            dt[i] = (FAR - NEAR) / samples
            for axis in ti.static(range(3)):
                points[i, axis] = o[axis] + t[i] * d[axis]


@ti.func
def point_of(points: ti.template(), i):
    return ti.Vector([points[i, 0], points[i, 1], points[i, 2]])


@ti.func
def in_cube(p):
    """1 in the unit cube, 0 outside."""
    return ti.cast(p.min() > 0 and p.max() < 1, float)


@ti.kernel
def field_forward(points: array(ndim=2), table: array(ndim=1), levels: array(ndim=2), scales: array(ndim=1),
                  density: array(ndim=1), colour: array(ndim=2)):  # fmt: skip
    """density = exp(y_0 - 1) in the cube, colour = sigmoid(y_1..3), where y sums the features of all levels."""
    for i in density:
        p = point_of(points, i)
        y = ti.Vector.zero(float, FEATURES)
        for level in range(scales.shape[0]):
            y += encode_level(p, table, levels, scales, level, FEATURES)
        density[i] = in_cube(p) * ti.exp(ti.min(y[0] - 1.0, 10.0))
        for k in ti.static(range(3)):
            colour[i, k] = 1.0 / (1.0 + ti.exp(-y[k + 1]))


@ti.kernel
def field_backward(points: array(ndim=2), density: array(ndim=1), colour: array(ndim=2),
                   density_gradient: array(ndim=1), colour_gradient: array(ndim=2), levels: array(ndim=2),
                   scales: array(ndim=1), table_gradient: array(ndim=1)):  # fmt: skip
    """The adjoint of `field_forward`: adds to `table_gradient`."""
    for i in density:
        gradient = ti.Vector.zero(float, FEATURES)
        gradient[0] = density_gradient[i] * density[i]
        for k in ti.static(range(3)):
            gradient[k + 1] = colour_gradient[i, k] * colour[i, k] * (1.0 - colour[i, k])
        if gradient.norm_sqr() > 0:
            for level in range(scales.shape[0]):
                splat_level(point_of(points, i), gradient, table_gradient, levels, scales, level, FEATURES)


@ti.kernel
def loss_backward(seed: int, truth: array(ndim=2), ray_colour: array(ndim=2), opacity: array(ndim=1),
                  colour_gradient: array(ndim=2), opacity_gradient: array(ndim=1)) -> float:  # fmt: skip
    """Mean squared error with both pictures over the same random grey; empty space cannot hide in it."""
    loss = 0.0
    for ray in opacity:
        background = uniform(seed, ray)
        opacity_gradient[ray] = 0.0
        for k in ti.static(range(3)):
            wanted = truth[ray, k] + (1.0 - truth[ray, 3]) * background
            error = ray_colour[ray, k] + (1.0 - opacity[ray]) * background - wanted
            loss += error**2 / (3 * truth.shape[0])
            colour_gradient[ray, k] = 2.0 * error / (3 * truth.shape[0])
            opacity_gradient[ray] -= colour_gradient[ray, k] * background
    return loss


class Rays:
    """The arrays of R rays with S samples each."""

    def __init__(self, rays: int, samples: int):
        total = rays * samples
        self.truth = ti.ndarray(float, (rays, 4))
        self.points = ti.ndarray(float, (total, 3))
        self.t, self.dt = ti.ndarray(float, total), ti.ndarray(float, total)
        self.start, self.count = ti.ndarray(ti.i32, rays), ti.ndarray(ti.i32, rays)
        self.density, self.colour = ti.ndarray(float, total), ti.ndarray(float, (total, 3))
        self.ray_colour = ti.ndarray(float, (rays, 3))
        self.opacity, self.depth = ti.ndarray(float, rays), ti.ndarray(float, rays)
        self.weights, self.kept = ti.ndarray(float, total), ti.ndarray(ti.i32, rays)


class Field:
    """The table of the hash grid, and what Adam keeps of it."""

    def __init__(self, log2_entries: int = 15):
        layout = hash_grid_layout(
            levels=6, features=FEATURES, log2_entries=log2_entries, base_resolution=8, max_resolution=64
        )
        size = layout.entries * FEATURES
        self.levels = filled(layout.levels, ti.i32)
        self.scales = filled(layout.scales, float)
        self.table, self.gradient, self.first, self.second = (ti.ndarray(float, size) for _ in range(4))
        self.steps, self.touched = ti.ndarray(ti.i32, layout.entries), ti.ndarray(ti.i32, layout.entries)
        self.overflowed = ti.ndarray(ti.i32, 1)
        self.bias = filled(bias_correction_table(0.9, 0.99), float)
        for zero in (self.table, self.gradient, self.first, self.second, self.steps, self.overflowed):
            zero.fill(0)

    def render(self, rays: Rays):
        """From points to the colour of the rays."""
        field_forward(rays.points, self.table, self.levels, self.scales, rays.density, rays.colour)
        composite_forward(
            rays.density, rays.colour, rays.t, rays.dt, rays.start, rays.count, 0.0,
            rays.ray_colour, rays.opacity, rays.depth, rays.weights, rays.kept,
        )  # fmt: skip

    def step(self, learning_rate: float):
        adam_step(
            self.table, self.gradient, self.first, self.second, self.steps, self.bias, self.touched,
            self.overflowed, learning_rate, 0.9, 0.99, 1e-12, FEATURES, True,
        )  # fmt: skip


def filled(values: np.ndarray, dtype):
    """A device array with these values."""
    out = ti.ndarray(dtype, values.shape)
    out.from_numpy(values.astype(np.int32 if dtype == ti.i32 else np.float32))
    return out


def fit(field: Field, pictures, rays: Rays, steps: int):
    """Gradient descent."""
    samples, count = rays.density.shape[0], rays.opacity.shape[0]
    d_density, d_colour = ti.ndarray(float, samples), ti.ndarray(float, (samples, 3))
    d_ray, d_opacity = ti.ndarray(float, (count, 3)), ti.ndarray(float, count)
    d_depth, d_weights = ti.ndarray(float, count), ti.ndarray(float, samples)
    d_depth.fill(0)
    d_weights.fill(0)
    for step in range(steps):
        sample_rays(step, -1, pictures, rays.truth, rays.points, rays.t, rays.dt, rays.start, rays.count)
        field.render(rays)
        loss = loss_backward(step, rays.truth, rays.ray_colour, rays.opacity, d_ray, d_opacity)
        composite_backward(
            rays.colour, rays.t, rays.dt, rays.start, rays.count, rays.opacity, rays.weights, rays.kept,
            d_ray, d_opacity, d_depth, d_weights, d_density, d_colour,
        )  # fmt: skip
        field_backward(
            rays.points, rays.density, rays.colour, d_density, d_colour, field.levels, field.scales, field.gradient
        )
        field.step(0.1 * 0.1 ** (step / steps))
        if step % max(steps // 6, 1) == 0 or step == steps - 1:
            print(f"step {step}: loss {loss:.5f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("cpu", "cuda", "vulkan"), default="cpu")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path("runs/pure_taichi.png"))
    parser.add_argument("--small", action="store_true", help="small pictures and few steps")
    arguments = parser.parse_args()
    size, rays, samples, steps = (24, 256, 32, 60) if arguments.small else (96, 1024, 64, arguments.steps)

    ti.init(arch=getattr(ti, arguments.backend), log_level=ti.ERROR)
    pictures = ti.ndarray(float, (16, size, size, 4))
    take_pictures(pictures)
    field = Field()
    fit(field, pictures, Rays(rays, samples), steps)

    whole = Rays(size * size, 2 * samples)
    sample_rays(0, 3, pictures, whole.truth, whole.points, whole.t, whole.dt, whole.start, whole.count)
    field.render(whole)
    truth = whole.truth.to_numpy()
    both = [
        whole.ray_colour.to_numpy() + 1 - whole.opacity.to_numpy()[:, None],
        truth[:, :3] + 1 - truth[:, 3:],
    ]
    print(f"PSNR {-10 * np.log10(np.square(both[0] - both[1]).mean()):.2f} dB")
    picture = np.concatenate([half.reshape(size, size, 3) for half in both], axis=1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8)).save(arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    main()
