"""The plan of a study: arms that are the same run are refused, and values that were tuned for its committed record are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacked import InputError
from studies.design.arms import Arm
from studies.framework.plan import chosen_elsewhere, plan
from studies.framework.training_study import TrainingStudy
from studies.pretraining.layerwise import STUDY as LAYERWISE
from studies.report.tuning import tuning_note
from tests.helpers.options import options_of
from tests.helpers.splits import toy_splits

TWINS = TrainingStudy(
    name="twins",
    title="Twins",
    question="?",
    protocol="p",
    arms=(Arm("joint", own_budget=True), Arm("same", "joint", own_budget=True), Arm("random")),
    budget_arm="joint",
)


def test_arms_that_are_the_same_run_are_refused(tmp_path: Path) -> None:
    """The record holds a run once: the row of one arm would replace that of the other."""
    base = TWINS.given(["--data", "digits", "--channels", "4"]).base

    def arms(*names: str) -> list[str]:
        return [job.arm for job in plan(TWINS, options_of(TWINS, base, tmp_path, arms=names, seeds=(0,)), toy_splits())]

    assert arms("joint", "random") == ["joint", "random"]
    with pytest.raises(InputError, match="arms 'joint' and 'same' are the same run"):
        arms("joint", "random", "same")


def test_the_page_tells_values_that_were_tuned_for_the_committed_record(tmp_path: Path) -> None:
    given = LAYERWISE.given(["--out", str(tmp_path)])
    elsewhere = chosen_elsewhere(LAYERWISE, given)
    assert elsewhere is LAYERWISE.chosen
    note = tuning_note(tmp_path, elsewhere)
    assert "chose for the committed record of this study" in note
    for arm, values in LAYERWISE.chosen.items():
        assert f"`{arm}`: " in note
        assert all(str(value) in note for value in values.values())
    assert chosen_elsewhere(LAYERWISE, LAYERWISE.given(["--out", str(tmp_path), "--lr", "0.003"])) is None
    assert tuning_note(tmp_path).startswith("Arms were not tuned for this record")
