"""Settings for few views: every system's are settings that it has, and one that is given counts as it is given."""

import pytest

from taichi_nerf.config import (
    SYSTEMS,
    RunConfig,
    SettingError,
    few_view_settings,
    flattened,
    recipe,
    with_few_views,
)


def run_of(kind: str) -> RunConfig:
    found = recipe(kind)
    plain = RunConfig()
    return RunConfig(model=found.model, training=type(plain.training)(batch=found.batch, optimiser=found.optimiser))


@pytest.mark.parametrize("kind", [kind for kind, system in SYSTEMS.items() if system.few_views])
def test_they_are_settings_of_the_run_and_differ_from_those_of_many_views(kind):
    plain, few = flattened(run_of(kind)), flattened(with_few_views(run_of(kind)))
    changed = {name: value for name, value in few.items() if value != plain[name]}
    assert changed == {**few_view_settings(run_of(kind)), "few_views": True}


def test_what_is_given_stays_as_it_is():
    run, settings = run_of("instant-ngp"), few_view_settings(run_of("instant-ngp"))
    for name in settings:
        found = flattened(with_few_views(run, {name}))
        assert found[name] == flattened(run)[name]
        assert all(found[other] == value for other, value in settings.items() if other != name)


def test_a_system_without_such_settings_says_so():
    with pytest.raises(SettingError, match="few-views is not for nerf, which has no settings of its own"):
        with_few_views(run_of("nerf"))
