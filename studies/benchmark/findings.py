"""Evaluates the rows of the benchmark: values by repeat, ratios and targets, and exponents of cost along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from studies.benchmark.questions import Claim, Question


def with_rows(rows: pd.DataFrame, questions: Sequence[Question]) -> list[Question]:
    """Return the questions that have rows."""
    return [one for one in questions if (rows["condition"] == one.name).any()]


def values(rows: pd.DataFrame, question: str, arm: str, measure: str) -> pd.Series:
    """Return a measure of an arm, indexed by repeat."""
    wanted = rows[(rows["condition"] == question) & (rows["arm"] == arm) & (rows["measure"] == measure)]
    return wanted.set_index("seed")["value"]


def claim_values(rows: pd.DataFrame, question: Question, claim: Claim) -> pd.Series:
    """Return the value of a claim, indexed by repeat: a measure, or its ratio to that of another arm in the same repeat."""
    own = values(rows, question.name, claim.arm, claim.measure)
    if claim.against is None:
        return own
    return (own / values(rows, question.name, claim.against, claim.measure)).dropna()


def is_met(claim: Claim, median: float) -> bool:
    """Return whether a median reaches the target of a claim."""
    return (claim.most is None or median <= claim.most) and (claim.least is None or median >= claim.least)


def curve(rows: pd.DataFrame, question: Question, way: str, measure: str) -> pd.DataFrame:
    """Return the points of a way of training along an axis: columns `x` and `y`, a row for each repeat."""
    here = rows[(rows["condition"] == question.name) & (rows["measure"] == measure)]
    parts = here["arm"].str.rpartition(" @ ")
    mine = parts[0] == way
    return pd.DataFrame({"x": parts[2][mine].astype(float), "y": here["value"][mine]}).sort_values("x")


def exponent(points: pd.DataFrame) -> tuple[float, float, float]:
    """Return (exponent, low, high) of a power law, fitted by least squares of logarithms, with its 95 % t interval."""
    line = stats.linregress(np.log(points["x"]), np.log(points["y"].clip(lower=1e-9)))
    wide = line.stderr * stats.t.ppf(0.975, max(1, len(points) - 2))
    return line.slope, line.slope - wide, line.slope + wide


def ways(question: Question) -> list[str]:
    """Return the ways of training that a question compares along its axis."""
    return list(dict.fromkeys(arm.rpartition(" @ ")[0] for arm in question.arms))
