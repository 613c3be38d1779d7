"""What worker processes do where a test asks how they end; no torch is loaded here, since each of them would load it."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import SimpleNamespace

from stacked.runtime.interruption import Interruption


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
