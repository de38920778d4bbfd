"""How far exported geometry is from the exact surface of a built-in scene.

    python benchmarks/geometry.py [--run RUN] [--scene still-life] [--seconds 420] [--resolution 256] [--no-levels]
                                  [--output DIR]

Trains Instant-NGP on the scene's pictures of 200 x 200 pixels, unless a run is given, and exports points, a mesh of
truncated signed distances, and level sets of the density, as others make their meshes: at 20 per unit, nerf_pl's
default, and at 10, that of torch-ngp and nerf2mesh. Each is compared with what exact depth pictures of 120 views see of
the surface:

    accuracy, completeness   mean distance from what was exported to the exact surface, and back
    Chamfer                  their mean; all in voxels of the scene's box, of which there are 256 along a side
    normals, colour          mean angle and mean error in [0, 1] at the nearest exact point
    mirrors, thin, other     normals of balls that mirror, of rods and rings thinner than two voxels, and of the rest

and the textured GLB, as a plain viewer in a browser shows it (chromium, pip install 'taichi-nerf[test]'), with the
field at three poses of the test split.
"""

import argparse
import json
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from taichi_nerf import cli, query, runtime
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.builtin.still_life import satin_still_life, still_life
from taichi_nerf.data.builtin.world import CAPSULE, SPHERE, TORUS, solids_of
from taichi_nerf.data.ply import read_ply
from taichi_nerf.export.mesh_files import turned_up
from taichi_nerf.export.points import PointCloud, joined, merged
from taichi_nerf.models.views import render_view
from taichi_nerf.pictures import contact_sheet, to_uint8, write_png
from taichi_nerf.training import checkpoint
from taichi_nerf.training.folder import RunFolder

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for the viewer, which the tests have

from tests.export.gltf import pictures_of_glb

WORLDS = {"still-life": still_life, "satin": satin_still_life}
SIDE = 256  # voxels of the scene's box
VIEWS, FINE = 120, 300  # of the exact surface: views, and their pixels
SAMPLES = 400_000  # of a mesh
POSES = (2, 7, 12)  # test views of the GLB
EXPORTS = (("points", ".ply", ["--what", "points"]), ("mesh", ".ply", []), ("density-20", ".ply", ["--density", "20"]),
           ("density-10", ".ply", ["--density", "10"]), ("textured", ".glb", []))


def exact_surface(name: str, voxel: float) -> PointCloud:
    """Points of what 120 views see, a third of a voxel apart."""
    split = builtin_scene(name, resolution=FINE, views=(VIEWS, 0, 0), samples_per_pixel=4, splits=("train",)).splits[
        "train"]
    parts = []
    for n in range(len(split)):
        camera = split.cameras.subset([n])
        pose, (width, height) = camera.camera_to_world[0].astype(float), camera.size[0]
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        local = np.stack([(x - camera.principal[0, 0]) / camera.focal[0, 0],
                          -(y - camera.principal[0, 1]) / camera.focal[0, 1], np.full(x.shape, -1.0)], axis=-1)
        ways = local @ pose[:, :3].T / np.linalg.norm(local, axis=-1, keepdims=True)
        met = np.isfinite(split.depth[n])
        parts.append(PointCloud(
            position=(pose[:, 3] + split.depth[n][..., None] * ways)[met], colour=split.images.image(n)[met][:, :3],
            normal=split.normals[n][met], confidence=np.ones(met.sum(), np.float32)))
    return merged(joined(parts), voxel / 3)


def parts_of(name: str, position: np.ndarray, voxel: float) -> dict[str, np.ndarray]:
    """Which of exact points [P, 3] are of which part, by the solid whose surface they lie on."""
    mirrors, thin = (np.zeros(len(position), bool) for _ in range(2))
    for solid in solids_of(WORLDS[name]().groups):
        local = (position - solid.position) @ np.reshape(solid.rotation, (3, 3))
        if solid.kind == SPHERE:
            away, small = np.linalg.norm(local, axis=1) - solid.size[0], False
        elif solid.kind == CAPSULE:
            local[:, 2] -= np.clip(local[:, 2], -solid.size[1], solid.size[1])
            away, small = np.linalg.norm(local, axis=1) - solid.size[0], solid.size[0] < 2 * voxel
        elif solid.kind == TORUS:
            away = np.hypot(np.hypot(local[:, 0], local[:, 1]) - solid.size[0], local[:, 2]) - solid.size[1]
            small = solid.size[1] < 2 * voxel
        else:
            continue
        there = np.abs(away) < 0.3 * voxel
        thin |= there & small
        mirrors |= there & (solid.kind == SPHERE) & (solid.material.reflectance > 0)
    return {"mirrors": mirrors, "thin": thin, "other": ~(mirrors | thin)}


