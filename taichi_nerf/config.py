"""Every setting of a run: frozen dataclasses that the command line shows, checks and saves beside the checkpoint.

Lengths without a unit are in model units: the base cube, in which the object stands, has side 1.
"""

import dataclasses
import math
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Suppress

CELLS_PER_PIXEL, FINEST = 1.25, 2048  # of the finest level of a hash grid; the latter is Instant-NGP's
Spacing = Literal["linear", "disparity", "piecewise"]
RaysPerPixel = Literal[1, 4, 9, 16]


class SettingError(ValueError):
    """A setting out of its range; the message says which, and what it must be."""


def _require(condition: bool, message: str):
    if not condition:
        raise SettingError(message)


@dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    """The multiresolution hash encoding."""

    levels: int = 8
    """Resolution levels."""
    features: int = 4
    """Features per entry."""
    log2_entries: int = 16
    """Largest number of entries of a level, as a power of two."""
    base_resolution: int = 16
    """Vertices along the coarsest level."""
    max_resolution: int | None = None
    """Vertices of the finest level along a side of 1: that of the base cube in instant-ngp, half the box in nerf, the
    radius of the uncontracted ball in mip-nerf-360.
    None: 1.25 for each pixel that the training images have across it, at most 2048."""

    def __post_init__(self):
        _require(self.levels >= 1, f"levels must be at least 1, got {self.levels}")
        _require(self.features in (1, 2, 4, 8), f"features must be 1, 2, 4 or 8, got {self.features}")
        _require(8 <= self.log2_entries <= 24, f"log2-entries must be from 8 to 24, got {self.log2_entries}")
        finest = FINEST if self.max_resolution is None else self.max_resolution
        _require(2 <= self.base_resolution <= finest,
                 f"resolutions must satisfy 2 <= base <= max, got {self.base_resolution} and {finest}")

    def settled(self, pixels: float) -> "HashGridConfig":
        """The same with a finest level, if it has none, for images with so many `pixels` across a side of 1.

        Details much finer than a pixel are not seen; a grid that has them learns each image by heart.
        """
        if self.max_resolution is not None:
            return self
        finest = round(min(CELLS_PER_PIXEL * pixels, FINEST))
        return dataclasses.replace(self, max_resolution=max(finest, self.base_resolution))


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """Instant-NGP's field: hash grid -> density network -> colour network with the viewing direction."""

    hash_grid: HashGridConfig = dataclasses.field(default_factory=HashGridConfig)
    geometry_features: int = 16
    """Outputs of the density network; the first is the logarithm of the density, all feed the colour network."""
    density_width: int = 64
    """Width of the density network's hidden layer."""
    colour_width: int = 64
    """Width of the colour network's hidden layers."""
    colour_layers: int = 1
    """Hidden layers of the colour network."""
    direction_degree: int = 4
    """Degree of the spherical harmonics of the viewing direction, 1 to 5; degree d gives d^2 inputs."""

    def __post_init__(self):
        _require(self.geometry_features >= 1, "geometry-features must be at least 1")
        _require(min(self.density_width, self.colour_width) >= 1, "widths must be at least 1")
        _require(0 <= self.colour_layers <= 8, f"colour-layers must be from 0 to 8, got {self.colour_layers}")
        _require(1 <= self.direction_degree <= 5, f"direction-degree must be from 1 to 5, got {self.direction_degree}")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Where a ray is sampled: the occupancy grid and the steps through it."""

    grid_resolution: int = 64
    """Cells of the occupancy grid along each cascade, a power of two."""
    steps: int = 256
    """Steps along the base cube's diagonal: a step is sqrt(3) / steps."""
    cone_angle: float | None = None
    """Growth of a step with distance; none: 0 in a scene of one cascade, else 1/256."""
    max_samples: int = 1024
    """Samples of one ray at the most."""
    early_stop: float = 1e-4
    """Transmittance behind which a ray ends."""
    update_every: int = 16
    """Training steps between two updates of the occupancy grid."""
    first_update: int = 64
    """Training step of the first update, which looks at all cells; until then the whole grid counts as occupied."""
    warmup_updates: int = 16
    """Updates in the beginning that look at cells of the whole grid alone."""
    cells_per_update: int = 2**14
    """Cells whose density an update looks at."""
    decay: float = 0.95
    """What an update multiplies the density of a cell with before it takes the maximum with the new one."""
    threshold: float = 0.01
    """Optical thickness of a step above which a cell is occupied."""
    mark_invisible: bool = True
    """Leave out for good the cells that no training camera sees."""

    def __post_init__(self):
        _require(self.grid_resolution in (16, 32, 64, 128, 256, 512),
                 f"grid-resolution must be a power of two from 16 to 512, got {self.grid_resolution}")
        _require(self.steps >= 8, f"steps must be at least 8, got {self.steps}")
        _require(self.cone_angle is None or 0 <= self.cone_angle <= 0.05,
                 f"cone-angle must be from 0 to 0.05, got {self.cone_angle}")
        _require(min(self.max_samples, self.update_every, self.cells_per_update) >= 1,
                 "max-samples, update-every and cells-per-update must be at least 1")
        _require(0 <= self.early_stop < 1, f"early-stop must be in [0, 1), got {self.early_stop}")
        _require(0 < self.decay <= 1, f"decay must be in (0, 1], got {self.decay}")
        _require(self.threshold >= 0, f"threshold must not be negative, got {self.threshold}")


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam, its learning rate over the run, and the average of the weights that is kept for rendering."""

    learning_rate: float = 2e-2
    """Of hash tables, at the start."""
    network_learning_rate: float = 1e-2
    """Of the networks, at the start."""
    final_fraction: float = 0.1
    """The learning rate ends at this fraction of its start."""
    decay_start: float = 0.3
    """Fraction of the run after which the learning rate falls, exponentially."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises from a hundredth."""
    beta2: float = 0.99
    """Decay of Adam's mean of squared gradients."""
    epsilon: float = 1e-15
    """Added to the root of Adam's mean of squared gradients."""
    clip_norm: float | None = None
    """Largest norm of the gradient of a network; none: it is not clipped."""
    weight_decay: float = 1e-6
    """L2 regularisation of the networks; hash tables have none."""
    average_decay: float = 0.9
    """Weights are averaged exponentially with this factor; 0 turns it off."""
    average_every: int = 16
    """Steps between two updates of the average."""

    def __post_init__(self):
        _require(self.learning_rate > 0 and self.network_learning_rate > 0, "learning rates must be positive")
        _require(0 < self.final_fraction <= 1, f"final-fraction must be in (0, 1], got {self.final_fraction}")
        _require(0 <= self.decay_start < 1, f"decay-start must be in [0, 1), got {self.decay_start}")
        _require(self.warmup_steps >= 0, f"warmup-steps must not be negative, got {self.warmup_steps}")
        _require(0 <= self.beta2 < 1, f"beta2 must be in [0, 1), got {self.beta2}")
        _require(self.epsilon > 0, f"epsilon must be positive, got {self.epsilon}")
        _require(self.clip_norm is None or self.clip_norm > 0, f"clip-norm must be positive, got {self.clip_norm}")
        _require(0 <= self.average_decay < 1, f"average-decay must be in [0, 1), got {self.average_decay}")
        _require(self.average_every >= 1, f"average-every must be at least 1, got {self.average_every}")
        _require(self.weight_decay >= 0, f"weight-decay must not be negative, got {self.weight_decay}")


