"""The main job, end to end: its command line, its record, MLflow read back, and what it says of bad input."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from stacked.runs.run import load
from stacked.spec import Budget, RunSpec, StackSpec, from_json
from stacked.tracking.backend.store import open_store
from stacked.util.errors import InputError
from stacked.util.serialization import to_json
from studies.design.arms import Arm
from studies.framework.compute_budget import budgets, cost_function
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.record import runs as record
from studies.statistics.compare_records import differences
from studies.statistics.rows import load_curves, load_rows
from studies.viewing.replay import replay

ROOT = Path(__file__).parents[2]

#: classifiers are hardly trained where nothing is asked of them
HARDLY_CLASSIFIED = ("--labels", "100", "--classification", "{updates: 2, checks: 1, lrs: [0.001], images: 20}")


def layerwise(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "studies.layerwise", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """(results folder, store, what the command printed)"""
    folder = tmp_path_factory.mktemp("smoke")
    done = layerwise("--smoke", "--out", str(folder / "out"), "--store", str(folder / "store"))
    assert done.returncode == 0, done.stderr
    return folder / "out", folder / "store", done


@pytest.mark.slow
def test_the_smoke_study_leaves_its_record(smoke: tuple[Path, Path, subprocess.CompletedProcess[str]]) -> None:
    out, _, done = smoke
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
    assert "stage 1: " in done.stderr  # progress in plain lines, since this is no terminal
    assert "left" in done.stderr
    assert done.stdout.count("viewStateShareKey=") == 2
    found = re.search(r"^Best encoder by validation error \(\S+, seed 0\): (\S+)$", done.stdout, re.MULTILINE)
    assert found
    assert Path(found[1]).exists()
    parts = ("test MSE", "- Test MSE per pixel: ", found[1], f"{out / 'README.md'}", "--ui", "viewStateShareKey=")
    assert [done.stdout.index(part) for part in parts] == sorted(done.stdout.index(part) for part in parts)
    assert re.search(r"^run 2 of 4 \(greedy\+finetune, seed 0\)", done.stderr, re.MULTILINE)
    assert "mlflow server" in done.stdout


@pytest.mark.slow
def test_mlflow_has_arms_at_the_root_and_stages_below(
    smoke: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    out, store, _ = smoke
    mlflow.set_tracking_uri(open_store(store).uri)
    runs = mlflow.search_runs(search_all_experiments=True)
    arms = runs[runs["tags.kind"] == "arm"]
    stages = runs[runs["tags.kind"] == "stage"]
    assert set(arms["tags.arm"]) == {"greedy", "greedy+finetune", "joint", "random"}
    assert set(runs["status"]) == {"FINISHED"}
    assert len(stages) == 2 + 3 + 1
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
    smoke: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    out, store, _ = smoke
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
        [output] = run.outputs.model_outputs
        model = client.get_logged_model(output.model_id)
        assert (model.name, output.step) == (f"encoder-{row['arm']}-s{row['seed']}", row["updates"])
        measured = {metric.key: metric.value for metric in model.metrics}
        assert measured["final/recon_mse"] == pytest.approx(row["final/recon_mse"])
        assert measured["progress/gflop"] == pytest.approx(row["gflop"])
        pictures = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images")]
        assert [name for name in pictures if name.startswith("recon_grid_final+step+0+") and name.endswith(".png")]
    [study] = [run for run in runs if run.data.tags["kind"] == "study"]
    assert "report.html" in [file.path for file in client.list_artifacts(study.info.run_id)]


@pytest.mark.slow
def test_the_same_command_trains_nothing_again(smoke: tuple[Path, Path, subprocess.CompletedProcess[str]]) -> None:
    out, store, _ = smoke
    before = (out / "runs.csv").read_bytes()
    again = layerwise("--smoke", "--out", str(out), "--store", str(store))
    assert again.returncode == 0
    assert "4 finished already" in again.stderr
    assert "arms are not tuned for these settings: --tune N tunes them, with N trials for each arm\n" in again.stderr
    assert (out / "runs.csv").read_bytes() == before


def changed(home: Path, what: str) -> None:
    """Change one thing in a study's home."""
    if what == "weights":
        path = sorted((home / "store" / "work").glob("*/phase-1.safetensors"))[0]
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif what in ("runs.csv", "curves.csv"):
        frame = pd.read_csv(home / "out" / what)
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
            r"MLflow has a model encoder-[a-z+]+-s0 with status PENDING",
        ),
        (
            "insert into logged_models select model_id || 'x', experiment_id, name, artifact_location, creation_timestamp_ms, "
            "last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id, status_message from logged_models",
            r"MLflow models of joint/s0: 0 missing, 1 too many \(encoder-joint-s0\)",
        ),
        (
            "delete from inputs where source_type = 'RUN_OUTPUT'",
            r"outputs of joint/s0: 1 missing, 0 too many \(encoder-joint-s0\)",
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
def test_a_copy_of_a_study_is_the_same_and_a_change_is_seen(
    what: str, said: str, smoke: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    shutil.copytree(smoke[0].parent, tmp_path / "copy")
    assert differences(smoke[0].parent, tmp_path / "copy") == []
    changed(tmp_path / "copy", what)
    assert re.search(said, "; ".join(differences(smoke[0].parent, tmp_path / "copy")))


@pytest.mark.slow
@pytest.mark.usefixtures("no_models", "no_page")
def test_done_anew_a_run_replaces_the_old_one_everywhere(
    smoke: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
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
    assert main(STUDY, [*words, "--no_resume", "--codes", "recompute"]) == 0
    assert len(load_rows(tmp_path / "out")) == 1
    mlflow.set_tracking_uri(open_store(tmp_path / "store").uri)
    runs = mlflow.search_runs(search_all_experiments=True)
    assert sorted(runs["tags.kind"]) == ["arm", "study", "superseded"]
    # arms that are added later stand on the same grid, with the same spec
    before = load_rows(tmp_path / "out")["run"][0]
    assert main(STUDY, [*words, "--arms", "joint", "random"]) == 0
    assert before in set(load_rows(tmp_path / "out")["run"])


@pytest.mark.usefixtures("no_models", "no_page")
def test_a_loss_is_asked_to_fit_the_arms_that_run(tmp_path: Path) -> None:
    words = [
        "--smoke",
        "--loss",
        "bce",
        "--jobs",
        "1",
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(tmp_path / "store"),
        *HARDLY_CLASSIFIED,
    ]
    assert main(STUDY, words) == 2
    assert main(STUDY, [*words, "--arms", "joint"]) == 0


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
def test_another_configuration_does_not_mix_with_it(
    smoke: tuple[Path, Path, subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, store, _ = smoke
    assert main(STUDY, ["--smoke", "--lr", "0.02", "--out", str(out), "--store", str(store)]) == 2
    assert "optimisation.lr is 0.01 there and 0.02 here" in capsys.readouterr().err


@pytest.mark.slow
def test_a_record_is_replayed_into_a_fresh_store(
    smoke: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    out, _, _ = smoke
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
def test_a_run_trained_here_is_of_another_experiment_than_a_replayed_one(
    smoke: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    store = open_store(tmp_path / "store")
    replay("layerwise", smoke[0], store)
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
@pytest.mark.usefixtures("no_models")
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "mnits"], "there is no dataset 'mnits'"),
        (["--arms", "gredy"], "arm 'gredy' is not known: choose from greedy, greedy+finetune, joint, random"),
        (["--data", "cifar10", "--data-dir", "nowhere"], "--download"),
        (["--data", "folder:nowhere"], "nowhere"),
        (["--channels", "0"], "width of a conv stage 0 is not allowed"),
        (["--channels", *"11111"], "images of 28 x 28 pixels are too small for 5 conv stages"),
        (["--level", "1.5"], "corruption level 1.5 of masking is not allowed: give 0 to 1"),
        (["--epochs", "0"], "budget 0.0 is not allowed"),
        (["--finetune", "-1"], "budget -1.0 is not allowed"),
        (["--labels", "5"], "a budget of 5 labels does not fit"),
        (["--labels", "60000"], "a budget of 60000 labels does not fit"),
        (["--labels", "many"], "label budget 'many' is not allowed"),
        (["--device", "cuda:9"], "device 'cuda:9' cannot be used here"),
        (["--seeds", "0"], "seeds 0 is not allowed"),
        (["--jobs", "0"], "jobs 0 is not allowed"),
        (["--equal", "money"], "equal 'money' is not known: choose from flops, updates, seconds"),
        (["--limit", "3"], "limit=3"),
        (["--lr", "abc"], "abc"),
        (["--level", "inf", "--corruption", "gaussian"], "level"),
        (["--chanels", "3"], "chanels"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--out", "/dev/null/x"], "/dev/null/x"),
        (["--store", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    more = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    more += [] if "--store" in words else ["--store", str(tmp_path / "store")]
    assert main(STUDY, [*words, *more]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out" / "runs.csv").exists()


def test_there_may_be_nothing_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("studies.viewing.ui.ROOT", tmp_path)
    assert main(STUDY, ["--ui", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]) == 2
    assert "there is nothing to show" in capsys.readouterr().err


@pytest.mark.slow
def test_help_fits_one_screen() -> None:
    done = layerwise("--help")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120
    for word in [
        "data",
        "channels",
        "arms",
        "seeds",
        "epochs",
        "equal",
        "device",
        "jobs",
        "out",
        "resume",
        "smoke",
        "config",
    ]:
        assert f"--{word}" in done.stdout


def test_the_help_loads_no_torch() -> None:
    code = "import sys, studies.layerwise; from studies.cli.command_line import parser; parser('p', 'q', ()); "
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_options_come_from_a_yaml_file_and_later_words_override_it(tmp_path: Path) -> None:
    from studies.cli.command_line import parser
    from studies.cli.options import options

    (tmp_path / "c.yaml").write_text("data: digits\nchannels: [4, 8]\nlr: 0.5\nbatch_size: 32\nresume: false\n")
    words = ["--config", str(tmp_path / "c.yaml"), "--lr", "0.25"]
    given = options("layerwise", parser("p", "q", STUDY.arm_names).parse_args(words))
    assert given.base.data.name == "digits"
    assert [stage.width for stage in given.base.stack.stages] == [4, 8]
    assert given.base.optimisation.lr == 0.25
    assert given.base.optimisation.batch_size == 32
    assert not given.resume


BASE = RunSpec(stack=StackSpec.of("conv", 4, 8), budget=Budget((2.0,), 1.0))


@pytest.mark.parametrize("equal", ["flops", "updates"])
def test_budgets_are_equal(equal: str) -> None:
    from stacked.data import load as load_data
    from stacked.data.stream import Order
    from stacked.spec.growth import POLICIES

    splits = load_data("digits")
    found = budgets(BASE, splits, STUDY.arms, equal, STUDY.arm(STUDY.budget_arm))
    order = Order(len(splits.train), BASE.optimisation.batch_size, 0)
    cost = cost_function(BASE, splits, order, equal, "cpu")
    spent = {arm: cost(POLICIES[arm](2, found[arm].in_updates(2, 1))) for arm in STUDY.arm_names}
    assert spent["random"] == 0
    for arm in ("greedy", "joint"):
        assert spent[arm] <= spent["greedy+finetune"] * 1.05
        assert spent[arm] >= spent["greedy+finetune"] * 0.93  # at most an update a stage is missing
    assert found["greedy"].stages is not None
    assert len(set(found["greedy"].stages)) == 1  # proportions between stages are kept


def test_budgets_equal_in_seconds_are_measured_once(tmp_path: Path) -> None:
    splits = load(RunSpec(data=BASE.data.__class__("digits")))
    found = budgets(BASE, splits, (Arm("greedy"), Arm("joint")), "seconds", Arm("greedy+finetune"))
    record.save_budgets(tmp_path, found)
    assert record.load_budgets(tmp_path) == found


def test_a_record_of_another_configuration_is_refused(tmp_path: Path) -> None:
    record.prepare(tmp_path, BASE, "flops", "digest")
    record.prepare(tmp_path, BASE, "flops", "digest")
    with pytest.raises(InputError, match="equal is 'flops' there and 'updates' here"):
        record.prepare(tmp_path, BASE, "updates", "digest")
    with pytest.raises(InputError, match="other data with the name 'mnist'"):
        record.prepare(tmp_path, BASE, "flops", "another digest")
    assert json.loads((tmp_path / "configuration.json").read_text())["equal"] == "flops"
    (tmp_path / "configuration.json").write_text("{")
    with pytest.raises(InputError, match=r"configuration\.json cannot be read"):
        record.prepare(tmp_path, BASE, "flops", "digest")
