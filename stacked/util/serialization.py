"""Specs as plain values: dictionaries, canonical JSON, and the flat fields that tables and trackers want.

A field declared with `later(default)` came after specs had been recorded: it is left out where it has its default, so that a
recorded spec keeps its JSON and its id. Such a default must never change.
Where what runs did until then is not the default, `later(default, unsaid)` says what a spec without the field means, by its
other fields: then that is what is left out.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any, TypeVar

from stacked.util.checks import choice, need

T = TypeVar("T")

#: what a plain value of a type is called
CALLED = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}

#: Plain values that were read are nested at most so deep, and their whole numbers lie within so many binary digits.
DEEPEST, BITS = 50, 1000

#: Values by name, as sorted pairs: what a dictionary would say, in a form that hashes.
Options = tuple[tuple[str, Any], ...]


def later(default: Any, unsaid: Callable[[Any], Any] | None = None) -> Any:
    """A field of a spec that is left out of its JSON where it has this default.

    unsaid: where a spec that was recorded without the field does not always mean the default: what it means, by its other
    fields. Then this is what is left out, and read.
    """
    return dataclasses.field(default=default, metadata={"later": True, "unsaid": unsaid or (lambda spec: default)})


def python_value(value: Any) -> Any:
    """A number, text or array of NumPy's (or torch's) as Python's own, an array as a tuple; any other value as it is.

    So a spec that was made of NumPy's numbers is equal to that of Python's, with the same JSON and id.
    """
    if hasattr(value, "tolist") and hasattr(value, "ndim"):  # what such values have, so that neither must be imported
        return _hashable(value.tolist())
    return type(value)(map(python_value, value)) if type(value) in (tuple, list) else value


def take_python_values(spec: Any) -> None:
    """Turn the fields of a frozen dataclass that are NumPy's numbers or arrays into Python's."""
    for f in dataclasses.fields(spec):
        object.__setattr__(spec, f.name, python_value(getattr(spec, f.name)))


def pairs(values: Any) -> Options:
    """Options from a dictionary, or from pairs, sorted by name."""
    items = values.items() if isinstance(values, dict) else values
    return tuple(sorted(((str(name), _hashable(python_value(value))) for name, value in items), key=itemgetter(0)))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def to_dict(spec: Any) -> Any:
    """A spec as plain JSON values."""
    if dataclasses.is_dataclass(spec):
        hints = typing.get_type_hints(type(spec))
        said = {
            f.name: getattr(spec, f.name)
            for f in dataclasses.fields(spec)
            if not f.metadata.get("later") or getattr(spec, f.name) != f.metadata["unsaid"](spec)
        }
        return {name: dict(value) if hints[name] == Options else to_dict(value) for name, value in said.items()}
    return [to_dict(value) for value in spec] if isinstance(spec, tuple) else spec


def to_json(spec: Any) -> str:
    """The canonical JSON of a spec: sorted keys, no spaces."""
    return json.dumps(to_dict(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)


def parsed(text: str) -> Any:
    """The plain values of a JSON text; ValueError says why there are none, or why no more can be done with them."""
    try:
        found = json.loads(text, object_pairs_hook=_named_once, parse_int=_whole)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from error
    check_plain(found)
    return found


def check_plain(value: Any) -> None:
    """ValueError for plain values, read from whatever text, that are nested too deeply or have a number too long."""
    level = [value]
    for _ in range(DEEPEST):
        for each in level:
            if not isinstance(each, (dict, list, str, int, float, types.NoneType)):
                raise ValueError(f"{each!r}, which is not a plain value")
            if isinstance(each, int) and each.bit_length() > BITS:
                raise ValueError(f"a whole number of more than {BITS} binary digits")
            if isinstance(each, str):
                each.encode()  # JSON can say half a character, which no file or database takes: a ValueError
        inside = (
            [*each, *each.values()] if isinstance(each, dict) else each
            for each in level
            if isinstance(each, (dict, list))
        )
        level = [value for values in inside for value in values]
    if level:
        raise ValueError(f"nested deeper than {DEEPEST} levels")


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"{next(name for name, count in counts.items() if count > 1)!r} is given twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > BITS:  # Python's own limit would say to change Python's limit
        raise ValueError(f"a whole number of more than {BITS} binary digits")
    return int(digits)


def from_dict(cls: type[T], values: Any) -> T:
    """The spec of class `cls` with these plain values; InputError names an unknown field."""
    need(isinstance(values, dict), f"{values!r} is not a {cls.__name__}: give its fields by name")
    hints = typing.get_type_hints(cls)
    for name in values:
        choice(name, hints, f"field of {cls.__name__}")
    fields = dataclasses.fields(typing.cast(Any, cls))
    for f in fields:
        given = f.name in values or f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        need(given, f"{f.name} of a {cls.__name__} is missing: give it")
    made: Any = cls(**{name: _convert(hints[name], value, name) for name, value in values.items()})
    unsaid = {f.name: f.metadata["unsaid"](made) for f in fields if f.metadata.get("later") and f.name not in values}
    return typing.cast(T, dataclasses.replace(made, **unsaid) if unsaid else made)


def merged(spec: T, values: dict[str, Any]) -> T:
    """The spec with these of its fields changed, given as plain values; errors as of `from_dict`."""
    hints = typing.get_type_hints(type(spec))
    for name in values:
        choice(name, hints, f"field of {type(spec).__name__}")
    changed = {name: _convert(hints[name], value, name) for name, value in values.items()}
    return typing.cast(T, dataclasses.replace(typing.cast(Any, spec), **changed))


def _convert(hint: Any, value: Any, what: str) -> Any:
    """`value` of plain JSON as `hint` has it; one value stands for a tuple of one. InputError names the field, `what`."""
    value = python_value(value)
    several = isinstance(value, (list, tuple))
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None and types.NoneType in typing.get_args(hint):
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
    if hint is Any:
        return value
    if typing.get_origin(hint) is list:
        need(isinstance(value, list), f"{what} {value!r} is not allowed: give a list")
        return [_convert(typing.get_args(hint)[0], each, what) for each in value]
    if typing.get_origin(hint) is dict:
        need(isinstance(value, dict), f"{what} {value!r} is not allowed: give values by name, as in {{name: value}}")
        return {name: _convert(typing.get_args(hint)[1], each, f"{what}.{name}") for name, each in value.items()}
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
