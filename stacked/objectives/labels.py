"""The objective "labels": an auxiliary classifier."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from stacked.components.head_loss import head_loss, head_loss_per_example
from stacked.objectives.objective import EncodedBatch, Objective, ObjectiveSettings
from stacked.stages.convolutions import CONVOLUTIONS
from stacked.stages.stage import Stage
from stacked.util.checks import whole

#: the most hidden layers: more are a typing mistake
MOST_LAYERS = 1000


class Labels(Objective):
    """Cross-entropy of the classes that an auxiliary classifier predicts from the code (Belilovsky et al. 2019).

    layers: number of hidden layers; the paper's k also counts the trained layer, so k = layers + 1. They are 3 x 3 convolutions
    on maps and linear layers on vectors, as wide as the code, each with a rectifier. pooled: average the last maps over all
    positions before the linear layer (False: it reads all their values). The paper averages over quarters, and has batch norms.
    """

    name = "labels"
    needs_labels = True

    def __init__(self, settings: ObjectiveSettings, *, layers: int = 0, pooled: bool = False) -> None:
        super().__init__(settings)
        channels, *size = settings.code_shape
        hidden: list[nn.Module] = []
        for _ in range(layers):
            conv, _back = CONVOLUTIONS[len(size)] if size else (None, None)
            hidden += [conv(channels, channels, 3, padding=1) if conv else nn.Linear(channels, channels), nn.ReLU()]
        values = channels if pooled else channels * math.prod(size)
        self.hidden, self.pooled = nn.Sequential(*hidden), pooled
        self.linear = nn.Linear(values, settings.classes)

    @classmethod
    def check(cls, *, layers: int = 0, **options: Any) -> None:
        whole(layers, "layers of objective 'labels'", 0, MOST_LAYERS)

    @classmethod
    def refuses(cls, kind: type[Stage], *, pooled: bool = False, **options: Any) -> str | None:
        return (
            "its code is a vector, without positions to average over: leave pooled out"
            if pooled and not kind.maps
            else None
        )

    def outputs(self, code: Tensor) -> Tensor:
        """Return the logits [B, classes]."""
        values = self.hidden(code).flatten(2 if self.pooled else 1)
        return self.linear(values.mean(2) if self.pooled else values)

    def per_example(self, batch: EncodedBatch) -> Tensor:
        return head_loss_per_example(self.outputs(batch.code), batch.labels)

    def forward(self, batch: EncodedBatch) -> Tensor:
        return head_loss(self.outputs(batch.code), batch.labels)
