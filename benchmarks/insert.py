"""A ball put into the trained still life, and another one of it moved, against the exact scene that is so.

    taichi-nerf train builtin:still-life --steps 1500 -o RUN
    python benchmarks/insert.py RUN [--views 4] [--only moved] [--picture FILE.png] [--moved FILE.png]

Figures over some test views of 200 x 200:

    composite   an unlit ball; the exact scene, rendered with 16 rays a pixel, wherever it is nearer, else the ball. And
                the same with the field's own picture in place of the exact colours: what the compositing alone does
    behind      pixels of the ball that are seen although the ring tower stands before it, of those that it would have
    shadow      the ball as a solid of the scene; the PSNR where the exact pictures with and without it differ and it is
                not to be seen itself: in its shadow. And where that is the table, whose darkness is its shadow, while
                the rest mirrors the ball, too; there also what the field alone misses, its picture darkened as the
                exact one is, and what the shadow alone misses, the exact picture darkened as that of the field is
    light       the PSNR of the ball itself, unlit, in the light of the field at its place, and in that of the scene's
                lamp
    moved       the beach ball on the blocks is taken down to the table and turned half round; the PSNR against the
                exact scene where that changed it: where the ball was, and where it is now. Shadows stay where they were
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh

from taichi_nerf import runtime
from taichi_nerf.data.builtin import builtin_scene, hemisphere_cameras, render
from taichi_nerf.data.builtin.cameras import looking
from taichi_nerf.data.builtin.still_life import FLOOR, daylight, still_life
from taichi_nerf.data.builtin.world import SPHERE, Material, Solid, World
from taichi_nerf.data.mesh_files import Mesh
from taichi_nerf.data.scene import Cameras
from taichi_nerf.models.boxes import Motion, moved
from taichi_nerf.models.lights import Lamp, surroundings_of
from taichi_nerf.models.objects import WithObjects, surface_of
from taichi_nerf.models.views import render_view
from taichi_nerf.pictures import side_by_side, write_png
from taichi_nerf.training.blocks import load_any

RADIUS, CENTRE = 0.16, np.array([-0.05, -0.38, FLOOR + 0.16])
BEHIND = np.array([0.46, 0.38])  # where the ring tower stands
ON_TOP = np.array([-0.45, -0.36, FLOOR + 0.66])  # where the beach ball lies
DOWN = np.array([-0.70, 0.02, FLOOR])  # a free place on the table
RED = (0.60, 0.05, 0.03)  # linear
FINE = 4  # rays along each axis of a pixel of what is exact


def ball(centre: np.ndarray, radius: float, scale: float) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=5, radius=1.0)
    faces = np.asarray(sphere.faces, np.int32)
    shape = (*faces.shape, 3)
    return Mesh(vertices=scale * (radius * sphere.vertices + centre), faces=faces,
                corner_normals=sphere.vertices[faces], corner_uv=np.zeros((*faces.shape, 2)),
                corner_colours=np.broadcast_to(srgb(np.array(RED)), shape).copy(),
                texture_of=np.full(len(faces), -1, np.int32))


def srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def linear(colour: np.ndarray) -> np.ndarray:
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def directions(cameras: Cameras, n: int) -> np.ndarray:
    """[H, W, 3] unit vectors along the rays of the pixels."""
    width, height = cameras.size[n]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    local = np.stack([(x - cameras.principal[n, 0]) / cameras.focal[n, 0],
                      -(y - cameras.principal[n, 1]) / cameras.focal[n, 1], -np.ones_like(x)], axis=-1)
    d = local @ cameras.camera_to_world[n, :, :3].T
    return d / np.linalg.norm(d, axis=-1, keepdims=True)


def ball_depth(cameras: Cameras, n: int, centre: np.ndarray) -> np.ndarray:
    """[H, W] distance of the ball along the rays of the pixels; infinite beside it."""
    d, o = directions(cameras, n), cameras.position[n] - centre
    along = d @ o
    inside = along**2 - o @ o + RADIUS**2
    return np.where(inside > 0, -along - np.sqrt(np.maximum(inside, 0)), np.inf)


def over_white(rgba: np.ndarray) -> np.ndarray:
    """[H, W, 3] sRGB in [0, 1] of straight alpha, composited as models are."""
    colour, alpha = rgba[..., :3] / 255, rgba[..., 3:] / 255
    return colour * alpha + 1 - alpha


def heights(cameras: Cameras, n: int, depth: np.ndarray) -> np.ndarray:
    """[H, W] of the places at distances [H, W] along the rays of the pixels."""
    return cameras.position[n, 2] + np.where(np.isfinite(depth), depth, 0) * directions(cameras, n)[..., 2]


def darkened(picture: np.ndarray, after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """[H, W, 3]: `picture`, whose light falls as that of another one falls from `before` to `after`."""
    after, before = (linear(np.clip(image, 0, 1)) for image in (after, before))
    return srgb(linear(np.clip(picture, 0, 1)) * after / np.maximum(before, 1e-4))


def averaged(image: np.ndarray) -> np.ndarray:
    """[H, W, ..]: the mean of FINE x FINE pixels."""
    height, width = (side // FINE for side in image.shape[:2])
    return image.reshape(height, FINE, width, FINE, -1).mean(axis=(1, 3))


def psnr(a: np.ndarray, b: np.ndarray, where=slice(None)) -> float:
    return float(-10 * np.log10(np.square(np.clip(a, 0, 1) - b)[where].mean()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of builtin:still-life")
    parser.add_argument("--views", type=int, default=4, help="test views; %(default)s by default")
    parser.add_argument("--picture", type=Path,
                        help="PNG file of the ball put in, in the exact scene and in the field")
    parser.add_argument("--moved", type=Path,
                        help="PNG file of the ball that is moved, in the exact scene and in the field")
    parser.add_argument("--only", choices=("moved",), help="leave out the ball that is put in")
    parser.add_argument("--threads", type=int, default=1, help="processor threads; %(default)s by default")
    arguments = parser.parse_args()
    runtime.init("cpu", threads=arguments.threads)
    model, _ = load_any(arguments.run)
    scene = builtin_scene("still-life", resolution=200, views=(1, 0, 1), samples_per_pixel=1)
    cameras = hemisphere_cameras(arguments.views, 200, 0.7, 0.4)
    exact = render(still_life(), cameras, daylight(), FINE)
    taken_down(model, scene, cameras, exact, arguments.moved)
    if arguments.only is None:
        put_in(model, scene, cameras, exact, arguments)


def taken_down(model, scene, cameras: Cameras, exact, picture: Path | None):
    """The ball on the blocks moved to the table."""
    world, place = still_life(), DOWN + (0, 0, 0.10)
    group = next(group for group in world.groups if any(np.allclose(solid.position, ON_TOP) for solid in group))
    half_round = np.diag([-1.0, -1.0, 1.0])
    groups = [[replace(solid, position=tuple(place), rotation=half_round @ solid.rotation)
               if np.allclose(solid.position, ON_TOP) else solid for solid in each] if each is group else each
              for each in world.groups]
    there = render(World(groups=groups), cameras, daylight(), FINE)
    corners = scene.scale * np.array([ON_TOP - 0.115, ON_TOP + 0.115])
    corners[0, 2] = scene.scale * (ON_TOP[2] - 0.1)
    motion = Motion.about(scene.scale * ON_TOP, half_round, scene.scale * (place - ON_TOP))
    put = moved(model, corners.tolist(), torch.eye(3), motion)
    scores, shown = [], []
    for n in range(len(cameras)):
        plain, found = (render_view(m, scene.model_cameras(cameras), n, background=1.0).colour for m in (model, put))
        before, truth = over_white(exact.rgba[n]), over_white(there.rgba[n])
        changed = np.abs(truth - before).max(axis=-1) > 0.05
        scores.append((psnr(found, truth, changed), psnr(plain, truth, changed), psnr(plain, before, changed)))
        shown += [truth, found, plain]
    names = "moved, against the exact scene", "the same, not moved", "the field there, not moved, against its own scene"
    for name, values in zip(names, zip(*scores)):
        print(f"{name:50} {np.mean(values):6.2f}   ({', '.join(f'{value:.1f}' for value in values)})")
    if picture:
        captions = "exact, with the ball moved", "field, with the ball moved", "field"
        write_png(picture, side_by_side(*shown[-3:], captions=captions))


def put_in(model, scene, cameras: Cameras, exact, arguments):
    """A ball put in, and its shadow."""
    scale, light, world = scene.scale, daylight(), still_life()
    share = light.colour[1] / (light.colour[1] + light.ambient[1])
    lamp = Lamp(position=tuple(scale * np.array(light.position)), up=(0.0, 0.0, 1.0), radius=scale * light.radius,
                share=share)
    around = surroundings_of(model, [scale * CENTRE], np.array([0.0, 0.0, 1.0]), background=1.0)
    surface = surface_of(ball(CENTRE, RADIUS, scale), torch.empty(0))
    solid = Solid(kind=SPHERE, size=(RADIUS,), material=Material(colour=RED), position=tuple(CENTRE))
    shaded = render(World(groups=[*world.groups, [solid]]), cameras, light, FINE)
    fine = render(world, cameras.resized((200 * FINE, 200 * FINE)), light, 1)
    scores, shown = [], []
    for n in range(arguments.views):
        plain = render_view(model, scene.model_cameras(cameras), n, background=1.0).colour
        unlit = render_view(WithObjects(model, [surface]), scene.model_cameras(cameras), n, background=1.0).colour
        lit, by_field = (render_view(WithObjects(model, [surface], each), scene.model_cameras(cameras), n,
                                     background=1.0).colour for each in (lamp, around))
        nearer = ball_depth(cameras.resized((200 * FINE, 200 * FINE)), n, CENTRE) < fine.depth[n]
        cover = averaged(nearer[..., None])
        truth = over_white(exact.rgba[n])
        composite, own = (cover * srgb(np.array(RED)) + (1 - cover) * image for image in (truth, plain))
        solid_truth = over_white(shaded.rgba[n])
        whole = cover[..., 0] == 1
        shade = (np.abs(solid_truth - truth).max(axis=-1) > 0.03) & (cover[..., 0] == 0)
        table = shade & (np.abs(heights(cameras, n, exact.depth[n]) - FLOOR) < 0.005)
        scores.append((psnr(plain, truth), psnr(unlit, composite), psnr(unlit, own), psnr(plain, truth, shade),
                       psnr(lit, solid_truth, shade), psnr(by_field, solid_truth, shade),
                       psnr(plain, solid_truth, shade), shade.sum(), table.sum(),
                       *(psnr(image, solid_truth, table) for image in (
                           lit, by_field, darkened(plain, solid_truth, truth), darkened(truth, lit, plain))),
                       psnr(plain, truth, table),
                       *(psnr(image, solid_truth, whole) for image in (unlit, by_field, lit))))
        shown += [solid_truth, lit, by_field, plain]
    names = ("field against the exact scene", "composite against the exact one",
             "composite against the field's own picture", "field, where the shadow falls",
             "shadow against the exact one", "the same by the field's light", "the same without a shadow",
             "pixels in the shadow", "of which on the table", "there: shadow against the exact one",
             "there: the same by the field's light", "there: what the field alone misses",
             "there: what the shadow alone misses", "there: the field, where no shadow is", "the ball itself, unlit",
             "the ball by the field's light",
             "the ball by the lamp of the scene")
    for name, values in zip(names, zip(*scores)):
        print(f"{name:45} {np.mean(values):6.2f}   ({', '.join(f'{value:.1f}' for value in values)})")
    print(hidden(model, scene, world, light))
    if arguments.picture:
        captions = "exact, with the ball", "lit by the lamp", "lit by the field", "field"
        write_png(arguments.picture, side_by_side(*shown[-4:], captions=captions))


def hidden(model, scene, world: World, light) -> str:
    """What is seen of a small ball behind the tower."""
    global RADIUS
    away = np.array([*BEHIND, FLOOR + 0.2])
    towards = away / np.linalg.norm(away[:2]) * (1, 1, 0)
    camera = looking((away + 3.5 * towards + (0, 0, 0.25))[None], away, 200, 0.35)
    RADIUS, centre = 0.06, away - 0.35 * towards
    depth = render(world, camera, light, 1).depth[0]
    alone = ball_depth(camera, 0, centre)
    unlit = WithObjects(model, [surface_of(ball(centre, RADIUS, scene.scale), torch.empty(0))])
    plain, put = (render_view(m, scene.model_cameras(camera), 0, background=1.0).colour for m in (model, unlit))
    seen = (np.abs(put - plain).max(axis=-1) > 0.05).sum()
    return (f"behind the tower: {np.isfinite(alone).sum()} pixels, of which {(alone < depth).sum()} are to be seen; "
            f"{seen} change")


if __name__ == "__main__":
    main()
