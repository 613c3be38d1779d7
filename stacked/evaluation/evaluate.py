"""Measurements of a trained stack: pure functions without side effects or random draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.training.codes import StoredInputs
from stacked.util.chunks import chunks
from stacked.util.errors import Diverged

#: The most values of a code that a probe reads, a few more than AutoEncoder224's bottleneck has. Larger maps are averaged over
#: neighbouring positions, as in Zhang, Isola & Efros 2017.
PROBED = 2**15


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's parameters."""
    return next(module.parameters()).device


def spread(n: int, most: int) -> Tensor:
    """Return at most `most` of n indices, evenly spread, so that data sorted by class keep all classes."""
    return torch.arange(n) if n <= most else (torch.arange(most) * n) // most


def varies(images: Tensor | StoredInputs) -> bool:
    """Whether images [N, ...] differ from each other."""
    values, used = (images.values, images.rows) if isinstance(images, StoredInputs) else (images, None)
    rows = range(len(values)) if used is None else used.tolist()
    return any(not torch.equal(values[row], values[rows[0]]) for row in rows[1:])


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
def reconstruction(
    stack: StackedAutoencoder, images: Tensor | StoredInputs, depth: int | None = None
) -> Reconstruction:
    """Return the errors of uint8 images [N, C, H, W] encoded to `depth` (None: the bottleneck) and decoded to pixels."""
    read = StoredInputs.of(images, device_of(stack))
    with evaluating(stack):
        return compared(read, lambda x: stack.reconstruct(x, depth), stack.widest(read.shape))


def compared(read: StoredInputs, restore: Callable[[Tensor], Tensor], widest: int = 0) -> Reconstruction:
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

    def __init__(
        self, stack: StackedAutoencoder, images: Tensor | StoredInputs, depth: int, most: int | None = None
    ) -> None:
        self.stack, self.read, self.depth, self.most = stack, StoredInputs.of(images, device_of(stack)), depth, most

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


def check_finite(codes: Tensor) -> None:
    """Raise Diverged if codes are not finite."""
    if not codes.isfinite().all():
        raise Diverged("the codes for the probes are not finite")


def averaged(code: Tensor, most: int) -> Tensor:
    """Average maps [B, C, H, W] of more than `most` values over neighbouring positions; return other codes unchanged."""
    values = code[:1].numel()
    if values <= most or code.dim() != 4:
        return code
    share = math.sqrt(most / values)
    height, width = (max(1, int(side * share)) for side in code.shape[2:])
    return F.adaptive_avg_pool2d(code, (height, width))


@own_settings()
def codes(stack: StackedAutoencoder, images: Tensor | StoredInputs, depth: int) -> Tensor:
    """Return the codes [N, D] of uint8 images [N, C, H, W] at `depth` (0: pixels), flattened, on the CPU."""
    return Codes(stack, images, depth).all()


@own_settings()
def reconstructed(stack: StackedAutoencoder, images: Tensor | StoredInputs, depth: int) -> Tensor:
    """Return the reconstructions of images [N, C, H, W] from `depth`, as uint8."""
    read = StoredInputs.of(images, device_of(stack))
    found = torch.empty(len(read), *read.shape, dtype=torch.uint8)
    with evaluating(stack):
        for index in chunks(len(read), stack.widest(read.shape)):
            found[index] = stack.reconstruct(read(index), depth).clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
    return found
