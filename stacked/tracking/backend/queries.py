"""Queries of an MLflow store: an experiment, its runs and their metrics."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import cached_property
from typing import cast

# First, because it sets variables that MLflow reads when it is imported.
from stacked.tracking.backend.removed_database import recreate_if_removed
from stacked.tracking.backend.store import BUSY_SECONDS, Store, Unusable, check_unlocked

# isort: split
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities import Run as StoredRun
from mlflow.exceptions import MlflowException

from stacked.tracking.backend.remote.answers import ServerClient, checked_id, is_active, server_errors
from stacked.tracking.backend.remote.http import BadAnswer
from stacked.tracking.backend.remote.postgresql import check_answers
from stacked.tracking.backend.workarounds import forget_artifact_repository, forget_connections
from stacked.util.paths import without_login

KEY_TAG = "record_key"
MOST_PAGES = 1000
PAGE = 100  # runs per page: each comes with its parameters, tags and last metrics


class StoreQueries:
    """Queries of a store about one experiment, which is created if it is missing.

    Every method may raise one of `OUTAGES`: if the store cannot be reached or fails, or a server gives an answer that MLflow
    would not give.
    """

    def __init__(self, store: Store, experiment: str) -> None:
        self.store = store
        self.experiment = experiment

    @cached_property
    def _client(self) -> MlflowClient:
        recreate_if_removed(self.store)
        if not self._is_remote:
            return MlflowClient(self.store.uri)
        with server_errors():
            if self.store.is_postgresql:
                check_answers(self.store.uri)
            return cast(MlflowClient, ServerClient(MlflowClient(self.store.uri)))

    @property
    def _is_remote(self) -> bool:
        """Whether an answer of the store can take any time."""
        return self.store.is_server or self.store.is_postgresql

    def check_free(self) -> None:
        """Raise an outage if another process has locked the local database."""
        if self.store.is_local:
            check_unlocked(self.store.root / "mlflow.db")

    def is_new(self) -> bool:
        """Whether the store's database was removed and is a new, empty one; raises an outage if it cannot be created."""
        new = recreate_if_removed(self.store)
        if new:
            self.forget(None)
        return new

    def forget(self, run_id: str | None) -> None:
        """Forget cached answers about the experiment and a run's files, which may have been wrong."""
        self.__dict__.pop("experiment_id", None)
        forget_connections(self.store.uri)
        forget_artifact_repository(run_id)

    @cached_property
    def experiment_id(self) -> str:
        """The id of the experiment; raises `Unusable` if it is deleted in the store, or the store was moved."""
        # a server needs no lock, and holding one while the server hangs would make other processes wait
        with nullcontext() if self._is_remote else FileLock(self.store.root / ".lock", timeout=BUSY_SECONDS):
            found = self._client.get_experiment_by_name(self.experiment)
            if found is None:
                location = self.store.artifacts.as_uri() if self.store.keeps_files else None
                try:
                    return checked_id(self._client.create_experiment(self.experiment, artifact_location=location))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = self._client.get_experiment_by_name(self.experiment)  # another process has just created it
        if found is None or found.name != self.experiment:
            raise BadAnswer(f"asked for the experiment {self.experiment!r}, it answers with another one")
        if self.store.is_local and found.artifact_location != self.store.artifacts.as_uri():
            raise Unusable(
                f"the store {str(self.store.root)!r} was moved, and MLflow looks for its files in the former place: "
                f"correct this with 'python -m stacked.doctor relocate --store {self.store.root}'"
            )
        if self.store.is_postgresql and found.artifact_location != self.store.artifacts.as_uri():
            raise Unusable(
                f"the files of the experiment {self.experiment!r} in {self.store.name} are in "
                f"{found.artifact_location!r}, not in {self.store.artifacts}: use the folder of that store, or give the "
                "address http://HOST:PORT of an MLflow server of this database"
            )
        if not is_active(found.lifecycle_stage):
            raise Unusable(
                f"the experiment {self.experiment!r} is deleted in {without_login(self.store.uri)}; restore it with "
                f"'mlflow experiments restore -x {checked_id(found.experiment_id)}' or use another store"
            )
        return checked_id(found.experiment_id)

    def tag_experiment(self, key: str, value: str) -> None:
        """Set a tag of the experiment."""
        self._client.set_experiment_tag(self.experiment_id, key, value)

    def experiment_tags(self) -> dict[str, str]:
        """Return the tags of the experiment."""
        return dict(self._client.get_experiment(self.experiment_id).tags)

    def runs_by_name(self, query: str) -> dict[str, StoredRun]:
        """Return the runs of the experiment that a query finds, by name; of several of a name the newest."""
        runs = self._runs([self.experiment_id], query)
        return {run.info.run_name: run for run in sorted(runs, key=lambda run: run.info.start_time)}

    def all_have_tag(self, query: str, tag: str) -> bool:
        """Whether all runs of the experiment that a query finds have a tag."""
        return all(tag in run.data.tags for run in self._runs([self.experiment_id], query))

    def _experiments(self) -> list[str]:
        """Return the ids of all experiments, page by page: MLflow returns at most a thousand at a time."""
        page = self._client.search_experiments()
        found = {each.experiment_id for each in page}
        while page.token:
            page, known = self._client.search_experiments(page_token=page.token), len(found)
            found |= {each.experiment_id for each in page}
            if len(found) == known:
                raise BadAnswer(f"it answers with pages of experiments without end, {known:,} experiments so far")
        return list(found)

    def metric_range(self, query: str, metric: str) -> tuple[float, float] | None:
        """Return the least and greatest finite value of a metric in the runs found by `query`; None if there is none."""
        runs = self._runs([self.experiment_id], query)
        histories = [self._client.get_metric_history(run.info.run_id, metric) for run in runs]
        values = [point.value for history in histories for point in history if math.isfinite(point.value)]
        return (min(values), max(values)) if values else None

    def find_run(self, run_id: str) -> StoredRun | None:
        """Return the run in the store; None if the store does not have it, or it was deleted."""
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if run.info.run_id != run_id:
            raise BadAnswer(f"asked for the run {run_id}, it answers with another one")
        return run if is_active(run.info.lifecycle_stage) else None

    def find_by_key(self, key: str) -> str | None:
        """Return the id of the run with this key, if a process created it and ended before it learned the id; else None."""
        runs = self._client.search_runs([self.experiment_id], f"tags.{KEY_TAG} = '{key}'", max_results=1)
        if not runs:
            return None
        if runs[0].data.tags.get(KEY_TAG) != key:
            raise BadAnswer(f"asked for the run with the tag {KEY_TAG}={key}, it answers with another one")
        return checked_id(runs[0].info.run_id)

    def find_model(self, run_id: str, name: str) -> LoggedModel | None:
        """Return the model of this name that a run has logged, also incompletely; None if there is none."""
        query = f"source_run_id = '{run_id}' AND name = '{name}'"
        found = self._client.search_logged_models([self.experiment_id], query, max_results=1)
        return found[0] if found else None

    def running(self) -> list[StoredRun]:
        """Return all runs of this package, in any experiment, that are RUNNING in the store."""
        experiments = self._experiments()
        running = self._runs(experiments, "attributes.status = 'RUNNING'") if experiments else []
        return [run for run in running if KEY_TAG in run.data.tags]

    def _runs(self, experiments: list[str], query: str) -> list[StoredRun]:
        """Return all runs of these experiments that a query finds, page by page."""
        found: dict[str, StoredRun] = {}
        token = None
        for _ in range(MOST_PAGES):
            page, known = self._client.search_runs(experiments, query, max_results=PAGE, page_token=token), len(found)
            found |= {checked_id(run.info.run_id): run for run in page}
            token = page.token
            if not token:
                return list(found.values())
            if len(found) == known:
                break
        raise BadAnswer(f"it answers with pages of runs without end, {len(found):,} runs so far")

    def last_heard_of(self, run: StoredRun) -> int:
        """Return when the run began or logged its last metric (ms since 1970)."""
        histories = [self._client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
        return max([run.info.start_time, *(point.timestamp for history in histories for point in history)])

    def lacks(self, run_id: str) -> bool:
        """Whether the store does not have the run, not even as deleted."""
        try:
            self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return True
            raise
        return False

    def made_at(self) -> int:
        """Return when the store's database was created (ms since 1970), with MLflow's first experiment."""
        return int(self._client.get_experiment("0").creation_time or 0)
