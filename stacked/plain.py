"""Specs as plain values: dictionaries, canonical JSON, and the flat fields that tables and trackers want.

A field declared with `later(default)` came after specs had been recorded: it is left out where it has its default, so that a
recorded spec keeps its JSON and its id. Such a default must never change.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar

from stacked.checks import choice, need

T = TypeVar("T")

#: what a plain value of a type is called
CALLED = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}

#: Values by name, as sorted pairs: what a dictionary would say, in a form that hashes.
Options = tuple[tuple[str, Any], ...]


def later(default: Any) -> Any:
    """A field of a spec that is left out of its JSON where it has this default."""
    return dataclasses.field(default=default, metadata={"later": True})


def pairs(values: Any) -> Options:
    """Options from a dictionary, or from pairs, sorted by name."""
    items = values.items() if isinstance(values, dict) else values
    return tuple(sorted((str(name), _hashable(value)) for name, value in items))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def to_dict(spec: Any) -> Any:
    """A spec as plain JSON values."""
    if dataclasses.is_dataclass(spec):
        hints = typing.get_type_hints(type(spec))
        return {
            f.name: dict(value) if hints[f.name] == Options else to_dict(value)
            for f in dataclasses.fields(spec)
            if (value := getattr(spec, f.name)) != f.default or not f.metadata.get("later")
        }
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
    return cls(**{name: _convert(hints[name], value, name) for name, value in values.items()})


def merged(spec: T, values: dict[str, Any]) -> T:
    """The spec with these of its fields changed, given as plain values; errors as of `from_dict`."""
    return from_dict(type(spec), to_dict(spec) | values)


def _convert(hint: Any, value: Any, what: str) -> Any:
    """`value` of plain JSON as `hint` has it; one value stands for a tuple of one. InputError names the field, `what`."""
    several = isinstance(value, (list, tuple))
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hints = [arg for arg in typing.get_args(hint) if arg is not types.NoneType]
        return _convert(next((h for h in hints if several and typing.get_origin(h) is tuple), hints[0]), value, what)
    if hint == Options:
        named = isinstance(value, dict) or (
            several and all(isinstance(v, (list, tuple)) and len(v) == 2 for v in value)
        )
        need(named, f"{what} {value!r} is not allowed: give values by name, as in {{name: value}}")
        return pairs(value)
    if typing.get_origin(hint) is tuple:
        item, *more = typing.get_args(hint)
        need(several or more == [...], f"{what} {value!r} is not allowed: give a list")
        return tuple(_convert(item, each, what) for each in (value if several else [value]))
    right = isinstance(value, (int, float) if hint is float else hint) and (hint is bool or not isinstance(value, bool))
    need(right, f"{what} {value!r} is not allowed: give {CALLED[hint]}")
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
