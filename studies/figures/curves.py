"""Learning curves: error and accuracy against updates, compute and time, with reference levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from studies.figures.notes import means_note
from studies.figures.scales import DASHES, REFERENCES, accuracy_axis, log_axis, reference_label, scale_name
from studies.figures.style import GREY, label_ends, look_of, new_figure
from studies.statistics.pairing import mean_interval
from studies.statistics.words import Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LineStyle: TypeAlias = Literal["-", ""] | tuple[float, tuple[float, float]]

_WHOLE: LineStyle = "-"
_PART: LineStyle = (0, (2.2, 1.3))
_POINT: LineStyle = ""
#: a part of a curve with fewer points has a dot at each
_FEW = 4
_ROWS = {
    "eval/recon_mse": ("validation MSE per pixel", 1.0),
    "eval/probe_acc": ("validation probe accuracy, %", 100.0),
}
_COSTS = {
    "step": "updates",
    "progress/gflop": "training compute, GFLOP",
    "progress/train_seconds": "training seconds",
}


LOGARITHMIC = ("eval/recon_mse",)


def draw_curves(
    curves: pd.DataFrame,
    arms: Sequence[str],
    colours: dict[str, str],
    markers: dict[str, str],
    reference: dict[str, float],
    words: Words,
) -> Figure | None:
    """Return a grid of panels with a row for each measurement and a column for each cost; None without data.

    curves: points of finished runs. colours, markers: of each arm. The marker of an arm is at the end of its line; that of an arm
    that is not trained is at the left edge.
    """
    rows = [metric for metric in _ROWS if metric in curves and curves[metric].notna().any()]
    costs = [cost for cost in _COSTS if cost in curves and curves[cost].notna().any()]
    if not rows or not costs:
        return None
    figure = new_figure(0.7 + 2.35 * len(rows))
    grid = figure.subplots(len(rows), len(costs), sharey="row", sharex="col", squeeze=False)
    for line, metric in zip(grid, rows, strict=True):
        label, scale = _ROWS[metric]
        for axes, cost in zip(line, costs, strict=True):
            for arm in arms:
                summary = over_seeds(curves[curves["arm"] == arm], metric, cost)
                _draw_arm(axes, summary, scale, colours[arm], markers[arm], _line_style(curves, arm))
        values = scale * curves[metric].dropna().to_numpy()
        if metric == "eval/recon_mse":
            log_axis(line[0], np.array([*values, *(reference[name] for name in REFERENCES if name in reference)]))
        else:
            accuracy_axis(line[0], values)
        line[0].set_ylabel(f"{words.said(label)}\n{scale_name(line[0]).strip()}".rstrip())
    for axes, cost in zip(grid[-1], costs, strict=True):
        _cost_axis(axes, _COSTS[cost])
    figure.align_ylabels(grid[:, 0])
    _legend(figure, arms, colours, markers, curves)
    _explain(figure, arms, curves, reference, words)
    if "eval/recon_mse" in rows:
        _reference_levels(grid[0], reference, words)
    return figure


def over_seeds(curves: pd.DataFrame, metric: str, cost: str) -> pd.DataFrame:
    """Return the curve of an arm: columns phase, step, x (mean cost), n, mean, low, high (95 % t interval), by step.

    Metrics of a logarithmic axis are averaged in the logarithm, because an interval of the plain mean may reach below zero. Seeds
    are aligned by the step within a phase. Only steps at which every seed was measured are kept; with changing seeds the mean
    would jump.
    """
    measured = curves.dropna(subset=[metric, cost])
    seeds = measured["seed"].nunique()
    lines: list[dict[str, Any]] = []
    for (phase, _), group in measured.groupby(["phase", "phase_step"], sort=False):
        if group["seed"].nunique() < seeds:
            continue
        values = np.log10(group[metric]) if metric in LOGARITHMIC else group[metric]
        mean, low, high = mean_interval(values)
        if metric in LOGARITHMIC:
            mean, low, high = 10**mean, 10**low, 10**high
        line = {"phase": phase, "step": group["step"].mean(), "x": group[cost].mean(), "n": len(group)}
        lines.append({**line, "mean": mean, "low": low, "high": high})
    columns = ["phase", "step", "x", "n", "mean", "low", "high"]
    return pd.DataFrame(lines, columns=columns).sort_values("step", kind="stable", ignore_index=True)


def _draw_arm(axes: Axes, summary: pd.DataFrame, scale: float, colour: str, marker: str, line: LineStyle) -> None:
    if summary.empty:
        return
    mean, low, high = (scale * summary[name] for name in ("mean", "low", "high"))
    if line == _POINT:
        interval = [[(mean - low).iloc[0]], [(high - mean).iloc[0]]] if np.isfinite(low.iloc[0]) else None
        look: dict[str, Any] = {"color": colour, "clip_on": False, "zorder": 4, **look_of(marker, 5.0)}
        axes.errorbar([0], mean[:1], yerr=interval, linestyle="", **look)
        return
    order = 3.0 if line == _PART else 2.9
    axes.plot(summary["x"], mean, color=colour, linewidth=0.6, alpha=0.5, zorder=order - 0.5)
    for _, part in summary.groupby("phase", sort=False):
        at = part.index
        marks = look_of(marker, 3.5) if len(part) < _FEW else {}
        axes.plot(part["x"], mean[at], color=colour, linestyle=line, zorder=order, **marks)
        if np.isfinite(low[at]).all():
            axes.fill_between(part["x"], low[at], high[at], color=colour, alpha=0.18, linewidth=0, zorder=2)
    end = look_of(marker, 6.0) | {"markeredgecolor": "white", "markeredgewidth": 0.6}
    axes.plot(summary["x"].iloc[-1:], mean.iloc[-1:], color=colour, linestyle="", zorder=4, **end)


def _reference_levels(line: Sequence[Axes], reference: dict[str, float], words: Words) -> None:
    """Draw dashed reference levels through a row of panels, with their labels at the right end."""
    names = [name for name in REFERENCES if name in reference]
    for axes in line:
        for name in names:
            axes.axhline(reference[name], color=GREY, linestyle=DASHES, linewidth=1.0, zorder=1)
    labels = [(reference[name], words.said(reference_label(name, reference, short=True)), GREY) for name in names]
    label_ends(line[-1], line[-1].get_xlim()[1], labels)


def _cost_axis(axes: Axes, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _line_style(curves: pd.DataFrame, arm: str) -> LineStyle:
    """Return the line style of an arm: none if it is not trained; dashed if another arm has its phases and further ones."""
    if set(curves.loc[curves["arm"] == arm, "phase"]) == {"untrained"}:
        return _POINT
    phases = {name: set(rows["phase"]) for name, rows in curves.groupby("arm")}
    mine = phases.get(arm, set())
    return _PART if mine and any(mine < others for others in phases.values()) else _WHOLE


def _legend(
    figure: Figure, arms: Sequence[str], colours: dict[str, str], markers: dict[str, str], curves: pd.DataFrame
) -> None:
    from matplotlib.lines import Line2D

    shown = [arm for arm in arms if (curves["arm"] == arm).any()]
    handles = [
        Line2D(
            [],
            [],
            color=colours[arm],
            linewidth=2.5,
            linestyle=_line_style(curves, arm),
            label=arm,
            **look_of(markers[arm], 6.0),
        )
        for arm in shown
    ]
    columns = min(len(handles), max(1, 120 // (6 + max(map(len, shown)))))  # a line has room for 120 letters
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


def _explain(
    figure: Figure, arms: Sequence[str], curves: pd.DataFrame, reference: dict[str, float], words: Words
) -> None:
    """Write below the figure what bands, breaks, marks and dashes are, as far as there are any."""
    mine = curves[curves["arm"].isin(arms)]
    lines = {_line_style(curves, arm) for arm in set(mine["arm"])}
    grows = mine.groupby("arm")["phase"].nunique().max() > 1
    levels = [reference_label(name, reference) for name in REFERENCES if name in reference]
    means_note(
        figure,
        list(mine.groupby("arm")["seed"].nunique()),
        "bands",
        "a break, with a thin line: a further stage was added, or another phase began" if grows else "",
        f"small marks: single measurements, in phases with fewer than {_FEW}; large mark: the end" if grows else "",
        "dashed in colour: another arm has these phases and further ones" if _PART in lines else "",
        "mark at the left edge: not trained" if _POINT in lines else "",
        words.said(f"dashed in grey: {' and '.join(levels)}") if levels else "",
        of=" (of log MSE)",
    )
