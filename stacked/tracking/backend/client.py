"""What is asked of an MLflow store: runs, with their points, pictures, files and models, of one experiment."""

from __future__ import annotations

import json
import math
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

# First, for it sets what MLflow reads when it is imported.
from stacked.tracking.backend.removed_database import made_anew
from stacked.tracking.backend.store import BUSY_SECONDS, OUTAGES, Store, Unusable, check_unlocked, let_go_of_connections

# isort: split
import numpy as np
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.entities import Run as StoredRun
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
from numpy.typing import NDArray

from stacked.tracking.backend.export_cleanup import let_go
from stacked.tracking.backend.http import BadAnswer, bounded
from stacked.tracking.backend.point import Point
from stacked.util.links import leads_out, left_out
from stacked.util.paths import without_login

if TYPE_CHECKING:
    from torch import nn

KEY_TAG = "record_key"
PICTURES = "images"  # MLflow's own folder for pictures with a step: any other file in it hides them all
READ_SECONDS = 60.0  # that a server may be waited for where nothing is trained meanwhile
MAX_METRICS = 1000  # MLflow's limits for one call of log_batch
MAX_PARAMS = 100
MOST_PAGES = 1000
PAGE = 100  # runs asked for at once: each with its parameters, tags and last metrics
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")  # MLflow's own rule


