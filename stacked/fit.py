"""The one training loop. It knows phases, not policies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stacked.codes import Inputs
from stacked.data.stream import Order
from stacked.errors import Diverged
from stacked.growth import Phase
from stacked.optim import OPTIMISERS, learning_rate
from stacked.phase_loss import PhaseLoss
from stacked.spec import Optimisation
from stacked.stack import StackedAutoencoder

#: what is to be learned, by the indices of a batch
Targets = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Point:
    """What training has to tell at one point of the grid, after `update` updates of the phase.

    loss: mean over the updates since the last point, in the loss's own unit. grad_norm: global norm, before clipping, at
    this update. valid_loss: where it was taken (early stopping). seconds: spent training since the phase began.
    """

    update: int
    loss: float
    grad_norm: float
    lr: float
    valid_loss: float | None
    seconds: float
    stopped: bool = False


def fit(
    stack: StackedAutoencoder,
    phase: Phase,
    inputs: Inputs,
    how: Optimisation,
    *,
    order: Order,
    seed: int,
    done: int = 0,
    every: int = 20,
    valid: Inputs | None = None,
    targets: Targets | None = None,
    valid_targets: Targets | None = None,
    classes: int = 0,
) -> Iterator[Point]:
    """Train `phase` in place and yield a Point wherever the run's update count is a multiple of `every`, and at the end.

    `done` is the number of updates that the run made before this phase: data order and corruption go by the run's count,
    so that arms share them. `targets` gives what is to be learned by index, where that is not what is read. Training pauses
    while the caller holds a point. Raises Diverged when the loss is not finite.
    """
    stack.learn_only(*phase.learn).train()
    objective = PhaseLoss(stack, phase, how, seed=seed, classes=classes)
    params = [p for p in [*stack.parameters(), *objective.parameters()] if p.requires_grad]
    groups = rates(stack, phase, how, list(objective.parameters()))
    optimiser = OPTIMISERS[how.optimiser](groups, how.weight_decay, how.momentum)
    device = params[0].device
    losses = torch.zeros(every, device=device)  # read once a point: no synchronisation in between
    watched = Watched(objective, valid, valid_targets, order.size) if valid is not None else None
    patience = how.patience_of(phase)
    stopping = EarlyStopping(stack, watched, patience) if patience and watched else None
    check_every = how.check_every or order.updates_per_epoch
    seconds, began, window = 0.0, time.perf_counter(), 0
    valid_loss, stopped = None, False

    for update in range(phase.updates):
        step = done + update
        index = order.batch(step)
        loss = objective(inputs(index), targets(index) if targets else None, step)
        optimiser.zero_grad()
        loss.backward()
        last, at_point = update + 1 == phase.updates, (step + 1) % every == 0
        norm = gradient_norm(params, how.clip) if how.clip or at_point or last else None
        lr = learning_rate(how.lr_of(phase), how.schedule_of(phase), how.warmup, update, phase.updates)
        for group in optimiser.param_groups:
            group["lr"] = lr * group["factor"]
        optimiser.step()
        losses[window] = loss.detach()
        window += 1

        if stopping and ((update + 1) % check_every == 0 or last):
            valid_loss = stopping.check()
            stopped = stopping.over
            if last or stopped:
                stopping.restore()
        if at_point or last or stopped:
            values = losses[:window].cpu()
            finite = values.isfinite()
            if not finite.all():
                first = update + 1 - window + int(finite.long().argmin()) + 1
                what = values[~finite][0].item()
                raise Diverged(f"the loss became {what} in phase {phase.name!r} at update {first} of {phase.updates}")
            seconds += time.perf_counter() - began
            norm = gradient_norm(params, None) if norm is None else norm
            yield Point(update + 1, values.double().mean().item(), norm.item(), lr, valid_loss, seconds, stopped)
            began, window, valid_loss = time.perf_counter(), 0, None
        if stopped:
            return


def rates(stack: StackedAutoencoder, phase: Phase, how: Optimisation, own: list[nn.Parameter]) -> list[dict[str, Any]]:
    """Groups of parameters by the factor of their learning rate: 1, and less for lower stages of a gradual phase."""
    if not phase.gradual:
        params = [p for p in stack.parameters() if p.requires_grad]
        return [{"params": [*params, *own], "factor": 1.0}]
    return [
        {"params": list(stack.stages[k - 1].parameters()), "factor": how.rate_decay ** (k - phase.depth)}
        for k in range(phase.learn[0], phase.depth + 1)
    ]


def gradient_norm(params: list[nn.Parameter], clip: float | None) -> Tensor:
    """The global norm of the gradients, which are scaled down to `clip` if they exceed it."""
    grads = [p.grad for p in params if p.grad is not None]
    norm = nn.utils.get_total_norm(grads)
    if clip is not None:
        nn.utils.clip_grads_with_norm_(params, clip, norm)
    return norm


@dataclass(frozen=True)
class Watched:
    """A phase's own loss on clean validation inputs, in batches of the size that training uses."""

    objective: PhaseLoss
    valid: Inputs
    targets: Targets | None
    batch_size: int

    @torch.no_grad()
    def loss(self) -> float:
        """The mean over examples."""
        total = 0.0
        for index in torch.arange(len(self.valid)).split(self.batch_size):
            target = self.targets(index) if self.targets else None
            total += self.objective.of_examples(self.valid(index), target).double().sum().item()
        return total / len(self.valid)


class EarlyStopping:
    """Watches a loss and remembers the best weights and buffers."""

    def __init__(self, stack: StackedAutoencoder, watched: Watched, patience: int) -> None:
        self.stack, self.watched, self.patience = stack, watched, patience
        self.best, self.waited = math.inf, 0
        self.state: dict[str, Tensor] = {}

    def check(self) -> float:
        """Measure; returns the mean loss per example."""
        self.stack.eval()
        loss = self.watched.loss()
        self.stack.train()
        if loss < self.best:
            self.best, self.waited = loss, 0
            self.state = {name: value.clone() for name, value in self.stack.state_dict().items()}
        else:
            self.waited += 1
        return loss

    @property
    def over(self) -> bool:
        """Whether the loss has not improved for `patience` checks."""
        return self.waited >= self.patience

    def restore(self) -> None:
        """Put the best weights back."""
        if self.state:
            self.stack.load_state_dict(self.state)
