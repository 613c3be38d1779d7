"""Figures of the study of compression."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from studies.figures.notes import footnote
from studies.figures.scales import scale_name
from studies.figures.strips import DECIBELS, decibels, strips
from studies.figures.style import GREY, arm_colours, arm_markers, look_of, new_figure, seeds_of
from studies.record.samples import load_arrays

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSSLESS = "PNG"
#: bits per pixel below which images are not recognisable
LEAST_RATE = 0.01


def draw_curves(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of PSNR and SSIM against bits per pixel; None without data."""
    from matplotlib.ticker import LogLocator, NullLocator

    points = rows[rows["condition"].str.startswith("setting ")]
    table = points.pivot_table(index=["arm", "seed", "condition"], columns="measure", values="value").reset_index()
    table = table.reindex(columns=[*table.columns, *{"setting_psnr", "setting_ssim"} - set(table.columns)])
    arms = list(dict.fromkeys(points["arm"]))
    if not arms:
        return None
    colours, markers, figure = arm_colours(arms), arm_markers(arms), new_figure(3.6)
    for axes, measure, label in zip(
        figure.subplots(1, 2),
        ("setting_psnr", "setting_ssim"),
        ("PSNR (dB), higher is better", "SSIM, higher is better"),
        strict=True,
    ):
        for arm in arms:
            if arm == LOSSLESS:
                rate = float(table.loc[table["arm"] == arm, "setting_rate"].iloc[0])
                axes.axvline(rate, color=GREY, linestyle=":", label=f"{arm} (lossless)")
                continue
            for number, (_, part) in enumerate(table[table["arm"] == arm].groupby("seed")):
                line = part.sort_values("setting_rate")
                name = arm if number == 0 else None
                look = {"color": colours[arm], **look_of(markers[arm])}
                axes.plot(line["setting_rate"], line[measure], linewidth=1, label=name, **look)
        axes.set_xscale("log")
        axes.set_xlim(left=LEAST_RATE)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("bits per pixel" + scale_name(axes, "x"))
        axes.set_ylabel(label)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    footnote(
        figure,
        f"a line for each seed, {seeds_of([points['seed'].nunique()])}",
        "marks: settings of a codec",
        f"lines that end at the left edge go on below {LEAST_RATE:g} bits per pixel"
        if (table["setting_rate"] < LEAST_RATE).any()
        else "",
    )
    return figure


def draw_images(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of restored images with a row for each codec; None without samples."""
    found = load_arrays(out)
    if "original" not in found:
        return None
    original = found.pop("original")
    order = [arm for arm in dict.fromkeys(rows["arm"]) if arm in found and arm != LOSSLESS]
    lines = {"original\n8 bit/pixel": original["images"]}
    lines |= {f"{arm}\n{float(found[arm]['bits']):.2f} bit/pixel": found[arm]["images"] for arm in order}
    figure = strips(lines, ends=decibels(lines, original["images"]))
    footnote(figure, DECIBELS, "one seed")
    return figure