class StoreClient:
    """What is asked of a store for one experiment, which is created where it is missing.

    Every method may raise one of `OUTAGES` when the store cannot be reached or fails, or a server answers what MLflow does not.
    """

    def __init__(self, store: Store, experiment: str) -> None:
        self.store = store
        self.experiment = experiment
        self._pictures: dict[str, list[str]] = {}

    @cached_property
    def _client(self) -> MlflowClient:
        made_anew(self.store)
        client = MlflowClient(self.store.uri)
        return cast(MlflowClient, _ClientOfServer(client)) if self.store.is_server else client

    def check_free(self) -> None:
        """Raise an outage where another process keeps the local database to itself."""
        if self.store.is_local:
            check_unlocked(self.store.root / "mlflow.db")

    def is_new(self) -> bool:
        """Whether the store's database had been removed and is a new one, which has nothing. Raises an outage without one."""
        new = made_anew(self.store)
        if new:
            self.forget(None)
            self._pictures.clear()
        return new

    def forget(self, run_id: str | None) -> None:
        """Ask anew which experiment it is, and where the files of a run belong: what was answered may have been wrong."""
        self.__dict__.pop("experiment_id", None)
        let_go_of_connections(self.store.uri)
        let_go_of_writer(run_id)

    @cached_property
    def experiment_id(self) -> str:
        """Id of the experiment; raises `Unusable` when it was deleted in the store, or its artifacts lie elsewhere."""
        # A server sees to it alone; held while that hangs, the lock would make others wait for both.
        with nullcontext() if self.store.is_server else FileLock(self.store.root / ".lock", timeout=BUSY_SECONDS):
            found = self._client.get_experiment_by_name(self.experiment)
            if found is None:
                location = self.store.artifacts.as_uri() if self.store.is_local else None
                try:
                    return _id(self._client.create_experiment(self.experiment, artifact_location=location))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = self._client.get_experiment_by_name(self.experiment)  # made by another process just now
        if found is None or found.name != self.experiment:
            raise BadAnswer(f"asked for the experiment {self.experiment!r}, it answers with another one")
        if self.store.is_local and found.artifact_location != self.store.artifacts.as_uri():
            raise Unusable(
                f"the store {str(self.store.root)!r} was moved, and MLflow looks for its files where they were: "
                f"mend that with 'python -m stacked.doctor relocate --store {self.store.root}'"
            )
        if not _is_active(found.lifecycle_stage):
            raise Unusable(
                f"the experiment {self.experiment!r} is deleted in {without_login(self.store.uri)}; restore it with "
                f"'mlflow experiments restore -x {_id(found.experiment_id)}' or use another store"
            )
        return _id(found.experiment_id)

    def tag_experiment(self, key: str, value: str) -> None:
        """Set a tag of the experiment."""
        self._client.set_experiment_tag(self.experiment_id, key, value)

    def _experiments(self) -> list[str]:
        """The ids of all experiments, page by page: MLflow gives a thousand at most at once."""
        page = self._client.search_experiments()
        found = {each.experiment_id for each in page}
        while page.token:
            page, known = self._client.search_experiments(page_token=page.token), len(found)
            found |= {each.experiment_id for each in page}
            if len(found) == known:
                raise BadAnswer(f"it answers with pages of experiments without end, {known:,} experiments so far")
        return list(found)

    def metric_range(self, query: str, metric: str) -> tuple[float, float] | None:
        """Least and greatest finite value that runs found by `query` have of a metric; None without any."""
        runs = self._runs([self.experiment_id], query)
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
        if run.info.run_id != run_id:
            raise BadAnswer(f"asked for the run {run_id}, it answers with another one")
        return run if _is_active(run.info.lifecycle_stage) else None

    def find_made(self, key: str) -> str | None:
        """The id of the run with that key: it was made when its maker was ended, or gave up, before it learned the id."""
        runs = self._client.search_runs([self.experiment_id], f"tags.{KEY_TAG} = '{key}'", max_results=1)
        if not runs:
            return None
        if runs[0].data.tags.get(KEY_TAG) != key:
            raise BadAnswer(f"asked for the run with the tag {KEY_TAG}={key}, it answers with another one")
        return _id(runs[0].info.run_id)

    def running(self) -> list[StoredRun]:
        """All runs of this package, of any experiment, that the store has as RUNNING."""
        experiments = self._experiments()
        running = self._runs(experiments, "attributes.status = 'RUNNING'") if experiments else []
        return [run for run in running if KEY_TAG in run.data.tags]

    def _runs(self, experiments: list[str], query: str) -> list[StoredRun]:
        """All runs of experiments that a query finds, page by page."""
        found: dict[str, StoredRun] = {}
        token = None
        for _ in range(MOST_PAGES):
            page, known = self._client.search_runs(experiments, query, max_results=PAGE, page_token=token), len(found)
            found |= {_id(run.info.run_id): run for run in page}
            token = page.token
            if not token:
                return list(found.values())
            if len(found) == known:
                break
        raise BadAnswer(f"it answers with pages of runs without end, {len(found):,} runs so far")

    def last_heard_of(self, run: StoredRun) -> int:
        """When the run began, or logged its last metric (ms since 1970)."""
        histories = [self._client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
        return max([run.info.start_time, *(point.timestamp for history in histories for point in history)])

    def lacks(self, run_id: str) -> bool:
        """Whether the store does not know the run, not even as deleted."""
        try:
            self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return True
            raise
        return False

    def made_at(self) -> int:
        """When the store's database was made (ms since 1970): then MLflow makes its first experiment."""
        return int(self._client.get_experiment("0").creation_time or 0)

    def adopt_files(self, run_id: str, by: str) -> bool:
        """Give the files of a run that a local store does not know any more to another, just made; whether there were some."""
        old, new = (self.store.artifacts / each for each in (_id(run_id), by))
        if not self.store.is_local or not old.is_dir() or new.exists() or not self.lacks(run_id):
            return False
        old.rename(new)
        if (new / "artifacts" / PICTURES).is_dir():
            self._client.set_tag(by, MLFLOW_LOGGED_IMAGES, True)
        return True

    def create_run(self, name: str, started: int, tags: Mapping[str, str]) -> str:
        """Create a run that began at `started` (ms since 1970) and return its id."""
        run = self._client.create_run(self.experiment_id, start_time=started, tags=dict(tags), run_name=name)
        return _id(run.info.run_id)

    def reopen_run(self, run: StoredRun, stale_tags: Sequence[str]) -> None:
        """Set an ended or interrupted run running again, without the tags that told of its end."""
        self._client.update_run(run.info.run_id, status="RUNNING")
        for key in stale_tags:
            if key in run.data.tags:
                self._client.delete_tag(run.info.run_id, key)

    def end_run(self, run_id: str, status: str, ended: int) -> None:
        """Set the final status of a run and when it ended (ms since 1970)."""
        self._client.set_terminated(run_id, status=status, end_time=ended)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log parameters; repeating one with the same value is allowed."""
        entities = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(entities), MAX_PARAMS):
            self._client.log_batch(run_id, params=entities[start : start + MAX_PARAMS], synchronous=True)

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, at most 100."""
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()], synchronous=True)

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Log points with their own times; a point the store already has is not stored again."""
        metrics = [
            Metric(name, value, point.time, point.step) for point in points for name, value in point.metrics.items()
        ]
        for start in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS], synchronous=True)

    def log_image(self, run_id: str, image: NDArray[np.uint8], key: str, step: int, at: int) -> None:
        """Log a picture of a series with a step, in place of what a killed process left of it; `at` in ms since 1970."""
        told = key.replace("/", "~")  # as MLflow has it
        name = re.compile(rf"{re.escape(f'{PICTURES}/{told}')}[+%]step[+%]{step}[+%]timestamp[+%].*")
        for path in filter(name.fullmatch, self._pictures_before(run_id)):
            with _understood() if self.store.is_server else nullcontext():
                self._artifacts_of(run_id).delete_artifacts(path)
        self._client.log_image(run_id, image, key=key, step=step, timestamp=at, synchronous=True)

    def _pictures_before(self, run_id: str) -> list[str]:
        """The files of pictures that other processes logged."""
        if run_id not in self._pictures:
            listed = self._client.list_artifacts(run_id, PICTURES)
            self._pictures[run_id] = [file.path for file in listed]
        return self._pictures[run_id]

    def _artifacts_of(self, run_id: str) -> ArtifactRepository:
        return get_artifact_repository(self._client.get_run(run_id).info.artifact_uri, tracking_uri=self.store.uri)

    def log_file(self, run_id: str, path: str, folder: str | None) -> None:
        """Copy a file, or the files in a folder but for hidden ones, into a folder of the run's artifacts (None: its top)."""
        if not Path(path).exists():
            warnings.warn(f"{path} is gone before MLflow had it: it is left out", RuntimeWarning, stacklevel=2)
            return
        files = [Path(path)]
        if Path(path).is_dir():
            files = [file for file in sorted(Path(path).iterdir()) if not file.name.startswith(".")]
        for file in files:
            if leads_out(file, Path(path)):
                left_out(file)
                continue
            self._client.log_artifact(run_id, str(file), folder)

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

        from stacked.tracking.backend import mlflow_model

        with torch.no_grad():
            output = model(torch.from_numpy(example)).numpy()
        requirements = [f"torch=={torch.__version__.partition('+')[0]}", f"numpy=={np.__version__}"]
        made = self._find_model(run_id, name) or self._client.create_logged_model(
            self.experiment_id, name=name, source_run_id=run_id
        )
        model_id = _id(made.model_id)
        outputs = self._client.get_run(run_id).outputs
        if model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
            self._client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        with let_go(), tempfile.TemporaryDirectory() as folder:
            mlflow_model.save_model(
                f"{folder}/model",
                Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
                pytorch_model=model,
                signature=infer_signature(example, output),
                input_example=example,
                pip_requirements=requirements,
                serialization_format="pt2",
            )
            self._client.log_model_artifacts(model_id, f"{folder}/model")
        self._client.finalize_logged_model(model_id, "READY")
        let_go_of_writer(model_id)

    def _find_model(self, run_id: str, name: str) -> LoggedModel | None:
        """The model of that name that a process made of this run before it was killed: to be logged again, not twice."""
        query = f"source_run_id = '{run_id}' AND name = '{name}'"
        found = self._client.search_logged_models([self.experiment_id], query, max_results=1)
        return found[0] if found else None


