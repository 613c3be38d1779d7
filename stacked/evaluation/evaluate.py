"""Measurements of a trained stack: pure functions without side effects or random draws."""

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
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.settings import own_settings
from stacked.runtime.unlogged import unlogged
from stacked.training.codes import Images
from stacked.util.checks import need
from stacked.util.chunks import chunks

#: The most values of a code that a probe reads, a few more than AutoEncoder224's bottleneck has. Larger maps are averaged over
#: neighbouring positions, as in Zhang, Isola & Efros 2017.
PROBED = 2**15


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's parameters."""
    return next(module.parameters()).device


def spread(n: int, most: int) -> Tensor:
    """Return at most `most` of n indices, evenly spread, so that data sorted by class keep all classes."""
    return torch.arange(n) if n <= most else (torch.arange(most) * n) // most


def varies(images: Tensor | Images) -> bool:
    """Whether images [N, ...] differ from each other."""
    read = Images.of(images)
    rows = range(len(read)) if read.rows is None else read.rows.tolist()
    return any(not torch.equal(read.images[row], read.images[rows[0]]) for row in rows[1:])


@contextmanager
def evaluating(stack: StackedAutoencoder) -> Iterator[None]:
    """Context with the stack in eval mode and without gradients; its mode is restored afterwards."""
    training = stack.training
    stack.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        stack.train(training)


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruction errors of images with values in [0, 1].

    mse: mean squared error per pixel. sse: squared error summed over the values of an image, averaged over images (Hinton &
    Salakhutdinov 2006). fvu: fraction of variance unexplained, the squared error divided by that of the mean image; NaN if all
    images are equal. psnr: peak signal-to-noise ratio of the mean squared error, in dB.
    """

    mse: float
    sse: float
    fvu: float
    psnr: float


def errors(squared: float, variance: float, values: int) -> Reconstruction:
    """Return the errors for a squared error and a variance (0: equal images), both sums over `values` and means over images."""
    mse = squared / values
    psnr = math.inf if mse == 0 else -10 * math.log10(mse) if mse > 0 else math.nan
    return Reconstruction(mse, squared, squared / variance if variance else math.nan, psnr)


@own_settings()
def reconstruction(stack: StackedAutoencoder, images: Tensor | Images, depth: int | None = None) -> Reconstruction:
    """Return the errors of uint8 images [N, C, H, W] encoded to `depth` (None: the bottleneck) and decoded to pixels."""
    read = Images.of(images, device_of(stack))
    with evaluating(stack):
        return compared(read, lambda x: stack.reconstruct(x, depth), stack.widest(read.shape))


def compared(read: Images, restore: Callable[[Tensor], Tensor], widest: int = 0) -> Reconstruction:
    """Return the errors of `restore` on images, chunk by chunk; widest: the most values of an intermediate result per image."""
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
    # for equal images the difference would be a rounding error
    variance = total_squares / n - (total / n).square().sum().item() if varies(read) else 0.0
    return errors(squared / n, variance, values)


class Codes:
    """Codes of uint8 images [N, C, H, W] at `depth` (0: pixels), by index: `codes[index]` is [n, D] on the CPU.

    most: the most values of a code (None: any number); larger maps are averaged over neighbouring positions.
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
        assert found is not None  # there is at least one chunk
        return found

    def all(self) -> Tensor:
        """Return the codes of all images [N, D]."""
        return self[torch.arange(len(self))]


def averaged(code: Tensor, most: int) -> Tensor:
    """Average maps [B, C, H, W] of more than `most` values over neighbouring positions; return other codes unchanged."""
    values = code[:1].numel()
    if values <= most or code.dim() != 4:
        return code
    share = math.sqrt(most / values)
    height, width = (max(1, int(side * share)) for side in code.shape[2:])
    return F.adaptive_avg_pool2d(code, (height, width))


@own_settings()
def codes(stack: StackedAutoencoder, images: Tensor | Images, depth: int) -> Tensor:
    """Return the codes [N, D] of uint8 images [N, C, H, W] at `depth` (0: pixels), flattened, on the CPU."""
    return Codes(stack, images, depth).all()


@own_settings()
def reconstructed(stack: StackedAutoencoder, images: Tensor | Images, depth: int) -> Tensor:
    """Return the reconstructions of images [N, C, H, W] from `depth`, as uint8."""
    read = Images.of(images, device_of(stack))
    found = torch.empty(len(read), *read.shape, dtype=torch.uint8)
    with evaluating(stack):
        for index in chunks(len(read), stack.widest(read.shape)):
            found[index] = stack.reconstruct(read(index), depth).clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
    return found


