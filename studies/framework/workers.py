"""Runs the jobs of a study in worker processes; a worker that is asked to end writes a checkpoint first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from ctypes import c_bool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from stacked.data.shared import Place, Reader, shared
from stacked.runtime.interruption import Interruption
from stacked.runtime.progress import Screen, say_warnings, shown
from stacked.runtime.time_left import Runs
from stacked.util.atomic import REFUSED, unwritable
from stacked.util.checks import need
from stacked.util.errors import Diverged, InputError, Interrupted, Unwritable
from stacked.util.paths import without_folders
from studies.cli.options import Options
from studies.framework.shared_text import SharedText

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.runs.run import Result
    from stacked.spec import RunSpec

#: Seconds that workers have to write a checkpoint before they are killed.
GRACE_SECONDS = 6.0
#: A run whose process died this often counts as failed.
MAX_DEATHS = 2
#: In a worker process: the reader of the data that it trains on, and the text that shows its progress.
WORKER_DATA: list[Reader] = []
WORKER_PROGRESS: list[SharedText] = []

Row = dict[str, Any]
#: A flag that processes share without a lock: a killed process cannot leave it locked.
Flag: TypeAlias = c_bool


@dataclass(frozen=True)
class Job:
    """One run of a study, as it is sent to a worker process.

    spec: what is trained. arm: name of the arm. study: name and configuration of the study. experiment: MLflow experiment.
    colour: of the run in MLflow. given: options of the command line. threads: number of threads. tags: further tags of its run in
    MLflow. arms: the order of the arms in the record. data: digest of the data of the record ("": any data).
    """

    spec: RunSpec
    arm: str
    study: str
    experiment: str
    tags: Mapping[str, str]
    given: Options
    threads: int
    arms: tuple[str, ...] = ()
    data: str = ""

    @property
    def label(self) -> str:
        """The name of the run in progress messages."""
        return f"{self.arm}, seed {self.spec.seed}"

    def run(self, splits: Splits, stop: Callable[[], bool]) -> Row:
        """Train on `splits`, record the result and return its row."""
        from studies.record import runs as record

        result = train(self, splits, stop)
        record.add(self.given.out, result.row, result.curve, result.samples, self.arms)
        return result.row

    def record_failure(self, reason: str) -> Row:
        """Record that the run failed, with the reason, and return its row."""
        from studies.record import runs as record

        row = record.failed_row(self.spec, self.arm, reason)
        record.add(self.given.out, row, [], {}, self.arms)
        return row


def run_jobs(
    jobs: Sequence[Job], processes: int, splits: Splits, stop: Callable[[], bool] = lambda: False
) -> Iterator[Row]:
    """Run the jobs in `processes` processes that share the memory of `splits`, and yield each row when its run ends.

    Each run records its own row. If `stop` returns True, the runs in progress write a checkpoint and end, and Interrupted is
    raised. A run whose process was killed continues in another process; if that is killed as well, the run counts as failed.
    """
    kinds = [job.arm for job in jobs]
    if processes == 1 or len(jobs) < 2:
        with Runs(kinds) as runs:
            for job in jobs:
                if stop():
                    raise Interrupted("stopped as asked")
                number = runs.begin(job.label, job.arm)
                row = run_job(job, splits, stop)
                runs.end(number, counts=row["status"] == "finished")
                yield row
        return
    waiting, deaths, started = deque(jobs), Counter[str](), RawValue(c_bool, False)
    texts = SharedText(processes)
    with shared(splits) as place, Runs(kinds, at_once=processes, others=texts.read) as runs:
        while waiting:
            lost: list[Job] = []
            yield from run_in_pool(waiting, lost, runs, processes, (place, started, texts), stop)
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
    runs: Runs,
    processes: int,
    shares: tuple[Place, Flag, SharedText],
    stop: Callable[[], bool],
) -> Iterator[Row]:
    """Run jobs from `waiting` in a pool of processes and yield their rows; if a process dies, append its jobs to `lost`.

    shares: what a worker process gets from this one, the last three arguments of `start_worker`.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawning, initializer=start_worker, initargs=(os.getpid(), *shares)) as pool:
        running: dict[Future[Row], tuple[Job, int]] = {}
        broken = False
        try:
            while not stop() and (running or (waiting and not broken)):
                try:
                    while waiting and len(running) < processes and not broken:
                        with importable_main():
                            future = pool.submit(run_in_worker, waiting[0])
                        job = waiting.popleft()
                        running[future] = job, runs.begin(job.label, job.arm)
                except BrokenProcessPool:
                    broken = True
                for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    job, number = running.pop(future)
                    try:
                        row = future.result()
                    except BrokenProcessPool:
                        broken = True
                        lost.append(job)
                        runs.lost(number)
                        continue
                    runs.end(number, counts=row["status"] == "finished")
                    yield row
                runs.refresh()
            if stop() and (running or waiting):
                raise Interrupted("stopped as asked")
        except BaseException:
            stop_workers(multiprocessing.active_children(), list(running))
            raise


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


