"""What a run measures at one step, as it is sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """Metrics of a run at one step.

    `run` is the run's name, `step` counts updates, `time` is in milliseconds since 1970. A value that is not
    finite is NaN.
    """

    run: str
    step: int
    time: int
    metrics: dict[str, float]
