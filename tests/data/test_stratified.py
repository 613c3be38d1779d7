"""Held-out examples are those that scikit-learn chooses."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stacked.data.formats.stratified import stratified


@pytest.mark.parametrize("seed", range(40))
def test_the_examples_are_those_of_scikit_learn(seed: int) -> None:
    """Also where classes are equally large, so that remainders are drawn, and where there are no labels."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 12))
    counts = rng.integers(2, 40, classes) if seed % 2 else np.full(classes, int(rng.integers(3, 12)))
    labels = rng.permutation(np.repeat(np.arange(classes) - (classes == 1), counts))
    held = int(rng.integers(classes, len(labels) - classes + 1))
    _, expected = train_test_split(np.arange(len(labels)), test_size=held, stratify=labels, random_state=seed)
    assert stratified(labels, held, seed).tolist() == sorted(expected)
