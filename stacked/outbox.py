"""When notes are sent to the store: in batches, and after a failure not again for a while."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from stacked.mlflow_store import OUTAGES
from stacked.paths import without_login, without_logins
from stacked.patience import Patience, patience_with

BATCH_POINTS = 100
BATCH_SECONDS = 5.0
AT_ONCE = 1.0  # what failed sooner is tried once more: a server closes connections that nobody used for a while


class Outbox:
    """Calls `send` when enough is waiting; the first failure of a store warns, every failure starts a pause.

    `send` raises one of `OUTAGES` when the store fails; what it did not send, it sends when called again.
    """

    def __init__(self, send: Callable[[], None], address: str, kept_in: str, patience: Patience | None = None) -> None:
        self.send, self.address, self.kept_in = send, address, kept_in
        self.patience = patience or patience_with(address)
        self._waiting, self._sent_at = 0, self.patience.clock()

    def note(self) -> None:
        """Count one more point that waits, and send when a hundred wait or five seconds have passed."""
        self._waiting += 1
        if self._waiting >= BATCH_POINTS or self.patience.clock() - self._sent_at >= BATCH_SECONDS:
            self.flush()

    def flush(self, *, pressing: bool = False) -> bool:
        """Send what waits; False when the store fails or is given time to recover."""
        if not self.patience.has(pressing=pressing):
            return False
        start = self.patience.clock()
        try:
            self._send_twice(start)
        except OUTAGES as error:
            if self.patience.failed(self.patience.clock() - start):
                self._warn(error)
            return False
        self.patience.answered()
        self._waiting, self._sent_at = 0, self.patience.clock()
        return True

    def _send_twice(self, start: float) -> None:
        try:
            self.send()
        except OUTAGES:
            if self.patience.clock() - start >= AT_ONCE:
                raise
            self.send()

    def _warn(self, error: BaseException) -> None:
        while cause := error.__cause__ or error.__context__:
            error = cause  # what MLflow and its libraries say around it fills a screen
        reason = without_logins((str(error).strip().splitlines() or [type(error).__name__])[0])[:200]
        warnings.warn(
            f"MLflow at {without_login(self.address)} failed ({reason}); training goes on, the points are kept in "
            f"{self.kept_in} and sent when the store answers: in this run, or later by python -m stacked.doctor",
            RuntimeWarning,
            stacklevel=2,
        )