@dataclass(frozen=True, kw_only=True)
class PositionalFieldConfig:
    """NeRF's field: a deep network behind sines and cosines of the position, and of the viewing direction."""

    levels: int = 10
    """Frequencies of a coordinate, from 1 in powers of two; 0: the coordinates themselves."""
    direction_levels: int = 4
    """Frequencies of the viewing direction."""
    view_dependent: bool = True
    """Whether the colour depends on the viewing direction."""
    width: int = 256
    """Width of the hidden layers."""
    depth: int = 8
    """Hidden layers."""
    skip: int = 4
    """Hidden layer, counted from 0, after which the encoded position enters once more."""
    bottleneck: int = 256
    """Features that the colour network has of the point."""
    view_width: int = 128
    """Width of the colour network's hidden layer."""

    def __post_init__(self):
        _require(0 <= min(self.levels, self.direction_levels) and max(self.levels, self.direction_levels) <= 16,
                 f"levels and direction-levels must be from 0 to 16, got {self.levels} and {self.direction_levels}")
        _require(min(self.width, self.depth, self.bottleneck, self.view_width) >= 1,
                 "width, depth, bottleneck and view-width must be at least 1")


@dataclass(frozen=True, kw_only=True)
class PositionalProposalConfig:
    """The proposal network of mip-NeRF 360: density alone, behind the encoding of the field."""

    width: int = 256
    """Width of the hidden layers."""
    depth: int = 4
    """Hidden layers."""

    def __post_init__(self):
        _require(min(self.width, self.depth) >= 1, "width and depth must be at least 1")


