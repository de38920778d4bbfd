"""What a training with few views of an object may want, and one with many does not: settings that each system names by
itself. docs/experiments.md says what they are worth, and why no number of views chooses them.

Each is a setting of its own, which counts as it is given where it is.
"""

import dataclasses
from collections.abc import Collection, Mapping

from .run import RunConfig
from .settings import SettingError
from .systems import system_of


def few_view_settings(run: RunConfig, given: Collection[str] = ()) -> dict[str, object]:
    """Those of the system of `run` by dotted name, but for what is `given`."""
    return {name: value for name, value in system_of(run.model).few_views.items() if name not in given}


def with_few_views(run: RunConfig, given: Collection[str] = ()) -> RunConfig:
    """`run` with these settings. Raises SettingError where its system has none."""
    if not system_of(run.model).few_views:
        raise SettingError(f"few-views is not for {run.model.kind}, which has no settings of its own for few views: "
                           "leave it out")
    return dataclasses.replace(_changed(run, few_view_settings(run, given)), few_views=True)


def _changed(config, values: Mapping[str, object]):
    """`config` with the settings of these dotted names."""
    for name, value in values.items():
        first, _, rest = name.partition(".")
        value = _changed(getattr(config, first), {rest: value}) if rest else value
        config = dataclasses.replace(config, **{first: value})
    return config
