"""The record of a study with anything in its files: the rows that are whole are kept, all else is refused in one line."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import studies.report
import studies.viewing.mlflow_page
import studies.viewing.replay
import studies.viewing.ui
from stacked import RunSpec
from stacked.spec import Budget, from_json
from stacked.tracking import tracker
from stacked.tracking.backend.store import Store
from stacked.util.serialization import to_dict, to_json
from studies.execution.job import Job
from studies.framework import training_session
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.record import runs as record
from studies.statistics.checksums import with_checksums
from studies.statistics.rows import finished, load_curves, load_reference, load_rows, load_samples
from tests.helpers.refused import broken, damaged, mutated, note, refusal, text_of

ARMS = ("greedy", "joint")
SPECS = [RunSpec(policy=arm, seed=seed) for seed in (0, 1) for arm in ARMS]


def row(spec: RunSpec, **changes: Any) -> dict[str, Any]:
    known = {"run": spec.id, "arm": spec.policy, "seed": spec.seed, "status": "finished", "commit": "0a1b2c3"}
    numbers = {"updates": 10, "images_seen": 100, "gflop": 0.5, "seconds": 2.5, "threads": 1, "final/recon_mse": 0.1}
    return known | numbers | {"final/probe_acc": 0.75} | changes | {"spec": to_json(spec)}


def curve(spec: RunSpec) -> list[dict[str, Any]]:
    point = {"run": spec.id, "arm": spec.policy, "seed": spec.seed, "phase": "é, joint", "phase_step": 5}
    return [point | {"step": step, "train/loss": 0.5, "eval/recon_mse": 0.25} for step in (0, 5)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of four runs, one of which failed."""
    out = tmp_path_factory.mktemp("made")
    record.prepare(out, RunSpec(), "flops", "d1")
    record.save_budgets(out, {arm: Budget((3, 4, 5, 6), 7, "updates") for arm in ARMS})
    for spec in SPECS[:3]:
        record.add(out, row(spec), curve(spec), {"originals": np.zeros((2, 4, 4, 1), np.uint8)})
    record.add(out, record.failed_row(SPECS[3], "joint", "it broke\nin two"), [], {})
    (out / "reference.json").write_text(json.dumps({"pca_mse": 0.1, "mean_sse": 5.0, "train_labels": 3}))
    return out


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


