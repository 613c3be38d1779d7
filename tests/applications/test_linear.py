"""The study of linear autoencoders measures what it says: by a stack whose weights are principal components."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from stacked import data
from stacked.evaluation.references import fitted_pca
from stacked.model.stack import build
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from studies.applications.linear import study as linear
from studies.framework.main import main
from studies.statistics.measurement_rows import load


def test_the_map_of_a_stack_is_its_affine_function() -> None:
    torch.manual_seed(0)
    spec = linear.spec_of("joint", False, (6, 3), 0, argparse.Namespace(updates=1, lr=0.1))
    stack = build(spec.stack, (1, 4, 5)).eval()
    matrix, offset = linear.map_of(stack)
    x = torch.rand(7, 1, 4, 5)
    with torch.no_grad():
        expected = stack(x).flatten(1).numpy()
    np.testing.assert_allclose(x.flatten(1).numpy() @ matrix.T + offset, expected, atol=1e-5)
    assert np.linalg.matrix_rank(matrix) == 3
    basis = linear.spanned(matrix, 3)
    np.testing.assert_allclose(basis @ basis.T @ matrix, matrix, atol=1e-10)


def test_principal_components_as_weights_are_at_no_angle() -> None:
    images = data.load("digits").train.inputs
    pca = fitted_pca(images, 5)
    spec = linear.spec_of("joint", True, (5,), 0, argparse.Namespace(updates=1, lr=0.1))
    stack = build(spec.stack, (1, 8, 8))
    with torch.no_grad():
        stack.stages[0].encoder[1].weight.copy_(torch.from_numpy(pca.components_))
    matrix, _ = linear.map_of(stack)
    assert np.rad2deg(subspace_angles(linear.spanned(matrix, 5), pca.components_.T)).max() < 1e-4
    kept = linear.components(stack, pca.components_, matrix, 5)
    np.testing.assert_allclose(kept["nearest"], pca.components_, atol=1e-3)
    np.testing.assert_allclose(kept["units"], pca.components_, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_a_trained_linear_autoencoder_spans_the_principal_subspace(tied: bool) -> None:
    """Bourlard & Kamp 1988; of three components of digits, which the fourth lies well below."""
    splits = data.load("digits")
    pca = fitted_pca(splits.train.inputs, 3)
    spec = linear.spec_of("joint", tied, (3,), 0, argparse.Namespace(updates=4000, lr=1e-2))
    stack = pretrain(spec, StoredInputs(splits.train.inputs), splits.input_shape)
    matrix, _ = linear.map_of(stack)
    assert np.rad2deg(subspace_angles(linear.spanned(matrix, 3), pca.components_.T)).max() < 5


@pytest.mark.slow
def test_the_study_runs(tmp_path: Path) -> None:
    words = ["--smoke", "--updates", "10", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(linear.STUDY, words) == 0
    rows = load(tmp_path / "out")
    angles = rows[rows["measure"] == "angle"].pivot(index="condition", columns="arm", values="value")
    assert angles.shape == (3, 4)
    one = angles.loc["1 stage"]  # of one stage greedy and joint training are the same
    assert one["joint, tied"] == one["greedy, tied"]
    assert one["joint, untied"] == one["greedy, untied"]
    assert (rows[rows["measure"] == "excess"]["value"] > 0).all()
    cost = rows[rows["measure"] == "gflop"].set_index("arm")["value"]
    assert cost["joint, untied"] == cost["joint, tied"] > 0
    assert cost["greedy, untied"] > cost["joint, untied"]  # as many updates of each stage
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {"angles.png", "components.png"}
