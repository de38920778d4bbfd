"""The stages of a step of Instant-NGP on the device, each with the arrays it works in, its forward pass, and what it
has to do backward.

    R rays, S marched samples, K visible ones: what arrays have room for; how many are in use only the device knows, in
    the `count` of a stage, an array of one number
    matrices [.., S] and [.., K] have a column for each sample, and hold bfloat16 where the networks read that
"""

import math

import torch

from taichi_nerf_kernels import camera, hash_grid, ray_marching, scan
from taichi_nerf_kernels import training_step as kernels

from ..fields.field import colour_outputs
from ..fields.hash_field import HashField
from ..models.cones import DISC
from ..models.model import Model
from ..ops.ray_marching import RUNS, UNBOUNDED
from ..types import Seeds, Standing
from .arrays import DeviceArrays, Stage, Wanted
from .networks import Matrices, Network
from .parameters import Table

__all__ = ["Colours", "Comparison", "Density", "Distances", "DrawnRays", "KnownRays", "March", "NearCamera", "Pack",
           "Sparsity", "Trimmed"]


class Pack(Stage):
    """From how many each ray has to where those of a ray begin; rays that find no room are left out."""

    def wanted(self) -> dict[str, Wanted]:
        return {"partial": Wanted(("scanned",), integer=True)}

    def __call__(self, counts, starts, room: int, rays, total) -> None:
        scan.inclusive_scan(counts, self.partial, starts)
        ray_marching.pack_samples(counts, starts, room, rays, total)


class PixelRays(Stage):
    """Rays through pixels of the photos: count[0] of them are in use."""

    def wanted(self) -> dict[str, Wanted]:
        return {"origins": Wanted(("rays", 3)), "directions": Wanted(("rays", 3)), "rgba": Wanted(("rays", 4)),
                "image_index": Wanted(("rays",), integer=True), "pixel_index": Wanted(("rays",), integer=True),
                "radius": Wanted(("wide_rays",)), "count": Wanted((1,), integer=True)}

    def write_radii(self, per_pixel: int) -> None:
        """Of their cones, where the field sees widths."""
        kernels.radii_of_rays(self.image_table, self.camera_table, self.image_index, self.pixel_index,
                              math.isqrt(per_pixel), self.radius, self.count)


class DrawnRays(PixelRays):
    """Rays through pixels drawn from the photos, and the colours of these pixels."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], photos, patch: int):
        """The pixels are drawn as squares of `patch` x `patch`."""
        super().__init__(arrays, rooms)
        self.patch = patch
        self.pixels, self.allowed = photos.images.pixels, photos.images.allowed
        self.image_table = arrays.like(photos.images.image_table)
        self.camera_table = arrays.like(photos.images.camera_table)

    def forward(self, seed: int, per_pixel: int) -> None:
        camera.gather_rays(self.pixels, self.image_table, self.camera_table, seed, self.origins, self.directions,
                           self.rgba, self.image_index, self.pixel_index, self.count, self.allowed,
                           math.isqrt(per_pixel), self.patch)


class KnownRays(PixelRays):
    """Rays through pixels whose distance is known: as many as are a share of the step's pixels."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], drawn: DrawnRays, pixel_index: torch.Tensor,
                 distance: torch.Tensor, confidence: torch.Tensor, share: float):
        super().__init__(arrays, rooms)
        self.drawn, self.share, self.room = drawn, share, rooms["rays"]
        self.image_table, self.camera_table = drawn.image_table, drawn.camera_table
        self.known_pixel = arrays.like(pixel_index)
        self.known_distance, self.known_confidence = (
            arrays.like(values.to(arrays.dtype)) for values in (distance, confidence))

    def wanted(self) -> dict[str, Wanted]:
        return {**super().wanted(), "distance": Wanted(("rays",)), "confidence": Wanted(("rays",))}

    def forward(self, seed: int, per_pixel: int) -> None:
        kernels.known_rays_of_step(self.drawn.count, per_pixel, self.share, self.room, self.count)
        kernels.draw_known_rays(self.known_pixel, self.known_distance, self.known_confidence, self.drawn.pixels,
                                self.drawn.image_table, self.drawn.camera_table, seed, self.origins, self.directions,
                                self.rgba, self.image_index, self.pixel_index, self.distance, self.confidence,
                                self.count)


