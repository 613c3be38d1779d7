"""The activations of codes and reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import torch
from torch import Tensor, nn

#: Amplitude and slope at 0 (divided by the amplitude) of the scaled tanh: tanh's saturation lies outside of targets of -1 and 1.
AMPLITUDE, STEEPNESS = 1.7159, 2 / 3


class ScaledTanh(nn.Module):
    """1.7159 tanh(2 x / 3), which is 1 at 1 and -1 at -1 (LeCun et al. 1998, section 4.4)."""

    def forward(self, x: Tensor) -> Tensor:
        return AMPLITUDE * torch.tanh(STEEPNESS * x)


class SaturatingLinear(nn.Hardtanh):
    """x, cut to 0..1 (MATLAB's satlin)."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "scaled-tanh": ScaledTanh,
    "softplus": nn.Softplus,
    "saturating-linear": SaturatingLinear,
    "linear": nn.Identity,
}

#: the range of each activation
RANGES = {
    "relu": (0, inf),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "scaled-tanh": (-AMPLITUDE, AMPLITUDE),
    "softplus": (0, inf),
    "saturating-linear": (0, 1),
    "linear": (-inf, inf),
}

#: those that do not change a value of their own range
IDEMPOTENT = ("relu", "saturating-linear", "linear")


def covers(output: str, read: str | None) -> bool:
    """Return whether the range of the activation `output` includes that of the activation `read` (None: pixels in [0, 1])."""
    low, high = RANGES[read] if read else (0, 1)
    return RANGES[output][0] <= low and high <= RANGES[output][1]
