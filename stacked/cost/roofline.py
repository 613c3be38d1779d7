"""The roofline model (Williams et al. 2009): the time of operations on a machine that three numbers describe."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import torch

from stacked.cost.fake_execution import Operation
from stacked.runtime.settings import own_settings

#: overhead of an operation in seconds
EACH = 5e-6
#: side of the matrices whose product is timed, and number of floats that are copied
SIDE, COPIED = 2048, 1 << 26
#: the same for a forecast, in which a few updates are timed too and correct the rates; half a second
SMALL_SIDE, FEW_COPIED = 1024, 1 << 25


@dataclass(frozen=True)
class Machine:
    """A machine.

    gflops: GFLOP/s of a large matrix product. gb_per_second: memory bandwidth of a copy larger than any cache, reading and
    writing.
    efficiency: the time allowed by the tighter of both bounds, as a fraction of the time taken.
    """

    name: str
    gflops: float
    gb_per_second: float
    efficiency: float = 1.0

    def seconds(self, operations: Iterable[Operation]) -> float:
        """Return the time of these operations in seconds, one after the other."""
        flops, moved = 1e9 * self.gflops, 1e9 * self.gb_per_second
        return sum(max(one.flop / flops, one.bytes / moved) + EACH for one in operations) / self.efficiency


#: NVIDIA's data sheet of the H100 SXM (fp32 without tensor cores, HBM3); the efficiency of one half is an assumption.
H100 = Machine("an H100-class GPU", 67_000.0, 3350.0, 0.5)


@own_settings()
def this_machine() -> Machine:
    """Measure this machine's processor with torch's current number of threads, once in a process."""
    return _this_machine(torch.get_num_threads())


#: repetitions of a measurement, of which the median counts
TIMES = 3
#: the same of the smaller measurements for a forecast
MORE_TIMES = 7


@cache
def _this_machine(threads: int) -> Machine:
    return Machine(
        f"this machine, {threads} thread{'s' * (threads > 1)}",
        product_rate(SMALL_SIDE, MORE_TIMES),
        copy_rate(FEW_COPIED, MORE_TIMES),
    )


def product_rate(side: int = SIDE, times: int = TIMES) -> float:
    """Return the GFLOP/s of the fp32 product of two square matrices of this side."""
    a, b, out = (torch.rand(side, side) for _ in range(3))
    return 2e-9 * side**3 / seconds_of(lambda: torch.mm(a, b, out=out), times)


def copy_rate(count: int = COPIED, times: int = TIMES) -> float:
    """Return the GB/s, reading and writing, of copying this number of floats (by default 256 MiB)."""
    source, target = torch.ones(count), torch.zeros(count).fill_(1)  # every page is there
    return 2e-9 * source.nbytes / seconds_of(lambda: target.copy_(source), times)


def seconds_of(do: Callable[[], object], times: int = TIMES) -> float:
    """Return the median wall time of calling `do` in seconds, after one call to warm up."""
    do()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
