"""What a saved view holds and how it fails; whether MLflow's page draws it is seen by the browser test."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import zlib
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store, open_store
from stacked.tracking.tracker import Tracker
from stacked.util.errors import InputError
from stacked.util.loopback import is_loopback, unproxied
from stacked.viewing.server import (
    ENVIRONMENT,
    address,
    command,
    environment,
    names,
    serve,
    stop,
    typed_command,
    warning,
)
from stacked.viewing.views import EVERY, MEAN, save_views, view_url
from tests.helpers.tracked import free_port

from mlflow import MlflowClient  # isort: skip

EXPERIMENT = "mnist-conv-16-32"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


def page(store: Store, key: str) -> tuple[str, dict[str, Any]]:
    """Title and state of a saved view, as MLflow's page unpacks them."""
    experiment = MlflowClient(store.uri).get_experiment(StoreClient(store, EXPERIMENT).experiment_id)
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    scheme, packed = view["state"].split(";")
    assert scheme == "deflate"
    return view["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def test_the_mean_groups_by_arm_and_shows_no_pictures(store: Store) -> None:
    keys = save_views(store, EXPERIMENT, "demo", probe=True, images=True)
    title, state = page(store, keys[MEAN])
    assert title == "demo: mean over seeds"
    assert state["searchFilter"] == "tags.study = 'demo' and tags.kind = 'arm'"
    assert state["runsHiddenMode"] == "SHOWALL"
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "group"}]
    shown = [chart for chart in state["compareRunCharts"] if not chart["deleted"]]
    assert {chart["type"] for chart in shown} == {"LINE"}

    title, state = page(store, keys[EVERY])
    assert title == "demo: every seed"
    assert state["groupBy"] is None
    pictures = [chart for chart in state["compareRunCharts"] if chart["type"] == "IMAGE"]
    assert [chart["imageKeys"] for chart in pictures] == [["recon_grid_final"], ["recon_grid"]]
    assert not any(chart["showRunParams"] for chart in pictures)  # a page of them would stand above each picture
    opened = [section["name"] for section in state["compareRunSections"] if section["display"]]
    assert opened == [
        "Reconstructions",
        "Validation data, once all stages are grown, against updates (Step)",
        "Validation data, once all stages are grown, against GFLOP or seconds of training",
        "Stages: validation error of those grown so far, their number, training loss",
    ]


def test_titles_of_sections_say_what_is_measured_and_name_the_axes(store: Store) -> None:
    """MLflow draws no title of a chart's own, and calls the axis of updates "Step"."""
    keys = save_views(store, EXPERIMENT, "demo", probe=True, images=False)
    for name, key in keys.items():
        state = page(store, key)[1]
        sections = {
            chart["metricKey"] + chart["selectedXAxisMetricKey"]: chart["metricSectionId"]
            for chart in state["compareRunCharts"]
        }
        first = state["compareRunCharts"][0]["metricKey"]
        assert first == "eval/full_depth_mse"  # the error of which arms can be compared
        assert sections[first] == "Validation data, once all stages are grown, against updates (Step)"
        cost = "progress/gflop_at_full_depth" if name == MEAN else "progress/gflop"
        assert (
            sections[first + cost] == "Validation data, once all stages are grown, against GFLOP or seconds of training"
        )
        assert sections["eval/recon_mse"].startswith("Stages: validation error of those grown so far")


def test_final_results_are_columns_of_the_table_of_runs(store: Store) -> None:
    outcomes = ["final/recon_mse", "final/classifier_acc_100"]
    keys = save_views(store, EXPERIMENT, "demo", probe=True, images=False, outcomes=outcomes)
    for key in keys.values():
        state = page(store, key)[1]
        columns = ["tags.`arm`", "tags.`seed`", *(f"metrics.`{name}`" for name in outcomes)]
        assert state["selectedColumns"][: len(columns)] == columns
        assert not {chart["metricKey"] for chart in state["compareRunCharts"]} & set(outcomes)  # bars from 0 look alike


