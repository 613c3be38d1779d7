"""Specs as plain values: dictionaries, canonical JSON, and the flat fields that tables and trackers want."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar

from stacked.checks import choice, need

T = TypeVar("T")


def to_dict(spec: Any) -> Any:
    """A spec as plain JSON values."""
    if dataclasses.is_dataclass(spec):
        fields = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}
        return {name: dict(value) if name == "options" else to_dict(value) for name, value in fields.items()}
    return [to_dict(value) for value in spec] if isinstance(spec, tuple) else spec


def to_json(spec: Any) -> str:
    """The canonical JSON of a spec: sorted keys, no spaces."""
    return json.dumps(to_dict(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_dict(cls: type[T], values: Any) -> T:
    """The spec of class `cls` with these plain values; InputError names an unknown field."""
    need(isinstance(values, dict), f"{values!r} is not a {cls.__name__}: give its fields by name")
    hints = typing.get_type_hints(cls)
    for name in values:
        choice(name, hints, f"field of {cls.__name__}")
    return cls(**{name: _convert(hints[name], value) for name, value in values.items()})


def _convert(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(arg for arg in typing.get_args(hint) if arg is not type(None)), value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, each) for each in value)
    return value


def flat(spec: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of a spec by dotted name, as tables and trackers want them."""
    found: dict[str, Any] = {}
    for name, value in to_dict(spec).items():
        if isinstance(value, dict):
            found |= {f"{prefix}{name}.{inner}": each for inner, each in value.items()}
        else:
            found[prefix + name] = value
    return found
