"""PlenOctrees in plain PyTorch, every ray against every leaf: what `taichi_nerf.models.plenoctree` must be.

R rays with origins o and unit directions d, [R, 3], in model space; M positions x [M, 3] there. `state` holds the tree
and what is in it by name: `field.child` [n, 8], `field.thickness` [8 n, 1] per 256th of the box's longest side, and
`field.coefficients` [8 n, 3 B]. The box lies from centre - radius to centre + radius; unbounded it is the core of all
of space.
"""

import torch

from ..octree import descend
from ..octree_rendering import contract, render_contracted, render_octree
from .fields import part

UNITS = 256  # along the box


def plenoctree(state, o, d, *, centre, radius, unbounded=False, near=0.0, early_stop=0.0, skip=0.0):
    """Colour [R, 3] over black, opacity [R] and depth [R] of rays. A picture is cut short by `early_stop` and `skip`;
    in training they are 0."""
    w, (offset, scale) = part(state, "field"), frame(o, centre, radius, unbounded)
    render = render_contracted if unbounded else render_octree
    return render(w["child"], density_of_cells(w, radius), w["coefficients"], o, d, offset, scale, near, early_stop,
                  skip)[:3]


def plenoctree_density(state, x, *, centre, radius, unbounded=False):
    """Density [M] at positions: that of the leaf there, 0 where there is none and where the leaf's is below 0."""
    w, (offset, scale) = part(state, "field"), frame(x, centre, radius, unbounded)
    points = offset + scale * x
    if unbounded:
        points = 0.5 + contract(4 * points - 2) / 4
    cells, _ = descend(points, w["child"])
    found = density_of_cells(w, radius).clamp_min(0)[cells.long().clamp_min(0)]
    return torch.where(cells < 0, 0.0, found)


def density_of_cells(w, radius):
    """[8 n] per model unit."""
    return w["thickness"][:, 0] * UNITS / (2 * max(radius))


def frame(like, centre, radius, unbounded):
    """(offset, scale) [3] of the tree's coordinates, in which the core of all of space lies from 1/4 to 3/4."""
    scale = (0.25 if unbounded else 0.5) / like.new_tensor(radius)
    return 0.5 - scale * like.new_tensor(centre), scale
