"""Writing to an MLflow store: runs with their metrics, pictures, files and models, in one experiment."""

from __future__ import annotations

import errno
import json
import math
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

# First, because it sets variables that MLflow reads when it is imported.
from stacked.tracking.backend.queries import KEY_TAG as KEY_TAG
from stacked.tracking.backend.queries import StoreQueries
from stacked.tracking.backend.store import Store

# isort: split
import numpy as np
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.entities import Run as StoredRun
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
from numpy.typing import NDArray

from stacked.tracking.backend.addresses import checked_place
from stacked.tracking.backend.logged_metrics import LoggedMetrics
from stacked.tracking.backend.model_description import DIGEST, ModelDescription
from stacked.tracking.backend.remote.answers import checked_id, server_errors
from stacked.tracking.backend.workarounds import forget_artifact_repository, release_exports, save_model
from stacked.util.errors import printable
from stacked.util.links import check_inside, leads_out, left_out, outward

if TYPE_CHECKING:
    from torch import nn

PICTURES = "images"  # MLflow's folder for pictures with a step; any other file in it hides them all
MAX_METRICS = 1000  # MLflow's limits of one call of log_batch
MAX_PARAMS = 100
#: Bytes of one value of an example as text: the number of `stacked.cost.disk`, from which this room does not import.
AS_TEXT = 26


