"""Figures of the study of linear autoencoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from studies.figures.notes import footnote
from studies.figures.style import arm_colours, new_figure, seeds_of
from studies.record.samples import load_arrays

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: number of components that are shown
SHOWN = 10


def draw_angles(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of the largest principal angle and the excess FVU by depth."""
    from matplotlib.ticker import LogLocator, NullLocator

    arms = list(dict.fromkeys(rows["arm"]))
    colours, figure = arm_colours(arms), new_figure(3.2)
    depths = list(dict.fromkeys(rows.loc[rows["condition"] != "", "condition"]))
    for axes, measure, label in zip(
        figure.subplots(1, 2),
        ("angle", "excess"),
        ("largest angle (degrees)", "FVU / FVU of PCA − 1"),
        strict=True,
    ):
        for shift, arm in enumerate(arms):
            part = rows[(rows["arm"] == arm) & (rows["measure"] == measure)]
            places = np.array([depths.index(depth) for depth in part["condition"]]) + 0.12 * (shift - 1.5)
            fill, line = ("none", "--") if arm.endswith(", tied") else (colours[arm], "-")
            axes.plot(places, part["value"], "o", color=colours[arm], markersize=4, alpha=0.6, markerfacecolor=fill)
            by = part.groupby("condition", sort=False)["value"].mean()
            at = [depths.index(depth) + 0.12 * (shift - 1.5) for depth in by.index]
            axes.plot(at, by, line, color=colours[arm], linewidth=1, label=arm)
        if measure == "angle":
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        else:  # it may be negative on test images
            axes.set_yscale("symlog", linthresh=1e-4)
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xticks(range(len(depths)), depths)
        axes.set_ylabel(label)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    seeds = seeds_of([rows["seed"].nunique()])
    footnote(
        figure,
        f"lower is better; dots: single seeds; lines: mean over {seeds}; left: log scale; right: log scale above 0.0001, "
        "linear below",
    )
    return figure


def draw_components(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of principal components, units of the decoder and projected components; None without samples."""
    found = next(iter(load_arrays(out).values()), None)
    if found is None:
        return None
    sets = {
        "principal\ncomponents": found["principal"],
        "units of the\ndecoder": found["units"],
        "projected\ncomponents": found["nearest"],
    }
    figure = new_figure(3.0)
    count = min(SHOWN, len(sets["principal\ncomponents"]))
    grid = figure.subplots(len(sets), count, squeeze=False)
    for line, (name, values) in enumerate(sets.items()):
        for column in range(count):
            image = values[column].astype(np.float64).reshape(found["shape"]).mean(0)
            most = np.abs(image).max()
            axes = grid[line][column]
            axes.imshow(image, cmap="RdBu_r", vmin=-most, vmax=most)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
            axes.spines[:].set_visible(False)
        grid[line][0].set_ylabel(name, rotation=0, ha="right", va="center")
    footnote(
        figure, "red: above 0; blue: below 0; each image at its own scale, from the darkest blue to the darkest red"
    )
    return figure
