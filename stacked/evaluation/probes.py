"""Probes of codes, by name: simple classifiers and a clustering after training; a quick ridge regression for the curves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stacked.evaluation.clustering import CLUSTERINGS
from stacked.evaluation.evaluate import Codes, check_finite
from stacked.runtime.unlogged import unlogged
from stacked.util.checks import choice
from stacked.util.chunks import chunks

#: Protocol of the linear probe: standardised codes, L2-penalised multinomial logistic regression, lbfgs.
PROBE_C = 0.1
PROBE_ITERATIONS = 200
#: Protocol of the linear support vector machine.
SVM_C = 0.01
SVM_ITERATIONS = 1000


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
    return share_right(lambda codes: model.predict(scale(codes)), test, test_labels, train.shape[1])


@unlogged()
def svm_probe(train: Tensor, labels: Tensor, test: Tensor | Codes, test_labels: Tensor) -> float:
    """Return the accuracy on test codes [M, D] of a linear support vector machine fitted to training codes [N, D].

    Protocol: codes standardised with the training codes, scikit-learn's LinearSVC (squared hinge loss, one class against the
    rest), C = 0.01, at most 1,000 iterations, no selection. Raises Diverged if codes are not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    check_finite(train)
    scale = Scale(train)
    model = LinearSVC(C=SVM_C, max_iter=SVM_ITERATIONS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scale(train), labels.numpy())
    return share_right(lambda codes: model.predict(scale(codes)), test, test_labels, train.shape[1])


@unlogged()
def ridge_probe(train: Tensor, labels: Tensor, test: Tensor | Codes, test_labels: Tensor) -> float:
    """Return the accuracy on test codes [M, D] of ridge regression fitted to training codes [N, D] and their labels.

    Protocol: codes standardised with the training codes, scikit-learn's RidgeClassifier (targets -1 and 1), penalty 1, no
    selection. Raises Diverged if codes are not finite.
    """
    from sklearn.linear_model import RidgeClassifier

    check_finite(train)
    scale = Scale(train)
    model = RidgeClassifier(alpha=1.0).fit(scale(train), labels.numpy())
    return share_right(lambda codes: model.predict(scale(codes)), test, test_labels, train.shape[1])


@unlogged()
def neighbour_probe(
    train: Tensor, labels: Tensor, test: Tensor | Codes, test_labels: Tensor, *, neighbours: int
) -> float:
    """Return the accuracy on test codes [M, D] of a vote of the nearest training codes [N, D].

    Protocol: codes as they are, Euclidean distance, the most frequent label among the `neighbours` nearest (all if N is smaller;
    of equally frequent ones the lowest), no training and no selection. Raises Diverged if codes are not finite.
    """
    from sklearn.neighbors import KNeighborsClassifier

    check_finite(train)
    model = KNeighborsClassifier(min(neighbours, len(train)), algorithm="brute").fit(train.numpy(), labels.numpy())
    return share_right(lambda codes: model.predict(codes.numpy()), test, test_labels, train.shape[1])


#: name -> function from training codes, their labels, test codes and theirs to the accuracy
PROBES: dict[str, Callable[[Tensor, Tensor, Tensor | Codes, Tensor], float]] = {
    "logistic": linear_probe,
    "svm": svm_probe,
    "ridge": ridge_probe,
    "knn5": partial(neighbour_probe, neighbours=5),
    "knn20": partial(neighbour_probe, neighbours=20),
}
#: names of the probes that read codes: classifiers, and clusterings, which are fitted without labels
NAMES = (*PROBES, *CLUSTERINGS)


def probe(name: str, train: Tensor, labels: Tensor, test: Tensor | Codes, test_labels: Tensor) -> dict[str, float]:
    """Return the results on test codes [M, D] of a probe fitted to training codes [N, D]: "acc", or the fields of `Agreement`.

    Raises InputError for a name that is not in NAMES, and Diverged if codes are not finite.
    """
    choice(name, NAMES, "probe")
    if name in CLUSTERINGS:
        check_finite(train)
        return asdict(CLUSTERINGS[name](train, int(labels.unique().numel()), test, test_labels))
    return {"acc": PROBES[name](train, labels, test, test_labels)}


def share_right(
    predict: Callable[[Tensor], NDArray[Any]], test: Tensor | Codes, test_labels: Tensor, values: int
) -> float:
    """Return the fraction of test codes [M, values], read in chunks, for which `predict` gives their label."""
    right = 0
    for index in chunks(len(test), values):
        codes = test[index]
        check_finite(codes)
        right += int((predict(codes) == test_labels[index].numpy()).sum())
    return right / len(test)


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
