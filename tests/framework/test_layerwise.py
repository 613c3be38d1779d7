"""The main job, end to end: its record, MLflow read back, and what becomes of both when it is run again."""

from __future__ import annotations

import re
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from stacked.spec import RunSpec, from_json
from stacked.tracking.backend.store import open_store
from stacked.util.serialization import to_json
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.record import runs as record
from studies.statistics.rows import load_curves, load_rows
from studies.viewing.replay import replay
from tests.helpers.layerwise import HARDLY_CLASSIFIED, Smoke


@pytest.mark.slow
def test_the_smoke_study_leaves_its_record(smoke: Smoke) -> None:
    out = smoke.out
    rows, curves = load_rows(out), load_curves(out)
    assert list(rows["arm"]) == ["greedy", "greedy+finetune", "joint", "random"]
    assert set(rows["status"]) == {"finished"}
    trained = rows[rows["arm"] != "random"]
    assert (trained["gflop"].max() - trained["gflop"].min()) / trained["gflop"].max() < 0.05
    assert all(from_json(text).id == run for text, run in zip(rows["spec"], rows["run"], strict=True))
    for arm, group in curves.groupby("arm"):
        steps = group["step"].to_numpy()
        assert steps[0] == 0, arm
        assert (pd.Series(steps[:-1]) % from_json(rows["spec"][0]).evaluation.every == 0).all(), arm
    drawn = {path.name for path in (out / "figures").iterdir()}
    assert {"headline.png", "curves.png", "reconstructions.png", "filters.png", "probe_by_depth.png"} <= drawn
    page = (out / "README.md").read_text()
    assert "python -m studies.layerwise --smoke" in page
    assert "stage 1: " in smoke.stderr  # progress in plain lines, since this is no terminal
    assert "left" in smoke.stderr
    assert smoke.stdout.count("viewStateShareKey=") == 2
    found = re.search(r"^Best encoder by validation error \(\S+, seed 0\): (\S+)$", smoke.stdout, re.MULTILINE)
    assert found
    assert Path(found[1]).exists()
    parts = ("test MSE", "- Test MSE per pixel: ", found[1], f"{out / 'README.md'}", "--ui", "viewStateShareKey=")
    assert [smoke.stdout.index(part) for part in parts] == sorted(smoke.stdout.index(part) for part in parts)
    assert re.search(r"^run 2 of 4 \(greedy\+finetune, seed 0\)", smoke.stderr, re.MULTILINE)
    assert "mlflow server" in smoke.stdout


@pytest.mark.slow
def test_mlflow_has_arms_at_the_root_and_stages_below(
    smoke: Smoke,
) -> None:
    out, store = smoke.out, smoke.store
    mlflow.set_tracking_uri(open_store(store).uri)
    runs = mlflow.search_runs(search_all_experiments=True)
    arms = runs[runs["tags.kind"] == "arm"]
    stages = runs[runs["tags.kind"] == "stage"]
    assert set(arms["tags.arm"]) == {"greedy", "greedy+finetune", "joint", "random"}
    assert set(runs["status"]) == {"FINISHED"}
    phases, classifiers = 2 + 3 + 1, 4 * 2
    assert len(stages) == phases + classifiers
    assert set(stages["tags.mlflow.parentRunId"]) <= set(arms["run_id"])
    assert stages["tags.arm"].isna().all()
    rows = load_rows(out).set_index("run")
    for _, run in arms.iterrows():
        row = rows.loc[run["tags.spec"]]
        assert run["metrics.final/recon_mse"] == pytest.approx(row["final/recon_mse"])
        assert run["params.policy"] == row["arm"]
        assert run["tags.commit"]
    client = mlflow.MlflowClient()
    greedy = arms[arms["tags.arm"] == "greedy"].iloc[0]
    history = client.get_metric_history(greedy["run_id"], "eval/recon_mse")
    expected = load_curves(out).query("arm == 'greedy'").dropna(subset="eval/recon_mse")
    assert [(m.step, pytest.approx(m.value)) for m in sorted(history, key=lambda m: m.step)] == [
        (int(step), value) for step, value in zip(expected["step"], expected["eval/recon_mse"], strict=True)
    ]
    assert {i.dataset.name for i in client.get_run(greedy["run_id"]).inputs.dataset_inputs} == {"digits"}


@pytest.mark.slow
def test_mlflow_says_what_runs_are_and_what_they_were_measured_on(
    smoke: Smoke,
) -> None:
    out, store = smoke.out, smoke.store
    mlflow.set_tracking_uri(open_store(store).uri)
    client = mlflow.MlflowClient()
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    rows = load_rows(out).set_index("run")
    for run in (run for run in runs if run.data.tags["kind"] == "arm"):
        tags, row = run.data.tags, rows.loc[run.data.tags["spec"]]
        assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("python -m studies.layerwise", "LOCAL")
        assert tags.get("mlflow.source.git.commit", "unknown") == tags["commit"]
        assert "on at most 128 images of the validation split" in tags["mlflow.note.content"]
        assert tags["group"].rstrip() == tags["arm"]
        [point] = client.get_metric_history(run.info.run_id, "final/recon_mse")
        assert point.step == 0  # of a later step MLflow draws a line of one point
        models = {client.get_logged_model(o.model_id).name: (o.model_id, o.step) for o in run.outputs.model_outputs}
        of = f"{row['arm']}-s{row['seed']}"
        assert set(models) == {f"encoder-{of}", f"classifier-100-{of}", f"classifier-all-{of}"}
        model_id, step = models[f"encoder-{of}"]
        model = client.get_logged_model(model_id)
        assert step == row["updates"]
        measured = {metric.key: metric.value for metric in model.metrics}
        assert measured["final/recon_mse"] == pytest.approx(row["final/recon_mse"])
        assert measured["progress/gflop"] == pytest.approx(row["gflop"])
        pictures = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images")]
        assert [name for name in pictures if name.startswith("recon_grid_final+step+0+") and name.endswith(".png")]
    [study] = [run for run in runs if run.data.tags["kind"] == "study"]
    assert "report.html" in [file.path for file in client.list_artifacts(study.info.run_id)]


