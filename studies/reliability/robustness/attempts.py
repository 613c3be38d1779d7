"""What one attempt to do harm came to, and the table of all attempts."""

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
#: What can come of an attempt, best first, and what each word means.
OUTCOMES = {
    NOTICED: "an error or a warning of one line says what is wrong",
    UNHARMED: "the same result as without damage",
    BELIEVED: "another result, without a word",
    FAILED: "a traceback, something lost, or more than the time or memory allowed",
}
#: More characters are no line that a person reads.
LONGEST = 2000


@dataclass(frozen=True)
class Attempt:
    """One attempt. case: what was done to the subject. seconds: until the outcome. megabytes: memory at most, where measured."""

    family: str
    subject: str
    case: str
    outcome: str
    detail: str
    seconds: float
    megabytes: float | None = None


def attempt(family: str, subject: str, case: str, read: Callable[[], Any], intact: Any) -> Attempt:
    """Read something damaged; `intact` is what reading gives without the damage, compared by `==`."""
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            same, detail = read() == intact, "; ".join(str(each.message) for each in told)
            outcome = UNHARMED if same else NOTICED if detail else BELIEVED
        except InputError as error:
            outcome, detail = NOTICED, str(error)
        except Exception as error:  # whatever else is raised is a fault, and counted as one
            outcome, detail = FAILED, f"{type(error).__name__}: {error}"
    if outcome == NOTICED and not (detail.isprintable() and len(detail) <= LONGEST):
        outcome = FAILED
    return Attempt(family, subject, case, outcome, " ".join(detail.split())[:300], time.perf_counter() - began)


def write_attempts(path: Path, attempts: list[Attempt]) -> None:
    """Write the table as CSV."""
    table = pd.DataFrame(map(asdict, attempts), columns=[field.name for field in fields(Attempt)])
    write_atomically(path, table.round({"seconds": 3, "megabytes": 1}).to_csv(index=False, lineterminator="\n"))
