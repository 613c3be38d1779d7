"""Requests to stop (Ctrl-C, SIGTERM), handled where no work is lost."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any

from stacked.util.errors import Interrupted

#: Seconds from the first signal until code that does not ask is ended; seconds after which Interrupted is raised again.
GRACE, AGAIN = 4.0, 2.0


def again(number: int) -> None:
    """Send the signal to this process again; unlike `interrupt_main` this also ends a blocking wait."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(signal.Signals(number))


def end_if_asked(error: BaseException) -> None:
    """Raise the KeyboardInterrupt that caused `error`, if there is one: a library's own error would hide it."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, KeyboardInterrupt):
            raise inner from None
        inner = inner.__cause__ or inner.__context__


class Interruption:
    """Context that records requests to stop (Ctrl-C, SIGTERM); calling it returns whether there was one.

    A run takes it as its `stop` argument and ends at the next update. Code that does not ask is ended by Interrupted, a
    KeyboardInterrupt, `grace` seconds after the first signal (a number, or a function that is called then and returns it), or
    at once by a second signal. Interrupted is raised again every AGAIN seconds, because an import can swallow it. `number` is the
    number of the first signal, 0 before. Outside the main thread, the only one to receive signals, it records nothing.
    """

    def __init__(
        self,
        signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM),
        grace: float | Callable[[], float] = GRACE,
    ) -> None:
        self.signals, self.grace, self.number = signals, grace, 0
        self._before: dict[int, Any] = {}
        self._timer: threading.Timer | None = None
        self._lock, self._left = threading.Lock(), False

    def __call__(self) -> bool:
        return self.number != 0

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._noted) for number in self.signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._left = True
            if self._timer is not None:
                self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise Interrupted("stopped as asked")
        self.number = number
        self._begin(self.grace() if callable(self.grace) else self.grace)

    def _begin(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._remind)
        self._timer.daemon = True
        self._timer.start()

    def _remind(self) -> None:
        with self._lock:
            if not self._left:
                self._begin(AGAIN)
                again(self.number)
