"""The curves.csv of a study's record with anything in it: what no run can have is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacked import RunSpec
from studies.record import runs as record
from studies.statistics.rows import load_curves
from tests.helpers.damaged_tables import SPECS, change, changed_tables, curve, row, unchecked
from tests.helpers.refused import damaged, note, refusal


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