def compare(found: PointCloud, exact: PointCloud, parts: dict[str, np.ndarray], voxel: float) -> dict[str, float]:
    """Of points that were exported, or drawn from a mesh; `parts` are of the exact ones."""
    away, nearest = cKDTree(exact.position).query(found.position)
    missed, _ = cKDTree(found.position).query(exact.position)
    angle = np.degrees(np.arccos(np.clip((found.normal * exact.normal[nearest]).sum(axis=1), -1, 1)))
    colour = np.abs(found.colour.astype(float) - exact.colour[nearest]).mean() / 255
    return {"Chamfer": (away.mean() + missed.mean()) / 2 / voxel, "accuracy": away.mean() / voxel,
            "completeness": missed.mean() / voxel, "median": float(np.median(away)) / voxel,
            "normals": float(angle.mean()),
            **{name: float(angle[part[nearest]].mean()) for name, part in parts.items()},
            "colour": colour, "points": len(found)}


def points_of(path: Path) -> PointCloud:
    """Of a PLY file of points."""
    position, colour = read_ply(path)
    head = path.read_bytes()
    start = head.index(b"end_header\n") + len(b"end_header\n")
    rows = np.frombuffer(head, [*((axis, "<f4") for axis in ("x", "y", "z", "nx", "ny", "nz")), ("colour", "u1", 3),
                                ("confidence", "<f4")], offset=start)
    normal = np.stack([rows[axis] for axis in ("nx", "ny", "nz")], axis=1)
    return PointCloud(position=position, colour=colour, normal=normal, confidence=rows["confidence"])


def points_on(path: Path) -> PointCloud:
    """Spread over the triangles of a PLY file."""
    mesh = trimesh.load(path, process=False)
    position, face = trimesh.sample.sample_surface(mesh, SAMPLES, seed=0)
    share = trimesh.triangles.points_to_barycentric(mesh.triangles[face], position)[..., None]
    normal = (mesh.vertex_normals[mesh.faces[face]] * share).sum(axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    colour = (mesh.visual.vertex_colors[mesh.faces[face]][..., :3] * share).sum(axis=1)
    return PointCloud(position=position, colour=colour.astype(np.uint8), normal=np.nan_to_num(normal),
                      confidence=np.ones(SAMPLES))


def of_glb(path: Path, run: Path, folder: Path) -> dict[str, float]:
    """PSNR of the textured mesh, as a browser draws it from the file alone, against the field at three test poses."""
    scene = RunFolder.open(run).cameras_scene()
    model, cameras = checkpoint.load(run), scene.splits["test"].cameras
    cameras = cameras.subset(list(POSES))
    turn = turned_up(np.array((0, 0, 1.0)))  # z up to y up, as in the file
    upright = replace(cameras, camera_to_world=np.einsum("ij,njk->nik", turn, cameras.camera_to_world.astype(float)))
    shown, scores = [], []
    for number, mesh in enumerate(pictures_of_glb(path, upright)):
        field = render_view(model, scene.model_cameras(cameras), number, background=1.0).colour
        scores.append(-10 * math.log10(((mesh - field) ** 2).mean()))
        shown += [field, mesh]
    write_png(folder / "glb.png", contact_sheet([to_uint8(each) for each in shown], columns=2, captions=[
        text for score in scores for text in ("field", f"mesh, {score:.1f} dB")]))
    return {f"pose {number}, dB": score for number, score in zip(POSES, scores)} | {"MB": path.stat().st_size / 1e6}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run of the scene; without it one is trained")
    parser.add_argument("--scene", default="still-life", choices=list(WORLDS),
                        help="which built-in scene; %(default)s by default")
    parser.add_argument("--seconds", type=float, default=420, help="of training")
    parser.add_argument("--resolution", type=int, default=256, help="of what is exported")
    parser.add_argument("--no-levels", action="store_true", help="leave out the level sets of the density")
    parser.add_argument("--threads", type=int, default=1, help="processor threads; %(default)s by default")
    parser.add_argument("--output", type=Path, help="a folder for what is exported; by default a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return measure(arguments, Path(arguments.output or temporary))


def measure(arguments, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    run, threads = arguments.run or folder / "run", ["--backend", "cpu", "--threads", str(arguments.threads)]
    if arguments.run is None and (code := cli.main(["train", f"builtin:{arguments.scene}", "--seconds", str(
            arguments.seconds), "-o", str(run), *threads])):
        return code
    runtime.init("cpu", threads=arguments.threads)
    field = query.open(run)
    voxel = 1 / field.scene.scale / SIDE
    exact, table = exact_surface(arguments.scene, voxel), {}
    parts = parts_of(arguments.scene, exact.position, voxel)
    shared = ["--resolution", str(arguments.resolution), *threads]
    for name, ending, options in EXPORTS:
        if arguments.no_levels and "--density" in options:
            continue
        file = folder / f"{name}{ending}"
        if not file.exists() and (code := cli.main(["export", str(run), "-o", str(file), *options, *shared])):
            return code
        if ending == ".ply":
            found = points_of(file) if name == "points" else points_on(file)
            table[name] = {**compare(found, exact, parts, voxel), "MB": file.stat().st_size / 1e6}
    columns = list(table["points"])
    print(f"{'':16}" + "".join(f"{column:>13}" for column in columns))
    for name, row in table.items():
        print(f"{name:16}" + "".join(f"{row[column]:13.3f}" for column in columns))
    table["glb"] = of_glb(folder / "textured.glb", run, folder)
    print("textured GLB against the field: " + ", ".join(f"{name} {value:.2f}" for name, value in table["glb"].items()))
    (folder / "geometry.json").write_text(json.dumps(table, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
