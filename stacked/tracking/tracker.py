"""What a run leaves in MLflow: an arm run with its stages as child runs, and files that outlive an outage.

Everything measured is first appended to a file in the run's work folder and sent in batches. When the store
fails, training goes on; what was not sent is kept there and sent later, with its original time, by this process or
another. Sending a point twice is harmless: MLflow keeps one of two points that agree in run, metric, step, time and
value. One thread of one process writes a run.

Importing this module imports MLflow, which takes seconds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.typing import NDArray

from stacked.tracking.client import KEY_TAG, PICTURES, StoreClient, let_go_of_writer
from stacked.tracking.metric_log import PointFile
from stacked.tracking.pending_uploads import Errand, keep, kept, picture
from stacked.tracking.run_record import FAILURE_TAG, RunRecord, now, open_record, read_record
from stacked.tracking.store import OUTAGES, Store, open_store
from stacked.tracking.uploader import Outbox
from stacked.util.atomic import writing
from stacked.util.errors import InputError, Unwritable
from stacked.util.links import check_inside
from stacked.util.paths import without_folders

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Run", "Store", "Tracker", "open_store", "study_run"]

POINTS = "points.jsonl"


class Run:
    """One run of the store; a context manager that ends it FINISHED, FAILED (tag `failure`) or KILLED."""

    def __init__(self, client: StoreClient, folder: Path, record: RunRecord, parent: Run | None = None) -> None:
        self._client = client
        self._folder = folder
        self._record = record
        self._parent = parent
        self._points = PointFile(folder / POINTS)
        self._errands = kept(folder)
        self._found = False
        self._in_database: list[Errand] = []  # those done of which the database alone tells
        self._outbox: Outbox = parent._outbox if parent else Outbox(self._send, client.store.uri, str(folder))
        record.points_sent = min(record.points_sent, len(self._points.points))
        record.save(folder)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until the store has answered."""
        return self._record.run_id

    @property
    def unsent(self) -> int:
        """Number of points, of this run alone, that the store does not have yet."""
        return len(self._points.points) - self._record.points_sent

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Note metrics at an update; a metric that is already noted for that step is skipped.

        Values that are not finite are logged as NaN, with the tag diverged=true. Raises `InputError` for a
        metric name that MLflow refuses.
        """
        point = self._points.add(self._record.name, metrics, step, now())
        if point is None:
            return
        if any(math.isnan(value) for value in point.metrics.values()):
            self._set_tags({"diverged": "true"})
        self._outbox.note()

    def tags(self, tags: Mapping[str, object]) -> None:
        """Set tags, as text."""
        self._set_tags(tags)
        self._outbox.flush()

    def image(self, key: str, array: NDArray[np.uint8], step: int) -> None:
        """Log a picture, [H, W] or [H, W, 3] in 0..255, once for a key and a step."""
        if not picture(array):
            raise InputError(f"picture {key!r} is {array.dtype} {list(array.shape)}; give uint8 [H, W] or [H, W, 3]")
        plain = {"key": key, "step": step, "at": now()}
        self._do(Errand("log_image", plain, {"image": array.copy()}, once=f"image {key} {step}"))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or the files in a folder; in an outage what lies in the run's work folder is read later: leave it there."""
        if not path.exists():
            raise InputError(f"the artifact {str(path)!r} does not exist; write it before logging it")
        inside = [file.name for file in path.iterdir()] if path.is_dir() else [path.name]
        for name in inside:
            _check_folder(str(Path(folder or "") / name))
        # a work folder is moved with its store
        place, own = path.absolute(), self._folder.absolute()
        place = place.relative_to(own) if place.is_relative_to(own) else place
        self._do(Errand("log_file", {"path": str(place), "folder": folder}))

    def text(self, text: str, artifact_file: str) -> None:
        """Log a text as an artifact."""
        _check_folder(artifact_file)
        self._do(Errand("log_text", {"text": text, "artifact_file": artifact_file}))

    def flush(self) -> bool:
        """Send what waits in the run and its family; False when the store fails or failed a moment ago."""
        return self._outbox.flush()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._record.status = "FINISHED"
        elif isinstance(error, Exception):
            self._record.status = "FAILED"
            reason = without_folders(f"{type(error).__name__}: {error}", self._folder)
            self._record.set_tags({FAILURE_TAG: reason[:500]})
        else:
            self._record.status = "KILLED"
        self._record.ended = now()
        quietly = partial(suppress, Unwritable) if error else nullcontext  # it must not hide why the run ended
        with quietly():
            self._record.save(self._folder)
        with quietly():
            self._outbox.flush(pressing=self._parent is None)

    def _set_tags(self, tags: Mapping[str, object]) -> None:
        self._record.set_tags(tags)
        self._record.save(self._folder)

    def _do(self, errand: Errand) -> None:
        """Do what needs the store, or keep it for later; with a label, it is done once in the life of the run."""
        label = errand.once
        if label and (label in self._record.done or any(label == waiting.once for waiting in self._errands)):
            return
        self._errands.append(errand)
        if not self._outbox.flush():
            keep(self._folder, errand)

    def _send(self) -> None:
        """Send what is new; after an outage the record and the queue tell where to go on."""
        if self._is_settled():
            return
        try:
            self._client.check_free()
            self._bring_up_to_date(self._connect())
        except OUTAGES:
            self._client.forget(self._record.run_id)
            raise
        finally:
            self._record.save(self._folder)

    def _bring_up_to_date(self, run_id: str) -> None:
        record = self._record
        if not record.tags_sent:
            self._client.log_tags(run_id, record.tags)
            record.tags_sent = True
        if self.unsent:
            self._client.log_points(run_id, self._points.points[record.points_sent :])
            record.points_sent = len(self._points.points)
        if record.ended is not None and not record.end_sent:
            self._client.end_run(run_id, record.status, record.ended)
            record.end_sent = True
        self._do_errands(run_id)
        if record.ended is not None:
            let_go_of_writer(run_id)

    def _do_errands(self, run_id: str) -> None:
        """Do what can be done: a file that the store refuses, as too long, say, does not hold back the others."""
        failures = []
        for errand in list(self._errands):
            try:
                errand.do(self._client, run_id, self._folder)
            except OUTAGES as error:
                failures.append(error)
            else:
                self._errands = [each for each in self._errands if each is not errand]  # they hold arrays
                self._record.done.extend([errand.once] if errand.once else [])
                self._in_database += [errand] if errand.what in ("log_dataset", "log_model") else []
        if failures:
            raise failures[0]

    def _is_settled(self) -> bool:
        record = self._record
        up_to_date = record.tags_sent and not self.unsent and not self._errands
        return up_to_date and self._is_connected() and (record.end_sent or record.ended is None)

    def _is_connected(self) -> bool:
        """A run that has ended in the store is not looked for again, unless its parent was made anew."""
        return (self._found or self._record.end_sent) and self._record.parent == self._parent_id()

    def _parent_id(self) -> str | None:
        return self._parent.run_id if self._parent else None

    def _connect(self) -> str:
        """Find the run in the store, or create it there with all that is known of it."""
        record = self._record
        if record.run_id is not None and self._is_connected():
            return record.run_id
        stored = self._client.find_run(record.run_id) if record.run_id else None
        same = record.parent == self._parent_id()
        if stored is not None and same:
            run_id = stored.info.run_id
            if record.ended is None:
                self._client.reopen_run(stored, [FAILURE_TAG])
        else:
            run_id = (self._client.find_made(record.key) if same else None) or self._create()
        record.run_id = run_id
        record.save(self._folder)
        self._client.log_params(run_id, record.params)
        self._found = True
        return run_id

    def _create(self) -> str:
        record, parent, lost, done = self._record, self._parent_id(), self._record.run_id, self._record.done
        if lost or record.parent != parent:
            record.forget_store()
            record.parent = parent
            record.save(self._folder)
        of = {"mlflow.parentRunId": parent} if parent else {}
        run_id = self._client.create_run(record.name, record.started, record.tags | of | {KEY_TAG: record.key})
        if lost and self._client.adopt_files(lost, run_id):
            record.done = [label for label in done if label.startswith("image ")]
        self._errands, self._in_database = self._in_database + self._errands, []
        return run_id

    def look_again(self) -> None:
        """The store may have nothing of the run any more: find it there, or send all of it again."""
        record, self._found = self._record, False
        record.points_sent, record.tags_sent, record.end_sent = 0, False, False


