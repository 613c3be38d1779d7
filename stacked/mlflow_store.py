"""Where runs are recorded: a local folder with an SQLite database, or the user's own MLflow server."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

# Read by MLflow when it is imported: it reports nothing home, and a server that does not answer costs seconds, once: to
# try again is left to the outbox.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a study prints the addresses of its views

import mlflow
import numpy as np
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.entities import Run as StoredRun
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from stacked.checks import need
from stacked.errors import InputError
from stacked.exports import let_go
from stacked.paths import without_login, without_logins
from stacked.patience import patience_with
from stacked.points import Point

if TYPE_CHECKING:
    from torch import nn

# It tells of every migration of a fresh database, and what it says of one that fails, with traces of a hundred lines, is raised
# too, and told in one.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

OUTAGES = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)
LOCK_SECONDS = 120.0  # for opening a store, before anything is trained
BUSY_SECONDS = 10.0  # for a store that others use while runs are trained
KEY_TAG = "record_key"
MAX_METRICS = 1000  # MLflow's limits for one call of log_batch
MAX_PARAMS = 100


@dataclass(frozen=True)
class Store:
    """An MLflow store: its address, and the local folder (absolute) that holds work files.

    For the local store that folder also holds the database and the artifacts.
    """

    uri: str
    root: Path

    @property
    def artifacts(self) -> Path:
        """Folder of the local store's artifacts."""
        return self.root / "artifacts"

    @property
    def name(self) -> str:
        """What a run remembers its store by, without a login: the local store may be moved with its runs."""
        return "local" if self.is_local else without_login(self.uri)

    @property
    def is_local(self) -> bool:
        """Whether database and artifacts lie under `root`."""
        return self.uri == _local_uri(self.root)

    @property
    def is_server(self) -> bool:
        """Whether the store is an MLflow server."""
        return self.uri.startswith(("http://", "https://"))


def open_store(root: Path = Path("mlruns")) -> Store:
    """Open the local store in `root`, creating it where missing, or the one MLFLOW_TRACKING_URI names.

    Any number of processes may open a fresh store at once. A server is not contacted here: training does not
    depend on it. Raises `InputError` when the folder cannot be written or a database cannot be opened.
    """
    root = root.resolve()
    _make_writable(root)
    store = Store(os.environ.get("MLFLOW_TRACKING_URI") or _local_uri(root), root)
    if store.is_local:
        _make_writable(store.artifacts)
    if not store.is_server:
        path = Path(store.uri.partition(":///")[2])
        need(
            not (store.uri.startswith("sqlite:") and path.is_dir()),
            f"{path} is a folder, not a database: set MLFLOW_TRACKING_URI to sqlite:///{path}/mlflow.db, say",
        )
        _prepare(store)
    return store


