"""Fine-tuning of a classifier, an encoder with a linear head, by a hand-written loop and by this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.data.formats.dataset import Source
from stacked.data.sources.images.mnist import Mnist
from stacked.evaluation.fine_tuning import fine_tuned
from stacked.model.stack import StackedAutoencoder, grow
from stacked.spec import Classification
from stacked.training.codes import StoredInputs
from studies.benchmark.workloads import loops, ours
from studies.benchmark.workloads.spent import Spent
from studies.benchmark.workloads.works import WORKS, Work

CLASSES = tuple("0123456789")
#: digits that are classified at a time
AT_A_TIME = 1000


def by_hand(work: Work, seed: int, images: Tensor, labels: Tensor) -> nn.Module:
    """Train encoder and head of a dense workload on float images, indexed by torch.randperm; return the model in eval mode."""
    torch.manual_seed(seed)
    encoders, _ = loops.KINDS[work.kind](work)
    model = nn.Sequential(*encoders, nn.Linear(work.widths[-1], len(CLASSES)))
    optimiser = torch.optim.Adam(model.parameters(), lr=work.lr)
    for _ in range(work.epochs):
        for index in torch.randperm(len(images)).split(work.batch):
            loss = F.cross_entropy(model(images[index]), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def recipe(work: Work) -> Classification:
    """Return the settings of the same training in this package."""
    return Classification(
        lrs=(work.lr,),
        optimiser="adam",
        schedule="constant",
        batch_size=work.batch,
        epochs=float(work.epochs),
        updates=1,
        checks=1,
    )


def by_package(work: Work, seed: int, images: Tensor, labels: Tensor) -> nn.Module:
    """Train the same classifier on uint8 images by the one training loop of this package; return the model in eval mode."""
    stack = StackedAutoencoder(work.shape)
    grow(stack, ours.spec_of(work, seed, ours.RECIPES["same"]), len(work.widths))
    return fine_tuned(stack, (StoredInputs(images), labels), None, CLASSES, recipe(work), seed).model


TRAINERS: dict[str, Callable[[Work, int, Tensor, Tensor], nn.Module]] = {"loop": by_hand, "ours": by_package}


def classifying(who: str, what: str, seed: int, epochs: int, images: int) -> dict[str, float]:
    """Fine-tune a classifier from random weights; return CPU seconds, wall seconds, growth of memory and test accuracy.

    Before that, it is trained on one batch, so that libraries are loaded and initialised.
    """
    work = replace(WORKS[what], epochs=epochs, images=images)
    official = Mnist().load(Source(Path()))
    pixels, labels = official.train.inputs[:images], official.train.labels[:images]
    if who == "loop":
        pixels = pixels.float().div(255)  # the loop stores images as floats
    TRAINERS[who](replace(work, epochs=1), seed, pixels[: work.batch].clone(), labels[: work.batch])
    with Spent() as spent:
        model = TRAINERS[who](work, seed, pixels, labels)
    with torch.no_grad():
        found = [model(part.float().div(255)).argmax(1) for part in official.test.inputs.split(AT_A_TIME)]
    return spent.values() | {"accuracy": (torch.cat(found) == official.test.labels).double().mean().item()}
