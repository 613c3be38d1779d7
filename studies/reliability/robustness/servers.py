"""A tracking server that answers what MLflow never does: what it costs training, and whether all arrives once it is well."""

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
#: Points of a metric that each run records.
POINTS = 150
#: Seconds of the clock by which an outage is surely over.
LATER = 3600
#: Times that what was kept is sent to a server that is well.
TRIES = 3


def try_answers(folder: Path) -> Iterator[Attempt]:
    """Record a run on a server with each fault; then the server is well, and what was kept is sent."""
    for number, (where, what) in enumerate(CASES):
        with odd_server() as server:
            server.fault, server.where = FAULTS[what], where
            began = time.perf_counter()
            try:
                seconds, found = recorded(server, folder / str(number))
            except Exception as error:  # whatever is raised would have ended training
                seconds, found = time.perf_counter() - began, [f"{type(error).__name__}: {error}"]
        case = f"{what}, to {where}" if where else f"{what}, to everything"
        detail = " ".join("; ".join(found).split())[:300]
        yield Attempt(FAMILY, where or "all requests", case, FAILED if found else UNHARMED, detail, seconds)


def recorded(server: OddServer, home: Path) -> tuple[float, list[str]]:
    """Seconds that a run took whose server is odd, and what is wrong with it or with what the server has when it is well."""
    store = Store(server.address, home / "store")
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with Tracker(store, "robustness", name="run", work=home / "work", tags={}, params={"lr": 0.1}) as tracker:
            for step in range(POINTS):
                tracker.log({"train/loss": float(step)}, step)
            tracker.image("grid", np.zeros((8, 8), np.uint8), 3)
            tracker.text("x", "a.txt")
    seconds = time.perf_counter() - began
    server.fault = None
    breaker = circuit_breaker_for(store.uri)
    for _ in range(TRIES):  # a connection that the odd server left open costs an attempt
        breaker.clock = later(breaker.clock)
        if tracker.flush():
            break
    found = [] if tracker.flush() else ["not all was sent when the server was well"]
    if seconds > MOST_LOST + 1:
        found.append(f"training waited {seconds:.0f} s")
    if len(told) != 1:
        found.append(f"{len(told)} warnings")
    if server.points().get("run") != [(step, float(step)) for step in range(POINTS)]:
        found.append("points are missing, or there twice")
    if not {name.rpartition("/")[2].partition("+")[0] for name in server.files} >= {"a.txt", "grid"}:
        found.append("a file or a picture is missing")
    return seconds, found


def later(clock: Callable[[], float]) -> Callable[[], float]:
    """The clock, `LATER` seconds ahead."""
    return lambda: clock() + LATER
