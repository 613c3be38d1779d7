"""Alignment of gradients: constructed ones, those of plain autograd on formulas, and losses that are known to agree."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stacked import Budget, InputError, RunSpec, StackSpec
from stacked.data.order import Order
from stacked.evaluation.diagnosis import gradient_alignment
from stacked.evaluation.diagnosis.alignment import cosine
from stacked.spec import Optimisation
from tests.helpers.phases import IMAGES, SEED, TOY, decoded, encoded, error, sigmoid_stack, stack_of, with_batch_norm

BATCH = 32
DENSE = RunSpec(
    "joint",
    SEED,
    stack=StackSpec.of("dense", 7, 5, 4, activation="sigmoid"),
    budget=Budget(1, 1, "updates"),
    optimisation=Optimisation(batch_size=BATCH),
)


def test_equal_losses_agree_opposite_ones_disagree_and_others_have_nothing_in_common() -> None:
    weights = [torch.randn(3, 4, requires_grad=True), torch.randn(5, requires_grad=True)]

    def gradient(loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, weights, materialize_grads=True)

    def loss() -> Tensor:
        return weights[0].square().sum() + weights[1].exp().sum()

    one = gradient(loss())
    assert cosine(one, gradient(loss())) == pytest.approx(1, abs=1e-12)
    assert cosine(one, gradient(3 * loss() + 1)) == pytest.approx(1, abs=1e-6)
    assert cosine(one, gradient(-loss())) == pytest.approx(-1, abs=1e-12)
    # each of them acts on weights that the other one does not know
    assert cosine(gradient(weights[0].square().sum()), gradient(weights[1].sum())) == 0
    assert cosine([torch.tensor([1.0, 0.0])], [torch.tensor([1.0, 1.0])]) == pytest.approx(math.sqrt(0.5))
    assert math.isnan(cosine(one, gradient(weights[0].detach().sum() + 0 * weights[0].sum())))


def test_a_single_stage_has_one_loss() -> None:
    spec = replace(DENSE, stack=StackSpec.of("dense", 7))
    spec = replace(spec, optimisation=replace(spec.optimisation, corruption_level=(0.3,)))
    assert gradient_alignment(stack_of(7), spec, TOY, batches=3) == pytest.approx([1.0], abs=1e-6)


def test_it_is_the_mean_over_batches_of_the_cosines_of_plain_gradients() -> None:
    stack = sigmoid_stack().float()
    order, expected = Order(len(IMAGES), BATCH, SEED), torch.zeros(3, dtype=torch.float64)
    for step in range(3):
        x = IMAGES[order.batch(step)].float() / 255
        stages = copy.deepcopy(stack).requires_grad_().stages
        code, local = x, torch.zeros(())
        for stage in stages:
            local = local + error(decoded(stage, encoded(stage, code)), code)
            code = encoded(stage, code).detach()
        restored = x
        for stage in stages:
            restored = encoded(stage, restored)
        for stage in reversed(list(stages)):
            restored = decoded(stage, restored)
        for k, stage in enumerate(stages):
            weights = list(stage.encoder.parameters())
            one, other = (
                torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, retain_graph=True)])
                for loss in (local, error(restored, x))
            )
            expected[k] += torch.nn.functional.cosine_similarity(one, other, dim=0) / 3
    assert all(abs(value) < 0.999 for value in expected.tolist())
    assert gradient_alignment(stack, DENSE, TOY, batches=3) == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_deepest_stage_has_the_same_objectives_locally_and_end_to_end() -> None:
    """Its auxiliary classifier begins the same; the stages below have one of their own only locally."""
    how = replace(DENSE.optimisation, objectives={"labels": 1.0})
    found = gradient_alignment(
        sigmoid_stack().float(), replace(DENSE, optimisation=how), TOY, against="end-to-end", batches=2
    )
    assert found[2] == pytest.approx(1, abs=1e-6)
    assert all(abs(value) < 0.999 for value in found[:2])


@pytest.mark.parametrize("tied", [False, True])
def test_the_stack_stays_as_it_is(tied: bool) -> None:
    stack = stack_of(7, 5, tied=True) if tied else with_batch_norm()
    spec = replace(DENSE, stack=stack.spec, optimisation=replace(DENSE.optimisation, objectives={"image": 1.0}))
    stack.freeze(1).train()
    state = copy.deepcopy(stack.state_dict())
    flags = [(p.requires_grad, p.grad) for p in stack.parameters()], [m.training for m in stack.modules()]
    found = gradient_alignment(stack, spec, TOY, batches=1)
    assert len(found) == stack.depth
    assert all(-1 <= value <= 1 for value in found)
    assert all(torch.equal(value, state[name]) for name, value in stack.state_dict().items())
    assert flags == ([(p.requires_grad, p.grad) for p in stack.parameters()], [m.training for m in stack.modules()])


def test_what_has_no_gradients_of_all_stages_is_refused() -> None:
    stack = stack_of(7, 5, 4)
    for policy in ("greedy", "random", "joint+finetune", "lock"):
        with pytest.raises(InputError, match="policy"):
            gradient_alignment(stack, DENSE, TOY, local=policy)
    with pytest.raises(InputError, match="a stack of 2 stages does not fit a spec of 3: give its own spec"):
        gradient_alignment(stack_of(7, 5), DENSE, TOY)
