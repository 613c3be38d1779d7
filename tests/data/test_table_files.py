"""CSV, Parquet and .npz files of a user: what is read, and what is refused in one line before anything is trained."""

from __future__ import annotations

import gc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stacked import DataSpec, InputError, RunSpec, data
from stacked.data import Splits
from stacked.data.formats.table_file import read_csv
from stacked.spec import from_json
from stacked.util.serialization import to_json

N = 40
RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {"age": RANDOM.normal(40, 9, N), "colour": RANDOM.choice(["red", "blue"], N), "kind": np.arange(N) % 2}
)


def load(folder: Path, name: str, target: str | None = "kind", missing: str | None = None) -> Splits:
    return data.load(name, data_dir=folder, target=target, missing=missing)


def test_csv_and_parquet_are_the_same_table(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False, encoding="utf-8-sig")
    FRAME.to_parquet(tmp_path / "t.parquet")
    here = [load(tmp_path, f"{kind}:t.{kind}") for kind in ("csv", "parquet")]
    assert here[0].digest == here[1].digest == Splits.of(FRAME, target="kind").digest
    assert here[0].columns == ("age", "colour=blue", "colour=red")
    assert here[0].classes == ("0", "1")
    assert here[0].name == "csv:t.csv"


def test_decimal_numbers_are_predicted_and_gaps_have_no_label(tmp_path: Path) -> None:
    FRAME.assign(kind=FRAME.age / 2).to_csv(tmp_path / "t.csv", index=False)
    splits = load(tmp_path, "csv:t.csv")
    assert splits.classes == ()
    assert splits.train.targets is not None
    FRAME.assign(kind=FRAME.kind.mask(FRAME.index < 6).astype("Int64")).to_csv(tmp_path / "t.csv", index=False)
    labels = load(tmp_path, "csv:t.csv").train.labels
    assert sorted(labels.unique().tolist()) == [-1, 0, 1]
    assert (labels == -1).sum() == 6


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    before = load(tmp_path, "csv:t.csv").digest
    FRAME.assign(age=FRAME.age.mask(FRAME.index == 3, 41.0)).to_csv(tmp_path / "t.csv", index=False)
    assert load(tmp_path, "csv:t.csv").digest != before


