"""What accidents leave in a store, found and mended by the doctor's command."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import subprocess
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

import stacked.doctor.stale
from stacked.doctor.__main__ import CHOICES, main
from stacked.doctor.checks import CHECKS
from stacked.tracking.backend.circuit_breaker import circuit_breaker_for
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store, open_store
from stacked.tracking.backend.workarounds import forget_connections
from stacked.tracking.tracker import Tracker, set_aside
from stacked.tracking.work_folder import held
from stacked.util.errors import InputError
from tests.helpers.tracked import arm, children, history, run_of, train

from mlflow import MlflowClient  # isort: skip


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with nothing in it; creating one takes seconds."""
    return open_store(tmp_path_factory.mktemp("fresh") / "mlruns").root


@pytest.fixture
def store(fresh: Path, tmp_path: Path) -> Store:
    return open_store(shutil.copytree(fresh, tmp_path / "mlruns"))


def run(store: Store, name: str = "joint/s0") -> Tracker:
    return arm(store, store.root / "work" / name.replace("/", "-"), name, experiment="doctor")


def killed(store: Store, name: str = "joint/s0") -> Tracker:
    """A run whose process was killed while it trained its first stage."""
    tracker = run(store, name)
    stage = tracker.phase(1, "stage 1", {"channels": 4})
    stage.log({"stage/loss": 1.0}, 0)
    tracker.log({"eval/recon_mse": 0.5}, 0)
    tracker.flush()
    return tracker


def doctor(store: Store, *words: str) -> int:
    return main([*words, "--store", str(store.root)])


def test_a_store_without_accidents_is_left_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    train(run(store))
    assert doctor(store) == 0
    assert capsys.readouterr().out == "Nothing is wrong.\n"


