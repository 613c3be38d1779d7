"""Peak memory: bytes that are counted, exactly on what can be counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from stacked.cost.live_bytes import LiveBytes
from stacked.spec import Optimisation
from stacked.spec.growth import POLICIES, Phase, Updates
from tests.helpers.counted import training_bytes
from tests.helpers.phases import stack_of

HOW = Optimisation()
FIRST, SECOND = Phase("stage 1", (1, 1), 0, 1), Phase("stage 2", (2, 2), 1, 1)


def held(module: torch.nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])


def test_a_tensor_counts_as_long_as_it_lives() -> None:
    with LiveBytes() as live:
        a = torch.zeros(1000)
        assert (live.now, live.peak) == (4000, 4000)
        b = torch.empty(10, dtype=torch.uint8)
        c = torch.empty(3, 5, dtype=torch.float64)
        assert live.now == 4000 + 10 + 120
        del a
        assert live.now == 130
        del b, c
    assert (live.now, live.peak) == (0, 4130)


def test_views_and_what_is_done_in_place_count_once() -> None:
    with LiveBytes() as live:
        a = torch.zeros(1000)
        b = a.view(10, 100)
        c, d = b.t()[3:], a.detach()
        a.add_(1)
        assert (live.now, live.peak) == (4000, 4000)
        del a, b, d
        assert live.now == 4000  # a view of it is left
        e = c.contiguous()
        assert live.now == 4000 + 97 * 40
        del c
        assert live.now == 97 * 40
        del e
        assert live.now == 0


def test_an_address_that_is_used_again_counts_again() -> None:
    with LiveBytes() as live:
        for size in (100, 200, 100):
            a = torch.zeros(size)
            assert live.now == 4 * size
            del a
            assert live.now == 0
    assert live.peak == 800


def test_what_autograd_keeps_and_frees_is_counted() -> None:
    with LiveBytes() as live:
        x = torch.ones(100, requires_grad=True)
        y = x.exp().sum()  # the exponential is kept for its derivative
        assert live.now == 400 + 400 + 4
        y.backward()
        del y
        assert live.now == 400 + 400  # x and its gradient
        x.grad = None
        assert live.now == 400


def test_what_is_added_by_hand_counts_once() -> None:
    weight = torch.zeros(50)
    with LiveBytes() as live:
        live.add(weight)
        live.add(weight)
        live.add(weight[:3])
        assert live.now == 200
        weight.mul_(2)
        assert live.now == 200


def test_outside_nothing_is_counted() -> None:
    with LiveBytes() as live:
        a = torch.zeros(10)
    b = torch.zeros(1000)
    assert live.now == live.peak == 40
    del a, b
    assert live.now == 0


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_an_update_holds_weights_gradients_moments_batch_and_little_more(batch: int) -> None:
    """Two moments of Adam; what more there is are some copies of the pixels and of the code."""
    stack = stack_of(50)
    least = 4 * held(stack) + batch * 144 * 4
    found = training_bytes(stack, FIRST, HOW, batch)
    assert least <= found <= least + batch * 8 * (144 + 50) * 4 + 1000
    assert found == training_bytes(stack, FIRST, HOW, batch)


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_a_moment_less_is_a_copy_of_the_weights_less(batch: int) -> None:
    """And plain gradient descent's has no step counters, one float32 a tensor."""
    stack = stack_of(50)
    adam, sgd = (training_bytes(stack, FIRST, replace(HOW, optimiser=name), batch) for name in ("adam", "sgd"))
    assert adam - sgd == held(stack) + 4 * len(list(stack.parameters()))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_a_frozen_stage_above_costs_its_weights_and_buffers_alone(kind: str) -> None:
    """Batch norm's statistics are buffers."""
    one, two = stack_of(9, kind=kind), stack_of(9, 7, kind=kind)
    assert held(two.stages[1]) > 0
    assert training_bytes(two, FIRST, HOW, 16) - training_bytes(one, FIRST, HOW, 16) == held(two.stages[1])


def test_a_frozen_stage_below_has_no_gradient_and_no_moments() -> None:
    narrow, wide = stack_of(5, 5), stack_of(500, 5)
    cost = training_bytes(wide, SECOND, HOW, 4)
    assert cost < held(wide.stages[0]) + 4 * held(wide.stages[1]) + 4 * 8 * (500 + 5) * 4 + 1000
    assert cost > held(wide.stages[0]) + 4 * held(wide.stages[1])
    assert cost > training_bytes(narrow, SECOND, HOW, 4)


def test_a_frozen_decoder_that_pixels_are_restored_through_has_none_either() -> None:
    stack = stack_of(500, 5)
    cost = training_bytes(stack, replace(SECOND, target="pixels"), HOW, 4)
    assert held(stack.stages[0]) < cost < 1.5 * held(stack.stages[0]) + 4 * held(stack.stages[1])


def test_tied_weights_and_their_moments_are_held_once() -> None:
    """Three copies less; but for a moment there are two gradients, of either use."""
    tied, untied = (training_bytes(stack_of(50, tied=t), FIRST, HOW, 4) for t in (True, False))
    assert 2 * 144 * 50 * 4 < untied - tied < 4 * 144 * 50 * 4


def test_pixels_as_targets_are_held_too() -> None:
    stack = stack_of(20, 5)
    plain = training_bytes(stack, SECOND, HOW, 64)
    assert training_bytes(stack, replace(SECOND, target="pixels"), HOW, 64) > plain + 64 * 144 * 4


def test_greedy_training_of_a_deep_stack_takes_less_than_joint_training() -> None:
    """At any stage, and for any batch; more updates at once would not fit where they do."""
    stack = stack_of(8, 8, 8, kind="conv")
    budget = Updates((1, 1, 1), 1)

    def most(policy: str, batch: int) -> int:
        return max(training_bytes(stack, phase, HOW, batch, classes=4) for phase in POLICIES[policy](3, budget))

    for batch in (4, 64):
        assert most("greedy", batch) < most("joint", batch) < most("joint-local", batch)
    assert most("supervised", 64) < most("greedy", 64)  # for few images its head counts for more


def test_counting_changes_nothing_of_the_stack() -> None:
    stack = stack_of(4, 6, kind="conv").learn_only(2, 2).train()
    before = {name: value.clone() for name, value in stack.state_dict().items()}
    training_bytes(stack, FIRST, replace(HOW, corruption_level=(0.1,)), 4)
    assert all(torch.equal(before[name], value) for name, value in stack.state_dict().items())
    assert [stage.frozen for stage in stack.stages] == [True, False]
    assert all(p.grad is None for p in stack.parameters())


def test_patience_keeps_the_best_weights_beside_the_others() -> None:
    stack, patient = stack_of(9, 5, kind="conv"), replace(HOW, patience=2)
    assert training_bytes(stack, SECOND, patient, 8) == training_bytes(stack, SECOND, HOW, 8) + held(stack)
    after = replace(SECOND, is_finetuning=True)
    assert training_bytes(stack, after, patient, 8) == training_bytes(stack, after, HOW, 8)
