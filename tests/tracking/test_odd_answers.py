"""A server that answers what MLflow does not: training goes on, hardly slower, and all arrives when the server is well."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stacked.tracking.backend import circuit_breaker
from stacked.tracking.backend.circuit_breaker import circuit_breaker_for
from stacked.tracking.backend.remote.http import ANSWER_BYTES
from stacked.tracking.backend.store import open_store
from stacked.util.errors import InputError
from stacked.viewing.views import save_views
from studies.reliability.robustness.odd_answers import CASES, FAULTS, answers
from studies.reliability.robustness.odd_server import OddServer, odd_server
from tests.helpers.tracked import arm

SECONDS = 0.5  # that one attempt may take here


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OddServer]:
    monkeypatch.setattr(circuit_breaker, "ATTEMPT_SECONDS", SECONDS)
    monkeypatch.chdir(tmp_path)
    with odd_server() as running:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.address)
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "what"),
    CASES,
    ids=lambda text: text or "all",
)
def test_training_goes_on_and_all_arrives_later(where: str, what: str, server: OddServer, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    server.fault, server.where = FAULTS[what], where
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with arm(store, tmp_path / "work") as tracker:
            for step in range(150):
                tracker.log({"train/loss": float(step)}, step)
            with tracker.phase(1, "stage 1", {}) as stage:
                stage.log({"train/loss": 1.0}, 0)
            tracker.image("grid", np.zeros((8, 8), np.uint8), 3)
            tracker.text("x", "a.txt")
    assert time.monotonic() - began < 3 * SECONDS + 2
    assert len([each for each in told if "training goes on" in str(each.message)]) == len(told) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "work", "work.lock"]

    server.fault = None
    clock = circuit_breaker_for(store.uri).clock
    circuit_breaker_for(store.uri).clock = lambda: clock() + 3600
    assert tracker.flush()
    points = server.points()
    assert points["layerwise/s0"] == [(step, float(step)) for step in range(150)]
    assert points["layerwise/s0 stage 1"] == [(0, 1.0)]
    assert [run["info"]["status"] for run in server.runs.values()] == ["FINISHED"] * 2
    assert {name.rpartition("/")[2].partition("+")[0] for name in server.files} >= {"a.txt", "grid"}


def test_a_run_without_a_place_for_files_leaves_none_in_the_working_folder(server: OddServer, tmp_path: Path) -> None:
    """MLflow takes no place for a folder here."""

    def placeless(request: Any) -> None:
        status, answer = request.mlflow("runs/get", request.given())
        answer["run"]["info"] = {key: value for key, value in answer["run"]["info"].items() if key != "artifact_uri"}
        request.answer(json.dumps(answer).encode(), status)

    server.fault, server.where = placeless, "runs/get"
    with pytest.warns(RuntimeWarning, match="which is not an answer of MLflow"):  # noqa: PT031, SIM117
        with arm(open_store(tmp_path / "store"), tmp_path / "work") as tracker:
            tracker.image("grid", np.zeros((8, 8), np.uint8), 3)
            tracker.text("x", "a.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "work", "work.lock"]


def test_what_an_answer_may_take(server: OddServer, tmp_path: Path) -> None:
    server.fault = FAULTS["endless"]
    with (
        pytest.warns(RuntimeWarning, match=f"an answer of more than {ANSWER_BYTES:,} bytes"),
        arm(open_store(tmp_path / "store"), tmp_path / "work"),
    ):
        pass


def test_views_that_a_server_does_not_take_cost_one_attempt(server: OddServer, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    server.fault, began = FAULTS["slow body"], time.monotonic()
    with pytest.warns(RuntimeWarning, match="was not saved: no whole answer within"):
        assert save_views(store, "e", "layerwise", probe=True, images=True) == {}
    assert time.monotonic() - began < SECONDS + 1


@pytest.mark.parametrize("where", ["runs/search", "get-history"])
def test_pages_without_end_are_given_up(where: str, server: OddServer, tmp_path: Path) -> None:
    """Each is a good answer, at once."""
    store = open_store(tmp_path / "store")
    with arm(store, tmp_path / "work", experiment="e") as tracker:
        tracker.log({"eval/probe_acc": 0.5}, 0)
    [run] = [each for each in server.runs.values() if each["info"]["run_name"] == "layerwise/s0"]
    metric = {"key": "eval/probe_acc", "value": 0.5, "step": 0, "timestamp": 1}
    found = {"info": run["info"], "data": {"tags": run["tags"], "metrics": [metric], "params": []}}

    def pages(request: Any) -> None:
        if request.path.partition("?")[0].endswith("runs/search"):
            token = {"next_page_token": "more"} if where == "runs/search" else {}
            answers({"runs": [found], **token})(request)
        else:
            answers({"metrics": [metric], "next_page_token": "more"})(request)

    server.fault, server.where, began = pages, "runs/search|get-history", time.monotonic()
    save_views(store, "e", "layerwise", probe=True, images=True)
    assert time.monotonic() - began < SECONDS + 5


@pytest.mark.parametrize("address", ["http://", "http:///x", "https://:5000", "http://host:many", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(
        InputError, match=r"^MLFLOW_TRACKING_URI .* is not the address of a server: give http://HOST:PORT"
    ):
        open_store(tmp_path)
