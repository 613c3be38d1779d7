"""Tables: what columns become, fitted to the training rows, and kept with encoders and classifiers as plain values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from stacked import Budget, Classification, InputError, Optimisation, RunSpec, StackSpec, load_classifier, load_encoder
from stacked.data import Splits
from stacked.data.scaling import Scaling
from stacked.data.table import Column, as_numbers
from stacked.model.model_file import reading
from stacked.model.tensor_file import to_bytes
from stacked.runs.run import run
from stacked.spec import Evaluation

N = 90
RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RANDOM.normal(40, 9, N),
        "colour": RANDOM.choice(["red", "green", "blue"], N),
        "member": RANDOM.random(N) > 0.5,
        "size": pd.Categorical(RANDOM.choice(["S", "L"], N)),
        "visits": RANDOM.integers(0, 9, N),
        "kind": np.where(np.arange(N) % 3 == 0, "yes", "no"),
    }
)
SPEC = RunSpec(
    "joint",
    stack=StackSpec.of("dense", 6, 3, output="linear"),
    budget=Budget(2, 2, "updates"),
    optimisation=Optimisation(batch_size=16),
    evaluation=Evaluation(every=1, images=10, probes=()),
    classification=Classification(labels=(None,), updates=2, checks=1),
)


def holes() -> pd.DataFrame:
    """The table with missing numbers and categories."""
    frame = FRAME.copy()
    frame.loc[::7, "age"] = np.nan
    frame.loc[::5, "colour"] = None
    return frame


def whole(splits: Splits) -> torch.Tensor:
    return torch.cat([part.inputs for part in (splits.train, splits.valid, splits.test)])


def in_order(splits: Splits, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table in the order of train, valid and test, by a column that identifies them."""
    scaling = splits.scaling
    assert scaling is not None
    place = splits.columns.index("id")
    ids = scaling.in_units(whole(splits))[:, place].round().long().numpy()
    return frame.iloc[ids]


