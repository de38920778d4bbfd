"""A scene as a folder, for other programs: in the layout of the Blender scenes, or of mip-NeRF's multi-scale ones.

    transforms_<split>.json      camera_angle_x; per frame file_path and transform_matrix (camera to world, OpenGL axes)
    <split>/<name>.png           RGBA, straight alpha
    <split>/<name>_depth.npy     [H, W] float32, distance along the ray in world units, where the scene knows it
    <split>/<name>_normal.npy    [H, W, 3] float32, world normals, where the scene knows them

What the original layout has no words for (an off-centre principal point, lens distortion, another model box)
is stated in the keys that `transforms.json` files use. The other layout is described in `multiscale.py`.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from .aside import finish, folder_aside
from .multiscale import METADATA_FILE
from .scene import FISHEYE, PERSPECTIVE, Cameras, Scene, Split

__all__ = ["transforms_content", "write_blender", "write_multiscale"]

_MODELS = {PERSPECTIVE: "OPENCV", FISHEYE: "OPENCV_FISHEYE"}


def write_blender(scene: Scene, folder: str | os.PathLike) -> Path:
    """Write every split of `scene` into the new `folder` and return it.

    The folder appears when it is complete: a run that is broken off leaves none.

    Raises:
        UserError: the folder exists already, or cannot be written.
    """
    with _new_folder(Path(folder)) as aside:
        for split in scene.splits.values():
            _write_split(scene, split, aside)
    return Path(folder)


def write_multiscale(scene: Scene, folder: str | os.PathLike) -> Path:
    """Write every split of `scene` into the new `folder`, as mip-NeRF's multi-scale data, and return it.

    `with_scales(scene, 4)` makes the scales of the original; the images of a scene without scales are of scale 1.

    Raises:
        UserError: a lens is distorted, which the layout cannot say; the folder exists already, or cannot be written.
    """
    with _new_folder(Path(folder)) as aside:
        content = {name: _write_scales(scene, split, aside) for name, split in scene.splits.items()}
        (aside / METADATA_FILE).write_text(json.dumps({**content, **_box(scene)}, indent=1) + "\n")
    return Path(folder)


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder aside, which becomes the new `folder` when what is done within has succeeded. Raises UserError."""
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists already; name a new folder or remove it first")
    try:
        with folder_aside(folder.parent, f".{folder.name}-") as aside:
            yield aside
            finish(aside, folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{folder} cannot be written ({reason}); name another place with room") from None


def _write_scales(scene: Scene, split: Split, folder: Path) -> dict[str, list]:
    """Write the images of a split; the lists that `metadata.json` has of it."""
    cameras, count = split.cameras, len(split)
    if cameras.distortion.any() or (cameras.lens == FISHEYE).any():
        raise UserError(f"the lenses of {scene.name} are distorted, which mip-NeRF's layout cannot say; "
                        "undistort the images")
    scale = np.ones(count, np.int32) if split.scale is None else split.scale
    label = np.log2(scale).astype(int)
    view = [int((label[:n] == label[n]).sum()) for n in range(count)]
    files = [f"images_{split.name}/{v:03d}_d{j}.png" for v, j in zip(view, label)]
    (folder / f"images_{split.name}").mkdir()
    for n, file in enumerate(files):
        Image.fromarray(split.images.image(n)).save(folder / file, compress_level=2)
    pose = np.array([_pose(scene, cameras, n) for n in range(count)]).reshape(-1, 4, 4)
    (fx, fy), (cx, cy) = cameras.focal.T.astype(float), cameras.principal.T.astype(float)
    zero, one = np.zeros(count), np.ones(count)
    pixel_to_camera = np.array([[one / fx, zero, -cx / fx], [zero, -one / fy, cy / fy], [zero, zero, -one]])
    reach = 0.5 * math.sqrt(3) * scene.aabb_scale / scene.scale  # half of the box's diagonal
    distance = np.linalg.norm(cameras.position - scene.centre, axis=1)
    weight = scale.astype(float) ** 2 if split.area_weight is None else split.area_weight
    near = np.maximum(distance - reach, scene.near / scene.scale)
    columns = {"cam2world": pose, "width": cameras.size[:, 0], "height": cameras.size[:, 1], "focal": fx,
               "label": label, "near": near, "far": distance + reach, "lossmult": weight,
               "pix2cam": np.moveaxis(pixel_to_camera, -1, 0)}
    return {"file_path": files, **{key: values.tolist() for key, values in columns.items()}}


def transforms_content(scene: Scene, cameras: Cameras, file_paths: Sequence[str]) -> dict:
    """What a `transforms.json` says of `cameras`, in the world of `scene`, and of where its model lies."""
    frames = [{"file_path": path, **_frame(scene, cameras, n, whole=True)} for n, path in enumerate(file_paths)]
    return {**_common_model(cameras), **_box(scene), "frames": frames}


def _write_split(scene: Scene, split: Split, folder: Path):
    (folder / split.name).mkdir()
    names = list(split.images.names)
    if len(set(names)) < len(names):
        names = [f"{n:04d}_{name}" for n, name in enumerate(names)]
    frames = []
    for n, name in enumerate(names):
        path = folder / split.name / name
        Image.fromarray(split.images.image(n)).save(f"{path}.png", compress_level=2)
        for kind, values in (("depth", split.depth), ("normal", split.normals)):
            if values:
                np.save(f"{path}_{kind}.npy", values[n])
        time = {} if split.time is None else {"time": float(split.time[n])}
        exposure = {} if split.exposure is None else {"exposure": float(2.0 ** split.exposure[n])}
        frames.append({"file_path": f"./{split.name}/{name}", **time, **exposure, **_frame(scene, split.cameras, n)})
    content = {**_shared(split.cameras), **_box(scene), "frames": frames}
    (folder / f"transforms_{split.name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _pose(scene: Scene, cameras: Cameras, n: int) -> np.ndarray:
    """[4, 4] float64: camera to world, in the world of the scene's file."""
    pose = np.vstack([cameras.camera_to_world[n].astype(float), [0.0, 0.0, 0.0, 1.0]])
    pose[:3, 3] += scene.origin
    return pose


def _frame(scene: Scene, cameras: Cameras, n: int, *, whole: bool = False) -> dict:
    """The pose of a frame, and its lens unless `camera_angle_x` says all about it or the `whole` frame is wanted."""
    frame = {"transform_matrix": _pose(scene, cameras, n).tolist()}
    if whole or not _is_plain(cameras):
        pairs = zip(("fl_x", "fl_y", "cx", "cy"), (*cameras.focal[n], *cameras.principal[n]))
        frame |= {key: float(value) for key, value in pairs}
        frame |= {key: int(value) for key, value in zip(("w", "h"), cameras.size[n])}
        coefficients = zip(("k1", "k2", "k3", "k4", "p1", "p2"), cameras.distortion[n])
        frame |= {key: float(value) for key, value in coefficients}
        frame["camera_model"] = _MODELS[int(cameras.lens[n])]
    return frame


def _common_model(cameras: Cameras) -> dict:
    """The kind of the lenses for the head of the file, where alone nerfstudio looks for it; nothing if they differ."""
    kinds = np.unique(cameras.lens)
    return {"camera_model": _MODELS[int(kinds[0])]} if len(kinds) == 1 else {}


def _shared(cameras: Cameras) -> dict:
    if len(cameras) == 0:
        return {}
    angle = 2 * math.atan(0.5 * float(cameras.size[0, 0]) / float(cameras.focal[0, 0]))
    return {"camera_angle_x": angle, **({} if _is_plain(cameras) else _common_model(cameras))}


def _is_plain(cameras: Cameras) -> bool:
    """Whether `camera_angle_x` alone describes the lens of every camera."""
    relative = cameras.focal / cameras.size[:, :1]
    return bool(
        (cameras.lens != FISHEYE).all()
        and not cameras.distortion.any()
        and np.allclose(cameras.principal, 0.5 * cameras.size, atol=1e-3)
        and np.allclose(relative, relative[:1, :1], rtol=1e-5)
    )


def _box(scene: Scene) -> dict:
    """The model box as instant-ngp states it, unless it is that of the Blender scenes; how it is turned."""
    turned = {} if np.array_equal(scene.rotation, np.eye(3)) else {"model_rotation": scene.rotation.tolist()}
    centre = scene.centre + scene.origin
    if scene.aabb_scale == 1 and math.isclose(scene.scale, 1 / 3) and not centre.any() and not turned:
        return {}
    offset = 0.5 - centre * scene.scale
    return {"aabb_scale": scene.aabb_scale, "scale": scene.scale, "offset": offset.tolist(), **turned}
