"""What MLflow has of the data of a run: their shape and type, and how floats were scaled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from stacked.data import Splits
from stacked.data.scaling import Scaling
from stacked.runs.run import run
from stacked.spec import Classification
from stacked.tracking.tracker import Tracker, open_store
from stacked.util.serialization import from_dict, parsed
from tests.helpers.floats import LABELS, examples, spec_of
from tests.helpers.tracked import run_of

from mlflow import MlflowClient  # isort: skip


def test_floats_are_logged_with_their_type_and_scaling(tmp_path: Path) -> None:
    store, splits = open_store(tmp_path / "store"), Splits.of(examples(6), LABELS, name="sensors")
    spec = replace(spec_of("vectors"), classification=Classification(labels=()))
    with Tracker(store, "tables", name="greedy+finetune/s0", work=tmp_path / "work", tags={}, params={}) as tracker:
        run(spec, splits, tracker=tracker, work=tmp_path / "work")
    found = run_of(store, tracker)
    datasets = [each.dataset for each in found.inputs.dataset_inputs]
    assert {dataset.name for dataset in datasets} == {"sensors"}
    for dataset in datasets:
        (features,) = json.loads(json.loads(dataset.schema)["mlflow_tensorspec"]["features"])
        assert features["tensor-spec"] == {"dtype": "float32", "shape": [-1, 6]}
    client = MlflowClient(store.uri)
    written = Path(client.download_artifacts(found.info.run_id, "scaling.json", str(tmp_path))).read_text()
    assert from_dict(Scaling, parsed(written)) == splits.scaling
    (model,) = client.search_logged_models([found.info.experiment_id])
    assert model.name == "encoder-greedy+finetune-s0"
