"""Classification: a linear probe on frozen codes, and a classifier fine-tuned with a label budget."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stacked.data.stream import Order
from stacked.evaluation.evaluate import device_of
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.progress import Bar
from stacked.runtime.rng import derive, seeded
from stacked.runtime.settings import own_settings
from stacked.spec import Classification, Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import Images
from stacked.training.fit import Training
from stacked.util.chunks import chunks
from stacked.util.errors import Diverged


class Classifier(nn.Module):
    """A stack's encoder with a linear head on the flattened bottleneck; returns logits [B, classes]."""

    def __init__(self, stack: StackedAutoencoder, classes: int) -> None:
        super().__init__()
        self.widest = stack.widest(stack.input_shape)
        self.encoder = stack.encoder
        self.head = nn.Linear(torch.Size(stack.latent_shape).numel(), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).flatten(1))


@dataclass(frozen=True)
class Tuned:
    """The test accuracy of a fine-tuned classifier, and the learning rate and updates selected on validation images."""

    accuracy: float
    valid_accuracy: float
    lr: float
    updates: int


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


def classifier_phase(depth: int, updates: int) -> Phase:
    """Return the phase in which a classifier is fine-tuned: all stages learn the labels."""
    return Phase("classifier", (1, depth), 0, updates, target="labels")


@own_settings()
def fine_tuned(
    stack: StackedAutoencoder,
    train: tuple[Tensor | Images, Tensor],
    valid: tuple[Tensor | Images, Tensor],
    test: tuple[Tensor | Images, Tensor],
    classes: int,
    config: Classification,
    seed: int,
) -> Tuned:
    """Fine-tune a classifier from the stack's encoder on labelled `train` images, and test it once.

    train, valid and test are (images uint8 [N, C, H, W], labels [N]). The learning rate and the number of updates with the
    highest validation accuracy are used (the first of equals). The seed determines the head's initial weights and the data
    order, the same for every arm. The stack is not changed. Raises Diverged if no learning rate gives a finite classifier.
    """
    (images, labels), device = train, device_of(stack)
    order = Order(len(images), config.batch_size, derive(seed, "classifier"))
    read, targets = Images.of(images, device), labels.to(device)
    best: tuple[float, float, int] = (-1.0, 0.0, 0)
    best_state: dict[str, Tensor] = {}
    updates = classifier_updates(config, order.updates_per_epoch)
    checks = {round(updates * (k + 1) / config.checks) for k in range(config.checks)}
    phase = classifier_phase(stack.depth, updates)

    def check(update: int) -> None:
        nonlocal best, best_state
        bar.to(before + update)
        if update in checks:
            found = accuracy(model, *valid)
            model.train()
            if found > best[0]:
                best, best_state = (found, lr, update), copy.deepcopy(model.state_dict())

    with Bar(f"classifier of {len(images):,} labels", len(config.lrs) * updates, "updates") as bar:
        for number, lr in enumerate(config.lrs):
            before = number * updates
            trained = copy.deepcopy(stack)
            with seeded(seed, "head"):
                model = Classifier(trained, classes).to(device)
            training = Training(
                trained,
                phase,
                read,
                Optimisation(lr=lr, batch_size=config.batch_size),
                order=order,
                seed=seed,
                every=updates,
                targets=lambda index: targets[index.to(device)],
                head=model.head,
            )
            with suppress(Diverged):  # the best classifier found before is kept
                for _ in training.train(after_update=lambda training=training: check(training.update)):  # type: ignore[misc]
                    pass
    if not best_state:
        rates = ", ".join(f"{lr:g}" for lr in config.lrs)
        raise Diverged(f"the classifier of {len(images)} labels became non-finite at every learning rate ({rates})")
    model.load_state_dict(best_state)
    return Tuned(accuracy(model, *test), *best)
