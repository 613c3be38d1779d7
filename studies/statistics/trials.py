"""Reads the trials and choices of tuning, and selects the best trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.util.checks import finite, need
from stacked.util.errors import InputError
from stacked.util.serialization import parsed
from studies.design.search import LogRange, Space
from studies.statistics.measures import measure as metric
from studies.statistics.reading import RESTORE, json_object
from studies.statistics.rows import FINISHED, check_specs, load_table

if TYPE_CHECKING:
    import pandas as pd

FILE, CHOICES = "trials.csv", "choices.json"
_COLUMNS = ("trial", "run", "arm", "seed", "status", "values", "space", "spec")


def load_trials(out: Path) -> pd.DataFrame:
    """Read trials.csv: one row for each trial, including failed ones; raises as `load_rows`, and for a duplicate trial.

    The column `centre` is empty in records of before it existed, whose trials are all drawn from the search space of the study.
    """
    rows = stored_trials(out)
    return rows if "centre" in rows else rows.assign(centre="")


def stored_trials(out: Path) -> pd.DataFrame:
    """Read trials.csv as `load_trials`, with the columns of the file only."""
    path = out / FILE
    rows = load_table(path, _COLUMNS)
    check_specs(path, rows)
    for row in rows.to_dict("records"):
        try:
            values, space = (parsed(row[name]) for name in ("values", "space"))
            need(isinstance(values, dict) and isinstance(space, dict), "values and space must be JSON objects")
            need(all(isinstance(within, str) for within in space.values()), "the ranges in space must be strings")
            need(not math.isnan(row["trial"]), "it has no number")
        except ValueError as error:
            raise InputError(
                f"{path} has an invalid trial in the row of run {row['run']!r} ({error}): restore it"
            ) from error
    twice = rows[rows.duplicated(["run", "space"])]
    if not twice.empty:
        raise InputError(f"{path} holds the trial with run {twice.iloc[0]['run']!r} twice: keep one row")
    return rows


def load_choices(out: Path) -> dict[str, dict[str, Any]]:
    """Read choices.json: a dictionary with judged_by, run, values and edges for each arm; empty if the file does not exist.

    Raises InputError if the file cannot be read or has other contents.
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
                "a field of an arm has the wrong type",
            )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}): {RESTORE}") from error
    return dict(arms)


def chosen_among(out: Path) -> int:
    """Return the number of trials of each arm among which choices.json chose; 0 if it does not say."""
    path = out / CHOICES
    count = json_object(path).get("trials", 0)
    need(
        isinstance(count, int) and count >= 0, f"{path} has {count!r} for 'trials', which must be an integer: {RESTORE}"
    )
    return int(count)


def is_higher_better(measure: str) -> bool:
    """Return whether a higher value of a validation measure is better, as of accuracies; of errors a lower one is."""
    return metric(measure).better == "higher"


def validation_results(rows: pd.DataFrame, arm: str, measure: str) -> pd.Series:
    """Return the validation measure of each trial of an arm; infinitely bad if the trial failed or it is not finite."""
    import pandas as pd

    mine = rows[rows["arm"] == arm]
    column = f"valid/{measure}"
    values = mine[column] if column in mine else pd.Series(np.nan, index=mine.index)
    good = (mine["status"] == FINISHED) & np.isfinite(values)
    return values.where(good, -math.inf if is_higher_better(measure) else math.inf)


def best(rows: pd.DataFrame, arm: str, measure: str) -> pd.Series | None:
    """Return the row of the best trial of an arm (the first of equals); None if no trial finished."""
    values = validation_results(rows, arm, measure)
    if not np.isfinite(values).any():
        return None
    return rows.loc[values.idxmax() if is_higher_better(measure) else values.idxmin()]


def edges(space: Space, values: Mapping[str, Any]) -> dict[str, str]:
    """Return "low" or "high" for each field whose value lies at an edge of its range.

    Raises InputError for a value that a logarithmic range cannot contain.
    """
    for name, value in values.items():
        fits = not isinstance(space.get(name), LogRange) or (finite(value) and value > 0)
        need(fits, f"{FILE} has {value!r} for {name!r}, which must be a number above 0: restore it")
    found = {name: space[name].edge(value) for name, value in values.items() if name in space}
    return {name: side for name, side in found.items() if side}
