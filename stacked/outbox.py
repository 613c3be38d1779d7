"""When notes are sent to the store: in batches, and after a failure not again for a while."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from stacked.mlflow_store import OUTAGES

BATCH_POINTS = 100
BATCH_SECONDS = 5.0
PAUSE_SECONDS = 60.0
PAUSE_PER_LOST_SECOND = 20.0  # so that an outage costs at most five per cent of a run's time


@dataclass
class Outbox:
    """Calls `send` when enough is waiting; the first failure warns, every failure starts a pause.

    `send` raises one of `OUTAGES` when the store fails; what it did not send, it sends when called again.
    """

    send: Callable[[], None]
    address: str
    kept_in: str
    clock: Callable[[], float] = time.monotonic
    _waiting: int = field(default=0, init=False)
    _sent_at: float = field(init=False)
    _closed_until: float = field(default=0.0, init=False)
    _warned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._sent_at = self.clock()

    def note(self) -> None:
        """Count one more point that waits, and send when a hundred wait or five seconds have passed."""
        self._waiting += 1
        if self._waiting >= BATCH_POINTS or self.clock() - self._sent_at >= BATCH_SECONDS:
            self.flush()

    def flush(self, *, even_if_paused: bool = False) -> bool:
        """Send what waits; False when the store fails or is given time to recover."""
        start = self.clock()
        if start < self._closed_until and not even_if_paused:
            return False
        try:
            self.send()
        except OUTAGES as error:
            lost = self.clock() - start
            self._closed_until = self.clock() + max(PAUSE_SECONDS, PAUSE_PER_LOST_SECOND * lost)
            self._warn(error)
            return False
        self._waiting, self._sent_at, self._closed_until = 0, self.clock(), 0.0
        return True

    def _warn(self, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        warnings.warn(
            f"MLflow at {self.address} failed ({reason}); training goes on, the points are kept in "
            f"{self.kept_in} and sent when the store answers, at the latest when the run is opened again",
            RuntimeWarning,
            stacklevel=2,
        )
