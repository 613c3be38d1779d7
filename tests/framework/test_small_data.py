"""Studies on few images: budgets that train, label budgets that exist, and a word where budgets are short or not equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stacked import InputError, RunSpec, StackSpec, data
from stacked.data.formats.split import Split
from stacked.runs.run import check, load
from stacked.spec import Budget, Optimisation
from studies.cli.options import Options
from studies.design.arms import Arm
from studies.framework.compute_budget import budgets, warn_of_unequal_costs
from studies.framework.small_data import fit_to_data, load_data, shortest_phase, with_enough_updates
from studies.framework.training_session import TrainingSession
from studies.framework.training_study import TrainingStudy
from studies.framework.trials import plan_trials
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


def test_a_default_limit_is_at_most_the_number_of_images(capsys: Any) -> None:
    given, every = POLICY_STUDY.given(["--data", "digits"]), data.load("digits")
    found, splits = load_data(given, POLICY_STUDY.given([]).base.data)
    assert splits.digest == every.digest
    assert found == replace(given, base=replace(given.base, data=replace(given.base.data, limit=len(every.train))))
    told = capsys.readouterr().err
    assert f"all {len(every.train):,} training images are used, fewer than the 10,000 that this study takes by" in told
    assert load(found.base).digest == splits.digest  # as its record says


def test_a_default_limit_below_the_number_of_images_is_kept(capsys: Any) -> None:
    study = replace(POLICY_STUDY, defaults={**POLICY_STUDY.defaults, "limit": 300})
    given = study.given(["--data", "digits"])
    found, splits = load_data(given, study.given([]).base.data)
    assert found == given
    assert splits.digest == data.load("digits", limit=300).digest
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--limit", "10000"], ["--limit=10000"], ["--limit", "2000"]])
def test_a_typed_limit_above_the_number_of_images_is_refused(words: list[str]) -> None:
    for study in (POLICY_STUDY, LAYERWISE):
        given = study.given(["--data", "digits", *words])
        with pytest.raises(InputError, match=rf"^limit={given.base.data.limit} does not fit 1372 training images"):
            load_data(given, study.given([]).base.data)


def test_the_options_of_a_session_have_the_number_of_images_that_it_uses(tmp_path: Path) -> None:
    words = [
        "--data",
        "digits",
        "--channels",
        "4",
        "8",
        "--arms",
        "joint",
        "--labels",
        "100",
        "--store",
        str(tmp_path / "store"),
    ]
    session = POLICY_STUDY.session([*words, "--out", str(tmp_path / "out")])
    assert isinstance(session, TrainingSession)
    assert session.begin() is None
    assert session.given.base.data.limit == len(session.splits.train) == 1372


def test_the_smoke_run_and_a_studys_own_data_are_left_alone(capsys: Any) -> None:
    for words in ("--smoke", "", "--seeds 2"):
        given = LAYERWISE.given(words.split())
        assert fit_to_data(given, toy_splits(46), OWN) == given
    assert capsys.readouterr().err == ""


def test_label_budgets_that_the_images_do_not_have_are_left_out(capsys: Any) -> None:
    assert fitted("", 46)[1].base.classification.labels == (None,)
    said = capsys.readouterr().err
    assert "46 training images of 4 classes have labels: classifiers with 100, 1,000 labels are left out" in said
    assert fitted("", 200)[1].base.classification.labels == (100, None)
    assert fitted("--labels=100", 46)[1].base.classification.labels == (100,)  # refused where it is checked


def test_label_budgets_below_the_number_of_classes_are_left_out(capsys: Any) -> None:
    few, labels = toy_splits(300), torch.arange(300) % 150
    splits = replace(few, train=Split(few.train.inputs, labels), classes=tuple(map(str, range(150))))
    study = replace(LAYERWISE, defaults={**LAYERWISE.defaults, "labels": ["100", "200", "all"]})
    given = study.given(["--data", "digits", "--channels", "4", "8"])
    assert fit_to_data(given, splits, OWN).base.classification.labels == (200, None)
    said = capsys.readouterr().err
    assert "300 training images of 150 classes have labels: classifiers with 100 labels are left out" in said


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


@pytest.mark.parametrize(
    ("ratios", "named"),
    [
        ({"a": 1.01, "b": 0.99}, None),
        ({"a": 1.01, "b": 0.9}, "arm 'b' has 90 % of the flops of 'x'"),
        ({"a": 1.05, "b": 0.9}, "arm 'b' has 90 % of the flops of 'x' and arm 'a' has 105 %"),
        (
            {"a": 1.05, "b": 0.9, "c": 1.2, "d": 1.03, "e": 1.0, "f": 0.96},
            "arm 'c' has 120 % of the flops of 'x', arm 'b' has 90 %, arm 'a' has 105 % and 2 more differ less",
        ),
    ],
)
def test_unequal_costs_are_told_in_one_sentence(ratios: dict[str, float], named: str | None, capsys: Any) -> None:
    warn_of_unequal_costs(ratios, "flops", "x")
    told = capsys.readouterr().err
    why = ", because updates are whole numbers: longer budgets or smaller batches make the costs more equal\n"
    assert told == (f"{named}{why}" if named else "")


def test_an_arm_that_is_not_compared_is_not_named_as_if_it_were(capsys: Any) -> None:
    warn_of_unequal_costs({"joint": 0.94}, "flops", "greedy+finetune", False)
    told = capsys.readouterr().err
    assert told.startswith(
        "arm 'joint' has 94 % of the flops of the budget, which 'greedy+finetune' would have, because updates are whole numbers"
    )


def test_tuning_warns_of_unequal_costs_once_for_all_trials(capsys: Any) -> None:
    given = LAYERWISE.given(["--tune", "8", "--data", "digits", "--channels", "4", "8", "--epochs", "1"])
    list(plan_trials(LAYERWISE, given, toy_splits(), 1))
    assert capsys.readouterr().err.count("because updates are whole numbers") == 1


VECTORS = np.random.default_rng(0).normal(size=(800, 5))


def test_vectors_get_dense_stages_and_a_linear_output(capsys: Any) -> None:
    given = LAYERWISE.given(["--data", "csv:t.csv", "--target", "y", "--missing", "mean"])
    assert (given.base.data.target, given.base.data.missing) == ("y", "mean")
    found = fit_to_data(given, data.Splits.of(VECTORS), OWN)
    assert found.base.stack == StackSpec.of("dense", 64, 32, 16, output="linear")
    assert (
        "the stack for these data: dense stages of 64 32 16 with output 'linear' (--kind, " in capsys.readouterr().err
    )
    check(LAYERWISE.arm("greedy+finetune").spec(found.base), data.Splits.of(VECTORS))
    typed = LAYERWISE.given(["--data", "csv:t.csv", "--channels", "8", "4"])
    assert fit_to_data(typed, data.Splits.of(VECTORS), OWN).base.stack == StackSpec.of("dense", 8, 4, output="linear")


def test_a_stack_that_was_typed_is_kept_and_a_conv_stage_refuses_vectors() -> None:
    splits = data.Splits.of(VECTORS)
    found = fit_to_data(LAYERWISE.given(["--data", "csv:t.csv", "--kind", "conv"]), splits, OWN)
    assert [stage.kind for stage in found.base.stack.stages] == ["conv"] * 4
    with pytest.raises(InputError, match=r"a conv stage cannot read \(5,\): .*; use dense stages for these examples"):
        check(found.base, splits)
    typed = LAYERWISE.given(["--data", "csv:t.csv", "--kind", "dense", "--stack", "{output: relu}"])
    assert fit_to_data(typed, splits, OWN).base.stack == typed.base.stack


def test_signals_get_a_linear_output_and_images_of_bytes_keep_theirs() -> None:
    given = LAYERWISE.given(["--data", "npz:t.npz", "--channels", "4", "8"])
    signals = data.Splits.of(VECTORS.reshape(800, 1, 5).repeat(4, 2))
    assert fit_to_data(given, signals, OWN).base.stack == replace(given.base.stack, output="linear")
    assert fit_to_data(given, toy_splits(800), OWN).base.stack == given.base.stack


def test_label_budgets_of_numbers_to_predict_are_those_that_exist(capsys: Any) -> None:
    splits = data.Splits.of(VECTORS[:200], VECTORS[:200, 0] * 2.0)
    found = fit_to_data(LAYERWISE.given(["--data", "csv:t.csv"]), splits, OWN)
    assert found.base.classification.labels == (100, None)
    assert "training rows have labels: regressors with 1,000 labels are left out" in capsys.readouterr().err
    check(found.base, splits)
