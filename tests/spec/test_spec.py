"""Specs are values, validated where they are constructed."""

from __future__ import annotations

import dataclasses
import json

import pytest

from stacked import InputError, RunSpec, StackSpec
from stacked.spec import Budget, Classification, DataSpec, Evaluation, Optimisation, StageSpec, from_json
from stacked.spec.growth import Updates
from stacked.util.serialization import flat, from_dict, to_json

MIXED = RunSpec(
    policy="joint",
    seed=3,
    data=DataSpec("digits", limit=500),
    stack=StackSpec((StageSpec("conv", 4), StageSpec("dense", 9, "sigmoid", (("tied", True),)))),
    budget=Budget((2.0, 3.0), 4.0, "updates"),
    optimisation=Optimisation(corruption="gaussian", corruption_level=(0.1, 0.2), clip=1.0, patience=2),
    classification=Classification(labels=(50, None)),
)


@pytest.mark.parametrize("spec", [RunSpec(), MIXED])
def test_round_trips_through_json_and_hashes(spec: RunSpec) -> None:
    again = from_json(to_json(spec))
    assert again == spec
    assert hash(again) == hash(spec)
    assert again.id == spec.id
    assert len(spec.id) == 16
    assert dataclasses.replace(spec, seed=spec.seed + 1).id != spec.id


def test_what_is_logged_is_what_was_written() -> None:
    values = flat(MIXED)
    assert values["stack.stages"][1] == {
        "kind": "dense",
        "width": 9,
        "activation": "sigmoid",
        "options": {"tied": True},
    }
    assert values["budget.stages"] == [2.0, 3.0]
    assert "id" not in values


def test_budgets_count_updates() -> None:
    assert Budget((2.0,), 0.5).in_updates(3, 100) == Updates((200, 200, 200), 50)
    assert Budget((1.0, 2.0), None).in_updates(2, 7) == Updates((7, 14), None)
    assert Budget((5,), 6, "updates").in_updates(2, 100) == Updates((5, 5), 6)
    assert Budget(None, 0.001).in_updates(2, 100) == Updates(None, 1)


