"""What a run leaves in MLflow: an arm run with its stages as child runs, and files that outlive an outage.

Everything measured is first appended to a file in the run's work folder and sent in batches. When the store
fails, training goes on; what was not sent is sent later with its original time. Sending a point twice is
harmless: MLflow keeps one of two points that agree in run, metric, step, time and value. One thread of one
process writes a run.

Importing this module imports MLflow, which takes seconds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stacked.errors import InputError
from stacked.mlflow_store import Store, StoreClient, named_dataset, open_store
from stacked.outbox import Outbox
from stacked.points import PointFile
from stacked.run_record import FAILURE_TAG, RunRecord, now, open_record, read_record

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Run", "Store", "Tracker", "open_store", "study_run"]

PICTURES = "images"  # MLflow's own folder for pictures with a step: any other file in it hides them all


class Run:
    """One run of the store; a context manager that ends it FINISHED, FAILED (tag `failure`) or KILLED."""

    def __init__(self, client: StoreClient, folder: Path, record: RunRecord, parent: Run | None = None) -> None:
        self._client = client
        self._folder = folder
        self._record = record
        self._parent = parent
        self._points = PointFile(folder / "points.jsonl")
        self._actions: list[tuple[str, Callable[[str], None]]] = []
        self._found = False
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
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
            raise InputError(f"picture {key!r} is {array.dtype} {list(array.shape)}; give uint8 [H, W] or [H, W, 3]")
        picture, at = array.copy(), now()
        self._do(lambda run_id: self._client.log_image(run_id, picture, key, step, at), once=f"image {key} {step}")

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or the files in a folder; in an outage it is read later, so leave it in place."""
        if not path.exists():
            raise InputError(f"the artifact {str(path)!r} does not exist; write it before logging it")
        inside = [file.name for file in path.iterdir()] if path.is_dir() else [path.name]
        for name in inside:
            _check_folder(str(Path(folder or "") / name))
        self._do(lambda run_id: self._client.log_file(run_id, path, folder))

    def text(self, text: str, artifact_file: str) -> None:
        """Log a text as an artifact."""
        _check_folder(artifact_file)
        self._do(lambda run_id: self._client.log_text(run_id, text, artifact_file))

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
            self._set_tags({FAILURE_TAG: f"{type(error).__name__}: {error}"[:500]})
        else:
            self._record.status = "KILLED"
        self._record.ended = now()
        self._record.save(self._folder)
        self._outbox.flush(even_if_paused=self._parent is None)

    def _set_tags(self, tags: Mapping[str, object]) -> None:
        self._record.set_tags(tags)
        self._record.save(self._folder)

    def _do(self, action: Callable[[str], None], once: str | None = None) -> None:
        """Queue what needs the store; with a label, it is done once in the life of the run."""
        if once and (once in self._record.done or any(once == label for label, _ in self._actions)):
            return
        self._actions.append((once or "", action))
        self._outbox.flush()

    def _send(self) -> None:
        """Send what is new; after an outage the record and the queue tell where to go on."""
        if self._is_settled():
            return
        try:
            self._bring_up_to_date(self._connect())
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
        while self._actions:
            label, action = self._actions[0]
            action(run_id)
            self._actions.pop(0)
            record.done.extend([label] if label else [])
        if record.ended is not None and not record.end_sent:
            self._client.end_run(run_id, record.status, record.ended)
            record.end_sent = True

    def _is_settled(self) -> bool:
        record = self._record
        up_to_date = record.tags_sent and not self.unsent and not self._actions
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
        if stored is not None and record.parent == self._parent_id():
            run_id = stored.info.run_id
            self._client.reopen_run(stored, [FAILURE_TAG])
        else:
            record.forget_store()
            record.parent = self._parent_id()
            parent = {"mlflow.parentRunId": record.parent} if record.parent else {}
            run_id = self._client.create_run(record.name, record.started, record.tags | parent)
        record.run_id = run_id
        record.save(self._folder)
        self._client.log_params(run_id, record.params)
        self._found = True
        return run_id


class Tracker(Run):
    """The run of one arm with one seed, and its stages as child runs.

    A run that `work` remembers and that still exists in the store is resumed, else a run is created. `work`
    holds its `points.jsonl` and `run.json`, `work/stages/<index>` those of a stage. Raises `InputError` when
    `work` holds a run with other parameters.
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
        client = StoreClient(store, experiment)
        super().__init__(client, work, open_record(work, store.uri, name, tags, params))
        self._stages: dict[int, Run] = {}
        for folder in (work / "stages").glob("*"):
            self._stages[int(folder.name)] = Run(client, folder, read_record(folder, store.uri), self)
        self._outbox.flush()

    def __enter__(self) -> Tracker:
        return self

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
        record = open_record(folder, self._client.store.uri, f"{self._record.name} {name}", tags, params)
        self._stages[index] = Run(self._client, folder, record, self)
        self._outbox.flush()
        return self._stages[index]

    def dataset(self, name: str, digest: str, *, rows: int, shape: Sequence[int], context: str) -> None:
        """Note that the run reads `rows` uint8 examples of `shape`; `context` says for what ("train")."""
        dataset = named_dataset(name, digest, rows, shape)
        self._do(
            lambda run_id: self._client.log_dataset(run_id, dataset, context),
            once=f"dataset {name} {digest} {context}",
        )

    def model(self, encoder: nn.Module, example: Tensor) -> None:
        """Log the encoder as it is now, once a run, as the model "encoder"; `example` is a batch of inputs.

        It is exported in eval mode for any batch size: `mlflow.pytorch.load_model` gives a graph module back.
        """
        import torch

        frozen = copy.deepcopy(encoder).cpu().to(memory_format=torch.contiguous_format).eval()
        # MLflow stores the example twice as text, where quarters are short.
        batch = (torch.cat([example, example])[:2].detach().cpu().mul(4).round() / 4).numpy()
        self._do(lambda run_id: self._client.log_model(run_id, "encoder", frozen, batch), once="model encoder")

    def _send(self) -> None:
        super()._send()
        for stage in self._stages.values():
            stage._send()


def set_aside(store: Store, experiment: str, work: Path) -> None:
    """Make room for a run that is done anew: its work folder is renamed, and views no longer find the old run.

    Nothing is deleted: the run in the store keeps its points and gets the tag kind=superseded.
    """
    if not work.exists():
        return
    run_id = read_record(work, store.uri).run_id if (work / "run.json").exists() else None
    if run_id is not None:
        StoreClient(store, experiment).log_tags(run_id, {"kind": "superseded"})
    work.rename(work.with_name(f"{work.name}-{now()}"))


def was_replayed(store: Store, work: Path) -> bool:
    """Whether the run in this work folder shows a record made elsewhere (tag replayed=true) and was not trained here."""
    return (work / "run.json").exists() and read_record(work, store.uri).tags.get("replayed") == "true"


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
