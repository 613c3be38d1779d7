"""The objective "vicreg": two views have the same features, which vary between examples and not together."""

from __future__ import annotations

from torch import Tensor

from stacked.objectives.joint_embedding import JointEmbedding, off_diagonal
from stacked.objectives.objective import EncodedBatch, ObjectiveSettings

#: the standard deviation from which on a feature varies enough, and what is added to variances (section 4.2 of the paper)
TARGET, EPSILON = 1.0, 1e-4


class VICReg(JointEmbedding):
    """Variance, invariance and covariance regularisation (Bardes et al. 2022, algorithm 1).

    The loss is `invariance` times the mean squared difference of the features of the two views; plus, for each view, `variance`
    times the mean over the features of max(0, 1 - standard deviation over the batch), and `covariance` times the sum of all
    squared covariances of two features divided by `width`. Options for the features: see `JointEmbedding`.
    """

    name = "vicreg"

    def __init__(
        self,
        settings: ObjectiveSettings,
        *,
        width: int = 128,
        layers: int = 1,
        flattened: bool = False,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        super().__init__(settings, width=width, layers=layers, flattened=flattened)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def forward(self, batch: EncodedBatch) -> Tensor:
        one, other = (self.features(code) for code in batch.codes)
        spread = self.spread(one) + self.spread(other)
        return self.invariance * (one - other).square().mean() + spread

    def spread(self, features: Tensor) -> Tensor:
        """Return the variance and covariance terms of the features [B, D] of a view, weighted, a scalar."""
        centred = features - features.mean(0)
        covariances = centred.T @ centred / (len(features) - 1)
        deviations = (covariances.diagonal() + EPSILON).sqrt()
        together = off_diagonal(covariances).square().sum() / features.shape[1]
        return self.variance * (TARGET - deviations).relu().mean() + self.covariance * together
