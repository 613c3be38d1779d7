"""What a linear decoder finds in a code: the exact solution of least squares, with and without a penalty."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stacked import InputError, Splits, StackedAutoencoder, StackSpec
from stacked.evaluation.diagnosis import information_kept
from stacked.evaluation.evaluate import codes
from stacked.evaluation.fresh_decoder import LinearDecoder
from stacked.model.stack import build
from stacked.util.errors import Diverged
from tests.helpers.phases import TOY, stack_of


def rows() -> Splits:
    made = np.random.default_rng(0)
    values = made.normal(size=(240, 8)) @ made.normal(size=(8, 8)) + 2
    return Splits.of(values, scale="none")


def narrow() -> StackedAutoencoder:
    torch.manual_seed(0)
    return build(StackSpec.of("dense", 5, 3, activation="linear", output="linear"), (8,))


def solved(code: NDArray[np.float64], wanted: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Weights of ridge regression, as least squares with a row for the penalty of each weight; the intercept is the last one."""
    ones = np.concatenate([code, np.ones((len(code), 1))], 1)
    costs = np.sqrt(penalty) * np.eye(code.shape[1], code.shape[1] + 1)
    rows = np.concatenate([ones, costs]), np.concatenate([wanted, np.zeros((code.shape[1], wanted.shape[1]))])
    return np.linalg.lstsq(*rows, rcond=None)[0]


@pytest.mark.parametrize("penalty", [0.0, 30.0])
def test_it_is_the_error_of_the_exact_solution_on_validation_examples(penalty: float) -> None:
    splits, stack = rows(), narrow()
    found = information_kept(stack, splits, penalty=penalty)
    train, valid = (part.inputs.double().numpy() for part in (splits.train, splits.valid))
    assert len(found) == 3
    for depth, errors in enumerate(found):
        fitted, other = (codes(stack, part.inputs, depth).double().numpy() for part in (splits.train, splits.valid))
        mean, scale = fitted.mean(0), np.sqrt(fitted.var(0).mean())
        weights = solved((fitted - mean) / scale, train, penalty)
        restored = np.concatenate([(other - mean) / scale, np.ones((len(other), 1))], 1) @ weights
        expected = float(((restored - valid) ** 2).mean())
        assert errors.mse == pytest.approx(expected, rel=1e-6, abs=1e-12), depth
        assert errors.fvu == pytest.approx(expected / valid.var(0).mean(), rel=1e-6, abs=1e-12)
        assert errors.sse == pytest.approx(8 * errors.mse)


def test_the_inputs_themselves_keep_all_and_narrower_codes_less() -> None:
    found = [errors.fvu for errors in information_kept(narrow(), rows(), penalty=0.0)]
    assert found[0] < 1e-12
    assert 0.01 < found[1] < found[2] < 1


def test_few_examples_of_wide_codes_and_constant_units_are_fitted_too() -> None:
    """More values than examples have a minimum too. Pixels that are always 0 take no part, and nothing of the stack changes."""
    stack = stack_of(4, 6, kind="conv").train()
    state = {name: value.clone() for name, value in stack.state_dict().items()}
    found = information_kept(stack, TOY, examples=30)
    assert len(found) == 3
    assert all(0 < errors.fvu < 1 for errors in found)
    assert all(errors.psnr == pytest.approx(-10 * np.log10(errors.mse)) for errors in found)
    assert stack.training
    assert all(torch.equal(value, state[name]) for name, value in stack.state_dict().items())


@pytest.mark.parametrize("penalty", [0.3, 30.0])
def test_wide_codes_have_the_exact_solution_without_a_weight_for_each_pair_of_values(penalty: float) -> None:
    """Those of AutoEncoder224 would take 39 GB."""
    import sklearn.kernel_ridge  # so that its import is not measured

    made = np.random.default_rng(1)
    code, wanted, other = (made.normal(size=size) + 2 for size in ((20, 3000), (20, 400), (5, 3000)))
    tracemalloc.start()
    found = LinearDecoder(*map(torch.from_numpy, (code, wanted)), penalty).restored(torch.from_numpy(other)).numpy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    mean, scale = code.mean(0), np.sqrt(code.var(0).mean())
    scaled = (code - mean) / scale
    weights = np.linalg.inv(scaled @ scaled.T + penalty * np.eye(20)) @ (wanted - wanted.mean(0))
    np.testing.assert_allclose(found, (other - mean) / scale @ scaled.T @ weights + wanted.mean(0), rtol=1e-8)
    assert peak < 8 * 3000 * 400 / 2
    assert sklearn.kernel_ridge


def test_codes_that_are_not_finite_and_bad_settings_are_refused() -> None:
    stack = narrow()
    for settings, message in (
        ({"penalty": -1.0}, "penalty -1.0 is not allowed: give 0"),
        ({"examples": 0}, "examples"),
    ):
        with pytest.raises(InputError, match=message):
            information_kept(stack, rows(), **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        stack.stages[0].encoder[1].weight.fill_(torch.nan)
    with pytest.raises(Diverged, match="not finite"):
        information_kept(stack, rows())
