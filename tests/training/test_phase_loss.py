"""What a phase minimises: an update of every kind of phase against a plain PyTorch loop, in value and gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked import StackedAutoencoder
from stacked.runtime.rng import seeded
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.phases import (
    ALONE,
    CLASSES_2,
    IMAGES,
    JOINT,
    LABELS,
    LOCAL,
    MASKED,
    PIXELS_3,
    PLAIN,
    SEED,
    STAGE_2,
    STEP,
    assert_is,
    codes_of,
    decoded,
    encoded,
    error,
    noisy,
    pixels,
    sigmoid_stack,
    stack_of,
    with_batch_norm,
)


@pytest.fixture
def stack() -> StackedAutoencoder:
    return sigmoid_stack()


# One update of each kind of phase


@pytest.mark.parametrize(("how", "see"), [(PLAIN, lambda x: x), (MASKED, noisy)], ids=["clean", "masked"])
def test_greedy_reconstructs_the_clean_code_it_reads(
    how: Optimisation, see: Callable[[Tensor], Tensor], stack: StackedAutoencoder
) -> None:
    code = codes_of(stack, pixels())[1]
    assert_is(
        stack,
        STAGE_2,
        how,
        code,
        lambda stages: error(decoded(stages[1], encoded(stages[1], see(code))), code),
        ("stages.1.",),
    )


@pytest.mark.parametrize(("how", "see"), [(PLAIN, lambda x: x), (MASKED, noisy)], ids=["clean", "masked"])
def test_pixels_are_reconstructed_through_the_frozen_decoders(
    how: Optimisation, see: Callable[[Tensor], Tensor], stack: StackedAutoencoder
) -> None:
    """The target is another tensor than what is read, and the gradient reaches stage 3 alone."""
    code, target = codes_of(stack, pixels())[2], torch.rand(8, 1, 12, 12, dtype=torch.float64)

    def plain(stages: Any) -> Tensor:
        x = encoded(stages[2], see(code))
        for k in (2, 1, 0):
            x = decoded(stages[k], x)
        return error(x, target)

    assert_is(stack, PIXELS_3, how, code, plain, ("stages.2.",), target)


def test_the_first_stage_reconstructs_pixels_whichever_target_is_named(stack: StackedAutoencoder) -> None:
    x = pixels()
    losses = [
        PhaseLoss(stack, Phase("stage 1", (1, 1), 0, 1, target), MASKED)(x, given, STEP)
        for target, given in (("input", None), ("pixels", x))
    ]
    assert torch.equal(*losses)


@pytest.mark.parametrize("phase", [JOINT, Phase("stages 1-3", (1, 3), 0, 1)], ids=["joint", "progressive"])
def test_joint_and_progressive_reconstruct_clean_pixels_through_all_stages(
    phase: Phase, stack: StackedAutoencoder
) -> None:
    x = pixels()

    def plain(stages: Any) -> Tensor:
        code = noisy(x)
        for stage in stages:
            code = encoded(stage, code)
        for stage in reversed(stages):
            code = decoded(stage, code)
        return error(code, x)

    assert_is(stack, phase, MASKED, x, plain, ("stages.",))


def test_a_progressive_stack_knows_nothing_of_the_stages_to_come(stack: StackedAutoencoder) -> None:
    x = pixels()

    def plain(stages: Any) -> Tensor:
        return error(decoded(stages[0], decoded(stages[1], encoded(stages[1], encoded(stages[0], x)))), x)

    assert_is(stack, Phase("stages 1-2", (1, 2), 0, 1), PLAIN, x, plain, ("stages.0.", "stages.1."))


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_simultaneous_stages_learn_each_alone_on_the_clean_code_below(level: float, stack: StackedAutoencoder) -> None:
    """The gradient of each is that of training it alone; nothing comes from above. Corruption stops at the stage it hits."""
    x = pixels()
    clean = codes_of(stack, x)
    seen = [clean[0], clean[1], clean[2]]
    if level:
        seen = [noisy(clean[0]), noisy(clean[1], 2), noisy(clean[2], 3)]

    def plain(stages: Any) -> Tensor:
        return torch.stack([error(decoded(s, encoded(s, seen[k])), clean[k]) for k, s in enumerate(stages)]).sum()

    assert_is(stack, ALONE, replace(PLAIN, corruption_level=(level,)), x, plain, ("stages.",))
    for k in (1, 2, 3):
        one = sigmoid_stack().learn_only(k, k)
        error(decoded(one.stages[k - 1], encoded(one.stages[k - 1], seen[k - 1])), clean[k - 1]).backward()
        for mine, theirs in zip(stack.stages[k - 1].parameters(), one.stages[k - 1].parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_joint_local_adds_the_weighted_losses_of_all_stages(level: float, stack: StackedAutoencoder) -> None:
    """Each stage restores what it reads now, which is held still as a target; for the first that is the clean image."""
    how = replace(PLAIN, corruption_level=(level,), local_weight=0.7)
    x = pixels()

    def plain(stages: Any) -> Tensor:
        def see(code: Tensor, *place: int) -> Tensor:
            return noisy(code, *place) if level else code

        codes = [see(x)]
        for stage in stages:
            codes.append(encoded(stage, codes[-1]))
        output = codes[-1]
        for stage in reversed(stages):
            output = decoded(stage, output)
        total = error(output, x) + 0.7 * error(decoded(stages[0], encoded(stages[0], see(x))), x)
        for k in (2, 3):
            read = codes[k - 1]
            total = total + 0.7 * error(decoded(stages[k - 1], encoded(stages[k - 1], see(read, k))), read.detach())
        return total

    assert_is(stack, LOCAL, how, x, plain, ("stages.",))


def test_joint_local_without_weight_is_joint(stack: StackedAutoencoder) -> None:
    losses = [
        PhaseLoss(stack, phase, how)(pixels(), None, STEP)
        for phase, how in ((JOINT, PLAIN), (LOCAL, replace(PLAIN, local_weight=1e-300)))
    ]
    assert torch.equal(*losses)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_local_losses_leave_the_running_statistics_to_the_way_to_the_pixels(level: float) -> None:
    """Batch norms of decoders see a code and its reconstruction: in use they are to serve one of them, not the mean of both."""
    how = replace(PLAIN, corruption_level=(level, 0.3, 0.3))
    joint, local = with_batch_norm().train(), with_batch_norm().train()
    x = IMAGES[:32].float() / 255
    for each, phase in ((joint, JOINT), (local, LOCAL)):
        PhaseLoss(each, phase, how, seed=SEED)(x, None, STEP)
    fresh = dict(with_batch_norm().named_buffers())
    for (name, buffer), other in zip(joint.named_buffers(), local.buffers(), strict=True):
        assert torch.equal(buffer, other), name
        assert not torch.equal(buffer, fresh[name]), name
    assert {norm.momentum for norm in local.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}


@pytest.mark.parametrize("tied", [False, True])
def test_supervised_phases_learn_classes_by_a_head_of_their_own(tied: bool) -> None:
    stack = stack_of(7, 5, activation="sigmoid", tied=tied).double()
    code = codes_of(stack, pixels())[1]
    stack.learn_only(2, 2).train()
    before = torch.random.get_rng_state()
    objective = PhaseLoss(stack, CLASSES_2, MASKED, seed=SEED, classes=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    with seeded(SEED, "auxiliary head", 2):
        head = nn.Linear(5, 4)
    assert [name for name, _ in objective.named_parameters()] == ["head.weight", "head.bias"]
    assert objective.head is not None
    assert torch.equal(objective.head.weight, head.weight)

    objective.double()(code, LABELS[:8], STEP).backward()
    twin = copy.deepcopy(stack).stages[1]
    layer: Any = twin.encoder[1]
    F.cross_entropy(head.double()(encoded(twin, noisy(code))), LABELS[:8]).backward()
    for name, parameter in stack.named_parameters():
        reached = name.startswith("stages.1.encoder")
        assert (parameter.grad is not None) == reached, name  # no decoder learns, nor what is below
    for mine, theirs in [
        (stack.get_parameter("stages.1.encoder.1.weight"), layer.weight),
        (stack.get_parameter("stages.1.encoder.1.bias"), layer.bias),
        (objective.head.weight, head.weight),
        (objective.head.bias, head.bias),
    ]:
        assert mine.grad is not None
        assert mine.grad.any()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=0)


def test_phases_after_growth_may_have_a_corruption_of_their_own(stack: StackedAutoencoder) -> None:
    """As of stacked denoising autoencoders that are fine-tuned on clean images (Xie et al. 2016)."""
    end, x = replace(JOINT, is_finetuning=True), pixels()
    clean_end, noisy_end = (
        replace(MASKED, end_corruption_level=(0.0,)),
        replace(PLAIN, end_corruption_level=(0.0, 0.3, 0.3)),
    )

    def loss(phase: Phase, how: Optimisation) -> float:
        return PhaseLoss(stack.learn_only(*phase.trainable), phase, how, seed=SEED)(x, None, STEP).item()

    assert loss(JOINT, clean_end) == loss(JOINT, MASKED) != loss(JOINT, PLAIN)
    assert loss(end, clean_end) == loss(end, PLAIN) != loss(end, MASKED)
    assert loss(end, noisy_end) == loss(end, PLAIN)  # whose images are clean
    assert loss(end, replace(PLAIN, end_corruption_level=0.3)) == loss(end, MASKED)
    local = replace(LOCAL, is_finetuning=True)
    assert loss(local, noisy_end) != loss(local, PLAIN)  # stages above the first reconstruct corrupted codes
    only_end = replace(PLAIN, end_corruption_level=0.3)
    assert (clean_end.corrupts(JOINT), clean_end.corrupts(end)) == (True, False)
    assert (only_end.corrupts(JOINT), only_end.corrupts(end)) == (False, True)
    assert noisy_end.corruptive
