"""Splits of a user's arrays, tables and datasets: what is read, divided and scaled, and what is refused in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from stacked import InputError, data
from stacked.data import Split, Splits

N = 60
Y = np.arange(N) % 3
X = np.random.default_rng(0).normal(5.0, 2.0, (N, 4))
FRAME = pd.DataFrame(X, columns=["age", "height", "weight", "dose"]).assign(kind=Y)


def whole(splits: Splits) -> torch.Tensor:
    """All inputs, as scaled, in any order."""
    return torch.cat([part.inputs for part in (splits.train, splits.valid, splits.test)])


@pytest.mark.parametrize(
    "given",
    [X, X.tolist(), torch.from_numpy(X), X[:, ::-1][:, ::-1], np.asfortranarray(X), X.astype(object)],
    ids=["array", "lists", "tensor", "view", "by columns", "objects"],
)
def test_the_same_numbers_give_the_same_splits(given: Any) -> None:
    assert Splits.of(given, Y).digest == Splits.of(X, Y).digest


@pytest.mark.parametrize(
    "labels",
    [Y.tolist(), torch.from_numpy(Y), pd.Series(Y), pd.Series(Y, dtype="Int64"), pd.Categorical(Y), Y.astype(np.uint8)],
    ids=["list", "tensor", "series", "nullable", "categorical", "bytes"],
)
def test_the_same_labels_give_the_same_splits(labels: Any) -> None:
    assert Splits.of(X, labels).digest == Splits.of(X, Y).digest


def test_integers_with_gaps_are_classes_and_no_numbers_to_predict() -> None:
    labels = pd.Series(Y, dtype="Int64").mask(np.arange(N) < 4)
    assert Splits.of(X, labels).digest == Splits.of(X, np.where(np.arange(N) < 4, -1, Y)).digest


def test_a_table_knows_its_columns_and_its_target() -> None:
    splits = Splits.of(FRAME, target="kind")
    assert splits.columns == ("age", "height", "weight", "dose")
    assert splits.classes == ("0", "1", "2")
    assert splits.digest == Splits.of((X, Y)).digest
    assert Splits.of(FRAME).input_shape == (5,)  # without a target it is a column like others


class Items(Dataset[Any]):
    """A map-style dataset of these items."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    """A dataset without a length."""

    def __iter__(self) -> Any:
        return iter([])


def test_datasets_are_read_item_by_item() -> None:
    floats, labels = torch.from_numpy(X).float(), torch.from_numpy(Y)
    wanted = Splits.of(floats, Y).digest
    assert Splits.of(TensorDataset(floats, labels)).digest == wanted
    assert Splits.of(Items([(x.numpy(), int(y)) for x, y in zip(floats, labels, strict=True)])).digest == wanted
    assert Splits.of(Subset(TensorDataset(floats, labels), range(N))).digest == wanted
    unlabelled = Splits.of(TensorDataset(floats))
    assert unlabelled.classes == ()
    assert unlabelled.digest == Splits.of(Items(list(floats))).digest == Splits.of(floats).digest


@pytest.mark.parametrize("shape", [(7,), (2, 9), (3, 6, 6), (1, 4, 4, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16, np.float16, bool])
def test_any_rank_and_type_is_read(shape: tuple[int, ...], dtype: Any) -> None:
    values = np.random.default_rng(0).integers(0, 2 if dtype is bool else 200, (N, *shape)).astype(dtype)
    splits = Splits.of(values, Y)
    assert splits.input_shape == shape
    assert (splits.scaling is None) == (dtype is np.uint8)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [46, 4, 10]
    found = whole(splits)
    back = found.double() if splits.scaling is None else splits.scaling.in_units(found)
    given, returned = (np.sort(each.reshape(N, -1).astype(float), axis=0) for each in (values, back.numpy()))
    np.testing.assert_allclose(returned, given, atol=1e-3)


def test_the_scaling_is_that_of_the_training_rows_alone() -> None:
    splits = Splits.of(X, Y)
    assert splits.scaling is not None
    assert splits.scaling.kind == "standard"
    train = splits.train.inputs.double()
    assert train.mean(0).abs().max() < 1e-6
    assert (train.std(0, correction=0) - 1).abs().max() < 1e-6
    assert splits.test.inputs.mean(0).abs().max() > 1e-3
    unit = Splits.of(X, Y, scale="minmax").train.inputs
    assert (unit.amin(0) == 0).all()
    assert (unit.amax(0) == 1).all()


def test_maps_in_the_unit_interval_are_not_scaled_by_default() -> None:
    values = np.random.default_rng(0).random((N, 2, 5, 5))
    kinds = {
        name: Splits.of(given).scaling
        for name, given in (("unit", values), ("wide", 2 * values), ("signals", values[:, 0]))
    }
    assert {name: scaling and scaling.kind for name, scaling in kinds.items()} == {
        "unit": "none",
        "wide": "standard",
        "signals": "standard",
    }


def test_the_users_data_are_copied() -> None:
    values = np.random.default_rng(0).random((N, 2, 5, 5)).astype(np.float32)
    for given in (values, (255 * values).astype(np.uint8)):
        before = given.copy()
        splits = Splits.of(given, Y, valid=(given, Y), test=(given, Y))
        for part in (splits.train, splits.valid, splits.test):
            part.inputs.zero_()
        assert (given == before).all()


def test_held_out_parts_are_stratified_the_same_each_time_and_can_be_given() -> None:
    one, other = (Splits.of(X, Y, valid=0.25, test=0.25) for _ in range(2))
    assert one.digest == other.digest
    assert one.test.labels.bincount().tolist() == [5, 5, 5]
    assert len({tuple(row) for row in whole(one).tolist()}) == N
    given = Splits.of(X[:30], Y[:30], valid=(X[30:45], Y[30:45]), test=(X[45:], Y[45:]), classes=["a", "b", "c"])
    assert given.scaling is not None
    np.testing.assert_allclose(given.scaling.in_units(given.valid.inputs).numpy(), X[30:45], rtol=1e-6)
    assert given.valid.labels.tolist() == Y[30:45].tolist()


def test_own_test_data_without_labels_are_refused_where_there_are_classes() -> None:
    with pytest.raises(InputError, match="none of the 15 test examples has a label"):
        Splits.of(X[:45], Y[:45], test=X[45:])


def test_labels_are_numbered_by_name_or_value_and_may_be_missing() -> None:
    named = Splits.of(X, np.array(["cat", "dog", "ant"])[Y])
    assert named.classes == ("ant", "cat", "dog")
    assert Splits.of(X, 10 * Y + 5).classes == ("5", "15", "25")
    some = Splits.of(X, [None if k % 2 else "ab"[k % 4 // 2] for k in range(N)])
    assert sum(int((part.labels == -1).sum()) for part in (some.train, some.valid, some.test)) == N // 2
    marked = Splits.of(X, np.where(np.arange(N) % 2, -1, np.arange(N) % 4))
    assert marked.digest == some.digest
    assert Splits.of(X, [-1] * N).classes == ()
    assert Splits.of(X, Y > 1).classes == ("0", "1")


def test_floats_are_numbers_to_predict() -> None:
    targets = np.where(np.arange(N) % 3, X[:, 0], np.nan)
    splits = Splits.of(X, targets)
    assert splits.classes == ()
    assert splits.outputs == 1
    assert splits.scaling is not None
    for part in (splits.train, splits.valid, splits.test):
        assert part.targets is not None
        known = ~part.targets[:, 0].isnan()
        assert torch.equal(part.marks, known.long() - 1)
        values = splits.scaling.in_units(part.inputs)[known, 0]
        torch.testing.assert_close(values, part.targets[known, 0], rtol=1e-6, atol=1e-6)
    assert (splits.test.marks == 0).all()  # of the examples with targets alone
    assert splits.digest != Splits.of(X).digest != Splits.of(X, targets + 1).digest
    for same in (torch.from_numpy(targets), pd.Series(targets), list(targets), targets[:, None]):
        assert Splits.of(X, same).digest == splits.digest
    assert Splits.of(FRAME, target="age").outputs == 1
    assert Splits.of(X, X[:, :3]).outputs == 3
    items = TensorDataset(torch.from_numpy(X), torch.from_numpy(X[:, :3]))
    assert Splits.of(items).digest == Splits.of(X, X[:, :3]).digest


def spoiled(value: float) -> np.ndarray:
    """X with a value at row 7, column 2."""
    values = X.copy()
    values[7, 2] = value
    return values


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "nan": (
        lambda: Splits.of(spoiled(np.nan)),
        "X has 1 value that is not finite, the first nan in row 7, at [2]: fill them in",
    ),
    "infinite": (
        lambda: Splits.of(FRAME.assign(age=spoiled(np.inf)[:, 2]), target="kind"),
        "column 'age' of X has 1 infinite value, the first in row 7: give numbers",
    ),
    "missing in a table": (
        lambda: Splits.of(FRAME.assign(age=pd.array([None] * 3 + [1] * 57, dtype="Int64"))),
        "X has missing values, 3 in column 'age': leave these rows or columns out, or give missing "
        "(--missing), which fills them in by mean, median or most_frequent",
    ),
    "constant": (
        lambda: Splits.of(FRAME.assign(age=3), target="kind"),
        "column 'age' has the same value in all 46 training rows, which cannot be scaled and says nothing: leave it out, or",
    ),
    "all equal": (lambda: Splits.of(np.ones((N, 4)), scale="none"), "all training examples are equal"),
    "text column": (
        lambda: Splits.of(FRAME.assign(name="Ann"), target="kind"),
        "column 'name' of X has the same value 'Ann' in all 46 training rows and says nothing: leave it out",
    ),
    "dates": (
        lambda: Splits.of(FRAME.assign(day=pd.Timestamp("2020-01-01"))),
        "column 'day' of X holds datetime64[us], neither numbers nor categories (such as '2020-01-01 00:00:00')",
    ),
    "text": (lambda: Splits.of(np.array([["a", "b"]] * N)), "X holds text (such as 'a'), not real numbers"),
    "mixed": (lambda: Splits.of(np.array([[1, "a"]] * N, object)), "X holds 'a', which is not a number"),
    "complex": (lambda: Splits.of(X + 1j), "X holds complex numbers"),
    "ragged lists": (lambda: Splits.of([[1.0, 2.0], [3.0]]), "X has rows of different lengths"),
    "ragged objects": (
        lambda: Splits.of(np.array([np.zeros(3), np.zeros(2)], object)),
        "X has rows of different lengths or shapes, such as (2,) and (3,): give examples of one shape",
    ),
    "ragged items": (
        lambda: Splits.of(Items([np.zeros(3), np.zeros(2)])),
        "item 1 of X has the shape [2], and item 0 [3]: give examples of one shape",
    ),
    "labels in some items": (
        lambda: Splits.of(Items([(X[0], 1), X[1]])),
        "item 1 of X is not a pair (x, y), unlike item 0",
    ),
    "types of items": (
        lambda: Splits.of(Items([X[0], X[0].astype(np.uint8)])),
        "item 1 of X holds uint8, and item 0 float64: give one type",
    ),
    "stream": (lambda: Splits.of(Stream()), "X is a Stream without a length: give a map-style Dataset"),
    "empty": (lambda: Splits.of(X[:0]), "X has no rows (shape [0, 4]): give at least one"),
    "empty dataset": (lambda: Splits.of(Items([])), "X has no examples: give at least one"),
    "no columns": (lambda: Splits.of(X[:, :0]), "X has rows without values (shape [60, 0])"),
    "only a target": (lambda: Splits.of(FRAME[["kind"]], target="kind"), "X has no column beside 'kind'"),
    "one axis": (lambda: Splits.of(X[:, 0]), "; a single column is X[:, None]"),
    "six axes": (lambda: Splits.of(np.zeros((2,) * 6)), "X has the shape [2, 2, 2, 2, 2, 2]: give numbers"),
    "sparse": (lambda: Splits.of(scipy.sparse.eye(9)), "X is a sparse matrix: give X.toarray()"),
    "a name": (lambda: Splits.of("mnist"), "X is a str, which cannot be read: give numbers in a NumPy array, a tensor"),
    "a dictionary": (lambda: Splits.of({"x": X}), "X is a dict, which cannot be read"),
    "channels last": (
        lambda: Splits.of(np.zeros((N, 8, 8, 3))),
        "X has the shape [60, 8, 8, 3], not [N, C, H, W]; channels seem",
    ),
    "bytes, channels last": (
        lambda: Splits.of(np.zeros((N, 9, 8, 3), np.uint8)),
        "cannot be read as X: give uint8 or floats",
    ),
    "labels of another length": (
        lambda: Splits.of(X, Y[:50]),
        "y has 50 labels, and X 60 examples: give one label for each",
    ),
    "one class": (lambda: Splits.of(X, 0 * Y), "y has one class, 0, and two are needed"),
    "one class beside -1": (lambda: Splits.of(X, np.where(Y, 1, -1)), "y has one class, 1, and two are needed"),
    "one-hot": (
        lambda: Splits.of(X, np.eye(3, dtype=int)[Y]),
        "y has the shape [60, 3]: give one label for each example, [N]; of rows",
    ),
    "one-hot floats": (
        lambda: Splits.of(X, np.eye(3)[Y]),
        "y of X has rows with a 1 at the class, which are no numbers to",
    ),
    "negative labels": (lambda: Splits.of(X, Y - 2), "y has a label -2: give classes from 0, or -1"),
    "labels of two kinds": (lambda: Splits.of(X, ["a", 1, 2] * 20), "y has both numbers and text"),
    "odd labels": (lambda: Splits.of(X, np.array([(1,), (2, 3)] * 30, object)), "y has a label (1,) of type tuple"),
    "labels outside classes": (
        lambda: Splits.of(X, Y, classes=["a", "b"]),
        "y has a label 2 that is not among the 2 classes: give numbers from 0 to 1, or -1",
    ),
    "two kinds of labels": (
        lambda: Splits.of(FRAME, Y, target="kind"),
        "labels of X are given twice: as target 'kind' and as y",
    ),
    "numbers beside text": (
        lambda: Splits.of(X, np.array([0.5, "a"] * 30, object)),
        "holds floats beside values that are no numbers, such as 'a'",
    ),
    "infinite targets": (
        lambda: Splits.of(X, np.r_[np.inf, X[1:, 0]]),
        "y of X has infinite values: give numbers, or NaN",
    ),
    "a constant target": (
        lambda: Splits.of(X, np.full(len(X), 1.5)),
        "y has the same value 1.5 in all 46 training rows that have one, so that there is nothing to predict: leave it out",
    ),
    "one constant target of two": (
        lambda: Splits.of(X, np.c_[X[:, 0], np.full(len(X), 1.5)]),
        "y, column 1, has the same value 1.5 in all",
    ),
    "targets of another length": (lambda: Splits.of(X, X[:50, 0]), "y of X has 50 labels, and there are 60 examples"),
    "names of numbers": (
        lambda: Splits.of(X, X[:, 0], classes=["a"]),
        "y has floats, which are numbers to predict, and classes",
    ),
    "targets of other width": (
        lambda: Splits.of(X, X[:, :2], test=(X, X[:, 0])),
        "test examples have 1 targets each, and training examples 2: give the same number",
    ),
    "test data without targets": (lambda: Splits.of(X, X[:, 0], test=X), "none of the 60 test examples has targets"),
    "labels twice": (
        lambda: Splits.of(TensorDataset(torch.zeros(3, 2), torch.zeros(3)), [0, 1, 0]),
        "by its items and as y",
    ),
    "another target": (
        lambda: Splits.of(FRAME, target="kinds"),
        "target 'kinds' is not a column of X; did you mean 'kind'? Choose from",
    ),
    "a target of an array": (
        lambda: Splits.of(X, target="kind"),
        "target 'kind' is a column of a DataFrame, and X is none",
    ),
    "too few": (
        lambda: Splits.of(X[:4], Y[:4]),
        "4 examples (1 in the rarest of 3 classes) are too few to hold out 0.167",
    ),
    "fraction": (lambda: Splits.of(X, Y, valid=1.5), "valid 1.5 is not a fraction: give a number between 0 and 1"),
    "shape of the test part": (
        lambda: Splits.of(X, Y, test=X[:, :3]),
        "examples of test have the shape [3], and those of X [4]",
    ),
    "type of the valid part": (
        lambda: Splits.of(X, Y, valid=X.astype(np.uint8)),
        "valid holds uint8, and X float64: give bytes",
    ),
    "columns of the test part": (
        lambda: Splits.of(FRAME, test=FRAME.rename(columns={"age": "Age"}), target="kind"),
        "test has a column 'Age' in the place of column 'age' of X",
    ),
    "nan in the test part": (lambda: Splits.of(X, test=spoiled(np.nan)), "test has 1 value that is not finite"),
    "scale": (lambda: Splits.of(X, scale="z"), "scale 'z' is not known: choose from standard, minmax, none"),
    "scaled bytes": (
        lambda: Splits.of(X.astype(np.uint8), scale="standard"),
        "scale 'standard' is for floats, and these are bytes",
    ),
    "too large": (
        lambda: Splits.of(X * 1e200, scale="none"),
        "do not fit float32 as they are scaled: divide them by a number",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_refused_in_one_line(name: str) -> None:
    make, says = BAD[name]
    with pytest.raises(InputError, match=re.escape(says)) as error:
        make()
    assert "\n" not in str(error.value)


def test_digests_of_bytes_are_those_of_earlier_versions() -> None:
    """Records and checkpoints name the data by them; floats of the same bytes have another."""
    digits = data.load("digits", limit=300)
    assert digits.digest == "de824ec0e71e3225b773b4914e4b06d283d77837ffe8c12b4f48aedd57bdd7fb"


def test_digests_of_floats_tell_of_values_and_scaling() -> None:
    digests = {Splits.of(given, Y, scale=scale).digest for given in (X, X + 1, 2 * X) for scale in ("none", "standard")}
    assert len(digests) == 6


def test_splits_of_floats_by_hand_are_in_their_own_units() -> None:
    part = Split(torch.zeros(2, 3), torch.tensor([0, 1]))
    splits = Splits("mine", part, part, part, ("a", "b"))
    assert splits.scaling is not None
    assert splits.scaling.kind == "none"
