"""Checks of values that users give; each raises InputError with one sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from stacked.errors import InputError


def need(ok: bool, message: str) -> None:
    """Raise InputError(message) unless ok."""
    if not ok:
        raise InputError(message)


def choice(value: str, allowed: Iterable[str], what: str) -> None:
    """Raise InputError unless value is among the allowed."""
    names = list(allowed)
    need(value in names, f"{what} {value!r} is not known: choose from {', '.join(names)}{meant(value, names)}")


def meant(word: object, known: Iterable[str], before: str = "") -> str:
    """A hint at the nearest of the `known` words, with what stands `before` it; "" where none is near."""
    near = get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {before + near[0]!r}?" if near else ""


def finite(value: object) -> bool:
    """Whether value is a number, and one that a float can be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def utf8(value: str, what: str) -> None:
    """Raise InputError for text that no file system or database takes: with a null character, or not Unicode."""
    ok = "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    need(ok, f"{what} {value!r} is not allowed: give a name in UTF-8, without null characters")


def positive(value: float, what: str) -> None:
    """Raise InputError unless value is a finite number above 0."""
    need(finite(value) and value > 0, f"{what} {value!r} is not allowed: give a number above 0")


def whole(value: object, what: str, least: int = 1, most: int = 2**63 - 1) -> None:
    """Raise InputError unless value is an integer from `least` to `most`."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else least - 1
    need(number >= least, f"{what} {value!r} is not allowed: give an integer of at least {least}")
    need(number <= most, f"{what} {value!r} is not allowed: give an integer of at most {most}")


def wholes(values: Sequence[int], what: str, least: int = 1, most: int = 2**63 - 1) -> list[int]:
    """The integers from `least` to `most` that are given, each once and in order; InputError for another."""
    for value in values:
        whole(value, what, least, most)
    return sorted(set(values))
