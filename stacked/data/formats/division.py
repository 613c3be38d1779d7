"""The choice of held-out examples, which is always the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.data.formats.stratified import stratified
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLIT_SEED = 20061204
"""Seed of every fixed division (valid, limit, a missing test set), so that they do not depend on a run's seed."""
MOVED = 256
"""Number of rows that are moved at a time."""


def division(labels: NDArray[np.int64], fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ascending indices of the examples that `hold_out` keeps, and of those it holds out."""
    labelled = np.flatnonzero(labels >= 0)
    candidates = labelled if len(labelled) else np.arange(len(labels))
    held = np.zeros(len(labels), dtype=bool)
    held[candidates[_chosen(labels[candidates], fraction)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def move_to_end(values: NDArray[Any], chosen: NDArray[np.int64]) -> None:
    """Move the rows at the ascending indices `chosen` to the end of an array, in place; both parts keep their order."""
    moved = values[chosen]
    stay = np.delete(np.arange(len(values)), chosen)
    for start in range(0, len(stay), MOVED):  # rows move towards the beginning, over rows that have moved already
        part = stay[start : start + MOVED]
        values[start : start + len(part)] = values[part]
    values[len(stay) :] = moved


def _chosen(labels: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Return the positions of the held-out examples; `labels` are either all -1 or all classes."""
    present, counts = np.unique(labels, return_counts=True)
    held = max(round(fraction * len(labels)), len(present))
    if not len(labels) or counts.min() < 2 or len(labels) - held < len(present):
        rarest = f" ({counts.min()} in the rarest of {len(present)} classes)" if len(present) > 1 else ""
        raise InputError(
            f"{len(labels)} examples{rarest} are too few to hold out {fraction:.3g} of them and have every "
            "class on both sides: add examples or hold out another part"
        )
    return stratified(labels, held, SPLIT_SEED)
