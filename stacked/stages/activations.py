"""The activations of codes and reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "linear": nn.Identity,
}

#: the range of each activation
RANGES = {"relu": (0, inf), "sigmoid": (0, 1), "tanh": (-1, 1), "softplus": (0, inf), "linear": (-inf, inf)}
