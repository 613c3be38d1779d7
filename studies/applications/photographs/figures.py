"""Figures and answer of the study of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from studies.figures.notes import footnote, means_note
from studies.figures.strips import DECIBELS, decibels, strips
from studies.figures.style import arm_colours, arm_markers, look_of, new_figure, seeds_of
from studies.record.samples import load_arrays
from studies.statistics.pairing import mean_interval
from studies.statistics.rows import FINISHED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLER = "made smaller"
LABELS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}


def answer(rows: pd.DataFrame) -> str:
    """Return the PSNR of the whole stack and the memory of layer-wise and joint training, in a few sentences."""
    whole = rows[rows["measure"].isin(["whole_psnr", "peak_mb", "train_seconds"])]
    table = (
        whole.pivot_table(index=["arm", "seed"], columns="measure", values="value")
        .reset_index()
        .assign(status=FINISHED)
    )
    if not {"layer-wise", "joint"} <= set(table["arm"]):
        return ""
    means = table.drop(columns="status").groupby("arm").mean()
    compression = rows[rows["measure"] == "compression"]
    deepest = compression[compression["condition"].astype(int) == compression["condition"].astype(int).max()]
    grown = rows[(rows["arm"] == "layer-wise") & rows["condition"].str.startswith("stage")]
    most = grown.groupby("measure")["value"].max()
    smaller = (
        f"; images resized to as many values and back have {means.loc[SMALLER, 'whole_psnr']:.2f} dB"
        if SMALLER in means.index
        else ""
    )
    return (
        f"With a code of {deepest['value'].iloc[0]:.3g} times fewer values than the image, the PSNR of restored test images is "
        f"{means.loc['layer-wise', 'whole_psnr']:.2f} dB for layer-wise training and "
        f"{means.loc['joint', 'whole_psnr']:.2f} dB for joint training with as many FLOPs, both without "
        f"tuning (higher is better){smaller}. An update of one stage needs at most "
        f"{most['phase_mb']:.0f} MB, plus up to {most['phase_codes_mb']:.0f} MB for cached codes; an "
        f"update of all stages, in fine-tuning and in joint training, needs {means.loc['joint', 'peak_mb']:.0f} MB."
    )


def draw_depths(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of PSNR and SSIM against the depth of the code."""
    mine = rows[rows["measure"].isin(list(LABELS)) & (rows["condition"] != "")]
    compression = rows[rows["measure"] == "compression"].groupby("condition")["value"].mean()
    arms = list(dict.fromkeys(mine["arm"]))
    colours, markers, figure = arm_colours(arms), arm_markers(arms), new_figure(3.4)
    measures = [name for name in LABELS if name in set(mine["measure"])]
    for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        for arm in arms:
            part = mine[(mine["arm"] == arm) & (mine["measure"] == measure)]
            found = [(int(depth), *mean_interval(each["value"])) for depth, each in part.groupby("condition")]
            at, mean, low, high = (np.array(each, dtype=float) for each in zip(*found, strict=True))
            axes.plot(at, mean, color=colours[arm], linewidth=1.2, label=arm, **look_of(markers[arm], 5.0))
            axes.fill_between(at, low, high, color=colours[arm], alpha=0.25, linewidth=0)
        axes.set_xticks([int(d) for d in compression.index], [f"{d}\n{v:.3g} : 1" for d, v in compression.items()])
        axes.set_xlabel("depth of the code (image values : code values)")
        axes.set_ylabel(f"{LABELS[measure]}, higher is better")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    means_note(figure, [mine["seed"].nunique()], "bands")
    return figure


def draw_costs(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of the seconds and the memory of each phase.

    Seconds have a dot for each seed instead of a t interval, because the load of the machine makes them far from normal.
    """
    mine = rows[rows["measure"].str.startswith("phase_")]
    arms = list(dict.fromkeys(mine["arm"]))
    colours, figure = arm_colours(arms), new_figure(3.2)
    keys = list(dict.fromkeys(zip(mine["arm"], mine["condition"], strict=True)))
    means = mine.groupby(["measure", "arm", "condition"])["value"].mean()
    seconds, memory = figure.subplots(1, 2, sharey=True)
    for place, key in enumerate(keys):
        each = mine.loc[
            (mine["measure"] == "phase_seconds") & (mine["arm"] == key[0]) & (mine["condition"] == key[1]), "value"
        ]
        update, codes = means["phase_mb"][key], means["phase_codes_mb"][key]
        seconds.barh(place, each.mean(), color=colours[key[0]])
        seconds.plot(each, [place] * len(each), "o", color="black", markersize=2.5)
        seconds.annotate(f"  mean {each.mean():,.0f}", (each.max(), place), va="center", fontsize=8)
        memory.barh(place, update, color=colours[key[0]])
        memory.barh(place, codes, left=update, color="white", edgecolor=colours[key[0]], hatch="////")
        label = f"  {update:,.0f}" + (f" + {codes:,.0f}" if codes else "")
        memory.annotate(label, (update + codes, place), va="center", fontsize=8)
    seconds.set_yticks(range(len(keys)), [phase if phase == arm else f"{arm}, {phase}" for arm, phase in keys])
    for axes, title in ((seconds, "seconds"), (memory, "memory of an update + cached codes (MB)")):
        axes.set_xlabel(f"{title}, lower is better")
        axes.margins(x=0.2)
    seconds.invert_yaxis()
    footnote(
        figure,
        f"left: mean over {seeds_of([mine['seed'].nunique()])}; dots: single seeds; right: hatched: cached codes",
    )
    return figure


def draw_images(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of the originals, with a row of restored images for each arm and depth; None without samples."""
    found = load_arrays(out)
    if "original" not in found:
        return None
    lines = {"original": found["original"]["images"]}
    for arm in (arm for arm in dict.fromkeys(rows["arm"]) if arm in found):
        for depth in sorted(found[arm]):
            what = f"{depth} stage{'s' * (depth != '1')}"
            lines[f"{arm} to\ncode of {what}" if arm == SMALLER else f"{arm}\n{what}"] = found[arm][depth]
    figure = strips(lines, inches=1.05, ends=decibels(lines, lines["original"]))
    footnote(figure, DECIBELS, "one seed")
    return figure
