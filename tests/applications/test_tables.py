"""The study of tables: what its arms read, how they are scored, and what it says; other studies refuse tables."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from stacked import data
from stacked.data import Splits
from stacked.data.labels import label_subset
from stacked.spec import RunSpec
from stacked.stages import kinds
from studies.applications.capacity.study import STUDY as CAPACITY
from studies.applications.tables import study as tables
from studies.applications.tables.figures import answer, draw_accuracy
from studies.design.measurements import Context
from studies.framework.main import main
from studies.statistics.measurement_rows import load

ROOT = Path(__file__).resolve().parents[2]
N = 120
RANDOM = np.random.default_rng(0)
CLASSES = np.arange(N) % 2
SIGNALS = Splits.of(RANDOM.normal(size=(N, 1, 8)) + CLASSES[:, None, None], CLASSES)


def context(splits: Splits) -> Context:
    return Context(splits, argparse.Namespace(updates=2, labels=[10], device="cpu"), Path())


def test_images_are_read_as_rows_of_a_table_and_other_data_as_they_are() -> None:
    digits = data.load("digits")
    rows = tables.rows_of(digits)
    assert rows.input_shape == (64,)
    torch.testing.assert_close(rows.test.inputs, digits.test.inputs.flatten(1) / 255)
    assert tables.rows_of(SIGNALS) is SIGNALS
    spec = tables.spec_of("joint", rows, 0, 5, [10])
    assert {stage.kind for stage in spec.stack.stages} == {"dense"}
    assert spec.stack.output == "sigmoid"
    spec = tables.spec_of("joint", SIGNALS, 0, 5, [10])
    assert kinds()[spec.stack.stages[0].kind].maps
    assert spec.stack.output == "linear"


def test_policies_have_equal_flops() -> None:
    from studies.framework.compute_budget import cost_function

    rows, costs = data.load("breast-cancer"), {}
    for policy in ("greedy", "greedy+finetune", "joint"):
        spec = tables.spec_of(policy, rows, 0, 50, [20])
        cost = cost_function(spec, rows, len(rows.train), "flops", "cpu")
        costs[policy] = cost(spec.phases(spec.updates_per_epoch(len(rows.train))))
    assert costs["greedy"] == pytest.approx(costs["greedy+finetune"], rel=0.02)
    assert costs["joint"] == pytest.approx(costs["greedy+finetune"], rel=0.02)


def test_logistic_regression_is_scikit_learns_on_the_labelled_rows() -> None:
    splits = data.load("breast-cancer")
    rows = label_subset(splits.train.labels, 20, 3)
    x, labels = splits.train.inputs[rows].double().numpy(), splits.train.labels[rows].numpy()
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(x), labels)
    score = model.score(scaler.transform(splits.test.inputs.double().numpy()), splits.test.labels.numpy())
    given = Context(splits, argparse.Namespace(labels=[20]), Path())
    assert next(iter(tables.logistic(given, 3))).value == pytest.approx(100 * score)


@pytest.mark.parametrize("method", tables.STUDY.methods)
def test_every_method_measures_every_number_of_labels(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With classifiers of a few updates."""
    real = tables.spec_of

    def short(*given: Any) -> RunSpec:
        spec = real(*given)
        return replace(spec, classification=replace(spec.classification, updates=10))

    monkeypatch.setattr(tables, "spec_of", short)
    found = list(tables.STUDY.methods[method](context(SIGNALS), 0))
    scores = [one for one in found if one.measure == "accuracy"]
    arms = {one.arm for one in scores}
    assert arms <= set(tables.STUDY.arms)
    for arm in arms:
        assert [one.condition for one in scores if one.arm == arm] == ["10", "all"]
    assert all(0 <= one.value <= 100 for one in scores)


def test_the_answer_names_the_best_with_and_without_an_autoencoder(tmp_path: Path) -> None:
    values = {
        "gradient boosting": (70, 90),
        "logistic regression": (75, 80),
        "joint, probe": (72, 95),
        "joint, classifier": (60, 94),
    }
    rows = pd.DataFrame(
        [
            {"arm": arm, "seed": 0, "condition": labels, "measure": "accuracy", "value": value}
            for arm, pair in values.items()
            for labels, value in zip(("20", "all"), pair, strict=True)
        ]
    )
    assert (
        "with 20 labels 72.0 % (joint, probe) and 75.0 % (logistic regression); with all labels 95.0 % (joint, probe) and "
        "90.0 % (gradient boosting)" in answer(rows)
    )
    assert "One comparison" not in answer(rows)  # one of its arms is missing
    figure = draw_accuracy(rows, tmp_path)
    assert figure is not None
    for axes, arms in zip(figure.axes, (3, 3), strict=True):
        assert (
            sum(len(line.get_xdata()) == 2 for line in axes.lines) == arms
        )  # a line through the means of both budgets
        assert not axes.collections  # a single seed has no interval


