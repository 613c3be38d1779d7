"""Handling of NaN or infinite losses and gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: what to do: end the run, leave the batch out, or return to an earlier state and lower the learning rate
ON_NONFINITE = ("stop", "skip-batch", "rollback")
#: The most rollbacks of a phase, and the factor by which each divides the learning rate.
MOST_ROLLBACKS, ROLLBACK_LR_DIVISOR = 10, 2.0
#: The most batches left out in a row.
MOST_SKIPPED = 10


def finite(loss: Tensor, params: Sequence[nn.Parameter]) -> bool:
    """Whether the loss and the gradients of `params` are finite; waits for the device."""
    grads = [p.grad for p in params if p.grad is not None]
    # a finite sum has finite terms only; a sum that is not finite can also be an overflow and is checked term by term
    sums = torch.stack([loss.detach(), *(grad.sum() for grad in grads)])
    return bool(sums.isfinite().all()) or (bool(loss.isfinite()) and all(bool(grad.isfinite().all()) for grad in grads))


class Buffers:
    """A copy of a module's buffers, so that a batch that is left out does not change running statistics either."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.kept = [buffer.clone() for buffer in module.buffers()]

    def keep(self) -> None:
        """Copy the current buffers."""
        for kept, buffer in zip(self.kept, self.module.buffers(), strict=True):
            kept.copy_(buffer)

    def put_back(self) -> None:
        """Restore the copied buffers."""
        for kept, buffer in zip(self.kept, self.module.buffers(), strict=True):
            buffer.copy_(kept)
