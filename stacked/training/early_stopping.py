"""Ending a phase where its validation loss has stopped improving."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stacked.model.stack import StackedAutoencoder
from stacked.training.codes import Inputs, Targets
from stacked.training.phase_loss import PhaseLoss


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
        """Measure; returns the mean loss per example, which is no improvement where it is not finite."""
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
