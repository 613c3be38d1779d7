"""Figures of the study of anomaly detection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stacked.util.errors import printable
from studies.applications.anomaly.generated import FALSE_ALARMS, KINDS
from studies.figures.notes import footnote, means_note
from studies.figures.strips import strips
from studies.figures.style import GREY, arm_colours, new_figure
from studies.record.samples import load_arrays
from studies.statistics.pairing import mean_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: the AUROC of scores that do not depend on the image
CHANCE = 0.5


def draw_by_class(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure with a line for each arm: its AUROC for every normal class, and the mean; None without data."""
    mine = rows[rows["measure"] == "auroc"]
    if mine.empty:
        return None
    arms = list(dict.fromkeys(mine["arm"]))
    order = mine.groupby("arm")["value"].mean().sort_values(ascending=False).index
    colours, figure = arm_colours(arms), new_figure(0.7 + 0.36 * len(arms))
    axes = figure.subplots()
    for height, arm in enumerate(order):
        part = mine[mine["arm"] == arm]
        by_class = part.groupby("condition")["value"].mean()
        axes.plot(by_class, np.full(len(by_class), height), "|", color=colours[arm], markersize=9, alpha=0.8)
        for name, value in (by_class.idxmin(), by_class.min()), (by_class.idxmax(), by_class.max()):
            axes.annotate(
                printable(str(name)),
                (value, height),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                color=GREY,
                fontsize=7,
            )
        mean, low, high = mean_interval(part.groupby("seed")["value"].mean())
        if low < high:
            axes.plot([low, high], [height, height], color=colours[arm], linewidth=4)
        axes.plot(mean, height, "D", color=colours[arm], markersize=6)
    if axes.get_xlim()[0] < CHANCE:
        axes.axvline(CHANCE, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(order)), order)
    axes.set_ylim(len(order) - 0.5, -0.7)
    axes.set_xlabel("AUROC, higher is better")
    means_note(
        figure,
        [mine["seed"].nunique()],
        "bars",
        "diamonds: means over normal classes, too",
        "vertical marks: normal classes, of which the lowest and the highest are named",
        f"chance: {CHANCE}" + (" (dotted)" if axes.get_xlim()[0] < CHANCE else ", left of the axis"),
    )
    return figure


def draw_generated(rows: pd.DataFrame, out: Path) -> Figure | None:
    """A panel for each kind of generated anomalies: the share of it that each arm detects."""
    shown = [kind for kind in KINDS if (rows["measure"] == f"detected_{kind}").any()]
    if not shown:
        return None
    arms = list(dict.fromkeys(rows.loc[rows["measure"] == f"detected_{shown[0]}", "arm"]))
    colours, figure = arm_colours(arms), new_figure(0.9 + 0.24 * len(arms))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, shown, strict=True):
        for height, arm in enumerate(arms):
            mine = rows[(rows["measure"] == f"detected_{kind}") & (rows["arm"] == arm)]
            mean, low, high = mean_interval(mine.groupby("seed")["value"].mean())
            if low < high:
                axes.plot([low, high], [height, height], color=colours[arm], linewidth=3)
            axes.plot(mean, height, "D", color=colours[arm], markersize=5)
        axes.axvline(FALSE_ALARMS, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlim(-0.05, 1.05)
        axes.set_xticks([0, 0.5, 1], ["0", "50", "100"])
        axes.set_title(kind, fontsize=9)
    panels[0].set_yticks(range(len(arms)), arms)
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    panels[len(shown) // 2].set_xlabel("images called anomalous (%), higher is better")
    means_note(
        figure,
        [rows["seed"].nunique()],
        "bars",
        "diamonds: means over normal classes, too",
        f"dotted: the chosen rate of false alarms, {100 * FALSE_ALARMS:g} %",
    )
    return figure


def draw_heat(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of normal and anomalous images with their error maps, with a column for each normal class."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    found = load_arrays(out).get("layer-wise")
    if not found:
        return None
    images, heat = found["images"], found["heat"] / max(float(found["heat"].max()), 1e-12)
    colours = np.uint8(255 * matplotlib.colormaps["viridis"](np.sqrt(heat))[..., :3]).transpose(0, 1, 4, 2, 3)
    lines = {"normal": images[0], "its error map": colours[0], "anomalous": images[1], "its error map ": colours[1]}
    figure = strips(lines, [printable(str(name)) for name in found["classes"]])
    scale = ScalarMappable(PowerNorm(0.5, 0.0, float(found["heat"].max())), "viridis")
    bar = figure.colorbar(scale, ax=figure.axes, fraction=0.02, pad=0.02)
    bar.set_label("squared error (square-root scale)")
    footnote(figure, "columns: the normal class of a detector", "one seed")
    return figure
