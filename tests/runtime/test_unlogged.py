"""A user's MLflow autologging sees his own models alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: autologging patches classes of scikit-learn for good: a process of its own
SCRIPT = """
import mlflow.sklearn
mlflow.set_tracking_uri("mlruns")
mlflow.sklearn.autolog(silent=True, log_models=False, log_datasets=False, log_model_signatures=False)
from sklearn.linear_model import Ridge

from stacked import RunSpec, StackSpec, data
from stacked.apps.anomaly import Detector
from stacked.evaluation.references import fitted_pca
from stacked.runs.run import run
from stacked.spec import Budget, Classification
from mlflow.utils.autologging_utils import disable_autologging

spec = RunSpec(
    "joint",
    stack=StackSpec.of("dense", 4),
    budget=Budget(None, 2, "updates"),
    classification=Classification((100,), updates=5),
)
splits = data.load("digits", limit=300)
run(spec, splits)
Detector(spec).fit(splits.train.inputs)
fitted_pca(splits.train.inputs, 2)
with disable_autologging():
    fitted_pca(splits.train.inputs, 2)
    Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
assert len(mlflow.search_runs()) == 0, mlflow.search_runs()
Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
assert list(mlflow.search_runs()["tags.estimator_name"]) == ["Ridge"]
"""


@pytest.mark.slow
def test_probes_are_not_logged_and_a_users_models_are(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    quick = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true"}  # a database takes long to make
    done = subprocess.run(command, cwd=tmp_path, env=quick, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
