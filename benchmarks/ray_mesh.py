"""Time to build the hierarchy of a mesh and to trace a picture through it, and trimesh's own hits beside ours.

    python benchmarks/ray_mesh.py [MESH] [--triangles 100000] [--size 400 400] [--compare 2000] [--threads 2]

MESH is a file that trimesh reads; without it a crumpled ball of so many triangles is made. The camera looks at its
middle from a distance of three radii. trimesh (with rtree) is asked for `--compare` of the rays: the triangle that each
meets first, and how far away.
"""

import argparse
import math
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import trimesh
from _measure import seconds_of

from taichi_nerf import runtime
from taichi_nerf.devices import machine
from taichi_nerf.ops.ray_mesh import intersect_ray_mesh, occluded_by_mesh, ray_mesh


def crumpled_ball(triangles: int) -> trimesh.Trimesh:
    side = round(math.sqrt(triangles / 8) + 1)
    ball = trimesh.creation.uv_sphere(count=(side, 2 * side))
    x, y, _ = ball.vertices.T
    crumpled = ball.vertices * (1 + 0.1 * np.sin(9 * x) * np.sin(7 * y))[:, None]
    return trimesh.Trimesh(crumpled, ball.faces, process=False)


def picture_rays(mesh: trimesh.Trimesh, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """[W * H, 3] each, row by row."""
    (width, height), (low, high) = size, mesh.bounds
    radius = (high - low).max() / 2
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    directions = np.stack([x, -y, np.full_like(x, -1.3 * max(size))], axis=-1).reshape(-1, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.broadcast_to((low + high) / 2 + (0, 0, 3 * radius), directions.shape)
    return tuple(torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in (origins, directions))


def compared(mesh: trimesh.Trimesh, hits, origins: torch.Tensor, directions: torch.Tensor, count: int) -> str:
    """How many of some rays meet the same triangle as by trimesh, or one as far away."""
    chosen = np.linspace(0, len(origins) - 1, count).astype(int)
    o, d = (x.numpy()[chosen].astype(np.float64) for x in (origins, directions))
    triangles, rays, points = trimesh.ray.ray_triangle.RayMeshIntersector(mesh).intersects_id(
        o, d, return_locations=True, multiple_hits=False)
    expected, distance = np.full(count, -1), np.full(count, np.inf)
    expected[rays], distance[rays] = triangles, np.linalg.norm(points - o[rays], axis=1)
    found, t = hits.triangle.numpy()[chosen], hits.t.numpy()[chosen]
    same = found == expected
    both = (found >= 0) & (expected >= 0)
    apart = np.abs(t[both] - distance[both]).max() if both.any() else 0.0
    return (f"{same.sum()} of {count} rays meet the same triangle, {(both | same).sum()} agree whether they meet one; "
            f"distances differ by at most {apart:.2g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mesh", type=Path, nargs="?", help="a file of a mesh; by default one is made")
    parser.add_argument("--triangles", type=int, default=100_000,
                        help="of the mesh that is made; %(default)s by default")
    parser.add_argument("--size", type=int, nargs=2, default=(400, 400),
                        help="of the picture in pixels; 400 400 by default")
    parser.add_argument("--compare", type=int, default=2000,
                        help="rays that trimesh traces, too; 0: none; %(default)s by default")
    parser.add_argument("--backend", default="cpu", help="what the kernels run on; %(default)s by default")
    parser.add_argument("--threads", type=int, default=2, help="processor threads; %(default)s by default")
    arguments = parser.parse_args()
    if arguments.compare and find_spec("rtree") is None:
        parser.error("trimesh needs rtree to trace rays: pip install 'taichi-nerf[benchmark]', or give --compare 0")
    runtime.init(arguments.backend, threads=arguments.threads)
    print(machine())
    mesh = crumpled_ball(arguments.triangles) if arguments.mesh is None else trimesh.load(arguments.mesh, force="mesh")
    device = runtime.current().device
    vertices = torch.from_numpy(np.asarray(mesh.vertices, np.float32)).to(device)
    faces = torch.from_numpy(np.asarray(mesh.faces, np.int32)).to(device)
    origins, directions = (x.to(device) for x in picture_rays(mesh, tuple(arguments.size)))
    tree = ray_mesh(vertices, faces)
    hits = intersect_ray_mesh(tree, origins, directions)
    share = float((hits.triangle >= 0).float().mean())
    print(f"{len(faces)} triangles, {len(origins)} rays, of which {share:.0%} meet it; {arguments.threads} threads")
    for name, work in (("build", lambda: ray_mesh(vertices, faces)),
                       ("trace", lambda: intersect_ray_mesh(tree, origins, directions).t.cpu()),
                       ("shadows", lambda: occluded_by_mesh(tree, origins, directions).cpu())):
        taken, began = seconds_of(work), time.process_time()
        work()
        print(f"{name:8} {taken:.3f} s, {time.process_time() - began:.3f} s of processor time")
    if arguments.compare:
        print(compared(mesh, type(hits)(*(x.cpu() for x in hits)), origins.cpu(), directions.cpu(), arguments.compare))


if __name__ == "__main__":
    main()
