"""Questions to the package, each a command: python -m studies.NAME, or stacked NAME."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\ninterrupted before anything was begun\n")
    os._exit(128 + number)


def ready() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# read by torch when it first allocates: large tensors on huge pages are a tenth faster to train on
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# a study is being started: a KeyboardInterrupt would be a long trace through the imports, or be swallowed by one
if (
    os.path.basename("".join(sys.argv[:1])) in ("-m", "stacked")
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, _end)