REFUSED = [
    (
        lambda: RunSpec(policy="greddy"),
        r"policy 'greddy' is not known; did you mean 'greedy'\? Choose from greedy, greedy\+finetune, greedy\+unfreeze",
    ),
    (lambda: DataSpec("mnits"), r"'mnits'.*mnist"),
    (lambda: DataSpec(limit=0), "limit 0 is not allowed"),
    (lambda: DataSpec(valid=1.0), "valid 1.0 is not allowed"),
    (lambda: StackSpec.of("conv"), "at least one stage"),
    (lambda: StackSpec.of("conv", 4, 0), "width of a conv stage 0 is not allowed"),
    (
        lambda: StackSpec.of("konv", 4),
        r"stage kind 'konv' is not known; did you mean 'conv'\? Choose from .*conv, .*dense",
    ),
    (
        lambda: StackSpec.of("conv", 4, blocks=2),
        "option of a conv stage 'blocks' is not known: choose from kernel, tied",
    ),
    (lambda: StackSpec.of("conv", 4, activation="swish"), "activation 'swish'"),
    (lambda: Budget((0,)), "budget 0 is not allowed: give a number above 0"),
    (lambda: Budget((1,), -2), "budget -2 is not allowed"),
    (lambda: Budget((float("nan"),)), "budget nan is not allowed"),
    (lambda: Budget((1.5,), unit="updates"), "budget 1.5 is not a whole number of updates"),
    (lambda: Budget((1,), unit="steps"), "budget unit 'steps'"),
    (lambda: Optimisation(corruption_level=1.5), "corruption level 1.5 of masking is not allowed: give 0 to 1"),
    (lambda: Optimisation(corruption="gaussian", corruption_level=-0.1), "level -0.1 of gaussian .*: give 0 or more"),
    (
        lambda: Optimisation(corruption="mask"),
        r"corruption 'mask' is not known; did you mean 'masking'\? Choose from masking, block-masking, patch-masking, salt",
    ),
    (lambda: Optimisation(lr=0), "learning rate 0 is not allowed"),
    (lambda: Optimisation(loss="huber"), "loss 'huber' is not known"),
    (lambda: Optimisation(schedule="linear"), "schedule 'linear' is not known"),
    (lambda: Optimisation(optimiser="lion"), "optimiser 'lion' is not known"),
    (lambda: Optimisation(batch_size=0), "batch_size 0 is not allowed"),
    (lambda: Optimisation(patience=0), "patience 0 is not allowed"),
    (lambda: Optimisation(end_patience=0), "end_patience 0 is not allowed"),
    (lambda: Optimisation(end_schedule="linear"), "end_schedule 'linear' is not known"),
    (lambda: Evaluation(every=0), "every 0 is not allowed"),
    (lambda: Classification(labels=(0,)), "label budget 0 is not allowed"),
    (lambda: Classification(lrs=()), "lrs is empty"),
    (lambda: RunSpec(budget=Budget((1, 2, 3))), "3 stage budgets do not fit 4 stages"),
    (
        lambda: RunSpec(optimisation=Optimisation(corruption_level=(0.1, 0.2))),
        "2 corruption levels do not fit 4 stages",
    ),
    (lambda: Optimisation(dropout=1.0), "dropout 1.0 is not allowed: give 0 or more, below 1"),
    (lambda: Optimisation(dropout=(0.1, float("nan"))), "dropout nan is not allowed: give 0 or more, below 1"),
    (lambda: Optimisation(end_dropout=-0.1), "dropout -0.1 is not allowed: give 0 or more, below 1"),
    (lambda: Optimisation(end_corruption_level=1.5), "corruption level 1.5 of masking is not allowed: give 0 to 1"),
    (
        lambda: RunSpec(optimisation=Optimisation(end_corruption_level=(0.1, 0.2))),
        "2 end_corruption levels do not fit 4 stages",
    ),
    (lambda: RunSpec(optimisation=Optimisation(dropout=(0.1, 0.2))), "2 dropouts do not fit 4 stages"),
    (lambda: RunSpec(optimisation=Optimisation(end_dropout=(0.1, 0.2))), "2 end_dropouts do not fit 4 stages"),
    (lambda: RunSpec(policy="joint", budget=Budget((1,), None)), "give the budget an end_to_end part"),
    (lambda: RunSpec(policy="greedy", budget=Budget(None, 1)), "give the budget a number of updates or epochs a stage"),
    (
        lambda: RunSpec(policy="greedy", optimisation=Optimisation(loss="bce")),
        "loss 'bce' cannot be used in phase 'stage 2', which reconstructs values of a relu activation, which leave",
    ),
    (lambda: RunSpec(seed=-1), "seed -1 is not allowed"),
    (lambda: RunSpec(seed=2**63), "seed 9223372036854775808 is not allowed: give an integer of at most 922"),
    (lambda: Budget((1e300,)), r"budget 1e\+300 is not allowed: give at most 1,000,000,000"),
    (lambda: Optimisation(weight_decay=10**400), "weight_decay 10{400} is not allowed: give 0 or more"),
    (lambda: StackSpec.of("residual", 4, blocks=10**9), "blocks of a residual stage 1000000000 is not allowed"),
    (lambda: StackSpec.of("transformer", 4, blocks=1001), "blocks of a transformer stage 1001 is not allowed"),
    (lambda: StackSpec.of("conv", 4, kernel=1001), "kernel of a conv stage 1001 is not allowed: .* at most 999"),
    (lambda: StageSpec(options=(("kernel", 3), ("kernel", 5))), "kernel of a conv stage is not allowed twice"),  # type: ignore[arg-type]
    (lambda: DataSpec("folder:\ud800"), r"name 'folder:\\ud800' is not allowed: give a name in UTF-8"),
    (
        lambda: from_dict(RunSpec, {"sede": 1}),
        r"field of RunSpec 'sede' is not known; did you mean 'seed'\? Choose from policy",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cannot_run_is_refused_where_it_is_constructed(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_losses_that_fit_are_accepted() -> None:
    RunSpec(policy="joint", optimisation=Optimisation(loss="bce"))
    RunSpec(policy="greedy", optimisation=Optimisation(loss=("bce", "mse", "mse", "mse")))
    RunSpec(stack=StackSpec.of("dense", 9, 4, activation="sigmoid"), optimisation=Optimisation(loss="bce"))


def test_an_id_does_not_depend_on_the_process() -> None:
    assert json.loads(to_json(RunSpec()))["policy"] == "greedy+finetune"
    text = to_json(RunSpec())
    assert text == to_json(from_json(text))
