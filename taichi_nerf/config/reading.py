"""Settings from what JSON has of them, checked."""

import dataclasses
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .model import ModelConfig
from .settings import require
from .systems import SYSTEMS


def from_dict(kind: type, values: object, name: str = "the configuration"):
    """The dataclass `kind` whose fields, and the fields of its fields, are `values` as `dataclasses.asdict` gives them.

    `kind` may be a union of dataclasses, and ModelConfig stands for the settings of every system that is known. Raises
    ValueError for a field that is missing, unknown, of another type or out of its range.
    """
    require(isinstance(values, dict), f"{name} must be an object, got {values!r}")
    kind = _class_of(get_args(kind) or (kind,), values)
    hints, fields = get_type_hints(kind), dataclasses.fields(kind)
    for key in sorted({field.name for field in fields} ^ values.keys()):
        raise ValueError(f"{name} {'lacks' if key in hints else 'has the unknown entry'} '{key}'")
    checked = {field.name: _checked(hints[field.name], values[field.name], field.name) for field in fields}
    return kind(**{field.name: checked[field.name] for field in fields if field.init})


def _checked(wanted, value, name: str):
    """`value` if it is of the type `wanted`: a plain type, a tuple of one, a Literal, a dataclass, or a union."""
    options = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    if classes:
        return from_dict(_class_of(classes, value), value, name)
    for option in options:
        if get_origin(option) is Literal:
            if value in get_args(option):
                return value
        elif get_origin(option) is tuple:
            if isinstance(value, (list, tuple)):
                return tuple(_checked(get_args(option)[0], each, name) for each in value)
        elif option is float and type(value) in (int, float):
            return float(value)
        elif type(value) is option:
            return value
    raise ValueError(f"{name} has a value of the wrong kind: {value!r}")


def _class_of(classes: Sequence[type], values: Any) -> type:
    """The one of several dataclasses that `values` are of: the settings of their `kind` of system, or by its fields."""
    if not isinstance(values, dict):
        return classes[0]  # which says what is wrong
    if ModelConfig in classes:
        kind = values.get("kind")
        require(kind in tuple(SYSTEMS), f"kind must be one of {', '.join(SYSTEMS)}, got {kind!r}")
        return SYSTEMS[kind].settings
    return max(classes, key=lambda each: -len({field.name for field in dataclasses.fields(each)} ^ values.keys()))
