"""Pixels of one training photo, evenly spread, as a step of the training sees them: in squares of N x N.

H x W are the pixels of a picture of the photo: its own where all are looked at, else a pixel a square.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.scene import Split
from ..models.pixels import Pixels
from ..types import Batch, Standing
from .trainer import Trainer

__all__ = ["CHUNK", "Squares", "rendered", "squares_of"]

CHUNK = 4096  # rays that are rendered together


@dataclass(frozen=True, kw_only=True)
class Squares:
    """Squares that follow one another, row by row, and so do the pixels of each."""

    rows: int
    columns: int
    side: int
    size: tuple[int, int]
    """Width and height of the photo."""
    whole: bool
    """Whether these are all its pixels."""
    batch: Batch
    """The pixels."""
    allowed: Tensor
    """[P] bool: those that no mask covers, of which alone a training knows."""

    def picture(self, values: Tensor) -> np.ndarray:
        """[H, W, ..] of values [P, ..] of the pixels."""
        values = values.detach().float().cpu().numpy()
        squares = values.reshape(self.rows, self.columns, self.side, self.side, *values.shape[1:])
        if not self.whole:
            return squares.mean(axis=(2, 3))
        joined = np.moveaxis(squares, 2, 1).reshape(self.rows * self.side, self.columns * self.side, *values.shape[1:])
        return joined[: self.size[1], : self.size[0]]


def squares_of(trainer: Trainer, split: Split, number: int, across: int, side: int) -> Squares:
    """Of photo `number` of the training images `split`, up to `across` along its longer side, of `side` pixels each.
    What reaches over an edge of the photo is at its other edge, as in training."""
    width, height = (int(length) for length in split.cameras.size[number])
    columns, rows = -(-width // side), -(-height // side)
    every = -(-max(columns, rows) // across)
    left, top = (side * np.arange(0, count, every) for count in (columns, rows))
    y, x = np.broadcast_arrays(top[:, None, None, None] + np.arange(side)[:, None],
                               left[None, :, None, None] + np.arange(side))  # [rows, columns, side, side]
    x, y = x.reshape(-1) % width, y.reshape(-1) % height
    photos = trainer.batches.photos
    like = photos.images.camera_table
    place = torch.from_numpy(np.stack([x, y], axis=1)).to(like) + 0.5
    image_index = torch.full((len(x),), number, dtype=torch.int32, device=like.device)
    pixel_index = torch.from_numpy(int(split.images.offset[number]) + y * width + x)
    rgba = torch.from_numpy(split.images.image(number)[y, x]).to(like) / 255
    mask = split.images.allowed_in(number)
    allowed = torch.from_numpy(np.ones(len(x), bool) if mask is None else mask[y, x]).to(like.device)
    batch = Batch(rays=trainer.batches.source.through(image_index, place, trainer.clock.standing), rgba=rgba,
                  background=torch.full_like(rgba[:, :3], photos.background), image_index=image_index,
                  pixel_index=pixel_index.to(image_index))
    return Squares(rows=len(top), columns=len(left), side=side, size=(width, height), whole=every == 1, batch=batch,
                   allowed=allowed)


@torch.no_grad()
def rendered(trainer: Trainer, batch: Batch, standing: Standing | None) -> Pixels:
    """The pixels of `batch` as its photos show them: as in a step where the training stands, else as in a picture."""
    parts = []
    for first in range(0, len(batch), CHUNK):
        chosen = slice(first, first + CHUNK)
        pixels = trainer.model.render(batch.rays[chosen], standing)
        parts.append(trainer.corrections.shown(pixels, batch.image_index[chosen]))
    colour, opacity, depth = (torch.cat([getattr(part, name) for part in parts])
                              for name in ("colour", "opacity", "depth"))
    extras = {name: torch.cat([part.extras[name] for part in parts]) for name in parts[0].extras}
    return Pixels(colour=colour, opacity=opacity, depth=depth, extras=extras)
