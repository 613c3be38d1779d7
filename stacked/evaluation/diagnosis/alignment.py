"""Whether local losses pull the weights where a global one does: the cosine between their gradients."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stacked.data import Splits
from stacked.data.order import Order
from stacked.evaluation.evaluate import device_of
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec
from stacked.spec.compatibility import check_fit
from stacked.spec.growth import POLICIES, Phase, Updates
from stacked.spec.objectives import needs_labels
from stacked.training.codes import Targets
from stacked.training.examples import examples_of
from stacked.training.phase_loss import PhaseLoss
from stacked.util.checks import choice, need, whole


def cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the cosine, -1 to 1, of two gradients by the same parameters, each taken as one vector; NaN if one is 0."""
    first, second = (torch.cat([part.double().flatten() for part in gradient]) for gradient in (one, other))
    return float((first @ second) / (first.norm() * second.norm()))


@own_settings()
def gradient_alignment(
    stack: StackedAutoencoder,
    spec: RunSpec,
    splits: Splits,
    *,
    local: str = "local-simultaneous",
    against: str = "joint",
    batches: int = 8,
) -> list[float]:
    """Return, for each stage, the cosine between the gradients of its encoder by a local and by a global loss, -1 to 1.

    It is the mean over the first `batches` of training inputs in the order of the spec. local, against: policies that train
    all stages at once in one phase, whose losses are compared: such as "local-simultaneous" (the spec's objectives, or without
    them the reconstruction of what each block reads), and "joint" or "end-to-end". Both read the same corrupted inputs, in
    training mode. Parameters of objectives, which are dropped after training, begin anew. NaN where a loss has no gradient. The
    stack does not change. Raises InputError for other policies, and for a spec that they do not fit.
    """
    whole(batches, "batches")
    need(
        stack.depth == spec.stack.depth,
        f"a stack of {stack.depth} stages does not fit a spec of {spec.stack.depth}: give its own spec",
    )
    phases, device = [phase_of(spec, policy) for policy in (local, against)], device_of(stack)
    config = replace(spec.optimisation, staleness=0)  # all gradients are of the same weights
    is_labelled = any(needs_labels(phase, spec.optimisation) for phase in phases)
    need(not is_labelled or bool(splits.classes), "an objective needs labels, and the data have none: leave it out")
    rows = (splits.train.labels >= 0).nonzero().flatten() if is_labelled else None
    losses = list[tuple[StackedAutoencoder, PhaseLoss, Targets | None]]()
    for phase in phases:
        # a copy for each, because a loss freezes the decoders that it does not use
        clone = copy.deepcopy(stack).learn_only(1, stack.depth)
        clone.train()
        examples, _ = examples_of(splits, phase, config, rows, device)
        objective = PhaseLoss(clone, phase, config, seed=spec.seed, classes=len(splits.classes))
        losses.append((clone, objective, examples.targets(phase, config, device)))
    order = Order(len(examples.images), config.batch_size_of(phases[1]), spec.seed)
    total = torch.zeros(stack.depth, dtype=torch.float64)
    for step in range(batches):
        index = order.batch(step)
        clean, gradients = examples.images(index), []
        for clone, objective, targets in losses:
            encoders = [[p for p in stage.encoder.parameters() if p.requires_grad] for stage in clone.stages]
            with torch.enable_grad():
                loss = objective(clean, targets(index) if targets else None, step)
                flat = iter(torch.autograd.grad(loss, [p for each in encoders for p in each], materialize_grads=True))
            gradients.append([[next(flat) for _ in each] for each in encoders])
        total += torch.tensor([cosine(*both) for both in zip(*gradients, strict=True)], dtype=torch.float64)
    found: list[float] = (total / batches).tolist()
    return found


def phase_of(spec: RunSpec, policy: str) -> Phase:
    """Return the phase of a policy that trains all stages in one; InputError for another policy, or if the spec does not fit."""
    choice(policy, POLICIES, "policy")
    much = 1_000_000  # so that no share of it rounds to 0
    phases = spec.phases_of(Updates((much,) * len(spec.block_lengths), much), policy)
    need(
        len(phases) == 1 and phases[0].trainable == (1, spec.stack.depth) and phases[0].input_depth == 0,
        f"policy {policy!r} has no gradients of all stages at once: give one that trains them in one phase, such as "
        "'local-simultaneous', 'simultaneous', 'joint' or 'end-to-end'",
    )
    check_fit(spec.stack, spec.optimisation, phases[0])
    return phases[0]
