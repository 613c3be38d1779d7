"""The report on tuning: a table of the trials of each arm, and a figure of the expected best result by number of trials."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stacked.util.checks import need
from studies.figures.notes import footnote
from studies.figures.scales import accuracy_axis, log_axis, scale_name
from studies.figures.style import arm_colours, arm_markers, label_ends, look_of, marked, new_figure
from studies.report.tables import markdown
from studies.statistics.rows import FINISHED
from studies.statistics.trials import (
    CHOICES,
    FILE,
    chosen_among,
    is_higher_better,
    load_choices,
    load_trials,
    validation_results,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: numbers of trials whose expected best result is in the table
SHOWN = (1, 2, 4, 8, 16, 32)


def tuning_note(out: Path, elsewhere: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the text and the table on tuning, as Markdown; a sentence or two if no arm was tuned for this record.

    elsewhere: the values of each arm that tuning chose for the committed record of the study, if this record uses them.
    """
    choices, rows = _chosen_of(out)
    if not choices and elsewhere:
        values = (
            f"`{arm}`: {', '.join(f'{_short(n)} {v}' for n, v in given.items())}" for arm, given in elsewhere.items()
        )
        return (
            "Arms were not tuned again for this record: they have the values that tuning with as many trials for each arm chose "
            f"for the committed record of this study. {'; '.join(values)}."
        )
    if not choices:
        return "Arms were not tuned for this record: all have the study's own settings, or the project's."
    trials = int(rows["arm"].value_counts().max())
    searched = _searched(rows)
    text = (
        f"Each arm was tuned with {trials} trials; each trial is a row of [{FILE}]({FILE}). The settings of the trials are "
        "points of a Sobol sequence. A trial is trained with the budget of a run, and with a seed that no run of this record "
        "has, and is evaluated on validation images. The settings were chosen before the test set was read. The command below "
        "with `--tune` runs the trials and writes the best settings to [choices.json](choices.json), from which the command "
        "without `--tune` reads them. “Best of k” is the expected best result of k trials: the mean over all subsets of k "
        "trials. Where it still improves much at the largest k, more trials may find better settings."
    )
    if any(choice["judged_by"].startswith("classifier") for choice in choices.values()):
        text += (
            " Where arms are compared by the accuracy of a classifier, a trial also fine-tunes the classifier by the recipe of a "
            "run, and its result is the accuracy on the validation images that select the classifier's number of updates. An arm "
            "without pretraining has trials of its fine-tuning."
        )
    if searched < trials:
        text += (
            f" The first {searched} trials of an arm are drawn from the search space of the study. The others (`--refine "
            f"{trials - searched}`) are drawn from narrower ranges, each centred on the arm's best value of the first "
            f"{searched}, also where that extends the search space. “Best of k” is of the first {searched}."
        )
    shown = [k for k in SHOWN if k < searched] + [searched]
    header = ["arm", "compared by", "failed trials", *(f"best of {k}" for k in shown)]
    header += [f"best of all {trials}"] * (searched < trials) + ["chosen", "search space"]
    lines = []
    for arm, choice in choices.items():
        measure, mine = choice["judged_by"], rows[rows["arm"] == arm]
        higher = is_higher_better(measure)
        is_refined = mine["centre"] != ""
        results = validation_results(rows, arm, measure)
        expected = list(expected_best(results[~is_refined].to_numpy(), higher)[[k - 1 for k in shown]])
        expected += [results.max() if higher else results.min()] * (searched < trials)
        chosen = ", ".join(
            f"{_short(name)} {value}{' (at the edge)' if name in choice['edges'] else ''}"
            for name, value in choice["values"].items()
        )
        spaces = [_ranges(space) for space in dict.fromkeys(mine["space"])]  # several if it was widened or refined
        lines.append(
            [
                arm,
                f"validation {measure}",
                str(int((mine["status"] != FINISHED).sum())),
                *(f"{value:.4g}" if math.isfinite(value) else "–" for value in expected),
                chosen,
                "; then ".join(spaces),
            ]
        )
    return f"{text}\n\n{markdown(header, lines)}"


