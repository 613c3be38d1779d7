"""What worker processes do where a test asks how they end; no torch is loaded here, since each of them would load it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from stacked.runtime.interruption import Interruption
from studies.execution.job import Job, Row

if TYPE_CHECKING:
    from stacked.data import Splits


@dataclass(frozen=True)
class Tells(Job):
    """A job that tells in which process, and on which data, it was done; it ends when `at_once` processes have begun one."""

    at_once: int = 1

    def run(self, splits: Splits, stop: Callable[[], bool]) -> Row:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        folder, deadline = self.given.out.parent, time.monotonic() + 60
        (folder / f"{os.getpid()} began").touch()
        while len(list(folder.glob("* began"))) < self.at_once and time.monotonic() < deadline:
            time.sleep(0.02)
        return {"digest": splits.digest, "process": os.getpid(), "status": "finished"}


def trains(begun: Path) -> str:
    """A run as far as ending goes: it keeps its place when asked."""
    with Interruption((signal.SIGTERM,)) as asked:
        begun.touch()
        while not asked():
            time.sleep(0.01)
    return "kept"


def is_stuck(begun: Path) -> None:
    """A run that does not end when asked."""
    begun.touch()
    time.sleep(120)


def trains_in(job: SimpleNamespace) -> None:
    """Train for a job, whose `folder` tells that this has begun, and that the place was kept."""
    (job.folder / f"{job.label} {trains(job.folder / f'{job.label} begun')}").touch()
