"""Arms: what they change of a study's spec, and what they are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stacked import InputError, RunSpec, StackSpec
from stacked.runs.run import run
from stacked.spec import Budget, Classification, Evaluation, Optimisation, StageSpec
from stacked.spec.growth import POLICIES, Phase, Updates
from studies.design.arms import Arm
from studies.framework.compute_budget import budgets, cost_function, find_scale
from studies.framework.training_study import TrainingStudy
from tests.helpers.splits import toy_splits

BASE = RunSpec(
    "joint",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 3.0),
    optimisation=Optimisation(batch_size=32, lr=1e-2, corruption_level=(0.1,)),
)


SIGMOID = [{"kind": "conv", "width": width, "activation": "sigmoid"} for width in (4, 6)]


def test_an_arm_is_the_policy_of_its_name_or_the_one_it_says() -> None:
    assert Arm("greedy").spec(BASE) == replace(BASE, policy="greedy")
    assert Arm("of the period", "greedy+finetune").spec(BASE) == replace(BASE, policy="greedy+finetune")


def test_dotted_names_change_fields_and_nothing_else() -> None:
    changes: dict[str, Any] = {
        "optimisation.optimiser": "sgd",
        "optimisation.penalties": {"l1": 0.1},
        "optimisation.corruption_level": [0.3, 0.0],
        "stack.init": "uniform",
        "classification.labels": [10, None],
        "budget.end_to_end": 7.0,
    }
    assert Arm("other", "greedy", changes).spec(BASE) == replace(
        BASE,
        policy="greedy",
        optimisation=replace(BASE.optimisation, optimiser="sgd", penalties=(("l1", 0.1),), corruption_level=(0.3, 0.0)),
        stack=replace(BASE.stack, init="uniform"),
        classification=Classification(labels=(10, None)),
        budget=Budget((2.0,), 7.0),
    )


def test_an_arm_has_blocks_of_its_own_at_equal_cost() -> None:
    base = replace(BASE, stack=StackSpec.of("conv", 4, 6, 8), budget=Budget((2.0,), 3.0), blocks=1)
    single, blocks = Arm("greedy"), Arm("blocks", "greedy", {"blocks": [2, 1]})
    assert blocks.spec(base) == replace(base, policy="greedy", blocks=(2, 1))
    splits = toy_splits(300)
    found = budgets(base, splits, [single, blocks], "flops", single)
    cost = cost_function(base, splits, 300, "flops", "cpu")
    spent = [cost(replace(arm.spec(base), budget=found[arm.name]).phases()) for arm in (single, blocks)]
    assert spent[1] == pytest.approx(spent[0], rel=0.1)  # updates are whole numbers
    with pytest.raises(InputError, match="arm 'blocks': blocks"):
        Arm("blocks", "greedy", {"blocks": 4}).spec(base)


def test_an_arm_changes_one_option_by_its_name_and_keeps_the_others() -> None:
    """As tuning does: values that it draws come after those of the arm."""
    arm = Arm("a", "greedy", {"optimisation.penalties": {"l1": 0.1, "kl": 0.2}, "stack.stages": SIGMOID})
    tried = arm.with_values({"optimisation.penalties.l1": 0.3}).spec(BASE)
    assert tried.optimisation.penalties == (("kl", 0.2), ("l1", 0.3))
    assert arm.spec(BASE).optimisation.penalties == (("kl", 0.2), ("l1", 0.1))
    base = replace(BASE, optimisation=replace(BASE.optimisation, penalties=(("l1", 0.5),)))
    one = Arm("b", "greedy", {"optimisation.penalties.weight-decay": 0.1}).spec(base)
    assert one.optimisation.penalties == (("l1", 0.5), ("weight-decay", 0.1))


def test_an_arm_may_have_a_stack_of_its_own() -> None:
    arm = Arm("linear", "joint", {"stack.stages": [{"kind": "dense", "width": 3, "activation": "linear"}]})
    assert arm.spec(BASE).stack == StackSpec((StageSpec("dense", 3, "linear"),))


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (Arm("gredy"), "policy 'gredy' is not known; did you mean 'greedy'? Choose from greedy, "),
        (Arm("a", "joint", {"optimisation.leaning": 1}), "field of Optimisation 'leaning' is not known: choose from "),
        (Arm("a", "joint", {"optimisation.lr": "fast"}), "lr 'fast' is not allowed: give a number"),
        (
            Arm("a", "joint", {"optimsation.lr": 1}),
            "changed part 'optimsation' is not known; did you mean 'optimisation'? Choose from stack, budget, optimisation",
        ),
        (Arm("a", "joint", {"seed": 1}), "changed part 'seed' is not known: choose from "),
        (Arm("a", "joint", {"data.limit": 100}), "changed part 'data' is not known: choose from "),
        (
            Arm("a", "joint", {"evaluation.every": 1}),
            "changed part 'evaluation' is not known: choose from ",
        ),
        (Arm("a", "joint", {"optimisation.lr.of": 1}), "lr 0.01 is not allowed: give values by name"),
        (
            Arm("a", "joint", {"optimisation.leaning.of": 1}),
            "field of Optimisation 'leaning' is not known: choose from ",
        ),
        (Arm("a", "joint", {"optimisation.penalties.l3": 1}), "penalty 'l3' is not known: choose from "),
        (Arm("a", "joint", {"optimisation": {}}), "field of Optimisation '' is not known: choose from "),
        (Arm("a", "greedy", {"optimisation.loss": "bce"}), "loss 'bce' cannot be used in phase 'stage 2', which "),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.name + str(dict(value.changes)),
)
def test_what_an_arm_cannot_change_is_named(arm: Arm, message: str) -> None:
    with pytest.raises(InputError) as error:
        arm.spec(BASE)
    assert str(error.value).startswith(f"arm '{arm.name}': {message}")
    assert "\n" not in str(error.value)
    assert not arm.is_valid_for(BASE)


def test_a_study_knows_its_arms_and_all_policies() -> None:
    mine = Arm("greedy", "joint", {"optimisation.lr": 0.5})
    study = TrainingStudy(name="s", title="S", question="?", protocol="", arms=(mine, Arm("period", "greedy")))
    assert study.arm_names == ("greedy", "period")
    assert study.arm("greedy") is mine
    assert study.arm("converge") == Arm("converge")
    with pytest.raises(
        InputError, match=r"arm 'gredy' is not known; did you mean 'greedy'\? Choose from greedy, period, greedy"
    ):
        study.arm("gredy")


SPLITS = toy_splits(150)
#: An epoch of 2 updates, and a rest.
FEW = toy_splits(70)
#: Stages that may converge, and do not.
PATIENT = {"optimisation.patience": 1000}
ALL = tuple(Arm(policy, changes=PATIENT if policy.startswith("converge") else {}) for policy in POLICIES)


def spent(arm: Arm, budget: Budget, equal: str) -> float:
    spec = arm.spec(BASE)
    phases = replace(spec, budget=budget).phases(spec.updates_per_epoch(len(SPLITS.train)))
    return cost_function(spec, SPLITS, len(SPLITS.train), equal, "cpu")(phases)


@pytest.mark.parametrize("equal", ["flops", "updates"])
def test_every_policy_gets_as_much_as_the_arm_that_is_measured_and_no_more(equal: str) -> None:
    """An update more of every part would be too much."""
    measured = Arm("greedy+finetune")
    base = replace(BASE, budget=Budget((40.0,), 60.0))
    found = budgets(base, SPLITS, ALL, equal, measured)
    assert found["greedy+finetune"] == Budget((160, 160), 240, "updates")
    goal = spent(measured, found["greedy+finetune"], equal)
    for arm in ALL:
        budget = found[arm.name]
        assert budget.unit == "updates"
        assert budget.stages is not None
        assert budget.end_to_end is not None
        cost = spent(arm, budget, equal)
        if arm.name == "random":
            assert cost == 0
            continue
        more = Budget(tuple(n + 1 for n in budget.stages), budget.end_to_end + 2, "updates")
        assert cost <= goal < spent(arm, more, equal), arm.name
        assert cost > 0.97 * goal, arm.name
        assert budget.stages[0] == budget.stages[1]  # proportions are kept
        assert budget.end_to_end / budget.stages[0] == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize(
    ("policy", "epochs"),
    [(policy, 2.0) for policy in POLICIES]
    + [(policy, 0.5) for policy in ("greedy", "converge+unfreeze", "supervised")],
)
def test_what_is_budgeted_is_what_a_run_records(policy: str, epochs: float) -> None:
    """Counted before, for a list of phases, and after, update by update; short phases compute their codes anew."""
    patience = 1000 if policy.startswith("converge") else None
    how = replace(BASE.optimisation, labels=40, penalties=(("contractive-estimate", 1e-3),), patience=patience)
    spec = replace(
        BASE,
        policy=policy,
        budget=Budget((epochs,), 3.0),
        optimisation=how,
        evaluation=Evaluation(images=8, probe_images=8, probe_labels=8),
        classification=Classification(labels=()),
    )
    phases = spec.phases(2)
    predicted = {equal: cost_function(spec, FEW, 70, equal, "cpu")(phases) for equal in ("flops", "updates")}
    row = run(spec, FEW).row
    assert row["updates"] == predicted["updates"]
    assert row["gflop"] * 1e9 == pytest.approx(predicted["flops"], rel=1e-12)


def test_an_arm_with_a_budget_of_its_own_keeps_it() -> None:
    changes = {"budget.stages": [1.0, 3.0], "budget.end_to_end": 2.0}
    arms = (Arm("greedy+finetune"), Arm("own", "greedy", changes, own_budget=True), Arm("same", "greedy", changes))
    found = budgets(BASE, SPLITS, arms, "updates", arms[0])
    assert found["own"] == Budget((4, 12), 8, "updates")
    assert found["same"].stages is not None
    assert sum(found["same"].stages) in (27, 28)  # of 8 + 8 + 12
    assert found["same"].stages == (7, 21)


@pytest.mark.parametrize(
    ("updates", "says"),
    [
        (lambda n: 5, "its cost does not increase with its budget: 5 with the budget, 5 with twice"),
        (lambda n: 5000, "its cost does not increase with its budget: 5,000 with the budget, 5,000 with twice"),
        (lambda n: max(1, 100 - n), "its cost does not increase with its budget: 93 with the budget, 86 with twice"),
        (lambda n: min(n, 20), "its cost reaches 20 at most, less than 21, whatever the budget"),
        (
            lambda n: 10 if n == 21 else n,
            "its cost falls while its budget grows: 14 with 2 times the budget, 10 with 3 times",
        ),
    ],
    ids=["constant, cheap", "constant, dear", "decreasing", "bounded", "not monotone"],
)
def test_an_arm_whose_cost_does_not_follow_its_budget_is_refused(
    updates: Callable[[int], int], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that somebody adds; a search for its budget would not end, or end at a wrong one."""

    def fixed(depth: int, budget: Updates) -> list[Phase]:
        assert budget.end_to_end is not None
        return [Phase("all", (1, depth), 0, updates(budget.end_to_end))]

    monkeypatch.setitem(POLICIES, "fixed", fixed)
    base = replace(BASE, budget=Budget((7.0,), 7.0, "updates"))
    with pytest.raises(InputError, match=f"^arm 'slow' with policy 'fixed' cannot have as many .*: {says}"):
        budgets(base, SPLITS, [Arm("slow", "fixed")], "updates", Arm("greedy+finetune"))


