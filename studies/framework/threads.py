"""How many threads a run has to compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def share(jobs: int) -> int:
    """The threads of each of so many processes at a time: torch's own number (which OMP_NUM_THREADS sets), divided among them."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


@contextmanager
def limited(count: int) -> Iterator[None]:
    """Compute with so many threads inside the context, in torch and in BLAS.

    BLAS with a thread for every core in every process is ten times slower than with its share.
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
