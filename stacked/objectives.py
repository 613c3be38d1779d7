"""Reconstruction losses: functions of (output, target), both [B, ...], that return one value per example, shape [B].

Each is a mean over the values of an example, so that stages of any size compare. To add one, write the function and name
it in LOSSES.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each example, in squared units of the target."""
    return (output - target).square().flatten(1).mean(1)


def bce(output: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy of each example in nats; output and target in [0, 1] (Bengio et al. 2007, equation 6)."""
    return F.binary_cross_entropy(output, target, reduction="none").flatten(1).mean(1)


#: name -> (function, the activations whose range it is defined for; None: any)
LOSSES: dict[str, tuple[Loss, frozenset[str] | None]] = {
    "mse": (mse, None),
    "bce": (bce, frozenset({"sigmoid"})),
}
