"""Counting a phase takes few fake updates, and what arms share is made, counted and timed once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stacked import RunSpec, StackSpec, estimate_cost
from stacked.cost import fake_execution, forecast
from stacked.cost.fake_execution import FakeUpdate, Work, encoding, update
from stacked.spec import Optimisation
from stacked.spec.growth import POLICIES, Updates
from stacked.stages import kinds

SHAPE = (1, 16, 16)
HOW = Optimisation(batch_size=8)
PHASES = POLICIES["greedy+finetune"](2, Updates((1, 1), 1))


def works(spec: StackSpec) -> list[Work]:
    return [*(update(spec, SHAPE, phase, HOW, 8) for phase in PHASES), encoding(spec, SHAPE, 2, 8)]


@pytest.mark.parametrize(("kind", "expected"), [("conv", 2), ("dense", 2), ("transformer", 3)])
def test_two_updates_are_enough_unless_there_is_attention(
    kind: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matrix products of attention are counted in a third update: they take more memory than its kernel."""
    made: list[FakeUpdate] = []
    real = FakeUpdate.update
    monkeypatch.setattr(FakeUpdate, "update", lambda self: made.append(self) or real(self))
    update(StackSpec.of(kind, 8), SHAPE, PHASES[0], HOW, 8)
    assert len(made) == expected


def test_each_stage_of_a_spec_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_execution._fake_stages.cache_clear()
    made: list[int] = []
    real = fake_execution.next_stage
    monkeypatch.setattr(fake_execution, "next_stage", lambda stack, spec: made.append(stack.depth) or real(stack, spec))
    works(StackSpec.of("conv", 4, 6))
    assert made == [0, 1]


@pytest.mark.parametrize("kind", list(kinds()))
def test_counts_do_not_depend_on_what_was_counted_before(kind: str) -> None:
    """Shared stages have gradients, modes and frozen parts from the count before."""
    spec = StackSpec.of(kind, 8, 8)
    first, second, both = (lambda phase=phase: update(spec, SHAPE, phase, HOW, 8) for phase in PHASES)
    codes = lambda: encoding(spec, SHAPE, 2, 8)  # noqa: E731
    alone = {}
    for count in (first, second, codes, both):
        fake_execution._fake_stages.cache_clear()
        alone[count] = count()
    # each after another one: the first after both stages have learnt, both after they were frozen
    for count in (first, second, codes, both):
        assert count() == alone[count]


def test_arms_that_share_an_update_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tuning all stages is joint training; another batch size is timed anew."""
    timed: list[int] = []
    monkeypatch.setattr(forecast, "_update_seconds", {})
    monkeypatch.setattr(forecast, "update_seconds", lambda *given: timed.append(given[3]) or 0.5)
    spec = RunSpec(policy="joint", stack=StackSpec.of("conv", 4, 6), optimisation=HOW)
    seconds = [estimate_cost(one, SHAPE, 100).seconds for one in (spec, replace(spec, seed=3))]
    assert seconds[0] == seconds[1] > 0
    estimate_cost(replace(spec, policy="greedy+finetune"), SHAPE, 100)
    assert timed == [8]
    estimate_cost(replace(spec, optimisation=replace(HOW, batch_size=16)), SHAPE, 100)
    assert timed == [8, 16]