class StoreClient(StoreQueries):
    """Queries and changes of one experiment in a store; methods raise one of `OUTAGES` as those of `StoreQueries` do."""

    def __init__(self, store: Store, experiment: str) -> None:
        super().__init__(store, experiment)
        self._pictures: dict[str, list[str]] = {}

    def is_new(self) -> bool:
        new = super().is_new()
        if new:
            self._pictures.clear()
        return new

    def check_artifacts(self, run_id: str) -> None:
        """Raise InputError if MLflow would write a run's files outside of a store that keeps them, by their address or a link."""
        if self.store.keeps_files:
            self._check_place(self._client.get_run(run_id).info.artifact_uri, f"run {run_id}")
            self._check_links(run_id)

    def _check_place(self, address: object, what: str) -> None:
        place = checked_place(self.store, address, what)
        check_inside(place, *outward(place))

    def _check_links(self, run_id: str) -> None:
        folder = self.store.artifacts / checked_id(run_id)
        check_inside(self.store.artifacts, folder)
        check_inside(folder, *outward(folder))

    def adopt_files(self, run_id: str, by: str) -> bool:
        """Move the files of a run that a local store lost to another, new run; returns whether there were any."""
        old, new = (self.store.artifacts / each for each in (checked_id(run_id), by))
        if not self.store.is_local or not old.is_dir() or new.exists() or not self.lacks(run_id):
            return False
        self._check_links(run_id)
        old.rename(new)
        if (new / "artifacts" / PICTURES).is_dir():
            self._client.set_tag(by, MLFLOW_LOGGED_IMAGES, True)
        return True

    def create_run(self, name: str, started: int, tags: Mapping[str, str]) -> str:
        """Create a run that started at `started` (ms since 1970) and return its id."""
        run = self._client.create_run(self.experiment_id, start_time=started, tags=dict(tags), run_name=name)
        return checked_id(run.info.run_id)

    def reopen_run(self, run: StoredRun, stale_tags: Sequence[str]) -> None:
        """Mark an ended or interrupted run as running, and remove the tags that described its end."""
        self._client.update_run(run.info.run_id, status="RUNNING")
        for key in stale_tags:
            if key in run.data.tags:
                self._client.delete_tag(run.info.run_id, key)

    def end_run(self, run_id: str, status: str, ended: int) -> None:
        """Set the final status of a run, and when it ended (ms since 1970)."""
        self._client.set_terminated(run_id, status=status, end_time=ended)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log parameters; logging one again with the same value is allowed."""
        entities = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(entities), MAX_PARAMS):
            self._client.log_batch(run_id, params=entities[start : start + MAX_PARAMS], synchronous=True)

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, at most 100."""
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()], synchronous=True)

    def log_metrics(self, run_id: str, entries: Sequence[LoggedMetrics]) -> None:
        """Log metrics with their own times; those that the store already has are not stored again."""
        metrics = [
            Metric(name, value, entry.time, entry.step) for entry in entries for name, value in entry.metrics.items()
        ]
        self._log_batches(run_id, metrics)

    def _log_batches(self, run_id: str, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS], synchronous=True)

    def log_image(self, run_id: str, image: NDArray[np.uint8], key: str, step: int, at: int) -> None:
        """Log a picture of a series with a step (`at` in ms since 1970), replacing what a killed process left of it."""
        self.check_artifacts(run_id)
        file_name = key.replace("/", "~")  # MLflow's own encoding
        pattern = re.compile(rf"{re.escape(f'{PICTURES}/{file_name}')}[+%]step[+%]{step}[+%]timestamp[+%].*")
        for path in filter(pattern.fullmatch, self._pictures_before(run_id)):
            with server_errors() if self.store.is_server else nullcontext():
                self._artifacts_of(run_id).delete_artifacts(path)
        self._client.log_image(run_id, image, key=key, step=step, timestamp=at, synchronous=True)

    def _pictures_before(self, run_id: str) -> list[str]:
        """Return the files of pictures that other processes logged."""
        if run_id not in self._pictures:
            listed = self._client.list_artifacts(run_id, PICTURES)
            self._pictures[run_id] = [file.path for file in listed]
        return self._pictures[run_id]

    def _artifacts_of(self, run_id: str) -> ArtifactRepository:
        return get_artifact_repository(self._client.get_run(run_id).info.artifact_uri, tracking_uri=self.store.uri)

    def log_file(self, run_id: str, path: str, folder: str | None) -> None:
        """Copy a file, or the files in a folder except hidden ones, into a folder of the run's artifacts (None: the top one)."""
        if not Path(path).exists():
            message = f"{path} was removed before MLflow had it: it is skipped"
            warnings.warn(printable(message), RuntimeWarning, stacklevel=2)
            return
        self.check_artifacts(run_id)
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
        self.check_artifacts(run_id)
        self._client.log_text(run_id, text, artifact_file)

    def log_dataset(
        self, run_id: str, name: str, digest: str, rows: int, shape: Sequence[int], context: str, dtype: str = "uint8"
    ) -> None:
        """Log that a run uses a dataset of `rows` examples of `shape` and `dtype`, and its purpose."""
        dataset = named_dataset(name, digest, rows, shape, dtype)
        used_for = InputTag(key="mlflow.data.context", value=context)
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset=dataset, tags=[used_for])])

    def log_model(self, run_id: str, model: nn.Module, example: NDArray[np.float32], logged: ModelDescription) -> None:
        """Log a model in torch's export format, with a signature that leaves the batch size open.

        `model` is in eval mode on the CPU; `example` is a batch of at least two, because torch treats a size of one as fixed.
        """
        import torch
        from mlflow.models import Model, infer_signature

        with torch.no_grad():
            output = model(torch.from_numpy(example)).numpy()
        requirements = [f"torch=={torch.__version__.partition('+')[0]}", f"numpy=={np.__version__}"]
        made = self.find_model(run_id, logged.name) or self._client.create_logged_model(
            self.experiment_id, name=logged.name, source_run_id=run_id, params=logged.parameters
        )
        model_id = checked_id(made.model_id)
        if self.store.keeps_files:
            self._check_place(made.artifact_location, f"model {model_id}")
        outputs = self._client.get_run(run_id).outputs
        if model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
            self._client.log_outputs(run_id, [LoggedModelOutput(model_id, step=logged.step)])
        self._log_batches(run_id, logged.metrics_of(model_id, run_id))
        with release_exports(), tempfile.TemporaryDirectory() as folder:
            check_space(Path(folder), model, example)
            save_model(
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
        forget_artifact_repository(model_id)


def check_space(folder: Path, model: nn.Module, example: NDArray[np.generic]) -> None:
    """Raise OSError if a folder may be too small for an exported model and its example, which MLflow writes as text, twice.

    On a full disk torch's own writer would end the process.
    """
    needed = 2**22 + 2 * AS_TEXT * example.size + 2 * sum(value.nbytes for value in model.state_dict().values())
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OSError(errno.ENOSPC, f"a model to log needs up to {needed:,} bytes, and {free:,} are free", str(folder))


def named_dataset(name: str, digest: str, rows: int, shape: Sequence[int], dtype: str = "uint8") -> Dataset:
    """Return MLflow's description of a dataset of `rows` examples of `shape` and `dtype`, without a location."""
    spec = [{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, *shape]}}]
    return Dataset(
        name=name,
        digest=digest[:DIGEST],
        source_type="code",
        source=json.dumps({"tags": {"name": name}}),
        schema=json.dumps({"mlflow_tensorspec": {"features": json.dumps(spec), "targets": None}}),
        profile=json.dumps({"features_shape": [rows, *shape], "features_size": rows * math.prod(shape)}),
    )
