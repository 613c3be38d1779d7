"""Measurements of a trained stack: pure functions without side effects or random draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.data.scaling import Scaling
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.training.codes import StoredInputs
from stacked.util.chunks import chunks
from stacked.util.errors import Diverged

#: The most values of a code that a probe reads, a few more than AutoEncoder224's bottleneck has. Larger maps are averaged over
#: neighbouring positions, as in Zhang, Isola & Efros 2017.
PROBED = 2**15
#: number of spatial dimensions -> how their positions are averaged
POOLS: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


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
    """Reconstruction errors of examples as stacks read them: bytes on a scale of 0 to 1, floats as they were scaled.

    In scaled values all columns or channels count alike, whatever their units.

    mse: mean squared error per value. sse: squared error summed over the values of an example, averaged over examples (Hinton &
    Salakhutdinov 2006). fvu: fraction of variance unexplained, the squared error divided by that of the mean example; NaN if all
    examples are equal. psnr: peak signal-to-noise ratio of the mean squared error, in dB; NaN if the data were scaled, or do
    not lie in [0, 1]. mse_in_units: mean squared error per value in the units of the data (None: the data were not scaled).
    """

    mse: float
    sse: float
    fvu: float
    psnr: float
    mse_in_units: float | None = None


def errors(squared: float, variance: float, values: int) -> Reconstruction:
    """Return the errors for a squared error and a variance (0: equal images), both sums over `values` and means over images."""
    mse = squared / values
    psnr = math.inf if mse == 0 else -10 * math.log10(mse) if mse > 0 else math.nan
    return Reconstruction(mse, squared, squared / variance if variance else math.nan, psnr)


@own_settings()
def reconstruction(
    stack: StackedAutoencoder, inputs: Tensor | StoredInputs, depth: int | None = None
) -> Reconstruction:
    """Return the errors of inputs [N, ...] encoded to `depth` (None: the bottleneck) and decoded.

    inputs: as splits hold them: uint8, or floats scaled by the stack's `scaling`.
    """
    read = StoredInputs.of(inputs, device_of(stack))
    with evaluating(stack):
        return compared(read, lambda x: stack.reconstruct(x, depth), stack.widest(read.shape), stack.scaling)


def compared(
    read: StoredInputs, restore: Callable[[Tensor], Tensor], widest: int = 0, scaling: Scaling | None = None
) -> Reconstruction:
    """Return the errors of `restore` on inputs, chunk by chunk.

    widest: the most values of an intermediate result per example. scaling: how the inputs were scaled (None: they were not).
    """
    values, squared_in_units = math.prod(read.shape), 0.0
    squares = Squares(values, read.device)
    is_scaled = scaling is not None and scaling.kind != "none"
    low, high = (0.0, 1.0) if read.is_uint8 else (math.inf, -math.inf)
    for index in chunks(len(read), max(values, widest)):
        x = read(index)
        difference = restore(x) - x
        squares.add(x, difference)
        if is_scaled:
            assert scaling is not None
            squared_in_units += scaling.difference_in_units(difference).square().sum().item()
        if not read.is_uint8:
            low, high = min(low, x.min().item()), max(high, x.max().item())
    n, differ = len(read), varies(read)
    found = errors(squares.squared / n, squares.variance(n) if differ else 0.0, values)
    if is_scaled:
        return replace(found, psnr=math.nan, mse_in_units=squared_in_units / n / values)
    return found if low >= 0 and high <= 1 else replace(found, psnr=math.nan)


class Squares:
    """Sums over examples in float64, from which a squared error and a variance are computed."""

    def __init__(self, values: int, device: torch.device) -> None:
        self.total = torch.zeros(values, dtype=torch.float64, device=device)
        self.squared = self.total_squares = 0.0

    def add(self, x: Tensor, difference: Tensor) -> None:
        """Add examples [n, ...] and the differences of their reconstructions from them."""
        self.squared += difference.double().square().sum().item()
        flat = x.flatten(1).double()
        self.total += flat.sum(0)
        self.total_squares += flat.square().sum().item()

    def variance(self, n: int) -> float:
        """Return the sum over values of their variances over n examples, which must differ: else it is a rounding error."""
        return self.total_squares / n - (self.total / n).square().sum().item()


class Codes:
    """Codes of inputs [N, ...], as splits hold them, at `depth` (0: the inputs), by index: `codes[index]` is [n, D] on the CPU.

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
    """Average maps [B, C, ...] of more than `most` values over neighbouring positions; return other codes unchanged."""
    values, sides = code[:1].numel(), code.shape[2:]
    if values <= most or not sides:
        return code
    share = (most / values) ** (1 / len(sides))
    found: Tensor = POOLS[len(sides)](code, tuple(max(1, int(side * share)) for side in sides))
    return found


@own_settings()
def codes(stack: StackedAutoencoder, images: Tensor | StoredInputs, depth: int) -> Tensor:
    """Return the codes [N, D] of inputs [N, ...], as splits hold them, at `depth` (0: the inputs), flattened, on the CPU."""
    return Codes(stack, images, depth).all()


@own_settings()
def reconstructed(stack: StackedAutoencoder, inputs: Tensor | StoredInputs, depth: int) -> Tensor:
    """Return the reconstructions of inputs [N, ...], as splits hold them, from `depth`: uint8 of uint8, floats of floats."""
    read = StoredInputs.of(inputs, device_of(stack))
    found = torch.empty(len(read), *read.shape, dtype=torch.uint8 if read.is_uint8 else torch.float32)
    with evaluating(stack):
        for index in chunks(len(read), stack.widest(read.shape)):
            part = stack.reconstruct(read(index), depth)
            found[index] = (part.clamp(0, 1).mul(255).round().to(torch.uint8) if read.is_uint8 else part.float()).cpu()
    return found
