"""Checks of user input; each raises InputError with a message of one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real

from stacked.util.errors import InputError

#: The most names that the message about an unknown one lists.
MOST_NAMES = 12


def need(ok: bool, message: str) -> None:
    """Raise InputError(message) unless `ok`."""
    if not ok:
        raise InputError(message)


def choice(value: str, allowed: Iterable[str], what: str, all_named: str = "'list' names all") -> None:
    """Raise InputError unless `value` is one of `allowed`; `what` names the value in the message.

    all_named: how a user is told all names, if they are too many for the message.
    """
    names = list(allowed)
    if value not in names:  # `meant` compares letters, which would take most of the time of making a spec
        raise InputError(f"{what} {value!r} is not known{choices(value, names, meant(value, names), all_named)}")


def choices(value: str, known: Sequence[str], hint: str, all_named: str = "'list' names all") -> str:
    """Return the end of the message that `value` is none of the `known` names: the hint of `meant`, then names to choose from.

    These are all names if the value is "list", by which users ask for them, and else at most MOST_NAMES and
    `all_named`.
    """
    if value == "list":
        return f": choose from {', '.join(known)}"
    rest = f" and {len(known) - MOST_NAMES} others ({all_named})" if len(known) > MOST_NAMES else ""
    return f"{f'{hint} Choose' if hint else ': choose'} from {', '.join(known[:MOST_NAMES])}{rest}"


def meant(word: object, known: Iterable[str], before: str = "") -> str:
    """A "did you mean" hint at the nearest of the `known` words, prefixed by `before`; "" if none is similar."""
    near = get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {before + near[0]!r}?" if near else ""


def finite(value: object) -> bool:
    """Whether `value` is a real number (Python's or NumPy's, no boolean) that a float can represent, not NaN or infinite."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an integer larger than any float
        return False


def utf8(value: str, what: str) -> None:
    """Raise InputError if `value` has a null character or lone surrogates, which file systems and databases refuse."""
    ok = "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    need(ok, f"{what} {value!r} is not allowed: give a name in UTF-8, without null characters")


def positive(value: float, what: str) -> None:
    """Raise InputError unless `value` is a finite number above 0."""
    need(finite(value) and value > 0, f"{what} {value!r} is not allowed: give a number above 0")


def share(value: float, what: str) -> None:
    """Raise InputError unless `value` is a number from 0 to 1."""
    need(finite(value) and 0 <= value <= 1, f"{what} {value!r} is not allowed: give a share from 0 to 1")


def whole(value: object, what: str, least: int = 1, most: int = 2**63 - 1) -> None:
    """Raise InputError unless `value` is an integer (Python's or NumPy's) from `least` to `most`."""
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else least - 1
    need(number >= least, f"{what} {value!r} is not allowed: give an integer of at least {least}")
    need(number <= most, f"{what} {value!r} is not allowed: give an integer of at most {most}")


def wholes(values: Sequence[int], what: str, least: int = 1, most: int = 2**63 - 1) -> list[int]:
    """Return the distinct integers among `values`, sorted; InputError for one that is not from `least` to `most`."""
    for value in values:
        whole(value, what, least, most)
    return sorted({int(value) for value in values})


def layout_hint(shape: Sequence[int]) -> str:
    """A hint for images of this shape that do not seem to be [N, C, H, W]; "" if there is nothing to say."""
    if len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > 4:
        return "; channels seem to come last: permute(0, 3, 1, 2), or transpose in NumPy, puts them first"
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > 4:
        return "; channels seem to come last in one image: permute(2, 0, 1)[None], in NumPy transpose, puts them first"
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        return "; add a batch axis to one image with [None]"
    if len(shape) == 3 and min(shape[1:]) > 4:
        return "; add a channel axis to grey images with [:, None]"
    if len(shape) == 2 and min(shape) > 4:
        return "; add batch and channel axes to one grey image with [None, None]"
    return ""
