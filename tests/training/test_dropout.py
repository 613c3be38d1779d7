"""Dropout of codes: what reads them while a stage is trained, what does not, and that its draws are functions of the update."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stacked import StackedAutoencoder
from stacked.components.corruption import masking
from stacked.components.dropout import dropout
from stacked.components.winner_take_all import lifetime
from stacked.data.order import Order
from stacked.model.batch_norm import norms
from stacked.runtime.rng import generator
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs, inputs
from stacked.training.fit import Training, fit
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.phases import (
    ALONE,
    CLASSES_2,
    IMAGES,
    JOINT,
    LABELS,
    LOCAL,
    MASKED,
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
from tests.helpers.runs import same_weights

RATES = (0.25, 0.4, 0.5)
DROPPED = replace(PLAIN, dropout=RATES)


@pytest.fixture
def stack() -> StackedAutoencoder:
    return sigmoid_stack()


def dropped(code: Tensor, stage: int) -> Tensor:
    """The code of a stage after dropout, by hand."""
    hit = masking(code, RATES[stage - 1], generator(SEED, "dropout", STEP, stage)).hit
    assert hit is not None
    return torch.where(hit, 0, code / (1 - RATES[stage - 1]))


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_values_are_those_of_torch(rate: float) -> None:
    """Which ones are kept is drawn otherwise, in the same share."""
    code = torch.randn(200, 30, dtype=torch.float64)
    mine, torchs = dropout(code, rate, generator(0, "dropout")), F.dropout(code, rate)
    for found in (mine, torchs):
        kept = found != 0
        torch.testing.assert_close(found[kept], code[kept] / (1 - rate), rtol=1e-15, atol=0)
        assert kept.double().mean().item() == pytest.approx(1 - rate, abs=0.02)
    assert dropout(code, 0.0, generator(0, "dropout")) is code


def test_the_decoder_of_a_stage_reads_its_code_after_dropout(stack: StackedAutoencoder) -> None:
    code = codes_of(stack, pixels())[1]
    assert_is(
        stack,
        STAGE_2,
        DROPPED,
        code,
        lambda stages: error(decoded(stages[1], dropped(encoded(stages[1], code), 2)), code),
        ("stages.1.",),
    )


@pytest.mark.parametrize("phase", [JOINT, TOP_TWO, LOCAL], ids=lambda phase: f"{phase.name}-{phase.local_loss}")
def test_stages_above_read_it_too_and_targets_stay_whole(phase: Phase, stack: StackedAutoencoder) -> None:
    """Corruption acts on what is read, dropout on what is encoded."""
    x, first = pixels(), phase.trainable[0]
    start, how = codes_of(stack, x)[phase.input_depth], replace(MASKED, dropout=RATES)
    penalised = replace(how, penalties=(("l1", 0.5),))

    def plain(stages: Any) -> Tensor:
        codes, read, local = [], noisy(start), []
        for k in range(first, 4):
            codes.append(encoded(stages[k - 1], read))
            target = start if k == first else codes[-2]
            corrupted = read if k == first else noisy(read, k)
            again = codes[-1] if k == first else encoded(stages[k - 1], corrupted)
            local.append(error(decoded(stages[k - 1], dropped(again, k)), target.detach()))
            read = dropped(codes[-1], k)
        for stage in reversed(stages[: phase.depth]):
            read = decoded(stage, read)
        total = error(read, x) + 0.5 * torch.stack([code.abs().mean() for code in codes]).sum()
        return total + torch.stack(local).sum() if phase.local_loss == "added" else total

    target = None if phase.target == "input" else x
    reached = tuple(f"stages.{k - 1}." for k in range(first, 4))
    assert_is(stack, phase, penalised, start, plain, reached, target)


def test_simultaneous_stages_read_whole_codes(stack: StackedAutoencoder) -> None:
    x = pixels()

    def plain(stages: Any) -> Tensor:
        codes = codes_of(stack, x)
        errors = [error(decoded(s, dropped(encoded(s, codes[k]), k + 1)), codes[k]) for k, s in enumerate(stages)]
        return torch.stack(errors).sum()

    assert_is(stack, ALONE, DROPPED, x, plain, ("stages.",))


def test_a_head_reads_the_code_after_dropout() -> None:
    stack = sigmoid_stack().learn_only(2, 2)
    code = codes_of(stack, pixels())[1]
    objective = PhaseLoss(stack, CLASSES_2, DROPPED, seed=SEED, classes=4).double()
    assert objective.head is not None
    expected = F.cross_entropy(objective.head(dropped(encoded(stack.stages[1], code), 2)), LABELS[:8])
    torch.testing.assert_close(objective(code, LABELS[:8], STEP), expected, rtol=1e-12, atol=0)


def test_winners_are_chosen_from_the_whole_code(stack: StackedAutoencoder) -> None:
    code = codes_of(stack, pixels())[1]
    assert_is(
        stack,
        STAGE_2,
        replace(DROPPED, winner_take_all="lifetime", winner_take_all_rate=0.3),
        code,
        lambda stages: error(decoded(stages[1], dropped(lifetime(encoded(stages[1], code), 0.3), 2)), code),
        ("stages.1.",),
    )


def test_frozen_stages_and_evaluation_drop_nothing(stack: StackedAutoencoder) -> None:
    x = pixels()
    above = Phase("stage 2, from pixels", (2, 2), 0, 1)
    first = replace(PLAIN, dropout=(0.4, 0.0, 0.0))
    with_, without = (PhaseLoss(stack.learn_only(2, 2), above, how, seed=SEED) for how in (first, PLAIN))
    assert torch.equal(with_(x, None, STEP), without(x, None, STEP))
    dropping, whole = (PhaseLoss(stack.learn_only(1, 3), JOINT, how, seed=SEED) for how in (DROPPED, PLAIN))
    assert not torch.equal(dropping(x, None, STEP), whole(x, None, STEP))
    assert torch.equal(dropping.loss_per_example(x, None), whole.loss_per_example(x, None))


def test_one_rate_is_that_of_all_stages_and_phases_after_growth_have_their_own() -> None:
    end = replace(JOINT, is_finetuning=True)
    for how, growth, after in (
        (replace(PLAIN, dropout=0.2), [0.2] * 3, [0.2] * 3),
        (replace(DROPPED, end_dropout=0), [*RATES], [0.0] * 3),
        (replace(PLAIN, end_dropout=RATES), [0.0] * 3, [*RATES]),
    ):
        assert [how.dropout_of(JOINT, k) for k in (1, 2, 3)] == growth
        assert [how.dropout_of(end, k) for k in (1, 2, 3)] == after
    assert [DROPPED.dropout_of(STAGE_2, k) for k in (1, 2, 3)] == [0.0, 0.4, 0.0]


def training(stack: StackedAutoencoder, codes: str, phase: Phase) -> Training:
    how = replace(PLAIN, dropout=0.3, corruption_level=(0.2,))
    order = Order(len(IMAGES), how.batch_size, SEED)
    reads = inputs(
        stack.learn_only(*phase.trainable).eval(), phase.input_depth, StoredInputs(IMAGES), codes, order.size
    )
    return Training(stack, phase, reads, how, order=order, seed=SEED, done=5)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_draws_depend_neither_on_kept_codes_nor_on_where_training_was_stopped(kind: str) -> None:
    phase = replace(STAGE_2, updates=12)
    whole, kept, left, resumed = (stack_of(6, 4, kind=kind) for _ in range(4))
    list(training(whole, "recompute", phase).train())
    list(training(kept, "memory", phase).train())
    assert same_weights(whole, kept)

    class Stopped(Exception):
        pass

    stopped = training(left, "recompute", phase)

    def stop() -> None:
        if stopped.update == 7:
            raise Stopped

    with pytest.raises(Stopped):
        list(stopped.train(stop))
    torch.rand(100)  # global draws do not matter
    resumed.load_state_dict(left.state_dict())
    again = training(resumed, "memory", phase)
    again.restore(*stopped.state())
    list(again.train())
    assert same_weights(whole, resumed)


def test_running_statistics_are_those_of_whole_codes() -> None:
    """As after corruption: the decoder's norm reads what is dropped in training, and never again."""
    how, phase = replace(PLAIN, dropout=0.5), Phase("stage 1", (1, 1), 0, 8)
    order, stack = Order(len(IMAGES), 32, SEED), stack_of(4, 6, kind="conv")
    list(fit(stack, replace(phase, trainable=(1, 2)), StoredInputs(IMAGES), how, order=order, seed=SEED))
    (norm,) = norms(stack.stages[1].decoder)
    assert norm.running_mean is not None
    found = norm.running_mean.clone()
    read: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, words: read.append(words[0].mean((0, 2, 3))))
    with torch.no_grad():
        stack.learn_only(1, 2).train()
        for update in range(8):
            stack(StoredInputs(IMAGES)(order.batch(update)))
    hook.remove()
    torch.testing.assert_close(found, torch.stack(read).mean(0), rtol=1e-4, atol=1e-5)