def test_runs_of_an_earlier_version_are_grouped_by_arm(store: Store, tmp_path: Path) -> None:
    """They are in no group with their colour; a mean must not leave them out."""
    for seed, more in ((0, {}), (1, {"group": "joint  "})):
        tags = {"kind": "arm", "arm": "joint", "seed": seed, "study": "earlier", **more}
        with Tracker(store, EXPERIMENT, name=f"joint/s{seed}", work=tmp_path / str(seed), tags=tags, params={}):
            pass
    keys = save_views(store, EXPERIMENT, "earlier", probe=False, images=False)
    assert page(store, keys[MEAN])[1]["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "arm"}]


def test_charts_of_quality_against_updates_and_cost(store: Store) -> None:
    keys = save_views(store, EXPERIMENT, "demo", probe=True, images=False)

    def lines(view: str) -> set[tuple[str, str, str]]:
        charts = page(store, keys[view])[1]["compareRunCharts"]
        assert len({chart["uuid"] for chart in charts}) == len(charts)
        return {(c["metricKey"], c["selectedXAxisMetricKey"], c["scaleType"]) for c in charts if c["type"] == "LINE"}

    mean = lines(MEAN)
    assert ("eval/probe_acc", "progress/gflop_at_probe", "linear") in mean
    assert not any(cost == "progress/train_seconds" for _, cost, _ in mean)  # seeds differ: their mean jumps
    error = "eval/full_depth_mse"
    assert {(error, "", "log"), (error, "progress/gflop_at_full_depth", "log"), ("eval/recon_mse", "", "log")} <= mean
    assert {
        (error, "", "log"),
        (error, "progress/gflop", "log"),
        (error, "progress/train_seconds", "log"),
        ("eval/recon_mse", "", "log"),
        ("eval/probe_acc", "", "linear"),
        ("eval/probe_acc", "progress/gflop", "linear"),
        ("eval/probe_acc", "progress/train_seconds", "linear"),
    } <= lines(EVERY)


def test_a_study_without_probes_has_no_chart_of_them(store: Store) -> None:
    keys = save_views(store, EXPERIMENT, "noprobe", probe=False, images=False)
    charts = page(store, keys[EVERY])[1]["compareRunCharts"]
    assert "eval/probe_acc" not in {chart["metricKey"] for chart in charts}
    assert "IMAGE" not in {chart["type"] for chart in charts}


def test_keys_stay_when_views_are_saved_again_and_differ_between_studies(store: Store) -> None:
    first = save_views(store, EXPERIMENT, "demo", probe=True, images=True)
    assert save_views(store, EXPERIMENT, "demo", probe=False, images=False) == first
    other = save_views(store, EXPERIMENT, "other", probe=True, images=True)
    assert len({*first.values(), *other.values()}) == 4


def test_the_axis_of_accuracies_spans_what_is_recorded(store: Store, tmp_path: Path) -> None:
    tags = {"kind": "arm", "arm": "joint", "seed": 0, "study": "span"}
    with Tracker(store, EXPERIMENT, name="joint/s0", work=tmp_path / "work", tags=tags, params={}) as tracker:
        for step, accuracy in enumerate((0.7, float("nan"), 0.9)):
            tracker.log({"eval/probe_acc": accuracy}, step)
    keys = save_views(store, EXPERIMENT, "span", probe=True, images=False)
    for chart in page(store, keys[MEAN])[1]["compareRunCharts"]:
        if chart["metricKey"] == "eval/probe_acc":
            assert chart["range"] == {"yMin": pytest.approx(0.69), "yMax": pytest.approx(0.91)}


def test_a_view_too_large_for_a_tag_is_a_warning(store: Store) -> None:
    outcomes = [f"final/{hashlib.sha256(bytes([i, j])).hexdigest()}" for i in range(16) for j in range(64)]
    with pytest.warns(RuntimeWarning, match=r"'demo: .*' was not saved: it takes \d+ characters"):
        assert save_views(store, EXPERIMENT, "demo", probe=True, images=True, outcomes=outcomes) == {}


def test_a_store_that_fails_is_a_warning(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("the store is away")

    monkeypatch.setattr(StoreClient, "tag_experiment", refuse)
    with pytest.warns(RuntimeWarning, match="was not saved: the store is away"):
        assert save_views(store, EXPERIMENT, "demo", probe=True, images=True) == {}


def test_a_study_with_a_quote_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="quote"):
        save_views(store, EXPERIMENT, "it's", probe=True, images=True)


def test_the_address_has_nothing_that_switches_the_view_off() -> None:
    expected = "runs?compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey=abc"
    assert view_url("http://127.0.0.1:5000", "7", "abc") == f"http://127.0.0.1:5000/#/experiments/7/{expected}"
    table = f"/#/experiments/7/{expected.replace('CHART', 'TABLE')}"
    assert view_url("", "7", "abc", table=True) == table


def test_the_server_is_on_loopback_with_one_worker(store: Store) -> None:
    arguments = command(store, 5123)
    assert arguments[0] == sys.executable
    for option, value in {"--host": "127.0.0.1", "--port": "5123", "--workers": "1"}.items():
        assert arguments[arguments.index(option) + 1] == value
    line = typed_command(store, 5123)
    assert line.startswith("MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false ")
    assert " python -m mlflow server " in line
    assert environment(5123) == ENVIRONMENT | {
        "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1:5123,localhost:5123,[::1]:5123",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1:5123,http://localhost:5123,http://[::1]:5123",
    }
    assert warning(5123).startswith("MLflow has no authentication: every user of this machine")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.0.0.9", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("example.org", False),
    ],
)
def test_whoever_is_let_in_is_warned(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
    assert warning(5123, host).startswith("WARNING: ") != loopback
    assert "MLflow has no authentication" in warning(5123, host)


def test_another_host_gets_its_name_into_what_mlflow_allows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment(5123, "example.org")["MLFLOW_SERVER_ALLOWED_HOSTS"] == "example.org:5123"
    assert environment(80, "Example.org")["MLFLOW_SERVER_ALLOWED_HOSTS"] == "example.org:80,example.org"
    assert environment(80, "0:0::1")["MLFLOW_SERVER_ALLOWED_HOSTS"].startswith(
        "[::1]:80,127.0.0.1:80,localhost:80,[::1],"
    )
    assert environment(5123, "fd00::7")["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "http://[fd00::7]:5123"
    assert address(5123, "fd00::7") == "http://[fd00::7]:5123"
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "proxy.example.org")
    line = typed_command(store, 5123, "example.org")
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" not in line
    assert "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS=http://example.org:5123 python " in line
    assert " --host example.org " in line


def status(port: int, host: str, origin: str | None = None) -> int:
    """What a server says to whoever asks it for experiments as `host`."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Host": host, "Content-Type": "application/json"} | ({"Origin": origin} if origin else {})
    connection.request("POST", "/ajax-api/2.0/mlflow/experiments/search", json.dumps({"max_results": 1}), headers)
    return connection.getresponse().status


@pytest.mark.slow
def test_a_server_for_all_answers_under_its_own_names_alone(store: Store) -> None:
    port = free_port()
    own = f"{names('0.0.0.0')[0]}:{port}"
    server = serve(store, port, host="0.0.0.0")
    try:
        assert status(port, own) == status(port, own, f"http://{own}") == status(port, f"127.0.0.1:{port}") == 200
        assert status(port, f"evil.example:{port}") == 403
        assert status(port, own, "http://evil.example") == 403
    finally:
        stop(server)


@pytest.mark.slow
def test_a_server_on_loopback_answers_no_name_of_elsewhere_and_no_proxy_is_asked_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name such as 10.evil.example may lead to 127.0.0.1, and MLflow's own patterns take it for an address."""
    port = free_port()
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "example.org")
    open_store(store.root)
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.org,localhost,127.0.0.1,127.0.0.0/8,::1,[::1]"
    server = serve(store, port)
    try:
        for name in ("127.0.0.1", "localhost", "[::1]"):
            assert status(port, f"{name}:{port}") == status(port, f"{name}:{port}", f"http://{name}:{port}") == 200
            assert status(port, name) == 403
        for name in ("10.evil.example", "192.168.evil.example", "172.16.evil.example", "fd00:evil", "127.0.0.1:x.evil"):
            assert status(port, name) == status(port, f"{name}:{port}") == 403
        assert status(port, f"127.0.0.1:{port}", f"http://10.evil.example:{port}") == 403
        for name in ("127.0.0.1", "localhost"):
            assert MlflowClient(f"http://{name}:{port}").search_experiments(max_results=1)
    finally:
        stop(server)


