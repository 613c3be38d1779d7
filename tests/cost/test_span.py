"""FLOPs one after another where each block that learns alone has a worker: those of the block with most, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stacked import RunSpec, StackSpec
from stacked.cost.fake_execution import encoding, longest_block
from stacked.cost.phase_cost import PhaseCost, phase_cost
from stacked.runs.run import load, run
from stacked.spec import Budget, Classification, DataSpec, Evaluation, Optimisation, StageSpec
from stacked.spec.growth import POLICIES, Phase, Updates
from studies.design.arms import Arm
from studies.framework.compute_budget import budgets, cost_function
from tests.helpers.splits import toy_splits

SHAPE = (1, 16, 16)
STACK = StackSpec.of("conv", 4, 6, 3)
HOW = Optimisation(batch_size=16)
OBJECTIVES = {"labels": 1.0, "image": 0.5}


def cost(policy: str, how: Optimisation, updates: int = 3, blocks: int | None = None) -> list[PhaseCost]:
    spec = RunSpec(policy, stack=STACK, optimisation=how, blocks=blocks, budget=Budget((3.0,), 3.0, "updates"))
    phases = spec.phases_of(Updates((updates,) * len(spec.block_lengths), updates))
    return [phase_cost(spec, SHAPE, phase, 100, 4) for phase in phases]


@pytest.mark.parametrize("blocks", [None, 2], ids=["stages", "pairs"])
@pytest.mark.parametrize(
    ("alone", "at_once", "how"),
    [
        ("greedy", "simultaneous", HOW),
        ("local", "local-simultaneous", replace(HOW, objectives=OBJECTIVES)),
        ("local", "local-simultaneous", replace(HOW, objectives={"labels": (1.0, 0.0, 1.0), "input": 0.1})),
    ],
    ids=["reconstruction", "objectives", "objectives of stages"],
)
def test_a_block_costs_at_once_what_it_costs_alone(
    alone: str, at_once: str, how: Optimisation, blocks: int | None
) -> None:
    """Nothing is corrupted, so the code that a block passes on is that of its own forward pass."""
    each = [one.update.flop for one in cost(alone, how, blocks=blocks)]
    (found,) = cost(at_once, how, blocks=blocks)
    assert found.update.flop == sum(each)
    assert found.flops_aside == sum(each) - max(each) > 0
    assert found.flops - found.span == 3 * found.flops_aside
    assert found.span == 3 * max(each)


def test_a_block_that_reads_corrupted_codes_also_passes_on_its_clean_code() -> None:
    """By hand: for all blocks but the last, another encoding of the clean input; views are parts of the block."""
    how = replace(HOW, corruption_level=0.2, objectives={"barlow-twins": 1.0}, recalibrate=False)
    each = [one.update.flop for one in cost("local", how)]
    passed = [encoding(STACK, SHAPE, k, 16).flop - encoding(STACK, SHAPE, k - 1, 16).flop for k in range(2, 3)]
    passed = [encoding(STACK, SHAPE, 1, 16).flop, *passed, 0]
    (found,) = cost("local-simultaneous", how)
    assert found.update.flop == sum(each) + sum(passed)
    assert found.update.flop - found.flops_aside == max(map(sum, zip(each, passed, strict=True)))


def test_a_single_worker_computes_what_is_not_at_once() -> None:
    """Whole stacks, frozen stages, a single block, and recalibration."""
    for policy in ("joint", "greedy", "joint-local", "lock", "progressive"):
        assert all(one.span == one.flops and one.flops_aside == 0 for one in cost(policy, HOW))
    assert [one.flops_aside for one in cost("simultaneous", HOW, blocks=3)] == [0]
    (found,) = cost("simultaneous", replace(HOW, corruption_level=0.2))
    assert found.recalibrations == 3
    assert found.span == 3 * (found.update.flop - found.flops_aside) + 3 * found.recalibration.flop


def test_blocks_that_follow_what_is_hidden_below_are_counted_with_what_they_see() -> None:
    """Masked transformers: less than on whole images, and every block is a part of the whole."""
    stages = tuple(StageSpec("transformer", 8, options=(("patch", patch), ("visible_only", True))) for patch in (4, 1))
    stack, phase = StackSpec(stages), Phase("all", (1, 2), 0, 1, target="objectives", local_loss="alone")
    masked = Optimisation(
        batch_size=8,
        corruption="patch-masking",
        corruption_patch=4,
        corruption_level=(0.75, 0.0),
        objectives={"image": 1.0},
    )
    whole = replace(masked, corruption_level=(0.0,))
    seen, every = (longest_block(stack, SHAPE, phase, how, 8) for how in (masked, whole))
    assert 0 < seen < every


@pytest.mark.parametrize("policy", ["simultaneous+finetune", "greedy"])
def test_a_run_reports_the_span_of_its_phases(policy: str) -> None:
    splits = toy_splits()
    spec = RunSpec(
        policy,
        stack=StackSpec.of("conv", 4, 6),
        budget=Budget((3.0,), 2.0, "updates"),
        optimisation=Optimisation(batch_size=32),
        evaluation=Evaluation(every=2, images=32, probes=()),
        classification=Classification(labels=()),
    )
    row = run(spec, splits).row
    costs = [phase_cost(spec, splits.input_shape, phase, len(splits.train)) for phase in spec.phases()]
    assert row["gflop"] == pytest.approx(sum(one.flops for one in costs) / 1e9, rel=1e-12)
    assert row["span_gflop"] == pytest.approx(sum(one.span for one in costs) / 1e9, rel=1e-12)
    assert (row["span_gflop"] < row["gflop"]) == (policy != "greedy")


def test_budgets_of_equal_span_give_blocks_at_once_more_updates() -> None:
    """Each block has the time of the whole stack, so that all of them together spend more FLOPs than it."""
    base = RunSpec(stack=StackSpec.of("conv", 4, 8), budget=Budget((20.0,), 20.0, "updates"))
    splits, arms = load(RunSpec(data=DataSpec("digits"))), [Arm("joint"), Arm("greedy"), Arm("simultaneous")]
    spent = dict[str, dict[str, float]]()
    for equal in ("flops", "span"):
        found = budgets(base, splits, arms, equal, Arm("joint"))
        for measured in ("flops", "span"):
            price = cost_function(base, splits, len(splits.train), measured, "cpu")
            phases = {arm.name: POLICIES[arm.name](2, found[arm.name].in_updates(2, 1)) for arm in arms}
            spent[equal] = spent.get(equal, {}) | {f"{arm} {measured}": price(phases[arm]) for arm in phases}
    for equal, values in spent.items():
        assert 0.85 * values[f"joint {equal}"] < values[f"greedy {equal}"] <= values[f"joint {equal}"]
        assert 0.9 * values[f"joint {equal}"] < values[f"simultaneous {equal}"] <= values[f"joint {equal}"]
    assert spent["flops"]["simultaneous span"] < 0.9 * spent["flops"]["joint span"]
    assert spent["span"]["simultaneous flops"] > 1.1 * spent["span"]["joint flops"]
    assert spent["span"]["greedy flops"] == spent["flops"]["greedy flops"]
