"""Runs of a study in worker processes."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stacked.errors import Diverged, InputError
from studies.options import Options

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.spec import RunSpec


@dataclass(frozen=True)
class Job:
    """One run of a study, as a worker process gets it."""

    spec: RunSpec
    arm: str
    study: str
    experiment: str
    colour: str
    given: Options
    threads: int


def work(jobs: list[Job], processes: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]]:
    """Run the jobs in so many processes and yield what comes of each as it comes."""
    from joblib import Parallel, delayed

    parallel = Parallel(
        n_jobs=min(processes, max(1, len(jobs))),
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch="n_jobs",
    )
    yield from parallel(delayed(work_one)(job) for job in jobs)


@lru_cache(maxsize=1)
def cached_splits(base: RunSpec, data_dir: str | None) -> Splits:
    """The data of a study, loaded once a process."""
    from stacked.run import load

    return load(base, data_dir)


def work_one(job: Job) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Do one run in this process; a run that fails gives a row that says why."""
    import torch
    from threadpoolctl import threadpool_limits

    from stacked.plain import flat
    from stacked.run import run
    from stacked.tracking import Tracker, open_store, set_aside, was_replayed
    from studies.record import failed_row

    torch.set_num_threads(job.threads)
    spec, given, name = job.spec, job.given, f"{job.arm}/s{job.spec.seed}"
    store = open_store(given.store)
    folder = store.root / "work" / spec.id
    tags = {
        "kind": "arm",
        "arm": job.arm,
        "seed": spec.seed,
        "study": job.study,
        "spec": spec.id,
        "mlflow.runColor": job.colour,
    }
    try:
        if not given.resume or was_replayed(store, folder):
            set_aside(store, job.experiment, folder)
        tracker = Tracker(store, job.experiment, name=name, work=folder, tags=tags, params=flat(spec))
        # BLAS with a thread for every core in every process is ten times slower than with its share
        with threadpool_limits(job.threads, user_api="blas"), tracker:
            done = run(
                spec,
                cached_splits(given.base, given.data_dir),
                arm=job.arm,
                device=given.device,
                codes=given.codes,
                work=folder,
                tracker=tracker,
                bar=lambda label, total: bar(f"{name} {label}", total, given.jobs),
            )
    except (Diverged, InputError) as error:
        return failed_row(spec, job.arm, str(error)), [], {}
    except Exception as error:  # one run's fault must not end the study; its trace is for whoever mends it
        traceback.print_exc()
        return failed_row(spec, job.arm, f"{type(error).__name__}: {error}"), [], {}
    return done.row, done.curve, done.samples


def bar(label: str, total: int, processes: int) -> Any:
    """The progress bar of a phase, on a line of its own for each process."""
    import multiprocessing

    from stacked.progress import Bar

    number = multiprocessing.current_process().name.rpartition("-")[2]
    return Bar(label, total, position=int(number) % processes if number.isdigit() else 0)
