"""The scikit-learn classifier and regressor: scikit-learn's own checks, and what they are made of, bit for bit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from stacked import (
    InputError,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    StackedAutoencoderTransformer,
)
from stacked.evaluation.fine_tuning import FineTuning
from stacked.training.codes import StoredInputs
from stacked.training.pretrain import pretrain
from tests.helpers.runs import same_weights

BATCHES = "mini-batches are drawn from the rows as they are, and pretraining takes no weights"
FAILING = {
    "check_sample_weight_equivalence_on_dense_data": BATCHES,
    "check_sample_weight_equivalence_on_sparse_data": BATCHES,
}
FAILING_OF = {
    "StackedAutoencoderClassifier": FAILING
    | {"check_classifiers_classes": "it has a class -1, which marks rows without a label here"},
    "StackedAutoencoderRegressor": FAILING,
}


@parametrize_with_checks(
    [
        StackedAutoencoderClassifier(epochs=1, fine_tune_epochs=10),
        StackedAutoencoderRegressor(epochs=1, fine_tune_epochs=20),
    ],
    expected_failed_checks=lambda estimator: FAILING_OF[type(estimator).__name__],
)
def test_scikit_learn_accepts_them(estimator: Any, check: Any) -> None:
    check(estimator)


Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def digits() -> Rows:
    rows, labels = load_digits(return_X_y=True)
    return (rows / 16).astype(np.float32), labels


@pytest.fixture(scope="module")
def few(digits: Rows) -> Rows:
    return digits[0][:150], digits[1][:150]


GIVEN = {"epochs": 1, "fine_tune_epochs": 3, "batch_size": 32, "random_state": 0}


def classifier(**more: Any) -> StackedAutoencoderClassifier:
    return StackedAutoencoderClassifier(**{"widths": (16, 8)} | GIVEN | more)


def regressor(**more: Any) -> StackedAutoencoderRegressor:
    return StackedAutoencoderRegressor(**{"widths": (16, 8)} | GIVEN | more)


def numbers_of(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.stack([rows[:, 10] * 40 + 1000, rows[:, 20] - rows[:, 30]], 1).astype(np.float64)


# What they are made of


@pytest.mark.parametrize("more", [{}, {"freeze": True}, {"head": "mlp", "head_width": 12, "dropout": 0.3}])
def test_a_fit_is_pretraining_and_fine_tuning(few: Rows, more: dict[str, Any]) -> None:
    rows, labels = few
    fitted, values = classifier(**more).fit(rows, labels), StoredInputs(torch.from_numpy(rows))
    spec = fitted.spec_
    stack = pretrain(spec, values, (64,))
    assert same_weights(fitted.stack_, stack)
    names = [str(k) for k in range(10)]
    tuning = FineTuning(stack, (values, torch.from_numpy(labels)), None, names, spec.classification, spec.seed)
    assert tuning.updates == 12
    model = tuning.train().classifier
    assert same_weights(fitted.model_, model)
    with torch.no_grad():
        logits = model(values.values)
        assert np.array_equal(fitted.predict_proba(rows), logits.softmax(1).numpy())
        assert np.array_equal(fitted.decision_function(rows), logits.numpy())
        assert np.array_equal(fitted.transform(rows), model.encoder(values.values).numpy())
    assert same_weights(fitted.model_.encoder, fitted.stack_.encoder) == ("freeze" in more)


def test_a_fit_of_numbers_is_pretraining_and_fine_tuning(few: Rows) -> None:
    rows, targets = few[0], numbers_of(few[0])
    fitted, values = regressor().fit(rows, targets), StoredInputs(torch.from_numpy(rows))
    spec = fitted.spec_
    stack = pretrain(spec, values, (64,))
    tuning = FineTuning(stack, (values, torch.from_numpy(targets)), None, (), spec.classification, spec.seed)
    assert same_weights(fitted.model_, tuning.train().model)
    with torch.no_grad():
        outputs = fitted.model_(values.values).double().numpy()
    np.testing.assert_allclose(fitted.predict(rows), targets.mean(0) + targets.std(0) * outputs)
    one = regressor().fit(rows, targets[:, 0])
    assert one.predict(rows).shape == (150,)
    assert one.predict(rows).dtype == np.float64
    shifted = regressor().fit(rows, 8 * targets[:, 0] + 64)  # which are standardised
    np.testing.assert_allclose(shifted.predict(rows), 8 * one.predict(rows) + 64, rtol=1e-5)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_rows_without_a_label_are_used_for_pretraining_only(few: Rows, kind: str) -> None:
    rows, labels = few
    estimator: Any = classifier() if kind == "classes" else regressor()
    given = labels.copy() if kind == "classes" else numbers_of(rows)
    known = np.arange(150) % 3 == 0
    given[~known] = -1 if kind == "classes" else np.nan
    fitted = clone(estimator).fit(rows, given)
    values, spec = torch.from_numpy(rows), fitted.spec_
    stack = pretrain(spec, StoredInputs(values), (64,))
    assert same_weights(fitted.stack_, stack)
    train, names = (StoredInputs(values[known]), torch.from_numpy(given[known])), "0123456789"
    assert same_weights(
        fitted.model_, FineTuning(stack, train, None, names, spec.classification, spec.seed).train().model
    )
    alike = StackedAutoencoderTransformer((16, 8), epochs=1, batch_size=32, random_state=0).fit(rows)
    assert same_weights(alike.stack_, fitted.stack_)
    fewer = clone(estimator).fit(rows[known], given[known])
    assert not np.allclose(fewer.transform(rows), fitted.transform(rows))


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_a_weight_of_zero_is_no_label_and_equal_weights_are_none(few: Rows, kind: str) -> None:
    rows, labels = few
    estimator: Any = classifier() if kind == "classes" else regressor()
    given = labels if kind == "classes" else numbers_of(rows)
    off = np.arange(150) % 4 == 0
    missing = given.copy()
    missing[off] = -1 if kind == "classes" else np.nan
    weighted = clone(estimator).fit(rows, given, sample_weight=np.where(off, 0, 3.7))
    assert same_weights(weighted.model_, clone(estimator).fit(rows, missing).model_)
    number = clone(estimator).fit(rows, given, sample_weight=2.0)
    assert same_weights(number.model_, clone(estimator).fit(rows, given).model_)
    some = clone(estimator).fit(rows, given, sample_weight=np.where(off, 1, 3))
    assert not same_weights(some.model_, clone(estimator).fit(rows, given).model_)
    assert same_weights(some.stack_, weighted.stack_)


def test_rows_held_out_select_by_the_score_and_are_not_trained_on(few: Rows) -> None:
    rows, labels = few
    given = {"validation_fraction": 0.2, "fine_tune_epochs": 8, "fine_tune_lr": 5e-3, "patience": 2}
    fitted = classifier(**given).fit(rows, labels)
    train, valid = fitted.split(np.arange(150), labels)
    assert valid is not None
    assert (len(train), len(valid)) == (120, 30)
    assert sorted([*train, *valid]) == list(range(150))
    assert set(labels[valid]) == set(range(10))
    assert fitted.validation_score_ == fitted.score(rows[valid], labels[valid]) > 0.1
    masked = labels.copy()
    masked[valid] = -1
    assert same_weights(classifier().fit(rows, masked).stack_, fitted.stack_)
    numbers = regressor(**given).fit(rows, numbers_of(rows), sample_weight=1 + rows[:, 20])
    _, valid = numbers.split(np.arange(150), None)
    assert valid is not None
    score = numbers.score(rows[valid], numbers_of(rows)[valid], sample_weight=1 + rows[valid, 20])
    assert numbers.validation_score_ == pytest.approx(score)
    assert classifier().fit(rows, labels).validation_score_ is None


def test_classes_may_be_anything_with_an_order(few: Rows) -> None:
    rows, labels = few
    plain = classifier().fit(rows, labels)
    words = np.array([f"digit {k}" for k in range(10)])
    named = classifier().fit(rows, words[labels])
    assert named.classes_.tolist() == words.tolist()
    assert np.array_equal(named.predict(rows), words[plain.predict(rows)])
    assert named.model_.classes == tuple(words)
    assert classifier().fit(rows, (labels - 1).astype(str)).classes_.tolist() == sorted(map(str, range(-1, 9)))


@pytest.mark.parametrize("kind", [np.int8, np.float64, np.float32, "Int64", "Float64"])
def test_minus_1_is_no_label_in_numbers_of_any_type(few: Rows, kind: Any) -> None:
    rows, labels = few
    given = np.where(np.arange(150) < 100, labels, -1)
    plain, same = classifier(fine_tune_epochs=1), classifier(fine_tune_epochs=1)
    plain.fit(rows, given)
    same.fit(rows, pd.Series(given, dtype=kind) if isinstance(kind, str) else given.astype(kind))
    assert same.classes_.tolist() == plain.classes_.tolist() == list(range(10))
    assert same_weights(same.model_, plain.model_)


def test_one_width_is_one_stage(few: Rows) -> None:
    assert same_weights(classifier(widths=8).fit(*few).model_, classifier(widths=(8,)).fit(*few).model_)


def test_two_classes_have_one_decision(few: Rows) -> None:
    rows, labels = few
    fitted = classifier(fine_tune_epochs=20).fit(rows, labels > 4)
    decision, probability = fitted.decision_function(rows), fitted.predict_proba(rows)
    assert decision.shape == (150,)
    assert fitted.classes_.tolist() == [False, True]
    assert np.array_equal(fitted.predict(rows), decision > 0)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-decision)), rtol=1e-4)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-6)


# What they learn


def test_100_labels_are_learnt(digits: Rows) -> None:
    rows, labels = digits
    given = labels[:1200].copy()
    given[100:] = -1
    fitted = StackedAutoencoderClassifier(dropout=0.3, epochs=20, random_state=0).fit(rows[:1200], given)
    assert fitted.score(rows[1200:], labels[1200:]) > 0.75  # logistic regression on pixels: 0.83


def test_all_digits_are_learnt_and_so_are_other_data(digits: Rows) -> None:
    rows, labels = digits
    fitted = StackedAutoencoderClassifier(random_state=0).fit(rows[:1200], labels[:1200])
    assert fitted.score(rows[1200:], labels[1200:]) > 0.9
    pipe = make_pipeline(StandardScaler(), StackedAutoencoderClassifier(random_state=0))
    assert cross_val_score(pipe, *load_breast_cancer(return_X_y=True), cv=2).mean() > 0.93
    pipe = make_pipeline(MinMaxScaler(), StackedAutoencoderRegressor(lr=3e-3, random_state=0))
    assert cross_val_score(pipe, *load_diabetes(return_X_y=True), cv=2).mean() > 0.3


# Their places in scikit-learn


def test_a_random_state_fixes_all_and_global_generators_are_left_alone(few: Rows) -> None:
    rows, labels = few
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    given = {"dropout": 0.2, "validation_fraction": 0.2}
    one, same, other = (classifier(random_state=k, **given).fit(rows, labels).predict_proba(rows) for k in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])  # processes that load torch
def test_grids_search_in_pipelines(few: Rows, jobs: int) -> None:
    rows, labels = few
    pipe = make_pipeline(MinMaxScaler(), classifier())
    grid = GridSearchCV(pipe, {"stackedautoencoderclassifier__fine_tune_epochs": [1, 20]}, cv=2, n_jobs=jobs)
    grid.fit(rows, labels)
    assert grid.best_params_ == {"stackedautoencoderclassifier__fine_tune_epochs": 20}
    fitted = grid.best_estimator_
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(rows), fitted.predict_proba(rows))
    numbers = GridSearchCV(regressor(), {"head": ["linear", "mlp"]}, cv=2).fit(rows, numbers_of(rows))
    assert np.isfinite(numbers.best_score_)


def test_all_share_the_parameters_of_pretraining() -> None:
    assert clone(classifier(dropout=0.25)).get_params() == classifier(dropout=0.25).get_params()
    shared = StackedAutoencoderTransformer().get_params().keys()
    assert shared < classifier().get_params().keys() == regressor().get_params().keys()
    assert repr(classifier(random_state=None)).startswith("StackedAutoencoderClassifier(batch_size=32, epochs=1")
    with pytest.raises(TypeError, match="positional"):
        StackedAutoencoderClassifier((8,), 0.1)  # type: ignore[misc]


def test_codes_are_columns_with_names(few: Rows) -> None:
    rows, labels = few
    frame = pd.DataFrame(rows, columns=[f"pixel {k}" for k in range(64)])
    for fitted, name in (
        (classifier().fit(frame, labels), "stackedautoencoderclassifier"),
        (regressor().fit(frame, rows[:, 10]), "stackedautoencoderregressor"),
    ):
        codes = fitted.set_output(transform="pandas").transform(frame)
        assert list(codes.columns) == [f"{name}{k}" for k in range(8)]
        assert fitted.feature_names_in_[3] == "pixel 3"
        assert fitted.n_features_in_ == 64
        assert codes.to_numpy().dtype == np.float32
    again = make_pipeline(classifier(), LogisticRegression()).fit(frame, labels)
    assert again.score(frame, labels) > 0.5


def test_self_training_and_bagging_work(few: Rows) -> None:
    rows, labels = few
    some = np.where(np.arange(150) < 100, labels, -1)
    base = classifier(fine_tune_epochs=20, fine_tune_lr=0.02)
    taught = SelfTrainingClassifier(base, threshold=0.6, max_iter=2).fit(rows, some)
    assert taught.score(rows, labels) > 0.5
    bag = BaggingClassifier(base, n_estimators=2, random_state=0).fit(rows, labels)
    assert bag.score(rows, labels) > 0.5


def test_images_are_read_by_convolutions(few: Rows) -> None:
    rows, labels = few
    given = {"kind": "conv", "image_shape": (1, 8, 8), "output": "sigmoid", "widths": (8, 8), "fine_tune_epochs": 15}
    fitted = classifier(**given).fit(rows, labels)
    assert fitted.transform(rows).shape == (150, 8 * 2 * 2)
    assert fitted.score(rows, labels) > 0.5


# What is refused


ONE, SOME = np.zeros(150, dtype=int), np.arange(150) % 3


@pytest.mark.parametrize(
    ("y", "more", "says"),
    [
        (ONE, {}, "y has one class, 0, in the labelled rows with a weight above 0, and two are needed"),
        (np.where(SOME == 1, 1, -1), {}, "y has one class, 1, .*numbers of -1 mark rows without a label"),
        (ONE - 1, {}, "y has no labelled row: give at least one"),
        (SOME, {"sample_weight": np.zeros(150)}, "sample_weight is zero in all labelled rows"),
        (SOME, {"sample_weight": (SOME == 1) * 1.0}, "y has one class, 1,"),
        (SOME, {"sample_weight": -1.0 * SOME}, "sample_weight -2 is not allowed: give 0 or more"),
        (SOME, {"sample_weight": -2}, "sample_weight -2 is not allowed: give 0 or more"),
        (SOME, {"sample_weight": np.ones(149)}, r"sample_weight of shape \[149\] does not fit 150 rows"),
        (SOME[:-1], {}, "inconsistent numbers of samples"),
        (SOME + 0.5, {}, "Unknown label type: continuous"),
    ],
)
def test_labels_that_cannot_be_learnt_are_said(few: Rows, y: Any, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        classifier().fit(few[0], y, **more)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.full(150, np.nan), "y has no labelled row"),
        (np.full(150, np.inf), "Input y contains infinity"),
        (np.full((150, 2), [1, np.nan]), r"NaN in some but not all of its 2 columns in 150 rows \(first: 0\)"),
        (np.array([1e200, -1e200] * 75), "are too large"),
        (
            np.array([1e-200, -1e-200] * 75),
            "differ by 2e-200 at most are too close together: multiply them by a number",
        ),
        (np.array([[1, 1e-158], [0, 0]] * 75), "differ by 1e-158 at most are too close together"),
        (np.zeros(149), "inconsistent numbers of samples"),
        (None, "requires y to be passed"),
    ],
)
def test_numbers_that_cannot_be_learnt_are_said(few: Rows, y: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        regressor().fit(few[0], y)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"fine_tune_epochs": 0}, "fine_tune_epochs 0 is not allowed: give a number above 0"),
        ({"fine_tune_lr": -1.0}, "learning rate -1.0 is not allowed"),
        ({"head": "tree"}, "head 'tree' is not known"),
        ({"dropout": 1.0}, "dropout 1.0 is not allowed"),
        ({"validation_fraction": 1.0}, "validation_fraction 1.0 is not allowed: give a number between 0 and 1"),
        ({"validation_fraction": 0.01}, "validation_fraction 0.01 does not split 150 labelled rows"),
        ({"validation_fraction": "a"}, "validation_fraction 'a' is not allowed: give a number between 0 and 1"),
        ({"dropout": "a"}, "dropout 'a' is not allowed"),
        ({"freeze": "a"}, "freeze 'a' is not allowed: give True or False"),
        ({"widths": None}, "widths None is not allowed: give the width of each stage"),
        ({"image_shape": 8}, r"image_shape 8 is not allowed: give \(C, H, W\)"),
        ({"image_shape": (1, 8, "a")}, "image_shape .* does not fit rows of 64 features"),
        ({"patience": 0}, "patience of the classifier 0 is not allowed"),
        ({"policy": "supervised"}, "policy 'supervised' learns classes"),
        ({"image_shape": (1, 8, 9)}, "image_shape"),
    ],
)
def test_parameters_that_are_not_allowed_are_said(few: Rows, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        classifier(**given).fit(*few)


def test_small_numbers_are_learnt_as_large_ones_are(few: Rows) -> None:
    rows, targets = few[0], numbers_of(few[0])[:, 1]
    plain, small = (regressor().fit(rows, targets * unit) for unit in (1, 2.0**-300))
    np.testing.assert_allclose(small.predict(rows) * 2.0**300, plain.predict(rows))


def test_a_batch_norm_needs_two_labelled_rows(few: Rows) -> None:
    rows, one = few[0], np.where(np.arange(150) == 7, 1.0, np.nan)
    given = {"kind": "conv", "image_shape": (1, 8, 8), "output": "sigmoid", "widths": (4, 4, 4)}
    with pytest.raises(InputError, match=r"stage 3 cannot normalise a batch of one .*give 2 labelled rows or more"):
        regressor(**given).fit(rows, one)
    assert np.isfinite(regressor(**given, freeze=True).fit(rows, one).predict(rows)).all()


def test_nan_in_rows_and_outputs_is_refused(few: Rows) -> None:
    rows, labels = few
    bad = rows.copy()
    bad[3, 4] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        classifier().fit(bad, labels)
    fitted = classifier().fit(rows, labels)
    fitted.model_.head.bias.data.fill_(np.inf)
    with pytest.raises(InputError, match="outputs for X are not finite: scale X as for"):
        fitted.predict(rows)
