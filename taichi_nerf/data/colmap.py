"""COLMAP's sparse models, binary or text, beside their images.

    SCENE/sparse/0, sparse, colmap/sparse/0, colmap/sparse or SCENE itself
                    cameras, images, points3D (.bin or .txt)
    SCENE/images, images_2, images_4, ...
                    the images, and smaller copies of them that --downscale then uses
    SCENE/masks, masks_2, ...
                    by image, masks/NAME.png or masks/NAME: what is black is neither trained on nor scored. Where
                    there are masks, only copies of the images are used that have them.

Poses are world to camera with OpenCV's axes (right, down, forward). Pixel centres lie at +0.5, as here. The world's
position, scale and orientation are arbitrary: `placement.py` says how the scene is laid into the model. Every K-th
image is held out for testing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .colmap_files import check_binary_model
from .folders import (
    OPENGL_FROM_OPENCV,
    background_note,
    find_image,
    image_folders,
    make_frame,
    make_splits,
    pick_size,
    reason,
    size_note,
)
from .frames import Frame
from .images import Mask
from .placement import place, with_bounds
from .scene import FISHEYE, PERSPECTIVE, Points, Scene, Sightings
from .splits import Request, any_transparent, check_counts, hold_out, hold_out_note, natural

PLACES = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", ".")
# The parameters of the camera models by name; f is both focal lengths, k4 to k6 of FULL_OPENCV are called d4 to d6.
MODELS = {
    "SIMPLE_PINHOLE": (PERSPECTIVE, ("f", "cx", "cy")),
    "PINHOLE": (PERSPECTIVE, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (PERSPECTIVE, ("f", "cx", "cy", "k1")),
    "RADIAL": (PERSPECTIVE, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (PERSPECTIVE, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "FULL_OPENCV": (
        PERSPECTIVE,
        ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "d4", "d5", "d6"),
    ),
    "OPENCV_FISHEYE": (FISHEYE, ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
    "SIMPLE_RADIAL_FISHEYE": (FISHEYE, ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (FISHEYE, ("f", "cx", "cy", "k1", "k2")),
}
_FARTHEST_POINT = 1e6
# What COLMAP's reader raises for files that contradict themselves.
_DAMAGED = (ValueError, IndexError, KeyError, RuntimeError, TypeError, OverflowError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class View:
    """A registered image of a model."""

    name: str
    """Path below the folder of the images."""
    image_id: int
    camera_id: int
    pose: np.ndarray
    """[3, 4]: camera to world, OpenGL axes."""
    camera_model: str
    parameters: np.ndarray
    """[...]: as MODELS names them."""
    size: tuple[int, int]
    """Width, height of the camera."""
    sightings: Sightings | None
    """In pixels of the camera; None where the model has points without tracks."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A sparse model: its views in the natural order of their names, and its points."""

    path: Path
    views: Sequence[View]
    points: Points


def find_model(folder: Path) -> Path | None:
    """The folder below `folder` that holds a sparse model, or None."""
    return next((folder / place for place in PLACES if _is_model(folder / place)), None)


