"""The loss of a head: cross-entropy for classes, squared error for numbers; examples can have weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def head_loss_per_example(outputs: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each example [B] for the outputs [B, K] of a head.

    Classes, int64 [B]: the cross-entropy, in nats. Numbers, floats [B, K]: the squared error, a mean over the K outputs.
    """
    if target.is_floating_point():
        return F.mse_loss(outputs, target, reduction="none").mean(1)
    return F.cross_entropy(outputs, target, reduction="none")


def head_loss(outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean loss over the batch, a scalar; with weights [B] above 0, sum(weight * loss) / sum(weight).

    Outputs and targets as in `head_loss_per_example`.
    """
    if weight is not None:
        return (weight * head_loss_per_example(outputs, target)).sum() / weight.sum()
    return F.mse_loss(outputs, target) if target.is_floating_point() else F.cross_entropy(outputs, target)
