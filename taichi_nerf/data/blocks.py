"""A scene cut into blocks: which views train which.

    block      a ball around `centre`; the views whose cameras stand in it are its own
    centres    k-means of where the training cameras stand, begun with cameras far from each other
    radius     reaches the nearest centre of another block, so that neighbours share about half of what is between them,
               and every camera of its own cluster

Positions are those of the scene's file.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UserError
from .scene import Scene

__all__ = ["Block", "around_block", "blocks_of", "blocks_of_size", "check_block", "within_block"]

MOST = 1000  # blocks
ROUNDS = 50  # of k-means at most


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a scene."""

    centre: tuple[float, float, float]
    radius: float

    def __str__(self) -> str:
        """Where it is, its centre as finely as its radius, however far that is from the origin."""
        decimals = 3 - math.floor(math.log10(self.radius))
        centre = ", ".join(f"{round(value, decimals) + 0.0:.15g}" for value in self.centre)
        return f"within {self.radius:.4g} of {centre}"

    def holds(self, positions: np.ndarray) -> np.ndarray:
        """[N] bool of positions [N, 3]."""
        return np.linalg.norm(positions - np.array(self.centre), axis=1) <= self.radius


def blocks_of(scene: Scene, count: int) -> list[Block]:
    """So many blocks, in the order in which they lie along the scene. Raises UserError where there are fewer places
    from which pictures were taken."""
    positions = _positions(scene, "train")
    places = len(np.unique(positions, axis=0))
    if places == 1:
        raise UserError(f"{scene.name} cannot be cut into blocks: all that it is trained on was seen from one place; "
                        "leave out --blocks and --block-size")
    if places < count:
        raise UserError(f"{scene.name} cannot be cut into {count} blocks: its {len(positions)} training images are "
                        f"from {places} places; give at most {places} --blocks")
    centres, own = _clusters(positions, count)
    radius = np.array([np.linalg.norm(positions[own == k] - centres[k], axis=1).max() for k in range(count)])
    if count > 1:
        apart = np.linalg.norm(centres[:, None] - centres, axis=2) + np.where(np.eye(count), np.inf, 0)
        radius = np.maximum(radius, apart.min(axis=1))
    _, _, axes = np.linalg.svd(positions - positions.mean(axis=0), full_matrices=False)
    along = (centres - centres.mean(axis=0)) @ axes[0]
    return [Block(centre=tuple(map(float, centres[k])), radius=float(radius[k])) for k in np.argsort(along)]


def blocks_of_size(scene: Scene, size: float) -> list[Block]:
    """As few blocks as have no camera further than half of `size` from the centre that it is nearest to. Raises
    UserError where these are more than MOST."""
    positions = _positions(scene, "train")
    most = min(len(np.unique(positions, axis=0)), MOST)

    def fits(count: int) -> bool:
        centres, own = _clusters(positions, count)
        return bool(np.linalg.norm(positions - centres[own], axis=1).max() <= 0.5 * size)

    count = 1 + bisect_left(range(1, most + 1), True, key=fits)
    if count > most:
        raise UserError(f"{scene.name} would be cut into more than {most} blocks of {size:g}; give a larger "
                        "--block-size")
    return blocks_of(scene, count)


def check_block(scene: Scene, block: Block) -> None:
    """Raises UserError where no training image is of the block."""
    if "train" in scene.splits and not block.holds(_positions(scene, "train")).any():
        raise UserError(f"no training image of {scene.name} is {block}: give another place, or a larger radius")


def within_block(scene: Scene, block: Block) -> Scene:
    """The scene with the views of a block alone. Raises UserError where no training image is left."""
    check_block(scene, block)
    splits = {name: split.subset(block.holds(_positions(scene, name))) for name, split in scene.splits.items()}
    if "test" in splits and len(splits["test"]) == 0:
        del splits["test"]
    return replace(scene, splits=splits)


def around_block(scene: Scene, block: Block) -> Scene:
    """The scene with its model around a block, where it has no bounds: as much larger as the block is smaller than
    where all cameras stand."""
    if scene.bounded:
        return scene
    positions = _positions(scene, "train")
    whole = np.linalg.norm(positions - positions.mean(axis=0), axis=1).max()
    larger = max(1.0, float(whole / block.radius))
    return replace(scene, centre=np.array(block.centre) - scene.origin, scale=scene.scale * larger,
                   near=scene.near * larger, far=None if scene.far is None else scene.far * larger)


def _clusters(positions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres [count, 3], and the number of that of each position [N]."""
    first = positions[np.linalg.norm(positions - positions.mean(axis=0), axis=1).argmax()]
    centres = first[None]
    while len(centres) < count:  # the position farthest from all centres so far
        centres = np.vstack([centres, positions[_distances(positions, centres).min(axis=1).argmax()]])
    for _ in range(ROUNDS):
        own = _distances(positions, centres).argmin(axis=1)
        moved = np.array([positions[own == k].mean(axis=0) if (own == k).any() else centres[k] for k in range(count)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres, own


def _distances(positions: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[N, K]"""
    return np.linalg.norm(positions[:, None] - centres, axis=2)


def _positions(scene: Scene, split: str) -> np.ndarray:
    """[N, 3] float64"""
    return scene.splits[split].cameras.position.astype(np.float64) + scene.origin