def load_colmap(folder: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    path = find_model(folder)
    model = read_model(path)
    check_counts(path, "train", len(model.views))
    root = image_root(folder, model)
    members = hold_out(path, [view.name for view in model.views], request.test_every)
    folders = _with_masks(image_folders(root) or {1: root}) if request.masks else image_folders(root) or {1: root}
    size, left = pick_size(folders, request.downscale)
    images = folders[size]
    frames = model_frames(model, images, request)
    everything = list(frames.values())
    transparent = any_transparent(everything, request)
    placement, why = place(
        everything, orient=request.orient or "up", transparent=transparent, points=model.points.position
    )
    chosen = {name: [frames[n] for n in numbers if n in frames] for name, numbers in members.items()}
    return Scene(
        name=root.resolve().name,
        format="colmap",
        splits=make_splits(path, chosen, request, left, held_out=True),
        points=model.points if len(model.points) else None,
        **vars(placement),
        background="white" if transparent else "black",
        held_out=True,
        bounded=transparent and placement.aabb_scale == 1,
        notes=[
            *model_notes(model),
            *_other_models(path),
            *size_note(images, left),
            hold_out_note(request.test_every),
            *why,
            background_note(transparent),
        ],
        problems=request.problems.found,
    )


def _with_masks(folders: Mapping[int, Path]) -> Mapping[int, Path]:
    """Those of the folders of images beside which there are masks; all, if there are none."""
    return {size: path for size, path in folders.items() if _mask_folder(path).is_dir()} or folders


def _mask_folder(images: Path) -> Path:
    """`masks` beside `images`, `masks_2` beside `images_2`."""
    return images.with_name(images.name.replace("images", "masks", 1))


def _masks(images: Path, name: str) -> tuple[Mask, ...]:
    """The mask of the image `name`, called as COLMAP or as the image is."""
    folder = _mask_folder(images)
    if folder == images or not folder.is_dir():
        return ()
    path = next((folder / f"{name}{ending}" for ending in (".png", "") if (folder / f"{name}{ending}").is_file()), None)
    path = path or find_image(folder, name)
    return () if path is None else (Mask(path),)


def points_beside(
    folder: Path, frames: Mapping[int, Frame], transform: np.ndarray
) -> tuple[dict[int, Frame], Points | None, list[str]]:
    """The points of the model in `folder`, if there is one with these cameras, and the frames with what they saw.

    For frames that came from another file. `transform` [3, 4] takes the model's world to theirs. A frame without masks
    gets the one that lies as those of a COLMAP scene do. A model that cannot be read, or has other poses, is mentioned
    in the notes and not used.
    """
    path = find_model(folder)
    if path is None or not frames:
        return dict(frames), None, []
    try:
        model = read_model(path)
    except UserError as error:
        return dict(frames), None, [f"the points of the COLMAP model are not used: {error}"]
    views = {view.name: view for view in model.views}
    matched = {number: _view_of(frame, views) for number, frame in frames.items()}
    if not len(model.points) or not all(_same_pose(frames[n], view, transform) for n, view in matched.items()):
        return dict(frames), None, [f"the COLMAP model {path} has other cameras: its points are not used"]
    position = model.points.position @ transform[:, :3].T + transform[:, 3]
    seen = {}
    for number, frame in frames.items():
        view, sightings = matched[number], matched[number].sightings
        if sightings is not None:
            sightings = replace(sightings, pixel=sightings.pixel * np.divide(frame.size, view.size))
        images = frame.path.parents[len(Path(view.name).parts) - 1]
        seen[number] = replace(frame, sightings=sightings, masks=frame.masks or _masks(images, view.name))
    return with_bounds(seen, position), replace(model.points, position=position), model_notes(model)


def _view_of(frame: Frame, views: Mapping[str, View]) -> View | None:
    """The view of the same image: its name ends the path of the frame's."""
    parts = frame.path.parts
    names = ("/".join(parts[k:]) for k in range(len(parts)))
    return next((views[name] for name in names if name in views), None)


def _same_pose(frame: Frame, view: View | None, transform: np.ndarray) -> bool:
    if view is None:
        return False
    pose = transform[:, :3] @ view.pose
    pose[:, 3] += transform[:, 3]
    tolerance = 1e-3 * np.array([1, 1, 1, max(1.0, np.abs(pose[:, 3]).max())])
    return bool((np.abs(pose - frame.camera_to_world) < tolerance).all())


def image_root(folder: Path, model: Model) -> Path:
    """The folder that holds `images`, or the images themselves: `folder`, or the one that its model belongs to."""
    for root in (folder, folder.parent, folder.parent.parent):
        if image_folders(root):
            return root
    if find_image(folder, model.views[0].name) is None:
        raise UserError(
            f"{folder} has a COLMAP model but no images: neither a folder 'images' nor {model.views[0].name[:200]} is "
            "in it; put the images into the folder 'images' beside the model"
        )
    return folder


def model_frames(
    model: Model, images: Path, request: Request, names: Mapping[str, Mapping] | None = None
) -> dict[int, Frame]:
    """The frames of the views by number, those left out that have a problem.

    `names`, where given, are the views that are wanted, each with what else its frame knows.
    """
    frames = {}
    for number, view in enumerate(model.views):
        if names is not None and view.name not in names:
            continue
        try:
            frames[number] = _frame(model, view, images, names[view.name] if names else {})
        except UserError as error:
            request.problems.add(error)
    return with_bounds(frames, model.points.position)


def model_notes(model: Model) -> list[str]:
    """What is in the model, in words."""
    cameras = {view.camera_id: view.camera_model for view in model.views}
    kinds = ", ".join(sorted(set(cameras.values())))
    points = model.points
    tracks = (
        f", {points.error.mean():.2f} pixels from where they were seen" if points.error is not None else ""
    ) + ("" if points.views is not None else ", without tracks")
    return [
        f"COLMAP model of {len(model.views)} images and {len(cameras)} camera{'s'[: len(cameras) != 1]} ({kinds})",
        f"{len(points)} points{tracks}" if len(points) else "the model has no points",
    ]


def read_model(path: Path) -> Model:
    """The sparse model in the folder `path`. Raises UserError where it is damaged, or pycolmap is missing."""
    try:
        import pycolmap
    except ImportError:
        raise UserError(
            f"{path} is a COLMAP model, which is read with pycolmap; install it: pip install 'taichi-nerf[colmap]'"
        ) from None
    for stem in ("cameras", "images", "points3D"):
        if not any((path / f"{stem}{ending}").is_file() for ending in _endings(path)):
            raise UserError(f"{path} lacks {stem}{_endings(path)[0]}; copy the whole model")
    check_binary_model(path)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused with its image, or left out with its point
            return _converted(path, pycolmap.Reconstruction(str(path)))
    except _DAMAGED as error:
        raise UserError(f"{path} is a damaged COLMAP model ({reason(error)}); export it again") from None


def _converted(path: Path, read) -> Model:
    points, index = _points(read)
    tracked = points.views is not None
    images = sorted((image for image in read.images.values() if image.has_pose), key=lambda i: natural(i.name))
    return Model(path=path, views=[_view(read, image, index if tracked else None) for image in images], points=points)


def _points(read) -> tuple[Points, dict[int, int]]:
    """The points within reach, and their numbers by COLMAP's ids."""
    found = sorted(read.points3D.items())
    position = np.array([point.xyz for _, point in found]).reshape(-1, 3)
    kept = np.flatnonzero((np.abs(position) < _FARTHEST_POINT).all(axis=1))  # not where it is no number
    views = np.array([found[n][1].track.length() for n in kept], dtype=np.int32)
    error = np.array([found[n][1].error for n in kept])
    points = Points(
        position=position[kept],
        colour=np.array([found[n][1].color for n in kept], dtype=np.uint8).reshape(-1, 3),
        error=error if len(kept) and np.isfinite(error).all() and (error >= 0).all() else None,
        views=views if len(kept) and views.any() else None,
    )
    return points, {found[n][0]: k for k, n in enumerate(kept)}


def _view(read, image, index: Mapping[int, int] | None) -> View:
    camera = read.cameras[image.camera_id]
    from_world = image.cam_from_world().matrix()
    axes = from_world[:, :3].T
    seen = []
    if index is not None:
        seen = [(index[p.point3D_id], *p.xy) for p in image.points2D if p.point3D_id in index]
    seen = np.array(seen).reshape(-1, 3)
    seen = seen[np.isfinite(seen).all(axis=1)]
    sightings = None if index is None else Sightings(point=seen[:, 0], pixel=np.clip(seen[:, 1:], -1e6, 1e6))
    return View(
        name=image.name,
        image_id=int(image.image_id),
        camera_id=int(image.camera_id),
        pose=np.concatenate([axes @ OPENGL_FROM_OPENCV, -axes @ from_world[:, 3:]], axis=1),
        camera_model=camera.model.name,
        parameters=np.array(camera.params, dtype=np.float64),
        size=(int(camera.width), int(camera.height)),
        sightings=sightings,
    )


def _frame(model: Model, view: View, images: Path, known: Mapping) -> Frame:
    where = f"{model.path}: image {view.name[:200]}"
    if view.camera_model not in MODELS:
        raise UserError(
            f"{where}: its camera {view.camera_id} is of the model {view.camera_model}, which is not supported; "
            f"undistort the images with COLMAP, or use one of {', '.join(MODELS)}"
        )
    lens, names = MODELS[view.camera_model]
    if len(view.parameters) < len(names):
        raise UserError(f"{where}: its camera {view.camera_id} has {len(view.parameters)} parameters, and the model "
                        f"{view.camera_model} has {len(names)}; export the model again")
    value = dict(zip(names, view.parameters))
    if any(value.get(name) for name in ("d4", "d5", "d6")):
        raise UserError(
            f"{where}: its camera {view.camera_id} has a rational distortion (k4 to k6), which is not supported; "
            "undistort the images with COLMAP"
        )
    image = find_image(images, view.name)
    if image is None:
        raise UserError(f"{where}: {images / view.name[:200]} does not exist; put the image there")
    focal = (value["f"], value["f"]) if "f" in value else (value["fx"], value["fy"])
    known = dict(known)
    return make_frame(
        where,
        image,
        pose=view.pose,
        focal=focal,
        principal=(value["cx"], value["cy"]),
        distortion=[value.get(name, 0.0) for name in ("k1", "k2", "k3", "k4", "p1", "p2")],
        lens=lens,
        size=view.size,
        sightings=view.sightings,
        masks=_masks(images, view.name),
        ids={"camera": view.camera_id, **known.pop("ids", {})},
        **known,
    )


def _is_model(folder: Path) -> bool:
    return any(all((folder / f"{stem}{e}").is_file() for stem in ("cameras", "images")) for e in (".bin", ".txt"))


def _endings(folder: Path) -> tuple[str]:
    """COLMAP takes the binary files where both are there."""
    binary = all((folder / f"{stem}.bin").is_file() for stem in ("cameras", "images"))
    return (".bin",) if binary else (".txt",)


def _other_models(path: Path) -> list[str]:
    if not path.name.isdecimal():
        return []
    others = sum(p != path and p.name.isdecimal() and _is_model(p) for p in path.parent.iterdir())
    return [f"of {others + 1} models in {path.parent.name} the one called {path.name} is used"] if others else []

