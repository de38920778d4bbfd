"""Occupancy grid as a sampler: it learns where the density is, and places samples only there.

A cell's value is the optical thickness density * step_min of one marching step inside it, a decaying maximum
over time.
Sizes: C cascades of G^3 cells, M cells visited by an update, R rays, N cameras.
(Müller et al., Instant Neural Graphics Primitives, SIGGRAPH 2022, appendix E.)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from ..ops.occupancy_grid import (
    cell_positions,
    check_grid_size,
    choose_cells,
    decay_occupancy,
    mark_invisible_cells,
    pack_occupancy,
    splat_occupancy,
)
from ..ops.ray_marching import march_rays
from ..types import PackedSamples, Rays

__all__ = ["OccupancyGrid", "Visit"]


class Visit(NamedTuple):
    """The cells that one update looks at."""

    everywhere: bool
    """Every cell, in order."""
    uniform: int
    """Cells drawn from all."""
    occupied: int
    """Cells drawn from the occupied ones."""
    seed: int


class OccupancyGrid(torch.nn.Module):
    """C nested cubes of G^3 cells, each known to be empty or not.

    At first every cell counts as occupied. `update`, called at every step, visits all cells the first time;
    then, every `update_every` steps, `warmup_cells` of the whole grid until `warmup_steps` and
    `cells_per_update` afterwards, a part `occupied_fraction` of which are drawn from the occupied cells. The
    draws are stratified, so that an update with half of the cells comes to every pair of neighbours. They
    depend on `seed` and the number of updates alone.

    Args:
        resolution: G, a power of two from 16 to 512. cascades: C, from 1 to 8.
        step_min: length of the shortest marching step.
        decay: factor on every value at each update.
        threshold: a cell is occupied above min(threshold, mean value of cascade 0).
        update_every: steps between updates. first_update: step before which there are none.
        warmup_steps, warmup_cells: length of the warm-up and cells per update in it (None: all).
        warmup_threshold: part of `threshold` in the first update, rising exponentially to 1 at the end of the warm-up.
        cells_per_update: cells per update after it (None: half of all).
        occupied_fraction: part of `cells_per_update` drawn from the occupied cells.
        chunk: most positions given to the density function at once.

    Buffers, saved with the state: values [C * G^3] float, bits [C * G^3 / 32] int32, updates [] int64.
    """

    def __init__(
        self,
        resolution: int = 128,
        cascades: int = 1,
        *,
        step_min: float,
        decay: float = 0.95,
        threshold: float = 0.01,
        update_every: int = 16,
        first_update: int = 0,
        warmup_steps: int = 256,
        warmup_cells: int | None = None,
        warmup_threshold: float = 1.0,
        cells_per_update: int | None = None,
        occupied_fraction: float = 0.5,
        chunk: int = 1 << 17,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        check_grid_size(resolution, cascades)
        if not step_min > 0 or not 0 < decay <= 1 or not 0 < warmup_threshold <= 1 or not 0 <= occupied_fraction <= 1:
            raise ValueError(
                "step_min must be positive, decay and warmup_threshold in (0, 1] and occupied_fraction in [0, 1], got "
                f"{step_min}, {decay}, {warmup_threshold}, {occupied_fraction}"
            )
        if update_every < 1 or chunk < 1:
            raise ValueError(f"update_every and chunk must be positive, got {update_every} and {chunk}")
        cells = cascades * resolution**3
        self.resolution, self.cascades = resolution, cascades
        self.step_min, self.decay, self.threshold = step_min, decay, threshold
        self.update_every, self.first_update, self.warmup_steps = update_every, first_update, warmup_steps
        self.warmup_cells, self.warmup_threshold = min(warmup_cells or cells, cells), warmup_threshold
        self.cells_per_update = min(cells_per_update or cells // 2, cells)
        self.occupied_fraction, self.chunk, self.seed = occupied_fraction, chunk, seed
        self.register_buffer("values", torch.zeros(cells, dtype=dtype, device=device))
        self.register_buffer("bits", torch.full((cells // 32,), -1, dtype=torch.int32, device=device))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("within", None, persistent=False)  # [C * G^3] bool of a grid that is confined
        self._between: tuple[tuple, torch.Tensor] | None = None  # two corners, and the cells between them

    @torch.no_grad()
    def update(self, density: Callable[[torch.Tensor], torch.Tensor], step: int) -> bool:
        """Refresh the grid if step is a multiple of `update_every`, from `first_update` on; return whether it was.

        density: positions [M, 3] -> density [M] or [M, 1], per unit length of model space.
        """
        visit = self.visit(step, int(self.updates))
        if visit is None:
            return False
        cells = self._cells_to_visit(visit)
        decay_occupancy(self.values, self.decay)
        for number, part in enumerate(cells.split(self.chunk)):
            seed = visit.seed + 1 + (number << 16)
            positions = cell_positions(part, resolution=self.resolution, seed=seed, dtype=self.values.dtype)
            fresh = density(positions).reshape(-1).to(self.values.dtype)
            splat_occupancy(self.values, part, fresh, self.step_min)
        self.updates += 1
        self._pack(self.threshold_at(step))
        return True

    def visit(self, step: int, updates: int) -> Visit | None:
        """Which cells the update at `step`, after `updates` others, looks at; None if there is none at this step."""
        if step < self.first_update or step % self.update_every != 0:
            return None
        seed = self.seed * 1_000_003 + 2 * updates
        cells = self.values.shape[0]
        in_warmup = step < self.warmup_steps
        if updates == 0 or (in_warmup and self.warmup_cells == cells):
            return Visit(everywhere=True, uniform=cells, occupied=0, seed=seed)
        if in_warmup:
            return Visit(everywhere=False, uniform=self.warmup_cells, occupied=0, seed=seed)
        occupied = round(self.cells_per_update * self.occupied_fraction)
        return Visit(everywhere=False, uniform=self.cells_per_update - occupied, occupied=occupied, seed=seed)

    def threshold_at(self, step: int) -> float:
        """That of the update at `step`."""
        warmup = max(self.warmup_steps - self.first_update, 1)
        return self.threshold * self.warmup_threshold ** max(0.0, 1 - (step - self.first_update) / warmup)

    def _cells_to_visit(self, visit: Visit) -> torch.Tensor:
        """Those of the visit, but for cells that a confined grid has no use for."""
        if visit.everywhere:
            cells = torch.arange(visit.uniform, dtype=torch.int32, device=self.values.device)
        else:
            cells = choose_cells(
                self.bits, uniform_count=visit.uniform, occupied_count=visit.occupied, seed=visit.seed
            )
        return cells if self.within is None else cells[self.within[cells.long()]]

    @torch.no_grad()
    def mark_invisible(
        self,
        camera_to_world: torch.Tensor,
        focal: torch.Tensor,
        principal: torch.Tensor,
        size: torch.Tensor,
        *,
        near: float = 0.0,
        margin: float = 0.1,
    ) -> None:
        """Empty for good every cell that no camera sees. Call it before the first update.

        camera_to_world [N, 3, 4], OpenGL axes; focal, principal, size [N, 2] in pixels; the view begins at
        `near` and is widened by `margin` of the image on every side.
        """
        cameras = [x.to(self.values) for x in (camera_to_world, focal, principal, size)]
        mark_invisible_cells(self.values, *cameras, resolution=self.resolution, near=near, margin=margin)
        self._pack(-0.5 if self.updates == 0 else self.threshold)

    @torch.no_grad()
    def reopen(self, updates: int) -> None:
        """Let every cell that is not empty for good count as occupied for so many updates, whatever is seen of it."""
        kept = self.threshold / self.decay ** (updates + 0.5)
        self.values.copy_(torch.where(self.values < 0, self.values, self.values.clamp_min(kept)))
        self._pack(self.threshold)

    @torch.no_grad()
    def confine(self, lower: Sequence[float], upper: Sequence[float]) -> None:
        """Empty for good every cell that is more than a cell away from the box between two corners: the steps that
        reach into it have their middles no farther. Call it before the first update."""
        half, within = 1.5 / self.resolution, []
        middles = self._middles()
        for cascade in range(self.cascades):
            side = 2**cascade
            within.append(((side * (middles + half) >= lower) & (side * (middles - half) <= upper)).all(axis=1))
        within = torch.from_numpy(np.concatenate(within)).to(self.values.device)
        if not within.all():  # else it is all that there is
            self.within = within
            self.values[~within] = -1
            self._pack(-0.5 if self.updates == 0 else self.threshold)

    def march(
        self,
        rays: Rays,
        *,
        cone_angle: float = 0.0,
        step_max: float | None = None,
        near: float = 0.0,
        far: float | None = None,
        max_samples: int = 1024,
        seed: int | None = None,
        sample_limit: int | None = None,
    ) -> PackedSamples:
        """The samples of `rays` in occupied cells; see `taichi_nerf.ops.ray_marching.march_rays`."""
        return march_rays(
            rays.origins,
            rays.directions,
            self.bits,
            resolution=self.resolution,
            cascades=self.cascades,
            step_min=self.step_min,
            step_max=step_max,
            cone_angle=cone_angle,
            near=near,
            far=far,
            max_samples=max_samples,
            seed=seed,
            sample_limit=sample_limit,
        )

    @torch.no_grad()
    def occupied(self, positions: torch.Tensor) -> torch.Tensor:
        """[M] bool: which of `positions` [M, 3] lie in an occupied cell of the smallest cube around them."""
        size = positions.abs().amax(dim=1).clamp_min(0.25)
        cascade = torch.ceil(torch.log2(2 * size)).clamp_min(0)  # [M]
        cell = ((positions * 0.5 ** cascade[:, None] + 0.5) * self.resolution).long()
        cell = cell.clamp(0, self.resolution - 1)  # [M, 3]
        morton = torch.zeros_like(cascade, dtype=torch.int64)
        for bit in range(self.resolution.bit_length() - 1):
            for axis in range(3):
                morton |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
        inside = cascade < self.cascades
        number = torch.where(inside, cascade.long() * self.resolution**3 + morton, 0)
        return inside & (((self.bits[number >> 5] >> (number & 31)) & 1) == 1)

    @contextmanager
    @torch.no_grad()
    def cropped(self, lower: Sequence[float], upper: Sequence[float]) -> Iterator[None]:
        """Within the context every cell whose middle is not between the corners `lower` and `upper` counts as empty."""
        kept = self.bits.clone()
        self.bits &= self._bits_between(tuple(lower), tuple(upper)).to(self.bits.device)
        try:
            yield
        finally:
            self.bits.copy_(kept)

    def _bits_between(self, lower: tuple[float, ...], upper: tuple[float, ...]) -> torch.Tensor:
        """As `bits`, of the cells between two corners; the last answer is kept."""
        if self._between is None or self._between[0] != (lower, upper):
            middles = self._middles()  # [G^3, 3] of cascade 0
            inside = [((middles * 2**k >= lower) & (middles * 2**k <= upper)).all(axis=1)
                      for k in range(self.cascades)]
            words = np.packbits(np.concatenate(inside), bitorder="little").view(np.int32)
            self._between = (lower, upper), torch.from_numpy(words)
        return self._between[1]

    def _middles(self) -> np.ndarray:
        """[G^3, 3] float32 in the cube of side 1, of cells in Morton order."""
        cells = np.arange(self.resolution**3)
        axes = [sum(((cells >> (3 * bit + axis)) & 1) << bit for bit in range(self.resolution.bit_length() - 1))
                for axis in range(3)]
        return ((np.stack(axes, axis=1) + 0.5) / self.resolution - 0.5).astype(np.float32)

    @property
    def occupied_share(self) -> float:
        """Part of the cells that are occupied. It counts on the host: for a log line, not every step."""
        words = self.bits.cpu().numpy().view("uint8")
        return float(_SET_BITS[words].sum()) / (8 * words.size)

    def _pack(self, threshold: float) -> None:
        if self.within is None:
            pack_occupancy(
                self.values, self.bits, resolution=self.resolution, cascades=self.cascades, threshold=threshold
            )
            return
        # the mean is over the finest cascade that has any of the cells, which in the whole grid is the first
        of_cascades = zip(self.values.split(self.resolution**3), self.within.split(self.resolution**3))
        mean = next(values[within].clamp_min(0).mean() for values, within in of_cascades if within.any())
        occupied = (self.values > mean.clamp_max(threshold)).view(-1, 32).long()
        words = (occupied << torch.arange(32, device=occupied.device)).sum(dim=1)
        self.bits.copy_(torch.where(words < 2**31, words, words - 2**32))


_SET_BITS = torch.tensor([bin(byte).count("1") for byte in range(256)]).numpy()
