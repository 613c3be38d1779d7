"""The study that kills studies says why one of them failed."""

from __future__ import annotations

from pathlib import Path

from studies.record import runs as record
from studies.reliability.torture import reason
from tests.helpers.recorded import RUNS, add


def test_the_reason_is_that_of_the_run_that_failed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "log").write_text("one\nthe last line\n")
    assert reason(tmp_path) == "the last line"
    add(tmp_path / "out", RUNS[0])
    assert reason(tmp_path) == "the last line"
    record.add(tmp_path / "out", record.failed_row(RUNS[1], "joint", "the loss is NaN"), [], {})
    assert reason(tmp_path) == "joint: failed: the loss is NaN"
