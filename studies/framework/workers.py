"""Runs of a study in worker processes, which keep their place when they are asked to end."""

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

#: Seconds that workers have for keeping their place before they are ended.
PATIENCE = 6.0
#: A run whose process died so often is given up.
MOST_DEATHS = 2
#: In a worker process, the data on which it works, and where it says how far it is.
RECEIVED: list[Reader] = []
SAYING: list[SharedText] = []

Row = dict[str, Any]
#: What processes share without a lock, which could die with one of them.
Flag: TypeAlias = c_bool


@dataclass(frozen=True)
class Job:
    """One run of a study, as a worker process gets it.

    tags: further ones of its run in MLflow. arms: the order in which rows are kept. data: the digest of the data that the record
    is of ("": whatever is given).
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
        """What progress calls the run."""
        return f"{self.arm}, seed {self.spec.seed}"

    def do(self, splits: Splits, stop: Callable[[], bool]) -> Row:
        """Make the run on these data and record it; its row."""
        from studies.record import runs as record

        done = train(self, splits, stop)
        record.add(self.given.out, done.row, done.curve, done.samples, self.arms)
        return done.row

    def failed(self, reason: str) -> Row:
        """Record that the run failed, and why; its row."""
        from studies.record import runs as record

        row = record.failed_row(self.spec, self.arm, reason)
        record.add(self.given.out, row, [], {}, self.arms)
        return row


def work(
    jobs: Sequence[Job], processes: int, splits: Splits, stop: Callable[[], bool] = lambda: False
) -> Iterator[Row]:
    """Run the jobs on `splits` in so many processes, which share them, and yield the row of each as it comes.

    Each writes its own record.

    When `stop` says so the runs in progress keep their place and end, and Interrupted is raised. A run whose process was
    ended from outside goes on in another, once.
    """
    kinds = [job.arm for job in jobs]
    if processes == 1 or len(jobs) < 2:
        with Runs(kinds) as runs:
            for job in jobs:
                if stop():
                    raise Interrupted("stopped as asked")
                number = runs.begin(job.label, job.arm)
                row = work_one(job, splits, stop)
                runs.end(number, counts=row["status"] == "finished")
                yield row
        return
    waiting, deaths, begun = deque(jobs), Counter[str](), RawValue(c_bool, False)
    texts = SharedText(processes)
    with shared(splits) as place, Runs(kinds, at_once=processes, others=texts.read) as runs:
        while waiting:
            lost: list[Job] = []
            yield from in_processes(waiting, lost, runs, processes, (place, begun, texts), stop)
            need(
                not lost or begun.value,
                "no worker process could be started: in a script of your own start the study below "
                "`if __name__ == '__main__':`, or give --jobs 1",
            )
            for job in lost:
                deaths[job.spec.id] += 1
                if deaths[job.spec.id] < MOST_DEATHS:
                    waiting.appendleft(job)
                else:
                    reason = "its process was ended from outside, perhaps for want of memory: try fewer --jobs"
                    yield failed(job, reason)


def in_processes(
    waiting: deque[Job],
    lost: list[Job],
    runs: Runs,
    processes: int,
    shares: tuple[Place, Flag, SharedText],
    stop: Callable[[], bool],
) -> Iterator[Row]:
    """Take jobs from `waiting` and yield their rows; when a process dies, those that were running go to `lost`.

    `shares` are what processes get from this one, as `begin` takes them.
    """
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawning, initializer=begin, initargs=(os.getpid(), *shares)) as pool:
        running: dict[Future[Row], tuple[Job, int]] = {}
        broken = False
        try:
            while not stop() and (running or (waiting and not broken)):
                try:
                    while waiting and len(running) < processes and not broken:
                        with importable_main():
                            future = pool.submit(work_here, waiting[0])
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
            end(multiprocessing.active_children(), list(running))
            raise


@contextmanager
def importable_main() -> Iterator[None]:
    """Processes that are started in this context do not import the main module where it is in no file, as that of `python -`."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    typed = main.__spec__ is None and file is not None and not os.path.isfile(file)
    if typed:
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def end(workers: list[BaseProcess], running: list[Future[Row]]) -> None:
    """Let workers keep the place of what they train, and see to it that they end.

    The signal that asked for it comes again when this process has not ended for some seconds: it has to wait.
    """
    deadline = time.monotonic() + PATIENCE
    try:
        with Interruption(grace=PATIENCE):
            for worker in workers:
                worker.terminate()
            done = wait(running, PATIENCE).done
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                # one died of it while it was made: what the others do is told no more
                while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
                    time.sleep(0.05)
    finally:
        for worker in workers:
            worker.kill()


