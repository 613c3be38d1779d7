"""Budgets of arms that have the same cost, and the folder that keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stacked.runs.run import load
from stacked.spec import Budget, RunSpec, StackSpec
from stacked.util.errors import InputError
from studies.design.arms import Arm
from studies.framework.compute_budget import budgets, cost_function
from studies.pretraining.layerwise import STUDY
from studies.record import runs as record

BASE = RunSpec(stack=StackSpec.of("conv", 4, 8), budget=Budget((2.0,), 1.0))


@pytest.mark.parametrize("equal", ["flops", "updates"])
def test_budgets_are_equal(equal: str) -> None:
    from stacked.data import load as load_data
    from stacked.spec.growth import POLICIES

    splits = load_data("digits")
    found = budgets(BASE, splits, STUDY.arms, equal, STUDY.arm(STUDY.budget_arm))
    cost = cost_function(BASE, splits, len(splits.train), equal, "cpu")
    spent = {arm: cost(POLICIES[arm](2, found[arm].in_updates(2, 1))) for arm in STUDY.arm_names}
    assert spent["random"] == 0
    for arm in ("greedy", "joint"):
        assert spent[arm] <= spent["greedy+finetune"] * 1.05
        assert spent[arm] >= spent["greedy+finetune"] * 0.93  # at most an update a stage is missing
    assert found["greedy"].stages is not None
    assert len(set(found["greedy"].stages)) == 1  # proportions between stages are kept


def test_budgets_equal_in_seconds_are_measured_once(tmp_path: Path) -> None:
    splits = load(RunSpec(data=BASE.data.__class__("digits")))
    found = budgets(BASE, splits, (Arm("greedy"), Arm("joint")), "seconds", Arm("greedy+finetune"))
    record.save_budgets(tmp_path, found)
    assert record.load_budgets(tmp_path) == found


def test_a_record_of_another_configuration_is_refused(tmp_path: Path) -> None:
    record.prepare(tmp_path, BASE, "flops", "digest")
    record.prepare(tmp_path, BASE, "flops", "digest")
    with pytest.raises(InputError, match="equal is 'flops' there and 'updates' here"):
        record.prepare(tmp_path, BASE, "updates", "digest")
    with pytest.raises(InputError, match="other data with the name 'mnist'"):
        record.prepare(tmp_path, BASE, "flops", "another digest")
    assert json.loads((tmp_path / "configuration.json").read_text())["equal"] == "flops"
    (tmp_path / "configuration.json").write_text("{")
    with pytest.raises(InputError, match=r"configuration\.json cannot be read"):
        record.prepare(tmp_path, BASE, "flops", "digest")
