"""Panels of final results: a dot for each seed, and the mean with its 95 % t interval over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log10
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from studies.figures.notes import CUT
from studies.figures.scales import DASHES, accuracy_axis, log_axis, reference_label, scale_name
from studies.figures.style import GREY, arm_colours, arm_markers, label_ends, look_of, marked
from studies.statistics.measures import budgets, depths
from studies.statistics.pairing import by_seed, mean_interval, pairs
from studies.statistics.rows import Samples, arms_of, finished, trained_arms
from studies.statistics.words import Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes


#: Total number of letters of tick labels below a panel above which the labels are rotated.
MOST_LETTERS = 48


@dataclass(frozen=True)
class Record:
    """The data of figures: rows (failed runs are not shown), curves, reference levels, samples and the reference arm."""

    rows: pd.DataFrame
    curves: pd.DataFrame | None = None
    reference: dict[str, float] = field(default_factory=dict)
    samples: dict[str, Samples] = field(default_factory=dict)
    reference_arm: str = "joint"

    @cached_property
    def arms(self) -> list[str]:
        """The arms with a finished run, in order of first appearance."""
        done = set(finished(self.rows)["arm"])
        return [arm for arm in arms_of(self.rows) if arm in done]

    @cached_property
    def colours(self) -> dict[str, str]:
        """The colour of each arm, which does not depend on whether runs failed."""
        return arm_colours(arms_of(self.rows))

    @cached_property
    def markers(self) -> dict[str, str]:
        """The marker of each arm, which does not depend on whether runs failed."""
        return arm_markers(arms_of(self.rows))

    def values(self, arm: str, metric: str) -> pd.Series:
        """Return the values of a metric of an arm, indexed by seed; empty if the metric does not exist."""
        return by_seed(self.rows, arm, metric) if metric in self.rows else pd.Series(dtype="float64")

    def arms_with(self, metrics: Sequence[str]) -> list[str]:
        """Return the arms for which at least one of the metrics was measured."""
        return [arm for arm in self.arms if any(len(self.values(arm, metric)) for metric in metrics)]

    @cached_property
    def words(self) -> Words:
        """What the examples and their values are called."""
        return Words.of(self.rows)

    @cached_property
    def budgets(self) -> list[str]:
        """The measured label budgets of classifiers, ascending with "all" last."""
        return self.budgets_of("classifier_acc")

    def budgets_of(self, metric: str) -> list[str]:
        """Return the label budgets for which a metric, such as "regressor_r2", was measured, ascending with "all" last."""
        return [name for name in budgets(self.rows.columns, metric) if self.arms_with([f"final/{metric}_{name}"])]

    @cached_property
    def depths(self) -> list[int]:
        """The depths with a linear probe, ascending; 0 is the pixels."""
        known = depths(self.rows.columns, "final/probe_acc")
        return [depth for depth in known if self.arms_with([f"final/probe_acc_depth{depth}"])]


def reconstructing(study: Record, arms: Sequence[str]) -> list[str]:
    """Return the arms whose test MSE is lower than that of the mean image; all of them if none is, or if it is not known.

    The others do not reconstruct: they would squeeze the axis, and their values are written at its edge.
    """
    level = study.reference.get("mean_mse", np.inf)
    return [arm for arm in arms if study.values(arm, "final/recon_mse").mean() < level] or list(arms)


def recon_panel(axes: Axes, study: Record) -> None:
    """Draw the test MSE of each arm at full depth on a log scale, with that of PCA as a dashed line."""
    metric = "final/recon_mse"
    arms = study.arms_with([metric])
    shown = reconstructing(study, arms)
    values = [study.values(arm, metric) for arm in arms]
    for position, (arm, measured) in enumerate(zip(arms, values, strict=True)):
        if arm not in shown:
            top: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "top", "color": GREY}
            axes.annotate(f"↑\n{measured.mean():.3g}", (position, 0.99), **top)
            continue
        seed_dots(axes, position - 0.14, 0.16, measured, study.colours[arm])
        mean_and_interval(axes, position + 0.16, measured, study.colours[arm], marker=study.markers[arm])
    log_axis(
        axes,
        np.append(np.concatenate([study.values(arm, metric) for arm in shown]), study.reference.get("pca_mse", np.nan)),
    )
    axes.set_xlim(-0.6, len(arms) - 0.4)
    labels = [arm.replace("+", "\n+") for arm in arms]
    long = sum(max(map(len, label.split("\n"))) for label in labels) > MOST_LETTERS
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(range(len(arms)), arms if long else labels, **slanted)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(study.words.said("test MSE per pixel") + scale_name(axes))
    axes.set_title("Reconstruction error, lower is better")
    if "pca_mse" in study.reference:
        _pca_level(axes, study.reference, [float(measured.mean()) for measured in values])


def depth_panel(axes: Axes, study: Record) -> None:
    """Draw the linear probe accuracy by depth; the accuracy on pixels is a point and a dashed line."""
    columns = {float(depth): f"final/probe_acc_depth{depth}" for depth in study.depths}
    labels = _accuracy_lines(axes, study, columns, dodge=min(0.07, 0.6 / len(study.arms)))
    if 0.0 in columns:
        pixels = pd.concat([100 * study.values(arm, columns[0.0]) for arm in study.arms])
        axes.axhline(pixels.mean(), color=GREY, linestyle=DASHES, linewidth=1.0, zorder=1)
        axes.plot([0.0], [pixels.mean()], "o", color=GREY, markersize=6, zorder=4)
    axes.set_xticks(
        list(columns), [study.words.said("0: pixels") if depth == 0 else f"{depth}" for depth in study.depths]
    )
    axes.set_xlabel("depth of the code")
    axes.set_title("Linear probe accuracy, higher is better")
    set_limits(axes, columns, 0.08)
    label_ends(axes, axes.get_xlim()[1], labels)


def budget_panel(axes: Axes, study: Record) -> None:
    """Draw the classifier accuracy by number of labels."""
    columns = budget_columns(study)
    labels = _accuracy_lines(axes, study, columns, dodge=0.04 * extent(columns), dots=True)
    budget_axis(axes, study, columns)
    axes.set_title("Classifier accuracy, higher is better")
    label_ends(axes, axes.get_xlim()[1], labels)


def budget_difference_panel(axes: Axes, study: Record) -> None:
    """Draw differences in classifier accuracy from the reference arm, paired by seed, for arms that are trained."""
    columns = budget_columns(study)
    others = [arm for arm in study.arms if arm != study.reference_arm and arm in trained_arms(study.rows)]
    step = 0.07 * extent(columns)
    axes.axhline(0.0, color=GREY, linewidth=1.0, zorder=1)
    labels = []
    for rank, arm in enumerate(others if study.reference_arm in study.arms else []):
        shift = step * (rank - (len(others) - 1) / 2)
        means = []
        for x, metric in columns.items():
            both = pairs(study.rows, metric, arm, study.reference_arm)
            if len(both):
                difference = 100 * (both["arm"] - both["reference"])
                seed_dots(axes, x + shift, 0.1 * step, difference, study.colours[arm])
                mean_and_interval(
                    axes, x + shift + 0.4 * step, difference, study.colours[arm], marker=study.markers[arm]
                )
                means.append(float(difference.mean()))
        if means:
            labels.append(end_label(study, arm, means[-1]))
    budget_axis(axes, study, columns)
    axes.set_ylabel("difference, percentage points")
    axes.set_title(f"Difference from {study.reference_arm}, higher is better")
    label_ends(axes, axes.get_xlim()[1], labels)


def end_label(study: Record, arm: str, value: float) -> tuple[float, str, str]:
    """Return the label of an arm for `label_ends`, at this value: its marker and its name, in its colour."""
    return value, marked(arm, study.markers[arm]), study.colours[arm]


def _accuracy_lines(
    axes: Axes, study: Record, columns: Mapping[float, str], dodge: float, dots: bool = False
) -> list[tuple[float, str, str]]:
    """Draw a line through the means of each arm in percent, shifted so that intervals do not overlap.

    Returns the labels of the right ends, which are written once the limits of the axes are final.
    """
    arms = study.arms_with(list(columns.values()))
    drawn: list[tuple[float, pd.Series, str]] = []
    labels = []
    for rank, arm in enumerate(arms):
        shift = dodge * (rank - (len(arms) - 1) / 2)
        colour = study.colours[arm]
        percent = {x: 100 * study.values(arm, metric) for x, metric in columns.items()}
        points = [(x + shift if x else 0.0, values) for x, values in percent.items() if len(values)]
        axes.plot([x for x, _ in points], [values.mean() for _, values in points], color=colour, linewidth=1.2)
        for x, values in points:
            if dots:
                seed_dots(axes, x - 0.45 * dodge, 0.0, values, colour)
            mean_and_interval(axes, x, values, colour, size=4.0 if dots else 5.0, marker=study.markers[arm])
        drawn += [(x, values, colour) for x, values in points]
        labels.append(end_label(study, arm, float(points[-1][1].mean())))
    accuracy_axis(axes, with_intervals([values for _, values, _ in drawn]))
    mark_cut(axes, drawn)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("test accuracy, %" + scale_name(axes))
    return labels


def _pca_level(axes: Axes, reference: dict[str, float], means: Sequence[float]) -> None:
    """PCA's level, named at that end where the arms' own points are farther from it."""
    level = reference["pca_mse"]
    axes.axhline(level, color=GREY, linestyle=DASHES, linewidth=1.0, zorder=1)
    distances = np.abs(np.log(np.array(means) / level))
    right = min(distances[-2:]) > min(distances[:2])
    axes.annotate(
        reference_label("pca_mse", reference),
        (1.0 if right else 0.0, level),
        xycoords=("axes fraction", "data"),
        xytext=(-2 if right else 2, 3),
        textcoords="offset points",
        ha="right" if right else "left",
        color=GREY,
    )


def seed_dots(axes: Axes, x: float, spread: float, values: pd.Series, colour: str) -> None:
    """Draw a small dot for each seed, spread around `x`."""
    offsets = np.linspace(-spread, spread, len(values)) if len(values) > 1 else np.zeros(len(values))
    axes.plot(x + offsets, values, "o", color=colour, markersize=4, alpha=0.5, markeredgewidth=0, zorder=2)


def mean_and_interval(
    axes: Axes, x: float, values: pd.Series, colour: str, size: float = 5.0, marker: str = "o"
) -> None:
    """Draw the mean over seeds at `x`, with its 95 % t interval."""
    mean, low, high = mean_interval(values)
    if np.isfinite(low):
        bar: dict[str, Any] = {"capsize": 0.7 * size, "elinewidth": 1.6, "capthick": 1.6, "zorder": 3}
        axes.errorbar([x], [mean], yerr=[[mean - low], [high - mean]], fmt="none", color=colour, **bar)
    axes.plot([x], [mean], color=colour, linestyle="", zorder=3.5, **look_of(marker, size))


def with_intervals(percent: Sequence[pd.Series]) -> npt.NDArray[np.float64]:
    """Return the accuracies in percent that an axis shows: those of all seeds, and the ends of the intervals of the means.

    percent: accuracies over seeds, of each mean. An end has at least a third of the smallest error of a seed, or the log scale of
    the error would be of an interval that reaches 100 %.
    """
    seeds = np.concatenate(percent)
    ends = np.array([mean_interval(values)[1:] for values in percent]).ravel()
    best = float(seeds.max())
    return np.append(seeds, np.clip(ends[np.isfinite(ends)], 0.0, max(100.0 - (100.0 - best) / 3, best)))


def mark_cut(axes: Axes, drawn: Sequence[tuple[float, pd.Series, str]]) -> None:
    """Draw a triangle where the interval of a mean goes on beyond the axis, whose limits must be final.

    drawn: place, values over seeds and colour of each mean.
    """
    bottom, top = axes.get_ylim()
    for x, values, colour in drawn:
        _, low, high = mean_interval(values)
        for edge, form, is_cut in (top, "^", high > top), (bottom, "v", low < bottom):
            if is_cut:
                axes.plot([x], [edge], form, color=colour, markersize=5, clip_on=False, zorder=4, gid=CUT)


def budget_columns(study: Record, metric: str = "classifier_acc") -> dict[float, str]:
    """Return the column of a metric by position, log10 of the number of labels; "all" is at train_labels, or a decade right."""
    known = study.budgets_of(metric)
    largest = max((float(budget) for budget in known if budget != "all"), default=100.0)
    beyond = max(study.reference.get("train_labels", 10 * largest), 1.5 * largest)  # must not coincide with a budget
    places = {budget: log10(beyond if budget == "all" else float(budget)) for budget in known}
    return {place: f"final/{metric}_{budget}" for budget, place in places.items()}


def budget_axis(axes: Axes, study: Record, columns: Mapping[float, str]) -> None:
    """Set the axis of the numbers of labels, at the positions of `columns`."""
    budgets = [column.rpartition("_")[2] for column in columns.values()]
    names = [budget if budget == "all" else f"{int(budget):,}" for budget in budgets]
    known = study.reference.get("train_labels")
    axes.set_xticks(list(columns), [f"all {known:,.0f}" if name == "all" and known else name for name in names])
    set_limits(axes, columns, 0.12)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("number of training labels" + (" (log scale)" if len(columns) > 1 else ""))


def set_limits(axes: Axes, columns: Mapping[float, str], margin: float) -> None:
    """Set horizontal limits around the positions, with this margin as a share of their extent, and around all that is drawn.

    Many arms beside each other take more room than the margin.
    """
    room = margin * extent(columns)
    left, right = axes.dataLim.intervalx
    axes.set_xlim(min(min(columns) - room, left - room / 3), max(max(columns) + room, right + room / 3))


def extent(columns: Mapping[float, str]) -> float:
    """Return the distance of the outer positions; 1 if there is one."""
    return (max(columns) - min(columns)) or 1.0
