"""Ctrl-C while a command is still importing its modules: one line instead of a traceback.

A KeyboardInterrupt would print a long traceback through the imports, or be swallowed by one of them.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def begin() -> None:
    """Let Ctrl-C end the process at once, until `ready` is called."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def ready() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\ninterrupted; nothing was recorded yet: the same command begins again\n")
    os._exit(128 + number)
