"""Codes that are some updates old: against plain PyTorch with lists, with their own targets, and in memory and checkpoints."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stacked import RunSpec, StackSpec
from stacked.cost.disk import work_room
from stacked.cost.phase_cost import phase_cost
from stacked.data.order import Order
from stacked.model.stack import build, empty_stack
from stacked.objectives.objective import ObjectiveTargets
from stacked.runtime.rng import derive
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs, Target
from stacked.training.fit import Training
from stacked.training.phase_loss import PhaseLoss
from stacked.training.stale_codes import StaleCodes
from studies.pretraining.layerwise import STUDY
from tests.helpers.phases import ALONE, IMAGES, LABELS, SEED, decoded, encoded, error, sigmoid_stack

SGD = Optimisation("sgd", lr=0.5, momentum=0.0, batch_size=16)
LOCAL = replace(ALONE, target="objectives", updates=9)


def drawn_ago(step: int, last: int, staleness: int, first: int) -> int:
    """How many updates ago the code is from that the block above stage `last` reads: the draw that is documented."""
    return derive(SEED, "staleness", step, last) % (min(staleness, step - first) + 1)


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_blocks_learn_as_plain_pytorch_with_lists_of_codes(staleness: int) -> None:
    """Gradient descent on the sum of the stages' own errors; above the first, of a code that was kept in a list."""
    stack, first, updates = sigmoid_stack(), 4, 9
    twin = copy.deepcopy(stack)
    images = StoredInputs(IMAGES)
    order = Order(len(images), 16, SEED)
    phase, how = replace(ALONE, updates=updates), replace(SGD, staleness=staleness)

    def read(index: Tensor) -> Tensor:
        return images(index).double()

    training = Training(stack, phase, read, how, order=order, seed=SEED, done=first)  # type: ignore[arg-type]
    for _ in training.train():
        pass
    kept: dict[int, list[Tensor]] = {1: [], 2: []}
    for step in range(first, first + updates):
        x = read(order.batch(step))
        for k, stage in enumerate(twin.stages, start=1):
            code = encoded(stage, x)
            error(decoded(stage, code), x).backward()
            if k < 3:
                kept[k].append(code.detach())
                x = kept[k][-1 - drawn_ago(step, k, staleness, first)]
        with torch.no_grad():
            for parameter in twin.parameters():
                assert parameter.grad is not None
                parameter -= 0.5 * parameter.grad
                parameter.grad = None
    for (name, mine), (_, theirs) in zip(stack.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12, msg=name)


def batch_of(step: int) -> tuple[Tensor, ObjectiveTargets]:
    """A batch of its own for every step, whose labels are the step."""
    return torch.full((4, 1, 12, 12), (step + 1) / 100), ObjectiveTargets(
        torch.full((4, 1, 12, 12), float(step)), torch.full((4,), step)
    )


