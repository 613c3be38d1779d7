"""Figure and answer of the study of tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from studies.figures.style import arm_colours, footnote, new_figure, seeds_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: arms that learn no code of an autoencoder
USUAL = ("gradient boosting", "logistic regression", "PCA + logistic regression")
#: what follows the comma in the names of the other arms, with the title of a panel
ENDS = {"probe": "linear probe of the codes", "classifier": "fine-tuned classifier"}


def means_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean accuracy over seeds by arm (rows) and number of labels (columns), in the order of the rows."""
    mine = rows[rows["measure"] == "accuracy"]
    table = mine.pivot_table(index="arm", columns="condition", values="value", sort=False)
    return table[list(dict.fromkeys(mine["condition"]))]


def answer(rows: pd.DataFrame) -> str:
    """Return, for each number of labels, the best arm with an autoencoder and the best without one."""
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
    return (
        "The highest mean accuracy on test rows with an autoencoder and without one is, with "
        f"{'; with '.join(parts)}. The best of several arms is chosen here by test accuracy, which flatters both sides."
    )


def draw_accuracy(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of the accuracy by number of labels: a panel for probes and one for fine-tuned classifiers."""
    mine, means = rows[rows["measure"] == "accuracy"], means_of(rows)
    colours, figure = arm_colours(list(means.index)), new_figure(3.4)
    panels = figure.subplots(1, 2, sharey=True)
    labels = list(means.columns)
    for axes, (end, title) in zip(panels, ENDS.items(), strict=True):
        for arm in means.index:
            if arm not in USUAL and not arm.endswith(f", {end}"):
                continue
            name = arm.partition(",")[0]
            each = mine[mine["arm"] == arm]
            places = [labels.index(condition) for condition in each["condition"]]
            axes.plot(places, each["value"], "o", color=colours[arm], markersize=3, alpha=0.35)
            line = "--" if arm in USUAL else "-"
            axes.plot(range(len(labels)), means.loc[arm], line, color=colours[arm], linewidth=1.2, label=name)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlabel("labels")
        axes.set_title(title)
    panels[0].set_ylabel("test accuracy (%), higher is better")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)
    footnote(
        figure,
        f"dots: single seeds; lines: mean over {seeds_of([rows['seed'].nunique()])}; dashed: without an autoencoder",
    )
    return figure
