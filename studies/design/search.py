"""Search spaces: the values that a trial of tuning may give to a field of a spec, and which of them each trial gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

#: The part of a range, from each end, in which a chosen value lies at its edge.
EDGE = 0.1


@dataclass(frozen=True)
class LogRange:
    """Numbers from `low` to `high`, uniform in their logarithm, with three significant digits."""

    low: float
    high: float

    def at(self, place: float) -> float:
        """The number at a place from 0 (low) to 1 (high)."""
        return float(f"{self.low * (self.high / self.low) ** place:.3g}")

    def edge(self, value: float) -> str:
        """ "low" or "high" for a number in the outer tenth of the range, else ""."""
        place = math.log(value / self.low) / math.log(self.high / self.low)
        return "low" if place < EDGE else "high" if place > 1 - EDGE else ""

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, logarithmic"


@dataclass(frozen=True)
class Times:
    """The study's own number of the field times a factor from `low` to `high`, uniform in its logarithm."""

    low: float
    high: float

    def of(self, own: float) -> LogRange:
        """The range for a study with this number."""
        return LogRange(own * self.low, own * self.high)


@dataclass(frozen=True)
class Among:
    """One of these values, each as likely; numbers are given in ascending order."""

    values: tuple[Any, ...]

    def at(self, place: float) -> Any:
        """The value at a place from 0 (the first) to 1 (the last)."""
        return self.values[min(int(place * len(self.values)), len(self.values) - 1)]

    def edge(self, value: Any) -> str:
        """ "low" or "high" for the smallest or largest of numbers, else ""; words have no edge."""
        if isinstance(value, str) or len(self.values) < 2:
            return ""
        return "low" if value == self.values[0] else "high" if value == self.values[-1] else ""

    def __str__(self) -> str:
        return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in self.values)


#: what may be drawn for fields of a spec, by dotted name: {"optimisation.lr": LogRange(1e-3, 1e-1)}
Space: TypeAlias = Mapping[str, LogRange | Among]
#: the same for a study whatever its command line says
Search: TypeAlias = Mapping[str, LogRange | Among | Times]


def places(fields: Sequence[str], trials: int, seed: int) -> list[dict[str, float]]:
    """For each trial a place from 0 to 1 in the range of every field: points of a scrambled Sobol sequence.

    They cover the space more evenly than independent draws do, and the first points of a longer sequence are those of a
    shorter one: trials can be added later, and done in any order.
    """
    if not fields:
        return [{} for _ in range(trials)]
    from torch.quasirandom import SobolEngine

    drawn = SobolEngine(len(fields), scramble=True, seed=seed).draw(trials).tolist()
    return [dict(zip(fields, point, strict=True)) for point in drawn]
