"""Losses and gradients that are not finite: injected, and what each policy makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stacked import RunSpec, StackSpec, data
from stacked.components.nonfinite import MOST_ROLLBACKS, finite
from stacked.data.formats.split import Splits
from stacked.data.order import Order
from stacked.model.stack import build
from stacked.runs.batched_seeds import train_seeds
from stacked.runs.run import run
from stacked.runtime.rng import seeded
from stacked.spec import Budget, Classification, Evaluation, Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs
from stacked.training.fit import Training
from stacked.util.errors import Diverged, Interrupted
from tests.helpers.runs import same_weights
from tests.helpers.splits import toy_splits

IMAGES = toy_splits().train.inputs
PHASE = Phase("stage 1", (1, 1), 0, 40)
HOW = Optimisation(batch_size=32, lr=1e-2)


class Poisoned(StoredInputs):
    """Images, of which batches of certain calls (from 1) are poison."""

    def __init__(self, images: Tensor, *when: int, value: float = float("nan"), always_from: int = 10**9) -> None:
        super().__init__(images)
        self.when, self.value, self.always_from, self.calls = when, value, always_from, 0

    def __call__(self, index: Tensor) -> Tensor:
        self.calls += 1
        bad = self.calls in self.when or self.calls >= self.always_from
        return super().__call__(index) * (self.value if bad else 1.0)


def training(on_nonfinite: str, reads: StoredInputs, **how: Any) -> Training:
    with seeded(0, "init"):
        stack = build(StackSpec.of("conv", 4), tuple(IMAGES.shape[1:]))
    how = replace(HOW, on_nonfinite=on_nonfinite, **how)  # type: ignore[assignment]
    return Training(stack, PHASE, reads, how, order=Order(len(IMAGES), 32, 0), seed=0, every=10)  # type: ignore[arg-type]


def test_stop_names_phase_update_and_the_last_finite_loss() -> None:
    plain = [float(point.loss) for point in training("stop", StoredInputs(IMAGES)).train()]
    with pytest.raises(
        Diverged, match=r"^the loss became nan in phase 'stage 1' at update 14 of 40; the last finite loss was 0\.\d+$"
    ) as e:
        list(training("stop", Poisoned(IMAGES, 14)).train())
    assert float(str(e.value).rpartition(" ")[2]) == pytest.approx(plain[1], rel=0.5)
    with pytest.raises(Diverged, match=r"at update 11 of 40; the last finite loss was"):
        list(training("stop", Poisoned(IMAGES, always_from=11)).train())


def test_stop_names_a_gradient_that_is_not_finite() -> None:
    trained = training("stop", StoredInputs(IMAGES))
    trained.stack.stages[0].encoder[0].weight.register_hook(
        lambda gradient: gradient * (float("inf") if trained.update == 9 else 1.0)
    )
    with pytest.raises(
        Diverged, match=r"^the gradient became (inf|nan) in phase 'stage 1' at update 10 of 40; the last finite"
    ):
        list(trained.train())


def test_a_skipped_batch_leaves_no_trace_but_its_count() -> None:
    """Not in weights, optimiser or running statistics: training on without that batch gives the same."""
    trained = training("skip-batch", Poisoned(IMAGES, 14, 15))
    points = list(trained.train())
    assert trained.skipped == 2
    assert points[-1].update == 40
    plain = training("stop", StoredInputs(IMAGES))
    order = plain.order

    class Without(Order):
        def batch(self, update: int) -> Tensor:
            return order.batch(update if update < 13 else update + 2)

    plain.order = Without(len(IMAGES), 32, 0)
    plain.phase = replace(PHASE, updates=38)
    list(plain.train())
    assert same_weights(trained.stack, plain.stack)
    each = training("skip-batch", Poisoned(IMAGES, 14, 15))
    each.every, each.losses = 1, torch.zeros(1)
    losses = [point.loss for point in each.train()]
    taken = [loss for update, loss in enumerate(losses[10:20], start=11) if update not in (14, 15)]
    assert points[1].loss == pytest.approx(sum(taken) / 8)
    assert losses[13] == losses[14] == losses[12]  # nothing new is known


def test_skipping_changes_nothing_where_nothing_is_to_be_skipped() -> None:
    careful, plain = training("skip-batch", StoredInputs(IMAGES)), training("stop", StoredInputs(IMAGES))
    assert [replace(p, seconds=0) for p in careful.train()] == [replace(p, seconds=0) for p in plain.train()]
    assert same_weights(careful.stack, plain.stack)


def test_a_skipped_batch_at_a_point_made_no_step() -> None:
    points = list(training("skip-batch", Poisoned(IMAGES, 20)).train())
    assert points[1].grad_norm == 0
    assert points[1].loss > 0


def test_skipping_ten_in_a_row_ends_the_run_and_nine_do_not() -> None:
    said = r"^10 batches in a row were left out in phase 'stage 1' at update 27 of 40; the last finite loss was 0\.\d+$"
    with pytest.raises(Diverged, match=said):
        list(training("skip-batch", Poisoned(IMAGES, always_from=18)).train())
    spared = training("skip-batch", Poisoned(IMAGES, *range(18, 27), *range(28, 37)))
    assert [point.update for point in spared.train()] == [10, 20, 30, 40]
    assert spared.skipped == 18


def test_a_fault_before_any_finite_loss_says_so() -> None:
    with pytest.raises(Diverged, match=r"at update 1 of 40; no loss was finite before$"):
        list(training("stop", Poisoned(IMAGES, always_from=1)).train())


def test_rollback_goes_on_from_the_last_point_at_half_the_rate() -> None:
    trained = training("rollback", Poisoned(IMAGES, 14))
    with pytest.warns(
        RuntimeWarning, match=r"became nan .*: training resumes from update 10 with its learning rate divided by 2$"
    ):
        points = list(trained.train())
    assert (trained.rollbacks, trained.updates_rolled_back) == (1, 10)
    assert [(point.update, point.lr) for point in points] == [(10, 1e-2), (20, 5e-3), (30, 5e-3), (40, 5e-3)]
    # as a loop would that had changed its rate then
    plain = training("stop", StoredInputs(IMAGES))
    for point in plain.train():
        if point.update == 10:
            plain.rollbacks = 1
    assert same_weights(trained.stack, plain.stack)


def test_rollback_before_the_first_point_begins_anew() -> None:
    trained = training("rollback", Poisoned(IMAGES, 3, 11))
    with pytest.warns(RuntimeWarning, match="training resumes from update 0"):
        list(trained.train())
    assert (trained.rollbacks, trained.updates_rolled_back) == (2, 20)


def test_rollback_gives_up_in_the_end() -> None:
    trained = training("rollback", Poisoned(IMAGES, always_from=14))
    with pytest.warns(RuntimeWarning), pytest.raises(Diverged, match="at update 11 of 40"):
        list(trained.train())
    assert trained.rollbacks == MOST_ROLLBACKS


@pytest.mark.slow
def test_a_rate_that_is_too_high_is_found_by_rolling_back() -> None:
    """Plain gradient descent on linear units, which diverges at its first rate, and not at a lower one."""
    with seeded(0, "init"):
        stack = build(StackSpec.of("dense", 6, activation="linear", output="linear"), tuple(IMAGES.shape[1:]))
    how = Optimisation(batch_size=32, optimiser="sgd", momentum=0.0, lr=1e3, on_nonfinite="rollback")
    order = Order(len(IMAGES), 32, 0)
    trained = Training(stack, PHASE, StoredInputs(IMAGES), how, order=order, seed=0, every=40)
    with pytest.warns(RuntimeWarning):
        [point] = trained.train()
    assert 1 <= trained.rollbacks <= MOST_ROLLBACKS
    assert point.lr == 1e3 / 2**trained.rollbacks
    assert all(torch.isfinite(p).all() for p in stack.parameters())


def test_finite_knows_sums_that_overflow_from_values_that_are_not() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 3e38)
    assert finite(torch.tensor(1.0), [parameter])
    parameter.grad[1] = float("inf")
    assert not finite(torch.tensor(1.0), [parameter])
    parameter.grad = torch.zeros(4)
    assert not finite(torch.tensor(float("nan")), [parameter])


# Whole runs


SPEC = RunSpec(
    policy="greedy+finetune",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget((2.0,), 3.0),
    optimisation=Optimisation(batch_size=32, lr=1e-2),
    evaluation=Evaluation(every=5, images=40, probe_every=100, probe_images=40, probe_labels=40),
    classification=Classification(labels=()),
)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return toy_splits(150)


def poison(monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool]) -> None:
    """The loss of an update, by the run's count, for which `bad` says so is multiplied by NaN."""
    from stacked.training.phase_loss import PhaseLoss

    forward = PhaseLoss.forward

    def poisoned(self: PhaseLoss, clean: Tensor, target: Tensor | None, step: int, *weight: Tensor | None) -> Tensor:
        loss = forward(self, clean, target, step, *weight)
        return loss * float("nan") if bad(step) else loss

    monkeypatch.setattr(PhaseLoss, "forward", poisoned)


