"""Rows and curves as they are recorded: each run costs what it adds, and a kill at any point leaves what is gone on from."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacked.util.errors import Unwritable
from studies.record import runs as record
from studies.record.table_file import Table
from studies.statistics.rows import load_curves, load_rows
from studies.statistics.trials import load_trials
from tests.helpers.recorded import ARMS, RUNS, add, add_missing, row

ROOT = Path(__file__).parents[2]
FILES = ("runs.csv", "curves.csv")
RECORDS = sorted({path.parent for path in (ROOT / "results").rglob("*.csv") if path.name in (*FILES, "trials.csv")})


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """The files after each run of a study that nobody stopped."""
    out, found = tmp_path_factory.mktemp("growing"), []
    for spec in RUNS:
        add(out, spec)
        found.append(contents(out))
    return found


@pytest.fixture(scope="module")
def whole(growing: list[dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a study that nobody stopped, sorted."""
    out = tmp_path_factory.mktemp("whole")
    for name, content in growing[-1].items():
        (out / name).write_bytes(content)
    record.sort_rows(out, ARMS)
    return contents(out)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


def written() -> int:
    """Bytes that this process has written so far, to whatever file."""
    told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(told["wchar"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="reads from /proc what a process has written")
def test_what_recording_writes_grows_with_the_number_of_runs(tmp_path: Path) -> None:
    costs = []
    for number in (15, 60):
        before = written()
        for seed in range(number):
            add(tmp_path / str(number), replace(RUNS[0], seed=seed))
        record.sort_rows(tmp_path / str(number), ARMS)
        costs.append(written() - before)
        assert costs[-1] < 3 * sum(map(len, contents(tmp_path / str(number)).values()))
    assert costs[1] < 4.5 * costs[0]  # rewriting all for each would be 16 times as much


def test_rows_in_any_order_by_several_processes_end_in_the_same_files(whole: dict[str, bytes], tmp_path: Path) -> None:
    order = random.Random(1).sample(RUNS, len(RUNS))
    for number, spec in enumerate(order):
        add(tmp_path, spec)
        if number % 2:
            record._table.cache_clear()  # as another process, which knows nothing yet
        assert set(load_rows(tmp_path)["run"]) == {each.id for each in order[: number + 1]}
    for spec in order[:3]:  # again, as --no-resume has it
        add(tmp_path, spec)
    record.sort_rows(tmp_path, ARMS)
    assert contents(tmp_path) == whole


def test_what_another_process_has_added_is_seen(tmp_path: Path) -> None:
    add(tmp_path, RUNS[0])
    mine = record._table(tmp_path / "runs.csv")
    record._table.cache_clear()
    add(tmp_path, RUNS[1])
    assert mine.status(row(RUNS[1])) == "finished"
    record.add(tmp_path, record.failed_row(RUNS[1], "joint", "x"), [], {})
    assert list(load_rows(tmp_path)["status"]) == ["finished", "finished"]


def test_a_failed_run_is_replaced_by_the_same_run_finished(whole: dict[str, bytes], tmp_path: Path) -> None:
    for spec in RUNS:
        record.add(tmp_path, record.failed_row(spec, spec.policy, "x"), [], {}, ARMS)
    for spec in RUNS:
        add(tmp_path, spec)
    record.sort_rows(tmp_path, ARMS)
    assert contents(tmp_path) == whole


@given(kept=st.integers(1, len(RUNS) - 1), cut=st.floats(0, 1), file=st.sampled_from(FILES))
@pytest.mark.filterwarnings("ignore:.*the last line is incomplete")
def test_a_kill_while_a_run_is_recorded_leaves_what_is_gone_on_from(
    kept: int, cut: float, file: str, growing: list[dict[str, bytes]], whole: dict[str, bytes], place: Path
) -> None:
    """Of the run that was being recorded any part may be there: of its curve, or all of that and of its row."""
    before, after = growing[kept - 1], growing[kept]
    for name in FILES:
        (place / name).write_bytes(after[name])
    if file == "curves.csv":
        (place / "runs.csv").write_bytes(before["runs.csv"])
    added = int(cut * (len(after[file]) - len(before[file])))
    (place / file).write_bytes(after[file][: len(before[file]) + added])
    record._table.cache_clear()
    finished = record.finished(place)
    assert {spec.id for spec in RUNS[:kept]} <= finished
    for spec in RUNS[kept:]:
        if spec.id not in finished:
            add(place, spec)
    record.sort_rows(place, ARMS)
    assert contents(place) == whole


def test_a_kill_between_curve_and_row_leaves_no_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row without its curve would be taken for a finished run, which is not trained again."""
    written = Table.add

    def killed(table: Table, *given: Any) -> None:
        written(table, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Table, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        add(tmp_path, RUNS[0])
    assert not record.finished(tmp_path)
    assert (tmp_path / "curves.csv").exists()


RECORDING = """
import sys
from pathlib import Path
from tests.helpers.recorded import add_missing
add_missing(Path(sys.argv[1]))
"""


@pytest.mark.filterwarnings("ignore:.*the last line is incomplete", "ignore:.*without a row")
def test_processes_that_are_killed_while_they_record_end_in_the_same_files(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    words = [sys.executable, "-W", "ignore", "-c", RECORDING, str(tmp_path)]
    for lines in (1, 3):
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=100)
        assert len(record.finished(tmp_path)) >= lines
    add_missing(tmp_path)
    assert contents(tmp_path) == whole


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path, RUNS[0])
    before, sync = contents(tmp_path), os.fsync

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unwritable, match=r"curves\.csv cannot be written \(No space left on device\): free some space"):
        add(tmp_path, RUNS[1])
    assert contents(tmp_path) == before
    monkeypatch.setattr(os, "fsync", sync)
    add(tmp_path, RUNS[1])
    assert len(load_rows(tmp_path)) == 2
    assert len(load_curves(tmp_path)) == 6


def test_a_file_that_may_be_replaced_and_not_changed_is_replaced(
    whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(table: Table) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Table, "_open", refuses)
    for spec in reversed(RUNS):
        add(tmp_path, spec)
    assert contents(tmp_path) == whole


def test_columns_that_come_later_are_added(tmp_path: Path) -> None:
    for number, spec in enumerate(RUNS[:3]):
        record.add(tmp_path, row(spec, **{f"final/more{number}": 1}), [], {}, ARMS)
    rows = load_rows(tmp_path)
    found = [name for name in rows if name != "curve_points"]
    assert found[-4:] == ["final/more0", "final/more1", "final/more2", "spec"]
    assert rows["final/more1"].isna().tolist() == [True, False, True]


def test_columns_do_not_depend_on_which_run_ends_first(tmp_path: Path) -> None:
    """A stage that is grown has no error at full depth before all stages stand."""
    growing = [{"eval/fvu": 1.0, "train/lr": 0.1}, {"eval/fvu": 0.5, "eval/full_depth_mse": 0.2, "train/lr": 0.1}]
    of_arm = {"greedy": growing, "joint": growing[1:]}
    for name, specs in (("one", RUNS[:2]), ("other", RUNS[1::-1])):
        for spec in specs:
            known = {"run": spec.id, "arm": spec.policy, "seed": spec.seed, "phase": "p"}
            points = [known | {"step": k, "phase_step": k, **more} for k, more in enumerate(of_arm[spec.policy])]
            record.add(tmp_path / name, row(spec), points, {}, ARMS)
        record.sort_rows(tmp_path / name, ARMS)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
    assert list(load_curves(tmp_path / "one"))[-3:] == ["eval/fvu", "eval/full_depth_mse", "train/lr"]


def test_trials_are_added_too(tmp_path: Path) -> None:
    known = {"values": "{}", "space": "{}"}
    for number, spec in ((1, RUNS[1]), (0, RUNS[0]), (1, RUNS[1])):
        record.add_trial(tmp_path, {"trial": number, **row(spec), **known}, ARMS)
    record.sort_rows(tmp_path, ARMS)
    assert load_trials(tmp_path)["trial"].tolist() == [0, 1]


@pytest.mark.parametrize("folder", RECORDS, ids=lambda path: path.relative_to(ROOT / "results").as_posix())
def test_committed_records_are_in_order(folder: Path, tmp_path: Path) -> None:
    from studies.papers.hinton2006 import STUDY as HINTON
    from studies.papers.larochelle2009 import STUDY as LAROCHELLE
    from studies.pretraining.layerwise import STUDY as LAYERWISE
    from studies.pretraining.policies import STUDY as POLICIES

    studies = (LAYERWISE, POLICIES, HINTON, LAROCHELLE)
    study = next(one for one in studies if f"results/{one.name}" in folder.as_posix())
    tables = [path for path in folder.glob("*.csv") if path.name in (*FILES, "trials.csv")]
    for path in tables:
        shutil.copy(path, tmp_path)
    record.sort_rows(tmp_path, study.arm_names)
    for path in tables:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
