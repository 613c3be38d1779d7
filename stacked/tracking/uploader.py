"""When notes are sent to the store: in batches, and after a failure not again for a while."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from stacked.runtime.interruption import end_if_asked
from stacked.tracking.backend import circuit_breaker as limits
from stacked.tracking.backend.circuit_breaker import CircuitBreaker, circuit_breaker_for
from stacked.tracking.backend.http import ANSWER_SECONDS, bounded
from stacked.tracking.backend.store import OUTAGES, Unusable, reason_of
from stacked.util.paths import without_login

BATCH_POINTS = 100
BATCH_SECONDS = 5.0
AT_ONCE = 1.0  # what failed sooner is tried once more: a server closes connections that nobody used for a while


class Uploader:
    """Calls `send` when enough is waiting; the first failure of a store warns, every failure starts a pause.

    `send` raises one of `OUTAGES` when the store fails, or has been waited for too long; what it did not send, it sends when
    called again.
    """

    def __init__(
        self, send: Callable[[], None], address: str, kept_in: str, breaker: CircuitBreaker | None = None
    ) -> None:
        self.send, self.address, self.kept_in = send, address, kept_in
        self.breaker = breaker or circuit_breaker_for(address)
        self._waiting, self._sent_at = 0, self.breaker.clock()

    def note(self) -> None:
        """Count one more point that waits, and send when a hundred wait or five seconds have passed."""
        self._waiting += 1
        if self._waiting >= BATCH_POINTS or self.breaker.clock() - self._sent_at >= BATCH_SECONDS:
            self.flush()

    def flush(self, *, pressing: bool = False, strict: bool = False) -> bool:
        """Send what waits; False when the store fails or is given time to recover.

        A store that takes no runs as it is fails like any other, and is `Unusable` where `strict`.
        """
        if not self.breaker.has(pressing=pressing):
            return False
        start = self.breaker.clock()
        try:
            with bounded(limits.ATTEMPT_SECONDS, ANSWER_SECONDS) as waiting:
                self._send_twice(start)
        except OUTAGES as error:
            end_if_asked(error)
            if strict and isinstance(error, Unusable):
                raise
            if self.breaker.failed(self.breaker.clock() - start):
                self._warn(f"failed ({reason_of(error)})")
            return False
        if self.breaker.answered(waiting.spent):
            self._warn(f"is slow ({waiting.spent:.0f} seconds)")
        self._waiting, self._sent_at = 0, self.breaker.clock()
        return True

    def _send_twice(self, start: float) -> None:
        try:
            self.send()
        except OUTAGES:
            if self.breaker.clock() - start >= AT_ONCE:
                raise
            self.send()

    def _warn(self, what: str) -> None:
        warnings.warn(
            f"MLflow at {without_login(self.address)} {what}; training goes on, the points are kept in {self.kept_in} and sent "
            "when the store answers: in this run, or later by python -m stacked.doctor",
            RuntimeWarning,
            stacklevel=2,
        )
