"""The time in which a command imports what it needs: Ctrl-C ends it in one line.

A KeyboardInterrupt would be a long trace through the imports, or be swallowed by one.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def begin() -> None:
    """Until `ready` is called, Ctrl-C ends the process at once."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def ready() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\ninterrupted before anything was begun\n")
    os._exit(128 + number)
