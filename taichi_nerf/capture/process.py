"""A folder of photos, or a video, to a scene: pictures, poses, and what is wrong with them.

    images/            upright, of at most --max-size pixels
    sparse/0/          COLMAP's binary model: cameras, poses, points
    database.db        COLMAP's features and matches
    transforms.json    the same cameras for everybody else: camera to world, OpenGL axes, OpenCV distortion
    process.json       how it was made, and the images without a pose with the likely reason

and of a video of something that moves

    moving/            what moves, white, of each image; no features of it were matched
    moving.jpg         some of the images, red where they move
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ..data.aside import finish, folder_aside
from ..data.images import processors
from ..data.inspect import Finding
from ..data.names import printable
from ..data.opening import open_image
from ..errors import UserError
from ..progress import Progress
from .diagnosis import reasons, suspicions
from .motion import LARGEST_SHARE, moving_mask, moving_sheet, votes_of, write_masks
from .photos import copy_photos, find_photos, photos_below, unread_photos
from .reconstruction import (
    FEWEST_IN_MODEL,
    Matching,
    extract_features,
    import_pycolmap,
    map_images,
    match_features,
    refine,
)
from .video import number_of_frame, pick_frames

CameraModel = Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"]
CAMERA_MODELS = get_args(CameraModel)
# What the parameters of COLMAP's models are in a transforms file.
_PARAMETERS = {
    "SIMPLE_PINHOLE": ("fl", "cx", "cy"),
    "PINHOLE": ("fl_x", "fl_y", "cx", "cy"),
    "SIMPLE_RADIAL": ("fl", "cx", "cy", "k1"),
    "RADIAL": ("fl", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4"),
}
MOST_EXHAUSTIVE = 80  # photos: more are matched with the most similar ones only
FEW_PLACED = 0.7  # share of the images with a pose under which it is worth a warning


@dataclass(frozen=True, kw_only=True)
class Processed:
    """What became of a capture."""

    folder: Path
    """Of the scene."""
    images: int
    """Pictures taken from the source."""
    placed: int
    """Those with a pose."""
    points: int
    """Points in space that were found."""
    reprojection_error: float
    """Pixels, the mean over the observations of the points."""
    unplaced: dict[str, str]
    """Name and likely reason of each picture without a pose."""
    findings: list[Finding]
    """What looks wrong."""
    moving: float | None = None
    """The share of the pixels that move, of a video of something that does."""


def process(source: Path, output: Path, *, max_images: int = 200, max_size: int = 1600,
            camera_model: CameraModel = "SIMPLE_RADIAL", single_camera: bool = True,
            matching: Matching | Literal["auto"] = "auto", moving: bool = False,
            threads: int | None = None) -> Processed:
    """Find the cameras of the photos in the folder `source`, or of frames of the video `source`, and write a scene.

    The folder `output` appears when it is complete.

    Args:
        max_images: pictures at the most; of more, the sharpest of every few.
        max_size: pixels of a picture along its longer side, at the most.
        camera_model: COLMAP's.
        single_camera: pictures of one size were all taken by one camera with one zoom.
        matching: auto: sequential for a video, exhaustive for up to 80 photos, by vocabulary for more.
        moving: something moves in the video: it is found and left out of matching, and each frame gets its time.
        threads: by default as many as this process may use.

    Raises:
        UserError: there are no photos, or no video; pycolmap is missing; the output exists; or no poses were found.
    """
    source, output = Path(source).expanduser(), Path(output).expanduser()
    import_pycolmap()
    _check(source, output)
    if moving and not source.is_file():
        raise UserError(f"--moving is for a video, whose frames have times, and {source} is a folder of photos; leave "
                        "it out, or give the video")
    video, threads = source.is_file(), threads or processors()
    try:
        with folder_aside(output.parent, f".{output.name}-") as aside:
            (aside / "images").mkdir()
            sharpness, unread = _gather(source, aside / "images", video, max_images, max_size)
            if matching == "auto":
                exhaustive = len(sharpness) <= MOST_EXHAUSTIVE
                matching = "sequential" if video else "exhaustive" if exhaustive else "vocabulary"
            left = left_out(source, sharpness, unread, video)
            try:
                models, unplaced, findings, share = _reconstruct(
                    aside, sharpness, camera_model=camera_model, single_camera=single_camera, matching=matching,
                    ordered=video, moving=moving, threads=threads,
                )
            except UserError as error:
                raise UserError("; ".join([str(error), *(finding.text for finding in left)])) from None
            summary = Processed(folder=output, images=len(sharpness), placed=models[0].num_reg_images(),
                                points=models[0].num_points3D(),
                                reprojection_error=models[0].compute_mean_reprojection_error(),
                                unplaced=unread | unplaced, findings=[*left, *findings], moving=share)
            settings = {"source": printable(source.name), "max_images": max_images, "max_size": max_size,
                        "camera_model": camera_model, "single_camera": single_camera, "matching": matching,
                        "moving": moving}
            _write(aside, models, summary, settings)
            if output.is_dir():
                output.rmdir()
            finish(aside, output)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{output} cannot be written ({reason}); name another place with room") from None
    return summary


def left_out(source: Path, sharpness: dict[str, float], unread: dict[str, str], video: bool) -> list[Finding]:
    """What of the source was not even tried."""
    if video:
        return []
    texts = []
    if unread:
        name, reason = next(iter(unread.items()))
        texts.append(f"{len(unread)} of {len(unread) + len(sharpness)} photos were not read, such as {name} ({reason})")
    if below := photos_below(source):
        texts.append(f"{len(below)} photos in the folders of {printable(source.name)} are not taken, since it has some "
                     "of its own: move them together, or make a scene of each folder")
    return [Finding(severity="warning", text=text) for text in texts]


def transforms(model, *, timed: bool = False) -> dict:
    """The content of `transforms.json` for a pycolmap reconstruction with its images in `images/`.

    If they are `timed` they are frames of a video, and the first that has a pose is of the time 0, the last of 1.
    """
    frames = []
    for image in sorted(model.images.values(), key=lambda image: image.name):
        if not image.has_pose:
            continue
        pose = np.vstack([image.cam_from_world().inverse().matrix() * [1, -1, -1, 1], [0, 0, 0, 1]])
        frames.append({"file_path": f"images/{image.name}", **_lens(model.cameras[image.camera_id]),
                       "transform_matrix": pose.tolist()})
    own = ["file_path", "transform_matrix", *(["time"] if timed else [])]
    if timed:
        numbers = [number_of_frame(frame["file_path"]) for frame in frames]
        for frame, number in zip(frames, numbers):
            frame["time"] = round((number - numbers[0]) / max(numbers[-1] - numbers[0], 1), 6)
    lenses = [{key: value for key, value in frame.items() if key not in own} for frame in frames]
    if all(lens == lenses[0] for lens in lenses):
        frames = [{key: frame[key] for key in own} for frame in frames]
        return {**lenses[0], "frames": frames}
    kinds = {lens["camera_model"] for lens in lenses}  # nerfstudio looks for it in the head alone
    return {**({"camera_model": kinds.pop()} if len(kinds) == 1 else {}), "frames": frames}


def _lens(camera) -> dict:
    """The intrinsics of a pycolmap camera in the keys of a transforms file."""
    model = camera.model_name
    lens = {"camera_model": model, "w": int(camera.width), "h": int(camera.height)}
    for key, value in zip(_PARAMETERS[model], camera.params):
        lens |= {"fl_x": float(value), "fl_y": float(value)} if key == "fl" else {key: float(value)}
    return lens


def _check(source: Path, output: Path):
    try:
        exists, taken = source.exists(), os.path.lexists(output) and not (output.is_dir() and not any(output.iterdir()))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UserError(f"{source} or {output} cannot be used ({error}); check the paths") from None
    if not exists:
        raise UserError(f"{source} does not exist; give a folder of photos or a video")
    if taken:
        raise UserError(f"{output} exists already; name a new folder with --output or remove it first")
    if printable(output.absolute()) != str(output.absolute()):
        raise UserError(f"{output} is no name in UTF-8, which COLMAP needs; name another one with --output")


def _gather(source: Path, folder: Path, video: bool, most: int,
            max_size: int) -> tuple[dict[str, float], dict[str, str]]:
    """Pictures in `folder`: the sharpness of each, and why others could not be read."""
    with Progress("frames" if video else "photos") as line:
        if video:
            return pick_frames(source, folder, most=most, max_size=max_size, told=line.frames), {}
        sharpness, failed = copy_photos(find_photos(source), folder, most=most, max_size=max_size, told=line.images)
        unread = unread_photos(source) | failed
    if len(sharpness) < FEWEST_IN_MODEL:
        name, reason = next(iter(unread.items()))
        raise UserError(
            f"{source}: only {len(sharpness)} photos can be read ({name} {reason}); give at least 3, better 50"
        )
    return sharpness, unread


def _reconstruct(folder: Path, sharpness: dict[str, float], *, camera_model: str, single_camera: bool,
                 matching: Matching, ordered: bool, moving: bool,
                 threads: int) -> tuple[list, dict[str, str], list[Finding], float | None]:
    """The models, why images are not in the first, what looks wrong, and the share of the pixels that move."""
    database, images, share, told = folder / "database.db", folder / "images", None, []
    colmap = import_pycolmap()
    groups = _by_size(images, sharpness) if single_camera else [sorted(sharpness)]

    def found(masks: Path | None = None) -> list:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            extract_features(database, images, groups, camera_model=camera_model, single_camera=single_camera,
                             threads=threads, masks=masks)
            match_features(database, Path(scratch), matching, threads=threads)
            models = map_images(database, images, Path(scratch) / "models", threads=threads)
            if models:
                models[0] = refine(database, images, Path(scratch) / "refined", models[0], threads=threads)
        return models

    models = found()
    if moving and models:
        masks, told = _what_moves(database, models[0])
        share = float(np.mean([mask.mean() for mask in masks.values()]))
        write_masks(masks, folder / "moving", moving=255)
        moving_sheet(images, masks).save(folder / "moving.jpg", quality=90)
        if share > 0:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                write_masks(masks, Path(scratch) / "still", moving=0)
                database.unlink()
                models = found(Path(scratch) / "still")
    with colmap.Database.open(database) as opened:
        unplaced = reasons(opened, models, sharpness)
        if not models:
            name, reason = next(iter(unplaced.items()))
            raise UserError(
                f"no poses were found for the {len(sharpness)} images ({name}: {reason}); take sharp photos that "
                "overlap by two thirds, from many places around the scene"
            )
        findings = [*told, *suspicions(opened, models, ordered=ordered)]
    if models[0].num_reg_images() < FEW_PLACED * len(sharpness):
        share = f"{models[0].num_reg_images()} of {len(sharpness)}"
        text = f"only {share} images have a pose: parts of the scene are missing"
        findings.append(Finding(severity="warning", text=text))
    return models, unplaced, findings, share


def _what_moves(database: Path, model) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """[H, W] bool by name, of the images that have a pose; and what is wrong with that."""
    with import_pycolmap().Database.open(database) as opened:
        votes = votes_of(opened, model)
    cameras = {image.name: model.cameras[image.camera_id] for image in model.images.values()}
    masks = {name: moving_mask(of_image, (cameras[name].width, cameras[name].height))
             for name, of_image in votes.items()}
    most = {name for name, mask in masks.items() if mask.mean() > LARGEST_SHARE}
    if not most:
        return masks, []
    text = (f"in {len(most)} of {len(masks)} frames, such as {min(most)}, more than half of the picture seems to move, "
            "which is taken for wrong poses: nothing was left out of them; film more of what stands still")
    return ({name: mask & (name not in most) for name, mask in masks.items()},
            [Finding(severity="warning", text=text)])


def _by_size(folder: Path, names) -> list[list[str]]:
    """The names in groups of images of one size: another size is another zoom or another camera."""
    groups = {}
    for name in sorted(names):
        with open_image(folder / name) as image:
            groups.setdefault(image.size, []).append(name)
    return list(groups.values())


def _write(folder: Path, models: Sequence, summary: Processed, settings: dict):
    for number, model in enumerate(models):
        (folder / "sparse" / str(number)).mkdir(parents=True)
        model.write_binary(folder / "sparse" / str(number))
    content = transforms(models[0], timed=settings["moving"])
    (folder / "transforms.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    report = {**settings, "images": summary.images, "placed": summary.placed, "points": summary.points,
              "reprojection_error": round(summary.reprojection_error, 4), "unplaced": summary.unplaced,
              **({} if summary.moving is None else {"moving_share": round(summary.moving, 4)}),
              "warnings": [finding.text for finding in summary.findings]}
    (folder / "process.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