@pytest.mark.slow
def test_a_run_counts_what_it_skipped(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, lambda step: step in (3, 12, 13))
    spec = replace(SPEC, optimisation=replace(SPEC.optimisation, on_nonfinite="skip-batch"))
    row = run(spec, splits).row
    assert (row["skipped"], row["rollbacks"], row["updates"]) == (3, 0, 28)
    assert "skipped" not in run(replace(SPEC, policy="random"), splits).row


@pytest.mark.slow
def test_what_a_rollback_undid_was_spent_too(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(SPEC, splits)
    once = itertools.count()
    poison(monkeypatch, lambda step: step == 12 and next(once) == 0)
    spec = replace(SPEC, optimisation=replace(SPEC.optimisation, on_nonfinite="rollback"))
    with pytest.warns(RuntimeWarning, match="training resumes from update 2 with"):
        result = run(spec, splits)
    row = result.row
    assert (row["rollbacks"], row["updates"], row["images_seen"]) == (1, 28, 32 * (28 + 5))
    assert row["gflop"] > plain.row["gflop"]
    assert [point["step"] for point in result.curve] == [point["step"] for point in plain.curve]


@pytest.mark.parametrize("on_nonfinite", ["skip-batch", "rollback"])
def test_a_run_with_faults_is_resumed_to_the_bit(
    on_nonfinite: str, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is a function of the update, and gone at half the rate."""
    spec = replace(SPEC, optimisation=replace(SPEC.optimisation, on_nonfinite=on_nonfinite))

    def faults(rollbacks: list[int]) -> None:
        poison(monkeypatch, lambda step: step == 12 and (on_nonfinite == "skip-batch" or not rollbacks[0]))

    seen = [0]
    faults(seen)
    roll_back = Training.roll_back

    def noting(self: Training, fault: Diverged) -> None:
        roll_back(self, fault)
        seen[0] = self.rollbacks

    monkeypatch.setattr(Training, "roll_back", noting)
    with pytest.warns(RuntimeWarning) if on_nonfinite == "rollback" else monkeypatch.context():
        whole = run(spec, splits)
    seen[0] = 0
    result = None
    with pytest.warns(RuntimeWarning) if on_nonfinite == "rollback" else monkeypatch.context():
        while result is None:
            count = itertools.count(1)
            with suppress(Interrupted):
                result = run(spec, splits, work=tmp_path, stop=lambda count=count: next(count) >= 3)  # type: ignore[misc]
    assert same_weights(result.stack, whole.stack)
    for name in ("updates", "images_seen", "gflop", "skipped", "rollbacks", "final/recon_mse"):
        assert result.row[name] == whole.row[name], name


# What no loss tells of


def spoiled_after(trained: Training, update: int, value: float = float("nan")) -> Training:
    """The training, whose weights the optimiser spoils with this update (from 1)."""
    step = trained.optimiser.step

    def spoil(*given: Any) -> None:
        step(*given)
        if trained.update + 1 == update and not trained.rollbacks:
            with torch.no_grad():
                next(iter(trained.stack.parameters())).fill_(value)

    trained.optimiser.step = spoil  # type: ignore[method-assign, assignment]
    return trained


@pytest.mark.slow
def test_what_the_last_update_spoils_is_noticed() -> None:
    says = r"^weights or running statistics became non-finite in phase 'stage 1' at update 40 of 40; the last finite loss was"
    for value in (float("nan"), float("inf")):
        with pytest.raises(Diverged, match=says):
            list(spoiled_after(training("stop", StoredInputs(IMAGES)), 40, value).train())
    trained = spoiled_after(training("rollback", StoredInputs(IMAGES)), 40)
    with pytest.warns(RuntimeWarning, match=r"non-finite .* training resumes from update 30"):
        list(trained.train())
    assert all(value.isfinite().all() for value in trained.stack.state_dict().values())


class Spoiled(StoredInputs):
    """Validation images that are no numbers from some look on."""

    def __init__(self, images: Tensor, first: int, last: int) -> None:
        super().__init__(images)
        self.looks, self.bad = 0, range(first, last)

    def __call__(self, index: Tensor) -> Tensor:
        self.looks += index[0] == 0
        return super().__call__(index) * (float("nan") if self.looks in self.bad else 1.0)


def watched(on_nonfinite: str, bad: Spoiled) -> Training:
    with seeded(0, "init"):
        stack = build(StackSpec.of("conv", 4), tuple(IMAGES.shape[1:]))
    how = replace(HOW, on_nonfinite=on_nonfinite, patience=3, check_every=10)
    return Training(
        stack, PHASE, StoredInputs(IMAGES), how, order=Order(len(IMAGES), 32, 0), seed=0, every=20, valid=bad
    )


def test_a_validation_loss_that_is_no_number_is_not_merely_no_improvement() -> None:
    says = r"^the validation loss became nan in phase 'stage 1' at update 10 of 40; no loss was finite before$"
    with pytest.raises(Diverged, match=says):
        list(watched("stop", Spoiled(IMAGES[:64], 1, 99)).train())
    trained = watched("rollback", Spoiled(IMAGES[:64], 3, 4))
    with pytest.warns(RuntimeWarning, match=r"the validation loss became nan .* training resumes from update 20"):
        points = list(trained.train())
    assert trained.rollbacks == 1
    assert points[-1].update == 40


def test_seeds_trained_together_are_looked_at_after_the_last_update() -> None:
    spec = RunSpec(
        "joint",
        stack=StackSpec.of("dense", 4),
        budget=Budget(None, 1, "updates"),
        classification=Classification(labels=(None,)),
        optimisation=Optimisation(optimiser="sgd", lr=1e300, momentum=0.0),
    )
    with pytest.raises(Diverged, match="weights of seed 0 became non-finite in phase 'joint'"):
        train_seeds(spec, [0, 1], data.load("digits", limit=100))