@pytest.mark.slow
def test_the_same_command_trains_nothing_again(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    out, store = smoke.out, smoke.store
    before = (out / "runs.csv").read_bytes()
    assert main(STUDY, ["--smoke", "--jobs", "1", "--out", str(out), "--store", str(store)]) == 0
    told = capsys.readouterr().err
    assert "4 finished already" in told
    assert "arms are not tuned for these settings: --tune N tunes them, with N trials for each arm\n" in told
    assert (out / "runs.csv").read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("no_models", "no_page")
def test_done_anew_a_run_replaces_the_old_one_everywhere(tmp_path: Path) -> None:
    words = [
        "--smoke",
        "--arms",
        "random",
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(tmp_path / "store"),
        "--jobs",
        "1",
        *HARDLY_CLASSIFIED,
    ]
    assert main(STUDY, words) == 0
    assert main(STUDY, [*words, "--no-resume", "--codes", "recompute"]) == 0
    assert len(load_rows(tmp_path / "out")) == 1
    mlflow.set_tracking_uri(open_store(tmp_path / "store").uri)
    runs = mlflow.search_runs(search_all_experiments=True)
    assert sorted(runs["tags.kind"]) == ["arm", "stage", "stage", "study", "superseded"]  # stages are the classifiers
    # arms that are added later stand on the same grid, with the same spec
    before = load_rows(tmp_path / "out")["run"][0]
    assert main(STUDY, [*words, "--arms", "joint", "random"]) == 0
    assert before in set(load_rows(tmp_path / "out")["run"])


def test_a_failure_does_not_replace_a_finished_row(tmp_path: Path) -> None:
    first, second = (RunSpec(policy="joint", seed=seed) for seed in (0, 1))
    row = {
        "run": first.id,
        "arm": "joint",
        "seed": 0,
        "spec": to_json(first),
        "status": "finished",
        "final/recon_mse": 0.5,
    }
    record.add(tmp_path, row, [], {})
    record.add(tmp_path, record.failed_row(first, "joint", "x"), [], {})
    record.add(tmp_path, record.failed_row(second, "joint", "x"), [], {})
    assert list(load_rows(tmp_path)["status"]) == ["finished", "failed: x"]


@pytest.mark.slow
def test_another_configuration_does_not_mix_with_it(smoke: Smoke, capsys: pytest.CaptureFixture[str]) -> None:
    out, store = smoke.out, smoke.store
    assert main(STUDY, ["--smoke", "--lr", "0.02", "--out", str(out), "--store", str(store)]) == 2
    assert "optimisation.lr is 0.01 there and 0.02 here" in capsys.readouterr().err


@pytest.mark.slow
def test_a_record_is_replayed_into_a_fresh_store(smoke: Smoke, tmp_path: Path) -> None:
    out = smoke.out
    store = open_store(tmp_path)
    views = replay("layerwise", out, store)
    assert len(views) == 2
    replay("layerwise", out, store)  # a second time changes nothing
    mlflow.set_tracking_uri(store.uri)
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.kind = 'arm'")
    assert len(runs) == 4
    assert set(runs["tags.replayed"]) == {"true"}
    rows = load_rows(out).set_index("run")["final/recon_mse"]
    for _, run in runs.iterrows():
        assert run["metrics.final/recon_mse"] == pytest.approx(rows[run["tags.spec"]])
        history = mlflow.MlflowClient().get_metric_history(run["run_id"], "eval/recon_mse")
        assert len(history) == (load_curves(out)["run"] == run["tags.spec"]).sum()


@pytest.mark.slow
@pytest.mark.usefixtures("no_models", "no_page")
def test_a_run_trained_here_is_of_another_experiment_than_a_replayed_one(smoke: Smoke, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    replay("layerwise", smoke.out, store)
    words = [
        "--smoke",
        "--arms",
        "random",
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(tmp_path / "store"),
        "--jobs",
        "1",
    ]
    assert main(STUDY, words) == 0
    mlflow.set_tracking_uri(store.uri)
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.arm = 'random'")
    assert set(runs["tags.kind"]) == {"arm"}
    assert sorted(runs["tags.replayed"].fillna("no")) == ["no", "true"]
    assert runs["experiment_id"].nunique() == runs["tags.study"].nunique() == 2


@pytest.mark.slow
@pytest.mark.usefixtures("no_models", "no_page")
def test_a_run_that_fails_has_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    words = ["--smoke", "--optimiser", "sgd", "--lr", "1e30", "--arms", "joint", "random", "--jobs", "1"]
    assert main(STUDY, [*words, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]) == 1
    rows = load_rows(tmp_path / "out").set_index("arm")
    assert "the loss became" in rows.loc["joint", "status"]
    assert rows.loc["random", "status"] == "finished"
    mlflow.set_tracking_uri(open_store(tmp_path / "store").uri)
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.arm = 'joint'")
    assert list(runs["status"]) == ["FAILED"]
    history = mlflow.MlflowClient().get_metric_history(runs["run_id"][0], "eval/recon_mse")
    assert 0 < min(history, key=lambda metric: metric.step).value < 1  # what was measured is kept
