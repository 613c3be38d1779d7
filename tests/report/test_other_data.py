"""Reports of studies on other data than images: words, metrics, protocol and figures fit rows, signals and regression."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stacked import RunSpec, StackSpec, data
from stacked.data import Splits
from stacked.evaluation.pictures import pictures
from stacked.model.stack import build
from stacked.spec import Classification
from studies.figures.figures import Record, caption, draw, names
from studies.papers.hinton2006 import STUDY as HINTON
from studies.pretraining.layerwise import STUDY
from studies.pretraining.policies import STUDY as POLICIES
from studies.report.protocol import facts, protocol
from studies.report.tables import main_metrics, margins, table, verdicts
from studies.report.terminal import best_supervised, outcome
from studies.statistics.words import Words
from tests.helpers.floats import KINDS, LABELS, examples


def rows_of(examples: str, **metrics: tuple[float, ...]) -> pd.DataFrame:
    """Rows of two arms with three seeds; each metric has a value for each run, arm by arm."""
    base = {"arm": ["greedy"] * 3 + ["joint"] * 3, "seed": [0, 1, 2] * 2, "run": [f"r{k}" for k in range(6)]}
    named = {} if examples == "images" else {"examples": examples}
    return pd.DataFrame(
        {**base, "status": "finished", "updates": 5, "images_seen": 80, **named}
        | {f"final/{name}": values for name, values in metrics.items()}
    )


R2 = (0.5, 0.6, 0.4, 0.3, 0.2, 0.1)
REGRESSED = rows_of(
    "rows",
    recon_mse=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    recon_mse_in_units=(10.0, 20.0, 30.0, 40.0, 50.0, 70.0),
    regressor_r2_all=R2,
    regressor_rmse_all=(5.0, 4.0, 6.0, 7.0, 8.0, 9.0),
    regressor_mse_all=(25.0, 16.0, 36.0, 49.0, 64.0, 81.0),
    regressor_valid_r2_all=R2,
    regressor_valid_labels_all=(30.0,) * 6,
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (Words(), "Test images: MSE per pixel, the pixels of an image; `greedy-pixels` and image.png"),
        (Words("rows"), "Test rows: MSE per feature, the features of a row; `greedy-pixels` and row.png"),
        (Words("signals", True), "Test signals: MSE per scaled value, the values of a signal; `greedy-pixels` and signal.png"),
        (Words("volumes"), "Test volumes: MSE per voxel, the voxels of a volume; `greedy-pixels` and volume.png"),
        (Words("images", True), "Test images: MSE per scaled pixel, the pixels of an image; `greedy-pixels` and image.png"),
    ],
)  # fmt: skip
def test_texts_for_images_get_the_words_of_other_data(words: Words, expected: str) -> None:
    text = "Test images: MSE per pixel, the pixels of an image; `greedy-pixels` and image.png"
    assert words.said(text) == expected
    assert words.measure("final/recon_mse").label == words.said("test MSE per pixel")


def test_the_words_are_those_of_the_rows_and_of_the_data() -> None:
    assert Words.of(REGRESSED) == Words("rows", True)
    assert Words.of(rows_of("images", recon_mse=R2)) == Words()
    assert Words.of_splits(data.load("digits", limit=100)) == Words()
    for kind, name in (("vectors", "rows"), ("signals", "signals"), ("maps", "images"), ("volumes", "volumes")):
        given = examples(*KINDS[kind][0])
        assert Words.of_splits(Splits.of(given, LABELS)) == Words(name, True)
        assert Words.of_splits(Splits.of(given, LABELS, scale="none")) == Words(name, False)


def test_regressors_are_in_tables_answers_and_the_terminal(tmp_path: Path) -> None:
    metrics = main_metrics(REGRESSED)
    assert metrics == ["final/recon_mse", "final/regressor_rmse_all", "final/regressor_r2_all"]
    page = table(REGRESSED, metrics)
    assert "| test MSE per scaled feature (lower is better) |" in page
    assert "RMSE of the regressor, all labels, in units of the target (lower is better)" in page
    assert "R² of the regressor, all labels (higher is better)" in page
    assert "| 0.500 ± 0.100 |" in page
    assert "rows seen" in page
    assert "image" not in page
    assert "pixel" not in page
    assert "The regressors' settings were selected on labelled validation rows: 30 for all labels." in page
    said = verdicts(REGRESSED, metrics, "joint")
    assert "greedy is higher (better) than joint, 0.500 against 0.200 (+0.300, 95 % interval" in said
    assert "% of joint" not in said.partition("R²")[2]  # 0 is not the least R²
    assert "±0.01 for R²" in margins(REGRESSED)
    assert "R²" not in margins(rows_of("images", recon_mse=R2))
    shown = outcome(REGRESSED, "joint")
    assert "RMSE" in shown
    assert "R²" in shown
    best = best_supervised(REGRESSED, tmp_path, "regressor")
    assert best.startswith("Best regressor by validation R² (greedy, seed 1, all labels): not in")
    assert best_supervised(REGRESSED, tmp_path, "classifier") == ""


def test_of_signals_the_error_in_their_units_is_shown_too() -> None:
    rows = rows_of("signals", recon_mse=R2, recon_mse_in_units=tuple(100 * value for value in R2))
    assert main_metrics(rows)[:2] == ["final/recon_mse", "final/recon_mse_in_units"]


@pytest.mark.parametrize("study", [STUDY, POLICIES, HINTON], ids=lambda study: study.name)
def test_the_protocol_of_images_with_classes_is_as_it_is_written(study) -> None:  # type: ignore[no-untyped-def]
    splits = data.load("digits", limit=200)
    base = RunSpec(stack=StackSpec.of("conv", 3))
    written = study.protocol.format(**facts(base, splits))
    assert protocol(study.protocol, base, splits) == written


def test_the_protocol_of_regression_tells_of_regressors_and_not_of_classes() -> None:
    x = examples(6)
    splits = Splits.of(x, x.sum(1))
    base = RunSpec(
        stack=StackSpec.of("dense", 3, output="linear"), classification=Classification(labels=(None,), lrs=(0.01,))
    )
    told = protocol(STUDY.protocol, base, splits)
    assert "- **Regressor**: " in told
    assert "selected by R² on as many labelled validation rows as there are training labels, at most 6" in told
    for word in ("Linear probe", "Classifier", "class", "image", "pixel", "{"):
        assert word not in told
    none = protocol(STUDY.protocol, base, Splits.of(x))
    assert "**Regressor**" not in none
    assert "**Classifier**" not in none


def test_figures_of_regression_show_r2_and_rmse() -> None:
    study = Record(REGRESSED, reference={"train_labels": 60.0})
    assert "probe_by_depth" not in names(study)
    assert "filters" not in names(study)
    assert "R² of the regressor" in caption("headline", study)
    assert "linear probe" not in caption("curves", study)
    for name in ("headline", "label_budget"):
        assert draw(name, study) is not None


def test_the_r2_panel_shows_means_and_writes_those_far_below_zero_at_its_edge() -> None:
    from studies.figures.regression import r2_panel
    from studies.figures.style import new_figure, style

    low = REGRESSED.assign(**{"final/regressor_r2_all": [0.5, 0.6, 0.4, -30.0, -20.0, -10.0]})
    with style():
        axes = new_figure(3).subplots()
        r2_panel(axes, Record(low))
        assert "-20\n↓" in [text.get_text() for text in axes.texts]
        bottom, top = axes.get_ylim()
        assert -1 < bottom < 0 < 0.6 < top < 1.2


def test_the_error_of_each_feature_is_that_of_all_test_rows_and_is_drawn() -> None:
    frame = pd.DataFrame(examples(4), columns=["a", "b", "c", "$d"]).assign(y=LABELS)
    splits = Splits.of(frame, target="y")
    stack = build(StackSpec.of("dense", 3, 2, output="linear"), (4,)).eval()
    stack.scaling = splits.scaling
    found = pictures(stack, splits)
    inputs = splits.test.inputs
    expected = ((stack(inputs) - inputs).detach().double() ** 2).mean(0).numpy()
    np.testing.assert_allclose(found["feature_mse"], expected, rtol=1e-5)
    assert found["features"].tolist() == ["a", "b", "c", "$d"]
    study = dataclasses.replace(Record(REGRESSED), samples={"greedy": found, "joint": found})  # type: ignore[dict-item]
    from studies.figures.features import draw_features
    from studies.figures.style import style

    with style():
        figure = draw_features(study.samples, study.colours)
        assert figure is not None
        (axes,) = figure.axes
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "$d"]
        dots = [line for line in axes.lines if line.get_label() == "greedy"]
        np.testing.assert_allclose(dots[0].get_xdata(), expected, rtol=1e-5)
    assert draw("reconstructions", study) is not None
    assert draw("reconstructions", Record(REGRESSED)) is None