def prepare(parent: int, place: Place | None = None) -> None:
    """Make this process a worker: Ctrl-C is the parent's to pass on, and when the parent dies the worker ends too.

    place: where the data lie on which it is to work. They are opened now: what it does later must not hang on its parent.
    SIGTERM is for the run in progress. A worker that waits for the next one holds a lock, which must not die with it: the others
    would wait for it without end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say_warnings()
    RECEIVED.extend([Reader(place)] if place else [])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def begin(parent: int, place: Place, begun: Flag, texts: SharedText) -> None:
    """Make this process a worker, which writes its progress to `texts`, and note that one has begun."""
    prepare(parent, place)
    SAYING.append(texts)
    begun.value = True


def work_here(job: Job) -> Row:
    """Do one run in this worker process, on the data that were received by it."""
    with shown(Screen(job.label, send=SAYING[0].write)):
        return work_one(job, RECEIVED[0].splits)


def work_one(job: Job, splits: Splits, stop: Callable[[], bool] | None = None) -> Row:
    """Do one run in this process and record it; a run that fails gives a row that says why.

    stop: as of `run` (None: signals to this process are noted here). Raises Unwritable where the disk is full or takes
    nothing: that is no fault of the run, which goes on from what it kept when it is started again. Raises InputError, and
    records nothing, where these are not the data of the job.
    """
    need(
        job.data in ("", splits.digest),
        f"the images of {splits.name} changed while the study ran, and are not those of {job.given.out / 'configuration.json'}: "
        "restore them and give the same command again, or choose another --out",
    )
    try:
        with nullcontext(stop) if stop else Interruption((signal.SIGTERM,)) as asked:
            return job.do(splits, asked)
    except Unwritable:
        raise
    except (Diverged, InputError) as error:
        return failed(job, str(error))
    except Exception as error:  # one run's fault must not end the study; its trace is for whoever mends it
        if isinstance(error, OSError) and error.errno in REFUSED:
            raise unwritable(error.filename or job.given.store, error) from error
        traceback.print_exc()
        return failed(job, f"{type(error).__name__}: {error}")


def train(job: Job, splits: Splits, stop: Callable[[], bool]) -> Result:
    """The run of a job, tracked; it goes on where it was left."""
    from stacked.runs.run import run
    from stacked.runtime.determinism import strict
    from stacked.tracking.tracker import Tracker, open_store, set_aside, was_replayed
    from stacked.tracking.work_folder import held
    from stacked.util.serialization import flat
    from studies.framework.descriptions import NOTE, of_run
    from studies.framework.threads import limited

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
    # for longer than a worker lives on after the death of its parent
    with held(folder, wait=2 * PATIENCE):
        if not given.resume or was_replayed(store, folder):
            set_aside(store, folder)
        tracker = Tracker(store, job.experiment, name=name, work=folder, tags=tags, params=flat(spec))
        strictly = strict(given.device, given.deterministic)
        with limited(job.threads), tracker, strictly:
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


def failed(job: Job, reason: str) -> Row:
    """Record that a run failed, and why; its row."""
    folders = [folder for folder in (job.given.store, job.given.out, job.given.data_dir) if folder]
    try:
        return job.failed(without_folders(reason, *folders))
    except Unwritable as error:
        raise Unwritable(f"{job.arm}/s{job.spec.seed} failed ({reason}), and {error}") from error
