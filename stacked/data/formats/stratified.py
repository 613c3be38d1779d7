"""A stratified random choice of examples: the same as scikit-learn's, without its import, which takes a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def stratified(labels: NDArray[np.int64], held: int, seed: int) -> NDArray[np.int64]:
    """Return the ascending positions of `held` examples, with the classes in about the same proportions as in `labels`.

    These are the examples that scikit-learn's `train_test_split` puts into the test set with `stratify=labels`. Every class must
    have at least 2 examples, and at least as many examples as there are classes must be held out and left over.
    """
    rng = np.random.RandomState(seed)
    _, kinds, counts = np.unique(labels, return_inverse=True, return_counts=True)
    left = _shares(counts, len(labels) - held, rng)
    chosen = _shares(counts - left, held, rng)
    of_class = np.split(np.argsort(kinds, kind="stable"), np.cumsum(counts)[:-1])
    parts = []
    for positions, stay, go in zip(of_class, left, chosen, strict=True):
        shuffled = positions[rng.permutation(len(positions))]
        parts.append(shuffled[stay : stay + go])
    return np.sort(np.concatenate(parts))


def _shares(counts: NDArray[np.int64], total: int, rng: np.random.RandomState) -> NDArray[np.int64]:
    """Return how many of `total` examples each class gets, in proportion to `counts`; equal remainders are drawn at random."""
    exact = counts / counts.sum() * total
    shares = np.floor(exact)
    remainders, missing = exact - shares, int(total - shares.sum())
    for remainder in np.unique(remainders)[::-1]:
        if not missing:
            break
        alike = np.flatnonzero(remainders == remainder)
        raised = rng.choice(alike, size=min(len(alike), missing), replace=False)
        shares[raised] += 1
        missing -= len(raised)
    return shares.astype(np.int64)
