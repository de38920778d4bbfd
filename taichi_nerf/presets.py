"""The settings of each model as a whole: those of its paper, and small ones that two processor cores train in minutes.

A preset is a starting point: every setting of it can be given on the command line.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from .config import (
    BatchConfig,
    FieldConfig,
    HashGridConfig,
    HashProposalConfig,
    InstantNGPConfig,
    MipNeRF360Config,
    MipNeRFConfig,
    ModelConfig,
    NeRFConfig,
    OptimiserConfig,
    PositionalFieldConfig,
    PositionalProposalConfig,
    RayBatchConfig,
    SamplingConfig,
    SettingError,
)
from .devices import vulkan_devices

ModelName = Literal["instant-ngp", "nerf", "mip-nerf", "mip-nerf-360"]
Preset = Literal["small", "paper"]
Encoding = Literal["positional", "hash"]
MODELS, PRESETS, ENCODINGS = get_args(ModelName), get_args(Preset), get_args(Encoding)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model, and what each step of its training takes."""

    model: ModelConfig
    batch: BatchConfig | RayBatchConfig
    optimiser: OptimiserConfig


def recipe(model: ModelName = "instant-ngp", preset: Preset = "small", encoding: Encoding | None = None) -> Recipe:
    """The settings of `model`; its own encoding is the default.

    Raises SettingError for an encoding that the model does not have.
    """
    found = RECIPES[model, preset]
    return found if encoding is None else WITH_ENCODING[model](found, preset, encoding)


def preset_for(backend: str, model: ModelName = "instant-ngp") -> Preset:
    """The preset of `model` that `backend` trains in minutes; on Vulkan Instant-NGP alone trains on the card."""
    card = backend == "vulkan" and model == "instant-ngp" and any(found.discrete for found in vulkan_devices())
    return "paper" if backend == "cuda" or card else "small"


HASH_FIELD = FieldConfig()
LARGE_HASH_FIELD = FieldConfig(
    hash_grid=HashGridConfig(levels=16, features=2, log2_entries=19), colour_layers=2)

INSTANT_NGP = Recipe(model=InstantNGPConfig(), batch=BatchConfig(), optimiser=OptimiserConfig())
INSTANT_NGP_PAPER = Recipe(
    model=InstantNGPConfig(
        field=LARGE_HASH_FIELD,
        sampling=SamplingConfig(grid_resolution=128, steps=1024, first_update=0, cells_per_update=2**20)),
    batch=BatchConfig(samples=2**18, marched=2**21, max_rays=2**18),  # a GPU wants few large steps
    optimiser=OptimiserConfig())

NERF = Recipe(
    model=NeRFConfig(
        field=PositionalFieldConfig(width=128, depth=4, skip=2, bottleneck=64, view_width=64),
        coarse_samples=32, fine_samples=32),
    batch=RayBatchConfig(rays=160, crop_steps=400),
    optimiser=OptimiserConfig(network_learning_rate=2e-3, decay_start=0.0, beta2=0.99, epsilon=1e-8, weight_decay=0.0))
NERF_PAPER = Recipe(
    model=NeRFConfig(),
    batch=RayBatchConfig(rays=1024, crop_steps=500),
    optimiser=OptimiserConfig(network_learning_rate=5e-4, decay_start=0.0, beta2=0.999, epsilon=1e-8, weight_decay=0.0,
                              average_decay=0.0))

MIP_NERF = Recipe(
    model=MipNeRFConfig(
        field=PositionalFieldConfig(levels=16, width=128, depth=4, skip=2, bottleneck=64, view_width=64), samples=32),
    batch=NERF.batch,
    optimiser=replace(NERF.optimiser, warmup_steps=100))
MIP_NERF_PAPER = Recipe(
    model=MipNeRFConfig(),
    batch=RayBatchConfig(rays=4096),
    optimiser=replace(NERF_PAPER.optimiser, final_fraction=0.01, warmup_steps=2500))

MIP_NERF_360 = Recipe(
    model=MipNeRF360Config(
        field=PositionalFieldConfig(levels=8, width=128, depth=4, skip=2, bottleneck=64, view_width=64),
        proposal=PositionalProposalConfig(width=32, depth=2), proposal_samples=(32, 24), samples=16),
    batch=RayBatchConfig(rays=512),
    optimiser=OptimiserConfig(network_learning_rate=2e-3, decay_start=0.0, final_fraction=0.05, warmup_steps=100,
                              beta2=0.99, epsilon=1e-8, clip_norm=0.1, weight_decay=0.0))
MIP_NERF_360_PAPER = Recipe(
    model=MipNeRF360Config(),
    batch=RayBatchConfig(rays=16384),
    optimiser=OptimiserConfig(network_learning_rate=2e-3, decay_start=0.0, final_fraction=0.01, warmup_steps=512,
                              beta2=0.999, epsilon=1e-6, clip_norm=1e-3, weight_decay=0.0, average_decay=0.0))
HASH_360 = Recipe(
    model=MipNeRF360Config(
        field=FieldConfig(hash_grid=HashGridConfig(log2_entries=17)),
        proposal=HashProposalConfig(), proposal_samples=(48, 24), samples=24, initial_density=0.1, charbonnier=0.03),
    batch=RayBatchConfig(rays=1024),
    optimiser=OptimiserConfig())
HASH_360_PAPER = Recipe(
    model=MipNeRF360Config(
        field=replace(LARGE_HASH_FIELD, hash_grid=replace(LARGE_HASH_FIELD.hash_grid, max_resolution=512)),
        proposal=HashProposalConfig(hash_grid=HashGridConfig(levels=5, features=2, log2_entries=17, max_resolution=64)),
        proposal_samples=(256, 96), samples=48, shared_proposal=False, initial_density=0.1),
    batch=RayBatchConfig(rays=4096),
    optimiser=OptimiserConfig())

RECIPES = {
    ("instant-ngp", "small"): INSTANT_NGP,
    ("instant-ngp", "paper"): INSTANT_NGP_PAPER,
    ("nerf", "small"): NERF,
    ("nerf", "paper"): NERF_PAPER,
    ("mip-nerf", "small"): MIP_NERF,
    ("mip-nerf", "paper"): MIP_NERF_PAPER,
    ("mip-nerf-360", "small"): MIP_NERF_360,
    ("mip-nerf-360", "paper"): MIP_NERF_360_PAPER,
}


def _instant_ngp_with(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    if encoding != "hash":
        raise SettingError("encoding positional is not for instant-ngp, whose samples are too many for a deep network: "
                           "use --model nerf")
    return found


def _nerf_with(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    if encoding == "positional":
        return found
    field = HASH_FIELD if preset == "small" else LARGE_HASH_FIELD
    hash_optimiser = RECIPES["instant-ngp", preset].optimiser
    return replace(found, model=replace(found.model, field=field), optimiser=hash_optimiser)


def _mip_nerf_with(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    if encoding != "positional":
        raise SettingError("encoding hash is not for mip-nerf, which averages its encoding over a cone, and a hash "
                           "table has no such average: use --model nerf or --model mip-nerf-360")
    return found


def _mip_nerf_360_with(found: Recipe, preset: Preset, encoding: Encoding) -> Recipe:
    if encoding == "positional":
        return found
    return HASH_360 if preset == "small" else HASH_360_PAPER


WITH_ENCODING = {"instant-ngp": _instant_ngp_with, "nerf": _nerf_with, "mip-nerf": _mip_nerf_with,
                 "mip-nerf-360": _mip_nerf_360_with}
