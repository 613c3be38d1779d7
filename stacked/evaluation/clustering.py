"""Clusterings of codes, fitted without labels, and how well the clusters agree with classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stacked.evaluation.evaluate import Codes, check_finite
from stacked.runtime.unlogged import unlogged
from stacked.util.chunks import chunks

#: Protocol of k-means: starts of which the one with the lowest inertia is kept, and their seed.
STARTS, SEED = 10, 0


@dataclass(frozen=True)
class Agreement:
    """How well clusters agree with classes.

    acc: the fraction of examples in the cluster of their class, for the best one-to-one assignment of clusters to classes
    (Hungarian method), in [0, 1]. nmi: normalised mutual information (arithmetic mean), in [0, 1]. ari: adjusted Rand index, in
    [-0.5, 1], 0 for random clusters.
    """

    acc: float
    nmi: float
    ari: float


@unlogged()
def k_means(train: Tensor, clusters: int, test: Tensor | Codes, test_labels: Tensor) -> Agreement:
    """Return how well k-means clusters of test codes [M, D] agree with their labels [M].

    Protocol: scikit-learn's KMeans on training codes [N, D] as they are, with as many `clusters` as there are classes, without
    their labels; the best of 10 starts, seed 0; each test code belongs to the nearest centre. The labels of test codes are used
    only to match clusters with classes. Raises Diverged if codes are not finite.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct codes than clusters
        model = KMeans(clusters, n_init=STARTS, random_state=SEED).fit(train.numpy())
    found = np.empty(len(test), dtype=np.int64)
    for index in chunks(len(test), train.shape[1]):
        codes = test[index]
        check_finite(codes)
        found[index.numpy()] = model.predict(codes.numpy())
    return agreement(found, test_labels.numpy())


def agreement(clusters: NDArray[Any], labels: NDArray[Any]) -> Agreement:
    """Return how well clusters [M] agree with labels [M], both whole numbers that only name groups."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    counts = contingency_matrix(labels, clusters)
    matched = counts[linear_sum_assignment(counts, maximize=True)].sum()
    return Agreement(
        float(matched / len(labels)),
        float(normalized_mutual_info_score(labels, clusters)),
        float(adjusted_rand_score(labels, clusters)),
    )


#: name -> function from training codes, the number of clusters, test codes and their labels to the agreement
CLUSTERINGS: dict[str, Callable[[Tensor, int, Tensor | Codes, Tensor], Agreement]] = {"kmeans": k_means}
