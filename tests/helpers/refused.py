"""Bad input by the thousand: what is drawn, and what every refusal must be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import currently_in_test_context, event
from hypothesis import strategies as st

from stacked.util.errors import InputError

T = TypeVar("T")

#: values that are right almost nowhere, and the ones that break arithmetic, printing and files
NASTY: list[Any] = [
    *(
        None,
        True,
        False,
        "",
        " ",
        "x",
        "None",
        "nan",
        "1",
        "0.5",
        "mse",
        "a\nb",
        "tab\t",
        "\x00",
        "\x1b[31m",
        "é",
        "日本",
    ),
    *(
        "\ud800",
        "\u2028",
        "x" * 5000,
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"a": {"b": [1]}},
        [1, "a"],
        [["a", 1], ["a", "b"]],
    ),
    *(0, 1, 2, 3, -1, 7, 100, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-320, 1e-9, 1e17, 1e300, 1.7e308, math.inf, -math.inf, math.nan),
]


def numbers() -> st.SearchStrategy[Any]:
    """Any number of JSON."""
    return st.integers() | st.floats() | st.integers(-(10**320), 10**320)


def anything(leaves: int = 12) -> st.SearchStrategy[Any]:
    """Any value of JSON, NaN and infinities included."""
    simple = st.none() | st.booleans() | numbers() | st.text(max_size=8) | st.sampled_from(NASTY)
    return st.recursive(
        simple,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=leaves,
    )


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every value inside, the whole first."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, each in inside for place in places(each, (*path, name)))]


def replaced(value: Any, path: tuple[Any, ...], by: Callable[[Any], Any]) -> Any:
    """A copy with the value at `path` put through `by`."""
    if not path:
        return by(value)
    first, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {name: replaced(each, rest, by) if name == first else each for name, each in value.items()}
    return [replaced(each, rest, by) if i == first else each for i, each in enumerate(value)]


@st.composite
def mutated(draw: st.DrawFn, originals: list[Any], values: list[Any] | None = None, most: int = 3) -> Any:
    """One of these JSON values after 1 to `most` changes: something is dropped, added, renamed, doubled, or another value.

    `values` are put in beside the nasty ones: good ones, so that some of what comes out passes.
    """
    value = draw(st.sampled_from(originals))
    other = st.sampled_from([*NASTY, *(values or [])]) | anything(4)
    if values:
        other |= st.sampled_from(values)
    for _ in range(draw(st.integers(1, most))):
        path = draw(st.sampled_from(places(value)))
        new = draw(other)
        value = replaced(value, path, lambda old, new=new: draw(st.sampled_from(changes(old, new)))())
    return value


def changes(old: Any, new: Any) -> list[Callable[[], Any]]:
    """The ways to change one value."""
    ways: list[Callable[[], Any]] = [
        lambda: new,
        lambda: new,
        lambda: [old],
        lambda: {"a": old},
        lambda: json.dumps(old),
    ]
    if isinstance(old, dict):
        ways += [lambda: old | {str(new)[:20]: new}]
        for name in old:
            rest = {other: each for other, each in old.items() if other != name}
            ways += [lambda rest=rest: rest, lambda rest=rest, name=name: rest | {name + "s": old[name]}]
    if isinstance(old, list):
        ways += [lambda: old[1:], lambda: [*old, new], lambda: old * 2, list]
    if isinstance(old, (int, float)):
        ways += [lambda: -old, lambda: float(old) if abs(old) < 1e300 else 0.5, lambda: bool(old), lambda: 1000 * old]
    return ways


def text_of(value: Any) -> str:
    """JSON, whatever its numbers are: an integer of any length, NaN and infinities as Python writes them."""
    return json.dumps(value)


def broken(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts with a piece cut out, put in, or written twice."""

    @st.composite
    def one(draw: st.DrawFn) -> str:
        text = draw(texts)
        a, b = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        piece = draw(st.sampled_from([text[:a], text[a:b], ""]) | st.text(max_size=5))
        return text[:a] + piece + text[draw(st.sampled_from([a, b])) :]

    return one()


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file's bytes cut short, with bytes changed, put in, repeated or added, or others altogether."""
    at = draw(st.integers(0, len(content)))
    junk = draw(st.binary(max_size=40))
    ways = {
        "cut": content[:at],
        "flipped": content[:at] + bytes(b ^ (1 << len(junk) % 8) for b in content[at : at + 1]) + content[at + 1 :],
        "put in": content[:at] + junk + content[at:],
        "overwritten": content[:at] + junk + content[at + len(junk) :],
        "zeroed": content[:at] + bytes(len(content) - at),
        "twice": content + content[:at],
        "added": content + junk,
        "other": junk,
    }
    return ways[draw(st.sampled_from(sorted(ways)))]


def note(what: str) -> None:
    """Count this outcome among the examples of a property; nothing outside of one."""
    if currently_in_test_context():
        event(what)


def refusal(call: Callable[[], T]) -> tuple[T | None, str]:
    """(what the call gave, "") or (None, its refusal); a refusal is an InputError that is one clear line."""
    try:
        return call(), ""
    except InputError as error:
        message = str(error)
    assert message
    assert message.isprintable(), ascii(message)
    assert len(message) <= 2000
    assert message.encode()
    return None, message
