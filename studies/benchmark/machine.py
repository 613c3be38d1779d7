"""What the machine can do: a large product of matrices, and a copy that no cache holds."""

from __future__ import annotations

import statistics
import time

import torch

SIDE = 2048
COPIED = 1 << 28  # bytes


def product(repeats: int = 8) -> dict[str, float]:
    """fp32 GFLOP/s of the product of two square matrices of side 2,048: the median of `repeats`."""
    a, b, out = (torch.rand(SIDE, SIDE) for _ in range(3))
    torch.mm(a, b, out=out)
    return {"gflops": 2 * SIDE**3 / 1e9 / median_seconds(lambda: torch.mm(a, b, out=out), repeats)}


def copy(repeats: int = 8) -> dict[str, float]:
    """GB/s, read and written, of copying 256 MiB."""
    a, b = torch.rand(COPIED // 4), torch.rand(COPIED // 4)
    return {"gb_per_second": 2 * COPIED / 1e9 / median_seconds(lambda: b.copy_(a), repeats)}


def median_seconds(do: object, repeats: int) -> float:
    """The median wall time of calling `do`."""
    assert callable(do)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        do()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
