"""The objective "input": what greedy training minimises."""

from __future__ import annotations

from torch import Tensor

from stacked.objectives.objective import EncodedBatch, Objective


class Input(Objective):
    """Reconstruction of what the block reads, through the block's own decoders (Bengio et al. 2007).

    With this objective alone and with weight 1, a block is trained as by policy "greedy", bit for bit. It has no parameters.
    """

    name = "input"
    restores = "input"

    def per_example(self, batch: EncodedBatch) -> Tensor:
        return batch.input_loss()

    def forward(self, batch: EncodedBatch) -> Tensor:
        return batch.input_loss()
