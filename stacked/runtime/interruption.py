"""Being asked to end, by Ctrl-C or SIGTERM, at a moment when nothing is lost."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

from stacked.util.errors import Interrupted

#: Seconds from one raising of Interrupted to the next.
AGAIN = 2.0


def again(number: int) -> None:
    """Send the signal to this process once more; unlike `interrupt_main` alone that also ends a wait."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(signal.Signals(number))


def end_if_asked(error: BaseException) -> None:
    """Raise the KeyboardInterrupt over which something failed, if that was why: a library's own error would hide it."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, KeyboardInterrupt):
            raise inner from None
        inner = inner.__cause__ or inner.__context__


class Interruption:
    """A context in which signals, Ctrl-C and SIGTERM, are noted for whoever asks: `stop` of a run is such a question.

    What has not ended by itself `grace` seconds later, since it trains nothing at the time, is ended by Interrupted, a
    KeyboardInterrupt; so is at once what is asked a second time. It is raised again every AGAIN seconds, for an import may have
    swallowed it. `number` is the signal that asked, 0 before. Outside the main thread, which alone receives signals, it
    notes nothing.
    """

    def __init__(self, signals: Sequence[int] = (signal.SIGINT, signal.SIGTERM), grace: float = 4.0) -> None:
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
        self._begin(self.grace)

    def _begin(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._remind)
        self._timer.daemon = True
        self._timer.start()

    def _remind(self) -> None:
        with self._lock:
            if not self._left:
                self._begin(AGAIN)
                again(self.number)
