"""Trackers of runs in MLflow: the run of an arm has its phases as child runs, and survives outages of the store.

Metrics are first appended to a file in the run's work folder and sent in batches. If the store fails, training continues; what
was not sent stays there and is sent later, with its original time, by this process or another one. Sending metrics twice is
harmless, because MLflow stores equal values of run, metric, step and time once. A run is written by one thread of one process.

Importing this module imports MLflow, which takes seconds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stacked.runtime.system_metrics import PREFIX
from stacked.tracking.backend.client import PICTURES, StoreClient
from stacked.tracking.backend.model_description import ModelDescription, model_name
from stacked.tracking.backend.store import OUTAGES, Store, open_store
from stacked.tracking.pending_uploads import PendingUpload, is_picture
from stacked.tracking.run_record import FAILURE_TAG, RunRecord, now, open_record, read_record, source_tags
from stacked.tracking.run_sync import SyncedRun
from stacked.tracking.work_folder import check_linked, held
from stacked.util.errors import InputError, Unwritable
from stacked.util.links import check_inside
from stacked.util.paths import without_folders

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Run", "Store", "Tracker", "open_store", "study_run"]


class Run(SyncedRun):
    """A run in the store; as a context manager it ends the run as FINISHED, FAILED (with the tag `failure`) or KILLED."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics at an update; a metric that has a value for that step is skipped.

        Values that are not finite are logged as NaN and set the tag diverged=true. Raises `InputError` for a metric name that
        MLflow refuses.
        """
        entry = self._log.add(self._record.name, metrics, step, now())
        if entry is None:
            return
        if any(math.isnan(value) for value in entry.metrics.values()):
            self._set_tags({"diverged": "true"})
        self._uploader.add()

    def tags(self, tags: Mapping[str, object]) -> None:
        """Set tags, as text."""
        self._set_tags(tags)
        self._uploader.flush()

    def image(self, key: str, array: NDArray[np.uint8], step: int) -> None:
        """Log a picture, uint8 [H, W] or [H, W, 3], once for each key and step."""
        if not is_picture(array):
            raise InputError(f"picture {key!r} is {array.dtype} {list(array.shape)}; give uint8 [H, W] or [H, W, 3]")
        plain = {"key": key, "step": step, "at": now()}
        self._do(PendingUpload("log_image", plain, {"image": array.copy()}, once=f"image {key} {step}"))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or the files in a folder. In an outage, files inside the work folder are read later and must stay there."""
        if not path.exists():
            raise InputError(f"the artifact {str(path)!r} does not exist; write it before logging it")
        inside = [file.name for file in path.iterdir()] if path.is_dir() else [path.name]
        for name in inside:
            _check_folder(str(Path(folder or "") / name))
        # relative to the work folder, which can be moved with its store
        place, own = path.absolute(), self._folder.absolute()
        place = place.relative_to(own) if place.is_relative_to(own) else place
        self._do(PendingUpload("log_file", {"path": str(place), "folder": folder}))

    def text(self, text: str, artifact_file: str) -> None:
        """Log a text as an artifact."""
        _check_folder(artifact_file)
        self._do(PendingUpload("log_text", {"text": text, "artifact_file": artifact_file}))

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
        quietly = partial(suppress, Unwritable) if error else nullcontext  # do not hide the error that ended the run
        with quietly():
            self._record.save(self._folder)
        with quietly():
            self._uploader.flush(pressing=self._parent is None)


class Family(Run):
    """A run and its phases, stored in its work folder: `points.jsonl`, `run.json`, and the same files in `stages/<index>`."""

    def __init__(self, client: StoreClient, folder: Path, record: RunRecord) -> None:
        super().__init__(client, folder, record)
        self._phases: dict[int, Run] = {}
        check_inside(folder, folder / "stages")
        for path in (path for path in (folder / "stages").glob("*") if path.name.isdecimal()):
            check_inside(folder, path)
            self._phases[int(path.name)] = Run(client, path, read_record(path, client.store.name), self)

    def _send(self) -> None:
        family = (self, *self._phases.values())
        try:
            if self._client.is_new():
                self.look_again()
            super()._send()
            for phase in self._phases.values():
                phase._send()
        except OUTAGES:
            for run in family:
                run._found = False  # earlier answers of the store may be wrong now
            raise

    def look_again(self) -> None:
        super().look_again()
        for phase in self._phases.values():
            phase.look_again()

    def end(self) -> None:
        """Mark everything RUNNING as KILLED, at the time of its last metrics."""
        for run in (self, *self._phases.values()):
            if run._record.ended is None:
                entries = run._log.entries
                run._record.status, run._record.ended = "KILLED", entries[-1].time if entries else run._record.started
                run._record.end_sent = False
                run._record.save(run._folder)


