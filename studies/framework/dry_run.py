"""What a study will cost, told before anything of it is trained or written."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cost.forecast import Forecast, estimate_cost

if TYPE_CHECKING:
    from stacked.data import Splits
    from studies.cli.options import Options
    from studies.framework.workers import Job


def show(given: Options, splits: Splits, planned: Callable[[Options], Iterable[Job]]) -> int:
    """Print what each arm of a study costs, and all its runs; returns the exit code. `planned` gives the jobs."""
    from studies.framework.threads import limited

    with tempfile.TemporaryDirectory() as nothing:  # for the budgets, which a study remembers
        jobs = list(planned(dataclasses.replace(given, out=Path(nothing))))
    first = {job.arm: job for job in reversed(jobs)}
    with limited(jobs[0].threads):
        told = {
            arm: estimate_cost(first[arm].spec, splits.image_shape, len(splits.train), classes=len(splits.classes))
            for arm in given.arms
        }
    print("\n".join(table(told, given)))
    return 0


def table(told: dict[str, Forecast], given: Options) -> list[str]:
    """The costs of arms, and of all runs."""
    seeds, at_once = len(given.seeds), min(given.jobs, len(given.seeds) * len(told))
    wide = max(len(arm) for arm in told)
    lines = [f"{'one run of':{wide}}  updates     GFLOP  training        memory    checkpoints"]
    for arm, cost in told.items():
        lines.append(
            f"{arm:{wide}}  {cost.updates:7,}  {cost.gflop:8,.0f}  {duration(cost.seconds):>8}  "
            f"{cost.peak_bytes / 1e6:9,.0f} MB  {cost.disk_bytes / 1e6:8,.1f} MB"
        )
    seconds = seeds * sum(cost.seconds for cost in told.values())
    how = f"{seeds} seed{'s' * (seeds > 1)}, {at_once} run{'s' * (at_once > 1)} at a time"
    machine = next(iter(told.values())).machine
    lines += [
        "",
        f"All runs, {how}: {duration(seconds / at_once)} of training, as predicted for {machine.name}. Measuring comes on top: "
        "probes and classifiers of a short run take longer than its training. Memory is that of an update and of kept codes, "
        "beside the images. Nothing was trained or written.",
    ]
    return lines


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person would say it."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
