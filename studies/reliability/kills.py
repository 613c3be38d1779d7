"""The records of a kill, and of a study that was killed and resumed until it ended."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds within which a process must end after SIGTERM or SIGINT.
PROMPT = 10.0


@dataclass(frozen=True)
class Kill:
    """One kill.

    study: number of the study. way, to: signal and its target. after: seconds from start to signal. ended_in: seconds from signal
    to end. checkpoint_every, jobs: options of the study. finished_rows: rows that were finished. kept: the newest checkpoint of
    each run, as phases:updates.
    """

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
    """A study that ended after a number of `kills`, and its differences from an undisturbed study ("": none)."""

    study: int
    kills: int
    differs: str
