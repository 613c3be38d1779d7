"""The cost of recording a run, and the throughput of a grid of runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from stacked.tracking.backend.store import Store

#: interval of points that is never reached, so that a phase has only its first and last point
NEVER = 10**9
#: the share of a run in the loading time of a process: a default study has two processes and twelve runs
LOADS = 2 / 12
#: options of the grid, with small runs and cheap evaluation
GRID = (
    *("--limit", "2000", "--arms", "greedy", "greedy+finetune", "joint", "random", "--seeds", "4"),
    *("--epochs", "1", "--finetune", "1"),
    *("--labels", "100", "--classification", "{updates: 20, checks: 1, lrs: [0.001], images: 500}"),
)


class Recording:
    """Context that measures the seconds that the main thread spends in methods of `classes`, counting outermost calls only."""

    def __init__(self, *classes: type) -> None:
        self.seconds, self.depth = 0.0, 0
        self.methods = [
            (one, name, method) for one in classes for name, method in vars(one).items() if isfunction(method)
        ]

    def __enter__(self) -> Recording:
        for one, name, method in self.methods:
            setattr(one, name, self.timed(method))
        return self

    def __exit__(self, *_: object) -> None:
        for one, name, method in self.methods:
            setattr(one, name, method)

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its seconds added to the total, unless another timed function called it."""

        @wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            if self.depth or threading.current_thread() is not threading.main_thread():
                return function(*given, **named)
            self.depth, started = 1, time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.seconds += time.perf_counter() - started
                self.depth = 0

        return call


def loading(store: Store, work: Path) -> float:
    """Return the seconds of logging the first model of a process, most of which load the libraries for export."""
    from stacked.model.stack import build
    from stacked.spec.architecture import StackSpec
    from stacked.tracking.tracker import Tracker

    small = build(StackSpec.of("conv", 1), (1, 8, 8)).encoder

    with Tracker(store, "benchmark", name="first", work=work, tags={}, params={}) as tracker:
        started = time.perf_counter()
        tracker.model(small, torch.zeros(2, 1, 8, 8), 0)
        return time.perf_counter() - started


def run_of_main_job(recorded: bool, seed: int) -> dict[str, float]:
    """Return the seconds of a default run of the layer-wise study, and the fraction of them spent on recording.

    recorded: whether the run is tracked, writes checkpoints and measures its curve. The fraction includes the calls of the main
    thread, the CPU time of other threads, and the share of a run in the time that MLflow and torch.export take to load, once for
    each process.
    """
    from stacked.runs.checkpoint import Checkpoints
    from stacked.runs.curves import Curves
    from stacked.runs.run import load, run
    from stacked.tracking.tracker import Family, Run, Tracker, open_store
    from studies.cli.command_line import parser
    from studies.cli.options import options
    from studies.execution.threads import thread_limit
    from studies.pretraining.layerwise import STUDY

    base = options("layerwise", parser("", "", STUDY.arm_names).parse_args([])).base
    spec = replace(STUDY.arm("greedy+finetune").spec(base), seed=seed)
    without = replace(spec, evaluation=replace(spec.evaluation, every=NEVER, probe_every=1))
    splits = load(spec)
    with tempfile.TemporaryDirectory() as folder, thread_limit(torch.get_num_threads()):
        store = open_store(Path(folder) / "store")  # the database is created once for a study
        work = Path(folder) / "work"
        loaded = LOADS * loading(store, Path(folder) / "first") if recorded else 0.0
        started, spent, mine = time.perf_counter(), time.process_time(), time.thread_time()
        with Recording(Curves, Checkpoints, Run, Family, Tracker) as recording:
            if recorded:
                with Tracker(store, "benchmark", name="run", work=work, tags={"kind": "arm"}, params={}) as tracker:
                    done = run(spec, splits, tracker=tracker, work=work)
            else:
                done = run(without, splits)
        seconds, cpu = time.perf_counter() - started, time.process_time() - spent
        others = cpu - (time.thread_time() - mine)
    seconds, cpu = seconds + loaded, cpu + loaded
    share = (recording.seconds + others + loaded) / seconds
    return {"seconds": seconds, "cpu_seconds": cpu, "train_seconds": done.row["train_seconds"], "recording": share}


def grid(jobs: int) -> dict[str, float]:
    """Return the seconds of a study of 4 arms and 4 seeds with `jobs` runs at a time."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--out", f"{folder}/out", "--store", f"{folder}/store"]
        command = [sys.executable, "-m", "studies.layerwise", *GRID, "--jobs", str(jobs), *places]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return {"seconds": time.perf_counter() - started}
