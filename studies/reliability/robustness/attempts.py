"""The outcome of a robustness test, called an attempt, and the table of all attempts."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from stacked.util.atomic import write_atomically
from stacked.util.errors import InputError

NOTICED, UNHARMED, BELIEVED, FAILED = "noticed", "unharmed", "believed", "failed"
#: The possible outcomes of an attempt, best first, with their meaning.
OUTCOMES = {
    NOTICED: "an error or a warning of one line says what is wrong",
    UNHARMED: "the result is the same as without damage",
    BELIEVED: "the result differs, without an error or a warning",
    FAILED: "a traceback, lost data, or more time or memory than allowed",
}
#: The largest number of characters of an error message.
LONGEST = 2000


@dataclass(frozen=True)
class Attempt:
    """One attempt.

    family, subject: what was tested. case: what was done to the subject. outcome: a key of OUTCOMES. detail: the message.
    seconds: time until the outcome. megabytes: peak of memory, if it was measured.
    """

    family: str
    subject: str
    case: str
    outcome: str
    detail: str
    seconds: float
    megabytes: float | None = None


def attempt(family: str, subject: str, case: str, read: Callable[[], Any], intact: Any) -> Attempt:
    """Read something damaged and return the outcome.

    read: function that reads it. intact: its result without the damage, compared with `==`.
    """
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            same, detail = read() == intact, "; ".join(str(each.message) for each in caught)
            outcome = UNHARMED if same else NOTICED if detail else BELIEVED
        except InputError as error:
            outcome, detail = NOTICED, str(error)
        except Exception as error:  # any other exception is a failure
            outcome, detail = FAILED, f"{type(error).__name__}: {error}"
    if outcome == NOTICED and not (detail.isprintable() and len(detail) <= LONGEST):
        outcome = FAILED
    return Attempt(family, subject, case, outcome, " ".join(detail.split())[:300], time.perf_counter() - started)


def write_attempts(path: Path, attempts: list[Attempt]) -> None:
    """Write the attempts to a CSV file."""
    table = pd.DataFrame(map(asdict, attempts), columns=[field.name for field in fields(Attempt)])
    write_atomically(path, table.round({"seconds": 3, "megabytes": 1}).to_csv(index=False, lineterminator="\n"))
