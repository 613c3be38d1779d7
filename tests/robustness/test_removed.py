"""Files of a record are removed while a command works in its folder: that is said, and what can be kept is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import studies.report
import studies.viewing.mlflow_page
import studies.viewing.ui
from stacked.tracking import tracker
from stacked.tracking.backend.store import Store
from stacked.util.errors import Unwritable
from studies.execution.job import Job
from studies.framework import training_session, tuning
from studies.framework.main import main
from studies.framework.trials import Trial
from studies.measuring.data_session import DataSession
from studies.pretraining.layerwise import STUDY
from studies.record import backup as backups
from studies.record import reference
from studies.record import runs as record
from studies.record.backup import RecordBackup, RecordRemoved, merge_tables
from studies.record.lock import locked_record
from studies.record.samples import save_arrays
from studies.statistics.rows import load_curves, load_rows
from studies.statistics.trials import load_trials
from tests.helpers.demo_use import DEMO, words
from tests.helpers.recorded import curve, row
from tests.helpers.refused import refusal

NAMES = (
    "configuration.json",
    "budgets.json",
    "runs.csv",
    "curves.csv",
    "samples/greedy-s0.npz",
    "samples/joint-s0.npz",
)


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in NAMES}


@pytest.fixture
def unplugged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A study whose runs are recorded without being trained; which were, and first "x" or a file: what is removed then."""
    done: list[str] = []

    def work(jobs: list[Job], *_: object) -> Iterator[dict[str, Any]]:
        for job in jobs:
            if done and "/" not in done[0] and len(done) == 3:
                done.append("removed")
                if done[0] == "x":
                    shutil.rmtree(job.given.out)
                else:
                    (job.given.out / done[0]).unlink()
            samples = {"originals": np.zeros((1, 2, 2, 1), np.uint8)}
            made = row(job.spec) | {"arm": job.arm, "seconds": 1.0}
            points = [point | {"arm": job.arm} for point in curve(job.spec)]
            record.add(job.given.out, made, points, samples, job.arms)
            done.append(f"{job.arm}/s{job.spec.seed}")
            yield made

    monkeypatch.setattr(training_session, "run_jobs", work)
    monkeypatch.setattr(tracker, "open_store", lambda _: Store("http://nowhere", tmp_path))
    monkeypatch.setattr(studies.report, "write_report", lambda *_, **__: None)
    monkeypatch.setattr(reference, "write_reference", lambda *_: None)
    monkeypatch.setattr(studies.viewing.mlflow_page, "save", lambda *_, **__: [])
    monkeypatch.setattr(studies.viewing.ui, "print_addresses", lambda *_: None)
    return done


def of_study(out: Path) -> list[str]:
    return ["--smoke", "--arms", "greedy", "joint", "--equal", "updates", "--seeds", "2", "--out", str(out)]


