"""How often a store that fails is tried again: an outage must cost training little."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

PAUSE_SECONDS = 60.0
PAUSE_PER_LOST_SECOND = 20.0  # so that an outage costs at most five per cent of a run's time
MOST_LOST, WITHIN = 15.0, 60.0  # seconds that a store which fails or is slow may cost, and in how many
ATTEMPT_SECONDS = 11.0  # that one attempt may take


@dataclass
class CircuitBreaker:
    """Says when a store that failed is tried again; all runs of a process share one for each store, and warn of it once."""

    clock: Callable[[], float] = time.monotonic
    _closed_until: float = field(default=0.0, init=False)
    _lost: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=1000), init=False)
    _warned: bool = field(default=False, init=False)

    def has(self, *, pressing: bool = False) -> bool:
        """Whether to try now: where that cannot cost too much, and in a pause only what is pressing."""
        return (pressing or self.clock() >= self._closed_until) and self._can_afford()

    def answered(self, waited: float = 0.0) -> bool:
        """The store has answered, after a wait of so many seconds: the pause is over. Whether it is news that it is slow."""
        self._closed_until = 0.0
        self._lose(waited)
        return not self._can_afford() and self._is_news()

    def failed(self, seconds: float) -> bool:
        """The store failed, after so many seconds; whether that is news."""
        self._lose(seconds)
        self._closed_until = self.clock() + max(PAUSE_SECONDS, PAUSE_PER_LOST_SECOND * seconds)
        return self._is_news()

    def _lose(self, seconds: float) -> None:
        if seconds > 0:
            self._lost.append((self.clock(), seconds))

    def _can_afford(self) -> bool:
        now = self.clock()
        return sum(seconds for at, seconds in self._lost if now - at < WITHIN) + ATTEMPT_SECONDS <= MOST_LOST

    def _is_news(self) -> bool:
        news, self._warned = not self._warned, True
        return news


@cache
def circuit_breaker_for(address: str) -> CircuitBreaker:
    """The circuit breaker of this process for the store at an address."""
    return CircuitBreaker()
