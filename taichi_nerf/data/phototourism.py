"""Phototourism, as NeRF in the Wild uses it (Martin-Brualla et al. 2021): photos of many people, with a split.

    NAME.tsv        filename, id, split (train or test) and dataset of each image, in columns
    dense/images    the undistorted images
    dense/sparse    COLMAP's model of them

A row without id is no part of the scene. The ids of the table do not fit the model: those of the model are taken, by
the name of the file, and are the appearance ids. Each image's bounds are the 0.1 and 99.9 percentile of the distances
to the points that it sees. Without a table all images of the model are of the scene, and every K-th by name is held out
for testing.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from .colmap import model_frames, model_notes
from .colmap_model import Model, find_model, read_model
from .folders import make_splits, pick_size, read_text
from .ground import judge
from .placement import place
from .poses import far_note
from .scene import Scene
from .splits import Request, hold_out, hold_out_note

_MOST_BYTES = 2**26


def is_phototourism(folder: Path) -> bool:
    """Whether the folder holds a dense COLMAP folder with a table beside it, or with nothing that is a scene itself."""
    if find_model(folder / "dense") is None:
        return False
    alone = find_model(folder) is None and not (folder / "transforms.json").exists()
    return table_of(folder) is not None or (alone and (folder / "dense" / "images").is_dir())


def table_of(folder: Path) -> Path | None:
    """The first table of the folder, by name."""
    try:
        return min((p for p in folder.iterdir() if p.suffix == ".tsv" and not p.is_dir()), default=None)
    except OSError:
        return None


def load_phototourism(folder: Path, request: Request) -> Scene:
    """Load the splits asked for. Raises UserError."""
    table, model = table_of(folder), read_model(find_model(folder / "dense"))
    split_of = _derived_split(model, request.test_every) if table is None else read_table(table)
    ids = {view.name: {"ids": {"appearance": view.image_id}} for view in model.views if view.name in split_of}
    if not ids:
        raise UserError(f"{table} names no image of the model {model.path}; use the table of this scene")
    frames = model_frames(model, folder / "dense" / "images", request, ids)
    everything = list(frames.values())
    ground = judge(everything, request)
    placement, why = place(
        everything, orient=request.orient or "up", transparent=ground.is_object, points=model.points.position
    )
    members = {name: [] for name in dict.fromkeys(split_of.values())}
    for number, frame in frames.items():
        members[split_of[model.views[number].name]].append(frame)
    missing = len(split_of) - len(ids)
    return Scene(
        name=folder.resolve().name,
        format="phototourism",
        splits=make_splits(table or model.path, members, request, pick_size({1: folder}, request.downscale)[1], ground,
                           held_out=table is None),
        points=model.points if len(model.points) else None,
        **vars(placement),
        origin=model.origin,
        background=ground.colour,
        held_out=table is None,
        notes=[
            f"Phototourism table of {len(split_of)} images" if table is not None else
            f"Phototourism without a table (*.tsv) of its split: {hold_out_note(request.test_every)}",
            *model_notes(model),
            *([f"{missing} images of the table are not in the model and not used"] if missing else []),
            *why,
            ground.note,
            *far_note(model.origin),
        ],
        problems=request.problems.found,
    )


def _derived_split(model: Model, every: int) -> Mapping[str, str]:
    """Split by file name, of all images of the model. Raises UserError where that leaves too few to train on."""
    names = [view.name for view in model.views]
    members = hold_out(model.path, names, every)
    return {names[number]: split for split, numbers in members.items() for number in numbers}


def read_table(path: Path) -> dict[str, str]:
    """Split by file name, of the rows that have an id. Raises UserError."""
    reader = csv.DictReader(io.StringIO(read_text(path, _MOST_BYTES)), delimiter="\t", strict=True)
    found = {}
    try:
        for number, row in enumerate(reader, 2):
            if not {"filename", "id", "split"} <= row.keys():
                raise UserError(f"{path} lacks one of the columns filename, id and split; export it again")
            name, identity, split = (row[key] or "" for key in ("filename", "id", "split"))
            if not identity.strip():
                continue
            if split not in ("train", "test") or not name:
                raise UserError(f"{path}: line {number} has no file name, or a split that is not train or test")
            found[name] = split
    except csv.Error as error:
        raise UserError(f"{path} is no table of columns that tabs separate ({error}); export it again") from None
    if not found:
        raise UserError(f"{path} names no image; export it again")
    return {name: found[name] for name in sorted(found, key=lambda name: found[name] != "train")}
