"""The figure of the study of local learning: the linear probe against what training costs and what codes keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from studies.figures.notes import cut_note, footnote
from studies.figures.panels import mark_cut, with_intervals
from studies.figures.scales import accuracy_axis, log_axis, scale_name
from studies.figures.style import FONT, GREY, new_figure, seeds_of
from studies.pretraining.local_learning.answer import FLOPS, PEAK, SPAN
from studies.pretraining.local_learning.arms import (
    BOTH,
    COPY,
    DELAYED,
    GLOBAL,
    GREEDY,
    IMAGE,
    INFONCE,
    LABELS,
    LOCKING,
    PAIRS,
    PLACES,
    PROGRESSIVE,
    RANDOM,
    RECONSTRUCTION,
    SIMILARITY,
    SIMULTANEOUS,
    TWINS,
    Place,
)
from studies.pretraining.local_learning.claims import KEPT, PROBE
from studies.statistics.pairing import LEAST_SEEDS, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from studies.figures.panels import Record

FIGURE, CODES = "local_learning", "codes_mb"
CAPTION = (
    "Accuracy of a linear probe of the deepest code (higher is better) against, from the upper left: the peak memory of an "
    "update and of cached codes of frozen stages; the training FLOPs; those that are computed one after another if each block "
    "that learns alone has a worker of its own; and the error of a fresh linear decoder of the deepest code, which is how "
    "much of the image the code has lost. To the left is better everywhere. Colours are what is learned, shapes how; locking "
    "and progressive arms learn to reconstruct. Bars are the 95 % t interval of the mean over seeds (none for fewer than "
    "three); costs do not depend on the seed."
)

#: the colour of each rule; distinguishable under the common colour-blindnesses (Okabe and Ito 2008, Tol 2021)
COLOURS = {
    RECONSTRUCTION: "#0072B2",
    LABELS: "#D55E00",
    IMAGE: "#CC79A7",
    SIMILARITY: "#E69F00",
    BOTH: "#999933",
    TWINS: "#009E73",
    INFONCE: "#56B4E9",
}
#: the marker of each way of training, and what the legend calls it
MARKERS = {
    GLOBAL: ("D", "end to end"),
    GREEDY: ("s", "one stage after another"),
    SIMULTANEOUS: ("o", "stages at once"),
    PAIRS: ("^", "pairs of stages at once"),
    DELAYED: ("p", "stages at once, delayed"),
    LOCKING: ("X", "end to end, locking"),
    PROGRESSIVE: ("<", "progressive"),
    COPY: (">", "progressive, by copies"),
    RANDOM: ("*", "not trained"),
}
#: the way and the rule of every arm that is shown
SHOWN = {
    **PLACES,
    **{arm: Place(arm, RECONSTRUCTION) for arm in (LOCKING, PROGRESSIVE, COPY)},
    DELAYED: Place(DELAYED, LABELS),
    RANDOM: Place(RANDOM, ""),
}
#: the column of each panel, the label of its axis, and its title
PANELS = (
    (PEAK, "peak memory of an update + cached codes, MB", "Memory"),
    (FLOPS, "training GFLOP", "FLOPs"),
    (SPAN, "GFLOP one after another, a worker for each block", "Ideal time"),
    (KEPT, "test MSE of a fresh decoder", "Information lost"),
)


class Point(NamedTuple):
    """An arm in a panel: its value on the horizontal axis, and its accuracy in percent over seeds."""

    arm: str
    x: float
    percent: pd.Series


def draw_local_learning(study: Record) -> Figure | None:
    """Return the figure; None without a linear probe of any arm. Arms that are not of this study are not shown."""
    known = [arm for arm in study.arms_with([PROBE]) if arm in SHOWN]
    if not known:
        return None
    figure = new_figure(6.9)
    for axes, (column, label, title) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        panel(axes, points(study, known, column), label)
        axes.set_title(title)
    explain(figure, known)
    counts = [len(study.values(arm, PROBE)) for arm in known]
    mean = f"mean over {seeds_of(counts)}" if max(counts) > 1 else "a single seed: no interval"
    footnote(figure, mean, "bars: 95 % t interval" if max(counts) >= LEAST_SEEDS else "", cut_note(figure))
    return figure


def points(study: Record, arms: list[str], column: str) -> list[Point]:
    """Return the points of a panel; arms without a positive value in its column, as of costs of untrained ones, have none."""
    found = []
    for arm in arms:
        x = study.values(arm, column).mean()
        codes = study.values(arm, CODES).mean() if column == PEAK else 0.0
        if x > 0:
            x = float(x + (codes if codes > 0 else 0.0))
            found.append(Point(arm, x, 100 * study.values(arm, PROBE)))
    return found


def panel(axes: Axes, shown: list[Point], label: str) -> None:
    """Draw the points of a panel, on a logarithmic axis of the cost."""
    for arm, x, percent in shown:
        mean, low, high = mean_interval(percent)
        error = [[mean - low], [high - mean]] if np.isfinite(low) else None
        axes.errorbar([x], [mean], yerr=error, **look(arm), markersize=6, elinewidth=1.1, zorder=3)
    if shown:
        accuracy_axis(axes, with_intervals([point.percent for point in shown]))
    log_axis(axes, np.array([point.x for point in shown]), "x")
    mark_cut(axes, [(point.x, point.percent, look(point.arm)["color"]) for point in shown])
    axes.set_xlabel(label + scale_name(axes, "x"))
    axes.set_ylabel("probe accuracy, %" + scale_name(axes))


def look(arm: str) -> dict[str, Any]:
    """Return the properties of an arm's marker."""
    place = SHOWN[arm]
    colour = COLOURS.get(place.rule, GREY)
    return {
        "color": colour,
        "marker": MARKERS[place.way][0],
        "linestyle": "",
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def explain(figure: Figure, arms: list[str]) -> None:
    """Draw the legend: a line for each rule and each way of training among these arms."""
    from matplotlib.lines import Line2D

    places = [SHOWN[arm] for arm in arms]
    handles = [
        Line2D([], [], color=colour, linewidth=4, label=rule)
        for rule, colour in COLOURS.items()
        if any(place.rule == rule for place in places)
    ]
    handles += [
        Line2D([], [], color=GREY, marker=form, linestyle="", label=label)
        for way, (form, label) in MARKERS.items()
        if any(place.way == way for place in places)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=FONT)
