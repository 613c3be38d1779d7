"""The made-up record that tests of reports read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.made_records import ARMS, make_curves, make_rows, make_samples, write_csv


@pytest.fixture
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture
def out(tmp_path: Path, rows: pd.DataFrame) -> Path:
    folder = tmp_path / "results" / "layerwise"
    folder.mkdir(parents=True)
    write_csv(rows, folder / "runs.csv")
    write_csv(make_curves(rows), folder / "curves.csv")
    for arm in ARMS:
        make_samples(folder / "samples", arm)
    reference = {"pca_mse": 0.0091, "pca_components": 64, "mean_mse": 0.0675, "train_labels": 55000}
    (folder / "reference.json").write_text(json.dumps(reference))
    return folder
