"""An octree as a file that svox and volrend read."""

from pathlib import Path

import numpy as np

from ..data.scene import Scene
from ..data.svox import SvoxTree, write_svox
from ..models.plenoctree import PlenOctree

__all__ = ["write_octree"]


def write_octree(path: Path, model: PlenOctree, scene: Scene) -> None:
    """Write the octree of `model`, in half precision, where it lies in the world of the scene's file.

    The cells of a file have the axes of its world. Where model space is turned against that, so is the file's world.
    Raises UserError where it cannot be written.
    """
    field = model.field
    offset, scale = (np.asarray(values, np.float64) for values in (field.frame.offset, field.frame.scale))
    middle = scene.rotation @ (scene.centre + scene.origin)
    write_svox(path, SvoxTree(
        child=field.child.cpu().numpy(),
        parent_depth=field.parent_depth.cpu().numpy(),
        density=field.cell_density.cpu().numpy() * scene.scale,
        coefficients=field.coefficients.detach().cpu().numpy(),
        offset=tuple(offset - scale * scene.scale * middle),
        scale=tuple(scale * scene.scale),
    ))
