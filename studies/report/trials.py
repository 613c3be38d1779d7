"""The trials by which arms were tuned: rows, the best of them, and how the best improved with their number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stacked.util.checks import finite, need
from stacked.util.errors import InputError
from stacked.util.serialization import parsed
from studies.design.search import LogRange, Space
from studies.figures.scales import accuracy_axis, log_axis
from studies.figures.style import arm_colours, label_ends, new_figure
from studies.report.tables import markdown
from studies.statistics.reading import RESTORE, json_object
from studies.statistics.rows import FINISHED, check_specs, load_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE, CHOICES = "trials.csv", "choices.json"
#: numbers of trials whose expected best stands in the table
SHOWN = (1, 2, 4, 8, 16, 32)
_COLUMNS = ("trial", "run", "arm", "seed", "status", "values", "space", "spec")


def load_trials(out: Path) -> pd.DataFrame:
    """Read trials.csv: one row a trial, failed ones included; errors as `load_rows`, and for a trial that is there twice."""
    path = out / FILE
    rows = load_table(path, _COLUMNS)
    check_specs(path, rows)
    for row in rows.to_dict("records"):
        try:
            values, space = (parsed(row[name]) for name in ("values", "space"))
            need(isinstance(values, dict) and isinstance(space, dict), "values and space must be given by name")
            need(all(isinstance(within, str) for within in space.values()), "what was searched must be told in words")
            need(row["trial"] >= 0, f"its number is {row['trial']:g}")
        except ValueError as error:
            raise InputError(
                f"{path} has a trial that is none in the row of run {row['run']!r} ({error}): restore it"
            ) from error
    twice = rows[rows.duplicated(["run", "space"])]
    if not twice.empty:
        raise InputError(f"{path} holds the run {twice.iloc[0]['run']!r} of a trial twice: keep one row")
    return rows


def load_choices(out: Path) -> dict[str, dict[str, Any]]:
    """What tuning chose, by arm: judged_by, run, values and edges, as choices.json has them; empty without that file.

    Raises InputError where it cannot be read, or is not of a study.
    """
    path = out / CHOICES
    if not path.exists():
        return {}
    arms = json_object(path).get("arms")
    try:
        if not isinstance(arms, dict):
            raise ValueError("it has no arms")
        for choice in arms.values():
            right = all(isinstance(choice[name], dict) for name in ("values", "edges"))
            need(
                right and all(isinstance(choice[name], str) for name in ("judged_by", "run")),
                "an arm's fields are none",
            )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}): {RESTORE}") from error
    return dict(arms)


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


def tuning_note(out: Path) -> str:
    """How arms were tuned, in a sentence and a table; or that they were not."""
    choices, rows = _chosen_of(out)
    if not choices:
        return "Arms were not tuned for this record: all have the study's own settings, or the project's."
    trials = int(rows["arm"].value_counts().max())
    text = (
        f"Each arm was tuned with {trials} trials, which are rows of [{FILE}]({FILE}): settings from a Sobol sequence, each "
        "trained with the budget of a run and a seed that no run of this record has, and judged on validation images. The "
        "choice was made before the test set was read. The expected best of k trials is the mean over all subsets of k: where "
        "it still falls much at the end, an arm may do better with more trials."
    )
    shown = [k for k in SHOWN if k < trials] + [trials]
    header = ["arm", "judged by", "did not finish", *(f"best of {k}" for k in shown), "chosen", "searched"]
    lines = []
    for arm, choice in choices.items():
        measure, mine = choice["judged_by"], rows[rows["arm"] == arm]
        expected = expected_best(
            judged(rows, arm, measure, measure.endswith("_acc")).to_numpy(), measure.endswith("_acc")
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
    panels = figure.subplots(1, len(measures), squeeze=False, width_ratios=[3, *[1] * (len(measures) - 1)])[0]
    for axes, name in zip(panels, measures, strict=True):
        labels = []
        share = name.endswith("_acc")
        for arm in [arm for arm, choice in choices.items() if choice["judged_by"] == name]:
            values = expected_best(judged(rows, arm, name, share).to_numpy(), share) * (100 if share else 1)
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
        axes.set_title(f"Expected best validation {'accuracy, %' if share else name.replace('recon_', '').upper()}")
        axes.set_xlim(0.7, len(k) * 1.02)
        label_ends(axes, len(k) * 1.02, labels)
    return figure


def _short(name: str) -> str:
    """A field without the part of the spec that it is in."""
    return name.rpartition(".")[2]


def judged(rows: pd.DataFrame, arm: str, measure: str, higher: bool) -> pd.Series:
    """What the measure on validation images was in each trial of the arm; the worst possible where one did not finish."""
    mine = rows[rows["arm"] == arm]
    column = f"valid/{measure}"
    values = mine[column] if column in mine else pd.Series(np.nan, index=mine.index)
    good = (mine["status"] == FINISHED) & np.isfinite(values)
    return values.where(good, -math.inf if higher else math.inf)


def best(rows: pd.DataFrame, arm: str, measure: str, higher: bool) -> pd.Series | None:
    """The row of the arm's best trial, the first of equals; None where none finished."""
    values = judged(rows, arm, measure, higher)
    if not np.isfinite(values).any():
        return None
    return rows.loc[values.idxmax() if higher else values.idxmin()]


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


def edges(space: Space, values: Mapping[str, Any]) -> dict[str, str]:
    """The fields whose value lies at an edge of its range, and which: "low" or "high"; InputError for a value of no range."""
    for name, value in values.items():
        fits = not isinstance(space.get(name), LogRange) or (finite(value) and value > 0)
        need(fits, f"{FILE} has {value!r} for {name!r}, which is a number above 0: restore it")
    found = {name: space[name].edge(value) for name, value in values.items() if name in space}
    return {name: side for name, side in found.items() if side}
