"""The one training loop. It knows phases, not policies."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stacked.codes import Inputs
from stacked.corruption import CORRUPTIONS
from stacked.data.stream import Order
from stacked.errors import Diverged
from stacked.growth import Phase
from stacked.objectives import LOSSES
from stacked.optim import OPTIMISERS, learning_rate
from stacked.rng import generator
from stacked.spec import Optimisation
from stacked.stack import StackedAutoencoder


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
) -> Iterator[Point]:
    """Train `phase` in place and yield a Point wherever the run's update count is a multiple of `every`, and at the end.

    `done` is the number of updates that the run made before this phase: data order and corruption go by the run's count,
    so that arms share them. Training pauses while the caller holds a point. Raises Diverged when the loss is not finite.
    """
    stack.learn_only(*phase.learn).train()
    params = [p for p in stack.parameters() if p.requires_grad]
    optimiser = OPTIMISERS[how.optimiser](params, how.weight_decay, how.momentum)
    loss_of = LOSSES[how.loss_at(phase.reads)][0]
    corrupt, level = CORRUPTIONS[how.corruption][0], how.level_at(phase.reads)
    device = params[0].device
    losses = torch.zeros(every, device=device)  # read once a point: no synchronisation in between
    stopping = EarlyStopping(stack, phase, how, valid, order.size) if how.patience and valid is not None else None
    seconds, began, window = 0.0, time.perf_counter(), 0
    valid_loss, stopped = None, False

    for update in range(phase.updates):
        step = done + update
        clean = inputs(order.batch(step))
        seen = corrupt(clean, level, generator(seed, "corruption", step, device=device)) if level else clean
        output = stack.reconstruct(seen, phase.depth, start=phase.reads)
        loss = loss_of(output, clean).mean()
        optimiser.zero_grad()
        loss.backward()
        last, at_point = update + 1 == phase.updates, (step + 1) % every == 0
        epoch_over = (update + 1) % order.updates_per_epoch == 0
        norm = gradient_norm(params, how.clip) if how.clip or at_point or last else None
        lr = learning_rate(how.lr, how.schedule, how.warmup, update, phase.updates)
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.step()
        losses[window] = loss.detach()
        window += 1

        if stopping and (epoch_over or last):
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


def gradient_norm(params: list[nn.Parameter], clip: float | None) -> Tensor:
    """The global norm of the gradients, which are scaled down to `clip` if they exceed it."""
    grads = [p.grad for p in params if p.grad is not None]
    norm = nn.utils.get_total_norm(grads)
    if clip is not None:
        nn.utils.clip_grads_with_norm_(params, clip, norm)
    return norm


class EarlyStopping:
    """Watches the phase's own loss on clean validation inputs and remembers the best weights and buffers."""

    def __init__(
        self, stack: StackedAutoencoder, phase: Phase, how: Optimisation, valid: Inputs, batch_size: int
    ) -> None:
        self.stack, self.phase, self.valid, self.batch_size = stack, phase, valid, batch_size
        self.loss_of, self.patience = LOSSES[how.loss_at(phase.reads)][0], how.patience or 0
        self.best, self.waited = math.inf, 0
        self.state: dict[str, Tensor] = {}

    def check(self) -> float:
        """Measure; returns the mean loss per example."""
        loss = self.loss()
        if loss < self.best:
            self.best, self.waited = loss, 0
            self.state = {name: value.clone() for name, value in self.stack.state_dict().items()}
        else:
            self.waited += 1
        return loss

    @torch.no_grad()
    def loss(self) -> float:
        self.stack.eval()
        total = 0.0
        for index in torch.arange(len(self.valid)).split(self.batch_size):
            clean = self.valid(index)
            output = self.stack.reconstruct(clean, self.phase.depth, start=self.phase.reads)
            total += self.loss_of(output, clean).double().sum().item()
        self.stack.train()
        return total / len(self.valid)

    @property
    def over(self) -> bool:
        """Whether the loss has not improved for `patience` checks."""
        return self.waited >= self.patience

    def restore(self) -> None:
        """Put the best weights back."""
        if self.state:
            self.stack.load_state_dict(self.state)
