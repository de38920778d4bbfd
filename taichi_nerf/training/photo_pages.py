"""Pages of training photos: what --robust leaves out of them, and what a model that knows its uncertainty is unsure of.
For people to look at, once the training is done.

A dozen photos are looked at, spread evenly over all, and of a large one as many squares as the time allows
(`training.squares`, whose H x W are the pixels of a picture).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.scene import Split
from ..pictures import contact_sheet, heat_map, to_uint8
from .squares import CHUNK, rendered, squares_of
from .trainer import Trainer

__all__ = ["PhotoSeen", "has_pages", "look_at", "mask_page", "some_photos", "squares_across", "uncertainty_page"]

PHOTOS = 12
SECONDS = 10.0  # that they may take together, about
FEWEST_PIXELS, FEWEST, MOST = 64, 16, 192  # pixels and squares along the longer side of a photo
CELL, SMALL_CELL = 240, 132  # pixels of the longer side of a photo on a page
TINT, SHARE = np.array((1.0, 0.1, 0.6)), 0.65  # colour of what is left out, and how much it covers
PALE = 0.75  # by how much what a mask covers is nearer to white
LATE = {"step": 10**6, "progress": 1.0}  # when no pixel counts by chance any more


@dataclass(frozen=True, kw_only=True)
class PhotoSeen:
    """A photo as the training sees it; pictures are float32 in [0, 1] over the background of the scene."""

    name: str
    photo: np.ndarray
    """[H, W, 3]"""
    allowed: np.ndarray
    """[H, W] in [0, 1]: the share of pixels that no mask covers."""
    kept: np.ndarray | None
    """[H, W] in [0, 1]: the share of pixels that count, or would without a mask; None where all do."""
    trained: np.ndarray
    """[H, W, 3] as a step has it, with what passes by."""
    alone: np.ndarray
    """[H, W, 3] as a picture has it."""
    uncertainty: np.ndarray | None
    """[H, W] of the colour; None where the model knows none."""

    @property
    def pale(self) -> np.ndarray:
        """[H, W, 3]: the photo, paler where a mask covers it."""
        return 1 - (1 - self.photo) * (1 - PALE * (1 - self.allowed[..., None]))

    @property
    def left_out(self) -> np.ndarray:
        """[H, W] in [0, 1]: the share of pixels that no mask covers, and that do not count all the same."""
        return self.allowed * (1 - self.kept)


def has_pages(trainer: Trainer) -> bool:
    """Whether there is anything to show: something is left out, or the model knows its uncertainty."""
    return trainer.trimming is not None or "transient" in trainer.model.codes


def some_photos(count: int, most: int = PHOTOS) -> list[int]:
    """Numbers of at most `most` of `count` photos, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


@torch.no_grad()
def squares_across(trainer: Trainer, photos: int) -> int:
    """How many squares along the longer side of each of so many photos can be looked at in time."""
    rays, standing = trainer.some_rays(CHUNK), trainer.clock.standing
    trainer.model.render(rays, standing)  # which compiles
    began = time.perf_counter()
    trainer.model.render(rays, standing)
    in_time = CHUNK * SECONDS / max(time.perf_counter() - began, 1e-6) / (2 * photos)  # rays of a photo
    return int(np.clip(max(in_time**0.5, FEWEST_PIXELS) / trainer.batches.patch, FEWEST, MOST))


@torch.no_grad()
def look_at(trainer: Trainer, split: Split, number: int, across: int) -> PhotoSeen:
    """Photo `number` of the training images `split`, at up to `across` squares along its longer side. The trainer has
    its averaged weights, and stays as it is."""
    squares = squares_of(trainer, split, number, across, trainer.batches.patch)
    batch, standing, picture = squares.batch, trainer.clock.standing, squares.picture
    trained = rendered(trainer, batch, standing)
    uncertainty = trained.extras.get("uncertainty")
    alone = trained if uncertainty is None else rendered(trainer, batch, None)
    kept = None
    if trainer.trimming is not None:
        kept = trainer.trimming.onlooker().weigh(trained, batch, replace(standing, **LATE)).kept

    def known(values: Tensor | None) -> np.ndarray | None:
        return None if values is None else picture(values)

    return PhotoSeen(name=split.images.names[number], photo=picture(batch.target),
                     allowed=picture(squares.allowed.to(batch.target)), kept=known(kept),
                     trained=picture(trained.over(batch.background)), alone=picture(alone.over(batch.background)),
                     uncertainty=known(uncertainty))


def mask_page(photos: Sequence[PhotoSeen]) -> np.ndarray:
    """[H, W, 3] uint8: each photo, pale where a mask covers it, and in colour what of the rest is left out."""
    cells, captions = [], []
    for seen in photos:
        tint = SHARE * seen.left_out[..., None]
        cells.append(_fitted(seen.pale * (1 - tint) + TINT * tint, CELL))
        captions.append(f"{seen.name}: {seen.left_out.sum() / max(seen.allowed.sum(), 1e-6):.1%} left out")
    return contact_sheet(cells, columns=4, captions=captions)


def uncertainty_page(photos: Sequence[PhotoSeen]) -> np.ndarray:
    """[H, W, 3] uint8: each photo, pale where a mask covers it, how the training has it, how pictures have it, and how
    unsure the training is, from black for the surest pixels to a light yellow for the hundredth part of all without a
    mask that is least sure."""
    known = np.concatenate([seen.uncertainty[seen.allowed > 0] for seen in photos])
    brightest = np.quantile(known, 0.99) if len(known) else 0.0
    cells, captions = [], []
    for seen in photos:
        heat = heat_map(seen.uncertainty / max(brightest, 1e-6))
        cells += [_fitted(picture, SMALL_CELL) for picture in (seen.pale, seen.trained, seen.alone, heat)]
        captions += [seen.name, "with what passes", "what stands", "uncertainty"]
    return contact_sheet(cells, columns=8, captions=captions)


def _fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """[h, w, 3] uint8, its longer side `side` pixels."""
    rgb = Image.fromarray(to_uint8(picture))
    scale = side / max(rgb.size)
    size = tuple(max(1, round(length * scale)) for length in rgb.size)
    return np.asarray(rgb.resize(size, Image.BOX if scale < 1 else Image.NEAREST))
