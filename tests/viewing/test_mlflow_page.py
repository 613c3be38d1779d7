"""What a study leaves in MLflow beside its runs: the report as one file, and descriptions with the addresses of all."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import pytest

from stacked.tracking.tracker import Store, open_store
from studies.record.names import experiment_name
from studies.viewing.descriptions import NOTE
from studies.viewing.mlflow_page import save
from studies.viewing.replay import replay
from tests.helpers.records import BASE, OWN, recorded, runs, specs, trained

from mlflow import MlflowClient  # isort: skip


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Store, Path]:
    """A store with the runs of a study and what it saved, and its record, which has a page."""
    store, out = open_store(tmp_path / "store"), recorded(tmp_path / "out")
    (out / "figures").mkdir()
    (out / "figures" / "curves.png").write_bytes(b"\x89PNG")
    (out / "README.md").write_text("# Layer-wise\n\n![curves](figures/curves.png)\n")
    trained(store, specs()[0])
    save(OWN, BASE, out, store)
    return store, out


def description(store: Store) -> tuple[str, str]:
    """(id of the experiment, what its page says)"""
    found = MlflowClient(store.uri).get_experiment_by_name(experiment_name(BASE))
    return found.experiment_id, found.tags[NOTE]


def test_the_report_is_one_file_of_the_studys_run(shown: tuple[Store, Path]) -> None:
    store, _ = shown
    [study] = runs(store, "tags.kind = 'study'")
    page = store.artifacts / study.info.run_id / "artifacts" / "report.html"
    assert re.findall('src="([^"]*)"', page.read_text()) == ["data:image/png;base64,iVBORw=="]


def test_the_experiment_says_what_is_measured_and_where_results_are(shown: tuple[Store, Path]) -> None:
    store, _ = shown
    [study] = runs(store, "tags.kind = 'study'")
    number, text = description(store)
    assert "`eval/*`: while training, on at most 128 images of the validation split, 8.33 % of the official" in text
    assert "`eval/recon_mse` is the mean squared error per pixel" in text
    assert "`final/*`: after training, on all test images" in text
    links = dict(re.findall(r"\[([^\]]*)\]\((#[^)]*)\)", text))
    assert set(links) == {OWN, "mean over seeds", "every seed", "table of runs"}
    assert links[OWN] == f"#/experiments/{number}/runs/{study.info.run_id}/artifacts/report.html"
    first = text.splitlines()[0]  # of which MLflow shows nothing more until it is asked to
    assert "`eval/*`) are of validation images" in first
    assert links[OWN] in first
    views = {tag.rpartition(".")[2] for tag in MlflowClient(store.uri).get_experiment(number).tags if "View" in tag}
    for name in ("mean over seeds", "every seed", "table of runs"):
        assert links[name].rpartition("=")[2] in views


def test_a_description_of_the_users_own_is_kept(shown: tuple[Store, Path]) -> None:
    store, out = shown
    number, _ = description(store)
    MlflowClient(store.uri).set_experiment_tag(number, NOTE, "mine")
    save(OWN, BASE, out, store)
    assert description(store) == (number, "mine")


def test_copied_runs_have_no_empty_chart_of_pictures(shown: tuple[Store, Path]) -> None:
    store, out = shown
    client = MlflowClient(store.uri)

    def charts(views: list[tuple[str, str, str]]) -> set[str]:
        _, key, number = views[1]
        state = json.loads(client.get_experiment(number).tags[f"mlflow.sharedViewState.{key}"])["state"]
        page = json.loads(zlib.decompress(base64.b64decode(state.partition(";")[2])))
        return {chart["type"] for chart in page["compareRunCharts"]}

    assert charts(save(OWN, BASE, out, store)) == {"LINE", "IMAGE"}
    assert charts(replay("layerwise", out, store)) == {"LINE"}


def test_copied_runs_say_that_they_are_and_of_which_commit(shown: tuple[Store, Path]) -> None:
    store, out = shown
    replay("layerwise", out, store, command="python -m studies.layerwise")
    copies = runs(store, "tags.replayed = 'true'")
    assert len(copies) == 3
    made = runs(store, f"tags.study = '{copies[0].data.tags['study']}'")
    assert {run.data.tags["kind"] for run in made} == {"arm", "stage", "study"}
    assert {run.data.tags["mlflow.source.name"] for run in made} == {"python -m studies.layerwise"}
    for run in copies:
        assert run.data.tags[NOTE].startswith("Copied from a record, not trained here.")
        assert "validation split" in run.data.tags[NOTE]
        assert run.data.tags["mlflow.source.git.commit"] == run.data.tags["commit"] == "a" * 40
        [point] = MlflowClient(store.uri).get_metric_history(run.info.run_id, "final/recon_mse")
        assert point.step == 0
