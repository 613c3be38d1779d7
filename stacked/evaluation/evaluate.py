"""Measurements of a trained stack: pure functions that change nothing and draw nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.settings import own_settings
from stacked.runtime.unlogged import unlogged
from stacked.training.codes import Images
from stacked.util.checks import need
from stacked.util.chunks import chunks

#: Values of a code that a probe reads at most, those of AutoEncoder224's bottleneck and some: of larger maps, neighbouring
#: places are averaged, as Zhang, Isola & Efros 2017 do.
PROBED = 2**15


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters lie."""
    return next(module.parameters()).device


def spread(n: int, most: int) -> Tensor:
    """At most `most` of n indices, evenly spread: data sorted by class keep all their classes."""
    return torch.arange(n) if n <= most else (torch.arange(most) * n) // most


def varies(images: Tensor | Images) -> bool:
    """Whether images [N, ...] are not all the same."""
    read = Images.of(images)
    rows = range(len(read)) if read.rows is None else read.rows.tolist()
    return any(not torch.equal(read.images[row], read.images[rows[0]]) for row in rows[1:])


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
    of variance unexplained, the squared error over that of the mean of these images; NaN, not defined, where they are all the
    same. psnr: dB, of the mean squared error.
    """

    mse: float
    sse: float
    fvu: float
    psnr: float


def errors(squared: float, variance: float, values: int) -> Reconstruction:
    """From the squared error and the variance (0: images are all the same), summed over `values` and averaged over images."""
    mse = squared / values
    psnr = math.inf if mse == 0 else -10 * math.log10(mse) if mse > 0 else math.nan
    return Reconstruction(mse, squared, squared / variance if variance else math.nan, psnr)


@own_settings()
def reconstruction(stack: StackedAutoencoder, images: Tensor | Images, depth: int | None = None) -> Reconstruction:
    """Errors of images [N, C, H, W] uint8 encoded to `depth` (None: the bottleneck) and decoded to pixels."""
    read = Images.of(images, device_of(stack))
    with evaluating(stack):
        return compared(read, lambda x: stack.reconstruct(x, depth), stack.widest(read.shape))


def compared(read: Images, restore: Callable[[Tensor], Tensor], widest: int = 0) -> Reconstruction:
    """Errors of what `restore` makes of images, chunk by chunk; widest: values that it makes of one on the way at most."""
    values = math.prod(read.shape)
    total = torch.zeros(values, dtype=torch.float64, device=read.device)
    squared, total_squares = 0.0, 0.0
    for index in chunks(len(read), max(values, widest)):
        x = read(index)
        squared += (restore(x) - x).double().square_().sum().item()
        flat = x.flatten(1).double()
        total += flat.sum(0)
        total_squares += flat.square_().sum().item()
    n = len(read)
    # of images that are all the same the difference would be a rounding error
    variance = total_squares / n - (total / n).square().sum().item() if varies(read) else 0.0
    return errors(squared / n, variance, values)


class Codes:
    """The codes at `depth` (0: pixels) of images, uint8 [N, C, H, W], by index: `codes[index]` is [n, D], flattened, on the CPU.

    most: values of one at most (None: any number); of larger maps, neighbouring places are averaged.
    """

    def __init__(self, stack: StackedAutoencoder, images: Tensor | Images, depth: int, most: int | None = None) -> None:
        self.stack, self.read, self.depth, self.most = stack, Images.of(images, device_of(stack)), depth, most

    def __len__(self) -> int:
        return len(self.read)

    def __getitem__(self, index: Tensor) -> Tensor:
        found = None
        with evaluating(self.stack):
            for part in chunks(len(index), self.stack.widest(self.read.shape)):
                code = self.stack.encode(self.read(index[part]), self.depth)
                code = (code if self.most is None else averaged(code, self.most)).flatten(1)
                found = torch.empty(len(index), code.shape[1], dtype=code.dtype) if found is None else found
                found[part] = code.cpu()
        assert found is not None  # of no images there is one chunk too
        return found

    def all(self) -> Tensor:
        """Those of all images [N, D]."""
        return self[torch.arange(len(self))]


def averaged(code: Tensor, most: int) -> Tensor:
    """Maps [B, C, H, W] of more than `most` values averaged over neighbouring places to at most as many; others as they are."""
    values = code[:1].numel()
    if values <= most or code.dim() != 4:
        return code
    share = math.sqrt(most / values)
    height, width = (max(1, int(side * share)) for side in code.shape[2:])
    return F.adaptive_avg_pool2d(code, (height, width))


@own_settings()
def codes(stack: StackedAutoencoder, images: Tensor | Images, depth: int) -> Tensor:
    """The codes [N, D] at `depth` (0: pixels) of images [N, C, H, W] uint8, flattened, on the CPU."""
    return Codes(stack, images, depth).all()


@own_settings()
def reconstructed(stack: StackedAutoencoder, images: Tensor | Images, depth: int) -> Tensor:
    """The images [N, C, H, W] as uint8 after encoding to `depth` and back."""
    read = Images.of(images, device_of(stack))
    found = torch.empty(len(read), *read.shape, dtype=torch.uint8)
    with evaluating(stack):
        for index in chunks(len(read), stack.widest(read.shape)):
            found[index] = stack.reconstruct(read(index), depth).clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
    return found


@unlogged()
def quick_probe(train: Tensor, labels: Tensor, valid: Tensor, valid_labels: Tensor) -> float:
    """Accuracy on valid codes [M, D] of ridge regression (penalty 1, standardised codes) on train codes [N, D].

    NaN where codes are not finite.
    """
    if not (train.isfinite().all() and valid.isfinite().all()):
        return math.nan
    scale, mean = train.std(0).clamp_min(1e-6), train.mean(0)
    model = RidgeClassifier(alpha=1.0).fit((train - mean).div_(scale).numpy(), labels.numpy())
    return float(model.score((valid - mean).div_(scale).numpy(), valid_labels.numpy()))


@dataclass(frozen=True)
class Components:
    """Principal components, orthonormal rows `components_` [k, D], about `mean_` [D]: named as scikit-learn's PCA names them."""

    mean_: NDArray[np.float64]
    components_: NDArray[np.float64]

    def transform(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The codes [n, k] of rows [n, D]."""
        return rows @ self.components_.T - self.mean_ @ self.components_.T

    def inverse_transform(self, codes: NDArray[Any]) -> NDArray[Any]:
        """The rows [n, D] of codes [n, k]."""
        return codes @ self.components_ + self.mean_

    def restored(self, rows: NDArray[Any]) -> NDArray[Any]:
        """What the codes of rows [n, D] give back of them."""
        return self.inverse_transform(self.transform(rows))


@own_settings()
def fitted_pca(train: Tensor, components: int) -> Components:
    """The first principal components of train images, uint8 [N, C, H, W], with values in [0, 1].

    Bytes are summed, and so are their products, which is exact in float64 whatever the order: chunks have no say in it.
    Raises InputError for more components than images or values.
    """
    n, values = len(train), train[:1].numel()
    need(
        n > 1 and 0 < components <= min(n, values),
        f"{components} principal components are not to be had of {n:,} images of {values:,} values: ask for fewer",
    )
    total = torch.zeros(values, dtype=torch.float64)
    products = torch.zeros(values, values, dtype=torch.float64)
    for index in chunks(n, values):
        part = train[index].flatten(1).double()
        total += part.sum(0)
        products.addmm_(part.T, part)
    covariance = (products * n).sub_(torch.outer(total, total)).div_(n * (n - 1) * 255.0**2)
    axes = np.linalg.eigh(covariance.numpy())[1].T[::-1][:components]
    # of the two directions of an axis that in which its largest value is positive, as scikit-learn has it
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1))
    return Components((total / (255 * n)).numpy(), np.ascontiguousarray(axes * signs))


@own_settings()
def as_rows(images: Tensor, dtype: torch.dtype = torch.float64) -> NDArray[Any]:
    """Images uint8 [N, C, H, W] as rows [N, C * H * W] of floats in [0, 1], for methods that need all at once.

    Raises InputError where they do not fit in memory.
    """
    rows, free = torch.empty(0, dtype=dtype), free_bytes(torch.device("cpu"))
    size = rows.element_size() * images.numel()
    need(
        size <= 0.8 * free,
        f"{len(images):,} images of {images[:1].numel():,} values need {size / 2**30:,.1f} GiB as rows of numbers, and "
        f"{free / 2**30:,.1f} are free: take smaller images, fewer, or another method",
    )
    rows = rows.new_empty(len(images), images[:1].numel())
    for index in chunks(*rows.shape):
        rows[index] = Images(images, dtype)(index).flatten(1)
    return rows.numpy()


@own_settings()
def pca_reference(train: Tensor, test: Tensor, components: int) -> Reconstruction:
    """Errors on test images of PCA fitted on train images, both uint8 [N, C, H, W]: the linear code of the same size."""
    return row_errors(test, fitted_pca(train, components).restored)


def row_errors(images: Tensor, restore: Callable[[NDArray[Any]], NDArray[Any]]) -> Reconstruction:
    """Errors on images, uint8 [N, C, H, W], of what `restore` makes of them as rows, float64 [n, C * H * W] in [0, 1]."""
    return compared(Images(images, torch.float64), lambda x: torch.from_numpy(restore(x.flatten(1).numpy())).view_as(x))


@own_settings()
def mean_reference(train: Tensor, test: Tensor) -> Reconstruction:
    """Errors on test images of answering the mean train image, both uint8 [N, C, H, W]."""
    total = torch.zeros(train.shape[1:], dtype=torch.float64)
    for index in chunks(len(train), total.numel()):
        total += train[index].sum(0)  # of bytes, exact
    mean = total / (255 * len(train))
    return compared(Images(test, torch.float64), lambda x: mean)
