"""Norms of gradients by layer: those of plain autograd on the formulas, and their points in the curve of a run."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stacked import InputError, StackedAutoencoder
from stacked.components.corruption import masking
from stacked.evaluation.gradients import gradient_norms, reaches_all_layers
from stacked.runs.run import run
from stacked.runtime.rng import generator
from stacked.spec import Budget, Evaluation, Optimisation
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.util.errors import Interrupted
from tests.helpers.phases import JOINT, pixels, sigmoid_stack, stack_of, with_batch_norm
from tests.helpers.runs import SPEC, numbers, same_weights
from tests.helpers.splits import toy_splits

BCE = Optimisation(loss=("bce",))


def plain_norms(stack: StackedAutoencoder, x: Tensor, target: Tensor) -> dict[str, float]:
    """The norms for cross-entropy of a stack of logistic units, by autograd on copies of its weights."""
    names = [("encoder", 1), ("encoder", 2), ("encoder", 3), ("decoder", 1), ("decoder", 2), ("decoder", 3)]
    index = {"encoder": 1, "decoder": 0}
    copied = {
        (half, k): [
            stack.get_parameter(f"stages.{k - 1}.{half}.{index[half]}.{name}").detach().clone().requires_grad_()
            for name in ("weight", "bias")
        ]
        for half, k in names
    }
    code = x.flatten(1)
    for k in (1, 2, 3):
        code = torch.sigmoid(F.linear(code, *copied["encoder", k]))
    for k in (3, 2, 1):
        code = F.linear(code, *copied["decoder", k])
        code = torch.sigmoid(code) if k > 1 else code
    F.binary_cross_entropy_with_logits(code, target.flatten(1)).backward()
    squared = {key: [p.grad.square().sum() for p in both if p.grad is not None] for key, both in copied.items()}
    return {f"grad_norm_{half}{k}": float(sum(squared[half, k]) ** 0.5) for half, k in names}


def test_they_are_those_of_plain_autograd() -> None:
    stack, x = sigmoid_stack(), pixels(16)
    found = gradient_norms(stack, JOINT, BCE, x)
    assert list(found) == list(plain_norms(stack, x, x))
    assert found == pytest.approx(plain_norms(stack, x, x), rel=1e-12)
    assert all(norm > 0 for norm in found.values())


def test_corruption_acts_on_what_is_read_and_the_target_stays_clean() -> None:
    stack, x = sigmoid_stack(), pixels(16)
    masked = replace(BCE, corruption_level=(0.5,))
    noisy = masking(x, 0.5, generator(3, "corruption", 0)).x
    assert not torch.equal(noisy, x)
    assert gradient_norms(stack, JOINT, masked, x, seed=3) == pytest.approx(plain_norms(stack, noisy, x), rel=1e-12)


def test_a_tied_weight_counts_in_the_encoder_with_both_uses() -> None:
    stack = stack_of(7, 5, 4, activation="sigmoid", tied=True, bias=False).double()
    x = pixels(16)
    weights = [p.detach().clone().requires_grad_() for p in stack.parameters()]
    code = x.flatten(1)
    for weight in weights:
        code = torch.sigmoid(code @ weight.t())
    for weight in reversed(weights[1:]):
        code = torch.sigmoid(code @ weight)
    F.binary_cross_entropy_with_logits(code @ weights[0], x.flatten(1)).backward()
    expected = {f"grad_norm_encoder{k}": weight.grad.norm().item() for k, weight in enumerate(weights, start=1)}  # type: ignore[union-attr]
    assert gradient_norms(stack, JOINT, BCE, x) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_nothing_of_the_stack_changes_and_batch_norms_use_the_batch(training: bool) -> None:
    stack, x = with_batch_norm().train(training), pixels(16).float()
    other = copy.deepcopy(stack).train()
    found = gradient_norms(stack, JOINT, Optimisation(), x)
    assert stack.training == training
    assert same_weights(stack, other)
    assert all(p.grad is None for p in stack.parameters())
    (other(x) - x).square().mean().backward()  # in training mode, which changes the running statistics of the copy
    assert not same_weights(stack, other)
    expected = torch.nn.utils.get_total_norm(
        [p.grad for p in other.stages[0].encoder.parameters() if p.grad is not None]
    )
    assert found["grad_norm_encoder1"] == pytest.approx(expected.item(), rel=1e-5)


def test_only_phases_that_train_all_layers_on_the_examples_have_them() -> None:
    def having(policy: str) -> list[str]:
        phases = POLICIES[policy](3, Updates((1, 1, 1), 3))
        return [phase.name for phase in phases if reaches_all_layers(phase, 3)]

    assert having("joint") == having("joint-local") == ["joint"]
    assert having("greedy+finetune") == ["fine-tuning"]
    assert having("progressive") == ["stages 1-3"]
    assert having("greedy+unfreeze") == ["unfreezing 1-3"]
    assert having("greedy") == having("greedy-pixels") == having("simultaneous") == having("random") == []
    assert not reaches_all_layers(Phase("classifier", (1, 3), 0, 1, target="labels"), 3)


MEASURED = replace(SPEC, evaluation=replace(SPEC.evaluation, gradients=True))


def test_a_run_has_them_from_before_its_first_update_of_all_layers() -> None:
    splits = toy_splits()
    plain, measured = run(SPEC, splits), run(MEASURED, splits)
    assert same_weights(plain.stack, measured.stack)
    columns = [f"eval/grad_norm_{half}{k}" for half in ("encoder", "decoder") for k in (1, 2)]
    points = [point for point in measured.curve if columns[0] in point]
    assert {point["phase"] for point in points} == {"fine-tuning"}
    assert points[0]["phase_step"] == 0
    assert all(point[column] > 0 for point in points for column in columns)
    kept = [
        {name: value for name, value in point.items() if name not in columns and name != "run"}
        for point in numbers(measured)[1:]
        if not (point["phase"] == "fine-tuning" and point["phase_step"] == 0)
    ]
    assert kept == [{name: value for name, value in point.items() if name != "run"} for point in numbers(plain)[1:]]


def test_the_point_before_joint_training_is_that_of_the_initial_weights() -> None:
    spec = replace(MEASURED, policy="joint", budget=Budget(end_to_end=2.0, unit="updates"))
    curve = run(spec, toy_splits()).curve
    assert [point["phase_step"] for point in curve if "eval/grad_norm_encoder1" in point] == [0, 2]


@pytest.mark.parametrize("stopped", [7, 8, 9, 12])
def test_an_interrupted_run_has_the_same_points(stopped: int, tmp_path: Path) -> None:
    """After the last update of growth, and inside fine-tuning."""
    splits, calls = toy_splits(150), 0
    spec = replace(MEASURED, budget=Budget((4,), 6, "updates"))

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == stopped

    with pytest.raises(Interrupted):
        run(spec, splits, work=tmp_path, stop=stop, checkpoint_every=1)
    assert numbers(run(spec, splits, work=tmp_path)) == numbers(run(spec, splits))


def test_a_spec_without_them_keeps_its_id_and_other_values_are_refused() -> None:
    assert replace(MEASURED, evaluation=replace(MEASURED.evaluation, gradients=False)).id == SPEC.id != MEASURED.id
    with pytest.raises(InputError, match="gradients 1 is not allowed: give True or False"):
        Evaluation(gradients=1)  # type: ignore[arg-type]
