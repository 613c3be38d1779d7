"""The metrics of a run at one step, as they are stored and sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoggedMetrics:
    """Metrics of a run at one step.

    run: name of the run. step: number of updates. time: in ms since 1970. metrics: values by name, NaN where they are not
    finite.
    """

    run: str
    step: int
    time: int
    metrics: dict[str, float]
