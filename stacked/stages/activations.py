"""The activations that codes and reconstructions can end in."""

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

#: the least and the largest value that each gives
RANGES = {"relu": (0, inf), "sigmoid": (0, 1), "tanh": (-1, 1), "softplus": (0, inf), "linear": (-inf, inf)}
