"""The objective "barlow-twins": a feature agrees between two views, and tells nothing of the other features."""

from __future__ import annotations

from torch import Tensor

from stacked.objectives.joint_embedding import JointEmbedding, off_diagonal
from stacked.objectives.objective import EncodedBatch, ObjectiveSettings

#: added to variances, so that a constant feature has the correlation 0 (the authors' code: the default of torch's batch norm)
EPSILON = 1e-5


class BarlowTwins(JointEmbedding):
    """Barlow Twins (Zbontar et al. 2021, equations 1 and 2), for a block as in Siddiqui et al. 2023.

    C [width, width] are the correlations, over the examples of a batch, of the features of one view with those of the other.
    The loss is the sum of (1 - C_ii)^2 over all features i, plus `redundancy` times that of C_ij^2 over all i and j that
    differ. Options for the features: see `JointEmbedding`.
    """

    name = "barlow-twins"

    def __init__(
        self,
        settings: ObjectiveSettings,
        *,
        width: int = 128,
        layers: int = 1,
        flattened: bool = False,
        redundancy: float = 0.0051,
    ) -> None:
        super().__init__(settings, width=width, layers=layers, flattened=flattened)
        self.redundancy = redundancy

    def forward(self, batch: EncodedBatch) -> Tensor:
        one, other = (standardised(self.features(code)) for code in batch.codes)
        correlations = one.T @ other / len(one)
        agreement = (1 - correlations.diagonal()).square().sum()
        return agreement + self.redundancy * off_diagonal(correlations).square().sum()


def standardised(features: Tensor) -> Tensor:
    """Return features [B, D], each with mean 0 and variance 1 over the batch."""
    centred = features - features.mean(0)
    return centred * (centred.square().mean(0) + EPSILON).rsqrt()
