"""Classifiers: an encoder and a head are fine-tuned on labelled images, and selected on validation images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stacked.data.stream import Order
from stacked.evaluation.evaluate import device_of
from stacked.model.classifier import Classifier
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.progress import Bar
from stacked.runtime.rng import derive, seeded
from stacked.runtime.settings import own_settings
from stacked.spec import Classification
from stacked.spec.growth import Phase
from stacked.training.code_cache import choose_cache
from stacked.training.codes import Images, inputs
from stacked.training.fit import Training, without_prefix
from stacked.training.recalibration import recalibrate
from stacked.util.chunks import chunks
from stacked.util.errors import Diverged

#: images [N, C, H, W] of uint8 and their labels [N]
Labelled = tuple[Tensor | Images, Tensor]


@dataclass(frozen=True)
class Selected:
    """A fine-tuned classifier, with the learning rate and the updates that were selected on validation images.

    updates_made, recalibrations: numbers of updates and of batches of recalibration, at all learning rates together.
    """

    classifier: Classifier
    valid_accuracy: float
    lr: float
    updates: int
    updates_made: int
    recalibrations: int


@own_settings()
def accuracy(model: Classifier, images: Tensor | Images, labels: Tensor) -> float:
    """Return the fraction of uint8 images [N, C, H, W] classified as labelled; Diverged if logits are not finite."""
    read, right = Images.of(images, device_of(model)), 0
    model.eval()
    with torch.no_grad():
        for index in chunks(len(read), model.widest):
            logits = model(read(index)).cpu()
            if not logits.isfinite().all():
                raise Diverged("the classifier's logits are not finite")
            right += int((logits.argmax(1) == labels[index]).sum())
    return right / len(read)


def classifier_updates(config: Classification, updates_per_epoch: int) -> int:
    """Return the updates of fine-tuning at one learning rate."""
    return max(config.updates, round(config.epochs * updates_per_epoch))


def classifier_phase(depth: int, updates: int, config: Classification) -> Phase:
    """Return the phase in which a classifier is fine-tuned: all stages, or none of them, learn the labels with a head."""
    if config.encoder == "frozen":
        return Phase("classifier", (depth + 1, depth), depth, updates, target="labels")
    decays = config.rate_decay != 1
    return Phase("classifier", (1, depth), 0, updates, target="labels", layerwise_lr_decay=decays)


class FineTuning:
    """Fine-tuning of a classifier from a stack's encoder, once with each learning rate of the recipe.

    train, valid: labelled images. classes: names of the classes. The seed determines the head's initial weights and the data
    order, the same for every arm. The stack is not changed. Like `Training`, it can be interrupted after any update and resumed,
    bit for bit.

    Attributes: rate: number of the current learning rate, from 0. update: its updates so far. best: validation accuracy, learning
    rate and update of the best check so far.
    """

    def __init__(
        self,
        stack: StackedAutoencoder,
        train: Labelled,
        valid: Labelled,
        classes: Sequence[str],
        config: Classification,
        seed: int,
    ) -> None:
        (images, labels), self.device = train, device_of(stack)
        self.stack, self.valid, self.classes, self.config, self.seed = stack, valid, classes, config, seed
        self.images, self.labels = Images.of(images, self.device), labels.to(self.device)
        self.order = Order(len(images), config.batch_size, derive(seed, "classifier"))
        self.updates = classifier_updates(config, self.order.updates_per_epoch)
        self.checks = {round(self.updates * (k + 1) / config.checks) for k in range(config.checks)}
        self.phase = classifier_phase(stack.depth, self.updates, config)
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
        self.rate, self.waited, self.best_of_rate = rate, 0, -1.0
        trained = copy.deepcopy(self.stack)
        with seeded(self.seed, "head"):
            self.classifier = Classifier(trained, self.classes, config.head, config.head_width).to(self.device)
        values = torch.Size(trained.shapes(trained.input_shape)[self.phase.input_depth]).numel()
        cache = choose_cache(self.phase.input_depth, values, self.order.n, self.updates, self.order.size)
        self.training = Training(
            trained,
            self.phase,
            inputs(trained.eval(), self.phase.input_depth, self.images, cache.mode, self.order.size),
            config.optimisation(self.lr),
            order=self.order,
            seed=self.seed,
            every=self.updates,
            targets=lambda index: self.labels[index.to(self.device)],
            head=self.classifier.head,
            dropout=config.dropout,
        )

    def train(
        self,
        after_update: Callable[[], None] = lambda: None,
        after_check: Callable[[float], None] = lambda accuracy: None,
    ) -> Selected:
        """Train with all learning rates that are left, and return the best classifier (the first of equals).

        after_update: called after every update, and after its check; an exception from it ends the training with the `state` of
        that update. after_check: called with the validation accuracy of a check. Raises Diverged if no learning rate gives a
        finite classifier.
        """
        label, total = f"classifier of {self.order.n:,} labels", len(self.config.lrs) * self.updates
        with Bar(label, total, "updates") as bar:
            bar.resume(self.rate * self.updates + self.update)
            while True:
                with suppress(Diverged, _Converged):  # the best classifier found before is kept
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
        """Return the accuracy on validation images, with the statistics of clean images, and keep the best classifier."""
        training = self.training
        if not training.recalibrated:  # which training does itself after its last update
            self.recalibrations += recalibrate(training.objective, training.inputs, training.targets, self.order)
        found = accuracy(self.classifier, *self.valid)
        self.classifier.train()
        if self.best is None or found > self.best[0]:
            self.best = (found, self.lr, self.update)
            self.best_state = copy.deepcopy(self.classifier.state_dict())
        self.waited = 0 if found > self.best_of_rate else self.waited + 1
        self.best_of_rate = max(self.best_of_rate, found)
        return found

    def selected(self) -> Selected:
        """Return the best classifier found, in eval mode; Diverged if there is none."""
        if self.best is None:
            rates = ", ".join(f"{lr:g}" for lr in self.config.lrs)
            raise Diverged(
                f"the classifier of {self.order.n} labels became non-finite at every learning rate ({rates})"
            )
        self.classifier.load_state_dict(self.best_state)
        return Selected(self.classifier.eval(), *self.best, self.updates_made, self.recalibrations)

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
    """The accuracy of a learning rate has not improved for as many checks as the recipe's patience."""


@own_settings()
def fine_tuned(
    stack: StackedAutoencoder,
    train: Labelled,
    valid: Labelled,
    classes: Sequence[str],
    config: Classification,
    seed: int,
) -> Selected:
    """Fine-tune a classifier from the stack's encoder on labelled images and return the best; arguments as of `FineTuning`.

    Raises Diverged if no learning rate gives a finite classifier.
    """
    return FineTuning(stack, train, valid, classes, config, seed).train()
