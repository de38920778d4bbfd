"""Settings of earlier versions: each step adds what its version did not know, and touches nothing else."""

import copy
import dataclasses

import pytest

from taichi_nerf.config import (
    DepthConfig,
    RunConfig,
    SceneConfig,
    SparsityConfig,
    TrainingConfig,
    from_dict,
    recipe,
    todays_model,
    todays_run,
)
from taichi_nerf.config.migrations import MODEL_STEPS, RUN_STEPS
from taichi_nerf.training import checkpoint, folder

OLD = ("instant-ngp", "nerf", "mip-nerf", "mip-nerf-360")  # systems that these versions knew


def settings(kind: str = "instant-ngp", encoding: str | None = None, **scene) -> dict:
    found = recipe(kind, encoding=encoding)
    depth = DepthConfig(weight=0.0, until=1.0)  # which fell to the end, if it did
    training = TrainingConfig(steps=3, batch=found.batch, optimiser=found.optimiser, depth=depth,
                              sparsity=SparsityConfig(weight=0.0))
    run = dataclasses.asdict(RunConfig(scene=SceneConfig(downscale=2, **scene), model=found.model, training=training))
    if "widths" in run["model"]:
        run["model"]["widths"] = "off"  # as all were that did not know of them
    if "rays_per_pixel" in run["model"]:
        run["model"]["rays_per_pixel"] = 1  # which no scene chose
    for grid in hash_grids(run["model"]):
        grid["decay"], grid["decay_until"] = 0.0, None  # likewise
    if "sampling" in run["model"]:
        run["model"]["sampling"]["warmup_threshold"] = 1.0
    return run


def of_the_sixth_version(run: dict) -> dict:
    """Which knew no harmonics of colours, no term for empty space, and let hash grids grow as they like."""
    del run["model"]["field"]["harmonics"], run["training"]["sparsity"]
    for grid in hash_grids(run["model"]):
        del grid["decay"], grid["decay_until"]
    run["model"].get("sampling", {}).pop("warmup_threshold", None)
    return run


def hash_grids(values: dict) -> list[dict]:
    """Those anywhere within."""
    if "log2_entries" in values:
        return [values]
    return [grid for value in values.values() if isinstance(value, dict) for grid in hash_grids(value)]


def of_the_fourth_version_of_models(run: dict) -> dict:
    """Which knew no widths."""
    for name in ("widths", "widening", "proposal_levels", "proposal_blur", "distortion_distance"):
        run["model"].pop(name, None)
    return run


def of_the_fifth_version(run: dict) -> dict:
    """Whose corrections were in radians, and whose distances counted to the end, and not unless that was asked for."""
    run = of_the_sixth_version(run)
    run["training"]["depth"] = {"weight": 0.0, "rays": 0.25}
    del run["training"]["refine"]["precondition"]
    return of_the_fourth_version_of_models(run)


def of_the_second_version(run: dict) -> dict:
    """Which knew one ray for each pixel."""
    run = of_the_fifth_version(run)
    run["model"].pop("rays_per_pixel", None)
    del run["training"]["batch"]["one_ray"]
    return run


def of_the_first_version(run: dict) -> dict:
    """Which knew Instant-NGP alone, no corrections, and less of scenes and of Adam."""
    run = of_the_second_version(run)
    del run["model"]["kind"], run["model"]["appearance"]
    run["training"]["batch"]["huber"] = run["model"].pop("huber")
    for name in ("warmup_steps", "beta2", "epsilon", "clip_norm"):
        del run["training"]["optimiser"][name]
    for name in ("refine", "exposure", "depth"):
        del run["training"][name]
    run["scene"] = {name: run["scene"][name] for name in ("path", "downscale", "test_every", "background")}
    return run


def test_there_is_a_step_for_every_version_but_todays():
    assert len(MODEL_STEPS) == checkpoint.VERSION - 1 and len(RUN_STEPS) == folder.VERSION - 1


def test_the_first_version_is_read():
    today = settings(alpha="background")
    found = todays_run(of_the_first_version(settings()), 1)
    assert found == today and from_dict(RunConfig, found).scene.downscale == 2
    old = {name: today["model"][name] for name in ("field", "sampling")}
    assert todays_model(old, 1) == today["model"]


@pytest.mark.parametrize("kind", OLD)
def test_the_second_version_is_read(kind):
    today = settings(kind)
    assert todays_run(of_the_second_version(settings(kind)), 2) == today
    assert todays_model(of_the_second_version(settings(kind))["model"], 2) == today["model"]


@pytest.mark.parametrize("kind", OLD)
def test_the_fifth_version_is_read(kind):
    """It held models of the fourth version of checkpoints."""
    old = of_the_fifth_version(settings(kind))
    assert todays_run(old, 5) == settings(kind) and todays_model(old["model"], 4) == settings(kind)["model"]
    found = from_dict(RunConfig, todays_run(old, 5)).training
    assert not found.refine.precondition and found.depth.weight == 0


@pytest.mark.parametrize("encoding", [None, "hash"])
@pytest.mark.parametrize("kind", OLD)
def test_the_sixth_version_is_read(kind, encoding):
    """It held models of the fifth version of checkpoints."""
    old, today = settings(kind, encoding), settings(kind, encoding)
    of_the_sixth_version(old)
    assert todays_run(old, 6) == today and todays_model(old["model"], 5) == today["model"]
    found = from_dict(RunConfig, todays_run(old, 6))
    assert found.model.field.harmonics is None and found.training.sparsity.weight == 0


