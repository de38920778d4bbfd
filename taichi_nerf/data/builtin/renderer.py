"""Pictures of a `World`: colour with alpha, exact depth and normals, in one launch for all views.

Per pixel, the ray through its centre gives depth and normal; then n x n rays, spread evenly over the pixel,
give colour and alpha. Colours are averaged as linear light, premultiplied, and stored as sRGB with straight
alpha. How much of the light reaches a surface is found once a pixel and surface: soft shadows change little
within a pixel.
"""

from dataclasses import dataclass

import numpy as np
import torch

from taichi_nerf_kernels.engine import ti
from taichi_nerf_kernels.launch import kernel

from ... import runtime
from ..scene import PERSPECTIVE, Cameras
from .shading import (
    OCCLUSION_REACH,
    fill_light,
    fresnel,
    hidden_share,
    highlight,
    occlusion,
    open_sky,
    pattern_colour,
    sky,
    srgb,
)
from .solids import FAR, intersect, surface_normal
from .world import LIGHT_COLUMNS, NO_SOLID, Light, World

SURFACE_OFFSET = 1e-4
SAME_SURFACE = 0.97  # cosine between normals of a pixel that share the light
SAME_GROUND = 0.05  # distance between points of the ground in a pixel that share the light


@dataclass(frozen=True)
class Pictures:
    """What `render` returns for N views of W x H pixels."""

    rgba: np.ndarray
    """[N, H, W, 4] uint8, sRGB, straight alpha; opaque where the world has a ground, and so a sky."""
    depth: np.ndarray
    """[N, H, W] float32: distance along the ray of the pixel's centre, infinite where it meets nothing but sky."""
    normals: np.ndarray
    """[N, H, W, 3] float32: world normals there, zero where it meets nothing."""


def render(world: World, cameras: Cameras, lights: Light | list[Light],
           samples_per_axis: int = 4) -> Pictures:
    """Pictures of `world` from `cameras`, which are all of one size, each under its light (or all under one).

    `samples_per_axis`^2 rays a pixel. Runs on the current runtime.
    """
    if cameras.distortion.any() or (cameras.lens != PERSPECTIVE).any():
        raise ValueError("the cameras of a computed scene must be free of distortion")
    if len(cameras) and (cameras.size != cameras.size[0]).any():
        raise ValueError("the cameras of one call must have pictures of one size")
    floats = {torch.float32: np.float32, torch.float64: np.float64}[runtime.current().dtype]
    width, height = (int(s) for s in cameras.size[0]) if len(cameras) else (1, 1)
    lights = [lights] * len(cameras) if isinstance(lights, Light) else lights
    words = np.zeros((len(cameras), height, width), dtype=np.int32)
    depth, normals = np.zeros(words.shape, dtype=floats), np.zeros((*words.shape, 3), dtype=floats)
    tables = world.tables(floats)
    views = [np.ascontiguousarray(v, dtype=floats) for v in (
        cameras.camera_to_world, cameras.focal, cameras.principal, [x.row() for x in lights])]
    if len(cameras):
        render_views(*views, *tables.values(), world.ground_solid, samples_per_axis, words, depth, normals)
    depth = np.where(depth < FAR, depth, np.inf)
    rgba = words.astype("<i4", copy=False).view(np.uint8).reshape(*words.shape, 4)
    return Pictures(rgba, depth.astype(np.float32), normals.astype(np.float32))


# Rays and solids. The tables of the world, as `World.tables` describes them, go through every function.


@ti.func
def _vector(table: ti.template(), row, first: ti.template(), count: ti.template()):
    return ti.Vector([table[row, first + i] for i in range(count)])


@ti.func
def _rotation(solids: ti.template(), k):
    return ti.Matrix([[solids[k, 3 * i + j] for j in range(3)] for i in range(3)])


@ti.func
def nodes_in_pixel(o, d, spread, nodes: ti.template(), node_index: ti.template()):
    """The first solid's node that the rays of a pixel may meet, and one past the last.

    The rays fill a cone about `d`, of radius `spread` t.
    """
    first, end = nodes.shape[0], 0
    node = 0
    while node < nodes.shape[0]:
        sphere = _vector(nodes, node, 0, 4)
        to_centre = ti.Vector([sphere[0], sphere[1], sphere[2]]) - o
        middle = to_centre.dot(d)
        reach = sphere[3] + spread * ti.abs(middle) * 1.01
        if to_centre.norm_sqr() - middle * middle > reach * reach or middle < -sphere[3]:
            node = node_index[node, 0]
        else:
            if node_index[node, 1] != NO_SOLID:
                first = ti.min(first, node)
                end = node + 1
            node += 1
    return first, end


