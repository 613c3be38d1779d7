"""Specs as plain values: dictionaries, canonical JSON, and flat dictionaries for tables and trackers.

A run's id is a hash of its spec's JSON. Fields that were added after specs had been recorded are declared with
`omit_if_default`: the JSON leaves them out where they have their default, so that recorded specs keep their JSON and their id.
Such a default must never change. A field that was renamed keeps its old name in the JSON (`stored_name`).
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections import Counter
from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import Any, TypeVar

from stacked.util.checks import choice, need
from stacked.util.errors import InputError

T = TypeVar("T")

#: how error messages name the types of values
TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}

#: Limits of plain values that are read: levels of nesting, and binary digits of an integer.
DEEPEST, BITS = 50, 1000

#: A dictionary as sorted pairs, which can be hashed.
Options = tuple[tuple[str, Any], ...]


def omit_if_default(default: Any, if_absent: Callable[[Any], Any] | None = None, stored_name: str | None = None) -> Any:
    """Declare a field of a spec that its JSON leaves out where it has this default.

    if_absent: function of the spec that gives the field's value in a spec recorded without the field, where that is not the
        default. The JSON then leaves out this value instead.
    stored_name: the field's name in JSON, where it was renamed; both names can be read.
    """
    return dataclasses.field(
        default=default,
        metadata={"if_absent": if_absent or (lambda spec: default)}
        | ({"stored_name": stored_name} if stored_name else {}),
    )


def python_value(value: Any) -> Any:
    """Return a number, text or array of NumPy's or torch's as Python's own (arrays as tuples); other values unchanged.

    A spec made from NumPy's numbers then equals one made from Python's, with the same JSON and id.
    """
    if hasattr(value, "tolist") and hasattr(value, "ndim"):  # NumPy and torch values, without importing either
        return _hashable(value.tolist())
    return type(value)(map(python_value, value)) if type(value) in (tuple, list) else value


def take_python_values(spec: Any) -> None:
    """Convert the fields of a frozen dataclass in place, so that equal specs are equal, can be hashed and have the same JSON.

    NumPy's numbers and arrays become Python's, and options become pairs. Where a field holds several values, a list becomes a
    tuple, and a single value a tuple of one. Raises InputError for a value that cannot be any of these; numbers and words are
    not checked.
    """
    hints = _hints(spec.__class__)
    for f in dataclasses.fields(spec):
        object.__setattr__(spec, f.name, _taken(hints[f.name], python_value(getattr(spec, f.name)), f.name))


def _taken(hint: Any, value: Any, what: str) -> Any:
    """Convert a value for `take_python_values`; `what` names it in errors."""
    if hint == Options:
        return named_values(value, what)
    if dataclasses.is_dataclass(hint):
        part = typing.cast(type, hint)
        need(isinstance(value, part), f"{what} {value!r} is not allowed: give a {part.__name__}")
        return value
    hints = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    several = next((each for each in hints if typing.get_origin(each) is tuple), None)
    if several is None or (value is None and types.NoneType in hints):
        return value
    item, *more = typing.get_args(several)
    if isinstance(value, (list, tuple)):
        return tuple(_taken(item, each, what) for each in value)
    single = value is None and types.NoneType in typing.get_args(item)
    need(
        more == [...] and (single or isinstance(value, (int, float, str)) or dataclasses.is_dataclass(value)),
        f"{what} {value!r} is not allowed: give {'one value, or ' * (more == [...])}a list of values",
    )
    return value if {int, float} & {*hints} else (_taken(item, value, what),)


def named_values(value: Any, what: str) -> Options:
    """Return options, given as a dictionary or as pairs, as pairs sorted by name; InputError, which names `what`, for others."""
    several = isinstance(value, (list, tuple))
    named = isinstance(value, dict) or (several and all(isinstance(v, (list, tuple)) and len(v) == 2 for v in value))
    need(named, f"{what} {value!r} is not allowed: give values by name, as in {{name: value}}")
    return pairs(value)


def pairs(values: Any) -> Options:
    """Return options, given as a dictionary or as pairs, as pairs sorted by name."""
    items = values.items() if isinstance(values, dict) else values
    return tuple(sorted(((str(name), _hashable(python_value(value))) for name, value in items), key=itemgetter(0)))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


@cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields, which `typing` evaluates anew from their text every time."""
    return typing.get_type_hints(cls)


