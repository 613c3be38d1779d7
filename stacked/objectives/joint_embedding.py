"""Joint embedding: what objectives that compare two corrupted views of a batch have in common."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from stacked.objectives.labels import MOST_LAYERS
from stacked.objectives.objective import EncodedBatch, Objective, ObjectiveSettings, in_float32
from stacked.stages.stage import Stage
from stacked.util.checks import finite, need, whole


class JointEmbedding(Objective):
    """A loss of the features of two corrupted views, which have to agree and must not be the same for all examples.

    A projector maps each code to features [B, width]: `layers` hidden layers of as many units, each with a rectifier, and a
    linear layer. Maps are first averaged over all positions, as Siddiqui et al. 2023 do for each block, or with `flattened` read
    whole. The papers' projectors are 8,192 wide and have batch norms, which are left out here.

    The loss is one of the batch, and no mean over its examples: `per_example` returns it for each of them.
    """

    views = 2
    least_batch = 2

    def __init__(self, settings: ObjectiveSettings, *, width: int, layers: int, flattened: bool) -> None:
        super().__init__(settings)
        channels, *size = settings.code_shape
        sizes = [channels * math.prod(size) if flattened else channels, *[width] * (layers + 1)]
        linear = [nn.Linear(read, given) for read, given in pairwise(sizes)]
        between = [module for layer in linear[:-1] for module in (layer, nn.ReLU())]
        self.projector, self.flattened = nn.Sequential(*between, linear[-1]), flattened

    @classmethod
    def check(cls, **options: Any) -> None:
        given = cls.defaults() | options
        whole(given["width"], f"width of objective {cls.name!r}")
        whole(given["layers"], f"layers of objective {cls.name!r}", 0, MOST_LAYERS)
        for option, default in cls.defaults().items():
            value = given[option]
            need(
                not isinstance(default, float) or (finite(value) and value >= 0),
                f"{option} of objective {cls.name!r} {value!r} is not allowed: give a number of at least 0",
            )

    @classmethod
    def refuses(cls, kind: type[Stage], *, flattened: bool = False, **options: Any) -> str | None:
        return "its code is a vector already: leave flattened out" if flattened and not kind.maps else None

    def features(self, code: Tensor) -> Tensor:
        """Return the features [B, width] of the codes [B, ...] of one view."""
        values = code.flatten(2).mean(2) if code.dim() > 2 and not self.flattened else code.flatten(1)
        return in_float32(self.projector(values))

    def per_example(self, batch: EncodedBatch) -> Tensor:
        """Return the loss of the batch for each of its examples [B]."""
        return self(batch).expand(len(batch.code))


def off_diagonal(square: Tensor) -> Tensor:
    """Return a matrix [D, D] with zeros on its diagonal."""
    return square * (1 - torch.eye(len(square), dtype=square.dtype, device=square.device))
