"""The timed workloads: a stack, its images and its training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stacked.data.formats.dataset import Source
from stacked.data.sources.images.mnist import Mnist


@dataclass(frozen=True)
class Work:
    """Greedy training of a stack on MNIST, then training end to end, with masking, Adam and a constant learning rate.

    kind: "dense" or "conv". widths: units or channels of each stage. images: number of training images. epochs: of each stage,
    and end to end. batch: batch size, in examples. masking: fraction of masked pixels. lr: learning rate. layout: what an example
    is, one of LAYOUTS.
    """

    kind: str
    widths: tuple[int, ...]
    images: int = 10_000
    epochs: int = 5
    batch: int = 256
    masking: float = 0.2
    lr: float = 1e-3
    layout: str = "images"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example."""
        return LAYOUTS[self.layout]


#: the shapes of examples: images, their pixels in a row as signals, and volumes that have 16 images as slices
LAYOUTS = {"images": (1, 28, 28), "signals": (1, 784), "volumes": (1, 16, 28, 28)}

WORKS = {
    "dense": Work("dense", (500, 500, 2000, 10)),
    "conv": Work("conv", (16, 32, 64)),
    "small batches": Work("dense", (500, 500, 2000, 10), batch=64),
    "hinton": Work("dense", (1000, 500, 250, 30)),  # Hinton & Salakhutdinov 2006
    "wide conv": Work("conv", (24, 48, 96), batch=64),
    "signals": Work("conv", (16, 32, 64), layout="signals"),
    "volumes": Work("conv", (8, 16), batch=25, layout="volumes"),
}


def pixels(work: Work) -> tuple[Tensor, Tensor]:
    """Return the training examples of `work` and those of the 10,000 test images, uint8 [N, *work.shape]."""
    official = Mnist().load(Source(Path()))
    per_example = math.prod(work.shape) // 784
    train, test = official.train.inputs[: work.images], official.test.inputs
    return _grouped(train, per_example, work.shape), _grouped(test, per_example, work.shape)


def _grouped(images: Tensor, count: int, shape: tuple[int, ...]) -> Tensor:
    """Return examples of this shape, each made of `count` images; the images that are left over are left out."""
    return images[: len(images) // count * count].reshape(-1, *shape)


def error(reconstruct: torch.nn.Module, images: Tensor) -> float:
    """Return the mean squared error per pixel of float examples [N, ...], reconstructed in batches of 1,000."""
    with torch.no_grad():
        parts = [((reconstruct(part).view_as(part) - part) ** 2).double().mean() for part in images.split(1000)]
    return float(torch.stack(parts).mean())
