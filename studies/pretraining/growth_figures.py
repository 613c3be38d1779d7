"""Learning curves of growth policies, with a panel for each family."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from studies.figures.curves import over_seeds
from studies.figures.notes import means_note
from studies.figures.panels import Record
from studies.figures.scales import log_axis, scale_name
from studies.figures.style import FONT, GREY, ink, new_figure
from studies.pretraining.policies_figures import BLACK, ENDS, FAMILIES, YARDSTICKS, colour, end, family
from studies.statistics.rows import finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERROR, COMPUTE, STAGE = "eval/recon_mse", "progress/gflop", "progress/stage"


def draw_growth(study: Record) -> Figure | None:
    """Return learning curves with a panel for each family; None without curves.

    Lines are pale until the stack has all stages. The reference arm is black in every panel.
    """
    if study.curves is None:
        return None
    curves = study.curves.merge(finished(study.rows)[["run", "arm", "seed"]], on=["run", "arm", "seed"])
    curves = curves.dropna(subset=[ERROR, COMPUTE])
    curves = curves[curves.groupby("arm")[COMPUTE].transform("max") > 0]
    arms = [arm for arm in study.arms if (curves["arm"] == arm).any()]
    trained = dict.fromkeys(family(arm) for arm in arms if family(arm) != "joint")
    families = [name for name in (*FAMILIES, *(name for name in trained if name not in FAMILIES)) if name in trained]
    if not families:
        return None
    columns = min(4, len(families) + 1)
    figure = new_figure(0.35 + 2.05 * ceil((len(families) + 1) / columns))
    grid = figure.subplots(ceil((len(families) + 1) / columns), columns, sharex=True, sharey=True, squeeze=False)
    curves["full"] = curves[STAGE] == curves[STAGE].max()
    # the legend is at the end of the first row, so that every column has its axis below the last row
    legend, panels = grid[0, -1], [axes for axes in grid.flat if axes is not grid[0, -1]]
    for axes, name in zip(panels, families, strict=False):
        axes.set_title(name, color=ink(colour(name)), fontweight="bold", fontsize=FONT)
        for arm in [study.reference_arm, *(arm for arm in arms if family(arm) == name)]:
            learning(axes, curves[curves["arm"] == arm], arm)
    for axes in [legend, *panels[len(families) :]]:
        axes.set_axis_off()
    log_axis(grid[0, 0], curves.loc[curves["full"], ERROR].to_numpy())
    for axes in grid[:, 0]:
        axes.set_ylabel(study.words.said("validation MSE per pixel") + f"\n{scale_name(axes).strip()}")
    for axes in grid[-1]:
        axes.set_xlabel("training GFLOP")
    compute_axis(grid[0, 0], curves[COMPUTE].max())
    explain_growth(legend, study, curves)
    return figure


def learning(axes: Axes, curve: pd.DataFrame, arm: str) -> None:
    """Draw the mean of an arm with a band; if the phases of its seeds differ in length, draw each seed instead."""
    if curve.empty:
        return
    single = of_unequal_lengths(curve)
    if single:
        parts = [seed.assign(mean=seed[ERROR], x=seed[COMPUTE]) for _, seed in curve.groupby("seed")]
    else:
        depths = curve.groupby("phase", sort=False)["full"].all().reset_index()
        parts = [over_seeds(curve, ERROR, COMPUTE).merge(depths, on="phase")]
    hue, line = colour(arm), "-" if family(arm) in YARDSTICKS else ENDS.get(end(arm), ENDS[""])[3]
    width = 1.3 if family(arm) == "joint" else 1.0 if single else 1.8
    for part in parts:
        whole = part[part["full"]]
        axes.plot(whole["x"], whole["mean"], color=hue, linewidth=0.6, alpha=0.3, zorder=2)
        for _, phase in part.groupby("phase", sort=False):
            if not phase["full"].all():
                axes.plot(phase["x"], phase["mean"], color=hue, linestyle=line, linewidth=1.0, alpha=0.4, zorder=2)
                continue
            axes.plot(phase["x"], phase["mean"], color=hue, linestyle=line, linewidth=width, zorder=3)
            if not single and np.isfinite(phase["low"]).all():
                axes.fill_between(phase["x"], phase["low"], phase["high"], color=hue, alpha=0.16, linewidth=0, zorder=1)


def of_unequal_lengths(curve: pd.DataFrame) -> bool:
    """Return whether the phases of the seeds of an arm differ in length, so that there is no mean over them."""
    lengths = curve.groupby(["phase", "seed"], sort=False)["phase_step"].max().groupby("phase").nunique()
    return bool((lengths > 1).any())


def compute_axis(axes: Axes, most: float) -> None:
    """Set the axis of training compute from 0 to `most`, the largest value of any arm."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(0, 1.03 * most)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def explain_growth(axes: Axes, study: Record, curves: pd.DataFrame) -> None:
    """Draw the legend of the learning curves in its own panel, and write below the figure what bands and breaks are."""
    from matplotlib.lines import Line2D

    arms = set(curves["arm"])
    handles = [
        Line2D([], [], color=GREY, linestyle=line, linewidth=1.8, label=label)
        for name, (label, _, _, line) in ENDS.items()
        if any(end(arm) == name and family(arm) not in YARDSTICKS for arm in arms)
    ]
    handles.append(Line2D([], [], color=GREY, linewidth=1.0, alpha=0.5, label="before the last stage"))
    if study.reference_arm in arms:
        handles.append(Line2D([], [], color=BLACK, linewidth=1.3, label=f"{study.reference_arm}, in every panel"))
    axes.legend(handles=handles, loc="upper left", borderaxespad=0.0, bbox_to_anchor=(0.0, 1.08))
    single = dict.fromkeys(family(arm) for arm, curve in curves.groupby("arm") if of_unequal_lengths(curve))
    figure = axes.get_figure(root=True)
    assert figure is not None
    means_note(
        figure,
        list(curves.groupby("arm")["seed"].nunique()),
        "bands",
        f"{', '.join(single)}: a line for each seed, because their phases end at different updates" if single else "",
        "errors of fewer stages are lower, and the axis does not show the lowest",
        of=" (of log MSE)",
    )
