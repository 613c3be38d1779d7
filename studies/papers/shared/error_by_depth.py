"""The figure of a table of depths: test error against the number of layers, here and in the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from studies.design.claims import Claim
from studies.figures.figures import explain
from studies.figures.panels import mark_cut, mean_and_interval, seed_dots
from studies.figures.scales import log_axis, scale_name
from studies.figures.style import label_ends, marked, new_figure
from studies.report.verdicts import on_other_data
from studies.statistics.measures import measure
from studies.statistics.pairing import by_seed, mean_interval
from studies.statistics.rows import arms_of, with_error_rates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from studies.figures.panels import Record

CAPTION = (
    "Test error of the fine-tuned classifier by number of layers (lower is better), on a log scale. Filled marks, solid lines: "
    "means here; small dots are single seeds, bars the 95 % t interval of the mean over seeds (none for fewer than three). Open "
    "marks and dotted lines: numbers of the paper, with bars for its ±. Marks beside each other have the same number of layers."
)
#: distances of marks from their number of layers: of the first series here, and between marks
FIRST, STEP = -0.13, 0.09
DOTTED = (0, (1, 1.6))


class Series(NamedTuple):
    """Arms that differ in their number of layers: their name, colour and marker, and each arm by its number of layers."""

    name: str
    colour: str
    marker: str
    arms: Mapping[int, str]


def draw_error_by_depth(
    study: Record, *, metric: str, series: Sequence[Series], claims: Sequence[Claim]
) -> Figure | None:
    """Return the figure; None without values of any arm of the series.

    metric: an error rate, as in claims. claims: those with a number are the marks of the paper, if the rows are of its dataset.
    """
    rows, scale = with_error_rates(study.rows), measure(metric).scale
    known = set(arms_of(rows)) if metric in rows else set()
    values = {arm: scale * by_seed(rows, arm, metric) for each in series for arm in each.arms.values() if arm in known}
    if not any(map(len, values.values())):
        return None
    paper = numbers_of(rows, metric, claims)
    figure = new_figure(3.9)
    axes = figure.subplots()
    labels, drawn, every = [], [], [np.empty(0)]
    for rank, each in enumerate(series):
        here = {depth: values[arm] for depth, arm in each.arms.items() if len(values.get(arm, ()))}
        there = {depth: paper[arm] for depth, arm in each.arms.items() if arm in paper}
        shift = FIRST + 2 * STEP * rank
        drawn += draw_here(axes, each, {depth + shift: found for depth, found in here.items()})
        draw_paper(axes, each, {depth + shift + STEP: found for depth, found in there.items()})
        if here:
            labels.append((float(here[max(here)].mean()), marked(f"{each.name}, here", each.marker), each.colour))
        if there:
            text = marked(f"{each.name}, paper", each.marker, is_open=True)
            labels.append((there[max(there)][0], text, each.colour))
        every += [found.to_numpy() for found in here.values()] + [np.array([n - m, n + m]) for n, m in there.values()]
    limits(axes, np.concatenate(every), [found for _, found, _ in drawn])
    mark_cut(axes, drawn)
    axes.set_ylabel("test error, %" + scale_name(axes))
    axes.set_xlabel("layers")
    axes.set_title("Classifier, lower is better")
    axes.grid(visible=False, axis="x")
    depths = sorted({depth for each in series for depth, arm in each.arms.items() if arm in values})
    axes.set_xticks(depths)
    axes.set_xlim(min(depths) - 0.4, max(depths) + 0.4)
    label_ends(axes, axes.get_xlim()[1], labels)
    dots = "small dots at the left of a mean: single seeds"
    explain(figure, study, dots, "open marks, dotted: the paper, with its ±" if paper else "")
    return figure


def numbers_of(rows: pd.DataFrame, metric: str, claims: Sequence[Claim]) -> dict[str, tuple[float, float]]:
    """Return the paper's number and its ± (0: none) by arm, of claims on the dataset of the rows, if they hold their specs."""
    mine = [claim for claim in claims if claim.paper and claim.metric == metric and "spec" in rows]
    return {
        claim.arm: (float(claim.paper), float(claim.plus_minus or 0.0))
        for claim in mine
        if not on_other_data(rows, claim.data)
    }


def draw_here(axes: Axes, series: Series, values: Mapping[float, pd.Series]) -> list[tuple[float, pd.Series, str]]:
    """Draw the means of values over seeds by place, and return place, values and colour of each."""
    means = [values[x].mean() for x in values]
    axes.plot(list(values), means, color=series.colour, linewidth=1.4)
    for x, found in values.items():
        seed_dots(axes, x - 0.035, 0.0, found, series.colour)
        mean_and_interval(axes, x, found, series.colour, marker=series.marker)
    return [(x, found, series.colour) for x, found in values.items()]


def draw_paper(axes: Axes, series: Series, numbers: Mapping[float, tuple[float, float]]) -> None:
    """Draw the numbers of the paper with their ± by place."""
    if not numbers:
        return
    levels, margins = np.array(list(numbers.values())).T
    look: dict[str, Any] = {"color": series.colour, "marker": series.marker, "markerfacecolor": "white"}
    axes.errorbar(
        list(numbers),
        levels,
        yerr=margins,
        linestyle=DOTTED,
        linewidth=1.0,
        markersize=5.5,
        capsize=2.5,
        zorder=2,
        **look,
    )


def limits(axes: Axes, percent: npt.NDArray[np.float64], means: Sequence[pd.Series]) -> None:
    """Set a logarithmic axis of errors in percent, up to 100, that shows all values, and ends of intervals not far below them."""
    ends = np.array([mean_interval(found)[1:] for found in means]).ravel()
    ends = ends[np.isfinite(ends)]
    log_axis(axes, np.append(percent, np.clip(ends, percent.min() / 1.05, 100.0)))
    axes.set_ylim(top=min(axes.get_ylim()[1], 100.0))