@dataclass(frozen=True, kw_only=True)
class HashProposalConfig:
    """A small hash grid and network for a proposal: density alone."""

    hash_grid: HashGridConfig = dataclasses.field(
        default_factory=lambda: HashGridConfig(levels=5, features=2, log2_entries=16, max_resolution=64))
    width: int = 16
    """Width of the hidden layer."""

    def __post_init__(self):
        _require(self.width >= 1, f"width must be at least 1, got {self.width}")


@dataclass(frozen=True, kw_only=True)
class RangeConfig:
    """Between which distances a ray is sampled, and how they are spaced; lengths in model units."""

    spacing: Spacing = "linear"
    """Samples are even in the distance, in its inverse (disparity), or in either: near by and far away (piecewise)."""
    near: float | None = None
    """Nearest distance; none: what the scene says."""
    far: float | None = None
    """Farthest distance; none: where the ray leaves the box, or a million where space is contracted."""

    def __post_init__(self):
        _require(self.near is None or self.near >= 0, f"near must not be negative, got {self.near}")
        _require(self.far is None or self.far > (self.near or 0), f"far must be beyond near, got {self.far}")
        _require(self.spacing != "disparity" or self.near is None or self.near > 0,
                 "near must be positive where samples are even in disparity")


@dataclass(frozen=True, kw_only=True)
class InstantNGPConfig:
    """Instant-NGP: a hash field, sampled where an occupancy grid says there is something (Mueller et al. 2022)."""

    kind: Annotated[Literal["instant-ngp"], Suppress] = dataclasses.field(default="instant-ngp", init=False)
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    huber: float = 0.1
    """Error at which the loss turns from quadratic to linear."""
    appearance: int = 0
    """Numbers that tell the colour network of the appearance of each training image; 0: none."""
    rays_per_pixel: RaysPerPixel = 1
    """Rays whose mean a pixel is, in training and in pictures: one through its centre, or a grid of them over its area,
    for finer detail and smooth edges. Pictures take as many times longer."""

    def __post_init__(self):
        _require(self.huber > 0, f"huber must be positive, got {self.huber}")
        _require(self.appearance >= 0, f"appearance must not be negative, got {self.appearance}")