class March(Stage):
    """The samples of rays in occupied cells."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], model: Model, occupancy, pack: Pack):
        super().__init__(arrays, rooms)
        self.model, self.occupancy, self.pack, self.room = model, occupancy, pack, rooms["marched"]

    def wanted(self) -> dict[str, Wanted]:
        of_rays, of_samples = Wanted(("rays",), integer=True), Wanted(("marched",))
        return {"ray_count": of_rays, "ray_start": of_rays, "runs": Wanted(("rays", 2 * RUNS), integer=True),
                "positions": Wanted(("marched", 3)), "t": of_samples, "dt": of_samples,
                "ray_index": Wanted(("marched",), integer=True), "count": Wanted((1,), integer=True)}

    def forward(self, rays: PixelRays, seed: int) -> None:
        model, grid, occupancy = self.model, self.model.grid, self.occupancy
        lattice = (grid.resolution, grid.cascades, model.cone_angle, math.log1p(model.cone_angle), grid.step_min,
                   UNBOUNDED, model.box.near, UNBOUNDED, seed)
        ray_marching.march_count(rays.origins, rays.directions, occupancy.bits, occupancy.blocks, *lattice,
                                 model.config.sampling.max_samples, self.ray_count, self.runs, rays.count)
        self.pack(self.ray_count, self.ray_start, self.room, rays.count, self.count)
        ray_marching.fill_samples(rays.origins, rays.directions, occupancy.bits, occupancy.blocks, *lattice, self.runs,
                                  self.ray_start, self.ray_count, self.positions, self.t, self.dt, self.ray_index,
                                  rays.count)


class Density(Stage):
    """Hash grid and density network at all marched samples, and once more at those that are visible."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], field: HashField, table: Table, network: Network,
                 pack: Pack, early_stop: float, networks: tuple[Network, ...], wide: bool):
        """`networks`: all that read matrices of the step, which must agree on what these hold. `wide`: samples have
        widths."""
        super().__init__(arrays, rooms)
        self.field, self.table, self.network, self.pack = field, table, network, pack
        self.early_stop, self.room = early_stop, rooms["samples"]
        self.levels = arrays.like(torch.from_numpy(field.layout.levels))
        self.scales = arrays.like(torch.from_numpy(field.layout.scales))
        self.wide = wide
        self.usual_widths = arrays.new(rooms["wide_marched"])  # where no ray says how wide a sample is
        encoded = field.layout.outputs
        self.at_marched = Matrices(arrays, networks, rooms["marched"], features=encoded,
                                   geometry=network.first_rows)
        self.at_visible = Matrices(arrays, networks, rooms["samples"], features=encoded, features_gradient=encoded)

    def wanted(self) -> dict[str, Wanted]:
        of_rays = Wanted(("rays",), integer=True)
        return {"unit": Wanted(("marched", 3)), "kept_count": of_rays, "kept_start": of_rays,
                "visible_unit": Wanted(("samples", 3)), "visible_dt": Wanted(("samples",)),
                "visible_ray": Wanted(("samples",), integer=True), "widths": Wanted(("wide_marched",)),
                "visible_widths": Wanted(("wide_samples",)), "count": Wanted((1,), integer=True)}

    def suppose(self, usual_width: float) -> None:
        """Where no ray says it a sample is so wide, in model units."""
        self.arrays.put(torch.full(tuple(self.usual_widths.shape), usual_width / self.field.side), self.usual_widths)

    def at(self, positions, count, widths=None) -> None:
        """Features and log density, the first row of the geometry, at the first `count` of positions [.., 3]; without
        `widths` [..] they have the usual one, where the field sees any."""
        marched = self.at_marched
        kernels.unit_positions(positions, self.field.side, self.unit, count)
        marched.fit(count)
        widths = self.usual_widths if widths is None else widths
        hash_grid.hash_grid_forward(self.unit, self.table.weights, self.levels, self.scales, marched.features,
                                    self.field.layout.features, count, self._seen(widths))
        self.network.first_output(marched.features, marched.geometry, count)

    def cut(self, rays: PixelRays, march: March, per_pixel: int, widened: float) -> None:
        """What is visible of the marched samples: their places and features. A pixel has `per_pixel` of the rays; the
        widths are `widened`, in model units."""
        marched, visible = self.at_marched, self.at_visible
        if self.wide:
            rays.write_radii(per_pixel)
            kernels.widths_of_samples(march.t, march.ray_index, rays.radius, DISC / math.sqrt(per_pixel),
                                      widened, self.field.side, self.widths, march.count)
        self.at(march.positions, march.count, self.widths)
        kernels.count_visible_rays(marched.geometry, march.dt, march.ray_start, march.ray_count, self.early_stop,
                                   self.kept_count, rays.count)
        self.pack(self.kept_count, self.kept_start, self.room, rays.count, self.count)
        visible.fit(self.count)
        kernels.gather_visible(march.ray_start, self.kept_start, self.kept_count, self.unit, march.dt,
                               marched.features, self.visible_unit, self.visible_dt, self.visible_ray,
                               visible.features, rays.count, self.count)
        if self.wide:
            kernels.gather_widths(march.ray_start, self.kept_start, self.visible_ray, self.widths, self.visible_widths,
                                  self.count)

    def look(self) -> None:
        """Features at the places that stand in `visible_unit`, with the widths that stand beside them."""
        visible = self.at_visible
        visible.fit(self.count)
        hash_grid.hash_grid_forward(self.visible_unit, self.table.weights, self.levels, self.scales, visible.features,
                                    self.field.layout.features, self.count, self._seen(self.visible_widths))

    def forward(self, geometry) -> None:
        """Geometry [G.., K] of the visible samples."""
        self.network.forward(self.at_visible.features, geometry, self.count)

    def backward(self, geometry_gradient) -> None:
        """Add to the gradients of network and table."""
        visible = self.at_visible
        self.network.backward(visible.features, geometry_gradient, visible.features_gradient, self.count)
        hash_grid.hash_grid_backward_table(self.visible_unit, visible.features_gradient, self.levels, self.scales,
                                           self.table.gradient, self.field.layout.features, self.count,
                                           self._seen(self.visible_widths))

    def _seen(self, widths):
        """What the hash grid is told of them."""
        return widths if self.wide else None


