"""The folder of a run that is cut into blocks.

It is the folder of a run (see `folder`) of the whole scene, with, in the place of a model:

blocks.json    centre and radius of each block, and what is known of it once it is trained
blocks/NN/     the run of each, with its own place in the model

Once all blocks are trained they are matched: from a root block along the graph of neighbours, each block's code of
appearance becomes the one with which it shows, where both stand, what the block before it shows (Tancik et al. 2022,
section 3.4.3). No weight changes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import runtime
from ..config.scene import FARTHEST
from ..data.blocks import Block
from ..data.locks import holding
from ..data.scene import Images, Scene, Split
from ..errors import UserError
from ..models.blocks import Blocks, Part
from ..models.cones import sharpest_view
from ..models.model import Model
from ..models.views import render_view
from ..ops.camera import rays_from_pixels
from ..output import quoted
from ..types import Shot
from . import checkpoint
from .evaluate import GREY
from .files import BLOCKS_FILE, read_json, write_json
from .folder import CONFIG_FILE, RunFolder, block_folder, is_cut
from .half_image import fit_left_halves

__all__ = ["BlockOnDisk", "as_one", "codes_of_neighbours", "load_any", "note_trained", "points_seen", "read_blocks",
           "write_blocks"]

FORMAT, VERSION = "taichi-nerf blocks", 1
MATCHED, MATCHED_SIDE = 3, 48  # views that two neighbours are compared in, and the longer side of these in pixels
GLANCES, GLANCE_SIDE = 16, 8  # views of a block that its points are taken from, and the side of these in pixels
OPAQUE = 0.5  # opacity from which on a pixel shows a point


@dataclass(frozen=True, kw_only=True)
class BlockOnDisk:
    """A block, and what is known of it once it is trained."""

    block: Block
    trained: bool = False
    code: tuple[float, ...] = ()
    """[A]: its appearance in the whole; empty before all are matched, or where its model has no codes."""
    seen: tuple[tuple[float, float, float], ...] = ()
    """Points that it saw, in its own model space."""


def write_blocks(path: Path, blocks: Sequence[BlockOnDisk]) -> None:
    """Replace what the run at `path` says of its blocks."""
    content = [{"centre": each.block.centre, "radius": each.block.radius, "trained": each.trained, "code": each.code,
                "seen": each.seen} for each in blocks]
    write_json(path / BLOCKS_FILE, {"format": FORMAT, "version": VERSION, "blocks": content})


def note_trained(path: Path, number: int) -> None:
    """Let what the run at `path` says of its blocks call one of them trained, beside others who do so of theirs."""
    while True:
        try:
            with holding(path / f"{BLOCKS_FILE}.lock"):
                blocks = read_blocks(path)
                blocks[number] = replace(blocks[number], trained=True)
                return write_blocks(path, blocks)
        except BlockingIOError:
            time.sleep(0.01)


def read_blocks(path: Path) -> list[BlockOnDisk]:
    """Raises UserError where the file is damaged."""
    file = path / BLOCKS_FILE
    if not file.exists():
        raise UserError(f"{file} is missing, which says where the blocks of {path} are; restore it or train again")
    content = read_json(file)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise UserError(f"{file} is not of version {VERSION} of the format '{FORMAT}'; use the release of taichi-nerf "
                        "that wrote it")
    listed = content.get("blocks")
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{file} is damaged: it lists no block; restore it or train again")
    try:
        return [_block(each) for each in listed]
    except (TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}; restore it or train again") from None


def _block(values: dict) -> BlockOnDisk:
    """Raises ValueError."""
    if not isinstance(values, dict) or values.keys() != {"centre", "radius", "trained", "code", "seen"}:
        raise ValueError("a block is no object with centre, radius, trained, code and seen")
    if not isinstance(values["trained"], bool):
        raise ValueError("whether a block is trained is neither true nor false")
    radius = float(values["radius"])
    if not 0 < radius <= FARTHEST:
        raise ValueError(f"a radius is {radius:g}")
    return BlockOnDisk(block=Block(centre=_numbers(values["centre"], 3), radius=radius),
                       trained=values["trained"], code=_numbers(values["code"]),
                       seen=tuple(_numbers(point, 3) for point in values["seen"]))


def _numbers(values, count: int | None = None) -> tuple[float, ...]:
    found = tuple(map(float, values))
    if count not in (None, len(found)) or not all(abs(value) <= FARTHEST for value in found):
        raise ValueError(f"{str(values)[:40]} is not {count or 'some'} numbers")
    return found


def as_one(whole: Scene, blocks: Sequence[BlockOnDisk], models: Sequence[Model], places: Sequence[Scene]) -> Blocks:
    """The models of blocks, whose scenes lie at `places`, as one in the space of the `whole`."""
    parts = []
    for each, model, place in zip(blocks, models, places):
        origin = (place.centre + place.origin - whole.centre - whole.origin) * whole.scale
        device = runtime.current().device
        parts.append(Part(
            model=model, centre=tuple(whole.to_model(np.array(each.block.centre) - whole.origin).tolist()),
            radius=each.block.radius * whole.scale, origin=tuple((whole.rotation @ origin).tolist()),
            scale=place.scale / whole.scale,
            code=torch.tensor(each.code, device=device) if each.code else None,
            seen=torch.tensor(each.seen, device=device) if each.seen else None))
    found = Blocks(parts)
    if all(model.sharpest.all() for model in models):
        found.sharpest = sharpest_view(whole.model_cameras("train"))
    return found


def load_any(path: Path) -> tuple[Model | Blocks, dict]:
    """The model of the run at `path`, or those of its blocks as one, and the `steps` and `seconds` that it was trained.

    Raises UserError where it cannot be read, or where not all blocks are trained.
    """
    if not is_cut(path):
        return checkpoint.load_trained(path)
    blocks = read_blocks(path)
    folders = [block_folder(path, number) for number in range(len(blocks))]
    trained = sum(each.trained for each in blocks)
    if trained < len(blocks):
        raise UserError(f"of {path} {trained} of {len(blocks)} blocks are trained; go on with: taichi-nerf train "
                        f"--resume {quoted(path)}")
    missing = [folder for folder in folders if not (folder / CONFIG_FILE).is_file()]
    if missing:
        raise UserError(f"{missing[0]} is missing or no run; restore it, or train it again with: taichi-nerf train "
                        f"--resume {quoted(path)}")
    found = [checkpoint.load_trained(folder) for folder in folders]
    for folder, each, (model, _) in zip(folders, blocks, found):
        if each.code and len(each.code) != getattr(model.config, "appearance", 0):
            raise UserError(f"{path / BLOCKS_FILE} is damaged: the code of {folder.name} has {len(each.code)} numbers; "
                            "restore it or train again")
    places = [RunFolder.open(folder).cameras_scene() for folder in folders]
    model = as_one(RunFolder.open(path).cameras_scene(), blocks, [model for model, _ in found], places)
    return model, {name: sum(about[name] for _, about in found) for name in ("steps", "seconds")}


def points_seen(model: Model, scene: Scene) -> Tensor:
    """[M, 3] in model space: points of surfaces that the training views of `scene` see, on rays spread over some of
    them."""
    cameras = scene.model_cameras("train")
    chosen = cameras.subset(np.unique(np.linspace(0, len(cameras) - 1, GLANCES).round().astype(int)))
    chosen = chosen.resized((GLANCE_SIDE, GLANCE_SIDE))
    row, column = np.indices((GLANCE_SIDE, GLANCE_SIDE)).reshape(2, -1) + 0.5
    pixel, points = torch.from_numpy(np.stack([column, row], axis=1)).float(), []
    for n in range(len(chosen)):
        view = render_view(model, chosen, n, background=GREY[scene.background], supersample=False)
        tensors = [torch.from_numpy(getattr(chosen, name)[n : n + 1]).to(runtime.current().device)
                   for name in ("camera_to_world", "focal", "principal", "distortion", "lens")]
        of_camera = torch.zeros(len(pixel), dtype=torch.int32, device=tensors[0].device)
        origins, directions = rays_from_pixels(of_camera, pixel.to(tensors[0].device), *tensors)
        depth = torch.from_numpy(view.depth.reshape(-1, 1)).to(origins)
        solid = torch.from_numpy(view.opacity.reshape(-1) > OPAQUE).to(origins.device)
        points.append((origins + depth * directions)[solid])
    return torch.cat(points)


def codes_of_neighbours(blocks: Sequence[Block], models: Sequence[Model], scenes: Sequence[Scene], *,
                        root: int = 0, on_step: Callable[[int, int], None] | None = None) -> list[Tensor]:
    """[A] of each block: that of the root, in its mean appearance, and of all others with which they show what their
    neighbour on the way to the root shows.

    `scenes` are those of the blocks, with their training views; `on_step` is told how many steps of all fits are done
    and how many there are.
    """
    found, ways = {root: models[root].codes["appearance"].mean.detach()}, _ways(blocks, root)

    def told(matched: int, done: int, steps: int):
        on_step(matched * steps + done, len(ways) * steps)

    for matched, (before, number) in enumerate(ways):
        split = _as_shown(models[before], found[before], scenes[before], blocks[number])
        fitted = fit_left_halves(models[number], scenes[number], split, appearance=True, whole=True,
                                 on_step=on_step and partial(told, matched))
        found[number] = fitted.shots.codes["appearance"].mean(dim=0)
    return [found[number] for number in range(len(blocks))]


def _ways(blocks: Sequence[Block], root: int) -> list[tuple[int, int]]:
    """Each block but the root, behind the one that is matched before it, in order: the nearest that are not matched."""
    centre = np.array([block.centre for block in blocks])
    apart = np.linalg.norm(centre[:, None] - centre, axis=2)
    done, ways = [root], []
    while len(done) < len(blocks):
        left = [k for k in range(len(blocks)) if k not in done]
        before, number = min(((a, b) for a in done for b in left), key=lambda pair: apart[pair])
        ways.append((before, number))
        done.append(number)
    return ways


def _as_shown(model: Model, code: Tensor, scene: Scene, other: Block) -> Split:
    """Some training views of a block, those nearest to another, as its model shows them in the appearance `code`."""
    split = scene.splits["train"]
    away = np.linalg.norm(split.cameras.position + scene.origin - np.array(other.centre), axis=1)
    cameras = split.cameras.subset(np.argsort(away, kind="stable")[:MATCHED])
    size = np.maximum(1, (cameras.size * (MATCHED_SIDE / cameras.size.max(axis=1, keepdims=True))).round().astype(int))
    cameras, shot = cameras.resized(size), Shot(codes={"appearance": code[None]})
    pictures = [render_view(model, scene.model_cameras(cameras), n, background=GREY[scene.background], shot=shot,
                            supersample=False) for n in range(len(cameras))]
    images = [np.concatenate([np.round(255 * view.colour), np.full((*view.opacity.shape, 1), 255.0)], axis=2).astype(
        np.uint8) for view in pictures]
    return Split(name="train", cameras=cameras, images=Images.from_list(images))