def to_dict(spec: Any) -> Any:
    """Return a spec as plain JSON values."""
    if dataclasses.is_dataclass(spec):
        hints = _hints(typing.cast(Any, type(spec)))
        values = {}
        for f in dataclasses.fields(spec):
            value = getattr(spec, f.name)
            if "if_absent" not in f.metadata or value != f.metadata["if_absent"](spec):
                stored = f.metadata.get("stored_name", f.name)
                values[stored] = dict(value) if hints[f.name] == Options else to_dict(value)
        return values
    return [to_dict(value) for value in spec] if isinstance(spec, tuple) else spec


def to_json(spec: Any) -> str:
    """Return the canonical JSON of a spec: sorted keys, no spaces."""
    return json.dumps(to_dict(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)


def parsed(text: str) -> Any:
    """Return the plain values in a JSON text; ValueError if it is no JSON or exceeds the limits of `check_plain`."""
    try:
        found = json.loads(text, object_pairs_hook=_named_once, parse_int=_whole)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from error
    check_plain(found)
    return found


def check_plain(value: Any) -> None:
    """Raise ValueError unless `value` consists of plain values, nested at most DEEPEST levels, with integers of at most BITS."""
    level = [value]
    for _ in range(DEEPEST):
        for each in level:
            if not isinstance(each, (dict, list, str, int, float, types.NoneType)):
                raise ValueError(f"{each!r}, which is not a plain value")
            if isinstance(each, int) and each.bit_length() > BITS:
                raise ValueError(f"a whole number of more than {BITS} binary digits")
            if isinstance(each, str) and not each.isascii():
                each.encode()  # ValueError for a lone surrogate, which JSON allows and files and databases refuse
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
    if len(digits) > BITS:  # checked here because Python's own error would advise raising Python's limit
        raise ValueError(f"a whole number of more than {BITS} binary digits")
    return int(digits)


def from_dict(cls: type[T], values: Any) -> T:
    """Return the spec of class `cls` with these plain values; InputError for an unknown, missing or invalid field."""
    if not isinstance(
        values, dict
    ):  # not `need`, whose message would be written out for long values that are right, too
        raise InputError(f"{values!r} is not a {cls.__name__}: give its fields by name")
    values, hints = _by_field_name(cls, values), _hints(typing.cast(Any, cls))
    fields = dataclasses.fields(typing.cast(Any, cls))
    for f in fields:
        given = f.name in values or f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        need(given, f"{f.name} of a {cls.__name__} is missing: give it")
    made: Any = cls(**{name: _convert(hints[name], value, name) for name, value in values.items()})
    absent = [f for f in fields if "if_absent" in f.metadata and f.name not in values]
    changes = {f.name: f.metadata["if_absent"](made) for f in absent}
    return typing.cast(T, dataclasses.replace(made, **changes) if changes else made)


def _by_field_name(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Replace stored names by those of the fields; InputError for an unknown field, or one given under both names."""
    fields = dataclasses.fields(typing.cast(Any, cls))
    renamed = {f.metadata["stored_name"]: f.name for f in fields if "stored_name" in f.metadata}
    for name in values:
        choice(renamed.get(name, name), [f.name for f in fields], f"field of {cls.__name__}", "{list: 0} names all")
        twice = name in renamed and renamed[name] in values
        need(not twice, f"{name} is the former name of {renamed.get(name)}, which is given too: leave it out")
    return {renamed.get(name, name): value for name, value in values.items()}


def merged(spec: T, values: dict[str, Any]) -> T:
    """Return the spec with these fields changed, given as plain values; raises the errors of `from_dict`."""
    hints = _hints(typing.cast(Any, type(spec)))
    given = _by_field_name(type(spec), values)
    changed = {name: _convert(hints[name], value, name) for name, value in given.items()}
    return typing.cast(T, dataclasses.replace(typing.cast(Any, spec), **changed))


def _convert(hint: Any, value: Any, what: str) -> Any:
    """Convert a plain JSON value to the type `hint`; a single value becomes a tuple of one. `what` names it in errors."""
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
        return named_values(value, what)
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
    if not right:
        raise InputError(f"{what} {value!r} is not allowed: give {TYPE_NAMES[hint]}")
    return value


def flat(spec: Any, prefix: str = "") -> dict[str, Any]:
    """Return the fields of a spec as a flat dictionary with dotted names, for tables and trackers."""
    found: dict[str, Any] = {}
    for name, value in to_dict(spec).items():
        if isinstance(value, dict):
            found |= {f"{prefix}{name}.{inner}": each for inner, each in value.items()}
        else:
            found[prefix + name] = value
    return found
