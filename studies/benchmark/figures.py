"""The figures of the benchmark: measurements relative to targets, scaling of cost, and error against cost."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from studies.benchmark.findings import claim_values, curve, exponent, values, ways, with_rows
from studies.benchmark.questions import Question
from studies.figures.notes import footnote
from studies.figures.scales import scale_name
from studies.figures.style import GREY, arm_markers, label_ends, look_of, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "loop": "#D55E00",
    "loop, randperm": "#E69F00",
    "ClustPy": "#CC79A7",
    "JAX": "#56B4E9",
    "stacked": "#0072B2",
    "stacked, own recipe": "#009E73",
}
MARKERS = arm_markers(list(COLOURS))
MET, MISSED = "#0072B2", "#D55E00"
#: the most letters of a line of a claim's name
LETTERS = 60


def targets(rows: pd.DataFrame, questions: Sequence[Question]) -> Figure | None:
    """Return a figure of each claim's measurements divided by its target (inverted if higher is better); None without data."""
    drawn = []
    for one in with_rows(rows, questions):
        for claim in one.claims:
            part = claim_values(rows, one, claim)
            if not part.empty:
                aim = claim.most if claim.most is not None else claim.least
                assert aim is not None
                ratio = part / aim if claim.most is not None else aim / part
                drawn.append((f"{one.name}: {claim.label}".replace(", relative to ", " / "), ratio))
    if not drawn:
        return None
    names = [textwrap.fill(name, LETTERS) for name, _ in drawn]
    figure = new_figure(0.9 + 0.3 * len(drawn))
    axes: Axes = figure.subplots()
    for height, (_, ratio) in enumerate(drawn):
        colour = MET if ratio.median() <= 1 else MISSED
        axes.plot([ratio.min(), ratio.max()], [height, height], color=colour, linewidth=1.2)
        axes.plot(ratio, [height] * len(ratio), "o", color=colour, markersize=3, alpha=0.6)
        axes.plot(ratio.median(), height, "o" if ratio.median() <= 1 else "D", color=colour, markersize=7)
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_xscale("log")
    low, high = min(ratio.min() for _, ratio in drawn), max(ratio.max() for _, ratio in drawn)
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low * 0.8 <= tick <= max(high, 1) * 1.25]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(drawn)), names, fontsize=8, linespacing=1.1)
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_xlabel(f"measured / target{scale_name(axes, 'x')}; 1: reached; lower is better")
    footnote(
        figure,
        f"small dots: {repeats_of([len(ratio) for _, ratio in drawn])}",
        "line: their range",
        "large dot: median, which reaches the target",
        "orange diamond: median that misses it",
    )
    return figure


def repeats_of(counts: Sequence[int]) -> str:
    """Return how many repeats were measured: "n = 5 repeats" or "n = 3 to 5 repeats"."""
    least, most = min(counts), max(counts)
    return f"n = {least if least == most else f'{least} to {most}'} repeats"


def errors(rows: pd.DataFrame, questions: Sequence[Question]) -> Figure | None:
    """Return a figure of test error against CPU time of each workload; None without data."""
    works = [one for one in questions if (rows[rows["condition"] == one.name]["measure"] == "mse").any()]
    works = [one for one in works if one.name in ("dense", "conv")]
    if not works:
        return None
    figure, counts = new_figure(3.3), []
    handles: dict[str, Artist] = {}
    for axes, one in zip(figure.subplots(1, len(works), squeeze=False)[0], works, strict=True):
        ends, tops = [], []
        for arm in one.arms:
            cost, error = (values(rows, one.name, arm, name) for name in ("cpu_seconds", "mse"))
            if cost.empty:
                continue
            look: dict[str, Any] = {"color": COLOURS[arm], "linestyle": ""}
            axes.plot(cost, error, alpha=0.6, **look, **look_of(MARKERS[arm]))
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
            handles[arm] = axes.plot([cost.median()], [error.median()], **look, **(look_of(MARKERS[arm], 8.0) | edge))[
                0
            ]
            ends.append(cost.max())
            tops.append(error.max())
            counts.append(len(cost))
        axes.set_xlim(0, max(ends) * 1.25)
        axes.set_ylim(0, max(tops) * 1.1)
        axes.set_title(one.name)
        axes.set_xlabel("CPU time (s)")
        axes.set_ylabel("test MSE per pixel")
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=6)
    footnote(
        figure,
        "lower is better on both axes",
        f"small marks: {repeats_of(counts)}, each with its seed",
        "large marks: their medians",
    )
    return figure


def scaling(rows: pd.DataFrame, questions: Sequence[Question]) -> Figure | None:
    """Return a figure of CPU time and memory along each axis; None without data."""
    swept = [one for one in with_rows(rows, questions) if one.axis]
    if not swept:
        return None
    from matplotlib.ticker import LogLocator, NullLocator

    figure, counts = new_figure(5.3), []
    grid = figure.subplots(2, len(swept), squeeze=False)
    for column, one in enumerate(swept):
        for line, (measure, label) in enumerate((("cpu_seconds", "CPU time (s)"), ("growth_mb", "memory (MB)"))):
            axes, ends = grid[line][column], []
            looks = zip(ways(one), ("#009E73", "#0072B2", "#D55E00"), ("o", "s", "^"), strict=True)
            for way, colour, marker in looks:
                points = curve(rows, one, way, measure)
                if points.empty:
                    continue
                by = points.groupby("x")["y"]
                counts += by.size().tolist()
                axes.plot(by.median(), color=colour, label=way, **look_of(marker))
                axes.fill_between(by.median().index, by.min(), by.max(), color=colour, alpha=0.2)
                if points["x"].nunique() > 2:
                    power = f"{exponent(points)[0]:.2f}".replace("-", "−")
                    ends.append((by.median().iloc[-1], power, colour))
            places = sorted({float(arm.rpartition(" @ ")[2]) for arm in one.arms})
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(places, [f"{x / 1000:g}k" if x >= 1000 else f"{x:g}" for x in places], fontsize="small")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda y, _: f"{y:,.6g}")
            label_ends(axes, places[-1], ends)
            axes.set_xlabel({"pixels": "pixels per side", "channels": "channels of stage 1"}.get(one.axis, one.axis))
            if column == 0:
                axes.set_ylabel(label + scale_name(axes))
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    footnote(
        figure,
        f"marks: median of {repeats_of(counts)}",
        "bands: their range",
        "number at the end of a line: exponent p of the fit cost ∝ xᵖ",
        "all axes are log scales",
    )
    return figure
