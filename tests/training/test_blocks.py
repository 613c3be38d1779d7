"""Training in blocks of several stages: gradients pass inside a block, and none from a block to the one below."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stacked import Budget, RunSpec, StackSpec, pretrain
from stacked.model.stack import StackedAutoencoder
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.phases import (
    IMAGES,
    PLAIN,
    SEED,
    assert_is,
    codes_of,
    decoded,
    encoded,
    error,
    noisy,
    pixels,
    sigmoid_stack,
    stack_of,
)
from tests.helpers.runs import same_weights

#: stages 1 and 2, and stage 3
BLOCKS = Phase("simultaneous", (1, 3), 0, 1, local_loss="alone", blocks=(2, 1))
ADDED = replace(BLOCKS, local_loss="added")
SPEC = RunSpec(
    "greedy+finetune",
    stack=StackSpec.of("conv", 4, 5, 6),
    budget=Budget(3, 4, "updates"),
    optimisation=Optimisation(batch_size=32, lr=1e-2, corruption_level=0.2, dropout=0.1),
)


def restored(stages: Any, read: Tensor) -> Tensor:
    """What these stages restore of what the first of them reads."""
    code = read
    for stage in stages:
        code = encoded(stage, code)
    for stage in reversed(stages):
        code = decoded(stage, code)
    return code


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_each_block_restores_what_it_reads(level: float) -> None:
    stack, x = sigmoid_stack(), pixels()

    def plain(stages: Any) -> Tensor:
        code = codes_of(stack, x)[2]
        below, above = (x, code) if level == 0 else (noisy(x, level=level), noisy(code, 3, level=level))
        return error(restored(stages[:2], below), x) + error(restored(stages[2:], above), code)

    assert_is(stack, BLOCKS, replace(PLAIN, corruption_level=(level,)), x, plain, ("stages.",))


def test_losses_of_blocks_are_added_to_that_of_all() -> None:
    stack, x = sigmoid_stack(), pixels()

    def plain(stages: Any) -> Tensor:
        code = encoded(stages[1], encoded(stages[0], x))
        local = error(restored(stages[:2], x), x) + error(restored(stages[2:], code), code.detach())
        return error(restored(stages, x), x) + 0.5 * local

    assert_is(stack, ADDED, replace(PLAIN, local_weight=0.5), x, plain, ("stages.",))


@pytest.mark.parametrize("how", [PLAIN, replace(PLAIN, dropout=(0.5, 0.0, 0.0))], ids=["plain", "dropout"])
def test_the_first_gradients_are_those_of_greedy_training(how: Optimisation) -> None:
    """Also where stage 1 drops out: the second block reads whole codes, as if the first were frozen."""
    ours, x = sigmoid_stack(), pixels()
    greedy = copy.deepcopy(ours)
    PhaseLoss(ours.train(), BLOCKS, how, seed=SEED)(x, None, 0).backward()
    for phase in (Phase("stages 1-2", (1, 2), 0, 1), Phase("stage 3", (3, 3), 2, 1)):
        greedy.learn_only(*phase.trainable).train()
        with torch.no_grad():
            read = greedy.encode(x, phase.input_depth)
        PhaseLoss(greedy, phase, how, seed=SEED)(read, None, 0).backward()
    for (name, mine), theirs in zip(ours.named_parameters(), greedy.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=0, msg=name)


def test_no_gradient_passes_from_a_block_to_the_one_below() -> None:
    """A change of stage 3 does not change the gradients of stages 1 and 2; one of stage 2 changes those of stage 1."""

    def gradients(change: int | None) -> list[Tensor]:
        stack = stack_of(7, 5, 4)
        if change is not None:
            with torch.no_grad():
                stack.stages[change].encoder[1].weight.mul_(2)
        PhaseLoss(stack.train(), BLOCKS, PLAIN, seed=SEED)(pixels().float(), None, 0).backward()
        return [p.grad for p in stack.stages[0].parameters() if p.grad is not None]

    before = gradients(None)
    assert all(map(torch.equal, before, gradients(2)))
    assert not all(map(torch.equal, before, gradients(1)))


def test_batch_norms_of_a_block_read_each_batch_once() -> None:
    """Also where the block is encoded a second time, without corruption, for the block above."""
    stack = stack_of(4, 6, 8, kind="conv").train()
    PhaseLoss(stack, BLOCKS, replace(PLAIN, corruption_level=(0.3,)))(pixels().float(), None, 0)
    counts = [int(value) for name, value in stack.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counts
    assert set(counts) == {1}


def trained(spec: RunSpec) -> StackedAutoencoder:
    return pretrain(spec, IMAGES)


@pytest.mark.parametrize("policy", ["greedy+finetune", "simultaneous", "joint-local", "progressive+unfreeze"])
def test_blocks_are_not_trained_as_stages(policy: str) -> None:
    spec = replace(SPEC, policy=policy)
    assert not same_weights(trained(spec), trained(replace(spec, blocks=2)))


def test_one_block_of_all_stages_is_joint_training() -> None:
    """To the bit, if the block has the budget that joint training has."""
    block = replace(SPEC, policy="greedy", budget=Budget(6, None, "updates"), blocks=3)
    joint = replace(SPEC, policy="joint", budget=Budget(None, 6, "updates"))
    assert same_weights(trained(block), trained(joint))


def test_early_stopping_watches_the_losses_of_all_blocks() -> None:
    stack, x = sigmoid_stack(), pixels()
    loss = PhaseLoss(stack, BLOCKS, PLAIN)
    torch.testing.assert_close(loss.loss_per_example(x, None).mean(), loss(x, None, 0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("policy", ["greedy", "simultaneous"])
def test_a_linear_decoder_is_for_blocks_of_one_stage(policy: str) -> None:
    """A stage that restores what it reads may leave out its activation; a block of several decodes as it is used."""
    phases = replace(SPEC, policy=policy, stack=StackSpec.of("dense", 4, 5, 6), blocks=(2, 1)).phases()
    assert [any(phase.is_alone(stage) for phase in phases) for stage in (1, 2, 3)] == [False, False, True]
