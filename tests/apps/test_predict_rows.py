"""The command that classifies the rows of tables and arrays, by a classifier that was trained on such."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from stacked import Budget, Classification, DataSpec, Optimisation, RunSpec, StackSpec, load_classifier
from stacked.apps.predict import main
from stacked.runs.run import load, run
from stacked.spec import Evaluation

N = 60
RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RANDOM.normal(40, 9, N),
        "code": RANDOM.choice(["01", "1", "x", "y"], N),
        "kind": np.where(np.arange(N) % 2, "=yes", "no"),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run on a table with missing values, with its classifier."""
    work = tmp_path_factory.mktemp("run")
    FRAME.assign(age=FRAME.age.mask(FRAME.index % 9 == 0)).to_csv(work / "t.csv", index=False)
    spec = RunSpec(
        "joint",
        data=DataSpec("csv:t.csv", target="kind", missing="median"),
        stack=StackSpec.of("dense", 6, 3, output="linear"),
        budget=Budget(2, 2, "updates"),
        optimisation=Optimisation(batch_size=16),
        evaluation=Evaluation(every=1, images=10, probes=()),
        classification=Classification(labels=(None,), updates=2, checks=1),
    )
    run(spec, load(spec, work), work=work)
    return work


def predicted(folder: Path, data: str, out: Path, *more: str) -> tuple[int, list[list[str]]]:
    code = main([str(folder / "classifier-all.safetensors"), data, str(out), *more])
    if code:
        return code, []
    with out.open(newline="") as file:
        return code, list(csv.reader(file))


def test_a_row_without_a_name_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = FRAME.drop(columns="kind")[:4].assign(id=["a", None, "c", "d"])
    new.to_csv(tmp_path / "new.csv", index=False)
    assert predicted(folder, f"csv:{tmp_path / 'new.csv'}", tmp_path / "out.csv", "--names", "id")[0] == 2
    assert "names 'id' has no value in row 2 of " in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_rows_have_names_classes_and_probabilities(folder: Path, tmp_path: Path) -> None:
    new = FRAME.drop(columns="kind")[:8].assign(age=[np.nan, *FRAME.age[1:8]], id=[f"p{k}" for k in range(8)])[::-1]
    new[["id", "code", "age"]].to_csv(tmp_path / "new.csv", index=False)
    code, (header, *rows) = predicted(folder, f"csv:{tmp_path / 'new.csv'}", tmp_path / "out.csv", "--names", "id")
    assert code == 0
    assert header == ["id", "class", "probability of =yes", "probability of no"]
    assert [row[0] for row in rows] == [f"p{k}" for k in range(7, -1, -1)]
    classifier = load_classifier(folder / "classifier-all.safetensors")
    expected = classifier.predict_proba(new.drop(columns="id"))
    torch.testing.assert_close(
        torch.tensor([[float(cell) for cell in row[2:]] for row in rows]), expected, rtol=1e-5, atol=1e-6
    )
    assert [row[1].removeprefix("'") for row in rows] == [classifier.classes[k] for k in expected.argmax(1)]


def test_categories_that_look_like_numbers_are_read_as_they_were_trained_on(folder: Path, tmp_path: Path) -> None:
    new = FRAME[FRAME.code.isin(["01", "1"])].drop(columns="kind")
    new.to_csv(tmp_path / "new.csv", index=False)
    new.reset_index(drop=True).to_parquet(tmp_path / "new.parquet")
    found = [
        predicted(folder, f"{kind}:{tmp_path}/new.{kind}", tmp_path / f"{kind}.txt")[1] for kind in ("csv", "parquet")
    ]
    assert found[0] == found[1]
    assert [row[0] for row in found[0]] == ["row", *map(str, range(1, len(new) + 1))]


def test_rows_of_arrays_and_an_index_are_named(folder: Path, tmp_path: Path) -> None:
    numbers = np.array([[40.0, 1, 0, 0, 0], [20.0, 0, 0, 1, 0]])
    np.savez(tmp_path / "new.npz", X=numbers)
    named = pd.DataFrame({"age": [40.0, 20.0], "code": ["01", "x"]}, index=pd.Index(["Ann", "Bob"], name="who"))
    named.to_parquet(tmp_path / "new.parquet")
    arrays = predicted(folder, f"npz:{tmp_path / 'new.npz'}", tmp_path / "a.csv")[1]
    table = predicted(folder, f"parquet:{tmp_path / 'new.parquet'}", tmp_path / "b.csv")[1]
    assert [row[1:] for row in arrays] == [row[1:] for row in table]
    assert [row[0] for row in arrays] == ["row", "1", "2"]
    assert [row[0] for row in table] == ["who", "Ann", "Bob"]


REFUSED = {
    "a column less": ("csv", "code\nx\n", (), "has no column 'age', which was trained on: add it"),
    "text": ("csv", "age,code\nold,x\n1,y\n1,y\n", (), "column 'age' of"),
    "names": ("csv", "age,code\n1,x\n", ("--names", "cod"), "names 'cod' is not a column of"),
    "white level": (
        "csv",
        "age,code\n1,x\n",
        ("--white-level", "9"),
        "--white-level is for folders of images, and csv:",
    ),
    "names of arrays": ("npz", "", ("--names", "age"), "--names is for tables, and npz:"),
    "no file": ("parquet", "", (), "t.parquet is empty: give a table"),
    "no arrays": ("npz", "x", (), "cannot be read as arrays"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_classified_is_said_in_a_line(
    case: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, text, words, expected = REFUSED[case]
    (tmp_path / f"t.{kind}").write_text(text)
    assert predicted(folder, f"{kind}:{tmp_path}/t.{kind}", tmp_path / "out.csv", *words)[0] == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_a_table_cannot_be_overwritten_and_arrays_have_no_columns(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    assert predicted(folder, f"csv:{tmp_path / 't.csv'}", tmp_path / "t.csv", "--force")[0] == 2
    assert "is an input and cannot be overwritten" in capsys.readouterr().err
    from stacked.data.scaling import Scaling
    from stacked.model.classifier import Classifier, save_classifier
    from stacked.model.stack import build

    stack, spec = build(StackSpec.of("dense", 2), (6,)), StackSpec.of("dense", 2)
    stack.scaling = Scaling()
    save_classifier(tmp_path / "classifier-all.safetensors", Classifier(stack, ("a", "b")), spec)
    assert predicted(tmp_path, f"csv:{tmp_path / 't.csv'}", tmp_path / "out.csv")[0] == 2
    assert (
        "was not trained on a table with names of columns: give examples of [6] as npz:PATH" in capsys.readouterr().err
    )
