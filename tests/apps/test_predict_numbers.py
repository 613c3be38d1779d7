"""The command that predicts numbers for the rows of tables and arrays, by a regressor that was trained on such."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stacked import Budget, Classification, DataSpec, Optimisation, RunSpec, StackSpec, load_regressor
from stacked.apps.predict import main
from stacked.data import Splits
from stacked.runs.run import load, run
from stacked.spec import Evaluation

N = 60
RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame({"area": RANDOM.normal(80, 9, N), "town": RANDOM.choice(["=a", "b"], N)})
SPEC = RunSpec(
    "joint",
    data=DataSpec("csv:t.csv", target="=price"),
    stack=StackSpec.of("dense", 6, 3, output="linear"),
    budget=Budget(2, 2, "updates"),
    optimisation=Optimisation(batch_size=16),
    evaluation=Evaluation(every=1, images=10, probes=()),
    classification=Classification(labels=(None,), updates=2, checks=1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run on a table, with its regressor."""
    work = tmp_path_factory.mktemp("run")
    FRAME.assign(**{"=price": 1e6 + 1e5 * FRAME.area}).to_csv(work / "t.csv", index=False)
    run(SPEC, load(SPEC, work), work=work)
    return work


def predicted(model: Path, data: str, out: Path, *more: str) -> list[list[str]]:
    assert main([str(model), data, str(out), *more]) == 0
    with out.open(newline="") as file:
        return list(csv.reader(file))


def test_rows_have_names_and_predictions_in_units_of_the_target(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = FRAME[:8].assign(id=[f"-p{k}" for k in range(8)])[::-1]
    new[["id", "town", "area"]].to_csv(tmp_path / "new.csv", index=False)
    path = folder / "regressor-all.safetensors"
    header, *rows = predicted(path, f"csv:{tmp_path / 'new.csv'}", tmp_path / "out.csv", "--names", "id")
    assert header == ["id", "predicted =price"]
    assert [row[0] for row in rows] == [f"'-p{k}" for k in range(7, -1, -1)]  # no formula
    expected = load_regressor(path).predict(new.drop(columns="id"))
    assert [[float(cell) for cell in row[1:]] for row in rows] == expected.tolist()  # to the last bit
    assert all(1e6 < value < 3e7 for value in expected.flatten().tolist())
    assert capsys.readouterr().out == f"{tmp_path / 'out.csv'}: predictions for 8 rows\n"


def test_several_targets_of_signals_and_of_images_have_numbers_as_names(tmp_path: Path) -> None:
    spec = replace(SPEC, data=DataSpec(), stack=StackSpec.of("conv", 3, 2, output="linear"))
    for shape in ((2, 16), (1, 8, 8)):
        values = RANDOM.normal(size=(N, *shape))
        given = Splits.of(values, np.stack([values.reshape(N, -1).sum(1), values.reshape(N, -1)[:, 0]], 1))
        work = tmp_path / f"{len(shape)}"
        run(spec, given, work=work)
        np.savez(tmp_path / "new.npz", X=values[:3])
        path = work / "regressor-all.safetensors"
        header, *rows = predicted(path, f"npz:{tmp_path / 'new.npz'}", tmp_path / f"{len(shape)}.csv")
        assert header == ["row", "prediction 1", "prediction 2"]
        expected = load_regressor(path).predict(values[:3]).tolist()
        assert [[float(cell) for cell in row[1:]] for row in rows] == expected


def test_a_single_target_without_a_name(tmp_path: Path) -> None:
    data = Splits.of(RANDOM.normal(size=(N, 3)), RANDOM.normal(size=N))
    run(replace(SPEC, data=DataSpec()), data, work=tmp_path)
    np.savez(tmp_path / "new.npz", X=np.zeros((2, 3)))
    path = tmp_path / "regressor-all.safetensors"
    assert predicted(path, f"npz:{tmp_path / 'new.npz'}", tmp_path / "out.csv")[0] == ["row", "prediction"]


REFUSED = {
    "a column less": ("regressor-all", "town\nb\n", "has no column 'area', which was trained on: add it"),
    "text": ("regressor-all", "area,town\nlarge,b\n1,b\n1,b\n", "column 'area' of"),
    "a missing value": ("regressor-all", "area,town\n,b\n1,b\n", "has missing values, 1 in column 'area'"),
    "no rows": ("regressor-all", "area,town\n", "has a header and no rows"),
    "an encoder": (
        "encoder",
        "area,town\n1,b\n",
        "encoder.safetensors holds a 'stacked encoder 1', which predicts nothing: give the classifier-*.safetensors or ",
    ),
    "a stack": (
        "stack",
        "area,town\n1,b\n",
        "stack.safetensors holds a 'stacked autoencoder 1', which predicts nothing",
    ),
    "no file": (
        "regressor-7",
        "area,town\n1,b\n",
        "regressor-7.safetensors is no file: give the classifier-*.safetensors or regressor-*",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_predicted_is_said_in_a_line(
    case: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text, expected = REFUSED[case]
    (tmp_path / "t.csv").write_text(text)
    assert main([str(folder / f"{name}.safetensors"), f"csv:{tmp_path / 't.csv'}", str(tmp_path / "out.csv")]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_folders_are_refused_for_a_model_of_floats(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    words = [str(folder / "regressor-all.safetensors"), f"folder:{tmp_path / 'new'}", str(tmp_path / "out.csv")]
    assert main(words) == 2
    assert "reads floats of 3, as which folders are not read: call its predict in Python" in capsys.readouterr().err
