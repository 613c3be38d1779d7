"""How often a store that fails is tried again: an outage must cost training little."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

PAUSE_SECONDS = 60.0
PAUSE_PER_LOST_SECOND = 20.0  # so that an outage costs at most five per cent of a run's time
MOST_LOST, WITHIN = 15.0, 60.0  # seconds that a store which fails may cost, and in how many
ATTEMPT_SECONDS = 11.0  # that one attempt may take


@dataclass
class Patience:
    """The patience of all runs of this process together with one store; they warn of it once."""

    clock: Callable[[], float] = time.monotonic
    _closed_until: float = field(default=0.0, init=False)
    _lost: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=1000), init=False)
    _warned: bool = field(default=False, init=False)

    def has(self, *, pressing: bool = False) -> bool:
        """Whether to try now; what is pressing is tried in a pause too, where that cannot cost too much."""
        now = self.clock()
        lost = sum(seconds for at, seconds in self._lost if now - at < WITHIN)
        return now >= self._closed_until or (pressing and lost + ATTEMPT_SECONDS <= MOST_LOST)

    def answered(self) -> None:
        """The store has answered: the pause is over."""
        self._closed_until = 0.0

    def failed(self, seconds: float) -> bool:
        """The store failed, after so many seconds; whether that is news."""
        now, news = self.clock(), not self._warned
        self._lost.append((now, seconds))
        self._closed_until, self._warned = now + max(PAUSE_SECONDS, PAUSE_PER_LOST_SECOND * seconds), True
        return news


@cache
def patience_with(address: str) -> Patience:
    """This process's patience with the store at an address."""
    return Patience()
