"""The occupancy grid on the device, and its updates: as of `samplers.occupancy`, without the host.

    values [C G^3], bits [C G^3 / 32]   of C cascades of G^3 cells; M cells are visited by an update
"""

import math
from collections.abc import Callable, Iterator

import torch

from taichi_nerf_kernels import occupancy_grid, scan
from taichi_nerf_kernels import training_step as kernels

from ..samplers.occupancy import OccupancyGrid, Visit
from .arrays import DeviceArrays, Stage, Wanted

__all__ = ["Occupancy"]


class Occupancy(Stage):
    """`grid`, while the steps are taken here."""

    def __init__(self, arrays: DeviceArrays, grid: OccupancyGrid, most_cells: int):
        """`most_cells`: as many can be looked at in one go."""
        cells, words = len(grid.values), len(grid.bits)
        super().__init__(arrays, {"cells": cells, "words": words, "blocks": words // 64 + 6,
                                  "spans": grid.resolution**3 // occupancy_grid.SPAN + 1,
                                  "scanned": words // scan.CHUNK + 1})
        self.grid, self.most_cells = grid, most_cells
        self.updates = 0
        self.visits = {}  # number of cells -> their cells, positions and densities, and that number

    def wanted(self) -> dict[str, Wanted]:
        words = Wanted(("words",), integer=True)
        return {"values": Wanted(("cells",)), "bits": words, "bit_counts": words, "bit_sums": words,
                "blocks": Wanted(("blocks",), integer=True), "span_sums": Wanted(("spans",)),
                "partial": Wanted(("scanned",), integer=True)}

    def due(self, step: int) -> bool:
        """Whether the step asks for an update."""
        return self.grid.visit(step, self.updates) is not None

    def update(self, step: int, look: Callable, density_row: Callable) -> None:
        """At steps that ask for one. `look(positions, count)` evaluates the field, `density_row(density)` hands its
        densities over."""
        grid = self.grid
        visit = grid.visit(step, self.updates)
        if visit is None:
            return
        occupancy_grid.decay_values(grid.decay, self.values)
        for number, (cells, positions, density, count) in enumerate(self.cells(visit)):
            seed = visit.seed + 1 + (number << 16)
            occupancy_grid.cell_positions_forward(cells, seed & 0x7FFFFFFF, grid.resolution, positions)
            look(positions, count)
            density_row(density)
            occupancy_grid.splat_max(cells, density, grid.step_min, self.values)
        cube = grid.resolution**3
        occupancy_grid.pack_bits(grid.threshold_at(step), cube, self.values, self.span_sums, self.bits)
        for cascade in range(1, grid.cascades):
            occupancy_grid.pool_bits(cascade, grid.resolution, self.bits)
        self.updates += 1

    def cells(self, visit: Visit) -> Iterator[tuple]:
        """Those of an update, in arrays that fit: cells [M], positions [M, 3], densities [M], and M on the device."""
        total = visit.uniform + visit.occupied
        if visit.everywhere:
            chunk = min(total & -total, 2 ** int(math.log2(self.most_cells)))  # a power of two that divides the total
            for first in range(0, total, chunk):
                kernels.consecutive(first, self._visited(chunk)[0])
                yield self._visited(chunk)
            return
        visited = self._visited(total)
        occupancy_grid.count_set_bits(self.bits, self.bit_counts)
        scan.inclusive_scan(self.bit_counts, self.partial, self.bit_sums)
        occupancy_grid.choose_cells_forward(self.bits, self.bit_sums, visit.seed & 0x7FFFFFFF, visit.uniform,
                                            visited[0])
        yield visited

    def push(self) -> None:
        """Take over the grid."""
        self.arrays.put(self.grid.values, self.values)
        self.arrays.put(self.grid.bits, self.bits)
        self.updates = int(self.grid.updates)

    def pull(self) -> None:
        """Bring the grid up to date."""
        self.arrays.get(self.values, self.grid.values)
        self.arrays.get(self.bits, self.grid.bits)
        self.grid.updates.fill_(self.updates)

    def _visited(self, cells: int) -> tuple:
        if cells not in self.visits:
            new = self.arrays.new
            number = self.arrays.like(torch.tensor([cells], dtype=torch.int32))
            self.visits[cells] = new(cells, integer=True), new(cells, 3), new(cells), number
        return self.visits[cells]
