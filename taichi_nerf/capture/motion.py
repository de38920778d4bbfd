"""Which pixels of a video show something that moves: where features match, and the poses do not explain how.

A first reconstruction finds the cameras, as most of what is seen stands still. A match that breaks the epipolar
constraint of their poses (`diagnosis`) is of something that moved, or wrong. What moved breaks it in most of a
feature's matches, and so do its neighbours; what was matched wrongly is alone among features that keep it.

N features of an image, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .diagnosis import EPIPOLAR_PIXELS, epipolar_errors
from .reconstruction import import_pycolmap

__all__ = ["LARGEST_SHARE", "Votes", "moving_mask", "moving_sheet", "votes_of", "write_masks"]

FEWEST_BROKEN = 2  # matches that a feature must break to count as moving, and more than it keeps
CELL = 1 / 32  # of the longer side: of the squares in which features are counted
FEWEST_FEATURES = 3.0  # that move, in and around a cell
LARGEST_SHARE = 0.5  # of a picture: where more seems to move, it is the poses that are wrong
SHEET, SHEET_WIDTH = 8, 320  # frames that are shown, and how wide


class Votes(NamedTuple):
    """How the matches of an image's features go with the poses."""

    pixel: np.ndarray  # [N, 2]
    kept: np.ndarray  # [N] matches that keep the epipolar constraint
    broken: np.ndarray  # [N] matches that break it


def votes_of(database, model) -> dict[str, Votes]:
    """By name of the images of a pycolmap reconstruction that have a pose, with all their matches in the database."""
    colmap = import_pycolmap()
    placed = {image_id: image for image_id, image in model.images.items() if image.has_pose}
    pixels = {image_id: database.read_keypoints(image_id)[:, :2] for image_id in placed}
    found = {image_id: Votes(pixel, *np.zeros((2, len(pixel)), int)) for image_id, pixel in pixels.items()}
    for pair_id, matches in zip(*database.read_all_matches()):
        pair = colmap.pair_id_to_image_pair(pair_id)
        if len(matches) == 0 or not all(image_id in placed for image_id in pair):
            continue
        points = [pixels[image_id][matches[:, k]] for k, image_id in enumerate(pair)]
        broken = epipolar_errors(model, [placed[image_id] for image_id in pair], points) > EPIPOLAR_PIXELS
        for k, image_id in enumerate(pair):
            np.add.at(found[image_id].broken, matches[broken, k], 1)
            np.add.at(found[image_id].kept, matches[~broken, k], 1)
    return {placed[image_id].name: votes for image_id, votes in found.items()}


def moving_mask(votes: Votes, size: tuple[int, int]) -> np.ndarray:
    """[H, W] bool of a picture of `size`, width and height: the cells in and around which most features move."""
    width, height = size
    side = max(2, round(CELL * max(size)))
    cells = (-(-height // side), -(-width // side))
    moves = (votes.broken >= FEWEST_BROKEN) & (votes.broken > votes.kept)
    stays = (votes.kept >= FEWEST_BROKEN) & ~moves
    moving, still = (_counted(votes.pixel[chosen], side, cells) for chosen in (moves, stays))
    mask = (moving >= FEWEST_FEATURES) & (moving > still)
    return _widened(mask).repeat(side, axis=0).repeat(side, axis=1)[:height, :width]


def write_masks(masks: Mapping[str, np.ndarray], folder: Path, *, moving: int) -> None:
    """Of each image NAME a file `NAME.png`, in which what moves has the grey value `moving`, 0 or 255, all else the
    other one."""
    folder.mkdir()
    for name, mask in masks.items():
        Image.fromarray(np.where(mask, moving, 255 - moving).astype(np.uint8)).save(folder / f"{name}.png")


def moving_sheet(images: Path, masks: Mapping[str, np.ndarray]) -> Image.Image:
    """Some of the pictures, side by side in two rows, red where they move."""
    names = sorted(masks)
    names = [names[n] for n in np.linspace(0, len(names) - 1, min(SHEET, len(names))).round().astype(int)]
    tiles = [_shown(images / name, masks[name]) for name in names]
    across, (width, height) = -(-len(tiles) // 2), tiles[0].size
    sheet = Image.new("RGB", (across * width, height * (1 if len(tiles) == 1 else 2)))
    for n, tile in enumerate(tiles):
        sheet.paste(tile, (n % across * width, n // across * height))
    return sheet


def _shown(path: Path, mask: np.ndarray) -> Image.Image:
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB"), np.float32)
    picture[mask] = 0.4 * picture[mask] + 0.6 * np.array([255.0, 0, 0])
    height, width = mask.shape
    return Image.fromarray(picture.astype(np.uint8)).resize((SHEET_WIDTH, round(SHEET_WIDTH * height / width)))


def _counted(pixel: np.ndarray, side: int, cells: Sequence[int]) -> np.ndarray:
    """[rows, columns]: how many of the pixels [N, 2] lie in each cell and the eight around it."""
    count = np.zeros(cells)
    column, row = (np.clip(pixel[:, k] // side, 0, cells[1 - k] - 1).astype(int) for k in (0, 1))
    np.add.at(count, (row, column), 1)
    return _around(count).sum(axis=0)


def _widened(mask: np.ndarray) -> np.ndarray:
    """With the cells around those that are set: the edge of what moves has features beyond it."""
    return _around(mask).any(axis=0)


def _around(cells: np.ndarray) -> np.ndarray:
    """[9, rows, columns]: each cell and the eight around it, zero beyond the edge."""
    rows, columns = cells.shape
    padded = np.pad(cells, 1)
    return np.stack([padded[down : down + rows, right : right + columns] for down in range(3) for right in range(3)])
