"""Robustness tests by a tracking server with invalid answers: the time that training loses, and whether all data arrive later."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from stacked.tracking.backend.circuit_breaker import MOST_LOST, circuit_breaker_for
from stacked.tracking.backend.store import Store
from stacked.tracking.tracker import Tracker
from studies.reliability.robustness.attempts import FAILED, UNHARMED, Attempt
from studies.reliability.robustness.odd_answers import CASES, FAULTS
from studies.reliability.robustness.odd_server import OddServer, odd_server

FAMILY = "odd answers of a server"
#: Number of points of a metric that each run logs.
POINTS = 150
#: Seconds by which the clock of the circuit breaker is advanced, so that it ends the outage.
LATER = 3600
#: Number of attempts to send the pending data to the repaired server.
TRIES = 3


def try_answers(folder: Path) -> Iterator[Attempt]:
    """Log a run to a server with each fault; then repair the server and send the pending data."""
    for number, (where, what) in enumerate(CASES):
        with odd_server() as server:
            server.fault, server.where = FAULTS[what], where
            started = time.perf_counter()
            try:
                seconds, found = log_run(server, folder / str(number))
            except Exception as error:  # any exception would have ended training
                seconds, found = time.perf_counter() - started, [f"{type(error).__name__}: {error}"]
        case = f"{what}, to {where}" if where else f"{what}, to everything"
        detail = " ".join("; ".join(found).split())[:300]
        yield Attempt(FAMILY, where or "all requests", case, FAILED if found else UNHARMED, detail, seconds)


def log_run(server: OddServer, home: Path) -> tuple[float, list[str]]:
    """Log a run to a faulty server, then repair the server; return the seconds of the run, and a list of problems."""
    store = Store(server.address, home / "store")
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Tracker(store, "robustness", name="run", work=home / "work", tags={}, params={"lr": 0.1}) as tracker:
            for step in range(POINTS):
                tracker.log({"train/loss": float(step)}, step)
            tracker.image("grid", np.zeros((8, 8), np.uint8), 3)
            tracker.text("x", "a.txt")
    seconds = time.perf_counter() - started
    server.fault = None
    breaker = circuit_breaker_for(store.uri)
    for _ in range(TRIES):  # an attempt may fail because of a connection that the faulty server left open
        breaker.clock = later(breaker.clock)
        if tracker.flush():
            break
    found = [] if tracker.flush() else ["not all data were sent to the repaired server"]
    if seconds > MOST_LOST + 1:
        found.append(f"training waited {seconds:.0f} s")
    if len(caught) != 1:
        found.append(f"{len(caught)} warnings instead of 1")
    if server.points().get("run") != [(step, float(step)) for step in range(POINTS)]:
        found.append("points are missing or duplicate")
    if not {name.rpartition("/")[2].partition("+")[0] for name in server.files} >= {"a.txt", "grid"}:
        found.append("a file or an image is missing")
    return seconds, found


def later(clock: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that is `LATER` seconds ahead."""
    return lambda: clock() + LATER