@unlogged()
def quick_probe(train: Tensor, labels: Tensor, valid: Tensor, valid_labels: Tensor) -> float:
    """Return the accuracy on validation codes [M, D] of ridge regression (penalty 1, standardised) on training codes [N, D].

    NaN if codes are not finite.
    """
    from sklearn.linear_model import RidgeClassifier

    if not (train.isfinite().all() and valid.isfinite().all()):
        return math.nan
    scale, mean = train.std(0).clamp_min(1e-6), train.mean(0)
    model = RidgeClassifier(alpha=1.0).fit((train - mean).div_(scale).numpy(), labels.numpy())
    return float(model.score((valid - mean).div_(scale).numpy(), valid_labels.numpy()))


@dataclass(frozen=True)
class Components:
    """Principal components, orthonormal rows `components_` [k, D], and the mean `mean_` [D], named as in scikit-learn's PCA."""

    mean_: NDArray[np.float64]
    components_: NDArray[np.float64]

    def transform(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the codes [n, k] of rows [n, D]."""
        return rows @ self.components_.T - self.mean_ @ self.components_.T

    def inverse_transform(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return the rows [n, D] of codes [n, k]."""
        return codes @ self.components_ + self.mean_

    def restored(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the reconstruction of rows [n, D] from their codes."""
        return self.inverse_transform(self.transform(rows))


@own_settings()
def fitted_pca(train: Tensor, components: int) -> Components:
    """Fit the first principal components of uint8 images [N, C, H, W], scaled to [0, 1].

    Sums of bytes and of their products are exact in float64 in any order, so that the result does not depend on chunks. Raises
    InputError if there are more components than images or values.
    """
    n, values = len(train), train[:1].numel()
    need(
        n > 1 and 0 < components <= min(n, values),
        f"{components} principal components cannot be computed from {n:,} images of {values:,} values: use fewer",
    )
    total = torch.zeros(values, dtype=torch.float64)
    products = torch.zeros(values, values, dtype=torch.float64)
    for index in chunks(n, values):
        part = train[index].flatten(1).double()
        total += part.sum(0)
        products.addmm_(part.T, part)
    covariance = (products * n).sub_(torch.outer(total, total)).div_(n * (n - 1) * 255.0**2)
    axes = np.linalg.eigh(covariance.numpy())[1].T[::-1][:components]
    # the sign of a component is that for which its largest value is positive, as in scikit-learn
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1))
    return Components((total / (255 * n)).numpy(), np.ascontiguousarray(axes * signs))


@own_settings()
def as_rows(images: Tensor, dtype: torch.dtype = torch.float64) -> NDArray[Any]:
    """Return uint8 images [N, C, H, W] as float rows [N, C * H * W] in [0, 1], for methods that need all data at once.

    Raises InputError if they do not fit in memory.
    """
    rows, free = torch.empty(0, dtype=dtype), free_bytes(torch.device("cpu"))
    size = rows.element_size() * images.numel()
    need(
        size <= 0.8 * free,
        f"{len(images):,} images of {images[:1].numel():,} values need {size / 2**30:,.1f} GiB as rows of numbers, and "
        f"{free / 2**30:,.1f} are free: use smaller images, fewer images, or another method",
    )
    rows = rows.new_empty(len(images), images[:1].numel())
    for index in chunks(*rows.shape):
        rows[index] = Images(images, dtype)(index).flatten(1)
    return rows.numpy()


@own_settings()
def pca_reference(train: Tensor, test: Tensor, components: int) -> Reconstruction:
    """Return the errors on test images of PCA fitted to training images, both uint8 [N, C, H, W]."""
    return row_errors(test, fitted_pca(train, components).restored)


def row_errors(images: Tensor, restore: Callable[[NDArray[Any]], NDArray[Any]]) -> Reconstruction:
    """Return the errors of `restore`, a function of float64 rows [n, C * H * W] in [0, 1], on uint8 images [N, C, H, W]."""
    return compared(Images(images, torch.float64), lambda x: torch.from_numpy(restore(x.flatten(1).numpy())).view_as(x))


@own_settings()
def mean_reference(train: Tensor, test: Tensor) -> Reconstruction:
    """Return the errors on test images of the mean training image, both uint8 [N, C, H, W]."""
    total = torch.zeros(train.shape[1:], dtype=torch.float64)
    for index in chunks(len(train), total.numel()):
        total += train[index].sum(0)  # sums of bytes are exact
    mean = total / (255 * len(train))
    return compared(Images(test, torch.float64), lambda x: mean)
