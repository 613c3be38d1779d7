"""The gradients of a batch: one backward pass for each part of the loss that shares no parameter with the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from stacked.training.codes import Target
from stacked.training.phase_loss import PhaseLoss, twice_differentiable


def replace_gradients(
    objective: PhaseLoss,
    optimiser: Optimizer,
    clean: Tensor,
    target: Target | None,
    step: int,
    weight: Tensor | None = None,
) -> Tensor:
    """Replace the gradients of the optimiser's parameters by those of the loss of a batch, and return this loss, a scalar.

    The arguments after `optimiser` are those of `objective`. The backward pass of a part is made before the next part is
    computed, so that the activations of one part are alive at a time (Wang et al. 2021, InfoPro, whose parts are blocks of stages
    between which no gradient passes). Loss and gradients are bitwise those of one backward pass of the whole loss.
    """
    sums = running_sums(objective, clean, target, step, weight)
    loss = next(sums)
    optimiser.zero_grad()
    loss.backward()
    for loss in sums:
        loss.backward()
    return loss.detach()


def running_sums(
    objective: PhaseLoss, clean: Tensor, target: Target | None, step: int, weight: Tensor | None
) -> Iterator[Tensor]:
    """Yield the sum of the parts of a loss after each of them; its gradient is that of the newest part alone."""
    if objective.phase.local_loss != "alone":
        yield objective(clean, target, step, weight)
        return
    total = torch.zeros((), device=clean.device)
    with twice_differentiable(objective.needs_input_gradient):
        for local, penalties in objective.local_losses(clean, target, step, objective.corrupt_input(clean, step)):
            total = total.detach() + local + penalties
            yield total
