"""Tables of a record, read back: what is kept, what is dropped, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from stacked.util.errors import InputError
from studies.report import load_curves, load_rows
from tests.helpers.made_records import write_csv


def test_rows_round_trip_and_blank_cells(out: Path, rows: pd.DataFrame) -> None:
    """A hash that looks like a number stays text, blank is NaN, JSON survives its commas and quotes."""
    loaded = load_rows(out)
    assert list(loaded.columns) == list(rows.columns)
    assert loaded["run"].tolist() == rows["run"].tolist()
    assert loaded["spec"].tolist() == rows["spec"].tolist()
    pd.testing.assert_series_equal(loaded["final/recon_mse"], rows["final/recon_mse"])
    curves = load_curves(out)
    assert curves["eval/probe_acc"].isna().any()
    assert not curves["eval/recon_mse"].isna().any()


@pytest.mark.parametrize("keep", [0.3, 0.95, 1.0])
def test_a_torn_last_line_is_dropped_with_a_warning(out: Path, rows: pd.DataFrame, keep: float) -> None:
    """Cut within the numbers (fewer fields), within the quoted JSON, and just before the newline."""
    path = out / "runs.csv"
    text = path.read_text()
    start = text.rstrip("\n").rindex("\n") + 1
    path.write_text(text[: start + int(keep * (len(text) - 1 - start))])
    with pytest.warns(UserWarning, match="the last line is incomplete"):
        loaded = load_rows(out)
    assert loaded["run"].tolist() == rows["run"].tolist()[:-1]


def test_a_damaged_middle_line_is_refused(out: Path) -> None:
    path = out / "runs.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[3] = "3,4\n"
    path.write_text("".join(lines))
    with pytest.raises(InputError, match="2 cells in line 4"):
        load_rows(out)


def test_bad_rows_are_refused_in_one_sentence(out: Path, tmp_path: Path, rows: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"runs\.csv does not exist"):
        load_rows(tmp_path)
    write_csv(pd.concat([rows, rows.iloc[:1]]), out / "runs.csv")
    with pytest.raises(InputError, match="arm 'greedy' seed 0 twice"):
        load_rows(out)
    write_csv(rows.astype({"final/recon_mse": object}).assign(**{"final/recon_mse": "small"}), out / "runs.csv")
    with pytest.raises(InputError, match="column 'final/recon_mse', which must hold numbers"):
        load_rows(out)
    write_csv(rows.drop(columns="status"), out / "runs.csv")
    with pytest.raises(InputError, match="lacks the column 'status'"):
        load_rows(out)
