"""Figures with many arms: none is known by its colour alone, none leaves its axis, and axes have enough ticks."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from studies.figures.curves import draw_curves
from studies.figures.notes import LETTERS, balanced
from studies.figures.panels import Record, budget_difference_panel, budget_panel, depth_panel
from studies.figures.scales import log_axis
from studies.figures.style import arm_colours, arm_markers, marked, new_figure, style
from studies.statistics.words import Words

ARMS = [f"{kind}, {depth} layers" for kind in ("random", "pretrained") for depth in range(1, 5)]


def study(budgets: tuple[str, ...] = ("all",)) -> Record:
    """Accuracies of eight arms, of three seeds each, of classifiers and of probes of two depths."""
    rows = [
        {"run": f"{arm}{seed}", "arm": arm, "seed": seed, "status": "finished", "updates": 1}
        | {f"final/classifier_acc_{budget}": 0.8 + 0.01 * seed + 0.01 * rank for budget in budgets}
        | {f"final/probe_acc_depth{depth}": 0.5 + 0.1 * depth + 0.01 * seed + 0.01 * rank for depth in (0, 1)}
        for rank, arm in enumerate(ARMS)
        for seed in range(3)
    ]
    return Record(pd.DataFrame(rows), reference_arm=ARMS[0])


@pytest.mark.parametrize("budgets", [("all",), ("100", "1000", "all")])
@pytest.mark.parametrize("panel", [budget_panel, budget_difference_panel, depth_panel])
def test_all_that_is_drawn_beside_a_position_is_within_the_axis(panel, budgets) -> None:  # type: ignore[no-untyped-def]
    with style():
        axes = new_figure(3.0).subplots()
        panel(axes, study(budgets))
    left, right = axes.get_xlim()
    places = np.concatenate([line.get_xdata() for line in axes.lines if len(line.get_xdata()) != 2])
    assert left < places.min()
    assert places.max() < right
    shown = [text for text in axes.texts if text.get_text()]
    assert len(shown) == len(ARMS) - (panel is budget_difference_panel)
    assert all(text.xy[0] == right for text in shown)  # type: ignore[attr-defined]


def test_arms_of_equal_colour_have_different_markers() -> None:
    colours, markers = arm_colours(ARMS), arm_markers(ARMS)
    assert len({colours[arm] for arm in ARMS[:4]}) == 1
    assert len(set(markers.values())) == len(ARMS) == 8
    twelve = [f"arm {k}" for k in range(12)]
    assert list(arm_markers(twelve)) == twelve
    failed = study()
    assert Record(failed.rows[failed.rows["arm"] != ARMS[1]].copy()).markers[ARMS[0]] == failed.markers[ARMS[0]]
    with style():
        axes = new_figure(3.0).subplots()
        budget_panel(axes, study())
    assert {text.get_text() for text in axes.texts} == {marked(arm, markers[arm]) for arm in ARMS}
    assert {line.get_marker() for line in axes.lines} >= set(markers.values())


def test_every_marker_has_a_character_of_the_font_of_figures() -> None:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    known = FT2Font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()  # type: ignore[arg-type]
    assert all(ord(marked("", marker)[0]) in known for marker in arm_markers(ARMS).values())


def test_the_marker_of_an_arm_is_at_the_end_of_its_curve() -> None:
    points = [
        {"arm": arm, "seed": 0, "phase": phase, "phase_step": step, "step": step, "eval/recon_mse": 1 / (1 + step)}
        for arm, phase, steps in (("joint", "joint", (0, 5, 10, 15, 20)), ("random", "untrained", (0,)))
        for step in steps
    ]
    arms = ["joint", "random"]
    with style():
        figure = draw_curves(
            pd.DataFrame(points),
            arms,
            arm_colours(arms),
            arm_markers(arms),
            {"pca_mse": 0.1, "pca_components": 3},
            Words(),
        )
    assert isinstance(figure, Figure)
    axes = figure.axes[0]
    single = {line.get_marker(): line.get_xdata()[-1] for line in axes.lines if len(line.get_xdata()) == 1}
    assert single == {"o": 20, "s": 0}
    assert [handle.get_marker() for handle in figure.legends[0].get_lines()] == ["o", "s"]
    note = " ".join(figure.get_supxlabel().split())
    assert "mark at the left edge: not trained" in note
    assert "dashed in grey: PCA, 3 components" in note


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("limits", [(0.04, 0.07), (0.0035, 0.03), (0.01, 0.5), (0.003, 1.0)])
def test_logarithmic_axes_have_ticks_enough(limits: tuple[float, float], side: Literal["x", "y"]) -> None:
    axes = new_figure(3.0).subplots()
    log_axis(axes, np.array(limits), side)
    low, high = getattr(axes, f"get_{side}lim")()
    ticks = [tick for tick in getattr(axes, f"get_{side}ticks")() if low <= tick <= high]
    assert (2 if side == "x" else 4) <= len(ticks) <= 9


@pytest.mark.parametrize("words", [1, 20, 31, 60, 200])
def test_lines_below_a_figure_are_as_few_as_can_be_and_of_about_equal_length(words: int) -> None:
    text = " ".join(f"word{k}" for k in range(words))
    lines = balanced(text).split("\n")
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= LETTERS
    assert len(lines) <= -(-len(text) // (LETTERS - 8))
    assert max(map(len, lines)) - min(map(len, lines)) <= len(lines) * 8
    assert balanced("") == ""
