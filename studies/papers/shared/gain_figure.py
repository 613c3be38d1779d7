"""The figure of studies of pretraining with few labels: accuracy, and the gain by pretraining, against the number of labels."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10
from typing import TYPE_CHECKING

import numpy as np

from studies.figures.figures import explain
from studies.figures.panels import extent, mean_and_interval, seed_dots
from studies.figures.scales import accuracy_axis
from studies.figures.style import ARM_COLOURS, GREY, arm_markers, label_ends, marked, new_figure
from studies.papers.shared.label_counts import Kinds, measured_budgets, named
from studies.statistics.measures import budget_name
from studies.statistics.pairing import pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from studies.figures.panels import Record

CAPTION = (
    "Left: test accuracy of the classifier by the number of training images that pretraining reads for each label, on a log "
    "scale (higher is better). Right: the gain by pretraining, the difference of the two in percentage points, paired by seed; "
    "below 0 pretraining hurts. Small dots are single seeds; bars are the 95 % t interval of the mean over seeds (none for fewer "
    "than three)."
)
#: distance of the two arms of a pair, and of a mean from its seeds, as fractions of the axis
DODGE, ASIDE = 0.012, 0.03


def ratios(study: Record, kinds: Kinds) -> dict[str, float]:
    """Return the number of training images for each label, by number of labels ("1000", "all"); empty if they are not known."""
    images, labelled = (study.reference.get(name) for name in ("train_images", "train_labels"))
    if not images or not labelled:
        return {}
    return {
        budget: images / (labelled if budget == "all" else float(budget))
        for budget in measured_budgets(study.rows, kinds)
    }


def draw_gain(study: Record, *, kinds: Kinds) -> Figure | None:
    """Return the figure; None if no pair of arms finished, or if the number of training images is not known."""
    known = ratios(study, kinds)
    if not known:
        return None
    figure = new_figure(3.8)
    accuracy, gain = figure.subplots(1, 2)
    for axes in (accuracy, gain):
        ratio_axis(axes, known)
    accuracy_panel(accuracy, study, kinds, known)
    gain_panel(gain, study, kinds, known)
    explain(figure, study, "small dots: single seeds; right: differences paired by seed")
    return figure


def ratio_axis(axes: Axes, known: Mapping[str, float]) -> None:
    """Set the axis of images for each label, whose ticks also name the numbers of labels."""
    places = {log10(ratio): budget for budget, ratio in known.items()}
    axes.set_xticks(list(places), [f"{known[budget]:.3g}:1\n{budget_name(budget)}" for budget in places.values()])
    margin = 0.12 * extent(dict.fromkeys(places, ""))
    axes.set_xlim(min(places) - margin, max(places) + margin)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("training images : labels (log scale), and labels")


def accuracy_panel(axes: Axes, study: Record, kinds: Kinds, known: Mapping[str, float]) -> None:
    """Draw the test accuracy of both kinds of arms."""
    colours = {kinds.pretrained: ARM_COLOURS["greedy+finetune"], kinds.plain: ARM_COLOURS["random"]}
    markers = arm_markers(kinds)
    every, labels, (left, right) = [np.empty(0)], [], axes.get_xlim()
    for kind, shift in zip(kinds, (-DODGE, DODGE), strict=True):
        points = [
            (log10(ratio) + shift * (right - left), 100 * study.values(named(kind, budget), accuracy_of(budget)))
            for budget, ratio in sorted(known.items(), key=lambda item: item[1])
        ]
        axes.plot([x for x, _ in points], [values.mean() for _, values in points], color=colours[kind], linewidth=1.2)
        for x, values in points:
            seed_dots(axes, x, 0.0, values, colours[kind])
            mean_and_interval(axes, x, values, colours[kind], marker=markers[kind])
        every += [values.to_numpy() for _, values in points]
        labels.append((float(points[-1][1].mean()), marked(kind, markers[kind]), colours[kind]))
    accuracy_axis(axes, np.concatenate(every))
    axes.set_ylabel("test accuracy, %" + (" (log scale of error)" if axes.get_yscale() == "function" else ""))
    axes.set_title("Classifier accuracy, higher is better")
    label_ends(axes, right, labels)


def gain_panel(axes: Axes, study: Record, kinds: Kinds, known: Mapping[str, float]) -> None:
    """Draw the difference in accuracy between the arms of each pair, in percentage points."""
    left, right = axes.get_xlim()
    colour, aside = ARM_COLOURS["greedy+finetune"], ASIDE * (right - left)
    axes.axhline(0.0, color=GREY, linewidth=1.0, zorder=1)
    means = []
    for budget, ratio in sorted(known.items(), key=lambda item: item[1]):
        both = pairs(study.rows, accuracy_of(budget), *(named(kind, budget) for kind in kinds))
        points = 100 * (both["arm"] - both["reference"])
        seed_dots(axes, log10(ratio) - aside, 0.0, points, colour)
        mean_and_interval(axes, log10(ratio), points, colour)
        means.append((log10(ratio), float(points.mean())))
    axes.plot(*zip(*means, strict=True), color=colour, linewidth=1.2)
    axes.set_ylabel("gain in test accuracy, percentage points")
    axes.set_title("Gain by pretraining, higher is better")


def accuracy_of(budget: str) -> str:
    """Return the metric of the accuracy with a number of labels, "1000" or "all"."""
    return f"final/classifier_acc_{budget}"
