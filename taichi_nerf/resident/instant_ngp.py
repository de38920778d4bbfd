"""One training step of Instant-NGP as a sequence of kernels on arrays that live on the device, without autograd.

    rays      pixels drawn, rays, lattice samples in occupied cells            -> S marched samples
    geometry  hash grid, density network; what lies behind surfaces is cut     -> K visible samples
    colour    density network once more, viewing directions and codes, colour network
    loss      compositing, exposure, which pixels count, Huber loss, what is right before the cameras, and the gradient
              of all
    backward  colour network, density network, hash grid
    distances the same for rays whose end is known, if there are any
    sparsity  the density at points anywhere, if it is to be little
    update    Adam of all that is learned, the moving average, the size of the next batch

The host launches and does not wait, but for once in some hundreds of steps, to take over the totals: how many rays and
samples a step has only the device knows, so that every array has room for more than are aimed at, and rays that find no
room are left out.
"""

import math

import torch

from taichi_nerf_kernels import adam, scan
from taichi_nerf_kernels import training_step as kernels

from ..config import TrainingConfig
from ..models.model import Model
from ..types import Standing
from .arrays import DeviceArrays, room_for
from .networks import make_network
from .occupancy import Occupancy
from .parameters import Learned, Moved, Table
from .stages import (
    Colours,
    Comparison,
    Density,
    Distances,
    DrawnRays,
    KnownRays,
    March,
    NearCamera,
    Pack,
    Sparsity,
    Trimmed,
)

__all__ = ["InstantNGPStep"]

ROOM_MARCHED, ROOM_SAMPLES = 1.25, 1.5  # of the numbers aimed at
ROOM_SAMPLES_CUDA = 1.125  # there the networks compute over all that there is room for, and batches are large and even
STEPS_COUNTED = 256  # after which the host takes over the totals, whose 32 bits hold those of some hundreds of steps
ROOM_DISTANCES = 1.5  # of the share that rays with a known distance are of the step's


