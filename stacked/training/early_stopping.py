"""Early stopping: a phase ends when its validation loss stops improving."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stacked.model.stack import StackedAutoencoder
from stacked.runtime.rng import generator
from stacked.training.codes import Inputs, Targets
from stacked.training.phase_loss import PhaseLoss


@dataclass(frozen=True)
class ValidationLoss:
    """The loss of a phase on clean validation inputs, in batches of the training batch size.

    The inputs are in their order, or in a random one, always the same, if an objective compares the examples of a batch: those
    of a dataset that is sorted by class would all be of one class.
    """

    objective: PhaseLoss
    valid: Inputs
    targets: Targets | None
    batch_size: int

    @torch.no_grad()
    def compute(self) -> float:
        """Return the mean loss over the examples."""
        total = 0.0
        for index in self.order().split(self.batch_size):
            target = self.targets(index) if self.targets else None
            total += self.objective.loss_per_example(self.valid(index), target).double().sum().item()
        return total / len(self.valid)

    def order(self) -> Tensor:
        """Return the indices of the inputs in their order of evaluation."""
        n, objectives = len(self.valid), self.objective.objectives
        if objectives is None or not objectives.compares_examples:
            return torch.arange(n)
        return torch.randperm(n, generator=generator(self.objective.seed, "validation order"))


class EarlyStopping:
    """Tracks the validation loss of a phase and keeps the best weights and buffers."""

    def __init__(self, stack: StackedAutoencoder, validation: ValidationLoss, patience: int) -> None:
        self.stack, self.validation, self.patience = stack, validation, patience
        self.best, self.waited = math.inf, 0
        self.state: dict[str, Tensor] = {}

    def check(self) -> float:
        """Compute and return the mean validation loss; a NaN or infinite loss counts as no improvement."""
        self.stack.eval()
        loss = self.validation.compute()
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
        """Load the best weights into the stack."""
        if self.state:
            self.stack.load_state_dict(self.state)
