"""Settings of earlier versions of the formats, as of today's: a step from each version to the next.

Values that are not what a step takes them for stay as they are: what is wrong with them is said where they are read.
"""

import dataclasses
from collections.abc import Callable, Mapping

from .batch import BatchConfig
from .corrections import ExposureConfig, NearCameraConfig, RefineConfig, SparsityConfig
from .optimiser import OptimiserConfig
from .scene import SceneConfig
from .trimming import TrimConfig


def _models_of_other_systems(model: dict) -> dict:
    """The first version knew Instant-NGP alone; its loss stood with the batch."""
    return {"kind": "instant-ngp", "huber": 0.1, "appearance": 0, **model}


def _several_rays_for_a_pixel(model: dict) -> dict:
    """The second knew one, and mip-NeRF does to this day."""
    return model if model.get("kind") in ("mip-nerf", "block-nerf") else {"rays_per_pixel": 1, **model}


def _points_in_hash_grids(model: dict) -> dict:
    """The fourth saw a hash grid at points, and had one loss of proposals, and one of distortion."""
    added = {"instant-ngp": {"widths": "off", "widening": 0.0}, "mip-nerf": {"widths": "off"},
             "mip-nerf-360": {"widths": "off", "proposal_blur": (), "distortion_distance": "spacing"}}
    return {**added.get(model.get("kind"), {}), **model}


def _without_harmonics_and_decay(model: dict) -> dict:
    """The fifth had no harmonics in any field, and let the entries of a hash grid be as large as they like."""
    if model.get("kind") not in ("instant-ngp", "nerf", "mip-nerf", "mip-nerf-360"):
        return model
    return _in_parts({**model, "field": {"harmonics": None, **model["field"]}}, "log2_entries", {"decay": 0.0})


def _without_the_sharpest_photos(model: dict) -> dict:
    """The sixth did not know how sharp its photos were, which the settings do not show."""
    return model


def _in_parts(values: dict, known_by: str, settings: dict) -> dict:
    """With these settings in each part within, of those that have the setting `known_by`, that does not say."""
    found = {key: _in_parts(value, known_by, settings) if isinstance(value, dict) else value
             for key, value in values.items()}
    return {**settings, **found} if known_by in found else found


def _runs_of_other_systems(run: dict) -> dict:
    """Beside the model: Adam's other numbers, corrections, and how a scene is loaded."""
    training, batch = run["training"], {**run["training"]["batch"]}
    added = ("warmup_steps", "beta2", "epsilon", "clip_norm")
    optimiser = {**{name: getattr(OptimiserConfig(), name) for name in added}, **training["optimiser"]}
    model = {**MODEL_STEPS[0](run["model"]), "huber": batch.pop("huber")}
    corrections = {"refine": dataclasses.asdict(RefineConfig()), "exposure": dataclasses.asdict(ExposureConfig()),
                   "depth": {"weight": 0.0, "rays": 0.25}}
    training = {**corrections, **training, "batch": batch, "optimiser": optimiser}
    return {**_scenes_with_axes(run), "model": model, "training": training}


def _runs_with_several_rays_for_a_pixel(run: dict) -> dict:
    batch = {"one_ray": BatchConfig.one_ray, **run["training"]["batch"]}
    return {**run, "model": todays_model(run["model"], 2), "training": {**run["training"], "batch": batch}}


def _codes_by_id(values: dict) -> dict:
    """The third had a code for each image, which the settings do not show."""
    return values


def _scenes_with_axes(run: dict) -> dict:
    """The fourth knew one kind of axes, and took any alpha for a background."""
    return {**run, "scene": {**dataclasses.asdict(SceneConfig(alpha="background")), **run["scene"]}}


def _runs_without_widths_and_points(run: dict) -> dict:
    """The fifth saw a hash grid at points, had corrections of cameras in radians and model units alone, and one weight
    of distances for the whole training, 0 unless another was given."""
    training = run["training"]
    training = {**training, "refine": {"precondition": False, **training["refine"]},
                "depth": {"final": None, "of": None, **training["depth"]}}
    return {**run, "model": todays_model(run["model"], 4), "training": training}


