"""Policies on blocks of several stages: their phases, and what cannot be divided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stacked import Budget, InputError, RunSpec, StackSpec
from stacked.spec import Optimisation, from_json
from stacked.spec.blocks import block_lengths, in_blocks
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.util.serialization import to_json
from tests.helpers.policies import needs_equal_stages, needs_patience

STACK = StackSpec.of("dense", 9, 8, 7, 6, 5)
BUDGET = Updates((10, 20, 30), 40)
LENGTHS = (2, 2, 1)


def phases(policy: str, lengths: tuple[int, ...] = LENGTHS, budget: Updates = BUDGET) -> list[Phase]:
    return in_blocks(POLICIES[policy], lengths)(len(lengths), budget)


@pytest.mark.parametrize(
    ("blocks", "lengths"), [(None, (1,) * 5), (1, (1,) * 5), (2, (2, 2, 1)), (5, (5,)), ((1, 3, 1), (1, 3, 1))]
)
def test_lengths(blocks: Any, lengths: tuple[int, ...]) -> None:
    assert block_lengths(blocks, 5) == lengths
    assert RunSpec(stack=STACK, blocks=blocks).block_lengths == lengths


@pytest.mark.parametrize("blocks", [0, 6, -1, (2, 2), (2, 2, 2), (5, 0), (4, 2, -1), (), "2", 2.0, True, (2.0, 3)])
def test_blocks_that_do_not_fit_are_refused(blocks: Any) -> None:
    with pytest.raises(InputError, match="give "):
        RunSpec(stack=STACK, blocks=blocks)


@pytest.mark.parametrize("policy", POLICIES)
def test_blocks_of_one_stage_are_stages(policy: str) -> None:
    assert phases(policy, (1, 1, 1)) == POLICIES[policy](3, BUDGET)


@pytest.mark.parametrize("policy", POLICIES)
def test_blocks_cover_the_stages_as_the_policy_says(policy: str) -> None:
    ends = (0, 2, 4, 5)
    plain, ours = POLICIES[policy](3, BUDGET), phases(policy)
    assert len({phase.name for phase in ours}) == len(ours) == len(plain)
    for before, after in zip(plain, ours, strict=True):
        first, last = before.trainable
        assert after.trainable == (ends[first - 1] + 1, ends[last])
        assert after.input_depth == ends[before.input_depth]
        of_blocks = [(ends[k - 1] + 1, ends[k]) for k in range(first, last + 1)]
        assert after.ranges == ([after.trainable] if before.local_loss == "none" else of_blocks)
        same = {"name": "", "trainable": (1, 1), "input_depth": 0, "blocks": ()}
        assert replace(before, **same) == replace(after, **same)


def test_names_are_those_of_stages() -> None:
    assert [phase.name for phase in phases("greedy")] == ["stages 1-2", "stages 3-4", "stage 5"]
    assert [phase.name for phase in phases("progressive")] == ["stages 1-2", "stages 1-4", "stages 1-5"]
    assert [phase.name for phase in phases("greedy+unfreeze")[3:]] == [
        "unfreezing 5-5",
        "unfreezing 3-5",
        "unfreezing 1-5",
    ]
    assert [phase.name for phase in phases("simultaneous+finetune")] == ["simultaneous", "fine-tuning"]


def test_one_block_of_all_stages_is_joint_training() -> None:
    (one,) = in_blocks(POLICIES["greedy"], (3,))(1, Updates((40,), None))
    assert replace(one, name="joint") == POLICIES["joint"](3, BUDGET)[0]


@pytest.mark.parametrize(
    "policy", [name for name in POLICIES if not needs_patience(name) and not needs_equal_stages(name)]
)
def test_specs_with_blocks_are_stored_and_read(policy: str) -> None:
    for blocks in (2, (2, 3)):
        spec = RunSpec(policy, stack=STACK, blocks=blocks)
        assert from_json(to_json(spec)) == spec
        assert spec.id != RunSpec(policy, stack=STACK).id
    assert "blocks" not in to_json(RunSpec(policy, stack=STACK))


@pytest.mark.parametrize("blocks", [1, (1,) * 5])
def test_a_spec_with_blocks_of_one_stage_is_that_without_blocks(blocks: Any) -> None:
    made, without = RunSpec(stack=STACK, blocks=blocks), RunSpec(stack=STACK)
    assert (made, made.id) == (without, without.id)
    assert replace(RunSpec(stack=STACK, blocks=2), blocks=blocks) == without


def test_a_budget_is_one_of_each_block() -> None:
    spec = RunSpec("greedy", stack=STACK, blocks=2, budget=Budget((1, 2, 3), None, "updates"))
    assert [phase.updates for phase in spec.phases()] == [1, 2, 3]
    with pytest.raises(InputError, match="5 stage budgets do not fit 3 blocks"):
        replace(spec, budget=Budget((1, 2, 3, 4, 5), None, "updates"))


def test_settings_of_stages_keep_their_meaning() -> None:
    how = Optimisation(batch_size=(1, 10, 10, 40, 50), corruption_level=(0.1, 0.2, 0.3, 0.0, 0.5))
    spec = RunSpec("greedy", stack=STACK, blocks=2, optimisation=how)
    assert spec.updates_per_epoch(1000)[:3] == [100, 25, 20]
    assert [how.batch_size_of(phase) for phase in spec.phases()] == [10, 40, 50]
    assert [how.levels_at(phase.input_depth) for phase in spec.phases()] == [(0.1,), (0.3,), (0.5,)]


@pytest.mark.parametrize("policy", ["simultaneous", "joint-local"])
def test_a_loss_inside_of_a_block_need_not_fit(policy: str) -> None:
    """A cross-entropy for rectified codes is refused where they are restored, and not inside of a block."""
    how = Optimisation(loss=("mse", "bce", "mse", "mse", "mse"))
    assert RunSpec(policy, stack=STACK, blocks=2, optimisation=how)
    with pytest.raises(InputError, match="loss 'bce' cannot be used"):
        RunSpec(policy, stack=STACK, optimisation=how)
