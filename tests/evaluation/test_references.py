"""References on floats: the errors of PCA and of the mean example are scikit-learn's and NumPy's, of scaled values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from stacked import RunSpec, StackSpec
from stacked.data import Splits
from stacked.evaluation.references import mean_reference, pca_reference
from studies.record.reference import write_reference
from tests.helpers.floats import KINDS, LABELS, examples


@pytest.mark.parametrize("kind", KINDS)
def test_references_are_those_of_scaled_values_and_of_the_units_of_the_data(kind: str) -> None:
    splits = Splits.of(examples(*KINDS[kind][0]), LABELS)
    assert splits.scaling is not None
    train, test = (part.inputs.double().flatten(1).numpy() for part in (splits.train, splits.test))

    def squared(restored: np.ndarray, scaled: bool = True) -> float:
        difference = (restored - test).reshape(splits.test.inputs.shape)
        factor = 1.0 if scaled else np.array(splits.scaling.factor).reshape(-1, *(1,) * (difference.ndim - 2))  # type: ignore[union-attr]
        return float(np.mean((difference * factor) ** 2))

    pca = PCA(2).fit(train)
    ours = pca_reference(splits.train.inputs, splits.test.inputs, 2, splits.scaling)
    assert ours.mse == pytest.approx(squared(pca.inverse_transform(pca.transform(test))), rel=1e-6)
    assert ours.mse_in_units == pytest.approx(squared(pca.inverse_transform(pca.transform(test)), False), rel=1e-6)
    mean = mean_reference(splits.train.inputs, splits.test.inputs, splits.scaling)
    assert mean.mse == pytest.approx(squared(np.broadcast_to(train.mean(0), test.shape)), rel=1e-6)


@pytest.mark.parametrize("kind", ["vectors", "signals", "volumes"])
def test_the_record_has_references_of_floats(kind: str, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    splits = Splits.of(examples(*KINDS[kind][0]), LABELS)
    write_reference(tmp_path, splits, RunSpec(stack=StackSpec.of("dense", 2, output="linear")))
    samples = dict(np.load(tmp_path / "samples" / "pca-s0.npz"))
    assert samples["originals"].shape == samples["depth1"].shape
    assert samples["depth1"].dtype == np.uint8
    assert samples["depth1"].shape[3] in (1, 3)
