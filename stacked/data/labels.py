"""Nested subsets of labels and images: a smaller subset is contained in every larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.division import SPLIT_SEED
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def label_subset(labels: Tensor, n: int | None, seed: int, what: str = "", examples: str = "examples") -> Tensor:
    """Return the indices (int64, ascending) of `n` labelled examples, or of all of them if `n` is None.

    labels: int64 [N], -1 for unlabelled examples, which are never chosen. Class counts differ by at most one as long as no class
    runs out. For one seed a smaller subset is contained in every larger one. what, examples: how error messages call the number
    (default: a budget of labels) and the examples. Raises InputError if `n` is larger than the number of labelled examples or
    smaller than the number of classes.
    """
    import torch

    what = what or f"a budget of {n} labels"

    values = labels.cpu().numpy()
    labelled = np.flatnonzero(values >= 0)
    if n is None:
        return torch.from_numpy(labelled)
    if not len(labelled):
        raise InputError(f"{what} needs labelled {examples}, and there are none: use data with classes")
    classes = len(np.unique(values[labelled]))
    if not classes <= n <= len(labelled):
        raise InputError(
            f"{what} does not fit {len(labelled)} labelled {examples}{f' in {classes} classes' if classes > 1 else ''}: "
            f"choose a number from {classes} to {len(labelled)}"
        )
    chosen = labelled[_dealt(values[labelled], np.random.default_rng(seed))[:n]]
    return torch.from_numpy(np.sort(chosen))


def image_subset(labels: Tensor, n: int) -> Tensor:
    """Return the indices (int64, ascending) of a fixed subset of `n` images, with classes balanced where the data allow it.

    labels: int64 [N], -1 for unlabelled images; the subset keeps the proportion of labelled to unlabelled ones. A smaller
    subset is contained in every larger one. Raises InputError if `n` is larger than the number of images or too small for one
    labelled image of every class.
    """
    import torch

    values = labels.cpu().numpy()
    labelled, unlabelled = np.flatnonzero(values >= 0), np.flatnonzero(values < 0)
    rng = np.random.default_rng(SPLIT_SEED)
    kinds = labelled[_dealt(values[labelled], rng)], rng.permutation(unlabelled)
    # labelled and unlabelled images are spread evenly over (0, 1), so that every prefix has both in proportion
    place = np.concatenate([(np.arange(len(kind)) + 0.5) / max(len(kind), 1) for kind in kinds])
    order = np.concatenate(kinds)[np.argsort(place, kind="stable")]

    classes = len(np.unique(values[labelled]))
    least = 1 + int(np.flatnonzero(values[order] >= 0)[classes - 1]) if classes else 1
    if not least <= n <= len(order):
        of_what = f" in {classes} classes" if classes else ""
        raise InputError(
            f"limit={n} does not fit {len(order)} training images{of_what} (validation and test images are already set "
            f"aside): choose a number from {least} to {len(order)}"
        )
    return torch.from_numpy(np.sort(order[:n]))


def _dealt(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return an order of all positions that takes one example of each class in turn, so that every prefix is balanced."""
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, first, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turn = np.empty(len(labels), dtype=np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(first, counts)
    return shuffled[np.argsort(turn[shuffled], kind="stable")]
