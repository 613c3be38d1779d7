"""Figures of the study of denoising."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from studies.figures.notes import footnote, means_note
from studies.figures.strips import DECIBELS, decibels, strips
from studies.figures.style import GREY, arm_colours, arm_markers, look_of, new_figure
from studies.record.samples import load_arrays
from studies.statistics.pairing import mean_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: rows that are shown first and last
GIVEN, CLEAN = "noisy", "clean"


def draw_levels(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of PSNR against the level, with a panel for each kind of noise; None without data."""
    mine = rows[(rows["measure"] == "psnr") & (rows["condition"] != "")]
    if mine.empty:
        return None
    kinds, levels = mine["condition"].str.rsplit(" ", n=1).str[0], mine["condition"].str.rsplit(" ", n=1).str[1]
    mine = mine.assign(kind=kinds, level=levels.astype(float))
    arms, names = list(dict.fromkeys(mine["arm"])), list(dict.fromkeys(kinds))
    colours, figure = arm_colours(arms) | {GIVEN: GREY}, new_figure(3.6)
    markers = arm_markers(list(dict.fromkeys(arm.partition(",")[0] for arm in arms)))
    panels = figure.subplots(1, len(names), sharey=True)
    for axes, kind in zip(panels, names, strict=True):
        for arm in arms:
            part = mine[(mine["kind"] == kind) & (mine["arm"] == arm)]
            found = [(level, *mean_interval(each["value"])) for level, each in part.groupby("level")]
            at, mean, low, high = zip(*found, strict=True)
            one_noise, is_network = "alone" in arm, arm.startswith(("layer-wise", "joint"))
            style = ":" if one_noise else "-" if is_network else "--"
            look = {"color": colours[arm], **look_of(markers[arm.partition(",")[0]])}
            axes.plot(at, mean, style, label=arm, linewidth=1.2, **look)
            axes.fill_between(at, low, high, color=colours[arm], alpha=0.25, linewidth=0)
        axes.set_title(kind)
        axes.set_xlabel("standard deviation" if kind == "gaussian" else "fraction of pixels")
        axes.set_xticks(sorted(set(mine.loc[mine["kind"] == kind, "level"])))
    panels[0].set_ylabel("PSNR (dB), higher is better")
    shown = [arm for arm in arms if ", " not in arm or arm.partition(",")[0] not in arms]
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend([handles[labels.index(arm)] for arm in shown], shown, loc="outside upper center", ncols=7)
    means_note(
        figure,
        [mine["seed"].nunique()],
        "bands",
        "dashed: no network" if any(line.get_linestyle() == "--" for line in panels[0].get_lines()) else "",
        "dotted: a network trained with Gaussian noise only" if len(shown) < len(arms) else "",
    )
    return figure


def draw_images(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of restored images with a row for each method and a column for each noise; None without samples."""
    found = load_arrays(out)
    if CLEAN not in found or GIVEN not in found:
        return None
    arms = [arm for arm in dict.fromkeys(rows["arm"]) if arm in found and arm != GIVEN]
    noises = dict.fromkeys(rows.loc[rows["condition"] != "", "condition"])
    heads = [
        f"{' '.join(name.split()[:-1])}\n{name.split()[-1]}".replace("salt-and-pepper", "salt, pepper")
        for name in noises
    ]
    lines = {name: found[name]["images"] for name in (GIVEN, *arms, CLEAN)}
    figure = strips(lines, heads, ends=decibels(lines, found[CLEAN]["images"]))
    footnote(figure, DECIBELS, "one seed", "above: kind and level of the noise")
    return figure
