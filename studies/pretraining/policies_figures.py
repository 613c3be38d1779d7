"""Figures of growth policies: results by arm, reconstructions, and their colours and markers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from studies.figures.panels import Record, reconstructing
from studies.figures.pictures import Line, by_value, depths_of, draw_lines
from studies.figures.scales import DASHES, accuracy_axis, log_axis, reference_label, scale_name
from studies.figures.style import FONT, GREY, ink, new_figure, seeds_of
from studies.report.answer import MSE, PROBE, megabytes, taught_arms
from studies.statistics.measures import measure
from studies.statistics.pairing import LEAST_SEEDS, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PEAK, CODES = "peak_mb", "codes_mb"
BLACK = "#1A1A1A"
#: The colour of each family, after Okabe and Ito 2008 and Tol 2021; joint, the reference, is black.
FAMILIES = {
    "greedy": "#009E73",
    "greedy-pixels": "#56B4E9",
    "progressive": "#0072B2",
    "simultaneous": "#E69F00",
    "supervised": "#CC79A7",
    "converge": "#332288",
    "joint-local": "#882255",
    "random": "#8C8C8C",
}
#: The colour of families that are not in this list, such as a policy of one's own.
OTHER = "#999933"
#: Families without growth; the name of the family is the name of the arm.
YARDSTICKS = ("joint", "joint-local", "random")
#: The suffix of an arm -> (label, marker, whether the marker is filled, line style)
ENDS: dict[str, tuple[str, str, bool, Any]] = {
    "": ("grown only", "o", False, (0, (2.2, 1.2))),
    "finetune": ("then fine-tuned", "o", True, "-"),
    "unfreeze": ("then unfrozen from the top", "^", True, (0, (0.8, 1.2))),
}


def family(arm: str) -> str:
    """Return the growth policy of an arm, the part of its name before "+"."""
    return arm.partition("+")[0]


def end(arm: str) -> str:
    """Return what follows growth: "finetune", "unfreeze" or ""."""
    return arm.partition("+")[2]


def colour(arm: str) -> str:
    """Return the colour of the family of an arm."""
    return BLACK if family(arm) == "joint" else FAMILIES.get(family(arm), OTHER)


def draw_policies(study: Record) -> Figure | None:
    """Return panels of test MSE, probe accuracy and memory, with a line for each arm, lowest test MSE first; None without data.

    A vertical line in each panel is the mean of the reference arm.
    """
    arms = sorted(study.arms_with([MSE]), key=lambda arm: float(study.values(arm, MSE).mean()))
    if not arms:
        return None
    panels: list[Callable[[Axes, Record, Sequence[str]], None]] = [mse_panel]
    panels += [probe_panel] if study.arms_with([PROBE]) else []
    panels += [memory_panel] if any((study.values(arm, PEAK) > 0).any() for arm in arms) else []
    figure = new_figure(1.35 + 0.265 * len(arms))
    widths = [1.15, 1.0, 0.95][: len(panels)]
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axes, panel in zip(grid, panels, strict=True):
        axes.set_ylim(len(arms) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        for place, arm in enumerate(arms):
            if arm == study.reference_arm:
                axes.axhspan(place - 0.5, place + 0.5, color="#EDEDED", linewidth=0, zorder=0)
            else:
                axes.axhline(place, color="#EFEFEF", linewidth=0.7, zorder=0)
        panel(axes, study, arms)
    taught = taught_arms(study.rows)
    grid[0].set_yticks(range(len(arms)), [arm + (" *" if arm in taught else "") for arm in arms])
    for label, arm in zip(grid[0].get_yticklabels(), arms, strict=True):
        label.set(color=ink(colour(arm)), fontweight="bold" if arm == study.reference_arm else "normal")
    explain(figure, study, arms)
    return figure


def mse_panel(axes: Axes, study: Record, arms: Sequence[str]) -> None:
    """Draw the test MSE at full depth."""
    shown = reconstructing(study, arms)
    for place, arm in enumerate(arms):
        values = study.values(arm, MSE)
        if arm in shown:
            seeds_and_mean(axes, place, values, arm)
        else:
            axes.annotate(
                f"{values.mean():.3g} →", (1.0, place), xycoords=("axes fraction", "data"), ha="right", **BESIDE
            )
    pca = study.reference.get("pca_mse", np.nan)
    log_axis(axes, np.append(np.concatenate([study.values(arm, MSE) for arm in shown]), pca), "x")
    if np.isfinite(pca):
        axes.axvline(pca, color=GREY, linestyle=DASHES, linewidth=1.0, zorder=1)
        label = reference_label("pca_mse", study.reference, short=True)
        axes.annotate(
            label, (pca, 0.0), xycoords=("data", "axes fraction"), xytext=(3, 4), textcoords="offset points", color=GREY
        )
    level(axes, study, MSE)
    axes.set_xlabel(study.words.said("test MSE per pixel") + scale_name(axes, "x"))
    axes.set_title("Reconstruction, lower is better")


def probe_panel(axes: Axes, study: Record, arms: Sequence[str]) -> None:
    """Draw the test accuracy of the linear probe on the bottleneck."""
    measured = [arm for arm in arms if len(study.values(arm, PROBE))]
    for arm in measured:
        seeds_and_mean(axes, arms.index(arm), 100 * study.values(arm, PROBE), arm)
    accuracy_axis(axes, np.concatenate([100 * study.values(arm, PROBE).to_numpy() for arm in measured]), "x")
    level(axes, study, PROBE, 100)
    axes.set_xlabel("probe accuracy, %" + scale_name(axes, "x"))
    axes.set_title("Linear probe, higher is better")


def memory_panel(axes: Axes, study: Record, arms: Sequence[str]) -> None:
    """Draw the peak memory of an update, and that plus the cached codes; both are counted and equal for all seeds."""
    totals = [float(study.values(arm, PEAK).mean()) for arm in arms]
    for place, arm in enumerate(arms):
        peak, codes = float(study.values(arm, PEAK).mean()), float(study.values(arm, CODES).mean())
        if not peak > 0:
            axes.annotate(
                "none", (1.0, place), xycoords=("axes fraction", "data"), xytext=(-4, 0), ha="right", **AT_POINT
            )
            continue
        codes = codes if codes > 0 else 0.0
        totals.append(peak + codes)
        if codes:
            axes.plot(
                [peak, peak + codes], [place, place], color=colour(arm), alpha=0.35, linewidth=4, solid_capstyle="butt"
            )
        axes.plot([peak], [place], **marker(arm), markersize=6, zorder=3)
        text = megabytes(peak) + (f" + {megabytes(codes)}" if codes else "")
        axes.annotate(text, (peak + codes, place), xytext=(8, 0), **AT_POINT)
    log_axis(axes, np.array(totals), "x")
    left, right = axes.get_xlim()
    axes.set_xlim(left, right * (right / left) ** 0.45)  # room for the numbers
    level(axes, study, PEAK)
    axes.set_xlabel("peak + codes, MB" + scale_name(axes, "x"))
    axes.set_title("Memory, lower is better")


BESIDE: dict[str, Any] = {"xytext": (-2, 0), "textcoords": "offset points", "va": "center", "color": GREY}
AT_POINT: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": GREY, "fontsize": FONT - 1}


def level(axes: Axes, study: Record, column: str, scale: float = 1.0) -> None:
    """Draw a vertical line at the mean of the reference arm."""
    if study.reference_arm in study.arms and len(values := study.values(study.reference_arm, column)):
        axes.axvline(scale * values.mean(), color=BLACK, linewidth=0.9, zorder=1)


def marker(arm: str) -> dict[str, Any]:
    """Return the marker properties of an arm: the colour of its family, and a shape for what follows growth."""
    _, form, filled, _ = ENDS.get(end(arm), ENDS["finetune"])
    hue = colour(arm)
    if family(arm) in YARDSTICKS:
        form, filled = "D", True
    return {"marker": form, "color": hue, "markerfacecolor": hue if filled else "white", "markeredgewidth": 1.5}


def seeds_and_mean(axes: Axes, place: float, values: pd.Series, arm: str) -> None:
    """Draw the mean with its 95 % t interval, and a small dot below it for each seed."""
    mean, low, high = mean_interval(values)
    spread = np.full(len(values), place + 0.27)
    axes.plot(values, spread, "o", color=colour(arm), markersize=3, alpha=0.55, markeredgewidth=0, zorder=2)
    error = [[mean - low], [high - mean]] if np.isfinite(low) else None
    axes.errorbar([mean], [place], xerr=error, **marker(arm), markersize=6, capsize=3, elinewidth=1.5, zorder=3)


def explain(figure: Figure, study: Record, arms: Sequence[str]) -> None:
    """Draw the legend of markers, dots and bars."""
    from matplotlib.lines import Line2D

    handles = []
    for name, (label, form, filled, _) in ENDS.items():
        if any(end(arm) == name and family(arm) not in YARDSTICKS for arm in arms):
            face = GREY if filled else "white"
            handles.append(
                Line2D(
                    [],
                    [],
                    linestyle="",
                    marker=form,
                    color=GREY,
                    markerfacecolor=face,
                    markeredgewidth=1.5,
                    label=label,
                )
            )
    handles.append(Line2D([], [], linestyle="", marker="D", color=GREY, label="not grown"))
    if study.reference_arm in arms:
        handles.append(Line2D([], [], color=BLACK, linewidth=0.9, label=f"mean of {study.reference_arm}"))
    if any((study.values(arm, CODES) > 0).any() for arm in arms):
        handles.append(Line2D([], [], color=GREY, alpha=0.35, linewidth=4, solid_capstyle="butt", label="cached codes"))
    counts = sorted({len(study.values(arm, MSE)) for arm in arms})
    interval = " with its 95 % t interval" if counts[-1] >= LEAST_SEEDS else ""
    title = f"mean over {seeds_of(counts)}{interval}; small dots: single seeds" if counts[-1] > 1 else "a single seed"
    beyond = study.words.said("number at the edge: not better than the mean image")
    further = [beyond] if len(reconstructing(study, arms)) < len(arms) else []
    further += ["* pretrains with all labels"] if taught_arms(study.rows) & set(arms) else []
    further += [f"dashed: {reference_label('pca_mse', study.reference)}"] if "pca_mse" in study.reference else []
    title += f"\n{'; '.join(further)}" if further else ""
    legend = figure.legend(
        handles=handles, loc="outside upper left", ncols=len(handles), title=title, columnspacing=1.4
    )
    legend.set_alignment("left")
    legend.get_title().set_fontsize(FONT)


def draw_restored(study: Record) -> Figure | None:
    """Return a figure of test images and their reconstructions by each arm, lowest test MSE first; None without samples."""
    lines: list[tuple[str, Line]] = []
    for arm in [name for name in (*study.arms, "pca") if name in study.samples]:
        arrays = study.samples[arm]
        if not depths_of(arrays) or "originals" not in arrays:
            continue
        error = study.reference.get("pca_mse", np.nan) if arm == "pca" else float(study.values(arm, MSE).mean())
        label = reference_label("pca_mse", study.reference) if arm == "pca" else arm.replace("+", "\n+")
        lines.append((arm, (label, arrays[f"depth{max(depths_of(arrays))}"], error)))
    if not lines:
        return None
    lines.sort(key=lambda line: by_value(line[1]))
    colours = {line[0]: GREY if arm == "pca" else colour(arm) for arm, line in lines}
    groups = {
        study.words.said("test images"): [("", study.samples[lines[0][0]]["originals"], np.nan)],
        "reconstructions from the bottleneck, lowest error first": [line for _, line in lines],
    }
    return draw_lines(groups, colours, "test MSE", measure(MSE).number)