def rows_in(out: Path) -> tuple[pd.DataFrame | None, str, list[str]]:
    """The rows of a record, or why there are none, and what was warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rows, refused = refusal(lambda: load_rows(out))
    note("refused" if refused else "read")
    assert not refused or refused.startswith(str(out / "runs.csv"))
    return rows, refused, [str(each.message) for each in told]


# Rows


@given(data=st.data())
@pytest.mark.filterwarnings("ignore:.*the last line is incomplete")
def test_a_file_cut_anywhere_keeps_its_whole_rows(made: Path, out: Path, data: st.DataObject) -> None:
    whole = (made / "runs.csv").read_bytes()
    content = whole[: data.draw(st.integers(0, len(whole)))]
    (out / "runs.csv").write_bytes(content)
    rows, refused, told = rows_in(out)
    lines = content.count(b"\n")
    if lines < 2:
        assert rows is None
        assert "holds no rows" in refused if lines else "is empty, or its first line is incomplete" in refused
        assert lines == 0 or record.finished(out) == set()
        return
    assert rows is not None
    assert rows["run"].tolist() == [spec.id for spec in SPECS[: lines - 1]]
    torn = [] if content.endswith(b"\n") else [f"{out / 'runs.csv'}: the last line is incomplete and was dropped"]
    assert told == torn
    assert record.finished(out) == {spec.id for spec in SPECS[: min(3, lines - 1)]}
    assert record.failed(out) == {spec.id for spec in SPECS[3 : lines - 1]}


@given(data=st.data())
@pytest.mark.filterwarnings("ignore:.*the last line is incomplete")
def test_the_run_of_a_torn_row_is_recorded_again(made: Path, out: Path, data: st.DataObject) -> None:
    """And the file is then to the byte what it was."""
    for name, add in (("runs.csv", [row(SPECS[2])]), ("curves.csv", curve(SPECS[2]))):
        lines = (made / name).read_bytes().splitlines(keepends=True)
        whole = b"".join(lines[: 1 + 3 * len(add)])
        last = len(lines[3 * len(add)])
        (out / name).write_bytes(whole[: len(whole) - data.draw(st.integers(1, last))])
    record.add(out, row(SPECS[2]), curve(SPECS[2]), {})
    record.add(out, record.failed_row(SPECS[3], "joint", "it broke in two"), [], {})
    for name in ("runs.csv", "curves.csv"):
        assert (out / name).read_bytes() == (made / name).read_bytes()


def test_a_first_row_that_was_torn_is_recorded_again(made: Path, tmp_path: Path) -> None:
    lines = (made / "runs.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "runs.csv").write_bytes(lines[0] + lines[1][:50])
    with pytest.warns(UserWarning, match="the last line is incomplete"):
        record.add(tmp_path, row(SPECS[0]), [], {})
    assert (tmp_path / "runs.csv").read_bytes() == b"".join(lines[:2])


@given(data=st.data())
def test_damaged_rows(made: Path, out: Path, data: st.DataObject) -> None:
    content = data.draw(damaged((made / "runs.csv").read_bytes()))
    (out / "runs.csv").write_bytes(content)
    rows, _, _ = rows_in(out)
    if rows is not None:
        for _, each in rows.iterrows():
            assert from_json(each["spec"]).id == each["run"]


@given(data=st.data(), name=st.sampled_from(["runs.csv", "curves.csv"]))
@pytest.mark.filterwarnings("ignore:.*incomplete", "ignore:.*without a row")
def test_no_changed_cell_is_read(made: Path, out: Path, data: st.DataObject, name: str) -> None:
    """Whatever is changed in one row, the table is refused, or its other rows are read as they were."""
    for each in ("runs.csv", "curves.csv"):
        (out / each).write_bytes((made / each).read_bytes())
    whole, load = (made / name).read_bytes(), {"runs.csv": load_rows, "curves.csv": load_curves}[name]
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    (out / name).write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    found, _ = refusal(lambda: load(out))
    if found is not None:
        expected = load(made)
        assert found.equals(expected.iloc[: len(found)])
        assert len(found) == len(expected) or at == len(whole) - 1


def test_a_changed_row_is_said(made: Path, tmp_path: Path) -> None:
    content = (made / "runs.csv").read_text()
    (tmp_path / "runs.csv").write_text(content.replace(",0.5,", ",0.4,", 1))
    refused = refusal(lambda: load_rows(tmp_path))[1]
    assert refused.startswith(f"{tmp_path / 'runs.csv'} was changed in line 2, whose checksum is ")
    assert refused.endswith(": restore it, or remove that line, which is then computed again")
    (tmp_path / "runs.csv").write_text(content.replace("checksum", "checksun", 1))
    refused = refusal(lambda: load_rows(tmp_path))[1]
    assert refused == f"{tmp_path / 'runs.csv'} has the column 'checksun' in the place of 'checksum': restore it"


def test_a_table_of_before_checksums_stays_as_it_is(made: Path, tmp_path: Path) -> None:
    for name in ("runs.csv", "curves.csv"):
        (tmp_path / name).write_bytes(unchecked(made / name))
    record.sort_rows(tmp_path, ARMS)
    assert (tmp_path / "runs.csv").read_bytes() == unchecked(made / "runs.csv")
    record.add(tmp_path, row(SPECS[3]), curve(SPECS[3]), {}, ARMS)
    assert "checksum" not in (tmp_path / "runs.csv").read_text()
    assert record.finished(tmp_path) == {spec.id for spec in SPECS}


CELLS = st.sampled_from(
    ["", " ", "x", "nan", "inf", "-1", "1.5", "1e400", "1e17", "0x1", "finished", "joint", "é", "\x00"]
) | st.text(st.characters(codec="utf-8"), max_size=5)


@st.composite
def changed_tables(draw: st.DrawFn, content: bytes) -> bytes:
    """A CSV file with cells, columns and rows changed, doubled and left out."""
    table = list(csv.reader(io.StringIO(content.decode(), newline="")))
    for _ in range(draw(st.integers(1, 3))):
        i, j = draw(st.integers(0, len(table) - 1)), draw(st.integers(0, len(table[0]) - 1))
        way = draw(
            st.sampled_from(["cell", "cell", "cell", "row twice", "no row", "column twice", "no column", "swap"])
        )
        if way == "cell" and j < len(table[i]):
            table[i][j] = draw(CELLS)
        elif way == "row twice":
            table.append(table[i])
        elif way == "no row" and len(table) > 1:
            table.pop(i)
        elif way == "column twice":
            table = [[*cells, *cells[j : j + 1]] for cells in table]
        elif way == "no column" and len(table[0]) > 1:
            table = [cells[:j] + cells[j + 1 :] for cells in table]
        elif way == "swap":
            table[i].reverse()
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def unchecked(path: Path) -> bytes:
    """The bytes of a table without its checksums, as they were before checksums existed."""
    return cells_of(path).to_csv(index=False, lineterminator="\n").encode()


@given(data=st.data())
def test_changed_rows(made: Path, out: Path, data: st.DataObject) -> None:
    """What is taken for rows can be counted and written again."""
    (out / "runs.csv").write_bytes(data.draw(changed_tables(unchecked(made / "runs.csv"))))
    (out / "curves.csv").write_bytes((made / "curves.csv").read_bytes())
    rows, _, _ = rows_in(out)
    if rows is None:
        return
    done = finished(rows)
    assert not done.duplicated(["arm", "seed"]).any()
    record.add(out, row(RunSpec(seed=9)), [], {})
    assert len(load_rows(out)) == len(rows) + 1


@given(data=st.data())
@pytest.mark.filterwarnings("ignore:.*the last line is incomplete")
def test_damaged_and_changed_curves(made: Path, out: Path, data: st.DataObject) -> None:
    content = unchecked(made / "curves.csv")
    (out / "curves.csv").write_bytes(data.draw(damaged(content) | changed_tables(content)))
    (out / "runs.csv").write_bytes((made / "runs.csv").read_bytes())
    curves, refused = refusal(lambda: load_curves(out))
    note("refused" if refused else "read")
    if curves is None:
        assert refused.startswith(str(out / "curves.csv"))
        return
    extra = RunSpec(seed=9)
    record.add(out, row(extra), curve(extra), {})
    assert len(load_curves(out)) == len(curves) + 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty, or its first line is incomplete: restore it, or delete it to start again"),
        (b"run,arm,seed", "is empty, or its first line is incomplete: restore it, or delete it to start again"),
        (b"a,b\n1,2\n", "lacks the column 'run': is it a study's file?"),
        (b"run,arm,seed,status,spec,run\n1,2,3,4,5,6\n", "has the column 'run' twice: restore it"),
        (
            b"run,arm,seed,status,spec\n1,2,0.5,4,5\n",
            "has '0.5' in column 'seed', which must hold integers (line 2): restore it",
        ),
        (
            b"run,arm,seed,status,spec\n1,2,inf,4,5\n",
            "has 'inf' in column 'seed', which must hold finite numbers (line 2)",
        ),
        (b'run,arm,seed,status\n1,2,3,"4\n1,2,4,5\n', "is not a CSV file (unexpected end of data)"),
        (b"run,arm,seed,status\n1,2,3,\xff\n", "is not a CSV file ('utf-8' codec can't decode byte 0xff"),
        (b"run,arm,seed,status,spec\n1,2,3,4,{}\n", "has the spec of another run in the row of run '1': restore it"),
        (b"run,arm,seed,status,spec,\n1,2,3,4,5,6\n", "has a column without a name: restore it"),
        (b"run,arm,seed,status,spec\n1,2,3,4,\n", "has an invalid spec in the row of run '1' ('' is not the JSON"),
    ],
)
def test_what_is_wrong_with_rows_is_said(content: bytes, reason: str, out: Path) -> None:
    (out / "runs.csv").write_bytes(content)
    refused = refusal(lambda: record.finished(out))[1]
    assert refused.startswith(f"{out / 'runs.csv'} {reason}")


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("final/recon_mse", "inf", "has 'inf' in column 'final/recon_mse', which must hold finite numbers (line 2)"),
        ("final/recon_mse", "nan", "has 'nan' in column 'final/recon_mse', which must hold finite numbers (line 2)"),
        (
            "final/recon_mse",
            "-5",
            "has '-5' in column 'final/recon_mse', which must hold numbers of at least 0 (line 2)",
        ),
        (
            "final/probe_acc",
            "75",
            "has '75' in column 'final/probe_acc', which must hold numbers of at most 1 (line 2)",
        ),
        ("gflop", "-inf", "has '-inf' in column 'gflop', which must hold finite numbers (line 2)"),
        ("updates", "-3", "has '-3' in column 'updates', which must hold numbers of at least 0 (line 2)"),
        ("updates", "1_000", "has text in column 'updates', which must hold numbers ('1_000' in line 2)"),
        ("updates", " 1", "has text in column 'updates', which must hold numbers (' 1' in line 2)"),
        ("updates", "\u0661", "has text in column 'updates', which must hold numbers ('\u0661' in line 2)"),
        ("seed", "-1", "has '-1' in column 'seed', which must hold numbers of at least 0 (line 2)"),
        ("seed", "6", f"has the seed 6 in the row of run {SPECS[0].id!r}, whose spec has the seed 0"),
    ],
)
def test_a_number_that_no_run_can_have_is_said(column: str, cell: str, reason: str, made: Path, out: Path) -> None:
    change(made / "runs.csv", out / "runs.csv", column, cell)
    for read in (lambda: load_rows(out), lambda: record.finished(out)):
        assert refusal(read)[1] == f"{out / 'runs.csv'} {reason}: restore it"


def change(path: Path, to: Path, column: str, cell: str, rows: int = 1) -> None:
    """Write a copy of a table with another value in the first rows of a column, and the checksums of the changed rows."""
    table = cells_of(path)
    table.loc[: rows - 1, column] = cell
    to.write_text(with_checksums(table.to_csv(index=False)))


def cells_of(path: Path) -> pd.DataFrame:
    """The cells of a table as text, without its checksums."""
    return pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="checksum")


def test_what_is_not_defined_or_without_error_is_read(made: Path, tmp_path: Path) -> None:
    rows = cells_of(made / "runs.csv").assign(**{"final/recon_psnr": "inf"})
    rows.assign(**{"final/recon_fvu": ""}).to_csv(tmp_path / "runs.csv", index=False)
    assert load_rows(tmp_path)["final/recon_fvu"].isna().all()
    assert np.isinf(load_rows(tmp_path)["final/recon_psnr"]).all()


@pytest.mark.parametrize(
    ("column", "cell", "rows", "reason"),
    [
        ("step", "-1", 1, "has '-1' in column 'step', which must hold numbers of at least 0 (line 2): restore it"),
        ("eval/recon_mse", "inf", 1, "has 'inf' in column 'eval/recon_mse', which must hold finite numbers (line 2)"),
        ("step", "5", 1, f"holds run {SPECS[0].id}, phase é, joint, step 5, phase_step 5 twice: keep the row of one"),
        ("arm", "zzz", 1, f"has two arms or seeds for run {SPECS[0].id!r}: restore it"),
        (
            "arm",
            "zzz",
            2,
            f"has arm 'zzz' and seed 0 for run {SPECS[0].id!r}, and runs.csv has arm 'greedy' and seed 0",
        ),
        (
            "run",
            "zzz",
            1,
            "has a curve of run 'zzz', but runs.csv has another run of arm 'greedy' and seed 0: restore it",
        ),
    ],
)
def test_a_curve_that_no_run_can_have_is_said(
    column: str, cell: str, rows: int, reason: str, made: Path, tmp_path: Path
) -> None:
    change(made / "curves.csv", tmp_path / "curves.csv", column, cell, rows)
    (tmp_path / "runs.csv").write_bytes((made / "runs.csv").read_bytes())
    assert refusal(lambda: load_curves(tmp_path))[1].startswith(f"{tmp_path / 'curves.csv'} {reason}")


def test_a_curve_whose_row_a_kill_prevented_is_dropped_and_one_may_be_missing(made: Path, tmp_path: Path) -> None:
    whole = load_curves(made)
    (tmp_path / "curves.csv").write_bytes((made / "curves.csv").read_bytes())
    (tmp_path / "runs.csv").write_bytes(b"".join((made / "runs.csv").read_bytes().splitlines(keepends=True)[:3]))
    with pytest.warns(UserWarning, match=r"curves\.csv: 1 curves without a row in runs\.csv were dropped"):
        assert load_curves(tmp_path).equals(whole[whole["run"] != SPECS[2].id])
    record.add(tmp_path, row(SPECS[2]), curve(SPECS[2]), {})
    assert len(load_curves(tmp_path)) == len(whole)
    (tmp_path / "curves.csv").write_bytes(b"".join((made / "curves.csv").read_bytes().splitlines(keepends=True)[:3]))
    assert set(load_curves(tmp_path)["run"]) == {SPECS[0].id}


def test_a_folder_in_the_place_of_rows_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").mkdir()
    assert refusal(lambda: record.finished(tmp_path))[1].startswith(f"{tmp_path / 'runs.csv'} cannot be read (Is a dir")


@pytest.mark.parametrize(
    ("file", "column"), [("runs.csv", "updates"), ("runs.csv", "device"), ("curves.csv", "train/lr")]
)
def test_a_record_without_what_is_shown_of_it_is_refused(file: str, column: str, made: Path, tmp_path: Path) -> None:
    for name in ("configuration.json", "runs.csv", "curves.csv"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    for name, more in (("runs.csv", {"device": "cpu"}), ("curves.csv", {"train/lr": 0.1})):
        table = cells_of(tmp_path / name).assign(**more)
        table.drop(columns=column if name == file else []).to_csv(tmp_path / name, index=False)
    _, refused = refusal(lambda: studies.viewing.replay.replay("layerwise", tmp_path, Store("nowhere", tmp_path)))
    expected = f"{tmp_path / file} lacks the column {column!r}, without which it cannot be shown: restore it"
    assert refused == expected


def test_a_record_with_a_gap_is_refused_where_it_is_shown(made: Path, tmp_path: Path) -> None:
    for name in ("configuration.json", "curves.csv"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    gap = [row(SPECS[0], updates=None, device="cpu")]
    pd.DataFrame(gap).to_csv(tmp_path / "runs.csv", index=False)
    cells_of(tmp_path / "curves.csv").assign(**{"train/lr": 0.1}).to_csv(tmp_path / "curves.csv", index=False)
    _, refused = refusal(lambda: studies.viewing.replay.replay("layerwise", tmp_path, Store("nowhere", tmp_path)))
    assert refused.startswith(f"{tmp_path / 'runs.csv'} has a finished run without its updates")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    for name, reason in (("a" * 300, "File name too long"), ("a/" * 5000, "File name too long")):
        _, refused = refusal(lambda out=tmp_path / name: record.prepare(out, RunSpec(), "flops", "d1"))
        assert f"cannot be written ({reason}): choose a folder that can" in refused


# What the runs share


CONFIGURATION = [{"equal": "flops", "data": "d1", "base": to_json(RunSpec())}]
BUDGETS = [{arm: to_dict(Budget((3, 4, 5, 6), 7, "updates")) for arm in ARMS}]
REFERENCE = [{"pca_mse": 0.1, "mean_sse": 5.0, "train_labels": 3, "pca_components": 16}]


@given(
    text=mutated(CONFIGURATION, most=2).map(text_of) | broken(st.just(text_of(CONFIGURATION[0]))) | st.text(max_size=9)
)
@example(text="[" * 100_000)
def test_other_configurations(out: Path, text: str) -> None:
    path = out / "configuration.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    _, refused = refusal(lambda: record.prepare(out, RunSpec(), "flops", "d1"))
    note("refused" if refused else "the same")
    assert not refused or refused.startswith(str(out))
    assert path.read_bytes() == text.encode(errors="surrogatepass")
    assert refused or json.loads(text) == CONFIGURATION[0]
    assert "()" not in refused
    shared, refused = refusal(lambda: record.recorded(out))
    assert refused.startswith(str(path)) if shared is None else isinstance(shared[0], RunSpec)


@given(text=mutated(BUDGETS, [1, 2, "updates", None], most=2).map(text_of) | broken(st.just(text_of(BUDGETS[0]))))
def test_other_budgets(out: Path, text: str) -> None:
    (out / "budgets.json").write_text(text, errors="surrogatepass")
    found, refused = refusal(lambda: record.load_budgets(out))
    note("refused" if refused else "read")
    if found is None:
        assert refused.startswith(str(out / "budgets.json"))
    else:
        assert all(isinstance(budget, Budget) for budget in found.values())


@given(text=mutated(REFERENCE, most=2).map(text_of) | broken(st.just(text_of(REFERENCE[0]))) | st.text(max_size=9))
def test_other_references(out: Path, text: str) -> None:
    (out / "reference.json").write_text(text, errors="surrogatepass")
    found, refused = refusal(lambda: load_reference(out))
    note("refused" if refused else "read")
    if found is None:
        assert refused.startswith(str(out / "reference.json"))
    else:
        assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())


@given(data=st.data())
def test_damaged_pictures(made: Path, out: Path, data: st.DataObject) -> None:
    (out / "samples").mkdir(exist_ok=True)
    path = out / "samples" / "greedy-s0.npz"
    path.write_bytes(data.draw(damaged((made / "samples" / "greedy-s0.npz").read_bytes())))
    found, refused = refusal(lambda: load_samples(out))
    note("refused" if refused else "read")
    assert refused.startswith(str(path)) if found is None else found.keys() == {"greedy"}


# A study


def test_a_study_goes_on_from_a_torn_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows before it are left as they are, its run is done again, and the file is to the byte what it was."""
    done: list[str] = []

    def work(jobs: list[Job], *_: object) -> Iterator[dict[str, Any]]:
        for job in jobs:
            record.add(job.given.out, row(job.spec), curve(job.spec), {}, job.arms)
            done.append(job.spec.id)
            yield row(job.spec)

    monkeypatch.setattr(training_session, "run_jobs", work)
    monkeypatch.setattr(tracker, "open_store", lambda _: Store("http://nowhere", tmp_path))
    monkeypatch.setattr(studies.report, "write_report", lambda *_, **__: None)
    monkeypatch.setattr(studies.viewing.mlflow_page, "save", lambda *_: [])
    monkeypatch.setattr(studies.viewing.ui, "print_addresses", lambda *_: None)
    out = tmp_path / "out"
    words = ["--smoke", "--arms", "greedy", "joint", "--equal", "updates", "--seeds", "2", "--out", str(out)]
    assert main(STUDY, words) == 0
    content, first = (out / "runs.csv").read_bytes(), list(done)
    assert content.count(b"\n") == 1 + len(first) == 5
    (out / "runs.csv").write_bytes(content[:-20])
    done.clear()
    capsys.readouterr()
    with pytest.warns(UserWarning, match="the last line is incomplete and was dropped"):
        assert main(STUDY, words) == 0
    assert done == first[-1:]
    assert "4 runs, 3 finished already" in capsys.readouterr().err
    assert (out / "runs.csv").read_bytes() == content
    (out / "budgets.json").write_text('{"joint": {"stages": [1, 2, 3]}}')
    assert main(STUDY, words) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        f"python -m studies.layerwise: {out / 'budgets.json'} does not fit arm 'joint' (3 stage budgets"
    )
    assert told.count("\n") == 1
