"""Recorded runs in MLflow: which experiment has them, beside runs that were trained here, and with which parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from stacked.spec import Optimisation
from stacked.tracking.tracker import open_store
from stacked.util.serialization import flat
from studies.record.names import experiment_name
from studies.viewing.replay import COMMITTED, at_full_depth, replay
from tests.helpers.records import BASE, OWN, experiments, recorded, runs, specs, trained


def test_a_committed_record_is_an_experiment_of_its_own_beside_runs_trained_here(tmp_path: Path) -> None:
    store, out = open_store(tmp_path / "store"), recorded(tmp_path / "out")
    trained(store, specs()[0])
    views = replay("layerwise", out, store, COMMITTED)

    [own] = runs(store, f"tags.study = '{OWN}' and tags.kind = 'arm'")
    assert own.data.metrics["final/recon_mse"] == 0.5
    copies = runs(store, f"tags.study = '{OWN}-committed-record' and tags.kind = 'arm'")
    assert sorted(run.data.tags["seed"] for run in copies) == ["0", "1", "2"]
    assert {run.data.tags["replayed"] for run in copies} == {"true"}
    assert experiments(store, copies) == {f"{experiment_name(BASE)} (committed record)"}
    assert {name for name, _, _ in views} == {
        f"{OWN}-committed-record: mean over seeds",
        f"{OWN}-committed-record: every seed",
    }
    assert {number for _, _, number in views} == {copies[0].info.experiment_id} != {own.info.experiment_id}


def test_a_record_whose_runs_were_all_trained_here_is_not_copied(tmp_path: Path) -> None:
    store, out = open_store(tmp_path / "store"), recorded(tmp_path / "out")
    for spec in specs():
        trained(store, spec)
    views = replay("layerwise", out, store)
    assert {name for name, _, _ in views} == {f"{OWN}: mean over seeds", f"{OWN}: every seed"}
    assert len(runs(store, "tags.kind = 'arm'")) == 3


def test_copies_of_an_earlier_version_leave_the_mean_of_runs_trained_here(tmp_path: Path) -> None:
    store, out = open_store(tmp_path / "store"), recorded(tmp_path / "out")
    first, second, _ = specs()
    trained(store, first)
    trained(store, second, replayed="true")
    replay("layerwise", out, store, COMMITTED)
    assert [run.data.tags["seed"] for run in runs(store, f"tags.study = '{OWN}' and tags.kind = 'arm'")] == ["0"]


def test_copied_stages_have_the_parameters_of_the_phases(tmp_path: Path) -> None:
    store, out = open_store(tmp_path / "store"), recorded(tmp_path / "out")
    replay("layerwise", out, store)
    stages = runs(store, "tags.kind = 'stage' and tags.stage_of = 'greedy+finetune'")
    assert len(stages) == 9
    found = {run.info.run_name.partition(" ")[2]: run.data.params for run in stages}
    base = {"loss": "mse", "corruption_level": "0", "target": "input"}
    assert found == {
        "stage 1": base | {"learns": "1-1", "reads": "0", "updates": "22"},
        "stage 2": base | {"learns": "2-2", "reads": "1", "updates": "29"},
        "fine-tuning": base | {"learns": "1-2", "reads": "0", "updates": "25"},
    }
    for run in runs(store, "tags.kind = 'arm'"):
        [spec] = [spec for spec in specs() if spec.id == run.data.tags["spec"]]
        shown = {key: str(value) for key, value in flat(spec).items() if key != "data.image_size"}
        assert run.data.params == shown


@pytest.mark.slow
def test_updates_that_only_training_could_tell_are_left_out(tmp_path: Path) -> None:
    base = dataclasses.replace(BASE, policy="converge+finetune", optimisation=Optimisation(patience=2))
    store, out = open_store(tmp_path / "store"), recorded(tmp_path / "out", base)
    replay("layerwise", out, store)
    assert not [run for run in runs(store, "tags.kind = 'stage'") if "updates" in run.data.params]


def test_copies_of_runs_that_the_record_has_no_longer_leave_its_mean(tmp_path: Path) -> None:
    store, out = open_store(tmp_path / "store"), recorded(tmp_path / "out")
    replay("layerwise", out, store)
    rows = pd.read_csv(out / "runs.csv", dtype={"run": str})
    rows[rows["seed"] > 0].to_csv(out / "runs.csv", index=False)
    for _ in range(2):
        replay("layerwise", out, store)
        assert sorted(run.data.tags["seed"] for run in runs(store, "tags.kind = 'arm'")) == ["1", "2"]
    assert len(runs(store, "tags.kind = 'superseded'")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("change", ["nothing", "rows"])
def test_a_record_is_copied_again_only_when_its_rows_were_made_by_other_code(tmp_path: Path, change: str) -> None:
    store, out = open_store(tmp_path / "store"), recorded(tmp_path / "out")
    replay("layerwise", out, store)
    before = {run.info.run_id for run in runs(store, "tags.kind = 'arm'")}
    if change == "rows":
        rows = pd.read_csv(out / "runs.csv", dtype={"run": str}).assign(commit="b" * 40, **{"final/recon_mse": 0.2})
        rows.drop(columns="checksum").to_csv(out / "runs.csv", index=False)
    replay("layerwise", out, store)
    now = runs(store, "tags.kind = 'arm'")
    assert len(now) == 3
    assert ({run.info.run_id for run in now} == before) == (change == "nothing")
    assert {run.data.metrics["final/recon_mse"] for run in now} == {0.1 if change == "nothing" else 0.2}


def test_points_of_earlier_versions_get_their_error_at_full_depth() -> None:
    point = {"phase": "stage 2", "progress/stage": 2, "eval/recon_mse": 0.1, "progress/gflop": 3.0}
    full = {"eval/full_depth_mse": 0.1, "progress/gflop_at_full_depth": 3.0}
    assert at_full_depth(point, 2) == full
    assert at_full_depth(point, 3) == {}
    assert at_full_depth(point | {"phase": "untrained", "progress/stage": 0}, 3) == full