@dataclass(frozen=True, kw_only=True)
class NeRFConfig:
    """NeRF: points along rays, a coarse and a fine network (Mildenhall et al. 2020)."""

    kind: Annotated[Literal["nerf"], Suppress] = dataclasses.field(default="nerf", init=False)
    field: PositionalFieldConfig | FieldConfig = dataclasses.field(default_factory=PositionalFieldConfig)
    range: RangeConfig = dataclasses.field(default_factory=RangeConfig)
    coarse_samples: int = 64
    """Samples of a ray, one in each of as many equal parts."""
    fine_samples: int = 128
    """Further samples where the coarse network finds something; 0: the coarse network alone."""
    density_noise: float | None = None
    """Deviation of noise on the density before its activation, in training; none: 1 with --model.ndc, else 0."""
    ndc: bool = False
    """Normalised device coordinates, for cameras that all face one way."""
    rays_per_pixel: RaysPerPixel = 1
    """Rays whose mean a pixel is, in training and in pictures: one through its centre, or a grid of them over its area,
    for finer detail and smooth edges. Pictures take as many times longer."""

    def __post_init__(self):
        _require(self.coarse_samples >= 3, f"coarse-samples must be at least 3, got {self.coarse_samples}")
        _require(self.fine_samples >= 0, f"fine-samples must not be negative, got {self.fine_samples}")
        _require(self.density_noise is None or self.density_noise >= 0,
                 f"density-noise must not be negative, got {self.density_noise}")
        _require(not self.ndc or self.range == RangeConfig(near=self.range.near),
                 "ndc reaches from range.near to infinity: leave far and spacing as they are")
        _require(not self.ndc or isinstance(self.field, PositionalFieldConfig),
                 "ndc needs --encoding positional: a hash grid covers a box, which these coordinates do not fill")
        _require(not self.density_noise or isinstance(self.field, PositionalFieldConfig),
                 "density-noise needs --encoding positional: a hash field's density is an exponential, which has no "
                 "dead side that noise could reach")


@dataclass(frozen=True, kw_only=True)
class MipNeRFConfig:
    """Mip-NeRF: cones instead of rays, one network for both levels (Barron et al. 2021)."""

    kind: Annotated[Literal["mip-nerf"], Suppress] = dataclasses.field(default="mip-nerf", init=False)
    field: PositionalFieldConfig = dataclasses.field(default_factory=lambda: PositionalFieldConfig(levels=16))
    range: RangeConfig = dataclasses.field(default_factory=RangeConfig)
    samples: int = 128
    """Intervals of each level."""
    padding: float = 0.01
    """Added to the blurred weights of the first level, so that every part of a ray may be sampled."""
    integrated: bool = True
    """Average the encoding over the cone; else it is that of the middle of each interval."""
    colour_padding: float = 0.001
    """By how much a colour may leave [0, 1]."""
    coarse_weight: float = 0.1
    """Of the first level's loss; that of the second has weight 1."""
    area_weighting: bool = True
    """Weigh the error of a pixel with its area, where images differ in scale."""

    def __post_init__(self):
        _require(self.samples >= 2, f"samples must be at least 2, got {self.samples}")
        _require(min(self.padding, self.colour_padding, self.coarse_weight) >= 0,
                 "padding, colour-padding and coarse-weight must not be negative")


