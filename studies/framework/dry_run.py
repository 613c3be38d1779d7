"""--dry-run: predicts the cost of a study without training or writing anything."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cost.forecast import Forecast, estimate_cost
from stacked.runtime.progress import duration, each

if TYPE_CHECKING:
    from stacked.data import Splits
    from studies.cli.options import Options
    from studies.execution.job import Job


def print_forecast(given: Options, splits: Splits, plan_jobs: Callable[[Options], Iterable[Job]]) -> int:
    """Print the predicted cost of each arm and of all runs; return the exit code. `plan_jobs` returns the jobs of options."""
    from studies.execution.threads import thread_limit

    with tempfile.TemporaryDirectory() as scratch:  # planning writes budgets.json
        jobs = list(plan_jobs(dataclasses.replace(given, out=Path(scratch))))
    first = {job.arm: job for job in reversed(jobs)}
    with thread_limit(jobs[0].threads):
        forecasts = {
            arm: estimate_cost(
                first[arm].spec,
                splits.input_shape,
                len(splits.train),
                classes=len(splits.classes),
                valid=len(splits.valid),
                test=len(splits.test),
            )
            for arm in each(given.arms, "estimates", "arms")
        }
    print("\n".join(forecast_table(forecasts, given)))
    return 0


def forecast_table(forecasts: dict[str, Forecast], given: Options) -> list[str]:
    """Return the lines of a table of the costs of a run of each arm, and of all runs."""
    seeds, at_once = len(given.seeds), min(given.jobs, len(given.seeds) * len(forecasts))
    wide = max(len(arm) for arm in forecasts)
    lines = [f"{'one run of':{wide}}  updates     GFLOP  training  measuring        memory    checkpoints"]
    for arm, cost in forecasts.items():
        lines.append(
            f"{arm:{wide}}  {cost.updates:7,}  {cost.gflop:8,.0f}  {duration(cost.seconds):>8}  "
            f"{duration(cost.measuring_seconds):>9}  "
            f"{cost.peak_bytes / 1e6:9,.0f} MB  {cost.disk_bytes / 1e6:8,.1f} MB"
        )
    training = seeds * sum(cost.seconds for cost in forecasts.values())
    seconds = training + seeds * sum(cost.measuring_seconds for cost in forecasts.values())
    how = f"{seeds} seed{'s' * (seeds > 1)}, {at_once} run{'s' * (at_once > 1)} at a time"
    machine = next(iter(forecasts.values())).machine
    lines += [
        "",
        f"All runs, {how}: {duration(seconds / at_once)}, of which {duration(training / at_once)} are training, predicted "
        f"for {machine.name}. GFLOP are those of training. Measuring: the curve, linear probes, and classifiers with each "
        "number of labels; regressors, loading, MLflow, pictures and the page are not counted. Memory is the peak of an "
        "update plus cached codes, without the images. Nothing was trained or written.",
    ]
    return lines + busy()


def busy() -> list[str]:
    """Return the line that times are those of a busy machine, if more processes compute than there are cores; else none."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= cores:
        return []
    return [f"The machine is busy (load {load:.1f}, {cores} cores): when it is idle, times are shorter."]
