"""A run of a study in this process: what counts as its failure."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stacked.data import Splits
from stacked.util.errors import Diverged, InputError, Interrupted, Unwritable
from studies.execution.job import run_job
from tests.helpers.splits import toy_splits


def job(error: Exception, asked: bool) -> SimpleNamespace:
    """A job that fails with `error`, after its process was asked to end or not; its row is the reason."""

    def run(splits: Splits, stop: Callable[[], bool]) -> None:
        if asked:
            os.kill(os.getpid(), signal.SIGTERM)
        raise error

    given = SimpleNamespace(store=None, out=Path("out"), data_dir=None)
    return SimpleNamespace(data="", run=run, given=given, record_failure=lambda reason: {"status": reason})


@pytest.mark.parametrize("error", [AttributeError("half imported"), InputError("half written"), Diverged("NaN")])
def test_an_error_after_a_request_to_end_does_not_count_as_a_failure(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ending a run can fail because of the request, as when an import was interrupted; the run is continued later."""
    with pytest.raises(Interrupted):
        run_job(job(error, asked=True), toy_splits())  # type: ignore[arg-type]
    assert ("AttributeError: half imported" in capsys.readouterr().err) == isinstance(error, AttributeError)
    assert str(error) in run_job(job(error, asked=False), toy_splits())["status"]  # type: ignore[arg-type]


def test_a_file_that_cannot_be_written_is_reported_also_after_a_request_to_end() -> None:
    with pytest.raises(Unwritable):
        run_job(job(Unwritable("the disk is full"), asked=True), toy_splits())  # type: ignore[arg-type]