class Colours(Stage):
    """The colour network at the visible samples: its inputs are geometry, direction and, where there is one, the code
    of the image's appearance. Where the colour is in harmonics it sees no direction, and gives their coefficients."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], field: HashField, network: Network,
                 networks: tuple[Network, ...], codes, image_code):
        """`codes` are learned; image n has the one of number `image_code[n]`. None: there are none."""
        super().__init__(arrays, rooms)
        self.field, self.network, self.codes = field, network, codes
        self.geometry_rows = field.density_network.weights[-1].shape[0]
        self.harmonic = field.harmonics is not None
        self.known_rows = self.geometry_rows + (0 if self.harmonic else field.degree**2)  # without the code
        inputs, outputs = self.known_rows + field.appearance, colour_outputs(field.harmonics)
        own = {"coefficients": outputs, "coefficients_gradient": outputs} if self.harmonic else {}
        self.at_visible = Matrices(arrays, networks, rooms["samples"], inputs=inputs, inputs_gradient=inputs, raw=3,
                                   raw_gradient=3, **own)
        self.image_code = None if codes is None else arrays.like(image_code)

    def fit(self, count) -> None:
        """From now on count[0] columns are in use."""
        self.at_visible.fit(count)

    def forward(self, rays: DrawnRays, density: Density) -> None:
        """The geometry is there already."""
        visible = self.at_visible
        if not self.harmonic:
            kernels.view_rows(rays.directions, density.visible_ray, self.geometry_rows, visible.inputs, density.count,
                              self.field.degree)
        if self.codes is not None:
            kernels.code_rows(self.codes.weights, self.image_code, rays.image_index, density.visible_ray,
                              self.known_rows, visible.inputs, density.count)
        if self.harmonic:
            self.network.forward(visible.inputs, visible.coefficients, density.count)
            kernels.sum_harmonics(visible.coefficients, rays.directions, density.visible_ray, visible.raw,
                                  density.count, self.field.harmonics + 1)
        else:
            self.network.forward(visible.inputs, visible.raw, density.count)

    def backward(self, rays: DrawnRays, density: Density) -> None:
        visible = self.at_visible
        gradient = visible.raw_gradient
        if self.harmonic:
            gradient = visible.coefficients_gradient
            kernels.harmonics_gradient(visible.raw_gradient, rays.directions, density.visible_ray, gradient,
                                       density.count, self.field.harmonics + 1)
        self.network.backward(visible.inputs, gradient, visible.inputs_gradient, density.count)
        if self.codes is not None:
            kernels.gather_code_gradient(visible.inputs_gradient, self.image_code, rays.image_index,
                                         density.kept_start, density.kept_count, self.known_rows, self.codes.gradient,
                                         rays.count)


class Comparison(Stage):
    """Pixels, as their images show them, against the truth: the loss, and its gradient."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], batches, huber: float, stops, trimming):
        """`stops` are learned, of each image; None: all images are exposed alike. `trimming` says which pixels count;
        None: all do."""
        super().__init__(arrays, rooms)
        self.batches, self.huber, self.stops, self.trimming = batches, huber, stops, trimming
        photos = batches.photos
        self.weighted = photos.area_weight is not None
        one = torch.ones(1)
        self.area_weight = arrays.like(photos.area_weight if self.weighted else one)
        self.total, self.centred = arrays.like(one), arrays.new(1 if stops is None else stops.weights.shape[0])
        of_rays = 1 if stops is None else rooms["rays"]
        self.stops_gradient = arrays.new(of_rays, 3)

    def wanted(self) -> dict[str, Wanted]:
        return {"weights": Wanted(("samples",)), "log_density_gradient": Wanted(("samples",)),
                "shown": Wanted(("shown", 4)), "errors": Wanted((3,))}

    def differentiate(self, rays: DrawnRays, density: Density, colours: Colours, standing: Standing,
                      per_pixel: int) -> None:
        """Write the gradients of raw colours and log densities, and of the stops."""
        visible, batches, trimming = colours.at_visible, self.batches, self.trimming
        seed = standing.seeds.background if batches.random_background else -1
        made = (visible.inputs, visible.raw, density.visible_dt, density.kept_start, density.kept_count, rays.rgba,
                batches.photos.background, seed)
        written = (self.weights, self.shown, visible.raw_gradient, self.log_density_gradient)
        weighted, exposing, trimmed = self.weighted, self.stops is not None, trimming is not None
        if not (weighted or exposing or trimmed):
            kernels.differentiate_rays(*made, self.huber, *written, self.errors, rays.count, per_pixel)
            return
        if exposing:
            kernels.centred_stops(self.stops.weights, self.centred)
        if trimmed:
            kernels.compare_pixels(*made, rays.image_index, self.centred, self.weights, self.shown, trimming.error,
                                   rays.count, per_pixel, exposing)
            trimming.choose(rays, standing, per_pixel, self.errors)
        kept = self.total if trimming is None else trimming.kept
        if weighted or trimmed:
            kernels.total_weight(self.area_weight, rays.image_index, kept, self.total, rays.count, per_pixel, weighted,
                                 trimmed)
        kernels.differentiate_rays_of_images(
            *made, self.huber, rays.image_index, self.area_weight, kept, self.total, self.centred, *written,
            self.stops_gradient, self.errors, rays.count, per_pixel, weighted, exposing, trimmed)
        if self.stops is not None:
            kernels.gather_stops_gradient(self.stops_gradient, rays.image_index, self.stops.gradient, rays.count)

    def add_density_gradient(self, colours: Colours, density: Density) -> None:
        """To that which the colours have of the geometry."""
        kernels.add_to_row(self.log_density_gradient, colours.at_visible.inputs_gradient, density.count)


