"""What a study will cost, told before anything of it is trained or written."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cost.forecast import Forecast, estimate_cost
from stacked.runtime.progress import duration, each

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
            arm: estimate_cost(
                first[arm].spec,
                splits.image_shape,
                len(splits.train),
                classes=len(splits.classes),
                valid=len(splits.valid),
                test=len(splits.test),
            )
            for arm in each(given.arms, "estimates", "arms")
        }
    print("\n".join(table(told, given)))
    return 0


def table(told: dict[str, Forecast], given: Options) -> list[str]:
    """The costs of arms, and of all runs."""
    seeds, at_once = len(given.seeds), min(given.jobs, len(given.seeds) * len(told))
    wide = max(len(arm) for arm in told)
    lines = [f"{'one run of':{wide}}  updates     GFLOP  training  measuring        memory    checkpoints"]
    for arm, cost in told.items():
        lines.append(
            f"{arm:{wide}}  {cost.updates:7,}  {cost.gflop:8,.0f}  {duration(cost.seconds):>8}  "
            f"{duration(cost.measuring_seconds):>9}  "
            f"{cost.peak_bytes / 1e6:9,.0f} MB  {cost.disk_bytes / 1e6:8,.1f} MB"
        )
    training = seeds * sum(cost.seconds for cost in told.values())
    seconds = training + seeds * sum(cost.measuring_seconds for cost in told.values())
    how = f"{seeds} seed{'s' * (seeds > 1)}, {at_once} run{'s' * (at_once > 1)} at a time"
    machine = next(iter(told.values())).machine
    lines += [
        "",
        f"All runs, {how}: {duration(seconds / at_once)}, of which {duration(training / at_once)} are training, as predicted "
        f"for {machine.name}. GFLOP are those of training. Measuring is the curve, linear probes, and classifiers with each "
        "number of labels. Memory is that of an update and of kept codes, beside the images. Nothing was trained or written.",
    ]
    return lines
