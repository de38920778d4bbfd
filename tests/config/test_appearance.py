"""What --appearance comes to: codes or the exposure model, as far as a model has them, and the reason."""

import dataclasses

from taichi_nerf.config import RunConfig, TrainingConfig, flattened, recipe, with_appearance
from taichi_nerf.config.appearance import CODE


def run_of(kind: str, **model) -> RunConfig:
    found = recipe(kind)
    return RunConfig(model=dataclasses.replace(found.model, **model),
                     training=TrainingConfig(batch=found.batch, optimiser=found.optimiser))


def changed(run: RunConfig, *wanted, **given) -> dict:
    """The settings that differ, the reason aside, which there is."""
    before, after = flattened(run), flattened(with_appearance(run, *wanted, **given))
    assert after.pop("appearance")
    return {name: value for name, value in after.items() if value != before[name]}


def test_a_model_gets_what_its_photos_call_for():
    run = run_of("instant-ngp")
    assert changed(run, None, "all is alike") == {}
    assert changed(run, "codes", "many cameras") == {"model.appearance": CODE}
    assert changed(run, "exposure", "one camera") == {"training.exposure.learned": True}
    assert with_appearance(run, "codes", "many cameras").appearance == f"codes of {CODE} numbers a photo: many cameras"


def test_a_model_without_codes_gets_the_exposure_model_and_says_so():
    run = run_of("nerf")
    assert changed(run, "codes", "many cameras") == {"training.exposure.learned": True}
    assert with_appearance(run, "codes", "many cameras").appearance == (
        "the exposure model: many cameras; nerf has no codes, which would tell more")


def test_what_there_is_or_is_given_stays():
    assert changed(run_of("nerf-w"), "exposure", "one camera") == {}
    assert changed(run_of("instant-ngp", appearance=8), None, "all is alike") == {}
    no_codes = {"given": {"model.appearance"}}
    assert changed(run_of("nerf-w", appearance=0), "codes", "many", **no_codes) == {"training.exposure.learned": True}
