"""What all settings share: how one that is out of its range is refused, and how they are listed.

Settings are frozen dataclasses that the command line shows, checks and saves beside the checkpoint. Lengths without a
unit are in model units: the base cube, in which the object stands, has side 1.
"""

import dataclasses

LARGEST = 2**31 - 1  # of the integers of kernels
MANY = 1e6  # of numbers that have no end of their own: sums and products of such are far from that of float32


class SettingError(ValueError):
    """A setting out of its range; the message says which, and what it must be."""


def require(condition: bool, message: str):
    if not condition:
        raise SettingError(message)


def within(config, low: float, high: float, *names: str):
    """Require the settings `names` of `config`, and each number of one that has several, to be from `low` to `high`."""
    for name, value in _numbers(config, names):
        require(low <= value <= high, f"{name} must be from {low} to {_shown(high)}, got {value}")


def above(config, low: float, high: float, *names: str):
    """Require them to be above `low` and at most `high`."""
    for name, value in _numbers(config, names):
        require(low < value <= high, f"{name} must be above {low} and at most {_shown(high)}, got {value}")


def _numbers(config, names: tuple[str, ...]):
    """Name, as on the command line, and number; none of a setting that is left open."""
    for name in names:
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None:
                yield name.replace("_", "-"), number


def _shown(high: float) -> str:
    return {LARGEST: "2^31 - 1", MANY: "a million"}.get(high, str(high))


def flattened(config, prefix: str = "") -> dict[str, object]:
    """The settings of nested dataclasses by dotted name."""
    found = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        found |= flattened(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return found