@ti.func
def nearest_hit(o, d, first, end, ground, nodes: ti.template(), node_index: ti.template(), solids: ti.template(),
                solid_index: ti.template()):
    """Distance to the nearest surface along the ray, or FAR, and its solid, or NO_SOLID.

    The walk begins at the node `first` and stops before `end`; `ground` is the solid whose top is the plane z = 0.
    """
    nearest, hit = FAR, NO_SOLID
    node = first
    while node < end:
        sphere = _vector(nodes, node, 0, 4)
        k = node_index[node, 1]
        to_centre = ti.Vector([sphere[0], sphere[1], sphere[2]]) - o
        middle = to_centre.dot(d)
        missed = to_centre.norm_sqr() - middle * middle > sphere[3] * sphere[3]
        if missed or middle < -sphere[3] or middle - sphere[3] > nearest:
            node = node_index[node, 0]
        else:
            node += 1
            if k != NO_SOLID:
                to_frame = _rotation(solids, k).transpose()
                t = intersect(solid_index[k, 0], _vector(solids, k, 12, 7), sphere[3], -to_frame @ to_centre,
                              to_frame @ d)
                if t < nearest:
                    nearest, hit = t, k
    if ground != NO_SOLID and d[2] < 0.0:
        t = -o[2] / d[2]
        if 0.0 < t < nearest:
            nearest, hit = t, ground
    return nearest, hit


@ti.func
def received_light(p, n, own, ground, light, nodes: ti.template(), node_index: ti.template(), solids: ti.template(),
                   solid_index: ti.template()):
    """Shares of the area light and of the sky that reach the point `p` of solid `own`."""
    to_light = ti.Vector([light[0], light[1], light[2]]) - p
    length = to_light.norm()
    d = to_light / length
    spread = light[3] / length  # the light's rays through p fill a cone of radius `spread` t
    faces_light = n.dot(d) > 0.0
    received = ti.Vector([1.0, 1.0])
    node = 0
    while node < nodes.shape[0]:
        sphere = _vector(nodes, node, 0, 4)
        k = node_index[node, 1]
        to_centre = ti.Vector([sphere[0], sphere[1], sphere[2]]) - p
        middle = to_centre.dot(d)
        along = ti.min(ti.max(middle, 0.0), length)
        cone = sphere[3] + spread * (along + sphere[3])
        near = sphere[3] + 2.0 * OCCLUSION_REACH
        in_cone = faces_light and (to_centre - along * d).norm_sqr() < cone * cone
        nearby = to_centre.norm_sqr() < near * near
        if not (in_cone or nearby):
            node = node_index[node, 0]
        else:
            node += 1
            if k != NO_SOLID and k != own:
                kind, shape, half_thickness = solid_index[k, 0], _vector(solids, k, 12, 7), solids[k, 19]
                to_frame = _rotation(solids, k).transpose()
                o = -to_frame @ to_centre
                if in_cone:
                    received[0] *= 1.0 - hidden_share(kind, shape, half_thickness, o, to_frame @ d, spread,
                                                      middle - sphere[3], middle + sphere[3])
                if nearby:
                    received[1] *= 1.0 - occlusion(kind, shape, half_thickness, o, to_frame @ n)
    if ground != NO_SOLID and own != ground:  # it lies below the light, and hides some of the sky
        above = p - _vector(solids, ground, 9, 3)
        received[1] *= 1.0 - occlusion(solid_index[ground, 0], _vector(solids, ground, 12, 7), solids[ground, 19],
                                       above, n)
    return received


@ti.func
def surface_light(p, n, d, local, reached, light, m, materials: ti.template(),
                  material_pattern: ti.template()):
    """Light that the surface point `p` of material `m` sends against the ray `d`, and how much it mirrors.

    `reached` is what `received_light` says, `local` the point in the frame of its solid.
    """
    frequency, turns, specular = materials[m, 6], materials[m, 7], materials[m, 8]
    shininess, reflectance, metallic = materials[m, 9], materials[m, 10], materials[m, 11]
    albedo = pattern_colour(material_pattern[m], frequency, turns, _vector(materials, m, 0, 3),
                            _vector(materials, m, 3, 3), local)
    tint = 1.0 + (albedo - 1.0) * metallic
    to_light = (ti.Vector([light[0], light[1], light[2]]) - p).normalized()
    sun = ti.Vector([light[4], light[5], light[6]]) * reached[0] * ti.max(n.dot(to_light), 0.0)
    mirrored = 0.0
    if reflectance > 0.0:
        mirrored = fresnel(reflectance, -n.dot(d))
    diffuse = (1.0 - metallic) * (1.0 - mirrored) * albedo * (sun + fill_light(n, light) * reached[1])
    shine = specular * highlight(n, to_light, -d, shininess) * tint * sun
    return diffuse + shine, mirrored * (0.35 + 0.65 * reached[1]) * tint


