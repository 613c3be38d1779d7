"""Figure and answer of the study of tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from studies.figures.notes import cut_note, means_note
from studies.figures.panels import mark_cut, mean_and_interval, with_intervals
from studies.figures.scales import accuracy_axis, scale_name
from studies.figures.style import arm_colours, arm_markers, look_of, new_figure
from studies.statistics.measures import Measure
from studies.statistics.pairing import paired
from studies.statistics.rows import FINISHED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: arms that learn no code of an autoencoder
USUAL = ("gradient boosting", "logistic regression", "PCA + logistic regression")
#: an arm and the arm that it is compared with, which were named before any test result
COMPARED = ("greedy+finetune, classifier", "logistic regression")
ACCURACY = Measure("test accuracy (%)", "higher", decimals=1)
#: what follows the comma in the names of the other arms, with the title of a panel
ENDS = {"probe": "linear probe of the codes", "classifier": "fine-tuned classifier"}


def means_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean accuracy over seeds by arm (rows) and number of labels (columns), in the order of the rows."""
    mine = rows[rows["measure"] == "accuracy"]
    table = mine.pivot_table(index="arm", columns="condition", values="value", sort=False)
    return table[list(dict.fromkeys(mine["condition"]))]


def compared(rows: pd.DataFrame) -> str:
    """Return the paired differences of `COMPARED` for each number of labels as a sentence; "" if an arm was not measured."""
    mine = rows[rows["measure"] == "accuracy"].assign(status=FINISHED)
    if not {*COMPARED} <= {*mine["arm"]}:
        return ""
    parts = []
    for labels in dict.fromkeys(mine["condition"]):
        table = mine[mine["condition"] == labels].rename(columns={"value": "accuracy"})
        found = paired(table, "accuracy", *COMPARED)
        half = (found.high - found.low) / 2
        amount, low, high = ACCURACY.differences(half, found.difference, found.low, found.high)
        interval = f" ({low} to {high})" if found.has_interval else ""
        parts.append(f"{amount}{interval} with {labels} labels")
    arm, reference = COMPARED
    return (
        f"The comparison that was fixed before any test result is {arm}, minus {reference}. Its differences in points of "
        f"accuracy, with 95 % t intervals paired by seed, are {'; '.join(parts)}."
    )


def answer(rows: pd.DataFrame) -> str:
    """Return one comparison with intervals, and for each number of labels the best arm with an autoencoder and without one."""
    means = means_of(rows)
    usual = means[means.index.isin(USUAL)]
    learnt = means[~means.index.isin(USUAL)]
    if usual.empty or learnt.empty:
        return ""
    parts = [
        f"{labels} labels {learnt[labels].max():.1f} % ({learnt[labels].idxmax()}) and {usual[labels].max():.1f} % "
        f"({usual[labels].idxmax()})"
        for labels in means
    ]
    best = (
        "The highest mean accuracy on test rows with an autoencoder and without one is, with "
        f"{'; with '.join(parts)}. The best of several arms is chosen here by test accuracy, which flatters both sides."
    )
    return " ".join(filter(None, [compared(rows), best]))


def draw_accuracy(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of the accuracy by number of labels: a panel for probes and one for fine-tuned classifiers.

    Means over seeds have 95 % t intervals, if there are at least three seeds. Arms are drawn beside each other; each number of
    labels has its own band of the background.
    """
    mine, means = rows[rows["measure"] == "accuracy"], means_of(rows)
    colours, figure = arm_colours(list(means.index)), new_figure(3.8)
    markers = arm_markers(list(dict.fromkeys(arm.partition(",")[0] for arm in means.index)))
    panels = figure.subplots(1, 2, sharey=True)
    labels = list(means.columns)
    shown: list[list[tuple[float, pd.Series, str]]] = []
    for axes, (end, title) in zip(panels, ENDS.items(), strict=True):
        arms = [arm for arm in means.index if arm in USUAL or arm.endswith(f", {end}")]
        drawn = []
        for rank, arm in enumerate(arms):
            name, each = arm.partition(",")[0], mine[mine["arm"] == arm]
            shift = 0.7 * ((rank + 0.5) / len(arms) - 0.5)
            line = "--" if arm in USUAL else "-"
            places = [place + shift for place in range(len(labels))]
            look = {"color": colours[arm], **look_of(markers[name])}
            axes.plot(places, means.loc[arm], line, linewidth=1.0, label=name, **look)
            for place, condition in zip(places, labels, strict=True):
                values = each.loc[each["condition"] == condition, "value"]
                axes.plot([place - 0.035] * len(values), values, "o", color=colours[arm], markersize=2.5, alpha=0.4)
                mean_and_interval(axes, place, values, colours[arm], size=4.0, marker=markers[name])
                drawn.append((place, values, colours[arm]))
        shown.append(drawn)
        for place in range(0, len(labels), 2):
            axes.axvspan(place - 0.5, place + 0.5, color="#F2F2F2", linewidth=0, zorder=0)
        axes.set_xticks(range(len(labels)), labels)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_xlabel("number of training labels")
        axes.set_title(title)
    accuracy_axis(panels[0], with_intervals([values for drawn in shown for _, values, _ in drawn]))
    for axes, drawn in zip(panels, shown, strict=True):
        mark_cut(axes, drawn)
    panels[0].set_ylabel(f"test accuracy (%){scale_name(panels[0])},\nhigher is better")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)
    seeds = mine["seed"].nunique()
    means_note(
        figure,
        [seeds],
        "bars",
        "small dots: single seeds" if seeds > 1 else "",
        "dashed: without an autoencoder",
        "all points of a grey or white band have the number of labels below it",
        cut_note(figure),
    )
    return figure
