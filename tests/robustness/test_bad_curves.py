"""The curves.csv of a study's record with anything in it: what no run can have is refused in one line."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacked import RunSpec
from stacked.spec import Optimisation
from studies.record import runs as record
from studies.statistics.checksums import with_checksums
from studies.statistics.lost_points import POINTS
from studies.statistics.rows import curves_of, load_curves, load_rows
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


RESTORE = "restore it, or remove the row of that run in runs.csv, which is then trained again"


def lose(path: Path, lines: Collection[int]) -> None:
    """Remove these lines of a file, from 0 for its header."""
    kept = [line for number, line in enumerate(path.read_text().splitlines(keepends=True)) if number not in lines]
    path.write_text("".join(kept))


def older(path: Path) -> None:
    """Make a table of runs one of before the number of points was recorded."""
    names, *rows = csv.reader(io.StringIO(path.read_text()))
    left = [place for place, name in enumerate(names) if name not in (POINTS, "checksum")]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[cells[place] for place in left] for cells in (names, *rows)])
    path.write_text(with_checksums(text.getvalue()))


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A copy of the tables of a record of three finished runs with curves of two points each, and a failed one."""
    for name in ("runs.csv", "curves.csv"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("lines", "run", "count"),
    [((3,), 1, "1 of the 2 points"), ((1, 2), 0, "2 of the 2 points"), ((6,), 2, "1 of the 2")],
)
def test_lost_points_are_said(lines: tuple[int, ...], run: int, count: str, copied: Path) -> None:
    lose(copied / "curves.csv", lines)
    said = refusal(lambda: load_curves(copied))[1]
    spec = SPECS[run]
    assert said.startswith(f"{copied / 'curves.csv'} lacks {count}")
    assert f"run {spec.id!r} (arm {spec.policy!r}, seed {spec.seed})" in said
    assert said.endswith(RESTORE)


def test_points_too_many_are_said(copied: Path) -> None:
    path = copied / "curves.csv"
    names, first, *_ = csv.reader(io.StringIO(path.read_text()))
    first[names.index("step")] = "7"
    with path.open("a") as file:
        csv.writer(file, lineterminator="\n").writerow(first)
    path.write_text(with_checksums("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n"))
    said = refusal(lambda: load_curves(copied))[1]
    assert said.startswith(f"{path} has 3 points of run {SPECS[0].id!r} (arm 'greedy', seed 0), and runs.csv counts 2")


def test_a_run_of_an_older_record_without_its_curve_is_said(copied: Path) -> None:
    older(copied / "runs.csv")
    assert POINTS not in load_rows(copied)
    assert len(load_curves(copied)) == 6
    lose(copied / "curves.csv", (1, 2))
    said = refusal(lambda: load_curves(copied))[1]
    assert said == f"{copied / 'curves.csv'} has no points of run {SPECS[0].id!r} (arm 'greedy', seed 0): {RESTORE}"


def test_a_run_of_an_older_record_with_fewer_points_than_another_seed_is_said(copied: Path) -> None:
    older(copied / "runs.csv")
    lose(copied / "curves.csv", (6,))
    said = refusal(lambda: load_curves(copied))[1]
    assert said == (
        f"{copied / 'curves.csv'} lacks 1 of the 2 points of run {SPECS[2].id!r} (arm 'greedy', seed 1), as many as seed 0 has: "
        f"{RESTORE}"
    )


def test_arms_of_an_older_record_whose_curves_differ_in_length_are_read(tmp_path: Path) -> None:
    base = RunSpec(policy="converge", optimisation=Optimisation(patience=3))
    for seed in (0, 1):
        spec = dataclasses.replace(base, seed=seed)
        record.add(tmp_path, row(spec), curve(spec)[: 1 + seed], {})
    older(tmp_path / "runs.csv")
    assert len(load_curves(tmp_path)) == 3


def test_a_removed_table_of_curves_is_said(copied: Path) -> None:
    (copied / "curves.csv").unlink()
    said = refusal(lambda: curves_of(copied))[1]
    assert said.startswith(f"{copied / 'curves.csv'} does not exist, and runs.csv has 3 runs with curves: restore it")
    older(copied / "runs.csv")
    assert curves_of(copied) is None


def test_a_row_removed_by_hand_is_trained_and_recorded_again(copied: Path) -> None:
    lose(copied / "curves.csv", (1,))
    lose(copied / "runs.csv", (1,))
    with pytest.warns(UserWarning, match="1 curves without a row"):
        assert len(load_curves(copied)) == 4
    record.add(copied, row(SPECS[0]), curve(SPECS[0]), {})
    assert len(load_curves(copied)) == 6


def test_a_curve_written_before_its_row_is_no_fault(copied: Path) -> None:
    failed = SPECS[3]  # repeated, and killed before its row was replaced
    table = record._table(copied / "curves.csv")
    table.add(curve(failed))
    assert len(load_curves(copied)) == 8
    record.add(copied, row(failed), curve(failed), {})
    assert len(load_curves(copied)) == 8