def _runs_without_harmonics(run: dict) -> dict:
    """The sixth had neither these nor a term for empty space."""
    training = {"sparsity": dataclasses.asdict(SparsityConfig(weight=0.0)), **run["training"]}
    return {**run, "model": todays_model(run["model"], 5), "training": training}


# the first makes the second version of the first version, and so on
MODEL_STEPS: list[Callable[[dict], dict]] = [_models_of_other_systems, _several_rays_for_a_pixel, _codes_by_id,
                                             _points_in_hash_grids, _without_harmonics_and_decay,
                                             _without_the_sharpest_photos]
RUN_STEPS: list[Callable[[dict], dict]] = [_runs_of_other_systems, _runs_with_several_rays_for_a_pixel, _codes_by_id,
                                           _scenes_with_axes, _runs_without_widths_and_points, _runs_without_harmonics]

# of a run: what came without a version of its own, and is off where a run does not say
LATER: dict[str, object] = {
    "few_views": False, "appearance": None, "orbit_frames": 60, "scene": {"perturb": None, "block": None},
    "training": {"robust": False, "trim": {**dataclasses.asdict(TrimConfig()), "most": 1.0, "around": 0.0},
                 "refine": {"pull_final": 1.0, "carry_along": False}, "depth": {"until": 1.0},
                 "near_camera": dataclasses.asdict(NearCameraConfig(weight=0.0)), "batch": {"opaque": False}},
}

# of parts of a model, likewise, by a setting that these have: hash grids, and the sampling by an occupancy grid
LATER_OF_PARTS: dict[str, dict] = {
    "log2_entries": {"decay_until": None},
    "cells_per_update": {"warmup_threshold": 1.0},
}

# of a model, likewise, by its kind
LATER_OF_MODELS: dict[str, dict] = {
    "nerf-w": {"beta_nll": 0.0},
    "mip-nerf-360": {"proposal_levels": ()},
    "d-nerf": {"warp": {"waves": 0, "rest": 0.0, "course": 0.0, "skip": None}},
    "nerfies": {"warp": {"rest": 0.0, "codes_multiply": False, "elastic_scale": 0.03, "elastic_every": 8,
                         "skip": None}},
    "hypernerf": {"warp": {"elastic_every": 8}},
}


def todays_model(values: object, version: int) -> object:
    """The values of a model of some version of the formats, as of today's."""
    return _stepped(values, [*MODEL_STEPS[version - 1 :], _with_later_settings_of_models])


def todays_run(values: object, version: int) -> object:
    """Those of a run."""
    return _stepped(values, [*RUN_STEPS[version - 1 :], _with_later_settings])


def _with_later_settings(run: dict) -> dict:
    """With all that came later, where the run lacks any of it."""
    if not {"scene", "training"} <= run.keys():
        return run
    run = _filled(run, LATER)
    return {**run, "model": _with_later_settings_of_models(run["model"])} if isinstance(run.get("model"), dict) else run


def _with_later_settings_of_models(model: dict) -> dict:
    if "kind" not in model:
        return model
    for known_by, settings in LATER_OF_PARTS.items():
        model = _in_parts(model, known_by, settings)
    return _filled(model, LATER_OF_MODELS.get(model["kind"], {}))


def _filled(values: dict, later: Mapping[str, object]) -> dict:
    """`values` with those of `later` that they lack, and so within each part that both have."""
    parts = {name: _filled(values[name], there) for name, there in later.items()
             if isinstance(there, dict) and isinstance(values.get(name), dict)}
    return {**later, **values, **parts}


def _stepped(values: object, steps: list[Callable[[dict], dict]]) -> object:
    """What `steps` make of `values`, one after the other."""
    found = values
    try:
        for step in steps:
            found = step(found)
    except (AttributeError, KeyError, TypeError):
        return values
    return found
