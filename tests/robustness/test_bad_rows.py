"""The runs.csv of a study's record with anything in it: what no run can have is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import studies.viewing.replay
from stacked import RunSpec
from stacked.spec import from_json
from stacked.tracking.backend.store import Store
from studies.record import runs as record
from studies.statistics.rows import finished, load_rows
from tests.helpers.damaged_tables import SPECS, cells_of, change, changed_tables, row, rows_in, unchecked
from tests.helpers.refused import damaged, refusal


@given(data=st.data())
def test_damaged_rows(made: Path, out: Path, data: st.DataObject) -> None:
    content = data.draw(damaged((made / "runs.csv").read_bytes()))
    (out / "runs.csv").write_bytes(content)
    rows, _, _ = rows_in(out)
    if rows is not None:
        for _, each in rows.iterrows():
            assert from_json(each["spec"]).id == each["run"]


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


def test_what_is_not_defined_or_without_error_is_read(made: Path, tmp_path: Path) -> None:
    rows = cells_of(made / "runs.csv").assign(**{"final/recon_psnr": "inf"})
    rows.assign(**{"final/recon_fvu": ""}).to_csv(tmp_path / "runs.csv", index=False)
    assert load_rows(tmp_path)["final/recon_fvu"].isna().all()
    assert np.isinf(load_rows(tmp_path)["final/recon_psnr"]).all()


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
