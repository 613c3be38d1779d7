"""Timing of uploads to the store: in batches, and after a failure only after a pause."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from stacked.runtime.interruption import end_if_asked
from stacked.tracking.backend import circuit_breaker as limits
from stacked.tracking.backend.circuit_breaker import CircuitBreaker, circuit_breaker_for
from stacked.tracking.backend.remote.http import ANSWER_SECONDS, bounded
from stacked.tracking.backend.store import OUTAGES, Unusable, reason_of
from stacked.util.errors import printable
from stacked.util.paths import without_login

BATCH_ENTRIES = 100
BATCH_SECONDS = 5.0
RETRY_SECONDS = 1.0  # a failure within this time is retried once, because servers close idle connections


class Uploader:
    """Calls `send` when enough is pending; the first failure of a store causes a warning, every failure a pause.

    `send` raises one of `OUTAGES` if the store fails or takes too long; what it did not send, it sends when called again.
    """

    def __init__(
        self, send: Callable[[], None], address: str, kept_in: str, breaker: CircuitBreaker | None = None
    ) -> None:
        self.send, self.address, self.kept_in = send, address, kept_in
        self.breaker = breaker or circuit_breaker_for(address)
        self._waiting, self._sent_at = 0, self.breaker.clock()

    def add(self) -> None:
        """Count one more pending entry, and send if a hundred are pending or five seconds have passed."""
        self._waiting += 1
        if self._waiting >= BATCH_ENTRIES or self.breaker.clock() - self._sent_at >= BATCH_SECONDS:
            self.flush()

    def flush(self, *, pressing: bool = False, strict: bool = False) -> bool:
        """Send everything pending; False if the store fails or is in a pause after a failure.

        pressing: ignore such a pause. strict: raise `Unusable` if the store answers but cannot take runs, instead of treating
        this as an outage.
        """
        if not self.breaker.allows(pressing=pressing):
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
            if self.breaker.clock() - start >= RETRY_SECONDS:
                raise
            self.send()

    def _warn(self, what: str) -> None:
        message = (
            f"MLflow at {without_login(self.address)} {what}; training goes on, and metrics are kept in {self.kept_in} and "
            "sent when the store answers: in this run, or later by python -m stacked.doctor"
        )
        warnings.warn(printable(message), RuntimeWarning, stacklevel=2)
