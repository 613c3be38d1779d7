"""One run of a study: what it trains, and how it is trained and recorded in this process."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stacked.runtime.interruption import Interruption
from stacked.util.atomic import REFUSED, unwritable
from stacked.util.checks import need
from stacked.util.errors import Diverged, InputError, Interrupted, Unwritable
from stacked.util.paths import without_folders
from studies.cli.options import Options

if TYPE_CHECKING:
    from stacked.data import Splits
    from stacked.runs.run import Result
    from stacked.spec import RunSpec

#: Seconds that a worker process has to write a checkpoint before it is killed.
GRACE_SECONDS = 6.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One run of a study, as it is sent to a worker process.

    spec: what is trained. arm: name of the arm. study: name and configuration of the study. experiment: MLflow experiment.
    tags: further tags of the run in MLflow. given: options of the command line. threads: number of threads. arms: the order of
    the arms in the record. data: digest of the data of the record ("": any data).
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


def run_job(job: Job, splits: Splits, stop: Callable[[], bool] | None = None) -> Row:
    """Run one job in this process, record it and return its row; the row of a failed run holds the reason.

    stop: returns True once the run is to end (None: a SIGTERM to this process ends it). Raises Interrupted if it is to end, and
    Unwritable if a file cannot be written; the run then does not count as failed, and the same command continues it. Raises
    InputError, and records nothing, if `splits` are not the data of the job.
    """
    need(
        job.data in ("", splits.digest),
        f"the images of {splits.name} changed while the study ran: they differ from those of "
        f"{job.given.out / 'configuration.json'}; restore them and give the same command again, or choose another --out",
    )
    with nullcontext(stop) if stop else Interruption((signal.SIGTERM,)) as should_stop:
        try:
            return job.run(splits, should_stop)
        except Unwritable:
            raise
        except Exception as error:  # a bug in one run must not end the study
            failure, asked = error, should_stop()
    return failed(job, failure, asked)


def failed(job: Job, error: Exception, asked: bool) -> Row:
    """Record that a run ended with this error, and return its row; Interrupted if it was asked to end, Unwritable on a full disk.

    The traceback of an error that is not the user's is printed for the author, also of one that a request to end may have caused.
    """
    if not asked and isinstance(error, OSError) and error.errno in REFUSED:
        raise unwritable(error.filename or job.given.store, error) from error
    expected = isinstance(error, (Diverged, InputError))
    if not expected:
        traceback.print_exception(error)
    if asked:
        # ended in the middle of an import, say, the library fails when the tracker uses it again to end the run
        raise Interrupted("stopped as asked") from error
    return record_failure(job, str(error) if expected else f"{type(error).__name__}: {error}")


def train(job: Job, splits: Splits, stop: Callable[[], bool]) -> Result:
    """Train the run of a job from its latest checkpoint, if there is one, and log it to MLflow; return its result."""
    from stacked.runs.run import run
    from stacked.runtime.determinism import strict
    from stacked.tracking.tracker import Tracker, open_store, set_aside, was_replayed
    from stacked.tracking.work_folder import held
    from studies.execution.threads import thread_limit
    from studies.record.parameters import parameters
    from studies.statistics.words import Words
    from studies.viewing.descriptions import NOTE, of_run

    spec, given, name = job.spec, job.given, f"{job.arm}/s{job.spec.seed}"
    store = open_store(given.store, must_answer=False)  # the study has opened it
    folder = store.root / "work" / spec.id
    tags = {
        "kind": "arm",
        "arm": job.arm,
        "seed": spec.seed,
        "study": job.study,
        "spec": spec.id,
        NOTE: of_run(spec, Words.of_splits(splits)),
        **job.tags,
    }
    # a worker of a killed study needs up to about GRACE_SECONDS to release the folder
    with held(folder, wait=2 * GRACE_SECONDS):
        # `set_aside` renames the folder, so that the run starts anew; a copy from a record (`was_replayed`) cannot be resumed
        if not given.resume or was_replayed(store, folder):
            set_aside(store, folder)
        tracker = Tracker(store, job.experiment, name=name, work=folder, tags=tags, params=parameters(spec))
        strictly = strict(given.device, given.deterministic)
        with thread_limit(job.threads), tracker, strictly:
            return run(
                spec,
                splits,
                arm=job.arm,
                device=given.device,
                codes=given.codes,
                disk_cache=given.disk_cache,
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
