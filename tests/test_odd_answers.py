"""A server that answers what MLflow does not: training goes on, hardly slower, and all arrives when the server is well."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_server import Fault, OddServer, odd_server
from tracked import arm

from stacked import patience
from stacked.errors import InputError
from stacked.mlflow_http import ANSWER_BYTES
from stacked.mlflow_store import open_store
from stacked.mlflow_views import save_views
from stacked.patience import patience_with

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SECONDS = 0.5  # that one attempt may take here


def answers(content: Any, status: int = 200) -> Fault:
    """This as JSON, whatever is asked."""
    return lambda request: request.answer(json.dumps(content).encode(), status)


def sends(*parts: bytes, then: bytes = b"", every: float | None = None) -> Fault:
    """These bytes; then others again and again, with so many seconds between them; None: nothing more, and it is closed."""

    def fault(request: Any) -> None:
        request.close_connection = True
        for part in parts:
            request.wfile.write(part)
        while every is not None and not request.server.ended.wait(every):
            request.wfile.write(then)

    return fault


def resets(request: Any) -> None:
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def packed(request: Any) -> None:
    """A few kilobytes that are fifty megabytes."""
    request.answer(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")


#: Answers to everything.
FAULTS: dict[str, Fault] = {
    "empty": lambda request: request.answer(b""),
    "object": answers({}),
    "null": answers(None),
    "list": answers([]),
    "word": answers("hello"),
    "number": answers(3),
    "undecodable": lambda request: request.answer(b'{"a": "\xff\xfe"}'),
    "surrogate": lambda request: request.answer(
        b'{"experiment_id": "\\ud800", "run": {"info": {"run_id": "\\ud800"}}}'
    ),
    "deep": lambda request: request.answer(b"[" * 100_000),
    "a login page": lambda request: request.answer(b"<!DOCTYPE html>\n<html>log in</html>", Content_Type="text/html"),
    "other types": answers({"experiment": [1], "run": [1], "runs": {"a": 1}, "experiment_id": {"a": 1}}),
    "no ids": answers(
        {"experiment": {"experiment_id": None}, "run": {"info": {"run_id": None}}, "runs": [{"info": None}]}
    ),
    "an odd error": answers({"error_code": ["x"], "message": 3}, 400),
    "204": lambda request: request.answer(b"", 204),
    "304": lambda request: request.answer(b"", 304),
    "403": lambda request: request.answer(b"<html>", 403),
    "503": lambda request: request.answer(b"", 503, Retry_After="3600"),
    "999": lambda request: request.answer(b"", 999),
    "a circle": lambda request: request.answer(b"", 302, Location=request.path),
    "elsewhere": lambda request: request.answer(b"", 307, Location="file:///etc/hostname"),
    "too short": sends(OK + b"Content-Length: 100\r\n\r\n{}"),
    "two lengths": sends(OK + b"Content-Length: 2, 3\r\n\r\n{}"),
    "a bad chunk": sends(CHUNKED + b"zz\r\n{}"),
    "a chunk of less than nothing": sends(CHUNKED + b"-5\r\n{}\r\n"),
    "no HTTP": sends(b"\x00\x01\x02" * 10),
    "nothing": sends(),
    "reset": resets,
    "badly packed": lambda request: request.answer(b"no gzip", Content_Encoding="gzip"),
    "packed": packed,
    "hangs": sends(every=0.1),
    "slow status": sends(then=b"H", every=0.02),
    "slow headers": sends(OK, then=b"A", every=0.02),
    "slow body": sends(OK + b"Content-Length: 100\r\n\r\n", then=b" ", every=0.02),
    "slow chunks": sends(CHUNKED, then=b"1\r\n \r\n", every=0.02),
    "endless": sends(OK + b"\r\n", then=b" " * 65536, every=0.0),
    "endless chunks": sends(CHUNKED, then=b"10000\r\n" + b" " * 65536 + b"\r\n", every=0.0),
    "endless headers": sends(OK, then=b"A: b\r\n", every=0.0),
    "an endless line": sends(OK + b"A:", then=b"b" * 65536, every=0.0),
}
#: Requests of which some fault is of its own kind, by a part of their path.
REQUESTS = (
    "get-by-name",
    "experiments/create",
    "runs/create",
    "runs/get",
    "log-batch",
    "runs/update",
    "mlflow-artifacts",
)
OF_EACH = ("object", "no ids", "a login page", "slow body")

WELL = (("log-batch", "object"), ("mlflow-artifacts", "object"))  # what MLflow answers to them


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OddServer]:
    monkeypatch.setattr(patience, "ATTEMPT_SECONDS", SECONDS)
    monkeypatch.chdir(tmp_path)
    with odd_server() as running:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.address)
        yield running


@pytest.mark.parametrize(
    ("where", "what"),
    [
        *(("", what) for what in FAULTS),
        *((where, what) for where in REQUESTS for what in OF_EACH if (where, what) not in WELL),
    ],
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
            with tracker.stage(1, "stage 1", {}) as stage:
                stage.log({"train/loss": 1.0}, 0)
            tracker.image("grid", np.zeros((8, 8), np.uint8), 3)
            tracker.text("x", "a.txt")
    assert time.monotonic() - began < 3 * SECONDS + 2
    assert len([each for each in told if "training goes on" in str(each.message)]) == len(told) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "work", "work.lock"]

    server.fault = None
    clock = patience_with(store.uri).clock
    patience_with(store.uri).clock = lambda: clock() + 3600
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
    with pytest.warns(RuntimeWarning, match="which is not of MLflow"):  # noqa: PT031, SIM117
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
