"""Checks of values that users give; each raises InputError with one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable

from stacked.errors import InputError


def need(ok: bool, message: str) -> None:
    """Raise InputError(message) unless ok."""
    if not ok:
        raise InputError(message)


def choice(value: str, allowed: Iterable[str], what: str) -> None:
    """Raise InputError unless value is among the allowed."""
    need(value in allowed, f"{what} {value!r} is not known: choose from {', '.join(allowed)}")


def positive(value: float, what: str) -> None:
    """Raise InputError unless value is a finite number above 0."""
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    need(ok, f"{what} {value!r} is not allowed: give a number above 0")


def whole(value: object, what: str, least: int = 1) -> None:
    """Raise InputError unless value is an integer of at least `least`."""
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= least
    need(ok, f"{what} {value!r} is not allowed: give an integer of at least {least}")
