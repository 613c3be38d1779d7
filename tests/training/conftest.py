"""What the tests of training share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor


@pytest.fixture(scope="module")
def linear_data() -> tuple[Tensor, dict[int, float]]:
    """200 centred examples of 12 values, and PCA's squared error of a value by components."""
    g = np.random.default_rng(0)
    x = g.normal(size=(200, 12)) @ np.diag(np.linspace(2, 0.4, 12)) @ np.linalg.qr(g.normal(size=(12, 12)))[0]
    x -= x.mean(0)
    errors = {}
    for k in (3, 6):
        pca = PCA(k).fit(x)
        errors[k] = float(np.square(pca.inverse_transform(pca.transform(x)) - x).mean())
    return torch.from_numpy(x), errors
