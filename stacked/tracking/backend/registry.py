"""MLflow's model registry: versions of registered models that are logged models of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

# First, because it sets variables that MLflow reads when it is imported.
from stacked.tracking.backend.queries import StoreQueries

# isort: split
from mlflow.exceptions import MlflowException
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from stacked.tracking.backend.addresses import checked_place
from stacked.tracking.backend.store import OUTAGES
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

#: The alias of the version that was registered last: `models:/NAME@best`.
ALIAS = "best"
#: The tag of a version that holds the id of the logged model.
MODEL_TAG = "model_id"
#: The codes of errors of a server that has no registry.
_NO_REGISTRY = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED")


class Registry(StoreQueries):
    """The model registry of a store; methods raise one of `OUTAGES` as those of `StoreQueries` do."""

    def check(self) -> None:
        """Raise InputError if the store has no registry; an outage is none, because training does not depend on the store."""
        try:
            self._client.search_registered_models(max_results=1)
        except OUTAGES as error:
            code = error.error_code if isinstance(error, MlflowException) else ""
            if isinstance(error, UnsupportedModelRegistryStoreURIException) or code in _NO_REGISTRY:
                raise InputError(
                    f"the MLflow store {self.store.name} has no model registry: leave out --register, or use another store"
                ) from error

    def register(self, model: LoggedModel, name: str, tags: Mapping[str, str]) -> str:
        """Return the version of the registered model `name` that is this logged model, after giving it the alias.

        The registered model, the version (with these tags) and the alias are written only where they are missing.
        Raises InputError if the model's files are outside of a local store.
        """
        if self.store.keeps_files:
            checked_place(self.store, model.artifact_location, f"model {model.model_id}")
        self._create(name)
        version = self._find_version(name, model) or self._client.create_model_version(
            name,
            source=model.artifact_location,
            run_id=model.source_run_id,
            model_id=model.model_id,
            tags={**tags, MODEL_TAG: model.model_id},
        )
        self._link(model, name, version)
        number = str(version.version)
        aliases = self._client.get_registered_model(name).aliases
        if str(aliases.get(ALIAS)) != number:
            self._client.set_registered_model_alias(name, ALIAS, number)
        return number

    def _create(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
                raise

    def _find_version(self, name: str, model: LoggedModel) -> ModelVersion | None:
        query = f"name = '{name}' AND run_id = '{model.source_run_id}'"
        found = self._client.search_model_versions(query)
        return next((version for version in found if version.tags.get(MODEL_TAG) == model.model_id), None)

    def _link(self, model: LoggedModel, name: str, version: ModelVersion) -> None:
        """Name the version in the tag of the logged model from which MLflow's page of it shows a link, as a server does."""
        found = json.loads(self._client.get_logged_model(model.model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
        mine = {"name": name, "version": version.version}
        if not any(str(each.get("version")) == str(version.version) and each.get("name") == name for each in found):
            tag = {MLFLOW_MODEL_VERSIONS: json.dumps([*found, mine])}
            self._client.set_logged_model_tags(model.model_id, tag)
