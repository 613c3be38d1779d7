"""Means over seeds and differences paired by seed, with Student's t intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
from scipy import stats

from stacked.util.errors import InputError
from studies.statistics.rows import FINISHED, arms_of

CONFIDENCE = 0.95
#: The mean of fewer values has no interval: that of two would be 12.7 standard errors wide on either side.
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Paired:
    """The mean difference arm - reference over the seeds that both finished.

    n: number of pairs. low, high: bounds of the 95 % t interval. p: of the two-sided paired t-test. The last three are NaN with
    fewer than two pairs, and if all differences are equal.
    """

    n: int
    difference: float
    low: float
    high: float
    p: float

    @property
    def standard_error(self) -> float:
        """The standard error of the mean difference; 0 if there is no interval."""
        return (self.high - self.low) / 2.0 / _t_quantile(self.n) if self.has_interval else 0.0

    @property
    def has_interval(self) -> bool:
        """Whether an interval is defined."""
        return not isnan(self.low)

    @property
    def includes_zero(self) -> bool:
        """Whether the interval includes 0; True if there is no interval."""
        return not self.has_interval or self.low <= 0.0 <= self.high


def by_seed(rows: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """Return the values of a metric in the finished runs of an arm, indexed by ascending seed, without NaN.

    Raises InputError for an unknown metric or arm, and for a seed with two rows.
    """
    if metric not in rows.columns:
        known = ", ".join(name for name in rows.columns if "/" in name)
        raise InputError(f"no metric {metric!r} in the rows: choose one of {known}")
    if arm not in arms_of(rows):
        raise InputError(f"no arm {arm!r} in the rows: choose one of {', '.join(arms_of(rows))}")
    mine = ((rows["status"] == FINISHED) & (rows["arm"] == arm)).to_numpy()
    # of two columns: a page asks hundreds of times, and rows have a hundred columns
    values = rows[metric][mine].set_axis(pd.Index(rows["seed"][mine], name="seed")).dropna().sort_index()
    if values.index.has_duplicates:
        raise InputError(f"arm {arm!r} has two finished runs of one seed: keep the row of one run")
    return values


def pairs(rows: pd.DataFrame, metric: str, arm: str, reference: str, reference_metric: str = "") -> pd.DataFrame:
    """Return a frame with columns `arm` and `reference` and a row for each common seed; raises as `by_seed`.

    reference_metric: the metric of the reference ("": `metric`).
    """
    both = {"arm": by_seed(rows, arm, metric), "reference": by_seed(rows, reference, reference_metric or metric)}
    return pd.concat(both, axis=1, join="inner")


def paired(rows: pd.DataFrame, metric: str, arm: str, reference: str, reference_metric: str = "") -> Paired:
    """Return the mean difference arm - reference over common seeds, its 95 % t interval and p; arguments as of `pairs`."""
    both = pairs(rows, metric, arm, reference, reference_metric)
    differences = (both["arm"] - both["reference"]).to_numpy(dtype=np.float64)
    n = len(differences)
    if n == 0:
        return Paired(0, nan, nan, nan, nan)
    mean = float(differences.mean())
    # equal differences of unequal floats have a spread of rounding errors, which would give a tiny p
    rounding = 1e-12 * float(np.abs(both.to_numpy()).max())
    if n < 2 or np.ptp(differences) <= rounding:
        return Paired(n, mean, nan, nan, nan)
    error = float(differences.std(ddof=1)) / sqrt(n)
    half = _t_quantile(n) * error
    p = 2.0 * float(stats.t.sf(abs(mean) / error, n - 1))
    return Paired(n, mean, mean - half, mean + half, p)


def mean_interval(values: Sequence[float] | pd.Series) -> tuple[float, float, float]:
    """Return (mean, low, high) with the 95 % t interval; the bounds are NaN for fewer than three values, all for none."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return nan, nan, nan
    mean = float(array.mean())
    if len(array) < LEAST_SEEDS:
        return mean, nan, nan
    half = _t_quantile(len(array)) * float(array.std(ddof=1)) / sqrt(len(array))
    return mean, mean - half, mean + half


def _t_quantile(n: int) -> float:
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2.0, n - 1))