@kernel
def render_views(
    camera_to_world: ti.types.ndarray(ndim=3),  # [N, 3, 4]
    focal: ti.types.ndarray(ndim=2),  # [N, 2]
    principal: ti.types.ndarray(ndim=2),  # [N, 2]
    lights: ti.types.ndarray(ndim=2),  # [N, 10]
    nodes: ti.types.ndarray(ndim=2),  # [B, 4]
    solids: ti.types.ndarray(ndim=2),  # [K, 20]
    materials: ti.types.ndarray(ndim=2),  # [M, 12]
    node_index: ti.types.ndarray(ndim=2),  # [B, 2] i32
    solid_index: ti.types.ndarray(ndim=2),  # [K, 2] i32
    material_pattern: ti.types.ndarray(ndim=1),  # [M] i32
    ground: int,  # the solid that is the ground under an open sky, or NO_SOLID
    samples_per_axis: int,
    words: ti.types.ndarray(ndim=3),  # [N, H, W] i32 out: RGBA bytes
    depth: ti.types.ndarray(ndim=3),  # [N, H, W] out: FAR where nothing is met
    normals: ti.types.ndarray(ndim=4),  # [N, H, W, 3] out
):
    """Every pixel of every view."""
    for view, row, column in words:
        light = _vector(lights, view, 0, LIGHT_COLUMNS)
        rotation = ti.Matrix([[camera_to_world[view, i, j] for j in range(3)] for i in range(3)])
        eye = ti.Vector([camera_to_world[view, i, 3] for i in range(3)])
        corner = (ti.Vector([column, row]) - _vector(principal, view, 0, 2)) / _vector(focal, view, 0, 2)
        pixel = 1.0 / _vector(focal, view, 0, 2)  # its sides, on the plane at distance 1
        middle = ti.Vector([corner[0] + 0.5 * pixel[0], -corner[1] - 0.5 * pixel[1], -1.0])
        centre = (rotation @ middle).normalized()
        first, end = nodes_in_pixel(eye, centre, 0.5 * pixel.norm(), nodes, node_index)
        samples = samples_per_axis * samples_per_axis
        if first >= end and ground == NO_SOLID:
            samples = -1  # nothing to meet
        colour = ti.Vector([0.0, 0.0, 0.0])  # sum of linear light, premultiplied
        covered = 0.0  # number of rays that met something
        lit_solid, lit_point, lit_normal = NO_SOLID, ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        lit = ti.Vector([1.0, 1.0])
        depth[view, row, column] = FAR
        for i in ti.static(range(3)):
            normals[view, row, column, i] = 0.0
        for sample in range(-1, samples):  # the first through the centre
            at = 0.5 * pixel
            if sample >= 0:
                cell = ti.Vector([sample % samples_per_axis, sample // samples_per_axis])
                at = (cell + 0.5) / samples_per_axis * pixel
            o, d = eye, (rotation @ ti.Vector([corner[0] + at[0], -corner[1] - at[1], -1.0])).normalized()
            radiance, mirror = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([1.0, 1.0, 1.0])
            for bounce in range(2):
                begin, stop = first, end
                if bounce == 1:
                    begin, stop = 0, nodes.shape[0]
                t, hit = nearest_hit(o, d, begin, stop, ground, nodes, node_index, solids, solid_index)
                if hit == NO_SOLID:
                    if ground != NO_SOLID and sample >= 0:
                        radiance += mirror * open_sky(d, light)
                        covered += 1.0 - bounce
                    elif bounce == 1:
                        radiance += mirror * sky(d, light)
                    break
                p = o + t * d
                to_world = _rotation(solids, hit)
                local = to_world.transpose() @ (p - _vector(solids, hit, 9, 3))
                n = to_world @ surface_normal(solid_index[hit, 0], _vector(solids, hit, 12, 7), local)
                reached = lit
                far_apart = hit == ground and (p - lit_point).norm_sqr() > SAME_GROUND * SAME_GROUND
                if bounce == 1 or hit != lit_solid or n.dot(lit_normal) < SAME_SURFACE or far_apart:
                    reached = received_light(p, n, hit, ground, light, nodes, node_index, solids, solid_index)
                if bounce == 0:
                    lit_solid, lit_point, lit_normal, lit = hit, p, n, reached
                    covered += 1.0
                if sample < 0:
                    depth[view, row, column] = t
                    for i in ti.static(range(3)):
                        normals[view, row, column, i] = n[i]
                    covered = 0.0
                    break
                sent, mirrored = surface_light(p, n, d, local, reached, light, solid_index[hit, 1], materials,
                                               material_pattern)
                radiance += mirror * sent
                mirror *= mirrored
                if mirror.max() <= 0.0:
                    break
                o, d = p + SURFACE_OFFSET * n, d - 2.0 * n.dot(d) * n
            colour += ti.min(radiance, 1.0)
        encoded = srgb(colour / ti.max(covered, 1.0))
        word = ti.cast(255.0 * covered / (samples_per_axis * samples_per_axis) + 0.5, ti.i32) << 24
        for i in ti.static(range(3)):
            word |= ti.cast(255.0 * encoded[i] + 0.5, ti.i32) << (8 * i)
        words[view, row, column] = word
