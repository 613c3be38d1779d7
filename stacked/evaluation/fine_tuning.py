"""Classifiers and regressors: an encoder and a head are fine-tuned on labels, and selected on validation data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stacked.data.order import Order
from stacked.evaluation.evaluate import device_of
from stacked.evaluation.scores import Labelled, reading, score
from stacked.model.classifier import Classifier
from stacked.model.regressor import Regressor, mean_and_scale
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.progress import Bar
from stacked.runtime.rng import derive, seeded
from stacked.runtime.settings import own_settings
from stacked.spec import Classification
from stacked.training.code_cache import choose_cache
from stacked.training.codes import inputs
from stacked.training.fit import Training, without_prefix
from stacked.training.recalibration import recalibrate
from stacked.util.checks import need
from stacked.util.errors import Diverged


@dataclass(frozen=True)
class Selected:
    """A fine-tuned model, with the learning rate and the updates that were selected on validation data.

    valid_score: its accuracy, or R² of a regressor, on validation data; NaN if there are none. updates_made, recalibrations:
    numbers of updates and of batches of recalibration, at all learning rates together.
    """

    model: Classifier | Regressor
    valid_score: float
    lr: float
    updates: int
    updates_made: int
    recalibrations: int

    @property
    def classifier(self) -> Classifier:
        """The model as a classifier, for labels that are classes."""
        assert isinstance(self.model, Classifier)
        return self.model


def classifier_updates(config: Classification, updates_per_epoch: int) -> int:
    """Return the updates of fine-tuning at one learning rate."""
    return max(config.updates, round(config.epochs * updates_per_epoch))


class FineTuning:
    """Fine-tuning of a classifier or regressor from a stack's encoder, once with each learning rate of the recipe.

    train, valid: labelled data. Labels of int64 are classes, with the names `classes`. Other labels are numbers [N, K], which
    the head learns standardised by the mean and the standard deviation of the training labels. A batch with weights has the
    loss sum(weight * loss) / sum(weight). The model with the highest score on validation data is selected, its accuracy or R²;
    without validation data (None) it is that of the last update, and there may be one learning rate only.

    The seed determines the head's initial weights and the data order, the same for every arm. The stack is not changed. Like
    `Training`, it can be interrupted after any update and resumed, bit for bit.

    Attributes: model: the model in training. rate: number of the current learning rate, from 0. update: its updates so far.
    best: validation score, learning rate and update of the best check so far.
    """

    def __init__(
        self,
        stack: StackedAutoencoder,
        train: Labelled,
        valid: Labelled | None,
        classes: Sequence[str],
        config: Classification,
        seed: int,
    ) -> None:
        need(
            valid is not None or len(config.lrs) == 1,
            f"{len(config.lrs)} learning rates cannot be compared without validation data: give one, or validation data",
        )
        (data, self.labels, *weights), self.device = train, device_of(stack)
        self.stack, self.valid, self.classes, self.config, self.seed = stack, valid, classes, config, seed
        self.data, self.weights = reading(data, self.device), weights[0] if weights else None
        self.kind = "regressor" if self.labels.is_floating_point() else "classifier"
        self.order = Order(len(self.data), config.batch_size, derive(seed, "classifier"))
        self.updates = classifier_updates(config, self.order.updates_per_epoch)
        checks = config.checks if valid else 1  # the last one, which keeps the model
        self.checks = {round(self.updates * (k + 1) / checks) for k in range(checks)}
        self.phase = config.phase(stack.depth, self.updates)
        self.best: tuple[float, float, int] | None = None
        self.best_state: dict[str, Tensor] = {}
        self.updates_made = self.recalibrations = 0  # of earlier learning rates
        self.begin(0)

    @property
    def update(self) -> int:
        """The updates so far at the current learning rate."""
        return self.training.update

    @property
    def lr(self) -> float:
        """The current learning rate."""
        return self.config.lrs[self.rate]

    def begin(self, rate: int) -> None:
        """Set up training with learning rate number `rate`."""
        config = self.config
        self.rate, self.waited = rate, 0
        self.best_of_rate: float | None = None
        trained = copy.deepcopy(self.stack)
        with seeded(self.seed, "head"):
            self.model = self.untrained(trained).to(self.device)
        labels = self.model.standardised(self.labels).float() if isinstance(self.model, Regressor) else self.labels
        targets = labels.to(self.device)
        values = torch.Size(trained.shapes(trained.input_shape)[self.phase.input_depth]).numel()
        cache = choose_cache(self.phase.input_depth, values, self.order.n, self.updates, self.order.size)
        self.training = Training(
            trained,
            self.phase,
            inputs(trained.eval(), self.phase.input_depth, self.data, cache.mode, self.order.size),
            config.optimisation(self.lr),
            order=self.order,
            seed=self.seed,
            every=self.updates,
            targets=lambda index: targets[index.to(self.device)],
            weights=self.weights_of if self.weights is not None else None,
            head=self.model.head,
            dropout=config.dropout,
        )

    def untrained(self, stack: StackedAutoencoder) -> Classifier | Regressor:
        """Return a model of this stack with a new head."""
        head = self.config.head, self.config.head_width
        if self.kind == "classifier":
            return Classifier(stack, self.classes, *head)
        return Regressor(stack, *mean_and_scale(self.labels, self.weights), *head)

    def weights_of(self, index: Tensor) -> Tensor:
        """Return the weights of a batch, divided by the largest, so that weights of any scale have a sum of 1 or more."""
        assert self.weights is not None
        weights = self.weights.cpu()[index.cpu()].double()
        return (weights / weights.max()).float().to(self.device)

    def train(
        self,
        after_update: Callable[[], None] = lambda: None,
        after_check: Callable[[float], None] = lambda score: None,
    ) -> Selected:
        """Train with all learning rates that are left, and return the best model (the first of equals).

        after_update: called after every update, and after its check; an exception from it ends the training with the `state` of
        that update. after_check: called with the validation score of a check. Raises Diverged if no learning rate gives a
        finite model.
        """
        label, total = f"{self.kind} of {self.order.n:,} labels", len(self.config.lrs) * self.updates
        with Bar(label, total, "updates") as bar:
            bar.resume(self.rate * self.updates + self.update)
            while True:
                with suppress(Diverged, _Converged):  # the best model found before is kept
                    for _ in self.training.train(partial(self._after_update, bar, after_update, after_check)):
                        pass
                self.updates_made += self.training.update
                self.recalibrations += self.training.recalibrated
                if self.rate + 1 == len(self.config.lrs):
                    return self.selected()
                self.begin(self.rate + 1)

    def _after_update(self, bar: Bar, after_update: Callable[[], None], after_check: Callable[[float], None]) -> None:
        bar.to(self.rate * self.updates + self.update)
        if self.update in self.checks:
            after_check(self.check())
            if self.config.patience is not None and self.waited >= self.config.patience:
                raise _Converged
        after_update()

    def check(self) -> float:
        """Return the score on validation data, with the statistics of clean inputs, and keep the best model."""
        training = self.training
        if not training.recalibrated:  # which training does itself after its last update
            self.recalibrations += recalibrate(training.objective, training.inputs, training.targets, self.order)
        found = self.validated()
        self.model.train()
        if self.best is None or found > self.best[0]:
            self.best = (found, self.lr, self.update)
            self.best_state = copy.deepcopy(self.model.state_dict())
        if self.best_of_rate is None or found > self.best_of_rate:
            self.best_of_rate, self.waited = found, 0
        else:
            self.waited += 1
        return found

    def validated(self) -> float:
        """Return the score on validation data, NaN if there are none; Diverged if the model is not finite."""
        if self.valid is None:
            if not all(bool(value.isfinite().all()) for value in self.model.state_dict().values()):
                raise Diverged("the model's weights are not finite")
            return math.nan
        return score(self.model, *self.valid)

    def selected(self) -> Selected:
        """Return the best model found, in eval mode; Diverged if there is none."""
        if self.best is None:
            rates = ", ".join(f"{lr:g}" for lr in self.config.lrs)
            raise Diverged(
                f"the {self.kind} of {self.order.n} labels became non-finite at every learning rate ({rates})"
            )
        self.model.load_state_dict(self.best_state)
        return Selected(self.model.eval(), *self.best, self.updates_made, self.recalibrations)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything but the stack that is needed to resume: tensors by name, and plain values."""
        tensors, training = self.training.state()
        tensors = {f"training/{name}": value for name, value in tensors.items()}
        tensors |= {f"trained/{name}": value for name, value in self.training.stack.state_dict().items()}
        tensors |= {f"kept/{name}": value for name, value in self.best_state.items()}
        names = ("rate", "best", "waited", "best_of_rate", "updates_made", "recalibrations")
        plain = {name: getattr(self, name) for name in names}
        return tensors, {"training": training, "recalibrated": self.training.recalibrated, **plain}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Resume from a `state`."""
        self.begin(plain["rate"])
        self.training.stack.load_state_dict(without_prefix("trained/", tensors))
        self.training.restore(without_prefix("training/", tensors), plain["training"])
        self.training.recalibrated = plain["recalibrated"]
        self.best = tuple(plain["best"]) if plain["best"] else None
        self.best_state = without_prefix("kept/", tensors)
        for name in ("waited", "best_of_rate", "updates_made", "recalibrations"):
            setattr(self, name, plain[name])


class _Converged(Exception):
    """The score of a learning rate has not improved for `patience` checks."""


@own_settings()
def fine_tuned(
    stack: StackedAutoencoder,
    train: Labelled,
    valid: Labelled | None,
    classes: Sequence[str],
    config: Classification,
    seed: int,
) -> Selected:
    """Fine-tune a model from the stack's encoder on labelled data and return the best; arguments as of `FineTuning`.

    Raises Diverged if no learning rate gives a finite model.
    """
    return FineTuning(stack, train, valid, classes, config, seed).train()
