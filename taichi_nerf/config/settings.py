"""What all settings share: how one that is out of its range is refused, and how they are listed.

Settings are frozen dataclasses that the command line shows, checks and saves beside the checkpoint. Lengths without a
unit are in model units: the base cube, in which the object stands, has side 1.
"""

import dataclasses


class SettingError(ValueError):
    """A setting out of its range; the message says which, and what it must be."""


def require(condition: bool, message: str):
    if not condition:
        raise SettingError(message)


def flattened(config, prefix: str = "") -> dict[str, object]:
    """The settings of nested dataclasses by dotted name."""
    found = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        found |= flattened(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return found
