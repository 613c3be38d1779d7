"""The load of processor and memory while a run trains, under the names that MLflow's "System metrics" have.

MLflow's own monitor needs psutil, and a thread that writes to the store and gives up in an outage. These values are read when a
point of the curve is logged, and are stored and sent as the other metrics of the point.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: The beginning of the names; MLflow shows metrics that have it on a page of their own.
PREFIX = "system/"
PROC = Path("/proc")


class SystemMetrics:
    """Reads the load of the machine and the memory of this process; only Linux reports them, elsewhere there are no values."""

    def __init__(self) -> None:
        self._idle, self._total = 0, 0
        self.read()  # the utilisation of the processor is that since the last call

    def read(self) -> dict[str, float]:
        """Return the metrics, rounded as MLflow does; those that cannot be read are left out."""
        found: dict[str, float] = {}
        for measure in (self._processor, _memory, _process):
            with suppress(OSError, ValueError, LookupError):  # no metric is worth a run
                found |= measure()
        return {f"{PREFIX}{name}": round(value, 1) for name, value in found.items()}

    def _processor(self) -> dict[str, float]:
        """Return the share of the time of all cores, since the last call, in which they were busy."""
        # user, nice, system, idle, iowait, irq, softirq, steal; the rest is part of user and nice
        times = [int(ticks) for ticks in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
        idle, total = times[3] + times[4] - self._idle, sum(times) - self._total
        self._idle, self._total = self._idle + idle, self._total + total
        return {"cpu_utilization_percentage": 100 * (total - idle) / total} if total > 0 else {}


def _memory() -> dict[str, float]:
    lines = dict(line.split(":", 1) for line in (PROC / "meminfo").read_text().splitlines())
    total, available = (1024 * int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return {
        "system_memory_usage_megabytes": (total - available) / 1e6,
        "system_memory_usage_percentage": 100 * (total - available) / total,
    }


def _process() -> dict[str, float]:
    resident = int((PROC / "self" / "statm").read_text().split()[1])
    return {"process_memory_usage_megabytes": resident * os.sysconf("SC_PAGE_SIZE") / 1e6}
