"""What is added to a phase's reconstruction, what arms share of it, and what early stopping watches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked import StackedAutoencoder, StackSpec
from stacked.components.corruption import gaussian, masking
from stacked.components.penalties import PENALTIES
from stacked.components.winner_take_all import lifetime
from stacked.model.stack import build
from stacked.runtime.rng import generator, seeded
from stacked.spec import Optimisation
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.stages import Stage
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.phases import (
    ALONE,
    CLASSES_2,
    JOINT,
    LABELS,
    LOCAL,
    MASKED,
    PIXELS_2,
    PIXELS_3,
    PLAIN,
    SEED,
    STAGE_2,
    STEP,
    TOP_TWO,
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


@pytest.fixture
def stack() -> StackedAutoencoder:
    return sigmoid_stack()


# What is added to the reconstruction


def test_emphasis_weights_what_was_hit(stack: StackedAutoencoder) -> None:
    x = pixels()
    hit = masking(x, 0.3, generator(SEED, "corruption", STEP)).hit
    assert hit is not None

    def plain(stages: Any) -> Tensor:
        squared = (decoded(stages[0], encoded(stages[0], noisy(x))) - x).square()
        return (1.5 * squared[hit].sum() + 0.25 * squared[~hit].sum()) / x.numel()

    assert_is(stack, Phase("1", (1, 1), 0, 1), replace(MASKED, emphasis=(1.5, 0.25)), x, plain, ("stages.0.",))


def test_equal_emphasis_scales_the_loss_and_1_is_none(stack: StackedAutoencoder) -> None:
    for phase in (JOINT, ALONE, LOCAL):
        one, half, none = (
            PhaseLoss(stack, phase, replace(MASKED, emphasis=emphasis))(pixels(), None, STEP)
            for emphasis in ((1.0, 1.0), (0.5, 0.5), None)
        )
        assert torch.equal(one, none)
        assert torch.equal(half, 0.5 * none)


def relu_stack(linear: bool) -> StackedAutoencoder:
    """The same weights, with the rectifier of the second decoder or without."""
    spec = StackSpec.of("dense", 7, 5, activation="relu")
    if linear:
        spec = replace(spec, stages=(spec.stages[0], replace(spec.stages[1], decoder="linear")))
    with seeded(0, "init"):
        return build(spec, (1, 12, 12)).double()


def test_a_linear_decoder_compares_before_the_activation_and_leaves_the_stack_as_it_is() -> None:
    how = replace(PLAIN, linear_decoder=True)
    stack, reference = relu_stack(False), relu_stack(True)
    code = codes_with_relu(stack, pixels())
    before = stack.stages[1](code)
    linear = PhaseLoss(stack, STAGE_2, how)(code, None, STEP)
    assert torch.equal(linear, PhaseLoss(reference, STAGE_2, PLAIN)(code, None, STEP))
    assert not torch.equal(linear, PhaseLoss(stack, STAGE_2, PLAIN)(code, None, STEP))
    assert torch.equal(stack.stages[1](code), before)
    assert isinstance(stack.stages[1].decoder[-1], nn.ReLU)
    assert torch.equal(stack.stages[1](code), reference.stages[1](code).relu())


def codes_with_relu(stack: StackedAutoencoder, x: Tensor) -> Tensor:
    with torch.no_grad():
        return stack.encode(x, 1)


@pytest.mark.parametrize(
    ("phase", "linear"),
    [
        (Phase("stage 1", (1, 1), 0, 1), True),
        (Phase("stage 1", (1, 1), 0, 1, target="pixels"), True),
        (replace(ALONE, trainable=(1, 2)), True),
        (replace(LOCAL, trainable=(1, 2)), False),
        (Phase("joint", (1, 2), 0, 1), False),
        (PIXELS_2, False),
        (Phase("stage 2, from pixels", (2, 2), 0, 1), False),
        (CLASSES_2, False),
    ],
    ids=lambda value: f"{value.name}-{value.target}-{value.local_loss}" if isinstance(value, Phase) else str(value),
)
def test_linear_decoders_are_for_stages_that_learn_on_what_they_read(phase: Phase, linear: bool) -> None:
    assert all(phase.is_alone(k) == linear for k in range(phase.trainable[0], phase.depth + 1))
    if phase.target == "labels":
        return
    stack = relu_stack(False)
    read = pixels() if phase.input_depth == 0 else codes_with_relu(stack, pixels())
    target = pixels() if phase.target == "pixels" else None
    plain, through = (
        PhaseLoss(stack, phase, h)(read, target, STEP) for h in (PLAIN, replace(PLAIN, linear_decoder=True))
    )
    assert torch.equal(plain, through) != linear


def test_early_stopping_watches_through_the_linear_decoder_too() -> None:
    stack, how = relu_stack(False), replace(PLAIN, linear_decoder=True)
    code = codes_with_relu(stack, pixels())
    watched = PhaseLoss(stack, STAGE_2, how).loss_per_example(code, None)
    torch.testing.assert_close(watched.mean(), PhaseLoss(stack, STAGE_2, how)(code, None, STEP), rtol=1e-14, atol=0)


def test_cross_entropy_from_logits_is_that_of_the_probabilities(stack: StackedAutoencoder) -> None:
    x = pixels()

    def plain(stages: Any) -> Tensor:
        output = x
        for stage in stages:
            output = encoded(stage, output)
        for stage in reversed(stages):
            output = decoded(stage, output)
        return F.binary_cross_entropy(output, x)

    assert_is(stack, JOINT, replace(PLAIN, loss=("bce",)), x, plain, ("stages.",))


def test_each_depth_has_its_own_loss(stack: StackedAutoencoder) -> None:
    how, code = replace(PLAIN, loss=("mse", "l1", "bce")), codes_of(stack, pixels())[1]
    assert_is(
        stack,
        STAGE_2,
        how,
        code,
        lambda stages: (decoded(stages[1], encoded(stages[1], code)) - code).abs().mean(),
        ("stages.1.",),
    )


def penalised(stages: Any, reads: list[Tensor], codes: list[Tensor], at: list[int], how: Optimisation) -> Tensor:
    """The weighted sum of all penalties of these stages, from their definitions."""
    total = torch.zeros((), dtype=torch.float64)
    for k in at:
        for name, weight in how.penalties:
            drawn = generator(SEED, name, STEP, k)
            total = total + weight * PENALTIES[name].of(stages[k - 1], reads[k - 1], codes[k - 1], drawn)
    return total


TERMS = {"l1": 0.1, "kl": 0.2, "orthogonality": 0.3, "weight-decay": 0.01}
GRADIENT = {"contractive-estimate": 0.05}


@pytest.mark.parametrize("terms", [TERMS, {"contractive": 0.02}, GRADIENT, TERMS | GRADIENT], ids=lambda t: "+".join(t))
@pytest.mark.parametrize(
    ("phase", "at"),
    [
        (STAGE_2, [2]),
        (TOP_TWO, [2, 3]),
        (JOINT, [1, 2, 3]),
        (LOCAL, [1, 2, 3]),
        (Phase("stage 2, from pixels", (2, 2), 0, 1), [2]),
    ],
)
def test_penalties_are_added_on_every_learning_stage(
    phase: Phase, at: list[int], terms: dict[str, float], stack: StackedAutoencoder
) -> None:
    """Of the codes of what was seen, corrupted as it is."""
    plain, how = MASKED, replace(MASKED, penalties=tuple(terms.items()))
    stack.learn_only(*phase.trainable).train()
    x = codes_of(stack, pixels())[phase.input_depth]
    target = pixels() if phase.target == "pixels" else None
    twin = copy.deepcopy(stack).requires_grad_(True)
    loss = PhaseLoss(stack, phase, how, seed=SEED)(x, target, STEP)
    loss.backward()

    bare = PhaseLoss(twin, phase, plain, seed=SEED)(x, target, STEP)
    reads, code = [torch.empty(0)] * phase.input_depth, noisy(x).requires_grad_()
    codes = list(reads)
    for stage in twin.stages[phase.input_depth : phase.depth]:
        reads.append(code)
        code = encoded(stage, code)
        codes.append(code)
    expected = bare + penalised(twin.stages, reads, codes, at, how)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    expected.backward()
    for (name, mine), theirs in zip(stack.named_parameters(), twin.parameters(), strict=True):
        if mine.requires_grad:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-14, msg=name)
        else:
            assert mine.grad is None


def test_penalties_of_simultaneous_stages_stay_with_their_stage(stack: StackedAutoencoder) -> None:
    how = replace(PLAIN, penalties=(("l1", 0.5), ("contractive-estimate", 0.1)))
    x = pixels()

    def plain(stages: Any) -> Tensor:
        clean = codes_of(stack, x)[:3]
        reads = [code.clone().requires_grad_() for code in clean]
        codes = [encoded(stage, code) for stage, code in zip(stages, reads, strict=True)]
        errors = [error(decoded(s, code), c) for s, code, c in zip(stages, codes, clean, strict=True)]
        return torch.stack(errors).sum() + penalised(stages, reads, codes, [1, 2, 3], how)

    assert_is(stack, ALONE, how, x, plain, ("stages.",))


@pytest.mark.parametrize("phase", [STAGE_2, Phase("2-3", (2, 3), 1, 1), replace(JOINT, trainable=(1, 2))])
def test_decoders_see_the_winners_of_the_deepest_code_alone(phase: Phase, stack: StackedAutoencoder) -> None:
    how = replace(PLAIN, winner_take_all="lifetime", winner_take_all_rate=0.3)
    x = codes_of(stack, pixels())[phase.input_depth]
    first, last = phase.input_depth, phase.depth

    def plain(stages: Any) -> Tensor:
        code = x
        for stage in stages[first:last]:
            code = encoded(stage, code)
        kept = lifetime(code, 0.3)
        assert ((kept != 0).sum(0) == 3).all()  # 0.3 * 8, rounded up
        for stage in reversed(stages[first:last]):
            kept = decoded(stage, kept)
        return error(kept, x)

    reached = tuple(f"stages.{k}." for k in range(first, last))
    assert_is(stack, phase, how, x, plain, reached)


@pytest.mark.parametrize("phase", [ALONE, LOCAL])
def test_winners_are_of_every_code_that_is_trained_on_its_own_input_or_the_deepest(
    phase: Phase, stack: StackedAutoencoder
) -> None:
    how = replace(PLAIN, winner_take_all="lifetime", winner_take_all_rate=0.3)
    x = pixels()

    def plain(stages: Any) -> Tensor:
        codes = [x]
        for stage in stages:
            codes.append(encoded(stage, codes[-1].detach() if phase is ALONE else codes[-1]))
        top = lifetime(codes[3], 0.3)
        below = [lifetime(code, 0.3) if phase is ALONE else code for code in codes[1:3]]
        total = torch.zeros((), dtype=torch.float64)
        for k, code in ((1, below[0]), (2, below[1]), (3, top)):
            total = total + error(decoded(stages[k - 1], code), codes[k - 1].detach())
        if phase is LOCAL:
            output = top
            for stage in reversed(stages):
                output = decoded(stage, output)
            total = total + error(output, x)
        return total

    assert_is(stack, phase, how, x, plain, ("stages.",))


def test_winners_are_for_training_alone(stack: StackedAutoencoder) -> None:
    """Codes, reconstructions and what early stopping watches are those of the whole code."""
    x = pixels()
    how = replace(PLAIN, winner_take_all="lifetime", winner_take_all_rate=0.3)
    before = stack.encode(x), stack(x)
    with_winners, without = (PhaseLoss(stack, JOINT, h) for h in (how, PLAIN))
    assert not torch.equal(with_winners(x, None, STEP), without(x, None, STEP))
    assert torch.equal(with_winners.loss_per_example(x, None), without.loss_per_example(x, None))
    assert torch.equal(stack.encode(x), before[0])
    assert torch.equal(stack(x), before[1])


# What arms share


@contextmanager
def seen_by(stage: Stage) -> Iterator[list[Tensor]]:
    """What its encoder was given."""
    seen: list[Tensor] = []
    hook = stage.encoder[0].register_forward_pre_hook(lambda _, words: seen.append(words[0].detach().clone()))
    yield seen
    hook.remove()


@pytest.mark.parametrize("name", ["masking", "masking+gaussian"])
def test_whatever_the_policy_the_same_update_is_corrupted_alike(name: str, stack: StackedAutoencoder) -> None:
    level: Any = 0.3 if name == "masking" else (0.3, 0.1)
    how, x = replace(PLAIN, corruption=name, corruption_level=(level,)), pixels()
    readers = [
        phase
        for policy in ("greedy", "greedy-pixels", "progressive", "simultaneous", "supervised", "joint", "joint-local")
        for phase in POLICIES[policy](3, Updates((1, 1, 1), 1))
        if phase.input_depth == 0
    ]
    assert len(readers) == 9
    found = []
    for phase in readers:
        objective = PhaseLoss(stack, phase, how, seed=SEED, classes=4).double()
        target = {"input": None, "pixels": x, "labels": LABELS[:8]}[phase.target]
        with seen_by(stack.stages[0]) as seen:
            objective(x, target, STEP)
            first = seen[0]
            objective(x, target, STEP + 1)
        assert not torch.equal(seen[-1], first)
        found.append(first)
    expected = noisy(x)
    if name == "masking+gaussian":
        drawn = generator(SEED, "corruption", STEP)
        expected = gaussian(masking(x, 0.3, drawn).x, 0.1, drawn).x
    for one in found:
        assert torch.equal(one, expected)
    assert not torch.equal(expected, x)


def test_each_depth_of_simultaneous_training_draws_its_own_corruption() -> None:
    """Were it one draw, equal shapes would be masked alike."""
    stack = stack_of(9, 9, 9, activation="sigmoid").double()
    with seen_by(stack.stages[1]) as second, seen_by(stack.stages[2]) as third:
        PhaseLoss(stack, ALONE, MASKED, seed=SEED)(pixels(32), None, STEP)
    masks = second[0] == 0, third[0] == 0
    assert all(0.2 < mask.double().mean() < 0.4 for mask in masks)
    assert not torch.equal(*masks)


# What early stopping watches


WATCHED = [STAGE_2, PIXELS_2, PIXELS_3, TOP_TWO, ALONE, JOINT, CLASSES_2, Phase("1", (1, 1), 0, 1)]


@pytest.mark.parametrize("loss", ["mse", "bce", "l1"])
@pytest.mark.parametrize("phase", WATCHED, ids=lambda p: f"{p.name}-{p.target}-{p.local_loss}")
def test_the_watched_loss_is_the_trained_one_without_all_that_is_for_training(
    phase: Phase, loss: str, stack: StackedAutoencoder
) -> None:
    stack.learn_only(*phase.trainable)
    clean = codes_of(stack, pixels())[phase.input_depth]
    target = {"input": None, "pixels": pixels(), "labels": LABELS[:8]}[phase.target]
    emphasis = (1.0, 0.5) if phase.target_depth == phase.input_depth else None
    plain, busy = (
        PhaseLoss(stack, phase, how, seed=SEED, classes=4).double()
        for how in (
            replace(PLAIN, loss=(loss,)),
            replace(MASKED, loss=(loss,), penalties=(("l1", 1.0),), winner_take_all="lifetime", emphasis=emphasis),
        )
    )
    each = plain.loss_per_example(clean, target)
    assert each.shape == (8,)
    torch.testing.assert_close(each.mean(), plain(clean, target, STEP), rtol=1e-12, atol=0)
    assert torch.equal(busy.loss_per_example(clean, target), each)
    assert not torch.equal(busy(clean, target, STEP), plain(clean, target, STEP))
    one = plain.loss_per_example(clean[2:3], None if target is None else target[2:3])
    torch.testing.assert_close(one, each[2:3], rtol=1e-12, atol=0)


def test_local_losses_that_are_added_are_not_watched(stack: StackedAutoencoder) -> None:
    watched = [PhaseLoss(stack, phase, PLAIN).loss_per_example(pixels(), None) for phase in (LOCAL, JOINT)]
    assert torch.equal(*watched)
