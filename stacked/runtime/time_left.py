"""Which runs of a command are being made, and about how long all of them will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from types import TracebackType

from stacked.runtime.progress import SCREENS, Screen, duration


class Runs:
    """Context manager of the runs of a command, one for each of `kinds`: which are being made, and how long all will take.

    The time left is reckoned from the runs that have finished: a run takes as long as those of its kind took on average. Of a
    kind of which none has finished it takes as long as the others, where kinds are `alike`; where they are not, the time left
    is not told before. at_once: so many are made at a time. noun: what a run is called. others: what other processes show.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        *,
        noun: str = "run",
        at_once: int = 1,
        alike: bool = True,
        others: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.total, self.noun, self.at_once, self.alike, self.others = len(kinds), noun, at_once, alike, others
        self.waiting = Counter(kinds)
        self.numbers = list(range(self.total, 0, -1))
        self.running: dict[int, tuple[str, str, float]] = {}
        self.took: dict[str, list[float]] = {}
        self.screen: Screen | None = None

    def __enter__(self) -> Runs:
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
        """Note that a run has ended; counts: others of its kind will take as long, which does not hold for one that failed."""
        _, kind, began = self.running.pop(number)
        if counts:
            self.took.setdefault(kind, []).append(time.perf_counter() - began)

    def lost(self, number: int) -> None:
        """Note that a run that had begun waits again."""
        _, kind, _ = self.running.pop(number)
        self.waiting[kind] += 1
        self.numbers.append(number)

    def refresh(self) -> None:
        """Draw the line anew where that is due."""
        if self.screen is not None:
            self.screen.refresh()

    def place(self, number: int) -> str:
        """Return which run it is: "3 of 12 (joint, seed 0)"."""
        return f"{number} of {self.total} ({self.running[number][0]})"

    def expected(self, kind: str) -> float | None:
        """Return the seconds that a run of this kind takes, None where that is not known."""
        others = [seconds for each in self.took.values() for seconds in each] if self.alike else []
        known = self.took.get(kind) or others
        return fmean(known) if known else None

    def left(self) -> float | None:
        """Return about how many seconds all runs will still take, None where that is not known."""
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
        """Return the time left as a line tells it."""
        left = self.left()
        return "" if left is None else f", about {duration(max(1.0, left))} left"

    def names(self) -> list[str]:
        """Return the names of the runs that are being made in this process."""
        return [] if self.others else [name for name, _, _ in self.running.values()]

    def elsewhere(self) -> Sequence[str]:
        """Return what other processes show."""
        return self.others() if self.others else ()

    def told(self) -> str:
        """Return which runs are being made and the time left; "" while none is."""
        running = sorted(self.running)
        if self.others is None:
            return "".join(f"{self.noun} {self.place(number)}{self.left_text()}" for number in running)
        numbers = f"{self.noun}{'s' * (len(running) > 1)} {', '.join(map(str, running))} of {self.total}"
        return f"{numbers}{self.left_text()}" if running else ""
