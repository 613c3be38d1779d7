"""Tables and signals that ship in packages: breast cancer, and electricity demand in Italy."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from stacked import InputError, data
from stacked.data.sources.tables import italy_power


def test_breast_cancer_is_scikit_learns_table() -> None:
    splits = data.load("breast-cancer")
    assert splits.classes == ("malignant", "benign")
    assert splits.columns == tuple(load_breast_cancer().feature_names)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [434, 40, 95]
    assert splits.train.inputs.mean(0).abs().max() < 1e-5


def written(folder: Path, name: str, first: int) -> str:
    """Write a file of 30 signals, and return the hash of its lines."""
    rows = np.random.default_rng(first).normal(size=(30, 24))
    lines = [f"{','.join(f'{value:.6f}' for value in row)}:{1 + k % 2}" for k, row in enumerate(rows)]
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(["# a comment", "@problemName X", "@data", *lines, ""]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_signals_are_read_from_files_whose_numbers_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ItalyPowerDemand"
    digests = {name: written(folder, name, k) for k, name in enumerate(italy_power.SHA256)}
    with pytest.raises(InputError, match="is corrupt or truncated"):
        data.load("italy-power", data_dir=tmp_path)
    monkeypatch.setattr(italy_power, "SHA256", digests)
    splits = data.load("italy-power", data_dir=tmp_path)
    assert splits.input_shape == (1, 24)
    assert splits.classes == ("October to March", "April to September")
    assert sum(len(part) for part in (splits.train, splits.valid, splits.test)) == 60


def test_missing_signals_are_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(italy_power, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"italy-power is neither at .* nor in an installed package: pip install aeon"):
        data.load("italy-power", data_dir=tmp_path)