class Family(Run):
    """A run and its stages, as its work folder holds them: `points.jsonl`, `run.json`, and `stages/<index>` with the same."""

    def __init__(self, client: StoreClient, folder: Path, record: RunRecord) -> None:
        super().__init__(client, folder, record)
        self._stages: dict[int, Run] = {}
        for stage in (path for path in (folder / "stages").glob("*") if path.name.isdecimal()):
            check_inside(folder, stage)
            self._stages[int(stage.name)] = Run(client, stage, read_record(stage, client.store.name), self)

    def _send(self) -> None:
        family = (self, *self._stages.values())
        try:
            if self._client.is_new():
                self.look_again()
            super()._send()
            for stage in self._stages.values():
                stage._send()
        except OUTAGES:
            for run in family:
                run._found = False  # what the store knew, or said of it, may not hold any more
            raise

    def look_again(self) -> None:
        super().look_again()
        for stage in self._stages.values():
            stage.look_again()

    def end(self) -> None:
        """Note that what is RUNNING was KILLED, when the run was last heard of."""
        for run in (self, *self._stages.values()):
            if run._record.ended is None:
                points = run._points.points
                run._record.status, run._record.ended = "KILLED", points[-1].time if points else run._record.started
                run._record.end_sent = False
                run._record.save(run._folder)


