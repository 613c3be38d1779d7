"""Files of a record that are lost, or have lost rows: what would then be told of less is refused in one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from stacked import RunSpec
from stacked.spec import Budget
from stacked.util.errors import InputError
from studies.framework import compute_budget
from studies.framework.plan import plan
from studies.papers import overview
from studies.papers.hinton2006 import STUDY as PAPER
from studies.pretraining.layerwise import STUDY
from studies.record import runs as record
from studies.record.index import ROOT
from studies.report.tuning import draw_tuning, tuning_note
from studies.statistics.rows import load_samples
from tests.helpers.damaged_tables import SPECS, row
from tests.helpers.refused import refusal

COMMITTED = ROOT / "results" / "layerwise"


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A copy of a record of three finished runs, two of them of seed 0, and a failed one."""
    return Path(shutil.copytree(made, tmp_path / "copied"))


def test_samples_of_an_arm_that_are_lost_are_said(copied: Path) -> None:
    assert sorted(load_samples(copied)) == ["greedy", "joint"]
    path = copied / "samples" / "joint-s0.npz"
    path.unlink()
    assert refusal(lambda: load_samples(copied))[1] == (
        f"{path} does not exist, and other arms have such a file: restore it, or remove the row of arm 'joint' and seed 0 in "
        "runs.csv, whose run is then trained again"
    )
    shutil.rmtree(path.parent)
    assert load_samples(copied) == {}  # the page says which figures are not drawn


def test_samples_of_runs_that_failed_or_have_no_row_are_not_asked_for(copied: Path) -> None:
    failed = record.failed_row(dataclasses.replace(SPECS[0], policy="random"), "random", "it broke")
    record.add(copied, failed, [], {})
    assert len(load_samples(copied)) == 2
    shutil.copy(copied / "samples" / "joint-s0.npz", copied / "samples" / "pca-s0.npz")
    assert len(load_samples(copied)) == 3


def test_trials_that_every_arm_has_lost_are_said(tmp_path: Path) -> None:
    shutil.copy(COMMITTED / "choices.json", tmp_path)
    table = pd.read_csv(COMMITTED / "trials.csv", dtype=str, keep_default_na=False)
    table.to_csv(tmp_path / "trials.csv", index=False)
    assert tuning_note(tmp_path)
    choices = json.loads((COMMITTED / "choices.json").read_text())
    chosen = table["run"].isin([choice["run"] for choice in choices["arms"].values()])
    lost = table[~chosen].groupby("arm").head(1).index
    table.drop(index=lost).to_csv(tmp_path / "trials.csv", index=False)
    reads: list[Callable[[Path], object]] = [tuning_note, draw_tuning]
    for read in reads:
        assert refusal(lambda read=read: read(tmp_path))[1] == (
            f"{tmp_path / 'trials.csv'} has 23 trials of each arm, and choices.json was chosen among 24: restore both, or tune "
            "again"
        )
    (tmp_path / "choices.json").write_text(json.dumps(choices | {"trials": "24"}))
    assert "has '24' for 'trials'" in refusal(lambda: tuning_note(tmp_path))[1]


def test_measured_budgets_that_are_lost_are_not_measured_again_beside_finished_runs(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_budget, "budgets_of", lambda *_: pytest.fail("measured again"))
    given = STUDY.given(["--smoke", "--equal", "seconds", "--arms", "greedy", "joint", "--out", str(copied)])
    path = copied / "budgets.json"
    path.unlink()
    told = refusal(lambda: list(plan(STUDY, given, None)))[1]  # type: ignore[arg-type]
    assert told.startswith(f"{path} lacks the measured budget of arm ")
    assert told.endswith(", which has finished runs: restore it, or choose another --out")
    assert not path.exists()


def test_runs_of_another_budget_do_not_stand_beside_those_of_other_seeds(tmp_path: Path) -> None:
    mine = RunSpec(policy="joint")
    record.add(tmp_path, row(mine), [], {})
    record.check_other_seeds(tmp_path, {"joint": dataclasses.replace(mine, seed=7), "greedy": RunSpec()})
    other = dataclasses.replace(mine, seed=7, budget=Budget((3, 4, 5, 6), 7, "updates"))
    with pytest.raises(
        InputError, match=r"a run of 'joint' with seed 0 and other settings or another budget of that arm: "
    ):
        record.check_other_seeds(tmp_path, {"joint": other})


def test_the_references_of_claims_must_be_there(tmp_path: Path) -> None:
    folder = tmp_path / PAPER.name
    folder.mkdir()
    for name in ("runs.csv", "reference.json"):
        shutil.copy(ROOT / "results" / PAPER.name / name, folder)
    assert overview.claims_of([PAPER], tmp_path)
    (folder / "reference.json").unlink()
    told = refusal(lambda: overview.claims_of([PAPER], tmp_path))[1]
    assert told.startswith(f"{folder / 'reference.json'} does not exist, and claims compare with ")