def test_columns_become_what_scikit_learn_makes_of_them() -> None:
    frame = FRAME.assign(id=range(N))
    splits = Splits.of(frame, target="kind")
    assert splits.classes == ("no", "yes")
    categories = ("colour=blue", "colour=green", "colour=red", "member=False", "member=True", "size=L", "size=S")
    assert splits.columns == ("age", *categories, "visits", "id")
    rows = in_order(splits, frame)
    train = rows[: len(splits.train)]
    numbers, words = ["age", "visits", "id"], ["colour", "member", "size"]
    scaled = StandardScaler().fit(train[numbers]).transform(rows[numbers])
    ones = OneHotEncoder(sparse_output=False).fit(train[words].astype(str)).transform(rows[words].astype(str))
    expected = np.concatenate([scaled[:, :1], ones, scaled[:, 1:]], 1)
    np.testing.assert_allclose(whole(splits).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("missing", ["mean", "median", "most_frequent"])
def test_missing_values_are_filled_in_from_training_rows(missing: str) -> None:
    frame = holes().assign(id=range(N))
    splits = Splits.of(frame, target="kind", missing=missing)
    rows = in_order(splits, frame)
    train = rows[: len(splits.train)]
    assert splits.scaling is not None
    age, colour, *_ = splits.scaling.columns
    assert age.number == SimpleImputer(strategy=missing).fit(train[["age"]]).statistics_[0]
    assert colour.category == train.colour.mode()[0]
    gone = rows.colour.isna().to_numpy()
    filled = whole(splits)[:, [splits.columns.index(f"colour={name}") for name in colour.categories]][gone]
    assert gone.any()
    assert (filled == torch.tensor([float(name == colour.category) for name in colour.categories])).all()


def test_missing_values_are_refused_and_counted_by_column() -> None:
    with pytest.raises(
        InputError, match=r"X has missing values, 13 in column 'age', 18 in column 'colour': leave these"
    ):
        Splits.of(holes(), target="kind")
    with pytest.raises(InputError, match="missing 'mean' is for tables, and X is none: leave it out"):
        Splits.of(np.eye(9), missing="mean")
    with pytest.raises(
        InputError, match=r"missing 'means' is not known; did you mean 'mean'\? Choose from mean, median, most_frequent"
    ):
        Splits.of(holes(), missing="means")


def test_a_category_that_training_rows_lack_is_zeros_with_a_warning() -> None:
    columns = (Column("colour", ("blue", "red")),)
    with pytest.warns(UserWarning, match="column 'colour' of X has 'pink', which the training rows did not have"):
        found = as_numbers(columns, pd.DataFrame({"colour": ["red", "pink"]}), "X")
    assert found.tolist() == [[0, 1], [0, 0]]


def test_files_keep_the_columns_and_read_other_tables_by_them(tmp_path: Path) -> None:
    splits = Splits.of(holes(), target="kind", missing="median")
    result = run(SPEC, splits, work=tmp_path)
    encoder, classifier = (
        load_encoder(tmp_path / "encoder.safetensors"),
        load_classifier(tmp_path / "classifier-all.safetensors"),
    )
    assert encoder.scaling == classifier.encoder.scaling == splits.scaling
    new = holes()[::-1].drop(columns="kind")[["visits", "colour", "size", "age", "member"]]
    numbers = as_numbers(splits.scaling.columns, new, "X")  # type: ignore[union-attr]
    torch.testing.assert_close(encoder.encode(new), result.stack.encoder.encode(numbers), rtol=0, atol=0)
    assert classifier.predict_proba(new).shape == (N, 2)
    with pytest.raises(
        InputError, match="the table has no column 'age', which was trained on: add it; did you mean 'ago'"
    ):
        encoder.encode(new.rename(columns={"age": "ago"}))
    with pytest.raises(InputError, match=r"column 'age' of the table holds text .*, and numbers were trained on"):
        encoder.encode(new.assign(age="old"))
    with pytest.warns(
        UserWarning, match="column 'kind' of the table is not read, since the training had no such column"
    ):
        encoder.encode(holes())


DAMAGE: dict[str, tuple[Any, str]] = {
    "no text": (b"\xff", "utf-8"),
    "no list": (b"{}", "not a list"),
    "another field": (b'[{"name":"a","run":"x"}]', "field of Column 'run' is not known"),
    "too few": (b'[{"name":"age"}]', "do not fit columns of a table"),
    "twice": (json.dumps([{"name": "age"}] * 9).encode(), "two columns of a scaling have one name"),
    "a filling that is no category": (b'[{"name":"age","categories":["a"],"category":"b"}]', "cannot have"),
    "a filling that is not finite": (b'[{"name":"age","number":1e999}]', "cannot have"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_columns_are_refused_when_a_file_is_read(damage: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "encoder.safetensors"
    run(SPEC, Splits.of(FRAME, target="kind"), work=tmp_path)
    with safe_open(path, "pt") as file:
        texts = {name: text for name, text in file.metadata().items() if name != "sha256"}
    content, expected = DAMAGE[damage]
    tensors = load_file(path) | {"scaling.columns": torch.frombuffer(bytearray(content), dtype=torch.uint8)}
    path.write_bytes(to_bytes(tensors, texts))
    with pytest.raises(InputError, match=expected), reading(path, "stacked encoder 1", "{reason}", dimensions=(1,)):
        pass


REFUSED: dict[str, tuple[pd.DataFrame, str]] = {
    "names": (
        FRAME.assign(name=[f"n{k}" for k in range(N)]),
        "column 'name' of X has 69 different texts in 69 training rows",
    ),
    "one category": (
        FRAME.assign(place="here"),
        "column 'place' of X has the same value 'here' in all 69 training rows",
    ),
    "nothing": (FRAME.assign(empty=np.nan), "X has missing values, 90 in column 'empty'"),
    "a name twice": (
        pd.concat([FRAME, FRAME[["age"]]], axis=1),
        "X has several columns 'age': give each column a name",
    ),
    "text and numbers": (
        FRAME.assign(age=["old", 1.0, *[2.0] * (N - 2)]),
        "column 'age' of X holds numbers beside text",
    ),
    "infinite": (FRAME.assign(age=np.inf), "column 'age' of X has 69 infinite values, the first in row "),
    "no rows": (FRAME[:0], "X has no rows: give at least one"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_refused_in_one_line(case: str) -> None:
    frame, expected = REFUSED[case]
    with pytest.raises(InputError) as refused:
        Splits.of(frame, target="kind")
    assert expected in str(refused.value)


def test_a_column_without_a_value_in_training_rows_is_refused() -> None:
    with pytest.raises(InputError, match="column 'empty' of X has no value in the 69 training rows: leave it out"):
        Splits.of(FRAME.assign(empty=np.nan), target="kind", missing="mean")


def test_a_scaling_of_categories_alone_is_none() -> None:
    splits = Splits.of(FRAME[["colour", "member", "kind"]], target="kind")
    assert splits.scaling is not None
    assert splits.scaling.kind == "none"
    assert splits.train.inputs.unique().tolist() == [0, 1]
    assert Scaling(columns=splits.scaling.columns).width == 5
