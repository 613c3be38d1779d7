"""A copy of a study is the same study, and whatever is changed in it is found."""

from __future__ import annotations

import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.reliability.compare_records import differences
from tests.helpers.layerwise import HARDLY_CLASSIFIED


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study's record `out` and of its `store`."""
    home = tmp_path_factory.mktemp("study")
    words = ["--smoke", "--arms", "greedy", "joint", "--jobs", "1", *HARDLY_CLASSIFIED]
    one_figure = replace(STUDY, figures=("filters",))  # the others take seconds, and are compared in the same way
    assert main(one_figure, [*words, "--out", str(home / "out"), "--store", str(home / "store")]) == 0
    return home


def changed(home: Path, what: str) -> None:
    """Change one thing in a study's home."""
    if what == "weights":
        path = sorted((home / "store" / "work").glob("*/phase-1.safetensors"))[0]
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif what in ("runs.csv", "curves.csv"):
        frame = pd.read_csv(home / "out" / what).drop(columns="checksum")
        column = "final/recon_mse" if what == "runs.csv" else "eval/recon_mse"
        frame.loc[0, column] *= 1 + 1e-12
        frame.to_csv(home / "out" / what, index=False)
    elif what == "filters.png":
        (home / "out" / "figures" / what).write_bytes(b"")
    elif what in ("a picture twice", "another picture"):
        picture = sorted((home / "store" / "artifacts").glob("*/artifacts/images/*step+40+*.png"))[0]
        if what == "another picture":
            picture.write_bytes(b"")
        else:
            shutil.copy(picture, picture.with_name(picture.name.replace("timestamp+1", "timestamp+2")))
    elif what == "a model that is no run's":
        (home / "store" / "artifacts" / "models" / "m-0" / "artifacts").mkdir(parents=True)
        (home / "store" / "artifacts" / "models" / "m-0" / "artifacts" / "MLmodel").write_text("")
    elif what == "a file that was half written":
        (home / "out" / "figures" / ".stacked-0123456789abcdef.part").write_text("")
    else:
        with sqlite3.connect(home / "store" / "mlflow.db") as store:
            store.execute(what.replace("MODEL", "(select min(model_id) from logged_models)"))


@pytest.mark.slow
def test_a_copy_of_a_study_is_the_same(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "copy")
    assert differences(study, tmp_path / "copy") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("weights", r"phase-1\.safetensors$"),
        ("runs.csv", "^runs.csv$"),
        ("curves.csv", "^curves.csv$"),
        ("filters.png", "^figures/filters.png$"),
        ("a picture twice", r"^MLflow has [a-z+]+/s0: images/recon_grid\+step\+40\.png [0-9a-f]{8} besides$"),
        (
            "another picture",
            r"^MLflow lacks [a-z+]+/s0: images/\S+ [0-9a-f]{8}; MLflow has [a-z+]+/s0: images/\S+ e3b0c442",
        ),
        ("a model that is no run's", "^MLflow has nobody: MLmodel besides$"),
        ("a file that was half written", r"^temporary file out/figures/\.stacked-0123456789abcdef\.part was left$"),
        ("update runs set status = 'RUNNING' where name = 'joint/s0'", "MLflow has runs .*'RUNNING': 1"),
        ("delete from runs where name = 'joint/s0 joint'", "MLflow has run joint/s0 joint 0 times, not 1"),
        ("update runs set name = 'joint/s0' where name = 'greedy/s0'", "MLflow has run joint/s0 2 times, not 1"),
        (
            "update metrics set step = step + 1 where key = 'final/recon_mse'",
            "points of joint/s0: 1 missing, 1 too many",
        ),
        (
            "update latest_metrics set step = 1 where key = 'final/recon_mse'",
            "last points of joint/s0: 1 missing, 1 too many",
        ),
        (
            "update logged_models set status = 1 where model_id = MODEL",
            r"MLflow has a model (encoder|classifier-100)-[a-z+]+-s0 with status PENDING",
        ),
        (
            "insert into logged_models select model_id || 'x', experiment_id, name, artifact_location, creation_timestamp_ms, "
            "last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id, status_message from logged_models",
            r"MLflow models of joint/s0: 0 missing, 2 too many \(classifier-100-joint-s0, encoder-joint-s0\)",
        ),
        (
            "delete from inputs where source_type = 'RUN_OUTPUT'",
            r"outputs of joint/s0: 2 missing, 0 too many \(classifier-100-joint-s0, encoder-joint-s0\)",
        ),
        ("delete from inputs where source_type = 'DATASET'", r"data of joint/s0: 1 missing, 0 too many \(digits\)"),
        ("delete from params where key = 'loss'", r"parameters of joint/s0 joint: 1 missing, 0 too many \(loss\)"),
        ("update tags set value = 'x' where key = 'arm'", r"tags of joint/s0: 1 missing, 1 too many \(arm\)"),
        (
            "insert into tags select 'failure', 'x', run_uuid from runs",
            r"tags of joint/s0: 0 missing, 1 too many \(failure\)",
        ),
        ("delete from tags where key = 'mlflow.parentRunId'", r"parents of joint/s0 joint: 1 missing, 0 too many"),
        ("delete from experiment_tags", "MLflow has other views"),
    ],
    ids=lambda text: text.split(" where")[0],
)
def test_a_change_in_a_copy_is_seen(what: str, said: str, study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "copy")
    changed(tmp_path / "copy", what)
    assert re.search(said, "; ".join(differences(study, tmp_path / "copy")))
