"""--store names a folder, or the address of an MLflow server or a PostgreSQL database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stacked.cli.store_option import store_folder
from stacked.doctor import __main__ as doctor
from studies.cli.command_line import parser
from studies.cli.options import options
from studies.pretraining.layerwise import STUDY


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that it is restored after the test


@pytest.mark.parametrize("address", ["http://host:5000", "https://host/mlflow", "postgresql://me:secret@host/runs"])
def test_an_address_is_where_this_process_and_its_workers_record(address: str) -> None:
    assert store_folder(address) == Path("mlruns")
    assert os.environ["MLFLOW_TRACKING_URI"] == address


def test_a_folder_changes_nothing() -> None:
    assert store_folder("here/runs") == Path("here/runs")
    assert os.environ["MLFLOW_TRACKING_URI"] == ""


def test_a_study_takes_an_address() -> None:
    given = options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(["--store", "http://host:5000"]))
    assert given.store == Path("mlruns")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://host:5000"


def test_the_doctor_takes_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(doctor, "examine", lambda root, checks, dry: asked.append((root, checks, dry)) or 0)
    assert doctor.main(["--store", "http://host:5000", "unsent"]) == 0
    assert asked == [(Path("mlruns"), ["unsent"], False)]
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://host:5000"
