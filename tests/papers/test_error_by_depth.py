"""The figure of a table of depths: our means where their layers are, and the paper's numbers on its own data alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from studies.figures.notes import CUT
from studies.figures.panels import Record
from studies.figures.style import png, style
from studies.papers.larochelle2009 import DEPTHS, STUDY, TABLE, arm
from studies.papers.shared.error_by_depth import FIRST, STEP

DRAW = STUDY.drawings["error_by_depth"].draw
#: test errors in % by kind, depth and seed
ERRORS = {
    (kind, depth): [start + depth + 0.1 * seed for seed in range(3)]
    for kind, start in (("random", 16.0), ("pretrained", 10.0))
    for depth in DEPTHS
}


def made(data: str = "mnist-rot", limit: int | None = None, errors: Any = None, seeds: int = 3) -> Record:
    rows = [
        {
            "run": f"{kind}{depth}{seed}",
            "arm": arm(kind, depth),
            "seed": seed,
            "status": "finished",
            "final/classifier_acc_all": 1 - error / 100,
            "spec": json.dumps({"data": {"name": data, "limit": limit}}),
        }
        for (kind, depth), values in (errors or ERRORS).items()
        for seed, error in enumerate(values[:seeds])
    ]
    return Record(pd.DataFrame(rows))


def figure_of(study: Record) -> tuple[Any, Axes]:
    with style():
        figure = DRAW(study)
    assert figure is not None
    return figure, figure.axes[0]


def lines(axes: Axes, filled: bool) -> list[Any]:
    """The lines through four depths: of our means (without markers), or of the paper (with open markers)."""
    found = [line for line in axes.lines if len(line.get_xdata()) == len(DEPTHS)]  # type: ignore[arg-type]
    found = [line for line in found if line.get_linestyle() != "None"]  # not the caps of bars
    return [line for line in found if (line.get_marker() == "None") == filled]


@pytest.mark.parametrize("data", TABLE)
def test_our_means_and_the_numbers_of_the_paper_stand_at_their_layers(data: str) -> None:
    figure, axes = figure_of(made(data))
    for rank, (kind, line) in enumerate(zip(("random", "pretrained"), lines(axes, True), strict=True)):
        np.testing.assert_allclose(line.get_xdata(), np.add(DEPTHS, FIRST + 2 * STEP * rank))
        np.testing.assert_allclose(line.get_ydata(), [np.mean(ERRORS[kind, depth]) for depth in DEPTHS])
    for rank, (line, column) in enumerate(zip(lines(axes, False), TABLE[data], strict=True)):
        places = np.asarray(line.get_xdata(), dtype=np.float64)
        np.testing.assert_allclose(places, np.add(DEPTHS, FIRST + 2 * STEP * rank + STEP))
        assert list(line.get_ydata()) == [float(error) for error, _ in column]
        assert line.get_markerfacecolor() == "white"
    margins = [container for container in axes.containers if getattr(container, "has_yerr", False)]
    assert len(margins) == 8 + 2
    assert {text.get_text() for text in axes.texts} == {
        *("● random, here", "○ random, paper", "■ pretrained, here", "□ pretrained, paper")
    }
    assert "open marks, dotted: the paper, with its ±" in " ".join(figure.get_supxlabel().split())
    assert axes.get_yscale() == "log"
    assert png(figure)


@pytest.mark.parametrize(("data", "limit"), [("digits", None), ("mnist-rot", 2000)])
def test_the_paper_is_left_out_on_other_data_and_on_a_part_of_them(data: str, limit: int | None) -> None:
    figure, axes = figure_of(made(data, limit))
    assert len(lines(axes, True)) == 2
    assert lines(axes, False) == []
    assert "paper" not in figure.get_supxlabel()


def test_an_interval_that_leaves_0_to_100_ends_in_triangles() -> None:
    """Two of three deep networks guess: the interval of their mean goes from below 0 to above 100 %."""
    figure, axes = figure_of(made(errors=ERRORS | {("random", 4): [30.0, 88.65, 88.65]}))
    bottom, top = axes.get_ylim()
    assert 0 < bottom < 9.2
    assert top <= 100
    assert sorted(line.get_ydata()[0] for line in axes.lines if line.get_gid() == CUT) == [bottom, top]
    assert CUT in " ".join(figure.get_supxlabel().split())
    assert all(bottom < error < top for values in ERRORS.values() for error in values)


def test_an_arm_that_failed_leaves_its_place_empty_and_no_arm_no_figure() -> None:
    study = made(errors={place: values for place, values in ERRORS.items() if place != ("random", 4)}, seeds=1)
    _, axes = figure_of(study)
    first = next(line for line in axes.lines if line.get_color() == "#D55E00")
    assert len(first.get_xdata()) == 3  # type: ignore[arg-type]
    assert DRAW(Record(study.rows.assign(status="failed: it"))) is None
    assert DRAW(Record(study.rows.drop(columns="final/classifier_acc_all"))) is None
