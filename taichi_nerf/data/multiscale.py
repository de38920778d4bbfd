"""Views at several scales: made from any scene, or read from mip-NeRF's `metadata.json`.

    scale       1, 2, 4, ...: how many times smaller an image is than its original
    label       0, 1, 2, ...: its logarithm, as the file has it
    lossmult    4^label: the area of a pixel, the weight of its error (`Split.area_weight`)

The file (of mip-NeRF's convert_blender_data.py) has an object for each split, `train`, `val` and `test`, of lists of
one entry for each image: `file_path`, `cam2world` [4, 4] (OpenGL axes), `width`, `height`, `focal`, `label`,
`lossmult`, and `pix2cam` [3, 3], which takes (x, y, 1) of a pixel to a direction of the camera. The object lies within
+-1.5 world units of the origin, as in the Blender scenes; a file may state another box as `transforms.json` does.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .area import downscaled, shrunk_mask
from .axes import likely_mistake
from .blender import SPLIT_NAMES, placed_object
from .box import stated_box
from .frames import Problems, parse_frames
from .ground import Ground, judge
from .json_files import finite, read_object
from .poses import PoseReader, pose_reader
from .scene import Images, Scene, Sightings, Split, every_view
from .splits import Request, check_counts, check_disjoint, existing_images, read_split

METADATA_FILE = "metadata.json"
LISTS = ("file_path", "cam2world", "width", "height", "focal", "label", "lossmult", "pix2cam")
OPTIONAL = ("width", "height", "label", "lossmult", "pix2cam")
LARGEST_LABEL = 12


def with_scales(scene: Scene, scales: int) -> Scene:
    """`scene` with each view at full size, 1/2, ..., 1/2^(scales - 1), its images side by side.

    A pixel of the scale 1/2^j is the mean of 2^j x 2^j (premultiplied alpha) and weighs 4^j (mip-NeRF, section 4.2), so
    that each scale has the same weight. One of which a mask covers a part is left out. Exact depth and normals are
    dropped: they are those of a pixel's centre, and no pixel of two scales shares its centre.

    Raises:
        UserError: an image is too small, or has several scales already.
    """
    if scales == 1:
        return scene
    check_scales(scene, scales)
    splits = {name: _at_scales(split, scales) for name, split in scene.splits.items()}
    note = f"each view at {scales} scales, 1 to 1/{2 ** (scales - 1)}"
    return replace(scene, splits=splits, notes=[*scene.notes, note])


def scale_words(scale: int) -> str:
    """A scale for people: `1`, `1/2`, ..."""
    return "1" if scale == 1 else f"1/{scale}"


def check_scales(scene: Scene, scales: int) -> None:
    """Raises UserError where `scene` cannot be had at so many scales; no pixel is looked at."""
    if scales == 1:
        return
    for split in scene.splits.values():
        if split.scale is not None:
            raise UserError("the images of the scene have several scales already; leave --scales out")
        smallest = int(split.cameras.size.min(initial=2**30))
        if smallest < 2 ** (scales - 1):
            raise UserError(f"images of {smallest} pixels are too small for --scales {scales}, the last of which is "
                            f"1/{2 ** (scales - 1)}; use fewer, or a smaller --downscale")


def _at_scales(split: Split, scales: int) -> Split:
    factors = np.tile(2 ** np.arange(scales), len(split))  # [N scales]: image by image
    view = np.repeat(np.arange(len(split)), scales)
    pictures = [downscaled(split.images.image(n), int(factor)) for n, factor in zip(view, factors)]
    allowed = None
    if split.images.allowed is not None:
        allowed = [shrunk_mask(split.images.allowed_in(n), *picture.shape[:2]) for n, picture in zip(view, pictures)]
    names = [f"{name}_d{label}" for name in split.images.names for label in range(scales)]
    whole = split.cameras.subset(view)
    cameras = whole.resized(np.maximum(whole.size // factors[:, None], 1))
    paths = tuple(split.paths[n] for n in view) if split.paths else ()
    sightings = None
    if split.sightings is not None:
        ratio = cameras.size / whole.size
        sightings = tuple(Sightings(point=split.sightings[n].point, pixel=split.sightings[n].pixel * r)
                          for n, r in zip(view, ratio))
    known = {name: values[view] for name in ("time", "exposure", "bounds")
             if (values := getattr(split, name)) is not None}
    return Split(name=split.name, cameras=cameras, images=Images.from_list(pictures, names, allowed), paths=paths,
                 sightings=sightings, **known, ids={name: values[view] for name, values in split.ids.items()},
                 area_weight=factors.astype(np.float32) ** 2, scale=factors)


def load_multiscale(path: Path, request: Request) -> Scene:
    """Load the splits of the file `path`. Raises UserError."""
    content = read_object(path)
    present = {name: content[name] for name in SPLIT_NAMES if isinstance(content.get(name), dict)}
    if not present:
        raise UserError(f"{path} has neither 'train', 'val' nor 'test', so it is no multi-scale scene of mip-NeRF; "
                        "give the folder of a scene")
    request.check_present(path, list(present))
    frames = {name: _frames(path, name, lists) for name, lists in present.items()}
    if "train" in present and "test" in present:
        check_disjoint(path, *(existing_images(path, frames[name]) for name in ("train", "test")))
    poses = pose_reader({path: {"frames": [frame for split in frames.values() for frame in split["frames"]]}},
                        axes=request.axes, world_to_camera=request.world_to_camera)
    some = frames[next(iter(frames))]
    everything = list(parse_frames(path, some, range(len(some["frames"])), Problems(strict=False), poses).values())
    ground = judge(everything, request)
    request.problems.warn(*likely_mistake(everything, request))
    splits = {name: _read(path, name, frames[name], present[name], request, poses, ground)
              for name in present if request.wants(name)}
    box, why = placed_object(stated_box(path, content, poses.origin), everything, ground, request)
    scales = sorted({int(s) for split in splits.values() for s in split.scale})
    return Scene(
        name=path.resolve().parent.name,
        format="multiscale",
        splits=splits,
        **vars(box),
        origin=poses.origin,
        background=ground.colour,
        bounded=box.aabb_scale == 1,
        notes=[f"multi-scale layout of mip-NeRF with the splits {', '.join(present)}",
               f"scales {', '.join(map(scale_words, scales))}",
               *why,
               ground.note,
               *poses.notes],
        problems=request.problems.found,
    )


def _read(path: Path, name: str, frames: dict, lists: Mapping, request: Request, poses: PoseReader,
          ground: Ground) -> Split:
    count = len(frames["frames"])
    check_counts(path, name, count)
    label = np.array([_label(path, name, value) for value in lists.get("label", [0] * count)])
    weight = np.array([_weight(path, name, value) for value in lists.get("lossmult", 4.0**label)])
    chosen = every_view(label, count, request.every.get(name, 1))
    kept = parse_frames(path, frames, [int(n) for n in chosen], request.problems, poses)
    numbers = list(kept)
    split = read_split(name, list(kept.values()), request, masks_alpha=ground.masks_alpha, scale=2 ** label[numbers],
                       area_weight=weight[numbers])
    check_counts(path, name, len(split))
    return split


def _frames(path: Path, name: str, lists: Mapping) -> dict:
    """The images of a split as `frames` of a transforms file, which `parse_frames` checks."""
    files = lists.get("file_path")
    if not isinstance(files, list):
        raise UserError(f"{path}: '{name}' has no list 'file_path'; convert the scene again")
    for key in LISTS:
        values = lists.get(key)
        if (values is not None or key not in OPTIONAL) and (not isinstance(values, list) or len(values) != len(files)):
            raise UserError(f"{path}: '{key}' of '{name}' is no list of {len(files)} entries, one for each image; "
                            "convert the scene again")
    return {"frames": [_frame(path, name, n, {key: lists[key][n] for key in LISTS if key in lists})
                       for n in range(len(files))]}


def _frame(path: Path, name: str, n: int, image: Mapping) -> dict:
    frame = {"file_path": image["file_path"], "transform_matrix": image["cam2world"], "fl_x": image["focal"]}
    frame |= {key: image[long] for key, long in (("w", "width"), ("h", "height")) if long in image}
    if "pix2cam" in image:
        try:
            (a, b, c), (d, e, f), last = (tuple(map(float, row)) for row in image["pix2cam"])
            plain = (b, d) == (0, 0) and last == (0, 0, -1) and a > 0 > e
        except (TypeError, ValueError):
            plain = False
        if not plain:
            raise UserError(f"{path}: 'pix2cam' of image {n} of '{name}' is not [[1/fx, 0, -cx/fx], [0, -1/fy, cy/fy], "
                            "[0, 0, -1]]; convert the scene again")
        frame |= {"fl_x": 1 / a, "fl_y": -1 / e, "cx": -c / a, "cy": -f / e}
    return frame


def _label(path: Path, name: str, value) -> int:
    label = finite(value, f"{path}: 'label' of '{name}'")
    if label != int(label) or not 0 <= label <= LARGEST_LABEL:
        raise UserError(f"{path}: 'label' of '{name}' has the entry {value}, not 0, 1, 2, ... for 1, 1/2, 1/4, ... of "
                        "the size; correct it")
    return int(label)


def _weight(path: Path, name: str, value) -> float:
    weight = finite(value, f"{path}: 'lossmult' of '{name}'")
    if weight <= 0:
        raise UserError(f"{path}: 'lossmult' of '{name}' has the entry {weight:g}; a weight is positive, correct it")
    return weight
