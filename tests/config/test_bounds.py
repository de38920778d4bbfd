"""Every number of every configuration has an end at either side, and is refused beyond it in one sentence."""

import dataclasses
import math
import types
from typing import Annotated, Union, get_args, get_origin, get_type_hints

import pytest

from taichi_nerf.config import (
    SYSTEMS,
    FieldConfig,
    HashGridConfig,
    SamplingConfig,
    SceneConfig,
    SettingError,
    TrainingConfig,
    recipe,
)
from taichi_nerf.config.settings import LARGEST

STARTS = [SceneConfig(), TrainingConfig(), *(
    part for kind in SYSTEMS for preset in ("small", "paper") for part in (recipe(kind, preset).model,
                                                                          recipe(kind, preset).batch)),
    recipe("mip-nerf-360", "small", "hash").model, FieldConfig()]


def parts(config) -> list:
    """A configuration and those within it."""
    inner = [getattr(config, field.name) for field in dataclasses.fields(config)]
    return [config, *(each for value in inner if dataclasses.is_dataclass(value) for each in parts(value))]


def kind_of(hint) -> type | None:
    """Whether a field is an int or a float, or several of them."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    options = [get_args(option)[0] if get_origin(option) is tuple else option for option in options]
    return next((option for option in options if option in (int, float)), None)


NUMBERS = {(type(part).__name__, field.name): (part, kind_of(get_type_hints(type(part))[field.name]))
           for start in STARTS for part in parts(start) for field in dataclasses.fields(part)}
NUMBERS = {where: found for where, found in NUMBERS.items() if found[1] is not None}


def refuses(config, name: str, value):
    if isinstance(getattr(config, name), tuple):
        value = (value,)
    with pytest.raises(SettingError) as refused:
        dataclasses.replace(config, **{name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("config", "name"), NUMBERS, ids="-".join)
def test_a_number_has_two_ends(config, name):
    part, kind = NUMBERS[config, name]
    beyond = (LARGEST + 1, -LARGEST) if kind is int else (1e30, -1e30, math.inf, -math.inf, math.nan)
    for value in beyond:
        refuses(part, name, value)


def test_all_numbers_are_looked_at():
    assert len(NUMBERS) > 70 and ("HashGridConfig", "log2_entries") in NUMBERS


@pytest.mark.parametrize("change, message", [
    ({"levels": 100_000}, "levels must be from 1 to 32, got 100000"),
    ({"max_resolution": 2_000_000_000}, "2 <= base <= max <= 1048576, got 16 and 2000000000"),
    ({"log2_entries": 31}, "log2-entries must be from 8 to 24, got 31"),
    ({"decay_until": 0.0}, "decay-until must be above 0 and at most 1, or None for a decay that stays to the end, got"),
])
def test_a_hash_grid_that_kernels_cannot_count_is_refused(change, message):
    with pytest.raises(SettingError, match=message):
        HashGridConfig(**change)


def test_who_wants_no_warm_up_of_the_threshold_is_told_how():
    with pytest.raises(SettingError, match="warmup-threshold must be above 0 and at most 1, which is the whole thresh"):
        SamplingConfig(warmup_threshold=0.0)


def test_the_decay_of_a_hash_grid_falls_to_nothing_or_stays():
    falling, staying = HashGridConfig(decay=0.4, decay_until=0.5), HashGridConfig(decay=0.4, decay_until=None)
    assert [falling.decay_at(part) for part in (0.0, 0.25, 0.5, 1.0)] == [0.4, 0.2, 0.0, 0.0]
    assert staying.decay_at(1.0) == 0.4
