"""Figures explain themselves: axes name their scales, and the line below says what marks are."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.benchmark.questions import LOAD
from studies.benchmark.study import STUDY as BENCHMARK
from studies.figures import figures as general
from studies.figures.figures import Record
from studies.figures.notes import LETTERS, cut_note, footnote, means_note
from studies.figures.panels import budget_panel
from studies.figures.strips import decibels
from studies.figures.style import label_ends, new_figure, style
from studies.record.index import ROOT
from studies.report.tuning import draw_tuning
from studies.statistics.measurement_rows import LAST, load
from studies.statistics.rows import curves_of, load_reference, load_rows, load_samples

RESULTS = ROOT / "results"
#: the studies of measurements with committed rows, and one of their records
MEASURED = {
    "anomaly": "mnist",
    "capacity": "mnist",
    "compression": "mnist",
    "denoising": "mnist",
    "linear": "mnist",
    "photographs": "crops",
    "projection": "mnist",
    "tables": "italy-power",
}
TRAINED = {
    "layerwise": "pretraining.layerwise",
    "hinton2006": "papers.hinton2006",
    "policies/mnist": "pretraining.policies",
}


def unnamed(figure: Figure) -> list[str]:
    """The axes with a scale that is not linear and is named neither at them, nor at axes that share it, nor below the figure."""
    found = []
    for axes in figure.axes:
        for side in ("x", "y"):
            if getattr(axes, f"get_{side}scale")() != "linear" and "log scale" not in figure.get_supxlabel():
                group = getattr(axes, f"get_shared_{side}_axes")().get_siblings(axes)
                if not any(re.search(r"(log|square-root) scale", text) for one in group for text in texts(one, side)):
                    found.append(f"{side} of {axes.get_title(loc='left')!r}")
    return found


def texts(axes: Axes, side: str) -> Iterator[str]:
    yield getattr(axes, f"get_{side}label")()
    if side == "y":
        yield axes.get_title(loc="left")


def is_cut_off(figure: Figure) -> bool:
    """Whether the text below a figure is wider than the figure."""
    note = figure._supxlabel  # type: ignore[attr-defined]
    return note is not None and note.get_window_extent().x1 > figure.bbox.width


def unexplained(figure: Figure) -> bool:
    """Whether a figure with intervals does not say below how many seeds they are over."""
    has_intervals = any(len(axes.containers) for axes in figure.axes if "errorbar" in str(axes.containers).lower())
    return has_intervals and "seed" not in figure.get_supxlabel() + "".join(
        legend.get_title().get_text() for legend in figure.legends
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MEASURED, "benchmark"])
def test_measured_figures_name_their_scales(name: str) -> None:
    is_benchmark = name == "benchmark"
    study = BENCHMARK if is_benchmark else importlib.import_module(f"studies.applications.{name}.study").STUDY
    out = RESULTS / name / MEASURED.get(name, "")
    rows = load(out, LOAD if is_benchmark else LAST)
    with style():
        for drawing in study.drawings.values():
            figure = drawing.draw(rows, out)
            assert figure is not None
            assert unnamed(figure) == []
            assert not unexplained(figure)
            assert not is_cut_off(figure)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_figures_of_training_name_their_scales(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, out, found = importlib.import_module(f"studies.{TRAINED[name]}").STUDY, RESULTS / name, list[Figure]()
    monkeypatch.setattr(general, "png", lambda figure: found.append(figure) or b"")  # type: ignore[func-returns-value]
    record = Record(load_rows(out), curves_of(out), load_reference(out), load_samples(out), study.reference)
    for drawing in (study.drawings or {}).values():
        general.drawn(drawing.draw, record)
    for each in study.figures if study.figures is not None else general.CAPTIONS:
        general.draw(each, record)
    general.drawn(lambda _: draw_tuning(out), record)
    assert len(found) > 3
    for figure in found:
        assert unnamed(figure) == []
        assert not unexplained(figure)
        assert not is_cut_off(figure)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([1], "a single seed of MSE: no interval; dashed: PCA"),
        ([2, 2], "mean over n = 2 seeds of MSE; dashed: PCA"),
        ([3, 5], "mean over n = 3 to 5 seeds of MSE; bands: 95 % t interval of the mean; dashed: PCA"),
    ],
)
def test_the_note_of_means_names_intervals_where_there_are_any(counts: list[int], text: str) -> None:
    figure = new_figure(2.0)
    means_note(figure, counts, "bands", "", "dashed: PCA", of=" of MSE")
    assert figure.get_supxlabel() == text


def test_a_long_note_has_lines_that_fit_and_loses_no_word() -> None:
    figure, parts = new_figure(2.0), [f"part {k}: {'word ' * 8}end" for k in range(9)]
    footnote(figure, *parts)
    lines = figure.get_supxlabel().split("\n")
    assert len(lines) > 2
    assert max(map(len, lines)) <= LETTERS
    assert " ".join(lines) == "; ".join(parts)


def with_labels(values: list[float]) -> Record:
    """Accuracies of a classifier with 100 labels of one arm, one for each seed, and with 1000 labels, all 0.9 and more."""
    lines = [
        {
            "run": f"r{seed}",
            "arm": "joint",
            "seed": seed,
            "status": "finished",
            "final/classifier_acc_100": value,
            "final/classifier_acc_1000": 0.9 + 0.01 * seed,
        }
        for seed, value in enumerate(values)
    ]
    return Record(pd.DataFrame(lines))


@pytest.mark.parametrize(("values", "is_cut"), [([0.5, 0.98, 0.99], True), ([0.70, 0.71, 0.72], False)])
def test_an_interval_ends_in_its_cap_or_in_a_triangle_that_is_explained(values: list[float], is_cut: bool) -> None:
    figure = new_figure(3.0)
    with style():
        axes = figure.subplots()
        budget_panel(axes, with_labels(values))
    bottom, top = axes.get_ylim()
    ends = np.concatenate(
        [segment[:, 1] for bars in axes.collections for segment in bars.get_segments()]  # type: ignore[attr-defined]
    )
    assert (ends.max() > top or ends.min() < bottom) == is_cut
    assert bool(cut_note(figure)) == is_cut
    assert top <= 100


def test_labels_that_were_moved_have_a_line_to_their_place() -> None:
    figure = new_figure(3.0)
    axes = figure.subplots()
    axes.set_ylim(0.0, 1.0)
    label_ends(axes, 1.0, [(0.2, "alone", "#0072B2"), (0.8, "other", "#D55E00")])
    assert [text.arrow_patch for text in axes.texts] == [None, None]  # type: ignore[attr-defined]
    label_ends(axes, 1.0, [(0.5, f"arm {k}", "#0072B2") for k in range(5)])
    assert all(text.arrow_patch is not None for text in axes.texts[2:])  # type: ignore[attr-defined]


def test_decibels_are_the_mean_over_the_images_of_a_row() -> None:
    originals = np.full((2, 1, 4, 4), 100, np.uint8)
    rough = originals + np.array([10, 20], np.uint8).reshape(2, 1, 1, 1)
    expected = np.mean([20 * np.log10(255 / 10), 20 * np.log10(255 / 20)])
    assert decibels({"rough": rough, "original": originals}, originals) == {"rough": f"{expected:.1f} dB"}
