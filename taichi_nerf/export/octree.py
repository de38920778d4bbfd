"""An octree as a file that svox and volrend read."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.scene import Scene
from ..data.svox import write_svox
from ..models.plenoctree import PlenOctree

__all__ = ["write_octree"]


def write_octree(path: Path, model: PlenOctree, scene: Scene) -> None:
    """Write the octree of `model`, in half precision, where it lies in the world of the scene's file.

    The cells of a file have the axes of its world. Where model space is turned against that, so is the file's world.
    Raises UserError where it cannot be written, and for one that holds all of space.
    """
    tree = model.as_svox()
    scale = np.asarray(tree.scale) * scene.scale  # of the world
    offset = tree.offset - scale * (scene.rotation @ (scene.centre + scene.origin))
    write_svox(path, replace(tree, density=tree.density * scene.scale, offset=tuple(offset), scale=tuple(scale)))
