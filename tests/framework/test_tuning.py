"""Equal tuning: what is drawn, how it is judged, that no test image is read, and what later runs make of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stacked import InputError, RunSpec, StackSpec
from stacked.data import Splits
from stacked.spec import Budget, Evaluation, Optimisation, from_json
from stacked.spec.growth import POLICIES
from stacked.util.serialization import to_json
from studies.cli.options import MOST_SEEDS, Options
from studies.design.arms import Arm
from studies.design.search import Among, LogRange, refined
from studies.framework import trials, tuning
from studies.framework.compute_budget import cost_function
from studies.framework.plan import plan, tuned_settings
from studies.framework.training_study import TrainingStudy
from studies.papers.hinton2006 import STUDY as HINTON2006
from studies.pretraining.layerwise import STUDY as LAYERWISE
from studies.pretraining.policies import STUDY as POLICY_STUDY
from studies.record import runs as record
from studies.report.tuning import draw_tuning, expected_best, tuning_note
from studies.statistics.trials import best, edges, load_choices, load_trials, validation_results
from tests.helpers.options import options_of
from tests.helpers.splits import toy_splits

BASE = RunSpec(
    "joint",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 3.0),
    optimisation=Optimisation(batch_size=32, lr=1e-2),
    evaluation=Evaluation(probe_labels=60),
)
TOY = TrainingStudy(
    name="toy",
    title="Toy",
    question="?",
    protocol="p",
    arms=(
        Arm("greedy"),
        Arm("greedy+finetune"),
        Arm("joint"),
        Arm("own", "joint", {"optimisation.schedule": "onecycle"}, search={"stack.gain": LogRange(1.0, 8.0)}),
        Arm("left", "joint", tuned=False),
        Arm("random"),
    ),
)


def tune(one: TrainingStudy, given: Options, splits: Splits, stop: Callable[[], bool] = lambda: False) -> None:
    """Make all trials and choose."""
    for _ in tuning.tune(one, given, splits, 1, stop):
        pass


def given(out: Path, **changes: Any) -> Options:
    return options_of(TOY, BASE, out, **{"seeds": (0, 1), "tune": 3} | changes)


@pytest.fixture
def splits() -> Splits:
    return toy_splits(128)


# What is drawn


def test_every_arm_has_the_space_of_the_study_but_for_what_it_sets_itself() -> None:
    spaces = {arm.name: trials.search_space(TOY, arm, BASE) for arm in TOY.arms}
    assert spaces["joint"] == spaces["greedy"] == TOY.search
    assert spaces["greedy+finetune"] == {**TOY.search, "budget.end_to_end": LogRange(0.75, 96.0)}
    assert spaces["own"].keys() == TOY.search.keys() - {"optimisation.schedule"} | {"stack.gain"}
    assert spaces["random"] == {}
    assert [arm.name for arm in TOY.arms if trials.is_tuned(TOY, arm, BASE)] == [
        "greedy",
        "greedy+finetune",
        "joint",
        "own",
    ]


def test_trials_differ_in_what_is_drawn_alone_and_cost_the_same(tmp_path: Path) -> None:
    toy = toy_splits()
    planned = list(trials.plan_trials(TOY, given(tmp_path), toy, 1))
    assert [(one.number, one.arm) for one in planned[:4]] == [
        (0, arm) for arm in ("greedy", "greedy+finetune", "joint", "own")
    ]
    assert len(planned) == 12
    assert len({one.spec.id for one in planned}) == 12
    for number in range(3):
        same = [one for one in planned if one.number == number]
        for name in ("optimisation.lr", "optimisation.batch_size"):
            assert len({one.values[name] for one in same}) == 1  # arms share what is drawn for all
    goal = None
    for one in planned:
        arm = TOY.arm(one.arm).with_values(one.values)
        assert one.spec.seed == MOST_SEEDS  # which no run of a record can have
        assert one.spec.classification.labels == ()
        bare = arm.spec(BASE)
        assert dataclasses.replace(
            one.spec, budget=bare.budget, seed=0, evaluation=BASE.evaluation, classification=BASE.classification
        ) == dataclasses.replace(bare, seed=0)
        order = study_order(one.spec, toy)
        cost = cost_function(one.spec, toy, order.n, "flops", "cpu")(one.spec.phases(order.updates_per_epoch))
        goal = goal or cost
        assert cost == pytest.approx(goal, rel=0.1)  # whole updates of batches of up to 128 of few images


def study_order(spec: RunSpec, splits: Splits) -> Any:
    from stacked.data.order import Order

    return Order(len(splits.train), spec.optimisation.batch_size, 0)


def test_every_committed_study_can_tune_each_of_its_trained_arms() -> None:
    for one in (LAYERWISE, POLICY_STUDY, HINTON2006):
        base = one.given([]).base
        for arm in one.arms:
            space = trials.search_space(one, arm, base)
            assert bool(space) == (arm.policy_name != "random")
            for place in (0.0, 0.5, 1.0):  # a spec that exists can run
                arm.with_values({name: within.at(place) for name, within in space.items()}).spec(base)
            if "+" in arm.policy_name and arm.tuned:
                assert "budget.end_to_end" in space


# How trials are judged


def test_trials_are_measured_on_validation_images_and_nothing_else(tmp_path: Path, splits: Splits) -> None:
    poisoned = dataclasses.replace(splits, test=splits.test.take(splits.test.labels.new_zeros(0)))  # none can be read
    (tmp_path / "out").mkdir()
    trial = next(iter(trials.plan_trials(TOY, given(tmp_path), splits, 1)))
    row = trial.run(poisoned, lambda: False)
    from stacked.evaluation.evaluate import reconstruction
    from stacked.runs.run import run

    again = run(trial.spec, splits.without_test())
    assert row["valid/recon_mse"] == reconstruction(again.stack, splits.valid.inputs).mse
    assert not [name for name in row if name.startswith("final/")]
    kept = load_trials(tmp_path / "out")
    assert kept.iloc[0]["valid/recon_mse"] == row["valid/recon_mse"]
    assert from_json(kept.iloc[0]["spec"]) == trial.spec
    assert json.loads(kept.iloc[0]["values"]) == trial.values
    assert not list((tmp_path / "store" / "work").glob("*/*.safetensors"))  # the row is all that is kept


@pytest.mark.slow
def test_tuning_goes_on_chooses_and_is_taken_by_later_runs(
    tmp_path: Path, splits: Splits, capsys: pytest.CaptureFixture[str]
) -> None:
    options_, out = given(tmp_path), tmp_path / "out"
    out.mkdir()
    with pytest.raises(KeyboardInterrupt):
        tune(TOY, options_, splits, lambda: (out / "trials.csv").exists() and len(load_trials(out)) == 4)
    some = load_trials(out)
    assert len(some) == 4
    assert not (out / "choices.json").exists()

    tune(TOY, options_, splits)
    rows = load_trials(out)
    assert len(rows) == 12
    pd.testing.assert_frame_equal(rows[rows["run"].isin(some["run"])].reset_index(drop=True), some)  # not made anew
    choices = load_choices(out)
    assert list(choices) == ["greedy", "greedy+finetune", "joint", "own"]
    for arm, choice in choices.items():
        mine = rows[rows["arm"] == arm]
        assert choice["run"] == mine.loc[mine["valid/recon_mse"].idxmin(), "run"]
        assert choice["values"] == json.loads(mine.loc[mine["valid/recon_mse"].idxmin(), "values"])
    assert "Later runs" in capsys.readouterr().out

    tune(TOY, options_, splits)  # nothing is left to do
    pd.testing.assert_frame_equal(load_trials(out), rows)

    jobs = {job.arm: job for job in plan(TOY, dataclasses.replace(options_, tune=None), splits)}
    for arm, choice in choices.items():
        changed = TOY.arm(arm).with_values(choice["values"]).spec(BASE)
        assert jobs[arm].spec.optimisation == changed.optimisation
        assert jobs[arm].spec.stack == changed.stack
    assert jobs["left"].spec.optimisation == BASE.optimisation
    assert "| joint | validation recon_mse | 0 |" in tuning_note(out)
    assert draw_tuning(out) is not None


@pytest.mark.slow
def test_what_a_wider_space_draws_again_counts_and_is_not_made_again(tmp_path: Path, splits: Splits) -> None:
    sizes = Among((8, 16, 32, 64, 128, 256))  # 8 at some of the points where it was before
    wider = dataclasses.replace(TOY, search={**TOY.search, "optimisation.batch_size": sizes})
    options_ = given(tmp_path, arms=("greedy", "joint"), equal="updates")
    for one in (TOY, wider, wider):
        tune(one, options_, splits)
    rows = load_trials(tmp_path / "out")
    assert set(rows["arm"].value_counts()) == {6}
    twice = rows[rows["run"].duplicated(keep=False)]
    assert len(twice) >= 2
    for _, pair in twice.groupby("run"):
        assert len(pair) == pair["space"].nunique() == 2
        assert pair["seconds"].nunique() == pair["valid/recon_mse"].nunique() == 1


@pytest.mark.slow
def test_further_trials_are_drawn_around_the_best_of_each_arm(tmp_path: Path, splits: Splits) -> None:
    arms, out = ("greedy+finetune", "joint", "random"), tmp_path / "out"
    options_ = given(tmp_path, arms=arms, tune=3, refine=2, equal="updates")
    with pytest.raises(KeyboardInterrupt):
        tune(TOY, options_, splits, lambda: (out / "trials.csv").exists() and len(load_trials(out)) == 8)
    tune(TOY, options_, splits)  # continues
    tune(TOY, options_, splits)  # nothing is left to do
    rows = load_trials(out)
    assert set(rows["arm"].value_counts()) == {5}
    for arm, choice in load_choices(out).items():
        mine = rows[rows["arm"] == arm].sort_values("trial")
        first, later = mine.iloc[:3], mine.iloc[3:]
        assert list(mine["trial"]) == [0, 1, 2, 3, 4]
        assert set(first["centre"]) == {""}
        centre = first.loc[first["valid/recon_mse"].idxmin()]
        assert set(later["centre"]) == {centre["run"]}
        space = trials.search_space(TOY, TOY.arm(arm), BASE)
        around = refined(space, json.loads(centre["values"]))
        assert [json.loads(one) for one in later["space"]] == [
            {name: str(within) for name, within in around.items()}
        ] * 2
        for values in map(json.loads, later["values"]):
            assert around["optimisation.lr"].low <= values["optimisation.lr"] <= around["optimisation.lr"].high  # type: ignore[union-attr]
            assert values["optimisation.batch_size"] in around["optimisation.batch_size"].values  # type: ignore[union-attr]
        assert choice["run"] == mine.loc[mine["valid/recon_mse"].idxmin(), "run"]
        tried = tuning.tried_space(TOY, arm, BASE, rows)
        assert choice["edges"] == edges(tried, choice["values"])
        assert tried["optimisation.lr"].high >= around["optimisation.lr"].high  # type: ignore[union-attr]
    note = tuning_note(out)
    assert "Each arm was tuned with 5 trials" in note
    assert "The first 3 trials of an arm are drawn from the search space" in note
    assert "| best of 3 | best of all 5 |" in note
    joint = rows[rows["arm"] == "joint"]["valid/recon_mse"]
    assert f"| {joint.min():.4g} | lr" in note
    figure = draw_tuning(out)
    assert figure is not None
    assert {int(np.max(line.get_xdata())) for line in figure.axes[0].get_lines()} == {3, 5}


def test_trials_continue_a_table_of_before_the_column_centre(tmp_path: Path) -> None:
    older = rows_of(joint=[0.3, 0.2])
    older.to_csv(tmp_path / "trials.csv", index=False)
    for row in rows_of(joint=[0.3, 0.2, 0.1, 0.4]).iloc[2:].to_dict("records"):
        record.add_trial(tmp_path, {**row, "centre": older["run"][1]})
    rows = load_trials(tmp_path)
    assert list(rows["centre"]) == ["", "", older["run"][1], older["run"][1]]
    assert list(rows["valid/recon_mse"]) == [0.3, 0.2, 0.1, 0.4]


def test_refining_continues_tuning() -> None:
    with pytest.raises(InputError, match="--refine continues --tune: give both"):
        LAYERWISE.given(["--refine", "2"])
    with pytest.raises(InputError, match=r"refine -1 is not allowed"):
        LAYERWISE.given(["--tune", "2", "--refine", "-1"])
    assert LAYERWISE.given(["--tune", "2", "--refine", "3"]).refine == 3


def test_settings_are_chosen_before_the_test_set_is_read(tmp_path: Path, splits: Splits) -> None:
    options_ = given(tmp_path)
    record.add(
        options_.out, {"run": BASE.id, "arm": "joint", "seed": 0, "status": "finished", "spec": to_json(BASE)}, [], {}
    )
    with pytest.raises(
        InputError, match=r"which read the test set; settings must be chosen before: give --tune another --out"
    ):
        tune(TOY, options_, splits)
    with pytest.raises(InputError, match="--equal seconds"):
        tune(TOY, dataclasses.replace(options_, equal="seconds"), splits)


def test_rows_of_other_settings_do_not_stand_beside_each_other(tmp_path: Path) -> None:
    row = {"run": BASE.id, "arm": "joint", "seed": 0, "status": "finished", "spec": to_json(BASE)}
    record.add(tmp_path, row, [], {})
    record.check_same_arms(tmp_path, {("joint", 0): BASE.id, ("joint", 1): "another"})
    with pytest.raises(
        InputError, match=r"a run of 'joint' with seed 0 and other settings of that arm: choose another --out"
    ):
        record.check_same_arms(tmp_path, {("joint", 0): "another"})


def rows_of(**arms: list[float | None]) -> pd.DataFrame:
    """A trial a value; None: it failed."""

    def spec(arm: str, number: int) -> RunSpec:
        tried = dataclasses.replace(BASE.optimisation, lr=0.001 * (number + 1))
        policy = arm if arm in POLICIES else "joint"
        return dataclasses.replace(BASE, policy=policy, seed=MOST_SEEDS, optimisation=tried)

    return pd.DataFrame(
        [
            {
                "trial": number,
                "run": spec(arm, number).id,
                "arm": arm,
                "seed": MOST_SEEDS,
                "status": "failed: x" if value is None else "finished",
                "valid/recon_mse": math.nan if value is None else value,
                "values": json.dumps({"optimisation.lr": 0.001 * (number + 1)}),
                "space": "{}",
                "spec": to_json(spec(arm, number)),
            }
            for arm, values in arms.items()
            for number, value in enumerate(values)
        ]
    )


def test_a_trial_that_failed_or_is_not_finite_is_the_worst() -> None:
    rows = rows_of(a=[None, math.nan, 0.3, 0.2, math.inf])
    assert list(validation_results(rows, "a", "recon_mse")) == [math.inf, math.inf, 0.3, 0.2, math.inf]
    found = best(rows, "a", "recon_mse")
    assert found is not None
    assert found["trial"] == 3
    for accuracy in ("probe_acc", "classifier_acc_all", "classifier_acc_100"):  # of which the highest is the best
        shares = rows.rename(columns={"valid/recon_mse": f"valid/{accuracy}"})
        assert list(validation_results(shares, "a", accuracy)) == [-math.inf, -math.inf, 0.3, 0.2, -math.inf]
        assert best(shares, "a", accuracy)["trial"] == 2  # type: ignore[index]
    assert best(rows_of(a=[None, math.nan]), "a", "recon_mse") is None
    assert best(rows, "a", "probe_acc") is None  # which nothing measured


@pytest.mark.parametrize("higher", [False, True])
def test_the_expected_best_is_the_mean_over_all_subsets(higher: bool) -> None:
    values = np.array([0.3, 0.1, 0.7, 0.2, 0.2])
    pick = max if higher else min
    for k, found in enumerate(expected_best(values, higher), start=1):
        assert found == pytest.approx(np.mean([pick(some) for some in combinations(values, k)]))
    worst = -math.inf if higher else math.inf
    assert list(np.isfinite(expected_best(np.array([0.3, worst, worst]), higher))) == [False, False, True]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (
            {"joint": [0.1, 0.2], "greedy": [0.1]},
            r"the same number of trials, 2, but greedy has 1: give --tune 2 with all --arms",
        ),
        (
            {"joint": [None, None]},
            r"no trial of arm 'joint' finished: see the reasons in .*trials\.csv, or widen its search space",
        ),
    ],
)
def test_arms_are_chosen_from_as_many_trials(tmp_path: Path, arms: Any, message: str) -> None:
    rows_of(**arms).to_csv(tmp_path / "trials.csv", index=False)
    with pytest.raises(InputError, match=message):
        tuning.choose(TOY, tmp_path, BASE)


@pytest.mark.parametrize("text", ["", "[]", '{"arms": {"joint": {"values": 3}}}', '{"arms": []}', '{"trials": 3}'])
def test_choices_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "choices.json").write_text(text)
    with pytest.raises(InputError, match=r"choices\.json cannot be read"):
        load_choices(tmp_path)
    assert load_choices(tmp_path / "elsewhere") == {}


# The project's own choices


def test_the_projects_choices_are_used_with_its_own_settings_alone(tmp_path: Path) -> None:
    values = {"joint": {"optimisation.lr": 0.004}}
    chosen = dataclasses.replace(LAYERWISE, chosen=values)

    def of(words: str) -> Options:
        told = [*words.split(), "--out", str(tmp_path / "none")]
        return chosen.given(told)

    assert tuned_settings(chosen, of("--seeds 2 --arms joint --data kmnist")) == values
    for words in ("--lr 0.02", "--channels 4 8", "--epochs 2"):
        assert tuned_settings(chosen, of(words)) == {}


@pytest.mark.parametrize(
    ("one", "folder"),
    [(LAYERWISE, "layerwise"), (POLICY_STUDY, "policies/mnist"), (HINTON2006, "hinton2006")],
    ids=lambda given: given if isinstance(given, str) else given.name,
)
def test_the_projects_choices_are_those_of_its_record(one: TrainingStudy, folder: str) -> None:
    folder_of_record = Path(__file__).parents[2] / "results" / folder
    recorded = {arm: choice["values"] for arm, choice in load_choices(folder_of_record).items()}
    assert {arm: dict(values) for arm, values in one.chosen.items()} == recorded
    assert set(recorded) <= {arm.name for arm in one.arms}
    assert {arm.policy_name for arm in one.arms} <= set(POLICIES)
