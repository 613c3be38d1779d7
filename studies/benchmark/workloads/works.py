"""The timed workloads: a stack, its images and its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stacked.data.formats.dataset import Source
from stacked.data.sources.mnist import Mnist


@dataclass(frozen=True)
class Work:
    """Greedy training of a stack on MNIST, then training end to end, with masking, Adam and a constant learning rate.

    kind: "dense" or "conv". widths: units or channels of each stage. images: number of training images. epochs: of each stage,
    and end to end. batch: batch size. masking: fraction of masked pixels. lr: learning rate.
    """

    kind: str
    widths: tuple[int, ...]
    images: int = 10_000
    epochs: int = 5
    batch: int = 256
    masking: float = 0.2
    lr: float = 1e-3


WORKS = {
    "dense": Work("dense", (500, 500, 2000, 10)),
    "conv": Work("conv", (16, 32, 64)),
}


def pixels(work: Work) -> tuple[Tensor, Tensor]:
    """Return the training images of `work` and the 10,000 test images, uint8 [N, 1, 28, 28]."""
    official = Mnist().load(Source(Path()))
    return official.train.inputs[: work.images], official.test.inputs


def error(reconstruct: torch.nn.Module, images: Tensor) -> float:
    """Return the mean squared error per pixel of float images [N, 1, 28, 28], reconstructed in batches of 1,000."""
    with torch.no_grad():
        parts = [((reconstruct(part).view_as(part) - part) ** 2).double().mean() for part in images.split(1000)]
    return float(torch.stack(parts).mean())