@dataclass(frozen=True, kw_only=True)
class MipNeRF360Config:
    """Mip-NeRF 360: a contraction of unbounded space, and proposals of where to sample (Barron et al. 2022)."""

    kind: Annotated[Literal["mip-nerf-360"], Suppress] = dataclasses.field(default="mip-nerf-360", init=False)
    field: PositionalFieldConfig | FieldConfig = dataclasses.field(
        default_factory=lambda: PositionalFieldConfig(levels=12, width=1024))
    proposal: PositionalProposalConfig | HashProposalConfig = dataclasses.field(
        default_factory=PositionalProposalConfig)
    range: RangeConfig = dataclasses.field(default_factory=lambda: RangeConfig(spacing="disparity"))
    radius: float = 0.7
    """Of the ball around the centre that is left as it is, in model units; the median camera stands at 0.6."""
    contraction: bool | None = None
    """Whether all space beyond that ball is drawn together around it; none: of an unbounded scene."""
    proposal_samples: tuple[int, ...] = (64, 64)
    """Intervals of each proposal."""
    samples: int = 32
    """Intervals of the field."""
    shared_proposal: bool = True
    """One proposal network for all levels."""
    integrated: bool = True
    """Average the encoding over the cone; a hash grid sees the middle of each interval in any case."""
    single_jitter: bool = True
    """All samples of a ray are shifted alike in training."""
    anneal_slope: float = 10.0
    """How soon in the training proposals are trusted; 1: linearly."""
    dilation: float = 1.0
    """Factor on the paper's widening of a proposal's histogram; 0: none."""
    initial_density: float = 1.0
    """Factor on the density of a hash field, which begins near it."""
    charbonnier: float = 1e-3
    """Error at which the loss turns from quadratic to linear."""
    proposal_weight: float = 1.0
    """Of the loss that lets proposals bound the weights of the field."""
    distortion_weight: float = 0.01
    """Of the loss that pulls the weights of a ray together."""
    appearance: int = 0
    """Numbers that each training image has of its own, for its exposure and white balance; 0: none."""
    rays_per_pixel: RaysPerPixel = 1
    """Rays whose mean a pixel is, in training and in pictures: one through its centre, or a grid of them over its area,
    for finer detail and smooth edges. With a hash grid alone: the cones of a deep network see the whole pixel."""

    def __post_init__(self):
        _require(isinstance(self.field, FieldConfig) == isinstance(self.proposal, HashProposalConfig),
                 "field and proposal must both have a hash grid, or neither")
        _require(len(self.proposal_samples) >= 1 and min(*self.proposal_samples, self.samples) >= 2,
                 "proposal-samples must be one or more numbers, and each of them and samples at least 2")
        _require(self.radius > 0, f"radius must be positive, got {self.radius}")
        _require(self.anneal_slope >= 1, f"anneal-slope must be at least 1, got {self.anneal_slope}")
        _require(min(self.dilation, self.proposal_weight, self.distortion_weight, self.appearance) >= 0,
                 "dilation, proposal-weight, distortion-weight and appearance must not be negative")
        _require(min(self.charbonnier, self.initial_density) > 0, "charbonnier and initial-density must be positive")
        _require(self.rays_per_pixel == 1 or isinstance(self.field, FieldConfig),
                 "rays-per-pixel needs --encoding hash: without it a cone sees the whole pixel")


ModelConfig = InstantNGPConfig | NeRFConfig | MipNeRFConfig | MipNeRF360Config


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """What one step is trained on."""

    samples: int = 20480
    """Visible samples of a step to aim at: the number of rays follows from how many of them a ray has."""
    marched: int = 2**17
    """Samples of a step before those behind surfaces are cut, to aim at when there are many: it bounds the memory."""
    max_rays: int = 2**14
    """Rays of a step at the most."""
    one_ray: float = 0.75
    """Part of the training, from its start, in which a pixel has one ray, whatever model.rays-per-pixel says: what is
    large is learned sooner from more pixels."""
    random_background: bool = True
    """Composite over a random colour per pixel where images have alpha: no matter can hide in the background."""

    def __post_init__(self):
        _require(min(self.samples, self.marched, self.max_rays) >= 16,
                 "samples, marched and max-rays must be at least 16")
        _require(0 <= self.one_ray <= 1, f"one-ray must be in [0, 1], got {self.one_ray}")


