"""Figures of the study of capacity, and what its rows answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from studies.report.canvas import GREY, arm_colours, new_figure
from studies.report.pairing import mean_interval
from studies.report.scales import log_axis
from studies.samples import kept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "train_fvu": "FVU of training images",
    "test_fvu": "FVU of test images",
    "denoised_fvu": "FVU of noisy images",
    "copied": "share of the noise that is copied",
    "probe": "probe accuracy (%)",
}


def answer(rows: pd.DataFrame) -> str:
    """Up to which width arms restore noisy images the better, and what the widest code makes of them."""
    mine = rows[rows["condition"] != ""].assign(width=lambda r: r["condition"].astype(int))
    table = mine.pivot_table(index="width", columns=["measure", "arm"], values="value")
    noisy, copied, last = table["denoised_fvu"], table["copied"], table.index.max()
    parts = [
        f"{arm} up to a width of {noisy[arm].idxmin():,} (FVU {noisy[arm].min():.3f}; {noisy[arm].loc[last]:.3f} at {last:,}, "
        f"where {copied[arm].loc[last]:.0%} of the noise is copied)"
        for arm in dict.fromkeys(mine["arm"])
    ]
    return f"Wider codes restore noisy images the better: {'; '.join(parts)}."


def draw_widths(rows: pd.DataFrame, out: Path) -> Figure | None:
    """A panel a measure."""
    from matplotlib.ticker import NullLocator

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
        axes.set_xscale("log", base=2)
        every = sorted(set(mine["width"]))
        axes.set_xticks(every, [f"{width}" for width in every], rotation=45)
        axes.xaxis.set_minor_locator(NullLocator())
        if measure in ("train_fvu", "test_fvu"):
            log_axis(axes, mine.loc[mine["measure"] == measure, "value"].to_numpy())
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
