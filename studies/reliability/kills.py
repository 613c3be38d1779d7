"""What is noted of a kill, and of a study that was brought to its end through kills."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds in which a process that was asked to end must have ended.
PROMPT = 10.0


@dataclass(frozen=True)
class Kill:
    """One kill. after, ended_in: seconds from start to signal, and from signal to end. kept: places by run, as phases:updates."""

    study: int
    way: str
    to: str
    after: float
    ended_in: float
    checkpoint_every: int | None
    jobs: int
    finished_rows: int
    kept: str


@dataclass(frozen=True)
class Ended:
    """A study that ended after `kills`: in what it differs from one that nobody killed, "" where in nothing."""

    study: int
    kills: int
    differs: str
