"""How arms were tuned: a table of their trials, and how the best of these improved with their number."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stacked.util.checks import need
from studies.figures.scales import accuracy_axis, log_axis
from studies.figures.style import arm_colours, label_ends, new_figure
from studies.report.tables import markdown
from studies.statistics.rows import FINISHED
from studies.statistics.trials import CHOICES, FILE, load_choices, load_trials, validated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: numbers of trials whose expected best stands in the table
SHOWN = (1, 2, 4, 8, 16, 32)


def tuning_note(out: Path) -> str:
    """How arms were tuned, in a sentence and a table; or that they were not."""
    choices, rows = _chosen_of(out)
    if not choices:
        return "Arms were not tuned for this record: all have the study's own settings, or the project's."
    trials = int(rows["arm"].value_counts().max())
    text = (
        f"Each arm was tuned with {trials} trials, which are rows of [{FILE}]({FILE}): settings from a Sobol sequence, each "
        "trained with the budget of a run and a seed that no run of this record has, and judged on validation images. The "
        "choice was made before the test set was read. The command below with `--tune` made the trials and wrote what was "
        "chosen to [choices.json](choices.json), where the command finds it. The expected best of k trials is the mean over all "
        "subsets of k: where "
        "it still falls much at the end, an arm may do better with more trials."
    )
    shown = [k for k in SHOWN if k < trials] + [trials]
    header = ["arm", "judged by", "did not finish", *(f"best of {k}" for k in shown), "chosen", "searched"]
    lines = []
    for arm, choice in choices.items():
        measure, mine = choice["judged_by"], rows[rows["arm"] == arm]
        expected = expected_best(
            validated(rows, arm, measure, measure.endswith("_acc")).to_numpy(), measure.endswith("_acc")
        )
        told = ", ".join(
            f"{_short(name)} {value}{' (at the edge)' if name in choice['edges'] else ''}"
            for name, value in choice["values"].items()
        )
        spaces = {_short(name): within for space in mine["space"] for name, within in json.loads(space).items()}
        lines.append(
            [
                arm,
                f"validation {measure}",
                str(int((mine["status"] != FINISHED).sum())),
                *(f"{expected[k - 1]:.4g}" if math.isfinite(expected[k - 1]) else "–" for k in shown),
                told,
                "; ".join(f"{name} {within}" for name, within in spaces.items()),
            ]
        )
    return f"{text}\n\n{markdown(header, lines)}"


def draw_tuning(out: Path) -> Figure | None:
    """The expected best of k trials against k, a line an arm and a panel a measure; None without trials."""
    choices, rows = _chosen_of(out)
    if not choices:
        return None
    from matplotlib.ticker import MaxNLocator

    colours = arm_colours(list(choices))
    measures = list(dict.fromkeys(choice["judged_by"] for choice in choices.values()))
    figure = new_figure(3.6)
    figure.suptitle("Expected best validation result by number of trials", x=0.01, ha="left")
    panels = figure.subplots(1, len(measures), squeeze=False, width_ratios=[3, *[1] * (len(measures) - 1)])[0]
    for axes, name in zip(panels, measures, strict=True):
        labels = []
        share = name.endswith("_acc")
        for arm in [arm for arm, choice in choices.items() if choice["judged_by"] == name]:
            values = expected_best(validated(rows, arm, name, share).to_numpy(), share) * (100 if share else 1)
            k = np.arange(1, len(values) + 1)
            axes.plot(
                k[np.isfinite(values)], values[np.isfinite(values)], color=colours[arm], marker="o", markersize=2.5
            )
            labels.append((float(values[-1]), arm, colours[arm]))
        drawn = np.concatenate([line.get_ydata() for line in axes.get_lines()] or [np.array([])])
        if share:
            accuracy_axis(axes, drawn)
        else:
            log_axis(axes, drawn)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trials")
        axes.set_title("accuracy, %" if share else name.replace("recon_", "").upper())
        axes.set_xlim(0.7, len(k) * 1.02)
        label_ends(axes, len(k) * 1.02, labels)
    return figure


def _chosen_of(out: Path) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    """The choices and the trials that they are of; no choices and no trials where nothing was tuned.

    Raises InputError where the two do not fit.
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
            f"{out / CHOICES} does not fit {FILE}, which has {len(mine)} trials of arm {arm!r}, and of others {most}, judged by "
            f"{choice['judged_by']!r}: restore both, or tune again",
        )
    return choices, rows


def expected_best(values: NDArray[np.float64], higher: bool) -> NDArray[np.float64]:
    """The mean best of k trials drawn from these without replacement, for k from 1 to all of them (Dodge et al. 2019).

    Where trials failed, and count as infinitely bad, the mean is infinite for every k that may consist of such alone.
    """
    ordered = np.sort(values)[::-1] if higher else np.sort(values)
    n = len(ordered)
    found = []
    for k in range(1, n + 1):
        # the i-th best is the best of k where the other k - 1 are among those behind it
        weights = np.array([math.comb(n - 1 - i, k - 1) for i in range(n)]) / math.comb(n, k)
        used = weights > 0
        found.append(float((weights[used] * ordered[used]).sum()))
    return np.array(found)


def _short(name: str) -> str:
    """A field without the part of the spec that it is in."""
    return name.rpartition(".")[2]
