"""Robustness tests by kills at random times, as in `studies.torture`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from studies.reliability.kills import Ended, Kill
from studies.reliability.robustness.attempts import FAILED, UNHARMED, Attempt
from studies.reliability.torture import torture

FAMILY = "killed studies"


def try_kills(folder: Path, count: int, dice: random.Random) -> Iterator[Attempt]:
    """Kill studies `count` times; the outcome of each attempt is that of the study that was resumed."""
    events = list(torture(folder, count, dice))
    differs = {each.study: each.differs for each in events if isinstance(each, Ended)}
    for each in (event for event in events if isinstance(event, Kill)):
        found = differs[each.study]
        case = f"study {each.study}: {each.way} to the {each.to} after {each.after:.1f} s, {each.jobs} jobs"
        yield Attempt(FAMILY, each.way, case, FAILED if found else UNHARMED, found, each.ended_in)
