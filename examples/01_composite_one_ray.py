"""Composite one ray, and differentiate its colour. Taichi and numpy alone, no torch.

    python examples/01_composite_one_ray.py
    python examples/01_composite_one_ray.py --samples 1000 --stop 0.5

A ray passes red fog and then meets a green wall. Sample i has density sigma_i and colour c_i over an interval of
length dt, and is seen through what lies in front of it:

    T_i = exp(-sum over j < i of sigma_j dt)      how much light comes through to sample i
    w_i = T_i (1 - exp(-sigma_i dt))              its weight in the picture
    colour = sum w_i c_i

The backward kernel gives the derivative of the colour with respect to every density and colour; here it is
compared with finite differences. Denser fog makes the pixel redder and less green: it also hides the wall.
"""

import argparse

import numpy as np
import taichi as ti

from taichi_nerf_kernels.volume_rendering import composite_backward, composite_forward


def fog_and_wall(samples: int):
    """Density [S], colour [S, 3], t [S] and dt [S] of a ray of length 2: fog from 0.5 on, the wall from 1.5 on."""
    dt = np.full(samples, 2 / samples)
    t = (np.arange(samples) + 0.5) * dt
    wall = t > 1.5
    density = np.where(wall, 8.0, np.where(t > 0.5, 0.7, 0.0))
    colour = np.where(wall[:, None], (0.1, 0.8, 0.2), (0.9, 0.1, 0.1))
    return density, colour, t, dt


def composite(density, colour, t, dt, stop):
    """What `composite_forward` writes for one ray that owns all samples."""
    start, count = np.array([0], np.int32), np.array([len(t)], np.int32)
    out = {
        "colour": np.empty((1, 3)),
        "opacity": np.empty(1),
        "depth": np.empty(1),
        "weights": np.empty(len(t)),
        "kept": np.empty(1, np.int32),
    }
    composite_forward(density, colour, t, dt, start, count, stop, *out.values())
    return out


def gradient(density, colour, t, dt, out, colour_gradient):
    """Derivatives with respect to density [S] and colour [S, 3], given those with respect to the ray's colour."""
    start, count = np.array([0], np.int32), np.array([len(t)], np.int32)
    density_gradient, sample_gradient = np.empty_like(density), np.empty_like(colour)
    composite_backward(
        colour, t, dt, start, count, out["opacity"], out["weights"], out["kept"],
        colour_gradient, np.zeros(1), np.zeros(1), np.zeros(len(t)),  # nothing asks for opacity, depth, weights
        density_gradient, sample_gradient,
    )  # fmt: skip
    return density_gradient, sample_gradient


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=16, help="samples along the ray")
    parser.add_argument("--stop", type=float, default=0.0, help="transmittance at which the ray ends; 0: never")
    arguments = parser.parse_args()

    ti.init(arch=ti.cpu, default_fp=ti.f64, log_level=ti.ERROR)
    density, colour, t, dt = fog_and_wall(arguments.samples)
    out = composite(density, colour, t, dt, arguments.stop)
    print("colour ", out["colour"][0].round(4))
    print("opacity", out["opacity"].round(4), " mean distance", (out["depth"] / out["opacity"]).round(4))
    print(f"{out['kept'][0]} of {arguments.samples} samples were looked at")

    green = np.array([[0.0, 1.0, 0.0]])
    by_density, by_colour = gradient(density, colour, t, dt, out, green)
    print("d green / d density of the fog in the middle", by_density[arguments.samples // 2].round(5))
    print("d green / d green of each sample is its weight:", np.allclose(by_colour[:, 1], out["weights"]))

    if arguments.stop == 0:  # where a ray stops early is not differentiable
        step, numeric = 1e-6, np.empty(arguments.samples)
        for i in range(arguments.samples):
            nudge = step * (np.arange(arguments.samples) == i)
            more, less = (composite(density + d, colour, t, dt, 0.0)["colour"][0, 1] for d in (nudge, -nudge))
            numeric[i] = (more - less) / (2 * step)
        print(f"largest difference from finite differences: {np.abs(by_density - numeric).max():.1e}")


if __name__ == "__main__":
    main()
