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

    def around(self, value: float) -> LogRange:
        """Return a range of half the width (of the logarithm), centred on `value`; it may extend beyond this one."""
        factor = (self.high / self.low) ** 0.25
        return LogRange(float(f"{value / factor:.3g}"), float(f"{value * factor:.3g}"))

    def joined(self, other: LogRange) -> LogRange:
        """Return the smallest range that contains both."""
        return LogRange(min(self.low, other.low), max(self.high, other.high))

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

    def around(self, value: Any) -> Among:
        """Return the number `value` and its neighbours, or all values if they are strings.

        Beyond the smallest or largest number, the neighbour is in the same ratio as that on the other side; a whole number
        stays whole, and is at least 1.
        """
        if isinstance(value, str) or len(self.values) < 2:
            return self
        at = self.values.index(value)
        extended = (self._beyond(0, 1), *self.values, self._beyond(-1, -2))
        return Among(tuple(dict.fromkeys(extended[at : at + 3])))

    def _beyond(self, edge: int, neighbour: int) -> Any:
        """Return the number beyond the one at index `edge`, which is itself if one of the two is 0."""
        at_edge, inner = self.values[edge], self.values[neighbour]
        if not at_edge or not inner:
            return at_edge
        number = at_edge * at_edge / inner
        return max(1, round(number)) if isinstance(at_edge, int) else float(f"{number:.3g}")

    def joined(self, other: Among) -> Among:
        """Return the values of both, numbers in ascending order."""
        values = dict.fromkeys([*self.values, *other.values])
        return Among(tuple(values) if any(isinstance(value, str) for value in values) else tuple(sorted(values)))

    def __str__(self) -> str:
        return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in self.values)


#: A search space as a study defines it: ranges by dotted field name, as {"optimisation.lr": LogRange(1e-3, 1e-1)}. A range may be
#: a factor of the field's default value, which depends on the arm and the command line.
Search: TypeAlias = Mapping[str, LogRange | Among | Times]
#: The search space of an arm, as trials draw from it: `Search` with every `Times` replaced by its range.
Space: TypeAlias = Mapping[str, LogRange | Among]


def refined(space: Space, values: Mapping[str, Any]) -> Space:
    """Return a space around these values: each range is centred on its value, also if that lies at the edge of the range."""
    return {name: range_.around(values[name]) for name, range_ in space.items()}


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
