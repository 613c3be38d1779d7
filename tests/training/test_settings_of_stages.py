"""Settings with one value for each stage: each phase has those of the stages that it trains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stacked import Budget, RunSpec, StackSpec
from stacked.components.penalties import PENALTIES
from stacked.cost.forecast import estimate_cost
from stacked.cost.roofline import H100
from stacked.data.order import Order
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runs.run import run
from stacked.spec import Classification, Evaluation, Optimisation, from_json
from stacked.spec.growth import Phase
from stacked.training.codes import StoredInputs
from stacked.training.early_stopping import ValidationLoss
from stacked.training.fit import fit, parameter_groups
from stacked.training.phase_loss import PhaseLoss
from stacked.util.errors import Interrupted
from stacked.util.serialization import to_json
from tests.helpers.phases import (
    ALONE,
    IMAGES,
    JOINT,
    LOCAL,
    PLAIN,
    STEP,
    TOP_TWO,
    assert_is,
    codes_of,
    decoded,
    encoded,
    error,
    pixels,
    sigmoid_stack,
    stack_of,
)
from tests.helpers.runs import same_weights
from tests.helpers.splits import toy_splits

SPLITS = toy_splits()
EACH = Optimisation(lr=(0.01, 0.02), batch_size=(32, 64), end_batch_size=128, end_lr=(0.001, 0.002))
SPEC = RunSpec(
    "greedy+finetune",
    stack=StackSpec.of("dense", 9, 6),
    budget=Budget((2.0,), 3.0, "epochs"),
    optimisation=EACH,
    evaluation=Evaluation(every=4, images=20, probe_images=20, probe_labels=20),
    classification=Classification(labels=()),
)


def test_one_value_and_a_list_of_it_are_the_same_spec() -> None:
    for name, value in (("lr", 0.1), ("batch_size", 8), ("end_lr", 0.1), ("sparsity_target", 0.2)):
        one, listed = (Optimisation(**{name: given}) for given in (value, [value]))
        assert one == listed
        assert to_json(one) == to_json(listed)
    assert from_json(to_json(SPEC)) == SPEC
    written = json.loads(to_json(SPEC))["optimisation"]
    assert (written["lr"], written["batch_size"], written["end_batch_size"]) == ([0.01, 0.02], [32, 64], 128)


# Learning rates


def steps(phase: Phase, how: Optimisation) -> tuple[Any, Any]:
    """A stack after three updates by the loop, and by torch with a group of parameters for each stage."""
    ours, plain = stack_of(9, 6, 4), stack_of(9, 6, 4)
    order, images = Order(len(IMAGES), 32, 0), StoredInputs(IMAGES)
    list(fit(ours, phase, images, how, order=order, seed=0))
    groups = [
        {
            "params": plain.stages[k - 1].parameters(),
            "lr": how.lr_of(phase, k) * 2.6 ** (k - 3 if phase.layerwise_lr_decay else 0),
        }
        for k in (1, 2, 3)
    ]
    optimiser = torch.optim.SGD(groups, momentum=0.9, fused=True)
    for update in range(3):
        optimiser.zero_grad()
        PhaseLoss(plain, phase, how, seed=0)(images(order.batch(update)), None, update).backward()
        optimiser.step()
    return ours, plain


@pytest.mark.parametrize("phase", [JOINT, ALONE, LOCAL, replace(JOINT, layerwise_lr_decay=True, is_finetuning=True)])
def test_stages_that_are_trained_at_once_have_a_learning_rate_each(phase: Phase) -> None:
    how = Optimisation("sgd", lr=(0.5, 0.05, 0.2), end_lr=(0.1, 0.2, 0.3), batch_size=32)
    assert same_weights(*steps(replace(phase, updates=3), how))


def test_equal_learning_rates_are_one() -> None:
    one, each = stack_of(9, 6, 4), stack_of(9, 6, 4)
    for stack, lr in ((one, 0.01), (each, (0.01, 0.01, 0.01))):
        order = Order(len(IMAGES), 32, 0)
        list(fit(stack, replace(JOINT, updates=3), StoredInputs(IMAGES), replace(PLAIN, lr=lr), order=order, seed=0))
    assert same_weights(one, each)


def test_a_phase_has_the_learning_rate_of_its_stage_and_reports_it() -> None:
    result = run(SPEC, SPLITS)
    rates = {point["phase"]: point["train/lr"] for point in result.curve if point["step"]}
    assert rates == {"stage 1": 0.01, "stage 2": 0.02, "fine-tuning": 0.002}


# Batch sizes


def test_a_budget_in_epochs_counts_the_batches_of_each_phase() -> None:
    n = len(SPLITS.train)
    assert SPEC.updates_per_epoch(n) == [n // 32, n // 64, n // 128]
    phases = SPEC.phases(SPEC.updates_per_epoch(n))
    assert [phase.updates for phase in phases] == [2 * (n // 32), 2 * (n // 64), 3 * (n // 128)]
    assert [EACH.batch_size_of(phase) for phase in phases] == [32, 64, 128]
    same = replace(SPEC, optimisation=replace(EACH, end_batch_size=None))
    assert [same.optimisation.batch_size_of(phase) for phase in same.phases()] == [32, 64, 64]
    assert SPEC.updates_per_epoch(40) == [1, 1, 1]  # all images in a batch


def test_a_phase_trains_on_the_batches_of_its_size_in_the_order_that_arms_share() -> None:
    """Its first stage equals that of a spec whose batches all have that size, update by update."""
    result = run(SPEC, SPLITS)
    n = len(SPLITS.train)
    first = replace(SPEC, policy="greedy", optimisation=replace(EACH, batch_size=32, end_batch_size=None))
    other = run(first, SPLITS).stack.stages[0]
    greedy = run(replace(SPEC, policy="greedy"), SPLITS).stack
    assert same_weights(greedy.stages[0], other)
    assert not same_weights(greedy.stages[1], run(first, SPLITS).stack.stages[1])
    updates = [2 * (n // 32), 2 * (n // 64), 3 * (n // 128)]
    assert result.row["updates"] == sum(updates)
    assert result.row["images_seen"] == updates[0] * 32 + updates[1] * 64 + updates[2] * 128


def test_stage_2_equals_a_plain_loop_over_its_batches() -> None:
    greedy = run(replace(SPEC, policy="greedy"), SPLITS).stack
    one = replace(SPEC, policy="greedy", optimisation=replace(EACH, lr=0.01, batch_size=32))
    plain = run(one, SPLITS).stack
    stack = StackedAutoencoder(SPLITS.input_shape)
    grow(stack, SPEC, 2)
    stack.stages[0].load_state_dict(plain.stages[0].state_dict())
    first, stage = stack.stages
    n = len(SPLITS.train)
    order, done = Order(n, 64, SPEC.seed), 2 * (n // 32)
    optimiser = torch.optim.Adam(stage.parameters(), lr=0.02, fused=True)
    for update in range(2 * (n // 64)):
        with torch.no_grad():
            code = first.encode(StoredInputs(SPLITS.train.inputs)(order.batch(done + update)))
        optimiser.zero_grad()
        (stage(code) - code).square().mean().backward()
        optimiser.step()
    for mine, theirs in zip(greedy.stages[1].parameters(), stage.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_costs_are_those_of_the_batches_of_each_phase() -> None:
    forecast = estimate_cost(SPEC, SPLITS.input_shape, len(SPLITS.train), machine=H100)
    result = run(SPEC, SPLITS)
    assert forecast.gflop == pytest.approx(result.row["gflop"], rel=1e-12)
    assert forecast.updates == result.row["updates"]
    costs = [
        estimate_cost(replace(SPEC, optimisation=replace(EACH, batch_size=size)), SPLITS.input_shape, 256, machine=H100)
        for size in (32, 64)
    ]
    by_hand = [costs[0].phases[0].gflop, costs[1].phases[1].gflop]
    assert [phase.gflop for phase in forecast.phases[:2]] == pytest.approx(by_hand, rel=0.05)


def test_early_stopping_checks_every_epoch_of_the_phase_and_in_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    compute = ValidationLoss.compute

    def noted(self: ValidationLoss) -> float:
        sizes.append(self.batch_size)
        return compute(self)

    monkeypatch.setattr(ValidationLoss, "compute", noted)
    run(replace(SPEC, policy="greedy", optimisation=replace(EACH, patience=100)), SPLITS)
    assert sizes == [32, 32, 64, 64]  # two epochs each


def test_a_run_with_batches_of_each_stage_resumes_to_the_bit(tmp_path: Path) -> None:
    whole = run(SPEC, SPLITS)
    for stop_at in (3, 2 * (len(SPLITS.train) // 32) + 1):
        seen = []

        def stop(seen: list[int] = seen, at: int = stop_at) -> bool:
            seen.append(1)
            return len(seen) == at

        work = tmp_path / str(stop_at)
        with pytest.raises(Interrupted):
            run(SPEC, SPLITS, work=work, checkpoint_every=1, stop=stop)
        again = run(SPEC, SPLITS, work=work)
        assert same_weights(again.stack, whole.stack)
        assert again.row["images_seen"] == whole.row["images_seen"]


# Penalties


def test_penalties_have_a_weight_and_a_target_for_each_stage() -> None:
    stack, x = sigmoid_stack(), pixels()
    how = replace(PLAIN, penalties=(("kl", (0.1, 0.0, 0.3)), ("l1", 0.5)), sparsity_target=(0.1, 0.2, 0.3))

    def kl(code: Tensor, rho: float) -> Tensor:
        mean = code.mean(0)
        return (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).mean()

    def plain(stages: Any) -> Tensor:
        codes, output = [], x
        for stage in stages:
            output = encoded(stage, output)
            codes.append(output)
        for stage in reversed(stages):
            output = decoded(stage, output)
        sparse = 0.1 * kl(codes[0], 0.1) + 0.3 * kl(codes[2], 0.3)
        return error(output, x) + sparse + 0.5 * torch.stack([code.abs().mean() for code in codes]).sum()

    assert_is(stack, JOINT, how, x, plain, ("stages.",))
    assert [how.penalties_of(k) for k in (1, 2)] == [[("kl", 0.1), ("l1", 0.5)], [("l1", 0.5)]]
    assert [name for name, penalty in PENALTIES.items() if penalty.has_target] == ["kl"]


def test_a_penalty_of_one_stage_leaves_the_others_phases_as_they_are() -> None:
    stack = sigmoid_stack()
    code = codes_of(stack, pixels())[1]
    how = replace(PLAIN, penalties=(("contractive-estimate", (0.1, 0.0, 0.0)),))
    stage_2 = Phase("stage 2", (2, 2), 1, 1)
    objective = PhaseLoss(stack.learn_only(2, 2), stage_2, how)
    assert not objective.needs_input_gradient
    assert torch.equal(objective(code, None, STEP), PhaseLoss(stack, stage_2, PLAIN)(code, None, STEP))
    assert PhaseLoss(stack.learn_only(1, 3), JOINT, how).needs_input_gradient


def test_unfreezing_with_one_rate_for_each_stage_has_the_decay_too() -> None:
    how = replace(PLAIN, optimiser="sgd", lr=(0.1, 0.2, 0.4))
    groups = parameter_groups(stack_of(9, 6, 4).learn_only(2, 3), TOP_TWO, how, {})
    assert [(group["peak"], group["factor"]) for group in groups] == [(0.2, 2.6**-1), (0.4, 1.0)]