def prepare_worker(parent: int, place: Place | None = None) -> None:
    """Make this process a worker: it ignores SIGINT, which the parent handles, and ends when the parent dies.

    place: location of the shared data. They are opened now, because the parent may end before they are used. SIGTERM is handled
    during a run only: a worker that waits for a job holds the lock of the queue, and if it died the other workers would wait
    for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say_warnings()
    WORKER_DATA.extend([Reader(place)] if place else [])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(parent: int, place: Place, started: Flag, texts: SharedText) -> None:
    """Make this process a worker that writes its progress to `texts`, and set the flag `started`."""
    prepare_worker(parent, place)
    WORKER_PROGRESS.append(texts)
    started.value = True


def run_in_worker(job: Job) -> Row:
    """Run one job in this worker process, on the data that it has opened."""
    with shown(Screen(job.label, send=WORKER_PROGRESS[0].write)):
        return run_job(job, WORKER_DATA[0].splits)


def run_job(job: Job, splits: Splits, stop: Callable[[], bool] | None = None) -> Row:
    """Run one job in this process, record it and return its row; the row of a failed run holds the reason.

    stop: returns True once the run is to end (None: a SIGTERM to this process ends it). Raises Unwritable if a file cannot be
    written; the run then does not count as failed, and the same command continues it. Raises InputError, and records nothing,
    if `splits` are not the data of the job.
    """
    need(
        job.data in ("", splits.digest),
        f"the images of {splits.name} changed while the study ran: they differ from those of "
        f"{job.given.out / 'configuration.json'}; restore them and give the same command again, or choose another --out",
    )
    try:
        with nullcontext(stop) if stop else Interruption((signal.SIGTERM,)) as should_stop:
            return job.run(splits, should_stop)
    except Unwritable:
        raise
    except (Diverged, InputError) as error:
        return record_failure(job, str(error))
    except Exception as error:  # a bug in one run must not end the study; the traceback is for its author
        if isinstance(error, OSError) and error.errno in REFUSED:
            raise unwritable(error.filename or job.given.store, error) from error
        traceback.print_exc()
        return record_failure(job, f"{type(error).__name__}: {error}")


def train(job: Job, splits: Splits, stop: Callable[[], bool]) -> Result:
    """Train the run of a job from its latest checkpoint, if there is one, and log it to MLflow; return its result."""
    from stacked.runs.run import run
    from stacked.runtime.determinism import strict
    from stacked.tracking.tracker import Tracker, open_store, set_aside, was_replayed
    from stacked.tracking.work_folder import held
    from stacked.util.serialization import flat
    from studies.framework.descriptions import NOTE, of_run
    from studies.framework.threads import thread_limit

    spec, given, name = job.spec, job.given, f"{job.arm}/s{job.spec.seed}"
    store = open_store(given.store)
    folder = store.root / "work" / spec.id
    tags = {
        "kind": "arm",
        "arm": job.arm,
        "seed": spec.seed,
        "study": job.study,
        "spec": spec.id,
        NOTE: of_run(spec),
        **job.tags,
    }
    # waits longer than a worker lives after the death of its parent
    with held(folder, wait=2 * GRACE_SECONDS):
        if not given.resume or was_replayed(store, folder):
            set_aside(store, folder)
        tracker = Tracker(store, job.experiment, name=name, work=folder, tags=tags, params=flat(spec))
        strictly = strict(given.device, given.deterministic)
        with thread_limit(job.threads), tracker, strictly:
            return run(
                spec,
                splits,
                arm=job.arm,
                device=given.device,
                codes=given.codes,
                work=folder,
                tracker=tracker,
                checkpoint_every=given.checkpoint_every,
                stop=stop,
            )


def record_failure(job: Job, reason: str) -> Row:
    """Record that a run failed, with the reason, and return its row."""
    folders = [folder for folder in (job.given.store, job.given.out, job.given.data_dir) if folder]
    try:
        return job.record_failure(without_folders(reason, *folders))
    except Unwritable as error:
        raise Unwritable(f"{job.arm}/s{job.spec.seed} failed ({reason}), and {error}") from error
