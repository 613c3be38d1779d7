"""Linear probes beside scikit-learn's own pipeline."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stacked.evaluation.probes import quick_probe


def test_the_quick_probe_scales_validation_codes_as_training_codes() -> None:
    """The validation codes are of one class, whose mean tells the class: a probe that subtracts it knows nothing more."""
    rng = torch.Generator().manual_seed(0)
    train, labels = torch.randn(200, 5, generator=rng), torch.arange(200) % 2
    train[labels == 1, 0] += 4
    valid, ones = torch.randn(100, 5, generator=rng), torch.ones(100, dtype=torch.int64)
    valid[:, 0] += 4
    theirs = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0)).fit(train.numpy(), labels.numpy())
    expected = theirs.score(valid.numpy(), ones.numpy())
    assert quick_probe(train, labels, valid, ones) == pytest.approx(expected, abs=0.011)
    assert expected > theirs.score((valid - valid.mean(0)).numpy(), ones.numpy()) + 0.5
