"""Rows are of the data that configuration.json tells of, whatever becomes of the files while a study runs."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stacked import data
from stacked.tracking import tracker
from stacked.tracking.backend.store import Store
from stacked.util.errors import InputError
from studies.execution.job import Job
from studies.execution.pool import run_jobs
from studies.framework.main import main
from studies.framework.plan import plan
from studies.framework.trials import plan_trials
from studies.pretraining.layerwise import STUDY
from studies.record.lock import locked_record
from tests.helpers.options import given
from tests.helpers.splits import toy_splits
from tests.helpers.working import Tells


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    words = f"--data digits --channels 4 6 --seeds 2 --arms joint --equal updates --labels 16 --out {tmp_path / 'out'}"
    options = given(f"{words} --store {tmp_path / 'store'}")
    return list(plan(STUDY, options, toy_splits()))


def telling(jobs: list[Job], digest: str, processes: int) -> list[Job]:
    return [Tells(**{**vars(job), "data": digest}, at_once=processes) for job in jobs]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_runs_get_the_images_that_were_read_whatever_becomes_of_their_files(
    processes: int, jobs: list[Job], tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for k, image in enumerate(data.load("digits").train.inputs[:40]):
        Image.fromarray(image[0].numpy()).save(folder / f"{k:02}.png")
    splits = data.load("folder:images", data_dir=tmp_path, image_size=8, grey=True)
    digest = splits.digest
    shutil.rmtree(folder)
    rows = list(run_jobs(telling(jobs, digest, processes), processes, splits))
    assert [row["digest"] for row in rows] == [digest] * 2
    assert len({row["process"] for row in rows}) == processes


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_other_data_than_those_of_the_record_are_refused_and_nothing_is_recorded(
    processes: int, jobs: list[Job], tmp_path: Path
) -> None:
    told = rf"^the images of toy changed while the study ran: they differ from those of {tmp_path / 'out' / 'configuration.json'}"
    other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    other.start()
    try:
        with pytest.raises(InputError, match=told):
            list(run_jobs(telling(jobs, "another", processes), processes, toy_splits()))
        assert other.is_alive()  # only workers are stopped
    finally:
        other.kill()
        other.join()
    assert not (tmp_path / "out" / "runs.csv").exists()


def test_jobs_and_trials_know_the_digest_of_their_data(jobs: list[Job]) -> None:
    splits = toy_splits()
    assert {job.data for job in jobs} == {splits.digest}
    options = replace(jobs[0].given, tune=2)
    trials = list(plan_trials(STUDY, options, splits, 1))
    assert {trial.data for trial in trials} == {splits.without_test().digest}


def test_a_folder_in_which_another_process_works_is_not_given_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """That of the second would stand beside the rows of the first."""
    monkeypatch.setattr(tracker, "open_store", lambda _: Store("http://nowhere", tmp_path))
    out = tmp_path / "out"
    with locked_record(out):
        assert main(STUDY, ["--smoke", "--out", str(out)]) == 2
    assert f"another process works in {out}: wait for it to end" in capsys.readouterr().err
    assert not (out / "configuration.json").exists()
