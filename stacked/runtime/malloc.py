"""What the C library does with freed memory: keep what training takes again in every update, return what images took.

The C library returns what is freed at the end of its heap to the system, which hands it out again page by page, each of them
cleared: on large maps that took longer than the arithmetic. glibc alone is told; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

#: glibc's names for its settings (malloc.h)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Bytes kept at the end of the heap; and from which on memory is none of the heap's: it is given back when it is freed, as
#: that of data and codes should be (the most that glibc allows).
KEPT, OWN = 2**30, 32 * 2**20


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory; whether the C library took it."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, OWN) and mallopt(M_TRIM_THRESHOLD, KEPT))


def return_freed_memory() -> None:
    """Give freed memory back to the system, which glibc keeps for each thread where blocks in use lie behind it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)