class Tracker(Family):
    """The run of one arm with one seed, and its stages as child runs.

    A run that `work` remembers and that still exists in the store is resumed, else a run is created. Raises `InputError` when
    `work` holds a run with other parameters, or another process uses it.
    """

    def __init__(
        self,
        store: Store,
        experiment: str,
        *,
        name: str,
        work: Path,
        tags: Mapping[str, object],
        params: Mapping[str, object],
    ) -> None:
        with held(work):
            record = open_record(work, store.name, experiment, name, tags, params)
            super().__init__(StoreClient(store, experiment), work, record)
            self._outbox.flush(strict=True)

    def __enter__(self) -> Tracker:
        self._holding = held(self._folder)
        self._holding.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._holding.__exit__(kind, error, trace)

    def stage(self, index: int, name: str, params: Mapping[str, object]) -> Run:
        """The child run of a stage, to be used in a `with` statement; `index` is unique within the run.

        It carries no tag or parameter named arm: the view that averages over seeds groups by it.
        """
        if "arm" in params:
            raise InputError("a stage has no parameter named 'arm'; leave it to the arm's run")
        own = self._record.tags
        tags: dict[str, object] = {"kind": "stage", "stage_index": index, "stage_of": own.get("arm", "")}
        tags |= {key: own[key] for key in ("study", "mlflow.runColor") if key in own}
        folder = self._folder / "stages" / str(index)
        record = open_record(
            folder, self._client.store.name, self._client.experiment, f"{self._record.name} {name}", tags, params
        )
        self._stages[index] = Run(self._client, folder, record, self)
        self._outbox.flush()
        return self._stages[index]

    def dataset(self, name: str, digest: str, *, rows: int, shape: Sequence[int], context: str) -> None:
        """Note that the run reads `rows` uint8 examples of `shape`; `context` says for what ("train")."""
        plain = {"name": name, "digest": digest, "rows": rows, "shape": list(shape), "context": context}
        self._do(Errand("log_dataset", plain, once=f"dataset {name} {digest} {context}"))

    def model(self, encoder: nn.Module, example: Tensor) -> None:
        """Log the encoder as it is now, once a run, as the model "encoder"; `example` is a batch of inputs.

        It is exported in eval mode for any batch size: `mlflow.pytorch.load_model` gives a graph module back.
        """
        import torch

        frozen = copy.deepcopy(encoder).cpu().to(memory_format=torch.contiguous_format).eval()
        # MLflow stores the example twice as text, where quarters are short.
        batch = (torch.cat([example, example])[:2].detach().cpu().mul(4).round() / 4).numpy()
        self._do(Errand("log_model", {"name": "encoder"}, {"example": batch}, {"model": frozen}, once="model encoder"))


class InUse(InputError):
    """Another process is in a work folder."""


def lock_of(work: Path) -> BaseFileLock:
    """The lock of a work folder, one a process: who holds it already may take it again."""
    return FileLock(work.with_name(f"{work.name}.lock"), is_singleton=True)


@contextmanager
def held(work: Path, wait: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a work folder; InUse when one is still in it after so many seconds."""
    lock = lock_of(work)
    try:
        with writing(Path(lock.lock_file)):
            work.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=wait)
    except Timeout as error:
        raise InUse(f"another process is training the run in {work}: wait for that to end") from error
    try:
        yield
    finally:
        lock.release()


def set_aside(store: Store, work: Path) -> None:
    """Make room for a run that is done anew: its work folder is renamed, and views no longer find the old run.

    Nothing is deleted: the run in the store keeps its points and gets the tag kind=superseded.
    """
    if not work.exists():
        return
    aside = work.with_name(f"{work.name}-{now()}")
    if (work / "run.json").exists():
        record = read_record(work, store.name)
        work.rename(aside)
        if record.run_id is not None:
            old = Family(StoreClient(store, record.experiment), aside, record)
            old.end()
            old.tags({"kind": "superseded"})
    else:
        work.rename(aside)


def was_replayed(store: Store, work: Path) -> bool:
    """Whether the run in this work folder shows a record made elsewhere (tag replayed=true) and was not trained here."""
    return (work / "run.json").exists() and read_record(work, store.name).tags.get("replayed") == "true"


def study_run(store: Store, experiment: str, study: str) -> Tracker:
    """The run of a study as a whole, for artifacts and tags; the same one when the study is run again."""
    work = store.root / "work" / f"study-{study}"
    tags = {"kind": "study", "study": study}
    return Tracker(store, experiment, name=study, work=work, tags=tags, params={})


def _check_folder(artifact: str | None) -> None:
    if artifact and Path(artifact).parts[:1] == (PICTURES,):
        raise InputError(
            f"the artifact folder {PICTURES!r} is for pictures with a step; use another, such as 'figures'"
        )