@dataclass(frozen=True, kw_only=True)
class RayBatchConfig:
    """What one step is trained on, where every ray has equally many samples."""

    rays: int = 1024
    """Rays of a step."""
    one_ray: float = 0.75
    """Part of the training, from its start, in which a pixel has one ray, whatever model.rays-per-pixel says: what is
    large is learned sooner from more pixels."""
    random_background: bool = True
    """Composite over a random colour per pixel where images have alpha: no matter can hide in the background."""
    crop_steps: int = 0
    """Steps in the beginning that see the central half of images with alpha alone, so that not all of a small object
    is given up for background."""

    def __post_init__(self):
        _require(self.rays >= 1, f"rays must be at least 1, got {self.rays}")
        _require(0 <= self.one_ray <= 1, f"one-ray must be in [0, 1], got {self.one_ray}")
        _require(self.crop_steps >= 0, f"crop-steps must not be negative, got {self.crop_steps}")


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Corrections of training cameras that are not quite right, learned with the field."""

    poses: bool = False
    """Correct where the cameras stand and how they are turned."""
    lenses: bool = False
    """Correct focal lengths and principal points, of all images of a lens together."""
    learning_rate: float = 1e-3
    """Adam's at the start, in radians and model units; 1e-4 is enough for poses from structure from motion."""
    final_fraction: float = 0.03
    """The learning rate falls exponentially, to this fraction of its start."""
    start_step: int = 100
    """Step of the first correction: before there is a field, nothing tells where a camera is."""
    coarse: float = 0.25
    """Part of the training in which the levels of a hash grid come in one after the other, from coarse to fine."""
    pull: float = 2e-3
    """Weight of the mean length of the corrections in the loss."""

    def __post_init__(self):
        _require(self.learning_rate > 0, f"learning-rate must be positive, got {self.learning_rate}")
        _require(0 < self.final_fraction <= 1, f"final-fraction must be in (0, 1], got {self.final_fraction}")
        _require(self.start_step >= 0, f"start-step must not be negative, got {self.start_step}")
        _require(0 <= self.coarse < 1, f"coarse must be in [0, 1), got {self.coarse}")
        _require(self.pull >= 0, f"pull must not be negative, got {self.pull}")

    @property
    def active(self) -> bool:
        """Whether anything is corrected."""
        return self.poses or self.lenses