def test_a_stale_code_comes_with_the_targets_of_its_batch_and_is_as_old_as_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The weights stay the same, so that the codes of a batch can be computed at any time."""
    staleness, first, steps = 3, 5, 60
    stack = build(StackSpec.of("conv", 3, 4, 5, norm="none"), (1, 12, 12))
    how = Optimisation(batch_size=4, staleness=staleness, objectives={"labels": 1.0, "image": 1.0})
    objective = PhaseLoss(stack, LOCAL, how, seed=SEED, classes=100, first_step=first)
    seen: list[tuple[int, Tensor, ObjectiveTargets]] = []
    losses = objective.objectives_loss

    def noted(*given: Any) -> Tensor:
        seen.append((given[3], given[4], given[5]))  # the first stage of the block, what it reads, and its targets
        return losses(*given)

    monkeypatch.setattr(objective, "objectives_loss", noted)
    ages: dict[int, Counter[int]] = {2: Counter(), 3: Counter()}
    origin: dict[int, dict[int, int]] = {1: {}, 2: {}, 3: {}}  # by stage and step: the batch that the stage read
    for step in range(first, first + steps):
        seen.clear()
        x, target = batch_of(step)
        objective(x, target, step)
        of_batch = step
        for stage, read, known in seen:
            if stage > 1:
                age = drawn_ago(step, stage - 1, staleness, first)
                ages[stage][age] += 1
                of_batch = origin[stage - 1][step - age]
            origin[stage][step] = of_batch
            assert known.labels is not None
            assert known.images is not None
            assert known.labels.tolist() == [of_batch] * 4
            assert known.images.unique().tolist() == [of_batch]
            with torch.no_grad():
                torch.testing.assert_close(read, stack.encode(batch_of(of_batch)[0], stage - 1))
        assert [stage for stage, *_ in seen] == [1, 2, 3]
    for counted in ages.values():
        assert set(counted) == {0, 1, 2, 3}
        assert min(counted.values()) > steps / 4 / 3


def test_without_staleness_there_is_no_buffer_and_with_it_only_where_blocks_learn_alone_at_once() -> None:
    stack = build(StackSpec.of("conv", 3, 4, 5), (1, 12, 12))
    for phase in (ALONE, LOCAL):
        assert not any("stale" in name for name in PhaseLoss(stack, phase, SGD, classes=4).state_dict())
    how = replace(SGD, staleness=2)
    shapes = {name: tuple(value.shape) for name, value in PhaseLoss(stack, ALONE, how).named_buffers()}
    assert shapes == {"stale.above.1.codes": (3, 16, 3, 6, 6), "stale.above.2.codes": (3, 16, 4, 3, 3)}
    labelled = PhaseLoss(stack, LOCAL, replace(how, objectives={"labels": 1.0}), classes=4)
    assert {name for name, _ in labelled.named_buffers()} == {
        f"stale.above.{k}.{what}" for k in (1, 2) for what in ("codes", "labels")
    }
    for other in (Phase("joint", (1, 3), 0, 1), Phase("stage 2", (2, 2), 1, 1), replace(ALONE, blocks=(3,))):
        assert PhaseLoss(stack, other, how).stale is None


def test_a_last_batch_that_is_smaller_reads_as_many_rows() -> None:
    kept = StaleCodes(1, 8, (2,))
    one, other = torch.rand(5, 2), torch.rand(5, 2)
    assert kept.exchanged(one, None, 0, 0)[0] is one
    assert torch.equal(kept.exchanged(other, None, 1, 1)[0], one)
    found: Target | None = kept.exchanged(one, LABELS[:5], 2, 1)[1]
    assert found is not None
    assert torch.equal(found, LABELS[:5])  # type: ignore[arg-type]


def test_memory_and_checkpoints_count_the_codes() -> None:
    """Three batches of 16 codes of 3 x 6 x 6 and of 4 x 3 x 3 floats, and where they are learned, as many labels of 8 bytes."""
    spec = RunSpec("simultaneous", stack=StackSpec.of("conv", 3, 4, 5), optimisation=SGD)
    bytes_of_codes = 3 * 16 * 4 * (3 * 36 + 4 * 9)
    for policy, more, held in (
        ("simultaneous", {}, bytes_of_codes),
        ("local-simultaneous", {"objectives": {"labels": 1.0}}, bytes_of_codes + 2 * 3 * 16 * 8),
    ):
        plain = replace(spec, policy=policy, optimisation=replace(SGD, **more))
        stale = replace(plain, optimisation=replace(plain.optimisation, staleness=2))
        costs = [phase_cost(each, (1, 12, 12), each.phases()[0], 100, 4) for each in (plain, stale)]
        assert costs[1].peak_bytes - costs[0].peak_bytes == pytest.approx(held, abs=4096)
        assert costs[1].flops == costs[0].flops
        assert costs[1].span == costs[0].span


def test_disk_space_is_that_of_the_codes_too(tmp_path: Any) -> None:
    stack = empty_stack(StackSpec.of("conv", 3, 4, 5), (1, 12, 12))
    room = []
    for staleness in (0, 200):
        how = replace(SGD, staleness=staleness)
        spec = RunSpec("simultaneous", stack=StackSpec.of("conv", 3, 4, 5), optimisation=how)
        room.append(work_room(spec, stack, spec.phases(), 0, tmp_path).temporary)
    assert room[1] - room[0] == pytest.approx(3 * 201 * 16 * 4 * (3 * 36 + 4 * 9), rel=0.01)


def test_it_is_given_on_the_command_line() -> None:
    given = STUDY.given(["--arms", "simultaneous", "--optimisation", "{staleness: 2}"])
    assert STUDY.arm("simultaneous").spec(given.base).optimisation.staleness == 2
