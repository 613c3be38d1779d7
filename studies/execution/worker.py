"""A worker process: it opens the shared data, runs one job after another, and shows its progress to its parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from ctypes import c_bool
from typing import TypeAlias

from stacked.data.shared import Place, Reader
from stacked.runtime.progress import Screen, say_warnings, shown
from studies.execution.job import GRACE_SECONDS, Job, Row, run_job
from studies.execution.shared_text import SharedText

#: In a worker process: the reader of the data that it trains on, and the text that shows its progress.
WORKER_DATA: list[Reader] = []
WORKER_PROGRESS: list[SharedText] = []

#: A flag that processes share without a lock: a killed process cannot leave it locked.
Flag: TypeAlias = c_bool


def prepare_worker(parent: int, place: Place | None = None) -> None:
    """Make this process a worker: it ignores SIGINT, which the parent handles, and ends when the parent dies.

    place: location of the shared data, which are opened here, because the parent may end before they are used. SIGTERM is
    handled during a run only: a worker that waits for a job holds the lock of the queue, and if it died the other workers would
    wait forever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say_warnings()
    WORKER_DATA.extend([Reader(place)] if place else [])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(parent: int, place: Place, started: Flag, texts: SharedText) -> None:
    """Make this process a worker that writes its progress to `texts`, and set the flag `started`."""
    prepare_worker(parent, place)
    WORKER_PROGRESS.append(texts)
    started.value = True


def run_in_worker(job: Job) -> Row:
    """Run one job in this worker process, on the data that it has opened."""
    with shown(Screen(job.label, send=WORKER_PROGRESS[0].write)):
        return run_job(job, WORKER_DATA[0].splits)
