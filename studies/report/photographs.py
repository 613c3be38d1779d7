"""Figures of the study of photographs, and what its rows answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from studies.report.canvas import arm_colours, new_figure
from studies.report.pairing import mean_interval, paired
from studies.report.rows import FINISHED
from studies.report.strips import strips
from studies.samples import kept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}


def answer(rows: pd.DataFrame) -> str:
    """What the whole stack restores, and what a stage at a time takes."""
    whole = rows[rows["measure"].isin(["whole_psnr", "peak_mb", "train_seconds"])]
    table = (
        whole.pivot_table(index=["arm", "seed"], columns="measure", values="value")
        .reset_index()
        .assign(status=FINISHED)
    )
    if not {"layer-wise", "joint"} <= set(table["arm"]):
        return ""
    means = table.drop(columns="status").groupby("arm").mean()
    found = paired(table, "whole_psnr", "layer-wise", "joint")
    between = (
        f" (95 % interval {found.low:+.2f} to {found.high:+.2f} dB, {found.n} pairs)" if found.has_interval else ""
    )
    compression = rows[rows["measure"] == "compression"]
    deepest = compression[compression["condition"].astype(int) == compression["condition"].astype(int).max()]
    stages = rows[(rows["measure"] == "phase_mb") & (rows["arm"] == "layer-wise")]
    each = stages.groupby("condition")["value"].mean()
    grown = each[[name for name in each.index if name.startswith("stage")]]
    return (
        f"From a code of {deepest['value'].iloc[0]:.3g} times fewer values than the image, layer-wise training restores test "
        f"images at {means.loc['layer-wise', 'whole_psnr']:.2f} dB and joint training, with as many FLOPs, at "
        f"{means.loc['joint', 'whole_psnr']:.2f} dB: a difference of {found.difference:+.2f} dB{between}. A stage takes at most "
        f"{grown.max():.0f} MB to train, all of them together {means.loc['joint', 'peak_mb']:.0f} MB."
    )


def draw_depths(rows: pd.DataFrame, out: Path) -> Figure | None:
    """A panel a measure."""
    mine = rows[rows["measure"].isin(list(LABELS)) & (rows["condition"] != "")]
    compression = rows[rows["measure"] == "compression"].groupby("condition")["value"].mean()
    arms = list(dict.fromkeys(mine["arm"]))
    colours, figure = arm_colours(arms), new_figure(3.4)
    measures = [name for name in LABELS if name in set(mine["measure"])]
    for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        for arm in arms:
            part = mine[(mine["arm"] == arm) & (mine["measure"] == measure)]
            found = [(int(depth), *mean_interval(each["value"])) for depth, each in part.groupby("condition")]
            at, mean, low, high = (np.array(each, dtype=float) for each in zip(*found, strict=True))
            axes.plot(at, mean, "o-", color=colours[arm], markersize=4, linewidth=1.2, label=arm)
            axes.fill_between(at, low, high, color=colours[arm], alpha=0.25, linewidth=0)
        axes.set_xticks([int(d) for d in compression.index], [f"{d}\n{v:.3g} : 1" for d, v in compression.items()])
        axes.set_xlabel("depth of the code, and image values to one of the code")
        axes.set_ylabel(LABELS[measure])
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def draw_costs(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Bars of seconds and of memory, and a dot a seed: load of the machine spreads seconds too oddly for a t interval."""
    mine = rows[rows["measure"].isin(["phase_seconds", "phase_mb"])]
    arms = list(dict.fromkeys(mine["arm"]))
    colours, figure = arm_colours(arms), new_figure(3.2)
    keys = list(dict.fromkeys(zip(mine["arm"], mine["condition"], strict=True)))
    for axes, measure, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("phase_seconds", "phase_mb"),
        ("seconds", "peak memory of an update (MB)"),
        strict=True,
    ):
        found = mine[mine["measure"] == measure].groupby(["arm", "condition"])["value"]
        for place, key in enumerate(keys):
            each = found.get_group(key)
            axes.barh(place, each.mean(), color=colours[key[0]])
            axes.plot(each, [place] * len(each), "o", color="black", markersize=2.5)
            axes.annotate(f"  {each.mean():,.0f}", (each.max(), place), va="center", fontsize=8)
        axes.set_xlabel(label)
        axes.set_yticks(range(len(keys)), [phase if phase == arm else f"{arm}, {phase}" for arm, phase in keys])
        axes.margins(x=0.12)
    figure.axes[0].invert_yaxis()
    return figure


def draw_images(rows: pd.DataFrame, out: Path) -> Figure | None:
    """The originals, and a row for each arm and depth."""
    found = kept(out)
    if "original" not in found:
        return None
    lines = {"original": found["original"]["images"]}
    for arm in (arm for arm in dict.fromkeys(rows["arm"]) if arm in found):
        for depth in sorted(found[arm]):
            lines[f"{arm}\n{depth} stage{'s' * (depth != '1')}"] = found[arm][depth]
    return strips(lines, inches=1.05)
