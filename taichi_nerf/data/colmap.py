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

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import UserError
from .colmap_model import MODELS, Model, View, count_images, find_model, models_in, read_model
from .folders import find_image, image_folders, make_frame, make_splits, pick_size, size_note
from .frames import Frame, MissingImage
from .ground import judge
from .images import Mask
from .masks import mask_folder, unused_masks
from .names import find_file
from .placement import place, with_bounds
from .poses import far_note
from .scene import Points, Scene
from .splits import Request, check_counts, hold_out, hold_out_note


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
    ground = judge(everything, request)
    placement, why = place(
        everything, orient=request.orient or "up", transparent=ground.is_object, points=model.points.position
    )
    chosen = {name: [frames[n] for n in numbers if n in frames] for name, numbers in members.items()}
    if request.masks:
        request.problems.warn(*unused_masks(everything, images))
    return Scene(
        name=root.resolve().name,
        format="colmap",
        splits=make_splits(path, chosen, request, left, ground, held_out=True),
        points=model.points if len(model.points) else None,
        **vars(placement),
        origin=model.origin,
        background=ground.colour,
        held_out=True,
        bounded=ground.is_object and placement.aabb_scale == 1,
        notes=[
            *model_notes(model),
            *_other_models(path),
            *size_note(images, left),
            hold_out_note(request.test_every),
            *why,
            ground.note,
            *far_note(model.origin),
        ],
        problems=request.problems.found,
    )


def _with_masks(folders: Mapping[int, Path]) -> Mapping[int, Path]:
    """Those of the folders of images beside which there are masks; all, if there are none."""
    return {size: path for size, path in folders.items() if mask_folder(path).is_dir()} or folders


def _masks(images: Path, name: str) -> tuple[Mask, ...]:
    """The mask of the image `name`, called as COLMAP or as the image is."""
    folder = mask_folder(images)
    if folder == images or not folder.is_dir():
        return ()
    path = find_file(folder, f"{name}.png", tails=False) or find_image(folder, name, tails=False)
    return () if path is None else (Mask(path),)


def points_beside(
    folder: Path, frames: Mapping[int, Frame], transform: np.ndarray | None, origin: np.ndarray
) -> tuple[dict[int, Frame], Points | None, list[str]]:
    """The points of the model in `folder`, if there is one with these cameras, and the frames with what they saw.

    For frames that came from another file, from whose positions `origin` was taken. `transform` [3, 4], a similarity,
    takes the model's world to that of the file; None: it is not stated. A frame without masks gets the one that lies as
    those of a COLMAP scene do. A model that cannot be read, or has other poses, is mentioned in the notes and not used.
    """
    path = find_model(folder)
    if path is None or not frames:
        return dict(frames), None, []
    try:
        model = read_model(path)
    except UserError as error:
        return dict(frames), None, [f"the points of the COLMAP model are not used: {error}"]
    views = {_plain(view.name): view for view in model.views}
    matched = {number: _view_of(frame, views) for number, frame in frames.items()}
    moved = (_moved(each, model.origin, origin) for each in ([transform] if transform is not None else _USUAL))
    fitting = next((each for each in moved if _fits(frames, matched, each)), None)
    if not len(model.points) or fitting is None:
        return dict(frames), None, [f"the COLMAP model {path} has other cameras: its points are not used"]
    position = model.points.position @ fitting[:, :3].T + fitting[:, 3]
    seen = {}
    for number, frame in frames.items():
        view, sightings = matched[number], matched[number].sightings
        if sightings is not None:
            sightings = replace(sightings, pixel=sightings.pixel * np.divide(frame.size, view.size))
        name = _plain(view.name)
        images = frame.path.parents[len(PurePosixPath(name).parts) - 1]
        seen[number] = replace(frame, sightings=sightings, masks=frame.masks or _masks(images, name))
    return with_bounds(seen, position), replace(model.points, position=position), model_notes(model)


# The file's world is COLMAP's, or turned as nerfstudio turned it before it wrote that down.
_USUAL = (np.eye(3, 4), np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]))


def _moved(transform: np.ndarray, model_origin: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """[3, 4]: the same map between worlds from whose positions these points were taken."""
    moved = transform.copy()
    moved[:, 3] += transform[:, :3] @ model_origin - origin
    return moved


def _plain(name: str) -> str:
    """The name of an image below the folder of the images, with slashes."""
    return name.replace("\\", "/").removeprefix("./").removeprefix("images/")


def _view_of(frame: Frame, views: Mapping[str, View]) -> View | None:
    """The view of the same image: its name ends the path of the frame's."""
    parts = frame.path.parts
    names = ("/".join(parts[k:]) for k in range(len(parts)))
    return next((views[name] for name in names if name in views), None)


def _fits(frames: Mapping[int, Frame], matched: Mapping[int, View | None], transform: np.ndarray) -> bool:
    return all(_same_pose(frames[n], view, transform) for n, view in matched.items())


def _same_pose(frame: Frame, view: View | None, transform: np.ndarray) -> bool:
    if view is None:
        return False
    pose = transform[:, :3] @ view.pose
    pose[:, :3] /= np.cbrt(np.linalg.det(transform[:, :3]))
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
    frames, missing, wanted = {}, [], 0
    for number, view in enumerate(model.views):
        if names is not None and view.name not in names:
            continue
        wanted += 1
        try:
            frames[number] = _frame(model, view, images, names[view.name] if names else {})
        except MissingImage as error:
            missing.append(error)
        except UserError as error:
            request.problems.add(error)
    request.problems.add_missing(missing, wanted)
    _check_distinct(model, frames)
    return with_bounds(frames, model.points.position)


def _check_distinct(model: Model, frames: Mapping[int, Frame]):
    """Raises UserError where two images of the model were found in one file, by the ends of their names."""
    found: dict[Path, int] = {}
    for number, frame in frames.items():
        if (other := found.setdefault(frame.path, number)) != number:
            names = " and ".join(model.views[n].name[:200] for n in (other, number))
            raise UserError(f"{model.path}: both {names} would be the image {frame.path}; put the images into the "
                            "folders that their names say")


def model_notes(model: Model) -> list[str]:
    """What is in the model, in words."""
    cameras = {view.camera_id: view.camera_model for view in model.views}
    kinds = ", ".join(sorted(set(cameras.values())))
    points = model.points
    tracks = (
        f", {points.error.mean():.2f} pixels from where they were seen" if points.error is not None else ""
    ) + ("" if points.views is not None else ", without tracks")
    lost = f"; {model.lost} more lie at no place, and are left out" if model.lost else ""
    return [
        f"COLMAP model of {len(model.views)} images and {len(cameras)} camera{'s'[: len(cameras) != 1]} ({kinds})",
        f"{len(points)} points{tracks}{lost}" if len(points) else f"the model has no points{lost}",
    ]


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
        raise MissingImage(where, images / view.name[:200], "put it there")
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
        masks=_masks(images, view.name) or _masks(images, image.relative_to(images).as_posix()),
        ids={"camera": view.camera_id, **known.pop("ids", {})},
        **known,
    )


def _other_models(path: Path) -> list[str]:
    models = models_in(path.parent) if path.name.isdecimal() else []
    if len(models) < 2:
        return []
    counts = sorted((count_images(model) for model in models), reverse=True)
    largest = f", the largest: they have {', '.join(map(str, counts[:6]))} images" if counts[0] > counts[-1] else ""
    return [f"of {len(models)} models in {path.parent.name} the one called {path.name} is used{largest}"]
