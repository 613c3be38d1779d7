"""Linear probes of codes: logistic regression after training, and a quick ridge regression for the curves."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stacked.evaluation.evaluate import Codes
from stacked.runtime.unlogged import unlogged
from stacked.util.chunks import chunks
from stacked.util.errors import Diverged

#: Protocol of the linear probe: standardised codes, L2-penalised multinomial logistic regression, lbfgs.
PROBE_C = 0.1
PROBE_ITERATIONS = 200


@unlogged()
def linear_probe(train: Tensor, labels: Tensor, test: Tensor | Codes, test_labels: Tensor) -> float:
    """Return the accuracy on test codes [M, D] of logistic regression fitted to training codes [N, D] and their labels.

    Protocol: codes standardised with the training codes, L2 penalty with inverse strength C = 0.1, at most 200 iterations of
    lbfgs, no selection. `test` is read in chunks. Raises Diverged if codes are not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    check_finite(train)
    scale = Scale(train)
    model = LogisticRegression(C=PROBE_C, max_iter=PROBE_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol includes the iteration limit
        model.fit(scale(train), labels.numpy())
    right = 0
    for index in chunks(len(test), train.shape[1]):
        codes = test[index]
        check_finite(codes)
        right += int((model.predict(scale(codes)) == test_labels[index].numpy()).sum())
    return right / len(test)


def check_finite(codes: Tensor) -> None:
    """Raise Diverged if codes are not finite."""
    if not codes.isfinite().all():
        raise Diverged("the codes for the linear probe are not finite")


class Scale:
    """Standardises codes [N, D] with the means and variances of those it was fitted to (scikit-learn's StandardScaler).

    It processes some columns at a time, because StandardScaler copies them in float64.
    """

    def __init__(self, codes: Tensor) -> None:
        from sklearn.preprocessing import StandardScaler

        self.columns = chunks(codes.shape[1], 2 * len(codes), most=codes.shape[1])
        self.scalers = [StandardScaler().fit(codes[:, column].numpy()) for column in self.columns]

    def __call__(self, codes: Tensor) -> NDArray[np.float32]:
        scaled = np.empty(codes.shape, dtype=np.float32)
        for column, scaler in zip(self.columns, self.scalers, strict=True):
            scaled[:, column] = scaler.transform(codes[:, column].numpy())
        return scaled


@unlogged()
def quick_probe(train: Tensor, labels: Tensor, valid: Tensor, valid_labels: Tensor) -> float:
    """Return the accuracy on validation codes [M, D] of ridge regression (penalty 1, standardised) on training codes [N, D].

    NaN if codes are not finite.
    """
    from sklearn.linear_model import RidgeClassifier

    if not (train.isfinite().all() and valid.isfinite().all()):
        return math.nan
    scale, mean = train.std(0).clamp_min(1e-6), train.mean(0)
    model = RidgeClassifier(alpha=1.0).fit((train - mean).div_(scale).numpy(), labels.numpy())
    return float(model.score((valid - mean).div_(scale).numpy(), valid_labels.numpy()))
