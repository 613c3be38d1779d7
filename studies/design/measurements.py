"""What a study of measurements consists of: methods that measure themselves with a seed, and what they find."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from stacked.data import Splits


class Measurement(NamedTuple):
    """One value: of an `arm`, under a `condition` ("": there is only one), in the unit of its measure."""

    arm: str
    condition: str
    measure: str
    value: float


@dataclass(frozen=True)
class Context:
    """What a method is measured on: the data, the command line's values, and the folder of the record."""

    splits: Splits
    given: argparse.Namespace
    out: Path


#: measures itself, in what its session gives (a Context, where there are data) and with a seed; where it cannot, it raises
#: InputError before it has measured anything
Method: TypeAlias = Callable[[Any, int], Iterable[Measurement]]
