"""A circuit breaker: it limits how often a failing store is tried, so that an outage costs training little time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

PAUSE_SECONDS = 60.0
PAUSE_PER_LOST_SECOND = 20.0  # an outage then costs at most 5 % of a run's time
MOST_LOST, WITHIN = 15.0, 60.0  # at most MOST_LOST seconds may be lost within WITHIN seconds
ATTEMPT_SECONDS = 11.0  # time limit of one attempt


@dataclass
class CircuitBreaker:
    """Decides when a store that failed is tried again, and warns once; all runs of a process share the one of a store."""

    clock: Callable[[], float] = time.monotonic
    _closed_until: float = field(default=0.0, init=False)
    _lost: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=1000), init=False)
    _warned: bool = field(default=False, init=False)

    def allows(self, *, pressing: bool = False) -> bool:
        """Whether to try now: if it cannot cost too much time and, unless `pressing`, there is no pause."""
        return (pressing or self.clock() >= self._closed_until) and self._can_afford()

    def answered(self, waited: float = 0.0) -> bool:
        """Record an answer after a wait of so many seconds, which ends the pause; returns whether to warn of a slow store."""
        self._closed_until = 0.0
        self._lose(waited)
        return not self._can_afford() and self._is_news()

    def failed(self, seconds: float) -> bool:
        """Record a failure after so many seconds, which starts a pause; returns whether to warn of it."""
        self._lose(seconds)
        self._closed_until = self.clock() + max(PAUSE_SECONDS, PAUSE_PER_LOST_SECOND * seconds)
        return self._is_news()

    def _lose(self, seconds: float) -> None:
        if seconds > 0:
            self._lost.append((self.clock(), seconds))

    def _can_afford(self) -> bool:
        now = self.clock()
        return sum(seconds for at, seconds in tuple(self._lost) if now - at < WITHIN) + ATTEMPT_SECONDS <= MOST_LOST

    def _is_news(self) -> bool:
        news, self._warned = not self._warned, True
        return news


@cache
def circuit_breaker_for(address: str) -> CircuitBreaker:
    """Return this process's circuit breaker for the store at an address."""
    return CircuitBreaker()