def test_a_run_that_nobody_trains_is_killed_when_it_was_last_heard_of(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = killed(store)
    assert doctor(store, "--dry-run") == 1
    assert "joint/s0" in capsys.readouterr().out
    assert run_of(store, tracker).info.status == "RUNNING"
    assert doctor(store) == 0
    last = tracker._log.entries[-1].time
    assert (run_of(store, tracker).info.status, run_of(store, tracker).info.end_time) == ("KILLED", last)
    assert [child.info.status for child in children(store, tracker)] == ["KILLED"]
    assert doctor(store) == 0
    assert capsys.readouterr().out.endswith("1 found, 1 repaired.\nNothing is wrong.\n")

    train(run(store))
    assert run_of(store, tracker).info.status == "FINISHED"
    assert doctor(store) == 0


def trains(root: Path, begun: Event) -> None:
    """A process that trains: a run that was begun before, and one that has not written its record yet."""
    store = open_store(root)
    with arm(store, root / "work" / "joint-s0", "joint/s0", experiment="doctor"), held(root / "work" / "new"):
        begun.set()
        time.sleep(60)


@pytest.mark.slow
def test_a_run_that_is_trained_now_is_left_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = killed(store)
    (store.root / "work" / "new").mkdir()
    (store.root / "work" / "new" / "phase-1.safetensors").write_bytes(b"weights")
    forget_connections(store.uri)  # which both processes would share
    forking = multiprocessing.get_context("fork")
    begun = forking.Event()
    other = forking.Process(target=trains, args=(store.root, begun))
    other.start()
    try:
        assert begun.wait(60)
        found = doctor(store)
        with pytest.raises(InputError, match="another process is training the run"):
            run(store)
    finally:
        other.kill()
        other.join()
    assert found == 0
    assert capsys.readouterr().out == "Nothing is wrong.\n"
    assert run_of(store, tracker).info.status == "RUNNING"
    assert doctor(store) == 0
    assert run_of(store, tracker).info.status == "KILLED"
    assert not (store.root / "work" / "new" / "phase-1.safetensors").exists()


def test_a_run_without_its_work_folder_is_killed_when_nothing_was_heard_of_it_for_a_day(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = killed(store)
    shutil.rmtree(store.root / "work" / "joint-s0")
    assert doctor(store) == 1
    assert re.search(r"joint/s0 \(\w+\) is RUNNING.* Repair it by hand", capsys.readouterr().out)
    assert run_of(store, tracker).info.status == "RUNNING"
    tomorrow = int(time.time() * 1000) + 25 * 3_600_000
    monkeypatch.setattr(stacked.doctor.stale, "now", lambda: tomorrow)
    assert doctor(store) == 0
    assert run_of(store, tracker).info.status == "KILLED"


def test_what_an_outage_left_is_sent_with_its_times(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(StoreClient, "check_free", refuse)
        with pytest.warns(RuntimeWarning, match=r"stacked\.doctor"):
            tracker = run(store)
        tracker.text("{}", "spec.json")
        train(tracker)
    circuit_breaker_for.cache_clear()
    assert doctor(store, "--dry-run", "unsent") == 1
    told = capsys.readouterr().out
    assert "MLflow lacks 2 runs or their tags, 6 metric entries, 1 pictures or files, 2 ends of runs." in told
    with monkeypatch.context() as patch:
        patch.setattr(StoreClient, "check_free", refuse)
        with pytest.warns(RuntimeWarning, match="away"):
            assert doctor(store) == 1
    assert "NOT REPAIRED (MLflow did not accept it" in capsys.readouterr().out
    circuit_breaker_for.cache_clear()
    assert doctor(store) == 0
    [sent] = MlflowClient(store.uri).search_runs(
        [MlflowClient(store.uri).get_experiment_by_name("doctor").experiment_id], "tags.kind = 'arm'"
    )
    assert sent.info.status == "FINISHED"
    assert sent.info.end_time == tracker._record.ended
    stored = MlflowClient(store.uri).get_metric_history(sent.info.run_id, "eval/recon_mse")
    assert {(m.step, m.timestamp) for m in stored} == {(p.step, p.time) for p in tracker._log.entries}
    assert "spec.json" in [file.path for file in MlflowClient(store.uri).list_artifacts(sent.info.run_id)]
    assert doctor(store) == 0


def test_runs_of_another_store_are_told_of(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with pytest.warns(RuntimeWarning, match="training goes on"):
            train(run(open_store(store.root)))
    assert doctor(store) == 1
    assert "set MLFLOW_TRACKING_URI to http://127.0.0.1:9" in capsys.readouterr().out


def test_a_moved_store_finds_its_files_again(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = run(store)
    tracker.text("{}", "spec.json")
    train(tracker)
    registry = MlflowClient(store.uri)
    registry.create_registered_model("best")
    model = f"{store.artifacts.as_uri()}/models/m-{'0' * 32}/artifacts"
    registry.create_model_version("best", model, tracker.run_id)
    moved = open_store(store.root.rename(tmp_path / "elsewhere"))
    assert doctor(store) == 2
    assert f"no database in {str(store.root)!r}" in capsys.readouterr().err
    assert MlflowClient(moved.uri).list_artifacts(tracker.run_id) == []
    with pytest.raises(InputError, match="relocate --store"):
        run(moved, "greedy/s0")
    assert doctor(moved, "--dry-run", "relocate") == 1
    assert MlflowClient(moved.uri).list_artifacts(tracker.run_id) == []
    assert doctor(moved) == 0
    assert [file.path for file in MlflowClient(moved.uri).list_artifacts(tracker.run_id)] == ["spec.json"]
    [version] = MlflowClient(moved.uri).search_model_versions("name = 'best'")
    here = f"{moved.artifacts.as_uri()}/models/m-{'0' * 32}/artifacts"
    assert version.source == MlflowClient(moved.uri).get_model_version_download_uri("best", "1") == here
    again = run(moved)
    train(again)
    assert again.run_id == tracker.run_id
    assert history(moved, again.run_id, "progress/stage") == [(step, 1.0) for step in (0, 10, 20)]
    train(run(moved, "greedy/s0"))
    assert doctor(moved) == 0


def test_checkpoints_that_serve_nothing_are_deleted(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    work = store.root / "work"
    train(run(store, "done/s0"))
    killed(store, "killed/s0")
    train(run(store, "aside/s0"))
    (work / "orphan").mkdir()
    for folder in ("done-s0", "killed-s0", "aside-s0", "orphan"):
        for name in ("phase-1", "update-0"):
            (work / folder / f"{name}.safetensors").write_bytes(b"x" * 1_000_000)
    (work / "killed-s0" / ".run.json-abcd1234").write_text("{")
    set_aside(store, work / "aside-s0")
    [aside] = work.glob("aside-s0-*[0-9]")
    before = sorted(work.rglob("*.safetensors"))
    assert doctor(store, "checkpoints", "--dry-run") == 1
    assert sorted(work.rglob("*.safetensors")) == before
    told = capsys.readouterr().out
    assert "1 checkpoints inside a phase, 1.0 MB" in told
    assert "2 checkpoints of a run that was repeated, 2.0 MB" in told
    assert doctor(store, "checkpoints") == 0
    assert sorted(path.relative_to(work).as_posix() for path in work.rglob("*.safetensors")) == [
        "done-s0/phase-1.safetensors",
        "killed-s0/phase-1.safetensors",
        "killed-s0/update-0.safetensors",
    ]
    assert not (work / "killed-s0" / ".run.json-abcd1234").exists()
    assert (aside / "points.jsonl").exists()


def test_files_of_a_user_are_left_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    mine = store.root / "work" / "mine" / "model.safetensors"  # as of `--store .` in a folder that has such a folder
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    assert doctor(store, "checkpoints") == 0
    assert capsys.readouterr().out == "Nothing is wrong.\n"
    assert mine.read_bytes() == b"mine"


def test_a_damaged_record_is_told_of_and_its_folder_left_alone(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    killed(store)
    path = store.root / "work" / "joint-s0" / "run.json"
    path.write_text("{")
    assert doctor(store, "records", "unsent", "checkpoints") == 1
    assert f"{path} is not the record of a run" in capsys.readouterr().out
    assert path.read_text() == "{"


def test_what_a_record_says_does_nothing_to_a_terminal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    killed(store)
    path = store.root / "work" / "joint-s0" / "run.json"
    path.write_text(path.read_text().replace('"store": "local"', '"store": "a\\nb\\u001b[31m"'))
    assert doctor(store, "unsent") == 1
    assert r"set MLFLOW_TRACKING_URI to a\nb\x1b[31m" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "told"), [(["headache"], "'headache' is not known"), (["--store", "no"], "'no'")])
def test_what_the_doctor_does_not_know_is_named(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_the_help_names_every_check() -> None:
    assert list(CHECKS) == CHOICES


def test_the_help_loads_no_mlflow() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "stacked.doctor", "--help"]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "stacked.doctor" in loaded
    assert not loaded & {"mlflow", "torch"}
