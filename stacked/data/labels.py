"""Subsets that nest: the first 100 labels are among the first 1,000, whatever is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.split import SPLIT_SEED
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def label_subset(labels: Tensor, n: int | None, seed: int) -> Tensor:
    """Indices (int64, ascending) of a label budget: `n` labelled examples, or all of them when `n` is None.

    `labels` is int64 [N] with -1 for unlabelled, which is never chosen. Class counts differ by at most one as
    long as no class runs out. For one seed a smaller budget is contained in every larger one. Raises
    InputError when `n` is larger than the labelled data or smaller than the number of classes.
    """
    import torch

    values = labels.cpu().numpy()
    labelled = np.flatnonzero(values >= 0)
    if n is None:
        return torch.from_numpy(labelled)
    if not len(labelled):
        raise InputError(f"a budget of {n} labels needs labelled images, and there are none: use data with classes")
    classes = len(np.unique(values[labelled]))
    if not classes <= n <= len(labelled):
        raise InputError(
            f"a budget of {n} labels does not fit {len(labelled)} labelled images in {classes} classes: "
            f"choose a number from {classes} to {len(labelled)}"
        )
    chosen = labelled[_dealt(values[labelled], np.random.default_rng(seed))[:n]]
    return torch.from_numpy(np.sort(chosen))


def image_subset(labels: Tensor, n: int) -> Tensor:
    """Indices (int64, ascending) of `n` images: fixed, nested, classes balanced where the data allow.

    `labels` is int64 [N], -1 for unlabelled; where there are both kinds, they keep their proportion. Raises
    InputError when `n` is larger than the data or too small for one labelled image of every class.
    """
    import torch

    values = labels.cpu().numpy()
    labelled, unlabelled = np.flatnonzero(values >= 0), np.flatnonzero(values < 0)
    rng = np.random.default_rng(SPLIT_SEED)
    kinds = labelled[_dealt(values[labelled], rng)], rng.permutation(unlabelled)
    # Each kind is spread evenly over (0, 1), so that every prefix of the merged order has both in proportion.
    place = np.concatenate([(np.arange(len(kind)) + 0.5) / max(len(kind), 1) for kind in kinds])
    order = np.concatenate(kinds)[np.argsort(place, kind="stable")]

    classes = len(np.unique(values[labelled]))
    least = 1 + int(np.flatnonzero(values[order] >= 0)[classes - 1]) if classes else 1
    if not least <= n <= len(order):
        of_what = f" in {classes} classes" if classes else ""
        raise InputError(
            f"limit={n} does not fit {len(order)} training images{of_what} (valid and test are set apart "
            f"before): choose a number from {least} to {len(order)}"
        )
    return torch.from_numpy(np.sort(order[:n]))


def _dealt(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """An order of all positions that deals one example of each class a round: every prefix is balanced."""
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, first, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(first, counts)
    return shuffled[np.argsort(turn[shuffled], kind="stable")]
