"""The number of threads that a run computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def threads_per_process(jobs: int) -> int:
    """Return the number of threads for each of `jobs` processes: torch's number (set by OMP_NUM_THREADS) divided by `jobs`."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


@contextmanager
def thread_limit(count: int) -> Iterator[None]:
    """Context in which torch and BLAS compute with `count` threads.

    If every process used a BLAS thread for every core, BLAS would be ten times slower.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
