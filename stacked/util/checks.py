"""Checks of values that users give; each raises InputError with one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real

from stacked.util.errors import InputError


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
    """Whether value is a number, Python's or NumPy's, and one that a float can be."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # a whole number that is larger than any float
        return False


def utf8(value: str, what: str) -> None:
    """Raise InputError for text that no file system or database takes: with a null character, or not Unicode."""
    ok = "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    need(ok, f"{what} {value!r} is not allowed: give a name in UTF-8, without null characters")


def positive(value: float, what: str) -> None:
    """Raise InputError unless value is a finite number above 0."""
    need(finite(value) and value > 0, f"{what} {value!r} is not allowed: give a number above 0")


def whole(value: object, what: str, least: int = 1, most: int = 2**63 - 1) -> None:
    """Raise InputError unless value is an integer, Python's or NumPy's, from `least` to `most`."""
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else least - 1
    need(number >= least, f"{what} {value!r} is not allowed: give an integer of at least {least}")
    need(number <= most, f"{what} {value!r} is not allowed: give an integer of at most {most}")


def wholes(values: Sequence[int], what: str, least: int = 1, most: int = 2**63 - 1) -> list[int]:
    """The integers from `least` to `most` that are given, each once and in order; InputError for another."""
    for value in values:
        whole(value, what, least, most)
    return sorted({int(value) for value in values})


def layout_hint(shape: Sequence[int]) -> str:
    """What to do about images of this shape that are not [N, C, H, W] but seem to be; "" for others."""
    if len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > 4:
        return "; channels seem to be last here: permute(0, 3, 1, 2) puts them first (of NumPy arrays, transpose)"
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        return "; [None] makes one image a batch"
    if len(shape) == 3 and min(shape[1:]) > 4:
        return "; grey images have one channel: [:, None] adds its axis"
    return ""
