"""What the rows of the benchmark say: values by repeat, ratios beside what was aimed at, and how cost grows along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from studies.benchmark.questions import Claim, Question


def answered(rows: pd.DataFrame, questions: Sequence[Question]) -> list[Question]:
    """The questions of which there are rows."""
    return [one for one in questions if (rows["condition"] == one.name).any()]


def values(rows: pd.DataFrame, question: str, arm: str, measure: str) -> pd.Series:
    """The measure of an arm, by repeat."""
    wanted = rows[(rows["condition"] == question) & (rows["arm"] == arm) & (rows["measure"] == measure)]
    return wanted.set_index("seed")["value"]


def found(rows: pd.DataFrame, question: Question, claim: Claim) -> pd.Series:
    """What a claim is about, by repeat: a measure, or its ratio to that of another arm in the same repeat."""
    own = values(rows, question.name, claim.arm, claim.measure)
    if claim.against is None:
        return own
    return (own / values(rows, question.name, claim.against, claim.measure)).dropna()


def met(claim: Claim, median: float) -> bool:
    """Whether a median is what was aimed at."""
    return (claim.most is None or median <= claim.most) and (claim.least is None or median >= claim.least)


def curve(rows: pd.DataFrame, question: Question, way: str, measure: str) -> pd.DataFrame:
    """Of a way along an axis: a row a repeat, with `x` and `y`."""
    here = rows[(rows["condition"] == question.name) & (rows["measure"] == measure)]
    parts = here["arm"].str.rpartition(" @ ")
    mine = parts[0] == way
    return pd.DataFrame({"x": parts[2][mine].astype(float), "y": here["value"][mine]}).sort_values("x")


def exponent(points: pd.DataFrame) -> tuple[float, float, float]:
    """Of a power law through the points, by least squares of logarithms, with its 95 % t interval."""
    line = stats.linregress(np.log(points["x"]), np.log(points["y"].clip(lower=1e-9)))
    wide = line.stderr * stats.t.ppf(0.975, max(1, len(points) - 2))
    return line.slope, line.slope - wide, line.slope + wide


def ways(question: Question) -> list[str]:
    """The ways that a question looks at along its axis."""
    return list(dict.fromkeys(arm.rpartition(" @ ")[0] for arm in question.arms))
