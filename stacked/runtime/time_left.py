"""The progress of a command's runs: which are in progress, and an estimate of the time left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from types import TracebackType

from stacked.runtime.progress import SCREENS, Screen, duration


class RunProgress:
    """Context manager that shows which runs of a command are in progress, and estimates the time left.

    kinds: the kind of each run, such as its arm. The expected time of a run is the mean time of the finished runs of its kind.
    alike: before a run of a kind has finished, its expected time is the mean of all finished runs; if False, no time left is
    shown until a run of each remaining kind has finished. at_once: number of runs in progress at a time. noun: what a run is
    called. worker_texts: returns the progress messages of worker processes (None: the runs are made in this process).
    """

    def __init__(
        self,
        kinds: Sequence[str],
        *,
        noun: str = "run",
        at_once: int = 1,
        alike: bool = True,
        worker_texts: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.total, self.noun, self.at_once, self.alike = len(kinds), noun, at_once, alike
        self.worker_texts = worker_texts
        self.waiting = Counter(kinds)
        self.numbers = list(range(self.total, 0, -1))
        self.running: dict[int, tuple[str, str, float]] = {}
        self.took: dict[str, list[float]] = {}
        self.screen: Screen | None = None

    def __enter__(self) -> RunProgress:
        self.screen = SCREENS[-1] if SCREENS else None
        if self.screen is not None:
            self.screen.whole = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.screen is not None:
            self.screen.whole = None
            self.screen.clear()

    def begin(self, name: str, kind: str) -> int:
        """Note that the next run, of this kind, has begun; return its number, from 1."""
        number = self.numbers.pop()
        self.waiting[kind] -= 1
        self.running[number] = name, kind, time.perf_counter()
        if self.screen is not None:
            self.screen.line(f"{self.noun} {self.place(number)}{self.left_text()}")
        return number

    def end(self, number: int, counts: bool = True) -> None:
        """Note that a run has ended. counts: whether its time counts for the estimate; that of a failed run does not."""
        _, kind, began = self.running.pop(number)
        if counts:
            self.took.setdefault(kind, []).append(time.perf_counter() - began)

    def lost(self, number: int) -> None:
        """Note that a run that had begun is lost and will be started again."""
        _, kind, _ = self.running.pop(number)
        self.waiting[kind] += 1
        self.numbers.append(number)

    def refresh(self) -> None:
        """Draw the line again if the last drawing is long enough ago."""
        if self.screen is not None:
            self.screen.refresh()

    def place(self, number: int) -> str:
        """Return which run it is: "3 of 12 (joint, seed 0)"."""
        return f"{number} of {self.total} ({self.running[number][0]})"

    def expected(self, kind: str) -> float | None:
        """Return the expected seconds of a run of this kind; None if there is no estimate yet."""
        of_all_kinds = [seconds for each in self.took.values() for seconds in each] if self.alike else []
        known = self.took.get(kind) or of_all_kinds
        return fmean(known) if known else None

    def left(self) -> float | None:
        """Return the estimated seconds until all runs have ended; None if there is no estimate yet."""
        now, left = time.perf_counter(), []
        for kind, count in self.waiting.items():
            seconds = self.expected(kind)
            if count and seconds is None:
                return None
            left += [seconds or 0.0] * count
        for _, kind, began in self.running.values():
            seconds = self.expected(kind)
            if seconds is None:
                return None
            left.append(max(0.0, seconds - (now - began)))
        return max([sum(left) / self.at_once, *left], default=0.0)

    def left_text(self) -> str:
        """Return the time left as it is shown; "" if there is no estimate yet."""
        left = self.left()
        return "" if left is None else f", about {duration(max(1.0, left))} left"

    def names(self) -> list[str]:
        """Return the names of the runs in progress in this process."""
        return [] if self.worker_texts else [name for name, _, _ in self.running.values()]

    def elsewhere(self) -> Sequence[str]:
        """Return the progress messages of worker processes."""
        return self.worker_texts() if self.worker_texts else ()

    def told(self) -> str:
        """Return which runs are in progress and the time left; "" if none is in progress."""
        running = sorted(self.running)
        if self.worker_texts is None:
            return "".join(f"{self.noun} {self.place(number)}{self.left_text()}" for number in running)
        numbers = f"{self.noun}{'s' * (len(running) > 1)} {', '.join(map(str, running))} of {self.total}"
        return f"{numbers}{self.left_text()}" if running else ""
