"""What is done about a loss or a gradient that is not finite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: the policies: end the run, leave the batch out, or go back and on at a lower learning rate
FAULTS = ("stop", "skip-batch", "rollback")
#: Rollbacks of a phase after which it is given up, and by what each divides the learning rate.
MOST_ROLLBACKS, LOWER = 10, 2.0
#: Batches left out one after the other after which a phase is given up.
MOST_SKIPPED = 10


def finite(loss: Tensor, params: Sequence[nn.Parameter]) -> bool:
    """Whether the loss and all gradients are; waits for the device."""
    grads = [p.grad for p in params if p.grad is not None]
    # a sum is finite only where all its terms are
    sums = torch.stack([loss.detach(), *(grad.sum() for grad in grads)])
    return bool(sums.isfinite().all()) or (bool(loss.isfinite()) and all(bool(grad.isfinite().all()) for grad in grads))


class Buffers:
    """The buffers of a module as they were: a batch that is left out must leave no trace in running statistics either."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.kept = [buffer.clone() for buffer in module.buffers()]

    def keep(self) -> None:
        """Remember them as they are now."""
        for kept, buffer in zip(self.kept, self.module.buffers(), strict=True):
            kept.copy_(buffer)

    def put_back(self) -> None:
        """Set them as they were."""
        for kept, buffer in zip(self.kept, self.module.buffers(), strict=True):
            buffer.copy_(kept)
