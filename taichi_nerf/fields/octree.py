"""An octree as a radiance field: a density and harmonics of colour in each leaf, the same all over it.

n nodes of 8 cells each, S samples, R rays. The density is kept per `unit` of length, a 256th of the box, in which it is
about as large as the harmonics are: all numbers take steps of alike size.
"""

import torch
from torch import Tensor, nn

from .. import runtime
from ..config import PlenOctreeConfig
from ..ops.octree import NOWHERE, Octree, descend, root_of
from ..ops.octree_rendering import Frame
from ..ops.spherical_harmonics import encode_direction
from ..types import UNKNOWN, Shot, of_samples
from .field import Field, Samples

__all__ = ["OctreeField"]

UNITS = 256  # along the longest side of the box
LARGEST = 2**31 - 1  # numbers of a tensor: an index has 32 bits


class OctreeField(Field):
    """Density and colour of positions of model space; nothing outside of the box, unless it is unbounded.

    Parameters: `thickness` [8 n, 1], the density per unit, and `coefficients` [8 n, 3 degree^2], those of red, of
    green, of blue. At first the tree is a root with 8 empty leaves.
    """

    def __init__(self, config: PlenOctreeConfig):
        super().__init__()
        self.degree = config.degree
        self.unit = 2 * max(config.radius) / UNITS
        """Model units."""
        self.frame = Frame.of_box(config.centre, config.radius, config.unbounded)
        self._hold(root_of())

    def make_room(self, nodes: int) -> None:
        """Make the arrays of a tree of so many nodes, which are then filled; a tree that was there is gone.

        Raises ValueError for a number that is none, and UserError where the memory does not suffice.
        """
        numbers = 8 * nodes * 3 * self.degree**2
        if nodes < 1 or numbers > LARGEST:
            raise ValueError(f"its tree has {nodes} nodes")
        runtime.require_memory(2 * 4 * numbers, f"an octree of {nodes} nodes with its gradient",
                               "make one of less depth or with fewer harmonics")
        self._hold(Octree(*(torch.zeros(nodes, width, dtype=torch.int32) for width in (8, 2))))

    def _hold(self, tree: Octree) -> None:
        """Take over a tree whose leaves are empty, on the device of the tree."""
        self.register_buffer("child", tree.child)
        self.register_buffer("parent_depth", tree.parent_depth)
        self.thickness = nn.Parameter(torch.zeros(tree.cells, 1, device=tree.child.device))
        self.coefficients = nn.Parameter(torch.zeros(tree.cells, 3 * self.degree**2, device=tree.child.device))
        for name in ("thickness", "coefficients"):
            self.register_buffer(f"{name}_gradient", torch.zeros_like(getattr(self, name).detach()), persistent=False)

    def set_tree(self, tree: Octree, density: Tensor, coefficients: Tensor) -> None:
        """Be this tree, with density [8 n] per model unit and coefficients [8 n, 3 degree^2]; all is copied."""
        self._hold(Octree(tree.child.clone(), tree.parent_depth.clone()))
        with torch.no_grad():
            self.thickness.copy_(density.view(-1, 1) * self.unit)
            self.coefficients.copy_(coefficients)

    @property
    def tree(self) -> Octree:
        return Octree(self.child, self.parent_depth)

    @property
    def cell_density(self) -> Tensor:
        """[8 n] per model unit."""
        return self.thickness.detach().squeeze(1) / self.unit

    def density(self, samples: Samples, shot: Shot = UNKNOWN,
                ray_index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of positions [S, 3]; what is known of them besides is their leaves [S] int32, NOWHERE outside."""
        cells, _ = descend(self.tree, self.frame.tree_points(samples))
        found = self.thickness.squeeze(1).index_select(0, cells.clamp_min(0)).clamp_min(0) / self.unit
        return torch.where(cells == NOWHERE, 0.0, found), cells

    def sides(self, positions: Tensor) -> Tensor:
        """[S] the longest sides of the leaves at positions [S, 3], across where space is contracted; outside those of
        the box."""
        points = self.frame.tree_points(positions)
        sides = UNITS * self.unit * 0.5 ** descend(self.tree, points)[1].to(positions.dtype)
        if self.frame.contracted:
            sides = 2 * sides / (2 - (4 * points - 2).abs().amax(dim=1)).clamp(1e-3, 1)
        return sides

    def colour(self, hidden: Tensor, directions: Tensor, shot: Shot = UNKNOWN,
               ray_index: Tensor | None = None) -> Tensor:
        basis = of_samples(encode_direction(directions, self.degree), len(hidden), ray_index)  # [S, B]
        coefficients = self.coefficients.index_select(0, hidden.clamp_min(0)).unflatten(1, (3, -1))  # [S, 3, B]
        return (coefficients * basis[:, None]).sum(dim=2).sigmoid()

    def tables(self) -> list[tuple[nn.Parameter, Tensor]]:
        return [(self.thickness, self.thickness_gradient), (self.coefficients, self.coefficients_gradient)]
