"""What a piece of work takes: processor seconds, seconds, and memory."""

from __future__ import annotations

import time
from pathlib import Path

MEMORY = Path("/proc/self/status")


class Spent:
    """What a context takes: processor seconds of all threads, wall seconds, and the growth of resident memory to its peak."""

    def __enter__(self) -> Spent:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
        self.memory = resident("VmRSS")
        self.seconds, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu = time.perf_counter() - self.seconds, time.process_time() - self.cpu
        self.memory = resident("VmHWM") - self.memory

    def told(self) -> dict[str, float]:
        """The three, by name."""
        return {"cpu_seconds": self.cpu, "seconds": self.seconds, "growth_mb": self.memory}


def resident(what: str) -> float:
    """VmRSS, or VmHWM, its peak, of this process in MB."""
    lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines() if ":" in line)
    return int(lines[what].split()[0]) * 1024 / 1e6
