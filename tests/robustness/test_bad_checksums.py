"""Tables of a study's record whose rows do not match their checksums, and tables that have none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.record import runs as record
from studies.statistics.rows import load_curves, load_rows
from tests.helpers.damaged_tables import ARMS, SPECS, curve, row, unchecked
from tests.helpers.refused import refusal


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
    assert refused.startswith(f"{tmp_path / 'runs.csv'} was changed in row 1 below its header, whose checksum is ")
    assert refused.endswith(": restore it, or remove that row, which is then computed again")
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
