"""Checkpoints of earlier versions of the format, as of today's.

Version 1 knew Instant-NGP alone, and less of its box; 2 one ray for each pixel; 3 a code for each image, counted with
the box, state of optimisers by number, and one more level in the names of hash fields; 6 not how sharp its photos were.
"""

import re

import torch
from torch import Tensor

from ..config import todays_model
from .optimisers import Optimisers

__all__ = ["todays_header", "todays_state", "todays_tensors"]

NESTED = re.compile(r"^((?:model\.|average\.)?(?:coarse|fine|field|proposals\.\d+))\.field\.")
PLACE = re.compile(r"^(?:model\.)?(?:parts\.\d+\.)?")
CODES = re.compile(r"^(model\.|average\.)?appearance$")
NUMBERED = re.compile(r"^(table|network|correction)_optimiser\.(\d+)\.(\w+)$")
KINDS = {"table": ("table",), "network": ("network", "code"), "correction": ("correction",)}


def todays_header(header: dict) -> dict:
    """What is wrong with it is said where it is read."""
    if "model" in header:
        header = {**header, "model": todays_model(header["model"], header["version"])}
    if header["version"] > 3 or not isinstance(header.get("box"), dict):
        return header
    box = dict(header["box"])
    counts = {"appearance": box.pop("images")} if "images" in box else {}  # a code for each image
    if header["version"] == 1 and "model" in header:
        box = {"bounded": False, **box}
    return {**header, "counts": counts, "box": box}


def todays_tensors(tensors: dict[str, Tensor], version: int) -> dict[str, Tensor]:
    """Of a model, or of a training besides its optimisers."""
    if version > 6:
        return tensors
    if version > 3:
        return {**_no_view_known(tensors), **tensors}
    found = {CODES.sub(r"\1codes.appearance.table", NESTED.sub(r"\1.", name)): value for name, value in tensors.items()}
    for part in ("", "model."):  # each was of an image
        if (table := found.get(f"{part}codes.appearance.table")) is not None:
            found[f"{part}codes.appearance.known"] = torch.ones(len(table), dtype=torch.bool)
    return {**_no_view_known(found), **found}


def _no_view_known(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The `sharpest` of a model, and of its parts, that were never told."""
    of_training = any(name.startswith("model.") for name in tensors)
    places = {PLACE.match(name)[0] for name in tensors if not of_training or name.startswith("model.")}
    return {f"{place}sharpest": torch.zeros(2) for place in places | {"model." if of_training else ""}}


def todays_state(tensors: dict[str, Tensor], version: int, optimisers: Optimisers) -> dict[str, Tensor]:
    """Of a training, whose `optimisers` are those of today."""
    if version > 3:
        return todays_tensors(tensors, version)
    places = {kind: [f"{group.name}.{index}" for group in optimisers.groups.values() if group.kind in kinds
                     for index in range(len(group.parameters))] for kind, kinds in KINDS.items()}

    def renamed(name: str) -> str:
        found = NUMBERED.match(name)
        if found is None or int(found[2]) >= len(places[found[1]]):
            return name
        return f"optimiser.{places[found[1]][int(found[2])]}.{found[3]}"

    return {renamed(name): value for name, value in todays_tensors(tensors, version).items()}
