"""Studies on few images: budgets that train, label budgets that exist, and a word where budgets are short or not equal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stacked import RunSpec, StackSpec
from stacked.spec import Budget, Optimisation
from studies.cli.options import Options
from studies.design.arms import Arm
from studies.framework.compute_budget import budgets
from studies.framework.small_data import fit_to_data, shortest_phase, with_enough_updates
from studies.framework.training_study import TrainingStudy
from studies.pretraining.layerwise import STUDY as LAYERWISE
from studies.pretraining.policies import STUDY as POLICY_STUDY
from tests.helpers.splits import toy_splits

OWN = LAYERWISE.given([]).base.data


def fitted(words: str, images: int, study: TrainingStudy = LAYERWISE) -> tuple[Options, Options]:
    given = study.given(["--data", "digits", "--channels", "4", "8", *words.split(maxsplit=1)])
    return given, fit_to_data(given, toy_splits(images), study.given([]).base.data)


@pytest.mark.parametrize("images", [16, 46, 63, 64, 200, 600])
@pytest.mark.parametrize("study", [LAYERWISE, POLICY_STUDY], ids=["layerwise", "policies"])
def test_few_images_make_two_hundred_updates_a_phase(images: int, study: TrainingStudy, capsys: Any) -> None:
    given, found = fitted("", images, study)
    batch = found.base.optimisation.batch_size
    assert shortest_phase(found.base, images) == 200
    assert batch == 16 or images >= 4 * batch
    assert batch <= given.base.optimisation.batch_size
    told = capsys.readouterr().err
    assert (
        f"{images} training images are few: each part of the budget has 200 updates or more, in batches of {batch} "
        in told
    )
    before = given.base.budget.in_updates(2, 1000)
    after = found.base.budget.in_updates(2, 1)
    assert after.end_to_end / after.stages[0] == pytest.approx(before.end_to_end / before.stages[0], rel=0.01)


def test_the_shortest_part_of_the_budget_decides() -> None:
    base = RunSpec(stack=StackSpec.of("conv", 4, 8), budget=Budget((1.0, 2.0), 4.0))
    assert with_enough_updates(base, 46).budget == Budget((200.0, 400.0), 800.0, "updates")


def test_many_images_keep_the_settings_of_the_study(capsys: Any) -> None:
    given = LAYERWISE.given(["--data", "digits", "--channels", "4", "8"])
    assert fit_to_data(given, toy_splits(100 * given.base.optimisation.batch_size), OWN) == given
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "words",
    [
        "--epochs 1",
        "--finetune=2",
        "--batch-size 128",
        "--unit updates",
        "--optimisation {batch_size: 64}",
        "--optimisation.batch_size=64",
    ],
)
def test_what_was_typed_is_kept_and_a_short_phase_is_said(words: str, capsys: Any) -> None:
    given, found = fitted(words, 46)
    assert (found.base.budget, found.base.optimisation) == (given.base.budget, given.base.optimisation)
    assert (
        "the shortest part of the budget is 1 update, too few to train: give more with --unit updates"
        in capsys.readouterr().err
    )


def test_the_smoke_run_and_a_studys_own_data_are_left_alone(capsys: Any) -> None:
    for words in ("--smoke", "", "--seeds 2"):
        given = LAYERWISE.given(words.split())
        assert fit_to_data(given, toy_splits(46), OWN) == given
    assert capsys.readouterr().err == ""


def test_label_budgets_that_the_images_do_not_have_are_left_out(capsys: Any) -> None:
    assert fitted("", 46)[1].base.classification.labels == (None,)
    assert "46 training images have labels: classifiers with 100, 1,000 labels are left out" in capsys.readouterr().err
    assert fitted("", 200)[1].base.classification.labels == (100, None)
    assert fitted("--labels=100", 46)[1].base.classification.labels == (100,)  # refused where it is checked


def test_arms_whose_cost_differs_by_rounding_are_named(capsys: Any) -> None:
    base = RunSpec(
        "joint",
        stack=StackSpec.of("conv", 4, 8),
        budget=Budget((1,), 1, "updates"),
        optimisation=Optimisation(batch_size=64),
    )
    arms = [Arm("greedy+finetune"), Arm("joint")]
    budgets(base, toy_splits(), arms, "flops", arms[0])
    told = capsys.readouterr().err
    assert "arm 'joint' has " in told
    assert " % of the flops of 'greedy+finetune', because updates are whole numbers" in told
    budgets(replace(base, budget=Budget((200,), 400, "updates")), toy_splits(), arms, "flops", arms[0])
    assert capsys.readouterr().err == ""
