"""Measures the CPU seconds, the wall seconds and the memory of a piece of code."""

from __future__ import annotations

import time
from pathlib import Path

MEMORY = Path("/proc/self/status")


class Spent:
    """Context that measures CPU seconds of all threads, wall seconds, and the growth of resident memory to its peak."""

    def __enter__(self) -> Spent:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current resident memory
        self.memory = resident("VmRSS")
        self.seconds, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu = time.perf_counter() - self.seconds, time.process_time() - self.cpu
        self.memory = resident("VmHWM") - self.memory

    def values(self) -> dict[str, float]:
        """Return the measured values by name: cpu_seconds, seconds and growth_mb."""
        return {"cpu_seconds": self.cpu, "seconds": self.seconds, "growth_mb": self.memory}


def resident(what: str) -> float:
    """Return the resident memory of this process in MB: "VmRSS" (current), "VmHWM" (peak) or "RssAnon" (of no file)."""
    lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines() if ":" in line)
    return int(lines[what].split()[0]) * 1024 / 1e6
