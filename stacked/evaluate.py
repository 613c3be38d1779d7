"""Measurements of a trained stack: pure functions that change nothing and draw nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from torch import Tensor, nn

from stacked.codes import Images
from stacked.settings import own_settings
from stacked.stack import StackedAutoencoder

#: Images of a forward pass; a constant, so that no measurement depends on the training batch.
CHUNK = 500


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters lie."""
    return next(module.parameters()).device


def spread(n: int, most: int) -> Tensor:
    """At most `most` of n indices, evenly spread: data sorted by class keep all their classes."""
    return torch.arange(n) if n <= most else (torch.arange(most) * n) // most


@contextmanager
def evaluating(stack: StackedAutoencoder) -> Iterator[None]:
    """The stack in eval mode and without gradients; the mode it was in is restored."""
    training = stack.training
    stack.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        stack.train(training)


@dataclass(frozen=True)
class Reconstruction:
    """Errors of reconstructing images with values in [0, 1].

    mse: per pixel. sse: summed over the values of an image, mean over images (Hinton & Salakhutdinov 2006). fvu: fraction
    of variance unexplained, the squared error over that of the mean of these images. psnr: dB, of the mean squared error.
    """

    mse: float
    sse: float
    fvu: float
    psnr: float


def errors(squared: float, variance: float, values: int) -> Reconstruction:
    """From the squared error and the variance, both summed over an image's `values` and averaged over images."""
    mse = squared / values
    return Reconstruction(mse, squared, squared / variance, -10 * math.log10(mse) if mse > 0 else math.inf)


@own_settings()
def reconstruction(stack: StackedAutoencoder, images: Tensor, depth: int | None = None) -> Reconstruction:
    """Errors of images [N, C, H, W] uint8 encoded to `depth` (None: the bottleneck) and decoded to pixels."""
    read = Images(images, device=device_of(stack))
    total = torch.zeros(images[0].numel(), dtype=torch.float64, device=read.device)
    squared, total_squares = 0.0, 0.0
    with evaluating(stack):
        for index in torch.arange(len(images)).split(CHUNK):
            x = read(index)
            difference = stack.reconstruct(x, depth) - x
            squared += difference.double().square().sum().item()
            flat = x.flatten(1).double()
            total += flat.sum(0)
            total_squares += flat.square().sum().item()
    n = len(images)
    variance = total_squares / n - (total / n).square().sum().item()
    return errors(squared / n, variance, images[0].numel())


@own_settings()
def codes(stack: StackedAutoencoder, images: Tensor, depth: int) -> Tensor:
    """The codes [N, D] at `depth` (0: pixels) of images [N, C, H, W] uint8, flattened, on the CPU."""
    read = Images(images, device=device_of(stack))
    with evaluating(stack):
        parts = [stack.encode(read(index), depth).flatten(1).cpu() for index in torch.arange(len(images)).split(CHUNK)]
    return torch.cat(parts)


@own_settings()
def reconstructed(stack: StackedAutoencoder, images: Tensor, depth: int) -> Tensor:
    """The images [N, C, H, W] as uint8 after encoding to `depth` and back."""
    read = Images(images, device=device_of(stack))
    with evaluating(stack):
        output = stack.reconstruct(read(torch.arange(len(images))), depth)
    return output.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


@own_settings()
def quick_probe(train: Tensor, labels: Tensor, valid: Tensor, valid_labels: Tensor) -> float:
    """Accuracy on valid codes [M, D] of ridge regression (penalty 1, standardised codes) on train codes [N, D]."""
    scale = train.std(0).clamp_min(1e-6)
    model = RidgeClassifier(alpha=1.0).fit(((train - train.mean(0)) / scale).numpy(), labels.numpy())
    return float(model.score(((valid - train.mean(0)) / scale).numpy(), valid_labels.numpy()))


@own_settings()
def fitted_pca(train: Tensor, components: int) -> PCA:
    """PCA of train images, uint8 [N, C, H, W], with values in [0, 1]."""
    return PCA(components, svd_solver="covariance_eigh").fit(as_rows(train))


@own_settings()
def as_rows(images: Tensor) -> NDArray[np.float64]:
    """Images uint8 [N, C, H, W] as float64 rows [N, C * H * W] in [0, 1]."""
    rows: NDArray[np.float64] = Images(images, torch.float64)(torch.arange(len(images))).flatten(1).numpy()
    return rows


@own_settings()
def pca_reference(train: Tensor, test: Tensor, components: int) -> Reconstruction:
    """Errors on test images of PCA fitted on train images, both uint8 [N, C, H, W]: the linear code of the same size."""
    pca, x = fitted_pca(train, components), as_rows(test)
    squared = float(np.square(pca.inverse_transform(pca.transform(x)) - x).sum(1).mean())
    return errors(squared, float(x.var(0).sum()), x.shape[1])


@own_settings()
def mean_reference(train: Tensor, test: Tensor) -> Reconstruction:
    """Errors on test images of answering the mean train image, both uint8 [N, C, H, W]."""
    mean = Images(train, torch.float64)(torch.arange(len(train))).mean(0)
    x = Images(test, torch.float64)(torch.arange(len(test)))
    return errors(
        (x - mean).square().flatten(1).sum(1).mean().item(),
        x.flatten(1).var(0, correction=0).sum().item(),
        x[0].numel(),
    )
