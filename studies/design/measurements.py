"""The parts of a study of measurements: methods, and the values that they yield."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from stacked.data import Splits


class Measurement(NamedTuple):
    """One measured value of an `arm` under a `condition` ("": there is only one), in the unit of its measure."""

    arm: str
    condition: str
    measure: str
    value: float


@dataclass(frozen=True)
class Context:
    """What a method gets: the data, the parsed command line, and the folder of the record."""

    splits: Splits
    given: argparse.Namespace
    out: Path


#: Function (context, seed) that yields the measurements of a method, of the same conditions and measures for each of its arms
#: (NaN: not defined). The context is that of the session, a `Context` if the study has data. If the method cannot run, the
#: function raises InputError before the first measurement.
Method: TypeAlias = Callable[[Any, int], Iterable[Measurement]]