def draw_tuning(out: Path) -> Figure | None:
    """Return the figure of the expected best of k trials against k, with a line for each arm; None without trials."""
    choices, rows = _chosen_of(out)
    if not choices:
        return None
    from matplotlib.ticker import MaxNLocator

    colours, markers = arm_colours(list(choices)), arm_markers(list(choices))
    measures = list(dict.fromkeys(choice["judged_by"] for choice in choices.values()))
    trials = int(rows["arm"].value_counts().max())
    most = max(sum(choice["judged_by"] == name for choice in choices.values()) for name in measures)
    figure = new_figure(max(3.6, 1.0 + 0.25 * most))  # room for the names of the arms at the right
    figure.suptitle("Expected best validation result by number of trials", x=0.01, ha="left")
    refined = (rows["centre"] != "").any()
    footnote(
        figure,
        "mark: mean of the best result over all subsets of so many trials of the arm",
        "dotted: with the further trials around the best" if refined else "",
    )
    panels = figure.subplots(1, len(measures), squeeze=False, width_ratios=[3, *[1] * (len(measures) - 1)])[0]
    for axes, name in zip(panels, measures, strict=True):
        labels = []
        share = is_higher_better(name)  # an accuracy
        for arm in [arm for arm, choice in choices.items() if choice["judged_by"] == name]:
            results = validation_results(rows, arm, name) * (100 if share else 1)
            values = expected_best(results[rows["centre"] == ""].to_numpy(), share)
            k = np.arange(1, len(values) + 1)
            look = {"color": colours[arm], **look_of(markers[arm])}
            axes.plot(k[np.isfinite(values)], values[np.isfinite(values)], **look)
            if len(results) > len(values):  # trials of --refine
                best = results.max() if share else results.min()
                axes.plot([len(values), len(results)], [values[-1], best], ls=":", **look)
                values = np.append(values, best)
            labels.append((float(values[-1]), marked(arm, markers[arm]), colours[arm]))
        drawn = np.concatenate([line.get_ydata() for line in axes.get_lines()] or [np.array([])])
        if share:
            accuracy_axis(axes, drawn)
        else:
            log_axis(axes, drawn)
        # the other panels are narrow
        axes.xaxis.set_major_locator(MaxNLocator(10 if axes is panels[0] else 4, integer=True))
        axes.set_xlabel("trials")
        axes.set_title(("accuracy, %" if share else name.replace("recon_", "").upper()) + scale_name(axes))
        axes.set_xlim(0.7, trials * 1.02)
        label_ends(axes, trials * 1.02, labels)
    return figure


def _chosen_of(out: Path) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    """Return the choices of tuning and the rows of the trials; both are empty if no arm was tuned.

    Raises InputError if the choices do not belong to these trials.
    """
    choices = load_choices(out)
    if not choices:
        return {}, pd.DataFrame()
    rows = load_trials(out)
    most = int(rows["arm"].value_counts().max()) if len(rows) else 0
    for arm, choice in choices.items():
        mine = rows[rows["arm"] == arm]
        fits = choice["run"] in set(mine["run"]) and f"valid/{choice['judged_by']}" in rows and len(mine) == most
        need(
            fits,
            f"{out / CHOICES} does not fit {FILE}, which has {len(mine)} trials of arm {arm!r} (other arms: {most}) and must "
            f"have the chosen run and the measure {choice['judged_by']!r}: restore both, or tune again",
        )
    tried = chosen_among(out)
    need(
        most >= tried,
        f"{out / FILE} has {most} trials of each arm, and {CHOICES} was chosen among {tried}: restore both, or tune again",
    )
    return choices, rows


def expected_best(values: NDArray[np.float64], higher: bool) -> NDArray[np.float64]:
    """Return the expected best of k trials drawn without replacement, for k = 1 to n (Dodge et al. 2019), as an array [n].

    higher: whether higher values are better. A failed trial counts as infinitely bad; the mean is infinite for every k for
    which all k drawn trials may have failed.
    """
    ordered = np.sort(values)[::-1] if higher else np.sort(values)
    n = len(ordered)
    found = []
    for k in range(1, n + 1):
        # the i-th best trial is the best of k if the other k - 1 are among the worse ones
        weights = np.array([math.comb(n - 1 - i, k - 1) for i in range(n)]) / math.comb(n, k)
        used = weights > 0
        found.append(float((weights[used] * ordered[used]).sum()))
    return np.array(found)


def _searched(rows: pd.DataFrame) -> int:
    """Return the number of trials of each arm that are drawn from the search space of the study."""
    return int(rows[rows["centre"] == ""]["arm"].value_counts().max())


def _ranges(space: str) -> str:
    """Return the ranges of the fields in a search space, given as JSON, as text."""
    return "; ".join(f"{_short(name)} {within}" for name, within in json.loads(space).items())


def _short(name: str) -> str:
    """Return the last part of a dotted field name."""
    return name.rpartition(".")[2]