class InstantNGPStep:
    """Takes steps on the device: arrays made, the schedule of a step, and the exchange of state with the trainer.

    `push` hands the trainer's tensors to the device, `pull` brings them back; in between the device's are the truth.
    """

    @staticmethod
    def why_not(config: TrainingConfig) -> str | None:
        """What it cannot do of what `config` asks for, in a sentence; None: nothing."""
        if config.refine.active:
            return "--gradients explicit trains on cameras as they are: with --refine use autograd or auto"
        if config.optimiser.clip_norm is not None:
            return "--gradients explicit clips no gradients: with --optimiser.clip-norm use autograd or auto"
        return None

    def __init__(self, model: Model, *, batches, corrections, optimisers, average, tally, distances=None,
                 sparsity=None, near_camera=None, trimming=None):
        """The parts of the trainer; `distances` is its term of known distances, `sparsity` that of empty space,
        `near_camera` that of what is right before the cameras, `trimming` what leaves pixels out, None without one."""
        self.model, self.batches, self.optimisers, self.tally = model, batches, optimisers, tally
        self.averages = {id(p): value for p, value in zip(model.parameters(), average.values)}
        self.arrays = DeviceArrays()
        rooms = self._rooms()
        self.rays_room, self.marched_room, self.samples_room = (rooms[name] for name in ("rays", "marched", "samples"))
        self._make_parameters(corrections, 0 if sparsity is None else sparsity.config.points)
        self._make_stages(rooms, distances, sparsity, trimming)
        self.near_camera = None if near_camera is None else NearCamera(near_camera)
        self.pace, self.totals = self.arrays.new(2), self.arrays.new(4, integer=True)
        self.push()

    def take(self, standing: Standing) -> None:
        self.differentiate(self.optimisers.team.own(standing))
        self._exchange()
        self._update(standing)
        if self.model.sees_cones and self.occupancy.due(standing.step):
            self.density.suppose(float(self.model.usual_width) + self.model.widened(standing))
        self.occupancy.update(standing.step, self.density.at,
                              lambda density: kernels.density_row(self.density.at_marched.geometry, density))
        batches, config = self.batches, self.batches.config
        kernels.next_batch(self.drawn.count, self.march.count, self.density.count, self.pace, self.totals,
                           batches.smoothing, config.marched, config.samples, self.rays_room,
                           batches.together)
        if (standing.step + 1) % STEPS_COUNTED == 0:
            self.add_totals()

    def differentiate(self, standing: Standing) -> None:
        """Add the gradients of the loss of one batch to those of all that is learned."""
        seeds, per_pixel = standing.seeds, self.batches.rays_per_pixel(standing)
        drawn, march, density, colours, comparison = (
            self.drawn, self.march, self.density, self.colours, self.comparison)
        # forward: rays, samples, what is visible of them, its colour
        drawn.forward(seeds.rays, per_pixel)
        march.forward(drawn, seeds.jitter)
        density.cut(drawn, march, per_pixel, self.model.widened(standing))
        colours.fit(density.count)
        density.forward(colours.at_visible.inputs)
        colours.forward(drawn, density)
        # the loss, and back again
        comparison.differentiate(drawn, density, colours, standing, per_pixel)
        if self.near_camera is not None:
            self.near_camera.differentiate(drawn, march, density, colours, comparison)
        colours.backward(drawn, density)
        comparison.add_density_gradient(colours, density)
        density.backward(colours.at_visible.inputs_gradient)
        if self.distances is not None and (weight := self.term.weight(standing)) > 0:
            own = self.term.seeds(seeds)
            self.distances.differentiate(own.rays, own.jitter, per_pixel, self.model.widened(standing), weight,
                                         comparison.errors)
        if self.sparsity is not None:
            self.sparsity.differentiate(seeds, density.count, comparison.errors)

    def move_average(self):
        """Of all that has one."""
        return self._move_average

    def add_totals(self) -> None:
        totals, errors = (self.arrays.numbers(array) for array in (self.totals, self.comparison.errors))
        self.tally.add(
            rays=int(totals[kernels.RAYS]), marched=int(totals[kernels.MARCHED]), samples=int(totals[kernels.SAMPLES]),
            skipped=int(totals[kernels.SKIPPED]), loss=float(errors[kernels.LOSS]),
            squared_error=float(errors[kernels.SQUARED_ERROR]), left_out=float(errors[kernels.LEFT_OUT]))
        self.optimisers.tables.count_overflowed(int(self.arrays.numbers(self.table.overflowed)[0]))
        for array in (self.totals, self.comparison.errors, self.table.overflowed):
            self.arrays.put_or_zero(None, array)

    def push(self) -> None:
        for moved, group in self.moved:
            moved.push(self.averages, self.optimisers.of(group)[0])
        for array in (self.totals, self.comparison.errors):
            self.arrays.put_or_zero(None, array)
        self.occupancy.push()
        if self.trimmed is not None:
            self.trimmed.push()
        batches, put = self.batches, self.arrays.put
        put(torch.tensor([batches.rays_per_step()], dtype=torch.int32), self.drawn.count)
        put(torch.tensor([batches.marched_per_ray, batches.samples_per_ray]), self.pace)
        if self.sparsity is not None and self.model.sees_cones:
            self.sparsity.suppose(float(self.model.usual_width))

    def pull(self) -> None:
        stepped = max(self.arrays.numbers(learned.step_count)[0] for learned in self.learned) > 0
        for moved, group in self.moved:
            moved.pull(self.averages, self.optimisers.of(group)[0], stepped)
        self.occupancy.pull()
        if self.trimmed is not None:
            self.trimmed.pull()
        pace = self.arrays.numbers(self.pace)
        self.batches.marched_per_ray, self.batches.samples_per_ray = float(pace[0]), float(pace[1])

    def _rooms(self) -> dict[str, int]:
        """How many rays and samples there is room for."""
        config, grid = self.batches.config, self.model.grid
        rays = config.max_rays - config.max_rays % self.batches.together
        drawn = max(grid.warmup_cells if grid.warmup_cells < len(grid.values) else 0, grid.cells_per_update)
        on_cuda = self.arrays.device.type == "cuda"
        rooms = {"rays": rays, "marched": room_for(max(ROOM_MARCHED * config.marched, drawn)),
                 "samples": room_for((ROOM_SAMPLES_CUDA if on_cuda else ROOM_SAMPLES) * config.samples)}
        wide = {f"wide_{name}": room if self.model.sees_cones else 1 for name, room in rooms.items()}
        return {**rooms, **wide, "shown": rays if self.model.rays_per_pixel > 1 else 1,
                "scanned": rays // scan.CHUNK + 1}

    def _make_parameters(self, corrections, points: int) -> None:
        """All that is learned, with the name of its group; `points` that are of no ray go through the density, too."""
        field, groups = self.model.field, self.optimisers.groups
        self.table = Table(self.arrays, groups["field.table"])
        self.density_network = make_network(self.arrays, field.density_network,
                                            max(self.samples_room, room_for(points)))
        self.colour_network = make_network(self.arrays, field.colour_network, self.samples_room)
        self.codes = self.stops = None
        self.moved: list[tuple[Moved, str]] = [
            (self.table, "field.table"), (self.density_network, "field"), (self.colour_network, "field")]
        if "appearance" in self.model.codes:
            self.codes = Learned(self.arrays, groups["codes.appearance"].parameters)
            self.moved.append((self.codes, "codes.appearance"))
        if corrections.exposure is not None:
            self.stops = Learned(self.arrays, groups["corrections.exposure"].parameters)
            self.moved.append((self.stops, "corrections.exposure"))
        digits = 53 if self.arrays.dtype == torch.float64 else 24
        self.bias_correction = {
            group: self.arrays.like(torch.from_numpy(adam.bias_correction_table(*settings["betas"], digits)))
            for group in {group for _, group in self.moved} for settings in [self.optimisers.of(group)[1]]}

    def _make_stages(self, rooms: dict[str, int], distances, sparsity, trimming) -> None:
        model, arrays, batches = self.model, self.arrays, self.batches
        field, early_stop, photos = model.field, model.config.sampling.early_stop, batches.photos
        networks = (self.density_network, self.colour_network)
        self.occupancy = Occupancy(arrays, model.grid, self.marched_room)
        pack = Pack(arrays, rooms)
        self.drawn = DrawnRays(arrays, rooms, photos, batches.patch)
        self.march = March(arrays, rooms, model, self.occupancy, pack)
        self.density = Density(arrays, rooms, field, self.table, self.density_network, pack, early_stop, networks,
                               model.sees_cones)
        self.colours = Colours(arrays, rooms, field, self.colour_network, networks, self.codes,
                               photos.shots.ids.get("appearance"))
        self.trimmed = None if trimming is None else Trimmed(arrays, rooms, trimming)
        self.comparison = Comparison(arrays, rooms, batches, model.config.huber, self.stops, self.trimmed)
        self.term, self.distances = distances, None
        if distances is not None:
            share = distances.config.rays
            few = {name: min(room, room_for(ROOM_DISTANCES * share * room)) for name, room in rooms.items()}
            few["rays"] = math.ceil(share * rooms["rays"]) + 1
            known = KnownRays(arrays, few, self.drawn, distances.pixel_index, distances.distance, distances.confidence,
                              share)
            march = March(arrays, few, model, self.occupancy, pack)
            density = Density(arrays, few, field, self.table, self.density_network, pack, early_stop, networks,
                              model.sees_cones)
            self.distances = Distances(arrays, few, known, march, density, networks)
        self.sparsity = None
        if sparsity is not None:
            own = dict.fromkeys(rooms, 1) | {"samples": room_for(sparsity.config.points)}
            own["wide_samples"] = own["samples"] if model.sees_cones else 1
            density = Density(arrays, own, field, self.table, self.density_network, pack, early_stop, networks,
                              model.sees_cones)
            self.sparsity = Sparsity(arrays, own, density, networks, sparsity)

    @property
    def learned(self) -> list[Learned]:
        """All but the table."""
        return [moved for moved, _ in self.moved if isinstance(moved, Learned)]

    def _exchange(self) -> None:
        """Let gradients and numbers of samples be those of all ranks. There is but one where arrays are no tensors."""
        optimisers = self.optimisers
        if self.arrays.native:
            return
        trimmed = [] if self.trimmed is None else self.trimmed.remembered
        optimisers.average_elsewhere([*(learned.gradient for learned in self.learned), *trimmed],
                                     [self.table.gradient.view(-1, self.table.features)])
        optimisers.team.add(self.drawn.count, self.march.count, self.density.count)

    def _update(self, standing: Standing) -> None:
        for moved, name in self.moved:
            samples = () if moved is self.table else (self.density.count,)
            moved.step(self.optimisers.settings_of(name, standing), self.bias_correction[name], *samples)

    def _move_average(self, share: float) -> None:
        for moved, _ in self.moved:
            if moved is not self.stops:
                moved.move_average(share)