def test_a_cost_may_fall_a_little_while_the_budget_grows() -> None:
    """As where an update more for all phases together is one less for the dearest of them."""

    def cost(fall: float) -> Callable[[float], float]:
        return lambda factor: 1000 * factor - fall * (factor > 2.4)

    assert cost(140)(find_scale(cost(140), 2270)) == pytest.approx(2270)
    with pytest.raises(InputError, match=r"2,375 with 2\.375 times the budget, 2,300 with 2\.5 times"):
        find_scale(cost(200), 2270)


def test_an_arm_that_cannot_be_trained_can_still_be_the_measure() -> None:
    """Cross-entropy of rectified codes is refused, but joint training has none."""
    base = replace(BASE, optimisation=replace(BASE.optimisation, loss=("bce",)))
    measured = Arm("greedy+finetune")
    assert not measured.is_valid_for(base)
    found = budgets(base, SPLITS, [Arm("joint")], "flops", measured)
    plain = budgets(BASE, SPLITS, [Arm("joint")], "flops", measured)
    assert found == plain  # no loss has products that are counted


def test_supervised_arms_are_charged_for_what_they_read() -> None:
    """Codes of the labelled images alone are computed once."""
    few = Arm("supervised", changes={"optimisation.labels": 40})
    base = replace(BASE, optimisation=replace(BASE.optimisation, recalibrate=False))  # which goes by the epoch
    phases = [Arm("supervised").spec(base).phases(4), few.spec(base).phases(4)]
    found = [
        cost_function(arm.spec(base), SPLITS, 150, "flops", "cpu")(p)
        for arm, p in zip((Arm("supervised"), few), phases, strict=True)
    ]
    encode = 2 * 4 * 36 * 9
    assert found[0] - found[1] == (150 - 40) * encode
