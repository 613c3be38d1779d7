"""Figures and answer of the study of capacity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from studies.figures.notes import footnote, means_note
from studies.figures.scales import log_axis, scale_name
from studies.figures.style import GREY, arm_colours, arm_markers, ink, look_of, new_figure
from studies.record.samples import load_arrays
from studies.statistics.pairing import mean_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "train_fvu": "FVU of training images",
    "test_fvu": "FVU of test images",
    "denoised_fvu": "FVU of noisy images",
    "copied": "fraction of noise copied",
    "probe": "probe error (%)",
}
#: shown on a linear axis
LINEAR = ("copied",)
#: errors below this, of PCA with as many components as pixels, are rounding errors and are not shown
SMALLEST = 1e-4


def answer(rows: pd.DataFrame) -> str:
    """Return the width with the lowest FVU of noisy images for each arm, and the copied noise at the width of the input."""
    mine = rows[rows["condition"] != ""].assign(width=lambda r: r["condition"].astype(int))
    noisy = mine[mine["measure"] == "denoised_fvu"].pivot_table(index="width", columns="arm", values="value")
    wide = rows[rows["measure"].isin(["wide_denoised_fvu", "wide_copied"])]
    wide = wide.pivot_table(index="arm", columns="measure", values="value")
    parts = []
    for arm in (arm for arm in dict.fromkeys(mine["arm"]) if arm in noisy):
        as_wide = ""
        if arm in wide.index:
            as_wide = (
                f"; with as many units as pixels, FVU {wide.loc[arm, 'wide_denoised_fvu']:.3f} and "
                f"{100 * wide.loc[arm, 'wide_copied']:.0f} % of the noise copied"
            )
        parts.append(f"{arm}: {noisy[arm].idxmin():,} units (FVU {noisy[arm].min():.3f}{as_wide})")
    if not parts:
        return ""
    return (
        "The width with the lowest FVU (fraction of variance unexplained) of noisy images, of the widths tried, is for each arm: "
        f"{'; '.join(parts)}."
    )


def draw_widths(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure with a panel for each measure against the width of the code."""
    from matplotlib.ticker import NullLocator

    mine = rows[rows["condition"] != ""].assign(width=lambda r: r["condition"].astype(int))
    errors = mine["measure"] == "probe"
    mine.loc[errors, "value"] = 100 - mine.loc[errors, "value"]
    measures = [name for name in PANELS if name in set(mine["measure"])]
    arms = list(dict.fromkeys(mine["arm"]))
    colours, markers, figure = arm_colours(arms), arm_markers(arms), new_figure(5.2)
    grid = figure.subplots(2, 3).flat
    values = int(np.prod(next(iter(load_arrays(out).values()))["filters"].shape[1:])) if load_arrays(out) else None
    has_exact = False
    for axes, measure in zip(grid, measures, strict=False):
        hidden = 0
        for arm in arms:
            part = mine[(mine["measure"] == measure) & (mine["arm"] == arm)]
            found = [(width, *mean_interval(each["value"])) for width, each in part.groupby("width")]
            at, mean, low, high = (np.array(each, dtype=float) for each in zip(*found, strict=True))
            known = (mean > SMALLEST) | (measure in LINEAR)
            look = {"color": colours[arm], **look_of(markers[arm])}
            axes.plot(at[known], mean[known], linewidth=1.2, label=arm, **look)
            axes.fill_between(at[known], low[known], high[known], color=colours[arm], alpha=0.25, linewidth=0)
            has_exact |= not known.all()
            hidden = max(hidden, len(at[~known]))
            for width in at[~known]:
                below: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "right", "va": "bottom"}
                below |= {"xytext": (-3, 1), "textcoords": "offset points"}
                axes.annotate(f"{arm}: 0 ↓", (width, 0.0), color=ink(colours[arm]), **below)
        axes.set_xscale("log", base=2)
        every = sorted(set(mine["width"]))
        axes.set_xticks(every, [f"{width}" for width in every], rotation=45)
        axes.xaxis.set_minor_locator(NullLocator())
        if measure not in LINEAR:
            shown = mine.loc[mine["measure"] == measure, "value"].to_numpy()
            log_axis(axes, shown[shown > SMALLEST])
        if hidden:
            bottom, top = axes.get_ylim()
            axes.set_ylim(bottom * (bottom / top) ** 0.15, top)  # room for the names of arms without an error
        if values:
            axes.axvline(values, color=GREY, linestyle=":", linewidth=1)
        axes.set_title(f"{PANELS[measure]}{scale_name(axes)},\nlower is better")
        axes.set_xlabel("width of the code" + scale_name(axes, "x"))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    for axes in figure.axes[len(measures) :]:
        axes.axis("off")
    figure.axes[-1].legend(handles, labels, loc="center")
    means_note(
        figure,
        [mine["seed"].nunique()],
        "bands",
        "dotted: as many units as pixels" if values else "",
        "0 ↓: no error, which has no place on a log scale" if has_exact else "",
    )
    return figure


def draw_filters(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of filters with a row for each arm; None without samples."""
    from studies.figures.strips import strips

    found = load_arrays(out)
    arms = [arm for arm in dict.fromkeys(rows["arm"]) if arm in found]
    if not arms:
        return None
    lines = {}
    for arm in arms:
        filters = found[arm]["filters"].mean(1, keepdims=True)
        most = np.abs(filters).max((1, 2, 3), keepdims=True)
        lines[f"{arm}\nwidth {int(found[arm]['width'])}"] = np.uint8(127.5 + 127.5 * filters / np.maximum(most, 1e-12))
    figure = strips(lines)
    footnote(
        figure,
        "an image: the weights of one unit, in grey around 0, brighter above and darker below, each at its own scale",
        "one seed",
    )
    return figure