class StoreClient:
    """What is asked of a store for one experiment, which is created where it is missing.

    Every method may raise one of `OUTAGES` when the store cannot be reached or fails.
    """

    def __init__(self, store: Store, experiment: str) -> None:
        self.store = store
        self.experiment = experiment

    @cached_property
    def _client(self) -> MlflowClient:
        return MlflowClient(self.store.uri)

    def check_free(self) -> None:
        """Raise an outage where another process keeps the local database to itself."""
        if self.store.is_local:
            _check_unlocked(self.store.root / "mlflow.db")

    @cached_property
    def experiment_id(self) -> str:
        """Id of the experiment; raises `InputError` when it was deleted in the store, or its artifacts lie elsewhere."""
        with FileLock(self.store.root / ".lock", timeout=BUSY_SECONDS):
            found = self._client.get_experiment_by_name(self.experiment)
            if found is None:
                location = self.store.artifacts.as_uri() if self.store.is_local else None
                return self._client.create_experiment(self.experiment, artifact_location=location)
        if self.store.is_local and found.artifact_location != self.store.artifacts.as_uri():
            raise InputError(
                f"the store {str(self.store.root)!r} was moved, and MLflow looks for its files where they were: "
                f"mend that with 'python -m stacked.doctor relocate --store {self.store.root}'"
            )
        if found.lifecycle_stage != "active":
            raise InputError(
                f"the experiment {self.experiment!r} is deleted in {without_login(self.store.uri)}; restore it with "
                f"'mlflow experiments restore -x {found.experiment_id}' or use another store"
            )
        return found.experiment_id

    def tag_experiment(self, key: str, value: str) -> None:
        """Set a tag of the experiment."""
        self._client.set_experiment_tag(self.experiment_id, key, value)

    def metric_range(self, query: str, metric: str) -> tuple[float, float] | None:
        """Least and greatest finite value that runs found by `query` have of a metric; None without any."""
        runs = self._client.search_runs([self.experiment_id], query)
        histories = [self._client.get_metric_history(run.info.run_id, metric) for run in runs]
        values = [point.value for history in histories for point in history if math.isfinite(point.value)]
        return (min(values), max(values)) if values else None

    def find_run(self, run_id: str) -> StoredRun | None:
        """The run as the store has it; None when the store has never had it, or it was deleted."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def find_made(self, key: str) -> str | None:
        """The id of the run with that key: it was made when its maker was ended, or gave up, before it learned the id."""
        runs = self._client.search_runs([self.experiment_id], f"tags.{KEY_TAG} = '{key}'", max_results=1)
        return runs[0].info.run_id if runs else None

    def running(self) -> list[StoredRun]:
        """All runs of this package, of any experiment, that the store has as RUNNING."""
        experiments = [each.experiment_id for each in self._client.search_experiments()]
        found: list[StoredRun] = []
        token = None
        while experiments:
            page = self._client.search_runs(
                experiments, "attributes.status = 'RUNNING'", max_results=1000, page_token=token
            )
            found, token = found + list(page), page.token
            if not token:
                break
        return [run for run in found if KEY_TAG in run.data.tags]

    def last_heard_of(self, run: StoredRun) -> int:
        """When the run began, or logged its last metric (ms since 1970)."""
        histories = [self._client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
        return max([run.info.start_time, *(point.timestamp for history in histories for point in history)])

    def create_run(self, name: str, started: int, tags: Mapping[str, str]) -> str:
        """Create a run that began at `started` (ms since 1970) and return its id."""
        run = self._client.create_run(self.experiment_id, start_time=started, tags=dict(tags), run_name=name)
        return run.info.run_id

    def reopen_run(self, run: StoredRun, stale_tags: Sequence[str]) -> None:
        """Set an ended or interrupted run running again, without the tags that told of its end."""
        self._client.update_run(run.info.run_id, status="RUNNING")
        for key in stale_tags:
            if key in run.data.tags:
                self._client.delete_tag(run.info.run_id, key)

    def end_run(self, run_id: str, status: str, ended: int) -> None:
        """Set the final status of a run and when it ended (ms since 1970)."""
        self._client.set_terminated(run_id, status=status, end_time=ended)
        _let_go_of_writer(run_id)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log parameters; repeating one with the same value is allowed."""
        entities = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(entities), MAX_PARAMS):
            self._client.log_batch(run_id, params=entities[start : start + MAX_PARAMS])

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, at most 100."""
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Log points with their own times; a point the store already has is not stored again."""
        metrics = [
            Metric(name, value, point.time, point.step) for point in points for name, value in point.metrics.items()
        ]
        for start in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])

    def log_image(self, run_id: str, image: NDArray[np.uint8], key: str, step: int, at: int) -> None:
        """Log a picture of a series with a step; `at` in ms since 1970."""
        self._client.log_image(run_id, image, key=key, step=step, timestamp=at)

    def log_file(self, run_id: str, path: str, folder: str | None) -> None:
        """Copy a file, or the contents of a folder, into a folder of the run's artifacts (None: its top)."""
        if not Path(path).exists():
            warnings.warn(f"{path} is gone before MLflow had it: it is left out", RuntimeWarning, stacklevel=2)
            return
        log = self._client.log_artifacts if Path(path).is_dir() else self._client.log_artifact
        log(run_id, path, folder)

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """Write a text as an artifact."""
        self._client.log_text(run_id, text, artifact_file)

    def log_dataset(self, run_id: str, name: str, digest: str, rows: int, shape: Sequence[int], context: str) -> None:
        """Note that a run read `rows` uint8 examples of `shape`, and what for."""
        dataset = named_dataset(name, digest, rows, shape)
        used_for = InputTag(key="mlflow.data.context", value=context)
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset=dataset, tags=[used_for])])

    def log_model(self, run_id: str, name: str, model: nn.Module, example: NDArray[np.float32]) -> None:
        """Log a model in torch's export format, with a signature that leaves the batch size open.

        `model` is in eval mode on the CPU; `example` is a batch of at least two: torch fixes a size of one.
        """
        import torch
        from mlflow.models import Model, infer_signature

        from stacked import mlflow_model

        with torch.no_grad():
            output = model(torch.from_numpy(example)).numpy()
        requirements = [f"torch=={torch.__version__.partition('+')[0]}", f"numpy=={np.__version__}"]
        # Made here, for MLflow would put it into the experiment that is active globally.
        made = self._client.create_logged_model(self.experiment_id, name=name, source_run_id=run_id)
        with _as_global_store(self.store.uri), let_go():
            Model.log(
                artifact_path=None,
                model_id=made.model_id,
                flavor=mlflow_model,
                run_id=run_id,
                pytorch_model=model,
                signature=infer_signature(example, output),
                input_example=example,
                pip_requirements=requirements,
                serialization_format="pt2",
            )
        _let_go_of_writer(made.model_id)


