"""Small captures in the layouts of other programs, written byte by byte as those programs write them.

All show the same: `count` cameras on an arc around the origin, z up, and points near the origin. `MODEL_PARAMETERS`
has a lens of each of COLMAP's camera models that is supported, for images of 48 x 32 pixels.
"""

import json
import math
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from .conftest import look_at, picture

WIDTH, HEIGHT = 48, 32
MODEL_PARAMETERS = {
    "SIMPLE_PINHOLE": (0, (50.0, 24.0, 16.0)),
    "PINHOLE": (1, (50.0, 52.0, 23.5, 16.5)),
    "SIMPLE_RADIAL": (2, (50.0, 24.0, 16.0, -0.12)),
    "RADIAL": (3, (50.0, 24.0, 16.0, -0.1, 0.03)),
    "OPENCV": (4, (50.0, 52.0, 23.5, 16.5, -0.1, 0.03, 0.004, -0.003)),
    "OPENCV_FISHEYE": (5, (40.0, 41.0, 23.5, 16.5, 0.05, -0.02, 0.01, -0.004)),
    "FULL_OPENCV": (6, (50.0, 52.0, 23.5, 16.5, -0.1, 0.03, 0.004, -0.003, 0.01, 0.0, 0.0, 0.0)),
    "SIMPLE_RADIAL_FISHEYE": (8, (40.0, 24.0, 16.0, 0.05)),
    "RADIAL_FISHEYE": (9, (40.0, 24.0, 16.0, 0.05, -0.02)),
}


def arc_poses(count: int, radius: float = 4.0, degrees: float = 200.0) -> np.ndarray:
    """[N, 4, 4] camera to world, OpenGL axes: on an arc at two heights, looking at the origin."""
    angle = np.radians(np.linspace(0, degrees, count))
    height = np.where(np.arange(count) % 2, 0.35, 0.6)
    place = radius * np.stack([0.8 * np.cos(angle), 0.8 * np.sin(angle), height], axis=1)
    return np.array([look_at(p) for p in place])


def cloud(count: int = 40, seed: int = 5) -> np.ndarray:
    """[P, 3] points within 0.7 of the origin."""
    return np.random.default_rng(seed).uniform(-0.4, 0.4, (count, 3))


def opencv_from_world(pose: np.ndarray) -> np.ndarray:
    """[3, 4] world to camera with axes right, down, forward, from camera to world [4, 4] with OpenGL axes."""
    return np.linalg.inv(pose @ np.diag([1.0, -1.0, -1.0, 1.0]))[:3]


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """[4] w, x, y, z of a rotation matrix, from the largest of the four candidates."""
    m = rotation
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [0, m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0]],
            [0, 0, m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2]],
            [0, 0, 0, m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    return np.linalg.eigh(k, UPLO="U")[1][:, -1]


def write_images(folder: Path, names, size=(WIDTH, HEIGHT), channels: int = 3):
    folder.mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(n, *size, channels=channels)).save(folder / name)