def test_no_proxy_is_asked_for_loopback() -> None:
    assert unproxied({"NO_PROXY": "a", "PATH": "x"}) == unproxied({"http_proxy": ""}) == {}
    assert unproxied({"all_proxy": "socks5://p", "NO_PROXY": "*"}) == {}
    added = unproxied({"all_proxy": "socks5://p", "no_proxy": "a, localhost", "NO_PROXY": "b"})
    assert set(added) == {"no_proxy", "NO_PROXY"}
    assert set(added.values()) == {"a,localhost,127.0.0.1,127.0.0.0/8,::1,[::1]"}
    assert unproxied({"all_proxy": "socks5://p", **added}) == added


def test_a_server_is_not_served() -> None:
    with pytest.raises(InputError, match=r"http://example\.org, which is a server already"):
        command(Store("http://example.org", Path()), 5000)


def test_a_port_that_is_taken_is_named(store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be used on 127.0.0.1"):
            serve(store, port)
    with pytest.raises(InputError, match="port 0 does not exist"):
        serve(store, 0)
    with pytest.raises(
        InputError, match=r"port 5000 cannot be used on 192\.0\.2\.1 \(.*give an address of this machine"
    ):
        serve(store, host="192.0.2.1")


def test_a_server_that_dies_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacked.viewing.server.command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    port = free_port()
    with pytest.raises(InputError, match=r"ended with code 3; .*server\.log"):
        serve(store, port)


def test_the_servers_module_is_light() -> None:
    probe = "import sys, stacked.viewing.server; print(sorted({'mlflow', 'torch'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "mlflow" not in answer.stdout
    assert ENVIRONMENT["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


class Paged(list[Any]):
    token: str | None = None


def test_runs_and_experiments_are_asked_for_to_the_last_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store gives 1,000 of them at most at once."""

    def page(of: list[Any], most: int, token: str | None) -> Paged:
        start = int(token or 0)
        found = Paged(of[start : start + most])
        found.token = str(start + most) if start + most < len(of) else None
        return found

    def run(number: int) -> Any:
        info = SimpleNamespace(run_id=f"r{number}", experiment_id=f"e{number}", start_time=0)
        return SimpleNamespace(info=info, data=SimpleNamespace(tags={"record_key": "k"}, metrics={}))

    runs = [run(number) for number in range(2004)]
    experiments = [SimpleNamespace(experiment_id=f"e{number}") for number in range(2004)]

    class Client:
        def search_experiments(self, max_results: int = 1000, page_token: str | None = None) -> Paged:
            return page(experiments, max_results, page_token)

        def search_runs(self, ids: list[str], query: str, max_results: int, page_token: str | None) -> Paged:
            return page([run for run in runs if run.info.experiment_id in set(ids)], max_results, page_token)

        def get_metric_history(self, run_id: str, metric: str) -> list[Any]:
            return [SimpleNamespace(value=float(run_id[1:]))]

    client = StoreClient(Store("http://nowhere", tmp_path), "e")
    client.__dict__ |= {"_client": Client(), "experiment_id": "e2003"}
    assert len(client.running()) == 2004
    assert client.metric_range("q", "m") == (2003.0, 2003.0)
    for each in runs:
        each.info.experiment_id = "e2003"
    assert client.metric_range("q", "m") == (0.0, 2003.0)