RECORDS = ("breast-cancer", "digits", "italy-power")


def differences(rows: pd.DataFrame, labels: str) -> tuple[float, float, float]:
    """Mean and 95 % t interval of the paired differences of the comparison that was named before, in points."""
    mine = rows[(rows["measure"] == "accuracy") & (rows["condition"] == labels)]
    values = mine.pivot_table(index="seed", columns="arm", values="value")
    found = (values["greedy+finetune, classifier"] - values["logistic regression"]).to_numpy()
    low, high = stats.t.interval(0.95, len(found) - 1, found.mean(), stats.sem(found))
    return float(found.mean()), float(low), float(high)


@pytest.mark.parametrize("name", RECORDS)
def test_the_comparison_named_before_is_the_paired_t_interval_of_the_rows(name: str) -> None:
    rows, said = (
        load(ROOT / "results" / "tables" / name),
        (ROOT / "results" / "tables" / name / "README.md").read_text(),
    )
    assert answer(rows) in said
    assert answer(rows) in (ROOT / "results" / "README.md").read_text()
    for labels in ("20", "50", "all"):
        mean, low, high = (f"{value:+.1f}".replace("-", "−") for value in differences(rows, labels))
        assert f"{mean} ({low} to {high}) with {labels} labels" in answer(rows)


def test_the_classifier_is_not_shown_to_be_better_than_logistic_regression_anywhere() -> None:
    lows = [
        differences(load(ROOT / "results" / "tables" / name), labels)[1]
        for name in RECORDS
        for labels in ("20", "50", "all")
    ]
    assert len(lows) == 9
    assert max(lows) <= 0
    index = " ".join((ROOT / "results" / "README.md").read_text().split())
    assert "It is not shown to be better anywhere." in index


def test_the_figure_has_the_interval_of_every_mean(tmp_path: Path) -> None:
    rows = load(ROOT / "results" / "tables" / "digits")
    figure = draw_accuracy(rows, tmp_path)
    assert figure is not None
    for axes in figure.axes:
        drawn = [tuple(segment[:, 1]) for bars in axes.collections for segment in bars.get_segments()]  # type: ignore[attr-defined]
        assert len(drawn) == 7 * 3  # arms, numbers of labels; bars of no length for equal seeds
        values = rows.query("measure == 'accuracy' and arm == 'logistic regression' and condition == '50'")["value"]
        expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert any(np.allclose(each, expected) for each in drawn)


@pytest.mark.slow
def test_the_study_runs_on_a_users_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": RANDOM.normal(size=N) + CLASSES, "c": RANDOM.choice(["a", "b"], N), "y": CLASSES})
    frame.mask(frame == frame.x.max()).to_csv(tmp_path / "t.csv", index=False)
    words = ["--data", f"csv:{tmp_path / 't.csv'}", "--target", "y", "--missing", "median", "--labels", "10"]
    words += ["--seeds", "1", "--updates", "2", "--methods", "boosting", "joint"]
    words += ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(tables.STUDY, words) == 0
    rows = load(tmp_path / "out")
    assert set(rows["arm"]) == {"gradient boosting", "joint, probe", "joint, classifier"}
    assert "compared with what one would use there" in (tmp_path / "out" / "README.md").read_text()


def test_studies_of_images_refuse_tables_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "breast-cancer", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(CAPACITY, words) == 2
    said = capsys.readouterr().err
    assert "reads images of bytes, and breast-cancer holds floats of shape [30]: give images, or use" in said
    assert "studies.tables" in said
    assert not (tmp_path / "out").exists()


def test_data_without_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", X=RANDOM.normal(size=(N, 3)))
    words = ["--data", f"npz:{tmp_path / 'a.npz'}", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(tables.STUDY, words) == 2
    assert "has no classes, which this study compares by" in capsys.readouterr().err