FIRST_OF_THE_SEVENTH = {
    "scene": ("path downscale scales test_every background format orient axes world_to_camera skip_missing exposure "
              "alpha masks cut_out cache"),
    "training": "steps seconds seed gradients batch optimiser refine exposure depth sparsity", "model": None}


def test_the_first_runs_of_the_seventh_version_are_read():
    """Their settings, by name: whatever came since without a version of its own has a value for runs that lack it."""
    values = settings()
    old = {part: values[part] if names is None else {name: values[part][name] for name in names.split()}
           for part, names in FIRST_OF_THE_SEVENTH.items()}
    found = from_dict(RunConfig, todays_run(old, 7))
    assert found.training.near_camera.weight == 0 and not found.few_views and not found.training.robust
    assert found.scene.block is None
    later = settings()  # those that had --robust, which nothing bounded yet
    del later["training"]["trim"]["most"]
    assert from_dict(RunConfig, todays_run(later, 7)).training.trim.most == 1
    assert todays_run(settings(), 7) == settings()


def test_a_run_from_before_the_decay_fell_and_the_threshold_rose_goes_on_as_it_was():
    run = dataclasses.asdict(RunConfig(model=recipe("instant-ngp").model))
    del run["model"]["field"]["hash_grid"]["decay_until"], run["model"]["sampling"]["warmup_threshold"]
    model = todays_run(run, folder.VERSION)["model"]
    grid = model["field"]["hash_grid"]
    assert (grid["decay"], grid["decay_until"], model["sampling"]["warmup_threshold"]) == (0.01, None, 1.0)
    assert todays_model(run["model"], checkpoint.VERSION) == model


def test_a_run_whose_test_cameras_stayed_is_scored_as_it_was():
    run = dataclasses.asdict(RunConfig(model=recipe("instant-ngp").model))
    assert run["training"]["refine"].pop("carry_along") and run["training"]["refine"].pop("pull_final")
    refine = from_dict(RunConfig, todays_run(run, folder.VERSION)).training.refine
    assert (refine.carry_along, refine.pull_final) == (False, 1.0)


def test_models_of_other_systems_keep_their_fields():
    strange = {"kind": "blobs", "field": {"blobs": 3}}
    assert todays_model(strange, 5) == strange


def test_what_a_version_knew_stays_as_it_is():
    old = of_the_first_version(settings())
    old["training"]["batch"]["huber"], old["model"]["appearance"] = 0.5, 4
    old["training"]["optimiser"]["beta2"], old["scene"]["exposure"] = 0.5, 2.0
    before = copy.deepcopy(old)
    found = todays_run(old, 1)
    assert old == before, "the values that are given are not changed"
    assert (found["model"]["huber"], found["model"]["appearance"]) == (0.5, 4)
    assert (found["training"]["optimiser"]["beta2"], found["scene"]["exposure"]) == (0.5, 2.0)
    assert todays_model({"rays_per_pixel": 9}, 2) == {"rays_per_pixel": 9}


def test_todays_version_is_left_alone():
    today = {"anything": 3}
    assert todays_run(today, folder.VERSION) is today and todays_model(today, checkpoint.VERSION) is today


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("values", [None, 3, "run", [], ["model"], {}, {"model": {}}, {"model": {}, "training": None},
                                    {"model": {}, "training": {"batch": 3}}, {"model": {}, "training": {"batch": []}}])
def test_what_is_no_run_is_handed_on_to_the_reader(values, version):
    assert todays_run(values, version) is values


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("values", [None, 3, "model", [], ["kind"]])
def test_what_is_no_model_is_handed_on_to_the_reader(values, version):
    assert todays_model(values, version) is values


def test_a_damaged_model_does_not_keep_the_rest_of_a_run_from_being_read():
    """So that the reader names the model, and nothing else."""
    run = {**of_the_second_version(settings()), "model": 3}
    found = todays_run(run, 2)
    assert found["training"] == settings()["training"]
    with pytest.raises(ValueError, match="model must be an object, got 3"):
        from_dict(RunConfig, found)


@pytest.mark.parametrize("kind, later", [("d-nerf", ("waves", "rest", "course", "skip")),
                                         ("nerfies", ("rest", "codes_multiply", "elastic_scale",
                                                      "elastic_every", "skip"))])
def test_warps_that_knew_no_waves_stay_as_they_were(kind, later):
    """Their displacement network was told the time, and rested at the first one; all times were there at once."""
    old = settings(kind)
    old["model"]["warp"]["course"] = 0.0
    for name in later:
        del old["model"]["warp"][name]
    for found in (todays_run(old, 7)["model"], todays_model(old["model"], 6)):
        warp = found["warp"]
        assert warp["rest"] == 0 and warp["course"] == 0 and not warp.get("waves") and not warp.get("codes_multiply")
        assert warp.get("elastic_scale", 0.03) == 0.03 and warp.get("elastic_every", 8) == 8
        assert {**found, "warp": None} == {**old["model"], "warp": None}
    assert todays_run(settings(kind), 7) == settings(kind)