class _ClientOfServer:
    """MLflow's client of a server, bounded in time: it takes answers for what they should be, and raises whatever comes of it."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def ask(*arguments: Any, **options: Any) -> Any:
            with _understood():
                return method(*arguments, **options)

        return ask


@contextmanager
def _understood() -> Iterator[None]:
    """What is raised over the answer of a server is an outage."""
    with bounded(READ_SECONDS) as waiting:
        waiting.call()
        try:
            yield
        except OUTAGES:
            raise
        except Exception as error:
            raise BadAnswer(f"MLflow's client fails with {type(error).__name__}: {error}") from None


def _id(answered: object) -> str:
    """The id that a store gave to something; BadAnswer when it is none."""
    if not isinstance(answered, str) or not _ID.fullmatch(answered):
        raise BadAnswer(f"it answers with {str(answered)[:60]!r} for an id")
    return answered


def _is_active(stage: object) -> bool:
    """Whether a run or an experiment is not deleted; BadAnswer when the store says neither."""
    if stage not in ("active", "deleted"):
        raise BadAnswer(f"it answers with {str(stage)[:60]!r} for 'active' or 'deleted'")
    return stage == "active"


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


def let_go_of_writer(of: str | None) -> None:
    """Forget what writes files of this run or model, made anew where it is needed: MLflow (3.17) keeps a thousand of them."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.pop(of, None)
