"""Tables of a study's record that end within a row: the whole rows are kept, and the run of the torn one is done again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import studies.report
import studies.viewing.mlflow_page
import studies.viewing.ui
from stacked.tracking import tracker
from stacked.tracking.backend.store import Store
from stacked.util.errors import InputError
from studies.execution.job import Job
from studies.framework import training_session
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.record import runs as record
from studies.statistics.rows import load_curves
from tests.helpers.damaged_tables import SPECS, curve, row, rows_in


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
        record.add(tmp_path, row(SPECS[0]), curve(SPECS[0]), {})
    assert (tmp_path / "runs.csv").read_bytes() == b"".join(lines[:2])


def test_a_curve_whose_row_a_kill_prevented_is_dropped_and_none_may_be_missing(made: Path, tmp_path: Path) -> None:
    whole = load_curves(made)
    (tmp_path / "curves.csv").write_bytes((made / "curves.csv").read_bytes())
    (tmp_path / "runs.csv").write_bytes(b"".join((made / "runs.csv").read_bytes().splitlines(keepends=True)[:3]))
    with pytest.warns(UserWarning, match=r"curves\.csv: 1 curves without a row in runs\.csv were dropped"):
        assert load_curves(tmp_path).equals(whole[whole["run"] != SPECS[2].id])
    record.add(tmp_path, row(SPECS[2]), curve(SPECS[2]), {})
    assert len(load_curves(tmp_path)) == len(whole)
    (tmp_path / "curves.csv").write_bytes(b"".join((made / "curves.csv").read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(InputError, match=f"lacks 2 of the 2 points of run '{SPECS[1].id}'"):
        load_curves(tmp_path)


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
    monkeypatch.setattr(studies.viewing.mlflow_page, "save", lambda *_, **__: [])
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
