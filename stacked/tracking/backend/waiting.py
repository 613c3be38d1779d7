"""How long a call of MLflow may wait, and how much it may read: one deadline for all its requests."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

ANSWER_BYTES = 16 * 2**20  # the longest answer; a page of a thousand points of a metric has 0.1 MB
ANSWER_SECONDS = 1.0  # that a good answer may take without counting as waiting: a server that works may be far away
SENDING_RATE = 100_000  # bytes a second: a server that takes a file at least as fast is not waited for
FREE_REQUESTS = 10  # of one call of MLflow's client: it may ask for one page after another, which need not end
CALL_BYTES = 8 * ANSWER_BYTES  # the longest answers to one call together


class BadAnswer(OSError):
    """The server answers something that MLflow does not."""


@dataclass
class Waiting:
    """How long a server may be waited for in all, and how long it was (seconds).

    free: of the time until a good answer, so much does not count, for the first requests of a call of MLflow's client.
    """

    allowed: float
    free: float = 0.0
    spent: float = 0.0
    _requests: int = field(default=0, init=False)  # of this call
    _bytes: int = field(default=0, init=False)  # of the answers to them
    _limit: float = field(default=math.inf, init=False)
    _began: float = field(default=0.0, init=False)
    _sending: float = field(default=0.0, init=False)  # time in which the server took bytes fast enough

    def call(self) -> None:
        """A call of MLflow's client begins."""
        self._requests = self._bytes = 0

    def begin(self, limit: float) -> None:
        """A request begins that may take so long."""
        self._requests += 1
        self._began, self._sending = time.monotonic(), 0.0
        self._limit = min(limit, self.allowed - self.spent)
        self.left()

    def end(self, *, good: bool) -> None:
        """It has ended, with a good answer or not."""
        few = self._requests <= FREE_REQUESTS
        self.spent += max(0.0, time.monotonic() - self._began - self._sending - (self.free if good and few else 0.0))

    def left(self) -> float:
        """Seconds until the request is given up; TimeoutError when there are none."""
        left = self._began + self._sending + self._limit - time.monotonic()
        if left <= 0:
            raise self.late()
        return left

    def late(self) -> TimeoutError:
        """What to raise when it is given up."""
        return TimeoutError(f"no whole answer within {max(self._limit, 0):.3g} seconds")

    @contextmanager
    def on(self, connected: socket.socket) -> Iterator[None]:
        """What is sent or read now takes no longer than is left."""
        connected.settimeout(self.left())
        try:
            yield
        except TimeoutError:
            raise self.late() from None

    def read(self, size: int) -> None:
        """An answer of so many bytes was read."""
        self._bytes += size
        check_size(self._bytes, CALL_BYTES)

    def sent(self, size: int, seconds: float) -> None:
        """The server took so many bytes in so many seconds."""
        self._sending += min(seconds, size / SENDING_RATE)


_waiting: ContextVar[Waiting | None] = ContextVar("_waiting", default=None)


@contextmanager
def bounded(seconds: float, free: float = 0.0) -> Iterator[Waiting]:
    """Wait no longer than so many seconds for all that is asked by HTTP in this thread now; within another, it is that one."""
    outer = _waiting.get()
    if outer is not None:
        yield outer
        return
    waiting = Waiting(seconds, free)
    token = _waiting.set(waiting)
    try:
        yield waiting
    finally:
        _waiting.reset(token)


def check_size(size: int, most: int = ANSWER_BYTES) -> None:
    if size > most:
        raise BadAnswer(f"an answer of more than {most:,} bytes")