class NearCamera:
    """The light that the beginning of each ray takes, of the samples of the step: it needs no array of its own."""

    def __init__(self, term):
        """`term` of the trainer: its model and settings."""
        self.box, self.config = term.model.box, term.config

    def differentiate(self, rays: DrawnRays, march: March, density: Density, colours: Colours,
                      comparison: Comparison) -> None:
        """Add to the gradient of the log densities, and to the loss."""
        kernels.differentiate_near_camera(
            colours.at_visible.inputs, march.t, density.visible_dt, march.ray_start, density.kept_start,
            density.kept_count, rays.origins, rays.directions, 0.5 * self.box.aabb_scale, self.box.near,
            self.config.reach, self.config.weight, comparison.log_density_gradient, comparison.errors, rays.count)


class Trimmed(Stage):
    """Which pixels of a step count, by their errors: `kept`."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], trimming):
        """`trimming` of the trainer: its settings, guard, seeds and what it remembers."""
        super().__init__(arrays, rooms)
        self.trimming = trimming
        self.guard, self.drawn, self.erred = map(arrays.like, (trimming.guard, trimming.drawn, trimming.erred))

    def wanted(self) -> dict[str, Wanted]:
        return {"error": Wanted(("rays",)), "kept": Wanted(("rays",)), "full": Wanted(("rays",)),
                "counts": Wanted((3,)), "threshold": Wanted((1,))}

    def choose(self, rays: DrawnRays, standing: Standing, per_pixel: int, errors) -> None:
        """By `error`, and remember it; the share that is left out is added to `errors`."""
        trimming, config = self.trimming, self.trimming.config
        pixels = self.error, rays.rgba, rays.image_index, rays.pixel_index, rays.image_table
        kernels.keep_pixels(*pixels, self.guard, self.threshold, config.margin, trimming.seed(standing.seeds),
                            trimming.warm(standing), self.drawn, self.erred, config.around, self.kept, rays.count,
                            per_pixel, rays.patch)
        if config.around > 0:
            kernels.remember_errors(*pixels, self.threshold, config.margin, self.drawn, self.erred,
                                    float(trimming.ranks), self.full, rays.count, per_pixel)
        kernels.follow_threshold(self.error, rays.rgba, config.quantile, config.most, trimming.rate, self.counts,
                                 self.threshold, self.kept, errors, rays.count, per_pixel)

    @property
    def remembered(self) -> list:
        """What ranks have in common: each is the mean of theirs."""
        return [getattr(self, name) for name in self.trimming.state()]

    def push(self) -> None:
        for name, value in self.trimming.state().items():
            self.arrays.put(value, getattr(self, name))

    def pull(self) -> None:
        for name, value in self.trimming.state().items():
            self.arrays.get(getattr(self, name), value)


class Distances(Stage):
    """Where rays end against the distances that are known: a pass of its own, from rays to the table's gradient."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], rays: KnownRays, march: March, density: Density,
                 networks: tuple[Network, ...]):
        super().__init__(arrays, rooms)
        self.rays, self.march, self.density = rays, march, density
        rows = density.field.density_network.weights[-1].shape[0]
        self.at_visible = Matrices(arrays, networks, rooms["samples"], geometry=rows, geometry_gradient=rows)

    def wanted(self) -> dict[str, Wanted]:
        return {"weights": Wanted(("samples",))}

    def differentiate(self, ray_seed: int, jitter_seed: int, per_pixel: int, widened: float, weight: float,
                      errors) -> None:
        """Add to the gradients of density network and table, and to the loss in `errors`."""
        rays, march, density, visible = self.rays, self.march, self.density, self.at_visible
        rays.forward(ray_seed, per_pixel)
        march.forward(rays, jitter_seed)
        density.cut(rays, march, 1, widened)
        visible.fit(density.count)
        density.forward(visible.geometry)
        kernels.differentiate_distances(visible.geometry, march.t, march.dt, march.ray_start, density.kept_start,
                                        density.kept_count, rays.distance, rays.confidence, weight, self.weights,
                                        visible.geometry_gradient, errors, rays.count)
        density.backward(visible.geometry_gradient)