class ColmapModel:
    """A model to be changed and then written: `cameras`, `images` and `points` are what the files list."""

    def __init__(self, count: int = 12, models=("OPENCV",), poses: np.ndarray | None = None):
        self.poses = arc_poses(count) if poses is None else poses
        self.names = [f"view_{n:03d}.png" for n in range(len(self.poses))]
        self.cameras = {7 + k: (model, *MODEL_PARAMETERS[model]) for k, model in enumerate(models)}
        self.points = {
            11 + 3 * k: {"xyz": xyz, "rgb": (k % 256, 200, 10), "error": 0.5, "track": []}
            for k, xyz in enumerate(cloud())
        }
        self.images = {}
        for n, (name, pose) in enumerate(zip(self.names, self.poses)):
            camera = 7 + n % len(models)
            image_id = max(100, len(self.poses)) - n
            self.images[image_id] = {"pose": opencv_from_world(pose), "camera": camera, "name": name, "seen": []}

    def see(self, project):
        """Let every image see every point where `project(camera_id, [3] in the camera)` puts it."""
        for image_id, image in self.images.items():
            image["seen"] = [(1.5, 2.5, -1)]  # a keypoint without point
            for point_id, point in self.points.items():
                x, y = project(image["camera"], image["pose"][:, :3] @ point["xyz"] + image["pose"][:, 3])
                point["track"].append((image_id, len(image["seen"])))
                image["seen"].append((float(x), float(y), point_id))

    def write_binary(self, folder: Path, sizes=None):
        """`sizes`: width and height of each camera, where they are not all the same."""
        folder.mkdir(parents=True, exist_ok=True)
        content = struct.pack("<Q", len(self.cameras))
        for index, (camera_id, (_, number, parameters)) in enumerate(self.cameras.items()):
            width, height = (WIDTH, HEIGHT) if sizes is None else sizes[index]
            content += struct.pack("<IiQQ", camera_id, number, width, height)
            content += struct.pack(f"<{len(parameters)}d", *parameters)
        (folder / "cameras.bin").write_bytes(content)
        content = struct.pack("<Q", len(self.images))
        for image_id, image in self.images.items():
            content += struct.pack("<I4d3dI", image_id, *quaternion(image["pose"][:, :3]), *image["pose"][:, 3],
                                   image["camera"])  # fmt: skip
            content += image["name"].encode() + b"\0" + struct.pack("<Q", len(image["seen"]))
            for x, y, point_id in image["seen"]:
                content += struct.pack("<ddq", x, y, point_id)
        (folder / "images.bin").write_bytes(content)
        content = struct.pack("<Q", len(self.points))
        for point_id, point in self.points.items():
            content += struct.pack("<Q3d3Bd", point_id, *point["xyz"], *point["rgb"], point["error"])
            content += struct.pack("<Q", len(point["track"]))
            content += b"".join(struct.pack("<II", *element) for element in point["track"])
        (folder / "points3D.bin").write_bytes(content)

    def write_text(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["# Camera list"]
        for camera_id, (name, _, parameters) in self.cameras.items():
            lines.append(f"{camera_id} {name} {WIDTH} {HEIGHT} {' '.join(map(repr, parameters))}")
        (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
        lines = ["# Image list"]
        for image_id, image in self.images.items():
            numbers = [*quaternion(image["pose"][:, :3]), *image["pose"][:, 3]]
            lines.append(f"{image_id} {' '.join(repr(float(v)) for v in numbers)} {image['camera']} {image['name']}")
            lines.append(" ".join(f"{x!r} {y!r} {point_id}" for x, y, point_id in image["seen"]))
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
        lines = ["# 3D point list"]
        for point_id, point in self.points.items():
            numbers = " ".join(repr(float(v)) for v in point["xyz"])
            track = " ".join(f"{image_id} {index}" for image_id, index in point["track"])
            colour = " ".join(map(str, point["rgb"]))
            lines.append(f"{point_id} {numbers} {colour} {point['error']} {track}".rstrip())
        (folder / "points3D.txt").write_text("\n".join(lines) + "\n")


def write_colmap(folder: Path, *, binary: bool = True, place: str = "sparse/0", **options) -> ColmapModel:
    """A COLMAP scene in `folder` whose points have no tracks."""
    model = ColmapModel(**options)
    (model.write_binary if binary else model.write_text)(folder / place)
    write_images(folder / "images", model.names)
    return model


def write_llff(folder: Path, count: int = 10, poses: np.ndarray | None = None) -> np.ndarray:
    """A forward-facing LLFF folder; its camera-to-world poses [N, 4, 4]."""
    if poses is None:
        grid = np.stack([np.arange(count) % 5 - 2, np.arange(count) // 5], axis=1) * 0.2
        poses = np.array([look_at((x, -1.0, z), (0.2 * x, 8.0, 0.2 * z)) for x, z in grid])
    rows = []
    for pose in poses:
        right, up, back, position = pose[:3].T
        hwf = np.array([HEIGHT, WIDTH, 50.0])
        rows.append([*np.stack([-up, right, back, position, hwf], axis=1).ravel(), 2.0, 12.0])
    write_images(folder / "images", [f"IMG_{n:04d}.JPG" for n in range(len(poses))])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return poses


def write_json(path: Path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_nerfies(folder: Path, count: int = 8, tangential: str = "tangential_distortion", scales=(1, 2)) -> np.ndarray:
    """A Nerfies folder, every second image for validation; its camera-to-world poses [N, 4, 4]."""
    poses = arc_poses(count) + 0.0
    poses[:, :3, 3] += (10.0, 20.0, 30.0)
    ids = [f"{n:06d}" for n in range(count)]
    for item, pose in zip(ids, poses):
        camera = {
            "orientation": opencv_from_world(pose)[:, :3].tolist(),
            "position": pose[:3, 3].tolist(),
            "focal_length": 50.0,
            "principal_point": [23.5, 16.5],
            "skew": 0.0,
            "pixel_aspect_ratio": 1.04,
            "radial_distortion": [-0.1, 0.03, 0.01],
            tangential: [0.004, -0.003],
            "image_size": [WIDTH, HEIGHT],
        }
        write_json(folder / "camera" / f"{item}.json", camera)
    write_json(folder / "dataset.json", {
        "count": count, "num_exemplars": count // 2, "ids": ids, "train_ids": ids[::2], "val_ids": ids[1::2],
    })  # fmt: skip
    write_json(folder / "metadata.json", {
        item: {"warp_id": n, "appearance_id": n // 2, "camera_id": n % 2} for n, item in enumerate(ids)
    })  # fmt: skip
    write_json(folder / "scene.json", {"scale": 0.1, "center": [10.0, 20.0, 30.0], "near": 0.2, "far": 0.9})
    for scale in scales:
        write_images(folder / "rgb" / f"{scale}x", [f"{item}.png" for item in ids], (WIDTH // scale, HEIGHT // scale))
    np.save(folder / "points.npy", cloud() + (10.0, 20.0, 30.0))
    return poses


def write_phototourism(folder: Path, count: int = 10) -> ColmapModel:
    """A Phototourism folder of PINHOLE cameras, every fifth image for testing, with two rows that are not used."""
    model = ColmapModel(count, models=("PINHOLE",) * count)
    model.write_binary(folder / "dense" / "sparse")
    write_images(folder / "dense" / "images", model.names)
    rows = ["filename\tid\tsplit\tdataset"]
    for n, name in enumerate(model.names):
        rows.append(f"{name}\t{900 + n}\t{'test' if n % 5 == 0 else 'train'}\tgate")
    rows += ["never_registered.jpg\t\ttrain\tgate", "not_in_the_model.jpg\t77\ttrain\tgate"]
    (folder / "gate.tsv").write_text("\n".join(rows) + "\n")
    return model


def write_nsvf(folder: Path, count: int = 9, matrix: bool = False, channels: int = 4) -> np.ndarray:
    """An NSVF folder, a third of the images for each split; its camera-to-world poses [N, 4, 4]."""
    poses = arc_poses(count)
    names = [f"{3 * n // count}_{n:04d}" for n in range(count)]
    write_images(folder / "rgb", [f"{name}.png" for name in names], channels=channels)
    (folder / "pose").mkdir()
    for name, pose in zip(names, poses):
        rows = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
        (folder / "pose" / f"{name}.txt").write_text("\n".join(" ".join(f"{v:.10f}" for v in row) for row in rows))
    if matrix:
        content = "50 0 23.5 0\n0 52 16.5 0\n0 0 1 0\n0 0 0 1\n"
    else:
        content = f"50.0 23.5 16.5 0.\n0. 0. 0.\n0.\n1.\n{HEIGHT} {WIDTH}\n"
    (folder / "intrinsics.txt").write_text(content)
    (folder / "bbox.txt").write_text("-1.0 -0.5 -0.5 1.0 0.7 0.9 0.4\n")
    return poses


def write_mega_nerf(folder: Path, count: int = 9, metres: float = 50.0) -> np.ndarray:
    """A Mega-NeRF folder, every third image for validation; its camera-to-world poses [N, 4, 4], in metres from an
    origin, x right, y forward, z up."""
    import torch

    poses = arc_poses(count)
    poses[:, :3, 3] *= metres
    for n, pose in enumerate(poses):
        split = folder / ("val" if n % 3 == 0 else "train")
        (split / "metadata").mkdir(parents=True, exist_ok=True)
        write_images(split / "rgbs", [f"{n:06d}.jpg"], channels=3)
        right, forward, up = pose[:3]
        drb = np.stack([-up, right, -forward])  # down, right, back
        drb[:, 3] /= metres
        torch.save({"W": WIDTH, "H": HEIGHT, "c2w": torch.from_numpy(drb).float(),
                    "intrinsics": torch.tensor([50.0, 52.0, 23.5, 16.5])}, split / "metadata" / f"{n:06d}.pt")
    torch.save({"origin_drb": torch.tensor([-100.0, 5e5, -4e6], dtype=torch.float64), "pose_scale_factor": metres},
               folder / "coordinates.pt")
    return poses


def rotation_about(axis, degrees: float) -> np.ndarray:
    """[3, 3]: Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross, angle = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]), math.radians(degrees)
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
