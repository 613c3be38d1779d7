"""How fast a machine is, in three numbers, and how long it takes for given operations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import torch

from stacked.cost.fake_execution import Operation
from stacked.runtime.settings import own_settings

#: seconds of an operation of no size
EACH = 5e-6
SIDE, COPIED = 2048, 1 << 26


@dataclass(frozen=True)
class Machine:
    """gflops: of a large matrix product, GFLOP/s. gb_per_second: read and written by a copy that no cache holds. efficiency:
    what is reached of the time that the larger of both bounds would allow (Williams et al. 2009, the roofline)."""

    name: str
    gflops: float
    gb_per_second: float
    efficiency: float = 1.0

    def seconds(self, operations: Iterable[Operation]) -> float:
        """How long these operations take, one after the other."""
        flops, moved = 1e9 * self.gflops, 1e9 * self.gb_per_second
        return sum(max(one.flop / flops, one.bytes / moved) + EACH for one in operations) / self.efficiency


#: NVIDIA's data sheet of the H100 SXM: fp32 without tensor cores, HBM3; half of what these allow is an assumption.
H100 = Machine("an H100-class GPU", 67_000.0, 3350.0, 0.5)


@own_settings()
def measured() -> Machine:
    """This machine's processor, with the threads that torch uses now; it takes some seconds, once in a process."""
    return _measured(torch.get_num_threads())


@cache
def _measured(threads: int) -> Machine:
    return Machine(f"this machine, {threads} thread{'s' * (threads > 1)}", product_rate(), copy_rate())


def product_rate() -> float:
    """fp32 GFLOP/s of the product of two square matrices of side 2,048."""
    a, b, out = (torch.rand(SIDE, SIDE) for _ in range(3))
    return 2e-9 * SIDE**3 / seconds_of(lambda: torch.mm(a, b, out=out))


def copy_rate() -> float:
    """GB/s, read and written, of copying 256 MiB."""
    source, target = torch.rand(COPIED), torch.rand(COPIED)
    return 2e-9 * source.nbytes / seconds_of(lambda: target.copy_(source))


def seconds_of(do: Callable[[], object], times: int = 5) -> float:
    """The median wall time of calling `do`, which is called once before."""
    do()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