class Sparsity(Stage):
    """The light that points anywhere in the box take: a pass of its own, from points to the table's gradient."""

    def __init__(self, arrays: DeviceArrays, rooms: dict[str, int], density: Density, networks: tuple[Network, ...],
                 term):
        """`term` of the trainer: its settings, and seeds."""
        super().__init__(arrays, rooms)
        self.density, self.term = density, term
        rows = density.field.density_network.weights[-1].shape[0]
        self.at_points = Matrices(arrays, networks, rooms["samples"], geometry=rows, geometry_gradient=rows)
        arrays.put(torch.tensor([term.config.points], dtype=torch.int32), density.count)

    def suppose(self, usual_width: float) -> None:
        """No ray says how wide a point is: so wide, in model units, where the field sees widths."""
        widths = self.density.visible_widths
        self.arrays.put(torch.full(tuple(widths.shape), usual_width / self.density.field.side), widths)

    def differentiate(self, seeds: Seeds, samples, errors) -> None:
        """Add to the gradients of density network and table, if the step has visible `samples` [1], and to the loss in
        `errors`."""
        density, points, config = self.density, self.at_points, self.term.config
        kernels.draw_points(self.term.seed(seeds), density.visible_unit, density.count)
        density.look()
        points.fit(density.count)
        density.forward(points.geometry)
        kernels.differentiate_sparsity(points.geometry, config.scale, config.weight, samples, points.geometry_gradient,
                                       errors, density.count)
        density.backward(points.geometry_gradient)