def named_dataset(name: str, digest: str, rows: int, shape: Sequence[int]) -> Dataset:
    """A dataset as MLflow knows one, without a location: `rows` uint8 examples of `shape`.

    MLflow keeps 36 characters of a digest.
    """
    spec = [{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, *shape]}}]
    return Dataset(
        name=name,
        digest=digest[:36],
        source_type="code",
        source=json.dumps({"tags": {"name": name}}),
        schema=json.dumps({"mlflow_tensorspec": {"features": json.dumps(spec), "targets": None}}),
        profile=json.dumps({"features_shape": [rows, *shape], "features_size": rows * math.prod(shape)}),
    )


def _let_go_of_writer(of: str) -> None:
    """Forget what writes files of this run or model, made anew where it is needed: MLflow (3.17) keeps a thousand of them."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.pop(of, None)


@contextmanager
def _as_global_store(uri: str) -> Iterator[None]:
    """Logging a model goes through MLflow's global address, which MLflow also writes into the environment."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # None is its default value
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _local_uri(root: Path) -> str:
    return f"sqlite:///{(root / 'mlflow.db').as_posix()}"


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"the folder {str(folder)!r} cannot hold the MLflow store ({error.strerror}); "
            "name a folder that can be written"
        ) from error


def _prepare(store: Store) -> None:
    """See to it that there is a database that MLflow can open; one that another process keeps to itself now will do."""
    patience, start = patience_with(store.uri), time.monotonic()
    try:
        if store.is_local:
            _create_database(store.root)
            if not patience.has():
                return
            _check_unlocked(store.root / "mlflow.db")
            _first_use(store.uri)
        else:
            with _locked(store.root):
                _first_use(store.uri)
    except (*OUTAGES, ImportError) as error:  # a database's driver may not be installed
        reason = without_logins(str(error).strip().splitlines()[0])
        if "database is locked" in reason:
            if patience.failed(time.monotonic() - start):
                warnings.warn(
                    f"another process has locked {without_login(store.uri)}; training goes on, and what is recorded is sent "
                    "when it is free",
                    RuntimeWarning,
                    stacklevel=3,
                )
            return
        raise InputError(
            f"{without_login(store.uri)} cannot be opened as an MLflow store ({reason}); "
            "name another folder, or set MLFLOW_TRACKING_URI to a store that works"
        ) from error


def _first_use(uri: str) -> None:
    """What creates or checks the schema."""
    MlflowClient(uri).search_experiments(max_results=1)


def _check_unlocked(path: Path) -> None:
    """Raise an outage where another process keeps a database to itself: MLflow would wait twice as long."""
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as database:
        database.execute("BEGIN IMMEDIATE")


def _create_database(root: Path) -> None:
    """Create the local database whole or not at all, in one process: MLflow cannot mend one whose creation was interrupted."""
    path, made = root / "mlflow.db", root / ".mlflow-new.db"
    if path.exists():
        return
    parts = (made, made.with_name(f"{made.name}-journal"))
    with _locked(root):
        if path.exists():
            return
        try:
            for left in parts:
                left.unlink(missing_ok=True)
            _first_use(f"sqlite:///{made.as_posix()}")
            os.replace(made, path)
        except BaseException:
            for left in parts:
                left.unlink(missing_ok=True)
            raise


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold a store's lock; the system drops it when its process dies: a file left behind is harmless."""
    try:
        with FileLock(root / ".lock", timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise InputError(
            f"another process has held {str(root / '.lock')!r} for {LOCK_SECONDS:.0f} seconds; "
            "end it or use another folder"
        ) from error