def test_a_spec_names_the_target_and_earlier_specs_keep_their_id() -> None:
    spec = RunSpec(data=DataSpec("csv:t.csv", target="kind", missing="mean"))
    assert from_json(to_json(spec)) == spec
    assert DataSpec().target is DataSpec().missing is None
    assert to_json(DataSpec()).count("target") == to_json(DataSpec()).count("missing") == 0
    with pytest.raises(InputError, match="target does not apply to 'mnist', which is no table"):
        DataSpec(target="kind")
    with pytest.raises(InputError, match=r"missing 'men' is not known; did you mean 'mean'\? Choose from mean"):
        DataSpec("csv:t.csv", missing="men")
    with pytest.raises(InputError, match="target 3 is not allowed: give a text"):
        DataSpec("csv:t.csv", target=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must not name folders of this machine"):
        DataSpec("csv:/home/t.csv")


BAD = {
    "empty": ("", "is empty: give a table"),
    "blank": ("\n\n", "is empty: give a CSV table with a first line of column names"),
    "header alone": ("age,kind\n", "has a header and no rows: give at least one"),
    "ragged": (
        "age,kind\n1,2\n3\n",
        "line 3 of {path} has 1 cell, and its header 2: give the same number in all lines",
    ),
    "too long": ("age,kind\n1,2,3\n", "line 2 of {path} has 3 cells, and its header 2"),
    "a name twice": ("age,age,kind\n1,2,3\n", "has several columns 'age': give each column a name of its own"),
    "no name": ("age,,kind\n1,2,3\n", "column 2 of {path} has no name: give it one"),
    "an index": (
        ",age,kind\n0,1,2\n",
        "column 1 of {path} has no name: give it one (pandas writes its index without a name",
    ),
    "no header": (
        "1.5,0\n2.5,1\n",
        "the first line of {path} holds numbers (1.5, 0), not names of columns: add a first line",
    ),
    "too many classes": (
        "age,kind\n" + "".join(f"{k},{2 * k}\n" for k in range(9)),
        "target 'kind' of {path} has 9 different integers in 9 rows, too many to be classes: write them as decimal numbers",
    ),
    "semicolons": ("age;kind\n1;2\n", "has one column, 'age;kind': separate columns by commas, not by ';'"),
    "tabs": ("age\tkind\n1\t2\n", "separate columns by commas, not by tabs"),
    "quote": ('age,kind\n"1,2\n', "is not a CSV table"),
    "text": (
        "age,kind\n" + "1,0\n2,1\n" * 9 + "?,1\n",
        "column 'age' of {path} has 1 value that is not a number among 19, the first '?' in row 19",
    ),
    "infinite": ("age,kind\n" + "1,0\n2,1\n" * 9 + "inf,1\n" * 9, "column 'age' of {path} has"),
    "missing": ("age,kind\n" + "1,0\n2,1\n" * 9 + ",1\n", "has missing values, 1 in column 'age'"),
    "one class": ("age,kind\n" + "1,0\n2,0\n" * 9, "target 'kind' has one class, 0, and two are needed"),
    "no labels": (
        "age,kind\n" + "1,\n2,\n" * 9,
        "target 'kind' of {path} has no value in any row: leave target out, or give labels to some rows",
    ),
    "numbers to predict beside text": (
        "age,kind\n" + "".join(f"{k},{k + 0.5}\n" for k in range(18)) + "9,?\n",
        "column 'kind' of {path} has 1 value that is not a number among 19, the first '?' in row 19",
    ),
    "an infinite target": (
        "age,kind\n" + "1,0.5\n2,1.5\n" * 9 + "3,inf\n",
        "target 'kind' has infinite values: give numbers, or NaN where there is none",
    ),
    "a constant target": (
        "age,kind\n" + "1,2.5\n2,2.5\n" * 9,
        "target 'kind' has the same value 2.5 in all 14 training rows that have one, so that there is nothing to predict",
    ),
    "misspelt": (
        "age,kinds\n1,0\n",
        "target 'kind' is not a column of {path}; did you mean 'kinds'? Choose from age, kinds",
    ),
    "constant": ("age,size,kind\n" + "1,3,0\n2,3,1\n" * 9, "column 'size' has the same value in all"),
    "constant text": (
        "age,size,kind\n" + "1,L,0\n2,L,1\n" * 9,
        "column 'size' of {path} has the same value 'L' in all",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, expected = BAD[case]
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load(tmp_path, "csv:t.csv")
    assert expected.format(path=path) in str(refused.value)


def test_numbers_beside_text_are_classes_where_they_are_few(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,kind\n" + "1,0.5\n2,?\n3,0.5\n" * 9, encoding="utf-8")
    assert load(tmp_path, "csv:t.csv").classes == ("0.5", "?")


def test_no_file_is_left_open(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read_csv(tmp_path / "t.csv")
        gc.collect()
    assert not [each for each in told if issubclass(each.category, ResourceWarning)]


def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("städte,kind\n1,2\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"is not a table in UTF-8 .*: save it as CSV in UTF-8"):
        load(tmp_path, "csv:latin.csv")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"cannot be read .*: give the path of a table"):
        load(tmp_path, "parquet:t.parquet")
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)"):
        load(tmp_path, "csv:none.csv")
    with pytest.raises(InputError, match="is a folder: give the path of a table"):
        load(tmp_path.parent, f"csv:{tmp_path.name}")
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"there is no dataset 't.csv'; did you mean 'csv:t.csv'"):
        load(tmp_path, "t.csv")


X, Y = RANDOM.normal(size=(N, 2, 8)), np.arange(N) % 2


def test_arrays_are_read_with_their_own_parts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=X, y=Y)
    assert load(tmp_path, "npz:a.npz", None).digest == Splits.of(X, Y).digest
    np.savez_compressed(
        tmp_path / "b.npz", X=X[:20], y=Y[:20], X_test=X[20:30], y_test=Y[20:30], X_valid=X[30:], y_valid=Y[30:]
    )
    splits = load(tmp_path, "npz:b.npz", None)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (20, 10, 10)
    assert splits.test.labels.tolist() == Y[20:30].tolist()
    with pytest.raises(InputError, match="has its own validation set: leave it out"):
        data.load("npz:b.npz", data_dir=tmp_path, valid=0.2)
    pixels = RANDOM.integers(0, 256, (N, 1, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "c.npz", X=pixels, y=np.where(Y, "on", "off"))
    splits = load(tmp_path, "npz:c.npz", None)
    assert splits.scaling is None
    assert splits.classes == ("off", "on")


ARRAYS = {
    "another name": ({"X": X, "labels": Y}, "holds an array 'labels': name arrays X, y, X_test"),
    "no examples": ({"y": Y}, "holds y without X: give the examples too"),
    "labels of another length": ({"X": X, "y": Y[:3]}, "y has 3 labels, and X 40 examples"),
    "nan": ({"X": np.full((9, 2), np.nan)}, "18 values that are not finite"),
    "text": ({"X": np.array([["a"]] * 9)}, "holds text (such as 'a'), not real numbers"),
    "objects": ({"X": np.array([{}, []], object)}, "Object arrays cannot be loaded when allow_pickle=False"),
    "another test shape": ({"X": X, "X_test": X[:, :1]}, "examples of test have the shape [1, 8], and those of X of"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_bad_arrays_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    arrays, expected = ARRAYS[case]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError) as refused:
        load(tmp_path, "npz:a.npz", None)
    assert expected in str(refused.value)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", bytes(2**22))
    monkeypatch.setattr("stacked.runtime.free_memory.free_bytes", lambda device: 2**20)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *words: pytest.fail("it was unpacked"))
    with pytest.raises(InputError, match="its arrays take 4,194,304 bytes, more than 419,430"):
        load(tmp_path, "npz:a.npz", None)


def test_a_table_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    FRAME.to_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr("stacked.runtime.free_memory.free_bytes", lambda device: 1000)
    for kind in ("csv", "parquet"):
        with pytest.raises(InputError, match=r"GiB of memory to be read, and 0\.0 are free: give fewer rows"):
            load(tmp_path, f"{kind}:t.{kind}")
