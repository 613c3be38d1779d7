"""Figures of the study of capacity, and what its rows answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from studies.report.canvas import GREY, arm_colours, new_figure
from studies.report.pairing import mean_interval
from studies.samples import kept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "train_fvu": "FVU of training images",
    "test_fvu": "FVU of test images",
    "denoised_fvu": "FVU of noisy images",
    "shuffled_fvu": "FVU of shuffled images",
    "probe": "probe accuracy (%)",
}
#: below this FVU of shuffled images more of them is restored than not: it copies
LAZY = 0.5


def answer(rows: pd.DataFrame) -> str:
    """From which width on arms copy, and which of them removes noise best where the plain one does."""
    mine = rows[rows["condition"] != ""].assign(width=lambda r: r["condition"].astype(int))
    table = mine.pivot_table(index=["arm", "width"], columns="measure", values="value")
    parts = []
    for arm in dict.fromkeys(mine["arm"]):
        copies = table.loc[arm]["shuffled_fvu"]
        lazy = copies[copies < LAZY]
        parts.append(f"{arm} from a width of {lazy.index.min():,} on" if len(lazy) else f"{arm} at no width")
    told = f"More than half of the variance of images whose pixels are shuffled is restored by {', '.join(parts)}."
    widest = table.xs(table.index.get_level_values("width").max(), level="width")["denoised_fvu"].sort_values()
    best = table["denoised_fvu"].unstack("arm")
    at = ", ".join(f"{arm} {value:.3f}" for arm, value in widest.items())
    least = ", ".join(f"{arm} {best[arm].min():.3f} (width {best[arm].idxmin():,})" for arm in widest.index)
    return f"{told} FVU of noisy images at the greatest width: {at}; at the best width of each: {least}."


def draw_widths(rows: pd.DataFrame, out: Path) -> Figure | None:
    """A panel a measure."""
    mine = rows[rows["condition"] != ""].assign(width=lambda r: r["condition"].astype(int))
    measures = [name for name in PANELS if name in set(mine["measure"])]
    arms = list(dict.fromkeys(mine["arm"]))
    colours, figure = arm_colours(arms), new_figure(5.2)
    grid = figure.subplots(2, 3).flat
    values = int(np.prod(next(iter(kept(out).values()))["filters"].shape[1:])) if kept(out) else None
    for axes, measure in zip(grid, measures, strict=False):
        for arm in arms:
            part = mine[(mine["measure"] == measure) & (mine["arm"] == arm)]
            found = [(width, *mean_interval(each["value"])) for width, each in part.groupby("width")]
            at, mean, low, high = (np.array(each, dtype=float) for each in zip(*found, strict=True))
            axes.plot(at, mean, "o-", color=colours[arm], markersize=3, linewidth=1.2, label=arm)
            axes.fill_between(at, low, high, color=colours[arm], alpha=0.25, linewidth=0)
        axes.set_xscale("log")
        if measure in ("train_fvu", "test_fvu"):
            axes.set_yscale("log")
        if values:
            axes.axvline(values, color=GREY, linestyle=":", linewidth=1)
        axes.set_title(PANELS[measure])
        axes.set_xlabel("width of the code")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    for axes in figure.axes[len(measures) :]:
        axes.axis("off")
    figure.axes[-1].legend(handles, labels, loc="center")
    return figure


def draw_filters(rows: pd.DataFrame, out: Path) -> Figure | None:
    """A row an arm."""
    from studies.report.strips import strips

    found = kept(out)
    arms = [arm for arm in dict.fromkeys(rows["arm"]) if arm in found]
    if not arms:
        return None
    lines = {}
    for arm in arms:
        filters = found[arm]["filters"].mean(1, keepdims=True)
        most = np.abs(filters).max((1, 2, 3), keepdims=True)
        lines[f"{arm}\nwidth {int(found[arm]['width'])}"] = np.uint8(127.5 + 127.5 * filters / np.maximum(most, 1e-12))
    return strips(lines)
