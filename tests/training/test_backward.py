"""One backward pass for each block: the numbers of a single one, and the memory of the largest block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stacked import StackSpec
from stacked.components.winner_take_all import WINNER_TAKE_ALL
from stacked.cost import fake_execution
from stacked.cost.live_bytes import LiveBytes
from stacked.data.order import Order
from stacked.model.stack import StackedAutoencoder, build
from stacked.objectives.objective import ObjectiveTargets
from stacked.runtime.rng import seeded
from stacked.spec import Optimisation, StageSpec
from stacked.spec.growth import Phase
from stacked.training import backward
from stacked.training.codes import StoredInputs
from stacked.training.fit import Training
from stacked.training.phase_loss import PhaseLoss
from tests.helpers.counted import training_bytes
from tests.helpers.phases import IMAGES, LABELS

UPDATES = 20
ALONE = Phase("simultaneous", (1, 3), 0, UPDATES, local_loss="alone")
LOCAL = replace(ALONE, target="objectives")
HOW = Optimisation(batch_size=16, lr=1e-2)
MASKED = replace(HOW, corruption_level=0.3)
DENSE = StackSpec.of("dense", 8, 6, 5, activation="sigmoid")
CONV = StackSpec.of("conv", 4, 4, 5)
CASES: dict[str, tuple[StackSpec, Phase, Optimisation]] = {
    "dense": (DENSE, ALONE, HOW),
    "penalties": (
        DENSE,
        ALONE,
        replace(MASKED, penalties={"l1": 0.1, "kl": 0.1, "contractive": 0.1, "contractive-estimate": 0.1}),
    ),
    "tied, momentum": (StackSpec.of("dense", 8, 6, 5, tied=True), ALONE, replace(MASKED, optimiser="sgd")),
    "a line search": (DENSE, ALONE, replace(HOW, optimiser="lbfgs", lbfgs_iterations=2)),
    "conv": (CONV, ALONE, HOW),
    "corrupted, clipped": (CONV, ALONE, replace(MASKED, clip=0.01)),
    "blocks": (CONV, replace(ALONE, blocks=(2, 1)), MASKED),
    "dropout": (CONV, ALONE, replace(HOW, dropout=0.2, winner_take_all=min(WINNER_TAKE_ALL))),
    "batches left out": (CONV, ALONE, replace(MASKED, on_nonfinite="skip-batch")),
    "transformer": (
        StackSpec(tuple(StageSpec("transformer", 8, options=(("patch", patch),)) for patch in (4, 1, 1))),
        ALONE,
        replace(HOW, penalties={"contractive-estimate": 0.1}),
    ),
    "objectives": (CONV, LOCAL, replace(MASKED, objectives={"labels": 1.0, "image": 0.5, "similarity": 0.1})),
    "objectives of blocks": (
        CONV,
        replace(LOCAL, blocks=(1, 2)),
        replace(HOW, objectives={"labels": (1.0, 0.0, 1.0), "input": 0.5}),
    ),
}


def at_once(
    objective: PhaseLoss, clean: Tensor, target: Any, step: int, weight: Tensor | None = None
) -> Iterator[Tensor]:
    """The loss in one part."""
    yield objective(clean, target, step, weight)


def trained(spec: StackSpec, phase: Phase, how: Optimisation) -> tuple[list[Tensor], list[float]]:
    """Weights, buffers and parameters of objectives after the phase, and losses and gradient norms of all updates."""
    with seeded(0, "init"):
        stack = build(spec, (1, 12, 12))
    images = StoredInputs(IMAGES)

    def known(index: Tensor) -> ObjectiveTargets:
        return ObjectiveTargets(images(index), LABELS[index])

    training = Training(
        stack,
        phase,
        images,
        how,
        order=Order(len(IMAGES), how.batch_size_of(phase), 0),
        seed=3,
        every=1,
        targets=known if phase.target == "objectives" else None,
        classes=4,
    )
    found = [value for metrics in training.train() for value in (metrics.loss, metrics.grad_norm)]
    return [*stack.state_dict().values(), *training.objective.state_dict().values()], found


@pytest.mark.parametrize("name", CASES)
def test_a_backward_pass_for_each_block_gives_the_numbers_of_a_single_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit."""
    weights, found = trained(*CASES[name])
    monkeypatch.setattr(backward, "running_sums", at_once)
    expected, losses = trained(*CASES[name])
    assert found == losses
    assert len(found) == 2 * UPDATES
    assert all(torch.equal(one, other) for one, other in zip(weights, expected, strict=True))


def test_each_part_has_gradients_of_its_own_block_alone() -> None:
    with seeded(0, "init"):
        stack = build(CONV, (1, 12, 12))
    objective = PhaseLoss(stack.learn_only(1, 3).train(), ALONE, MASKED)
    reached, losses = [], []
    for loss in backward.running_sums(objective, IMAGES[:4].float() / 255, None, 0, None):
        stack.zero_grad()
        loss.backward()
        losses.append(loss.item())
        reached.append([any(p.grad is not None for p in stage.parameters()) for stage in stack.stages])
    assert reached == [[k == at for k in range(3)] for at in range(3)]
    assert losses == sorted(losses)
    assert losses[-1] == objective(IMAGES[:4].float() / 255, None, 0).item()


#: residual stages that take the same memory, but for the larger maps that the first one reads
FOUR = StackSpec((StageSpec("residual", 8), *[StageSpec("residual", 8, options=(("stride", 1),))] * 3))


def four_blocks() -> StackedAutoencoder:
    with seeded(0, "init"):
        return build(FOUR, (1, 32, 32))


def measured(phase: Phase, how: Optimisation = HOW) -> int:
    """The most bytes of tensors alive in the training loop itself, weights included."""
    stack, images = four_blocks(), torch.zeros(16, 1, 32, 32)
    with LiveBytes() as live:
        for tensor in [*stack.parameters(), *stack.buffers()]:
            live.add(tensor)
        training = Training(stack, phase, StoredInputs(images), how, order=Order(16, 16, 0), seed=0)
        for _ in training.train():
            pass
    return live.peak


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_four_blocks_take_little_more_memory_than_the_largest(level: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the cost model says, which imitates the same passes."""
    phase, how = Phase("simultaneous", (1, 4), 0, 2, local_loss="alone"), replace(HOW, corruption_level=level)
    each, predicted = measured(phase, how), training_bytes(four_blocks(), phase, how, 16)
    monkeypatch.setattr(backward, "running_sums", at_once)
    whole, whole_predicted = measured(phase, how), training_bytes(four_blocks(), phase, how, 16)
    assert each < 0.5 * whole
    assert predicted == pytest.approx(each, rel=0.03)
    assert whole_predicted == pytest.approx(whole, rel=0.03)


def test_fake_execution_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = Phase("simultaneous", (1, 4), 0, 1, local_loss="alone")
    each = fake_execution.update(FOUR, (1, 32, 32), phase, HOW, 16)
    real = four_blocks().to(memory_format=torch.channels_last)
    assert each.peak_bytes == pytest.approx(training_bytes(real, phase, HOW, 16), rel=0.05)
    monkeypatch.setattr(backward, "running_sums", at_once)
    whole = fake_execution.update(FOUR, (1, 32, 32), phase, HOW, 16)
    assert each.peak_bytes < 0.5 * whole.peak_bytes
    assert each.flop == whole.flop
