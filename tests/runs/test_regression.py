"""Runs on data with numbers to predict: regressors in the place of classifiers, tested, kept, resumed and loaded."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_squared_error, r2_score

from stacked import InputError, StackSpec, load_regressor
from stacked.data import Splits
from stacked.data.shared import Reader, shared
from stacked.model.regressor import MEAN, SCALE
from stacked.model.tensor_file import read, to_bytes
from stacked.runs.run import Result, run
from stacked.spec import Classification
from stacked.util.errors import Interrupted
from tests.helpers.floats import SPEC, examples, spec_of
from tests.helpers.runs import numbers, same_weights

X = examples(6)
Y = np.column_stack([1000 + X[:, :3].sum(1), np.where(np.arange(len(X)) % 4, X[:, 5], np.nan)])
SPLITS = Splits.of(X, Y)
RUN = replace(
    spec_of("vectors"),
    classification=Classification(labels=(20, None), lrs=(1e-2, 3e-2), updates=6, checks=2, batch_size=8),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def done(home: Path) -> Result:
    return run(RUN, SPLITS, work=home)


@pytest.mark.parametrize("labels", ["20", "all"])
def test_the_row_has_the_errors_of_predictions_on_test_examples_with_targets(done: Result, labels: str) -> None:
    scaling, targets = SPLITS.scaling, SPLITS.test.targets
    assert scaling is not None
    assert targets is not None
    known = ~targets.isnan().any(1)
    given = scaling.in_units(SPLITS.test.inputs)[known].numpy()
    found, wanted = done.regressors[labels].predict(given).numpy(), targets[known].numpy()
    assert done.row[f"final/regressor_mse_{labels}"] == pytest.approx(mean_squared_error(wanted, found), rel=1e-4)
    assert done.row[f"final/regressor_r2_{labels}"] == pytest.approx(r2_score(wanted, found), rel=1e-3, abs=1e-5)
    assert done.classifiers == {}
    assert not [name for name in done.row if "classifier" in name or "probe" in name]


def test_files_give_the_same_predictions(done: Result, home: Path) -> None:
    assert sorted(path.name for path in home.glob("regressor-*")) == [
        "regressor-20.safetensors",
        "regressor-all.safetensors",
    ]
    for labels, regressor in done.regressors.items():
        again = load_regressor(home / f"regressor-{labels}.safetensors")
        assert torch.equal(again.predict(X), regressor.predict(X))
        assert again.predict(X).dtype == torch.float64
        assert again.predict(X).shape == (len(X), 2)


def test_a_run_that_is_given_again_takes_its_regressors_from_their_files(
    done: Result, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained_again(*given: object) -> None:
        raise AssertionError("a kept regressor was fine-tuned again")

    monkeypatch.setattr("stacked.runs.supervised_end.SupervisedEnd.select", trained_again)
    again = run(RUN, SPLITS, work=home)
    assert numbers(again) == numbers(done)
    assert same_weights(again.regressors["all"], done.regressors["all"])


def test_stopped_anywhere_it_ends_the_same(done: Result, tmp_path: Path) -> None:
    result = None
    while result is None:
        count = itertools.count(1)
        with suppress(Interrupted):
            result = run(RUN, SPLITS, work=tmp_path, stop=lambda count=count: next(count) >= 3)  # type: ignore[misc]
    assert numbers(result) == numbers(done)
    for labels, regressor in done.regressors.items():
        assert same_weights(result.regressors[labels], regressor)


def test_the_progress_of_diabetes_is_predicted() -> None:
    rows, progress = load_diabetes(return_X_y=True)
    spec = replace(
        SPEC,
        stack=StackSpec.of("dense", 32, 16, output="linear"),
        budget=replace(SPEC.budget, stages=(60,), end_to_end=60),
        classification=Classification(labels=(None,), lrs=(3e-3,), updates=150, checks=5),
    )
    result = run(spec, (rows, progress))
    assert result.row["final/regressor_r2_all"] > 0.25
    assert result.row["final/regressor_mse_all"] < 0.8 * np.var(progress)


def test_processes_share_targets() -> None:
    with shared(Splits.of(X, Y)) as place:
        assert Reader(place).splits.digest == SPLITS.digest


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({SCALE: torch.zeros(2).double()}, "mean and scale of its targets are not finite, with scales above 0"),
        ({MEAN: torch.full((2,), torch.nan).double()}, "mean and scale of its targets are not finite"),
        ({MEAN: torch.zeros(3).double()}, r"mean and scale of its targets are not of float64 \[K\]"),
        ({MEAN: torch.zeros(2)}, r"mean and scale of its targets are not of float64 \[K\]"),
        ({MEAN: torch.zeros(3).double(), SCALE: torch.ones(3).double()}, "size mismatch|shape"),
    ],
)
def test_damaged_files_are_refused(
    changes: dict[str, torch.Tensor], reason: str, done: Result, home: Path, tmp_path: Path
) -> None:
    whole = read(home / "regressor-20.safetensors")
    path = tmp_path / "damaged"
    path.write_bytes(to_bytes(whole.tensors | changes, whole.texts))
    with pytest.raises(InputError, match=reason):
        load_regressor(path)


def test_policies_that_learn_classes_are_refused() -> None:
    with pytest.raises(
        InputError, match="policy 'supervised' learns classes, and arrays has none: choose another policy"
    ):
        run(replace(RUN, policy="supervised"), SPLITS)


def test_label_budgets_of_the_default_that_do_not_exist_are_left_out_with_a_line() -> None:
    spec = replace(RUN, classification=Classification(updates=2, checks=1))
    assert spec.id == replace(spec, classification=Classification(labels=(100, 1000, None), updates=2, checks=1)).id
    few = int((SPLITS.train.marks >= 0).sum())
    with pytest.warns(
        RuntimeWarning, match=f"^{few} training examples have labels: regressors with 100 and 1,000 labels"
    ):
        result = run(spec, SPLITS)
    assert [*result.regressors] == ["all"]
    assert result.row["run"] == spec.id
    classes = Splits.of(X, np.arange(len(X)) % 2)
    with pytest.warns(RuntimeWarning, match="classifiers with 100 and 1,000 labels are left out"):
        assert [*run(spec, classes).classifiers] == ["all"]


def test_more_labels_than_targets_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"a budget of 80 labels does not fit [0-9]+ labelled examples: choose a number from 1"
    ):
        run(replace(RUN, classification=Classification(labels=(80,))), SPLITS)