@dataclass(frozen=True, kw_only=True)
class ExposureConfig:
    """Exposure and white balance of each training image, learned with the field."""

    learned: bool = False
    """Give each image gains of its own for red, green and blue; pictures are then rendered at the mean exposure."""
    learning_rate: float = 3e-2
    """Adam's, in stops; it falls as that of the field."""

    def __post_init__(self):
        _require(self.learning_rate > 0, f"learning-rate must be positive, got {self.learning_rate}")


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """Supervision by known distances of some pixels: of depth images, or of points of structure from motion."""

    weight: float = 0.0
    """Of the loss of the depth, next to that of the colour; 0: none."""
    rays: float = 0.25
    """Rays with a known distance in a step, as a part of its other rays."""

    def __post_init__(self):
        _require(self.weight >= 0, f"weight must not be negative, got {self.weight}")
        _require(0 < self.rays <= 1, f"rays must be in (0, 1], got {self.rays}")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained."""

    steps: int | None = None
    """Stop after this many steps. With neither steps nor seconds a run takes the default of its scene."""
    seconds: float | None = None
    """Stop after this many seconds of training (loading, compiling and evaluating do not count)."""
    seed: int = 0
    """Of everything random."""
    gradients: Literal["auto", "autograd", "explicit"] = "auto"
    """How a step gets its gradients: by PyTorch's autograd, or explicitly, by kernels on arrays of the device, which
    only Instant-NGP has; auto: explicitly where that is faster. Both are the same."""
    batch: BatchConfig | RayBatchConfig = dataclasses.field(default_factory=BatchConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    refine: RefineConfig = dataclasses.field(default_factory=RefineConfig)
    exposure: ExposureConfig = dataclasses.field(default_factory=ExposureConfig)
    depth: DepthConfig = dataclasses.field(default_factory=DepthConfig)

    def __post_init__(self):
        _require(self.steps is None or self.steps >= 0, f"steps must not be negative, got {self.steps}")
        _require(self.seconds is None or self.seconds > 0, f"seconds must be positive, got {self.seconds}")
        _require(0 <= self.seed < 2**31, f"seed must be from 0 to 2^31 - 1, got {self.seed}")
        _require(not self.more_than_colours or self.gradients != "explicit",
                 "gradients explicit trains on colours alone, of cameras as they are: with refine, exposure or depth "
                 "use autograd or auto")

    @property
    def more_than_colours(self) -> bool:
        """Whether a step has more to it than the field and the colours of the images."""
        return self.refine.active or self.exposure.learned or self.depth.weight > 0


SceneFormat = Literal["blender", "nerfies", "phototourism", "nsvf", "transforms", "colmap", "llff", "multiscale"]
Orientation = Literal["up", "pca", "none"]
BUILTIN, STILL_LIFE = "builtin:", "still-life"  # how the path of a built-in scene begins; the one without a path


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Which scene a run is of, and how it is loaded."""

    path: str | None = None
    """Folder or transforms file, or builtin:NAME; none: the built-in still life."""
    downscale: int = 1
    """Images are smaller by this factor."""
    scales: int = 1
    """Each view is trained and scored at so many sizes: as it is, 1/2, 1/4, ..., weighted by the area of a pixel."""
    test_every: int | None = None
    """Score every K-th test view or, in a format without splits, hold out every K-th image; none: 8, and every
    view of the built-in scene."""
    background: Literal["white", "black"] | None = None
    """Colour behind what is transparent; none: what the scene says."""
    format: SceneFormat | None = None
    """What the scene is read as; none: what its folder looks like."""
    orient: Orientation | None = None
    """How the model is turned against the scene's file; none: as the format wants."""
    axes: Literal["opengl", "opencv"] = "opengl"
    """Of the cameras in transforms files: x right, y up, z back, or right, down, forward."""
    world_to_camera: bool = False
    """The matrices of transforms files are world to camera."""
    skip_missing: bool = False
    """Leave out images that are not there, however many they are."""
    exposure: float = 0.0
    """Stops by which images of more than 8 bits are made brighter."""
    alpha: Literal["auto", "background", "mask"] = "auto"
    """What a transparent pixel is: the background seen, or left out of training and scores; auto: as share and place
    of such pixels say."""
    masks: bool = True
    """Leave out of training and scores what the masks of the scene cover."""
    cut_out: bool = False
    """Take what the masks of an object cover for empty instead."""
    cache: Literal["auto", "memory", "disk"] = "auto"
    """Where the decoded images are kept; auto: on disk if they need more than half of the memory."""

    def __post_init__(self):
        _require(-64 <= self.exposure <= 64, f"exposure must be from -64 to 64 stops, got {self.exposure}")
        _require(self.downscale >= 1, f"downscale must be at least 1, got {self.downscale}")
        _require(self.masks or not self.cut_out, "cut-out needs the masks that no-masks leaves unread: use one of them")
        _require(1 <= self.scales <= 8, f"scales must be from 1 to 8, got {self.scales}")
        _require(self.test_every is None or self.test_every >= 0,
                 f"test-every must not be negative, got {self.test_every}")

    @property
    def builtin(self) -> str | None:
        """Name of the built-in scene that it is; none: it comes from a path."""
        if self.path is None:
            return STILL_LIFE
        return self.path.removeprefix(BUILTIN) if self.path.startswith(BUILTIN) else None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run is: with the scene itself it decides the result."""

    scene: SceneConfig = dataclasses.field(default_factory=SceneConfig)
    model: ModelConfig = dataclasses.field(default_factory=InstantNGPConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self):
        check_fit(self.model, self.training)
        for name, value in flattened(self).items():
            finite = not isinstance(value, float) or math.isfinite(value)
            _require(finite, f"{name} must be finite, got {value}")


def check_fit(model: ModelConfig, training: TrainingConfig) -> None:
    """Raises SettingError where `training` cannot train `model`."""
    packed = isinstance(model, InstantNGPConfig)
    _require(isinstance(training.batch, BatchConfig) == packed,
             f"a batch of {model.kind} is a {'BatchConfig' if packed else 'RayBatchConfig'}, "
             f"got a {type(training.batch).__name__}")
    _require(packed or training.gradients != "explicit",
             f"gradients explicit is for instant-ngp alone: {model.kind} has no step of kernels; use autograd or auto")
    _require(not packed or model.appearance == 0 or training.gradients != "explicit",
             "gradients explicit knows no appearance of images: with model.appearance use autograd or auto")


def flattened(config, prefix: str = "") -> dict[str, object]:
    """The settings of nested dataclasses by dotted name."""
    found = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        found |= flattened(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return found


def from_dict(kind: type, values: object, name: str = "the configuration"):
    """The dataclass `kind` whose fields, and the fields of its fields, are `values` as `dataclasses.asdict` gives them.

    `kind` may be a union of dataclasses. Raises ValueError for a field that is missing, unknown, of another type or out
    of its range.
    """
    _require(isinstance(values, dict), f"{name} must be an object, got {values!r}")
    kind = _class_of(get_args(kind) or (kind,), values)
    hints, fields = get_type_hints(kind), dataclasses.fields(kind)
    for key in sorted({field.name for field in fields} ^ values.keys()):
        raise ValueError(f"{name} {'lacks' if key in hints else 'has the unknown entry'} '{key}'")
    checked = {field.name: _checked(hints[field.name], values[field.name], field.name) for field in fields}
    return kind(**{field.name: checked[field.name] for field in fields if field.init})


def todays_model(values: object, version: int) -> object:
    """The values of a model of some version of the formats, as of today's.

    The first knew Instant-NGP alone, the second one ray for each pixel.
    """
    if version > 2 or not isinstance(values, dict):
        return values  # what is wrong with it is said where it is read
    if version == 1:
        values = {"kind": "instant-ngp", "huber": 0.1, "appearance": 0, **values}
    return values if values.get("kind") == "mip-nerf" else {"rays_per_pixel": 1, **values}


def todays_run(values: object, version: int) -> object:
    """Those of a run."""
    values = _with_todays_scene(values) if version <= 3 else values
    if version > 2:
        return values
    try:
        model, training = todays_model(values["model"], version), values["training"]
        batch = {"one_ray": BatchConfig.one_ray, **training["batch"]}
        if version == 2:
            return {**values, "model": model, "training": {**training, "batch": batch}}
        added = ("warmup_steps", "beta2", "epsilon", "clip_norm")
        optimiser = {**{name: getattr(OptimiserConfig(), name) for name in added}, **training["optimiser"]}
        model = {**model, "huber": batch.pop("huber")}
        corrections = {"refine": RefineConfig(), "exposure": ExposureConfig(), "depth": DepthConfig()}
        corrections = {name: dataclasses.asdict(default) for name, default in corrections.items()}
        training = {**corrections, **training, "batch": batch, "optimiser": optimiser}
        return {**values, "model": model, "training": training}
    except (TypeError, KeyError):
        return values  # what is wrong with it is said where it is read


def _with_todays_scene(values: object) -> object:
    """Up to the third version a scene had no axes, and took any alpha for a background."""
    scene = values.get("scene") if isinstance(values, dict) else None
    if not isinstance(scene, dict):
        return values  # what is wrong with it is said where it is read
    return {**values, "scene": {**dataclasses.asdict(SceneConfig(alpha="background")), **scene}}


def _checked(wanted, value, name: str):
    """`value` if it is of the type `wanted`: a plain type, a tuple of one, a Literal, a dataclass, or a union."""
    options = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    if classes:
        return from_dict(_class_of(classes, value), value, name)
    for option in options:
        if get_origin(option) is Literal:
            if value in get_args(option):
                return value
        elif get_origin(option) is tuple:
            if isinstance(value, (list, tuple)):
                return tuple(_checked(get_args(option)[0], each, name) for each in value)
        elif option is float and type(value) in (int, float):
            return float(value)
        elif type(value) is option:
            return value
    raise ValueError(f"{name} has a value of the wrong kind: {value!r}")


def _class_of(classes: Sequence[type], values: Any) -> type:
    """The one of several dataclasses that `values` are of: by its `kind`, where they have one, else by its fields."""
    if len(classes) == 1 or not isinstance(values, dict):
        return classes[0]
    kinds = {field.default: each for each in classes for field in dataclasses.fields(each) if field.name == "kind"}
    if kinds:
        kind = values.get("kind")
        _require(kind in kinds, f"kind must be one of {', '.join(kinds)}, got {kind!r}")
        return kinds[kind]
    return max(classes, key=lambda each: -len({field.name for field in dataclasses.fields(each)} ^ values.keys()))
