"""What glibc does with freed memory: keep what training allocates again in every update, return what large images took.

The C library returns memory freed at the end of its heap to the system, which clears every page before it hands it out again.
On large maps this took longer than the arithmetic. Only glibc can be configured; on other systems nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

#: glibc's names of the settings (malloc.h)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Bytes kept free at the end of the heap; and the size from which an allocation lies outside the heap, so that it is returned
#: to the system when freed, as data and codes should be (glibc allows at most this).
KEPT, OWN = 2**30, 32 * 2**20


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory; returns whether the C library accepted the setting."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, OWN) and mallopt(M_TRIM_THRESHOLD, KEPT))


def return_freed_memory() -> None:
    """Return freed memory to the system: glibc keeps it, in each thread's heap, if a block in use lies behind it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)