def test_a_study_whose_folder_is_removed_writes_its_rows_again_and_says_so(
    unplugged: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(STUDY, of_study(tmp_path / "whole")) == 0
    every = list(unplugged)
    assert len(every) == 4
    unplugged[:] = ["x"]
    capsys.readouterr()
    out = tmp_path / "out"
    assert main(STUDY, of_study(out)) == 1
    assert unplugged == ["x", *every[:2], "removed", every[2]]
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"python -m studies.layerwise: {out} was removed while this command worked in it: its rows were written again; give "
        "the same command again to continue"
    )
    assert len(load_rows(out)) == 3
    assert set(load_curves(out)["run"]) == set(load_rows(out)["run"])
    unplugged.clear()
    assert main(STUDY, of_study(out)) == 0
    assert unplugged == every[3:]
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["configuration.json", "budgets.json", "runs.csv", "curves.csv"])
def test_a_study_one_of_whose_files_is_removed_writes_it_again_and_says_so(
    name: str, unplugged: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(STUDY, of_study(tmp_path / "whole")) == 0
    unplugged[:] = [name]
    capsys.readouterr()
    out = tmp_path / "out"
    assert main(STUDY, of_study(out)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"python -m studies.layerwise: {out / name} was removed, or lost rows, while this command worked in its folder: its rows "
        "were written again; give the same command again to continue"
    )
    assert len(load_rows(out)) == 3
    assert set(load_curves(out)["run"]) == set(load_rows(out)["run"])
    unplugged.clear()
    assert main(STUDY, of_study(out)) == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_a_study_whose_first_row_is_removed_before_it_is_known_says_so(
    unplugged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = training_session.summary

    def removes(row: dict[str, Any]) -> str:
        if len(unplugged) == 1:
            (tmp_path / "out" / "runs.csv").unlink()
        return real(row)

    monkeypatch.setattr(training_session, "summary", removes)
    assert main(STUDY, of_study(tmp_path / "out")) == 1
    assert f"{tmp_path / 'out' / 'runs.csv'} lacks 1 of the 4 runs that ended now" in capsys.readouterr().err
    assert main(STUDY, of_study(tmp_path / "out")) == 0
    assert len(load_rows(tmp_path / "out")) == 4


def test_a_study_whose_folder_is_removed_at_its_end_says_so_too(
    unplugged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sort_rows(out: Path, arms: Any) -> None:
        shutil.rmtree(out)
        load_rows(out)

    monkeypatch.setattr(record, "sort_rows", sort_rows)
    assert main(STUDY, of_study(tmp_path / "out")) == 1
    assert "was removed while this command worked in it" in capsys.readouterr().err
    assert len(load_rows(tmp_path / "out")) == 4


def test_trials_are_written_again(unplugged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Trial] = []

    def work(trials: list[Trial], *_: object) -> Iterator[dict[str, Any]]:
        for trial in trials:
            if len(made) == 2:
                shutil.rmtree(trial.given.out)
            made.append(trial)
            measured = {"valid/recon_mse": 0.5, "valid/probe_acc": 0.5}
            told = {name: value for name, value in row(trial.spec).items() if name != "spec"}
            yield trial.record_row({**told, "arm": trial.arm, **measured})

    monkeypatch.setattr(tuning, "run_jobs", work)
    given = [*of_study(tmp_path / "out"), "--tune", "2"]
    assert main(STUDY, given) == 1
    assert set(load_trials(tmp_path / "out")["run"]) == {trial.spec.id for trial in made[:3]}


def test_a_use_whose_folder_is_removed_writes_its_rows_again_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = DataSession.record

    def removes(session: DataSession, method: str, seed: int, *rest: Any) -> None:
        save_arrays(session.out, f"of {seed}", {"images": np.zeros(3)})
        if seed == 1:
            shutil.rmtree(session.out)
        real(session, method, seed, *rest)

    monkeypatch.setattr(DataSession, "record", removes)
    assert main(DEMO, words(tmp_path)) == 1
    assert f"{tmp_path / 'out'} was removed while this command worked in it: its rows were" in capsys.readouterr().err
    assert (tmp_path / "out" / "samples" / "of-0.npz").exists()
    before = (tmp_path / "out" / "rows.csv").read_text()
    assert before.count(",seconds,") == 2
    assert main(DEMO, words(tmp_path)) == 0
    assert (tmp_path / "out" / "rows.csv").read_text() == before


@pytest.mark.parametrize("name", ["rows.csv", "configuration.json", "samples/of-0.npz"])
def test_a_use_one_of_whose_files_is_removed_writes_it_again_and_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = DataSession.measure

    def removes(session: DataSession, method: str, seed: int) -> None:
        if seed == 0:
            save_arrays(session.out, "of 0", {"images": np.zeros(3)})
        else:
            (session.out / name).unlink()
        real(session, method, seed)

    monkeypatch.setattr(DataSession, "measure", removes)
    out = tmp_path / "out"
    assert main(DEMO, words(tmp_path)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{out / name} was removed, or lost rows, while this command worked in its folder: its rows were" in said
    assert (out / name).exists()
    before = (out / "rows.csv").read_text()
    assert before.count(",seconds,") == 2
    assert main(DEMO, words(tmp_path)) == 0
    assert (out / "rows.csv").read_text() == before


def test_tables_that_are_written_anew_are_not_taken_for_removed_ones(tmp_path: Path) -> None:
    torn = "method,seed,arm,condition,measure,value,commit\na,0,a,,seconds,1,c\nb,0,b,,psnr,1,c\nb,0,b,,sec"
    pairs = {
        "samples.csv": ("run,phases\n1,10\n2,20\n", "run,phases\n1,10\n"),
        "rows.csv": (torn, torn[: torn.index("b,0")]),
        "runs.csv": ("run,seed,status\n1,0,failed\n2,0,x\n", "run,seed,status,more\n2,0,x,1\n1,0,finished,1\n"),
    }
    for name, (old, new) in pairs.items():
        (tmp_path / name).write_text(old)
        backup = RecordBackup(tmp_path, tmp_path)
        backup.update()
        (tmp_path / name).write_text(new)
        backup.update()
        assert backup.contents[tmp_path / name] == new.encode()


def test_what_cannot_be_written_again_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: Path, content: bytes) -> None:
        raise Unwritable("it cannot be written (Read-only file system)")

    def use(out: Path) -> None:
        with locked_record(out) as backup:
            (out / "runs.csv").write_text("a")
            backup.update()
            shutil.rmtree(out)

    monkeypatch.setattr(backups, "write_atomically", refuses)
    with pytest.raises(RecordRemoved, match=r"was removed .*, and its rows are lost: it cannot be written \(Read-only"):
        use(tmp_path / "out")


@pytest.mark.parametrize("name", ["runs.csv", "samples"])
def test_a_part_of_a_record_that_is_a_link_out_of_it_is_refused(name: str, tmp_path: Path) -> None:
    """But the folder itself may be reached through a link."""
    for folder in ("elsewhere", "large"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large")
    with locked_record(tmp_path / "out"):
        pass
    (tmp_path / "out" / name).symlink_to(tmp_path / "elsewhere")
    refused = refusal(lambda: locked_record(tmp_path / "out").__enter__())[1]
    assert (
        refused
        == f"{tmp_path / 'out' / name} is a link that leads out of {tmp_path / 'out'} and is not followed: move it away"
    )


def test_only_what_is_added_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("a\n" * 1000)
    backup = RecordBackup(tmp_path, tmp_path)
    for more in ("b\n", "c\n" * 500):
        backup.update()
        with path.open("a") as file:
            file.write(more)
        backup.update()
        assert backup.contents[path] == path.read_bytes()
    path.write_text("d\n" * 2000)
    backup.update()
    assert backup.contents[path] == path.read_bytes()
    path.write_text("d")
    backup.update()
    assert backup.contents[path] == b"d"


def test_tables_with_other_columns_are_joined() -> None:
    one, other = b"run,arm,a\n1,x,5\n2,y,6\n", b"run,arm,b\n2,y,7\n3,z,8\n"
    assert merge_tables(one, other) == "run,arm,a,b\n1,x,5,\n2,y,,7\n3,z,,8\n"
