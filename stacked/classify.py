"""The supervised end: a linear probe on frozen codes, and a classifier fine-tuned on a label budget."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from stacked.codes import Images
from stacked.data.stream import Order
from stacked.evaluate import CHUNK, device_of
from stacked.rng import derive, seeded
from stacked.settings import own_settings
from stacked.spec import Classification
from stacked.stack import StackedAutoencoder

#: The linear probe's protocol: standardised codes, L2-penalised multinomial logistic regression, lbfgs.
PROBE_C = 0.1
PROBE_ITERATIONS = 200


def linear_probe(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Accuracy on test codes [M, D] of logistic regression fitted on train codes [N, D] and their labels.

    Protocol: codes standardised by the training codes, L2 penalty of inverse strength C = 0.1, at most 200 iterations of
    lbfgs; nothing is selected.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=PROBE_C, max_iter=PROBE_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the iteration limit is part of the protocol
        model.fit(train.numpy(), labels.numpy())
    return float(model.score(test.numpy(), test_labels.numpy()))


class Classifier(nn.Module):
    """A copy of a stack's encoder with a linear head on the flattened bottleneck; returns logits [B, classes]."""

    def __init__(self, stack: StackedAutoencoder, classes: int) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(stack).learn_only(1, stack.depth).encoder
        self.head = nn.Linear(torch.Size(stack.latent_shape).numel(), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).flatten(1))


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned classifier's test accuracy, and what the validation images picked: learning rate and updates."""

    accuracy: float
    valid_accuracy: float
    lr: float
    updates: int


@own_settings()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The fraction of images [N, C, H, W] uint8 classified as labelled."""
    read, right = Images(images, device=device_of(model)), 0
    model.eval()
    with torch.no_grad():
        for index in torch.arange(len(images)).split(CHUNK):
            right += int((model(read(index)).argmax(1).cpu() == labels[index]).sum())
    return right / len(images)


@own_settings()
def fine_tuned(
    stack: StackedAutoencoder,
    train: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    how: Classification,
    seed: int,
) -> Tuned:
    """Train a classifier from the stack's encoder on labelled `train` images and test it once.

    Each of train, valid and test is (images uint8 [N, C, H, W], labels [N]). Learning rate and
    number of updates are those of the highest validation accuracy (the first of equals). The head's initial weights and
    the data order come from the seed, the same for every arm. The stack itself is left as it was.
    """
    (images, labels), device = train, device_of(stack)
    order = Order(len(images), how.batch_size, derive(seed, "classifier"))
    read, targets = Images(images, device=device), labels.to(device)
    best: tuple[float, float, int] = (-1.0, 0.0, 0)
    best_state: dict[str, Tensor] = {}
    updates = max(how.updates, round(how.epochs * order.updates_per_epoch))
    checks = {round(updates * (k + 1) / how.checks) for k in range(how.checks)}
    for lr in how.lrs:
        with seeded(seed, "head"):
            model = Classifier(stack, classes).to(device)
        optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        model.train()
        for update in range(updates):
            index = order.batch(update)
            loss = F.cross_entropy(model(read(index)), targets[index.to(device)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if update + 1 in checks:
                found = accuracy(model, *valid)
                model.train()
                if found > best[0]:
                    best, best_state = (found, lr, update + 1), copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    return Tuned(accuracy(model, *test), *best)
