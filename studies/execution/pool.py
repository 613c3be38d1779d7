"""Runs the jobs of a study in worker processes; a worker that is asked to end writes a checkpoint first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import c_bool
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from types import ModuleType
from typing import TYPE_CHECKING

from stacked.data.shared import shared
from stacked.runtime.interruption import Interruption
from stacked.runtime.time_left import RunProgress
from stacked.util.checks import need
from stacked.util.errors import Interrupted
from studies.execution.job import GRACE_SECONDS, Job, Row, record_failure, run_job
from studies.execution.shared_text import SharedText
from studies.execution.worker import run_in_worker, start_worker

if TYPE_CHECKING:
    from stacked.data import Splits

#: A run whose process died this often counts as failed.
MAX_DEATHS = 2


def run_jobs(
    jobs: Sequence[Job], processes: int, splits: Splits, stop: Callable[[], bool] = lambda: False
) -> Iterator[Row]:
    """Run the jobs in `processes` processes that share the memory of `splits`, and yield each row when its run ends.

    Each run records its own row. If `stop` returns True, the runs in progress write a checkpoint and end, and Interrupted is
    raised. A run whose process was killed continues in another process; if that is killed as well, the run counts as failed.
    """
    arms = [job.arm for job in jobs]  # runs of an arm take about as long
    if processes == 1 or len(jobs) < 2:
        with RunProgress(arms) as progress:
            for job in jobs:
                if stop():
                    raise Interrupted("stopped as asked")
                number = progress.begin(job.label, job.arm)
                row = run_job(job, splits, stop)
                progress.end(number, counts=row["status"] == "finished")
                yield row
        return
    waiting, deaths, started = deque(jobs), Counter[str](), RawValue(c_bool, False)
    texts = SharedText(processes)
    with shared(splits) as place, RunProgress(arms, at_once=processes, worker_texts=texts.read) as progress:
        start = partial(start_worker, parent=os.getpid(), place=place, started=started, texts=texts)
        while waiting:
            lost: list[Job] = []
            yield from run_in_pool(waiting, lost, progress, processes, start, stop)
            need(
                not lost or started.value,
                "no worker process could be started: a script must call the study below `if __name__ == '__main__':`; or give "
                "--jobs 1",
            )
            for job in lost:
                deaths[job.spec.id] += 1
                if deaths[job.spec.id] < MAX_DEATHS:
                    waiting.appendleft(job)
                else:
                    reason = "its process was killed twice, perhaps because memory ran out: try fewer --jobs"
                    yield record_failure(job, reason)


def run_in_pool(
    waiting: deque[Job],
    lost: list[Job],
    progress: RunProgress,
    processes: int,
    start: Callable[[], None],
    stop: Callable[[], bool],
) -> Iterator[Row]:
    """Run jobs from `waiting` in a pool of processes and yield their rows; if a process dies, append its jobs to `lost`.

    start: called first in each process, to make it a worker.
    """
    spawning = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())  # of the program that calls this, which are not to be stopped
    with ProcessPoolExecutor(processes, spawning, initializer=start) as pool:
        running: dict[Future[Row], tuple[Job, int]] = {}
        broken = False
        try:
            while not stop() and (running or (waiting and not broken)):
                try:
                    while waiting and len(running) < processes and not broken:
                        with importable_main(), without_interrupts():
                            future = pool.submit(run_in_worker, waiting[0])
                        job = waiting.popleft()
                        running[future] = job, progress.begin(job.label, job.arm)
                except BrokenProcessPool:
                    broken = True
                for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    job, number = running.pop(future)
                    try:
                        row = future.result()
                    except BrokenProcessPool:
                        broken = True
                        lost.append(job)
                        progress.lost(number)
                        continue
                    progress.end(number, counts=row["status"] == "finished")
                    yield row
                progress.refresh()
            if stop() and (running or waiting):
                raise Interrupted("stopped as asked")
        except BaseException:
            workers = [process for process in multiprocessing.active_children() if process not in others]
            stop_workers(workers, list(running))
            raise


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Context that blocks Ctrl-C, in this thread for a moment and in the processes that it starts for good.

    Else a process that a terminal interrupts while it starts, before it ignores Ctrl-C, prints a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would unblock the signal when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def importable_main() -> Iterator[None]:
    """Context in which processes can be started from a main module without a file, such as that of `python -`.

    Such a module is replaced by an empty one, because a spawned process would try to import it.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    has_no_file = main.__spec__ is None and file is not None and not os.path.isfile(file)
    if has_no_file:
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def stop_workers(workers: list[BaseProcess], running: list[Future[Row]]) -> None:
    """Ask the workers to write checkpoints and end; kill those that are alive after `GRACE_SECONDS`.

    A repeated signal to this process is ignored during that time.
    """
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        with Interruption(grace=GRACE_SECONDS):
            for worker in workers:
                worker.terminate()
            done = wait(running, GRACE_SECONDS).done
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                # a worker died while the pool started it, after which the pool no longer reports the other futures
                while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
                    time.sleep(0.05)
    finally:
        for worker in workers:
            worker.kill()
