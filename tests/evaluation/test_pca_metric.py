"""The reconstruction metric against values known from outside: PCA and the mean image on MNIST."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from stacked import data


@pytest.fixture(scope="module")
def pixels() -> tuple[np.ndarray, np.ndarray]:
    """The official 60,000 training and 10,000 test images as rows in [0, 1]."""
    splits = data.load("mnist")
    train = torch.cat([splits.train.inputs, splits.valid.inputs])
    assert train.shape == (60_000, 1, 28, 28)
    return train.flatten(1).numpy() / 255, splits.test.inputs.flatten(1).numpy() / 255


def test_pca_with_30_components_leaves_an_error_of_13_87(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    train, test = pixels
    pca = PCA(30).fit(train)
    error = ((pca.inverse_transform(pca.transform(test)) - test) ** 2).sum(1).mean()
    assert error == pytest.approx(13.87, abs=0.005)


def test_the_mean_image_leaves_an_error_of_52_90(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    train, test = pixels
    assert ((train.mean(0) - test) ** 2).sum(1).mean() == pytest.approx(52.90, abs=0.005)
