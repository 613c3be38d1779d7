"""Limits of a call of MLflow: one deadline for all its requests, and a largest size of answers."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

ANSWER_BYTES = 16 * 2**20  # the largest answer; a page of a thousand values of a metric has 0.1 MB
ANSWER_SECONDS = 1.0  # waiting up to this time for a good answer does not count, because a server may be far away
SENDING_RATE = 100_000  # bytes a second: the time of sending does not count if a server accepts them at least as fast
FREE_REQUESTS = 10  # number of requests of a call that this applies to; a client may request page after page endlessly
CALL_BYTES = 8 * ANSWER_BYTES  # the largest total size of the answers to one call


class BadAnswer(OSError):
    """The server gives an answer that MLflow would not give."""


@dataclass
class Waiting:
    """The time in seconds that a server may be waited for in total (`allowed`), and was waited for (`spent`).

    free: time until a good answer that does not count, for the first requests of a call of MLflow's client.
    """

    allowed: float
    free: float = 0.0
    spent: float = 0.0
    _requests: int = field(default=0, init=False)  # number of requests of this call
    _bytes: int = field(default=0, init=False)  # bytes of their answers
    _limit: float = field(default=math.inf, init=False)
    _began: float = field(default=0.0, init=False)
    _sending: float = field(default=0.0, init=False)  # time in which the server accepted bytes fast enough

    def call(self) -> None:
        """Start a call of MLflow's client."""
        self._requests = self._bytes = 0

    def begin(self, limit: float) -> None:
        """Start a request that may take `limit` seconds."""
        self._requests += 1
        self._began, self._sending = time.monotonic(), 0.0
        self._limit = min(limit, self.allowed - self.spent)
        self.left()

    def end(self, *, good: bool) -> None:
        """End the request, which got a `good` answer or not."""
        few = self._requests <= FREE_REQUESTS
        self.spent += max(0.0, time.monotonic() - self._began - self._sending - (self.free if good and few else 0.0))

    def left(self) -> float:
        """Return the remaining seconds of the request; TimeoutError if there are none."""
        left = self._began + self._sending + self._limit - time.monotonic()
        if left <= 0:
            raise self.late()
        return left

    def late(self) -> TimeoutError:
        """Return the error to raise when the time is over."""
        return TimeoutError(f"no whole answer within {max(self._limit, 0):.3g} seconds")

    @contextmanager
    def on(self, connected: socket.socket) -> Iterator[None]:
        """Context in which sending and reading take no longer than the remaining time."""
        connected.settimeout(self.left())
        try:
            yield
        except TimeoutError:
            raise self.late() from None

    def read(self, size: int) -> None:
        """Count the bytes of an answer."""
        self._bytes += size
        check_size(self._bytes, CALL_BYTES)

    def sent(self, size: int, seconds: float) -> None:
        """Count bytes that the server accepted, and the seconds that this took."""
        self._sending += min(seconds, size / SENDING_RATE)


_waiting: ContextVar[Waiting | None] = ContextVar("_waiting", default=None)


@contextmanager
def bounded(seconds: float, free: float = 0.0) -> Iterator[Waiting]:
    """Context that limits the total time of HTTP requests in this thread; inside another one, the outer limit applies."""
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
