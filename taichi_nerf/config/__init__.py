"""Every setting of a run, and the systems that can be trained. Free of PyTorch: the command line's --help reads it.

    settings                    how a setting is refused, and how settings are listed
    hash_grid fields intervals warp
                                what models are made of
    batch optimiser corrections what a training is made of
    model systems               what all models have in common; the one list of them
    instant_ngp nerf nerf_w mip_nerf mip_nerf_360 block_nerf regions t_nerf d_nerf nerfies
    hypernerf                   a system each: its settings, its presets, what --encoding does with them
    few_views                   which settings few views want
    appearance                  what the light of photos wants
    presets                     which preset a run is of, and what was set otherwise
    extraction                  how an octree is made out of a model
    training scene run          a run as a whole
    reading migrations          from JSON, of this version and of earlier ones
"""

from . import (
    block_nerf,
    d_nerf,
    hypernerf,
    instant_ngp,
    mip_nerf,
    mip_nerf_360,
    nerf,
    nerf_w,
    nerfies,
    plenoctree,
    regions,
    t_nerf,
)
from .appearance import Differing, with_appearance
from .batch import BatchConfig, RayBatchConfig
from .block_nerf import BlockNeRFConfig
from .corrections import DepthConfig, ExposureConfig, NearCameraConfig, RefineConfig, SparsityConfig
from .d_nerf import DNeRFConfig
from .extraction import ExtractionConfig
from .few_views import few_view_settings, with_few_views
from .fields import Encoding, FieldConfig, HashProposalConfig, PositionalFieldConfig, PositionalProposalConfig, Widths
from .hash_grid import CELLS_PER_PIXEL, FINEST, HashGridConfig
from .hypernerf import HyperNeRFConfig
from .instant_ngp import InstantNGPConfig, SamplingConfig
from .intervals import RangeConfig, Spacing
from .migrations import todays_model, todays_run
from .mip_nerf import MipNeRFConfig
from .mip_nerf_360 import MipNeRF360Config
from .model import ModelConfig, RaysPerPixel
from .nerf import NeRFConfig
from .nerf_w import NeRFWConfig
from .nerfies import NerfiesConfig
from .optimiser import OptimiserConfig
from .plenoctree import PlenOctreeConfig
from .presets import preset_of
from .reading import from_dict
from .regions import MOST_REGIONS, RegionsConfig, with_regions
from .run import RunConfig, check_fit
from .scene import BUILTIN, STILL_LIFE, Orientation, Perturbation, SceneConfig, SceneFormat
from .settings import LARGEST, SettingError, above, flattened, within
from .systems import (
    ENCODINGS,
    PRESETS,
    SYSTEMS,
    Preset,
    Recipe,
    System,
    named,
    preset_for,
    recipe,
    register,
    system_of,
)
from .t_nerf import TNeRFConfig
from .training import TrainingConfig
from .trimming import TrimConfig
from .warp import RigidWarpConfig, SliceConfig, WarpConfig

__all__ = [
    "BUILTIN",
    "CELLS_PER_PIXEL",
    "ENCODINGS",
    "FINEST",
    "LARGEST",
    "MOST_REGIONS",
    "PRESETS",
    "STILL_LIFE",
    "SYSTEMS",
    "BatchConfig",
    "BlockNeRFConfig",
    "DNeRFConfig",
    "DepthConfig",
    "Differing",
    "Encoding",
    "ExposureConfig",
    "ExtractionConfig",
    "FieldConfig",
    "HashGridConfig",
    "HashProposalConfig",
    "HyperNeRFConfig",
    "InstantNGPConfig",
    "MipNeRF360Config",
    "MipNeRFConfig",
    "ModelConfig",
    "NeRFConfig",
    "NeRFWConfig",
    "NearCameraConfig",
    "NerfiesConfig",
    "OptimiserConfig",
    "Orientation",
    "Perturbation",
    "PlenOctreeConfig",
    "PositionalFieldConfig",
    "PositionalProposalConfig",
    "Preset",
    "RangeConfig",
    "RayBatchConfig",
    "RaysPerPixel",
    "Recipe",
    "RefineConfig",
    "RegionsConfig",
    "RigidWarpConfig",
    "RunConfig",
    "SamplingConfig",
    "SceneConfig",
    "SceneFormat",
    "SettingError",
    "SliceConfig",
    "Spacing",
    "SparsityConfig",
    "System",
    "TNeRFConfig",
    "TrainingConfig",
    "TrimConfig",
    "WarpConfig",
    "Widths",
    "above",
    "check_fit",
    "few_view_settings",
    "flattened",
    "from_dict",
    "named",
    "preset_for",
    "preset_of",
    "recipe",
    "register",
    "system_of",
    "todays_model",
    "todays_run",
    "with_appearance",
    "with_few_views",
    "with_regions",
    "within",
]

for _stem in (instant_ngp, nerf, nerf_w, mip_nerf, mip_nerf_360, block_nerf, regions, t_nerf, d_nerf, nerfies,
              hypernerf, plenoctree):
    register(_stem.SYSTEM)
