"""The objective "similarity": examples of a class have similar codes, those of different classes do not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stacked.objectives.objective import EncodedBatch, Objective, ObjectiveSettings, in_float32
from stacked.stages.convolutions import CONVOLUTIONS
from stacked.stages.stage import Shape
from stacked.util.checks import need

#: added to norms, so that a constant vector has similarity 0 to all others
TINY = 1e-8


class Similarity(Objective):
    """Similarity matching (Nøkland & Eidnes 2019, section 2.1).

    The loss is the mean squared difference of two matrices [B, B] of cosine similarities between centred vectors: of the one-hot
    labels of the examples, and of features of their codes. On vectors the features are the outputs of a linear layer as wide as
    the code. On maps they are the standard deviations over all positions of the outputs of a 3 x 3 convolution, as in the
    authors' code, or those outputs where there is a single position. The paper adds "labels" with a weight of 0.01 and this one
    with 0.99 ("predsim").
    """

    name = "similarity"
    needs_labels = True
    least_batch = 2

    def __init__(self, settings: ObjectiveSettings) -> None:
        super().__init__(settings)
        channels, *size = settings.code_shape
        conv, _ = CONVOLUTIONS[len(size)] if size else (None, None)
        self.layer = conv(channels, channels, 3, padding=1) if conv else nn.Linear(channels, channels)
        self.classes = settings.classes

    @classmethod
    def check_code(cls, code_shape: Shape, **options: Any) -> None:
        need(
            code_shape[0] > 1,
            f"objective 'similarity' compares the directions of features, and a code of shape {list(code_shape)} has one "
            "feature, which is 0 after centring: give the last stage of the block a width of 2 or more",
        )

    def per_example(self, batch: EncodedBatch) -> Tensor:
        """Return the mean squared difference of each example [B] to all examples of its batch, in evaluation too."""
        found = in_float32(self.layer(batch.code))
        has_positions = found[0].numel() > found.shape[1]
        features = found.flatten(2).std(2) if has_positions else found.flatten(1)
        known = (batch.labels[:, None] == torch.arange(self.classes, device=features.device)).to(features.dtype)
        return (similarities(features) - similarities(known)).square().mean(1)


def similarities(rows: Tensor) -> Tensor:
    """Return the cosine similarities [B, B] of rows [B, D], each centred around its own mean."""
    centred = rows - rows.mean(1, keepdim=True)
    unit = centred / (torch.linalg.vector_norm(centred, dim=1, keepdim=True) + TINY)
    return unit @ unit.T
