"""The scikit-learn transformer: scikit-learn's own checks, and its places in pipelines."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from stacked import InputError
from stacked.apps.estimator import StackedAutoencoderTransformer
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain


@parametrize_with_checks([StackedAutoencoderTransformer(epochs=2)])
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rows, labels = load_digits(return_X_y=True)
    return (rows[:600] / 16).astype(np.float32), labels[:600]


def conv(**more: Any) -> StackedAutoencoderTransformer:
    given = {"widths": (8, 4), "kind": "conv", "image_shape": (1, 8, 8), "output": "sigmoid", "epochs": 3}
    return StackedAutoencoderTransformer(**given | {"random_state": 0} | more)


def test_it_trains_the_stack_of_its_spec(digits: Any) -> None:
    rows, _ = digits
    fitted = conv().fit(rows)
    images = torch.from_numpy(rows).view(-1, 1, 8, 8)
    again = pretrain(fitted.spec_, StoredInputs(images), (1, 8, 8))
    assert all(torch.equal(p, q) for p, q in zip(fitted.stack_.parameters(), again.parameters(), strict=True))
    code = fitted.transform(rows)
    with torch.no_grad():
        assert np.array_equal(code, again.encode(images).flatten(1).numpy())
        expected = again.reconstruct(images).flatten(1).numpy()
    np.testing.assert_allclose(fitted.inverse_transform(code), expected, atol=1e-6)
    assert code.shape == (600, 4 * 2 * 2)
    assert list(fitted.get_feature_names_out()[:2]) == [
        "stackedautoencodertransformer0",
        "stackedautoencodertransformer1",
    ]


def test_codes_have_the_precision_of_the_rows(digits: Any) -> None:
    rows, _ = digits
    fitted = conv().fit(rows)
    double = fitted.transform(rows.astype(np.float64))
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, fitted.transform(rows), atol=1e-5)
    assert next(fitted.stack_.parameters()).dtype == torch.float32


def test_the_score_has_double_precision_and_copies_no_rows(digits: Any) -> None:
    rows, _ = digits
    fitted, many = conv(epochs=0.2).fit(rows), np.tile(rows, (40, 1))
    assert fitted.score(rows) == fitted.score(rows.astype(np.float64))
    tracemalloc.start()
    try:
        fitted.score(many)
        assert tracemalloc.get_traced_memory()[1] < many.nbytes
    finally:
        tracemalloc.stop()


def test_it_learns(digits: Any) -> None:
    rows, _ = digits
    once, longer = (StackedAutoencoderTransformer(epochs=n, lr=3e-3, random_state=0).fit(rows[:500]) for n in (1, 40))
    spread = np.square(rows[500:] - rows[:500].mean(0)).mean()
    assert -longer.score(rows[500:]) < 0.4 * spread
    assert longer.score(rows[500:]) > once.score(rows[500:])


def test_a_random_state_fixes_all(digits: Any) -> None:
    rows, _ = digits
    one, same, other = (conv(random_state=seed).fit(rows).transform(rows) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)


def test_pipelines_grids_clones_and_pickles(digits: Any) -> None:
    rows, labels = digits
    pipe = make_pipeline(MinMaxScaler(), conv(), StandardScaler(), LogisticRegression(max_iter=500))
    grid = GridSearchCV(pipe, {"stackedautoencodertransformer__widths": [(8,), (8, 4)]}, cv=2).fit(rows, labels)
    assert grid.best_score_ > 0.6
    alone = GridSearchCV(conv(), {"epochs": [1, 8]}, cv=2).fit(rows)  # by its own score
    assert alone.best_params_ == {"epochs": 8}
    fitted = grid.best_estimator_
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict(rows), fitted.predict(rows))
    assert clone(conv(lr=0.5)).get_params()["lr"] == 0.5


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"image_shape": (1, 8, 9)}, r"image_shape \(1, 8, 9\) does not fit rows of 64 features"),
        ({"policy": "supervised"}, "policy 'supervised' learns classes"),
        ({"kind": "cnov"}, "stage kind 'cnov'"),
        ({"lr": -1.0}, "learning rate"),
        ({"loss": "bce", "output": "linear"}, "bce"),
    ],
)
def test_what_cannot_be_fitted_is_said(digits: Any, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        conv(**given).fit(digits[0])


def test_codes_of_another_size_are_refused(digits: Any) -> None:
    with pytest.raises(InputError, match="codes of 3 values do not fit this encoder: give 16 per row"):
        conv(epochs=0.2).fit(digits[0]).inverse_transform(np.zeros((2, 3)))


def test_parameters_may_be_numbers_and_arrays_of_numpy(digits: Any) -> None:
    rows, _ = digits
    grid = GridSearchCV(conv(epochs=0.2), {"batch_size": 2 ** np.arange(4, 6), "lr": np.logspace(-3, -2, 2)}, cv=2)
    assert grid.fit(rows).best_params_["batch_size"] in (16, 32)
    with_numpy = conv(widths=np.array([8, 4]), image_shape=np.array([1, 8, 8]), epochs=np.float32(0.5)).fit(rows)
    assert with_numpy.spec_ == conv(epochs=0.5).fit(rows).spec_


def test_rows_in_any_layout_give_the_same(digits: Any) -> None:
    rows, _ = digits
    layouts = {
        "backwards": rows[::-1][::-1],
        "columns": np.asfortranarray(rows),
        "every other": np.repeat(rows, 2, 0)[::2],
    }
    fitted, frame = conv(epochs=0.5).fit(rows), pd.DataFrame(rows)
    for name, same in (layouts | {"frame": frame.iloc[::-1].iloc[::-1]}).items():
        assert np.array_equal(conv(epochs=0.5).fit(same).transform(rows), fitted.transform(rows)), name
        assert np.array_equal(fitted.transform(same), fitted.transform(rows)), name
        assert np.array_equal(
            fitted.inverse_transform(fitted.transform(rows)[::-1])[::-1],
            fitted.inverse_transform(fitted.transform(rows)),
        )
        assert fitted.score(same) == fitted.score(rows)
    assert conv(epochs=0.5).fit(frame.iloc[::-1]).transform(frame.iloc[::-1]).shape == (600, 16)


@pytest.mark.parametrize("method", ["transform", "score"])
def test_columns_under_other_names_are_refused_as_by_scikit_learn(digits: Any, method: str) -> None:
    frame = pd.DataFrame(digits[0], columns=[f"pixel {k}" for k in range(64)])
    fitted = conv(epochs=0.2).fit(frame)
    assert np.isfinite(getattr(fitted, method)(frame)).all()
    with pytest.raises(ValueError, match="feature names should match"):
        getattr(fitted, method)(frame[frame.columns[::-1]])
