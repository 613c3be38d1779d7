"""Search spaces of tuning: the range of each field, and the point of the space that each trial gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

#: The fraction of a range, at each end, that counts as its edge.
EDGE = 0.1


@dataclass(frozen=True)
class LogRange:
    """Numbers from `low` to `high`, log-uniform, rounded to three significant digits."""

    low: float
    high: float

    def at(self, position: float) -> float:
        """Return the number at a position from 0 (`low`) to 1 (`high`)."""
        return float(f"{self.low * (self.high / self.low) ** position:.3g}")

    def edge(self, value: float) -> str:
        """Return "low" or "high" for a number in the outer tenth of the range, else ""."""
        position = math.log(value / self.low) / math.log(self.high / self.low)
        return "low" if position < EDGE else "high" if position > 1 - EDGE else ""

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, logarithmic"


@dataclass(frozen=True)
class Times:
    """The default value of the field times a log-uniform factor from `low` to `high`."""

    low: float
    high: float

    def of(self, default: float) -> LogRange:
        """Return the range for a default value."""
        return LogRange(default * self.low, default * self.high)


@dataclass(frozen=True)
class Among:
    """One of these values with equal probability; numbers must be in ascending order."""

    values: tuple[Any, ...]

    def at(self, position: float) -> Any:
        """Return the value at a position from 0 (the first) to 1 (the last)."""
        return self.values[min(int(position * len(self.values)), len(self.values) - 1)]

    def edge(self, value: Any) -> str:
        """Return "low" or "high" for the smallest or largest number, else ""; strings have no edge."""
        if isinstance(value, str) or len(self.values) < 2:
            return ""
        return "low" if value == self.values[0] else "high" if value == self.values[-1] else ""

    def __str__(self) -> str:
        return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in self.values)


#: A search space as a study defines it: ranges by dotted field name, as {"optimisation.lr": LogRange(1e-3, 1e-1)}. A range may be
#: a factor of the field's default value, which depends on the arm and the command line.
Search: TypeAlias = Mapping[str, LogRange | Among | Times]
#: The search space of an arm, as trials draw from it: `Search` with every `Times` replaced by its range.
Space: TypeAlias = Mapping[str, LogRange | Among]


def sobol_points(fields: Sequence[str], trials: int, seed: int) -> list[dict[str, float]]:
    """Return a point for each trial, with a position from 0 to 1 for every field, from a scrambled Sobol sequence.

    The points cover the space more evenly than independent draws. A longer sequence starts with the points of a shorter one, so
    that trials can be added later.
    """
    if not fields:
        return [{} for _ in range(trials)]
    from torch.quasirandom import SobolEngine

    drawn = SobolEngine(len(fields), scramble=True, seed=seed).draw(trials).tolist()
    return [dict(zip(fields, point, strict=True)) for point in drawn]