class Tracker(Family):
    """The run of one arm with one seed, with its phases as child runs.

    A run that `work` holds and that still exists in the store is resumed, otherwise one is created. Raises `InputError` if
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
            self._dataset: tuple[str, str] | None = None
            self._uploader.flush(strict=True)

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

    def phase(
        self, index: int, name: str, params: Mapping[str, object], tags: Mapping[str, object] | None = None
    ) -> Run:
        """Return the child run of a phase with these tags, for a `with` statement; `index` is unique within the run.

        It has no tag or parameter named arm, because the view that averages over seeds groups by it. Where it is
        stored, a phase is called a stage: in the tag kind=stage and the folder `stages`.
        """
        if "arm" in params:
            raise InputError("a phase has no parameter named 'arm'; leave it to the arm's run")
        own = self._record.tags
        all_tags: dict[str, object] = {"kind": "stage", "stage_index": index, "stage_of": own.get("arm", "")}
        inherited = ("study", "mlflow.runColor", "mlflow.source.name", "mlflow.source.type")
        all_tags |= {key: own[key] for key in inherited if key in own}
        all_tags |= tags or {}
        folder = self._folder / "stages" / str(index)
        record = open_record(
            folder, self._client.store.name, self._client.experiment, f"{self._record.name} {name}", all_tags, params
        )
        self._phases[index] = Run(self._client, folder, record, self)
        self._uploader.flush()
        return self._phases[index]

    def dataset(
        self, name: str, digest: str, *, rows: int, shape: Sequence[int], context: str, dtype: str = "uint8"
    ) -> None:
        """Log that the run uses a dataset of `rows` examples of `shape` and `dtype`; context: its purpose, such as "train"."""
        plain = {"name": name, "digest": digest, "rows": rows, "shape": list(shape), "context": context}
        plain |= {} if dtype == "uint8" else {"dtype": dtype}
        self._dataset = (name, digest)
        self._do(PendingUpload("log_dataset", plain, once=f"dataset {name} {digest} {context}"))

    def model(
        self,
        module: nn.Module,
        example: Tensor,
        step: int,
        name: str = "encoder",
        metrics: Collection[str] | None = None,
    ) -> None:
        """Log a model as it is after `step` updates, once for a run and `name`; `example` is a batch of inputs.

        The model is called by `name` and the run, such as "encoder-joint-s0". It has the run's parameters, the last value of
        each metric logged so far, or of these `metrics`, except system metrics, and the dataset. It is exported in eval mode for
        any batch size; `mlflow.pytorch.load_model` returns a graph module.
        """
        import torch

        frozen = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).eval()
        # MLflow stores the example twice as text: multiples of 1/4 are short
        batch = (torch.cat([example, example])[:2].detach().cpu().mul(4).round() / 4).numpy()
        last = {
            metric: entry
            for entry in self._log.entries
            for metric in entry.metrics
            if not metric.startswith(PREFIX) and (metrics is None or metric in metrics)
        }
        logged = ModelDescription(
            model_name(name, self._record.name),
            step,
            dict(self._record.params),
            [replace(entry, metrics={metric: entry.metrics[metric]}) for metric, entry in last.items()],
            self._dataset,
        )
        live = {"model": frozen, "logged": logged}
        self._do(PendingUpload("log_model", {}, {"example": batch}, live, once=f"model {name}"))


def set_aside(store: Store, work: Path) -> None:
    """Rename the work folder of a run that is to be repeated, and hide the old run from views.

    Nothing is deleted: the run in the store keeps its metrics and gets the tag kind=superseded. Raises InputError if the work
    folder is a link that leads elsewhere.
    """
    if not work.exists():
        return
    check_linked(work)
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
    """Whether the run in this work folder was copied from a record (tag replayed=true) instead of being trained here."""
    return (work / "run.json").exists() and read_record(work, store.name).tags.get("replayed") == "true"


def study_run(store: Store, experiment: str, study: str, command: str = "") -> Tracker:
    """Return the run of a study as a whole, for artifacts and tags; the same run when the study is repeated.

    command: that of the study, shown as the run's source ("": not known).
    """
    work = store.root / "work" / f"study-{study}"
    tags = {"kind": "study", "study": study, **source_tags(command)}
    return Tracker(store, experiment, name=study, work=work, tags=tags, params={})


def _check_folder(artifact: str | None) -> None:
    if artifact and Path(artifact).parts[:1] == (PICTURES,):
        raise InputError(
            f"the artifact folder {PICTURES!r} is for pictures with a step; use another, such as 'figures'"
        )
