"""What a paper reports beside what was measured, with the verdict that follows from the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from studies.claims import Claim
from studies.report.measures import Measure, measure, p_text
from studies.report.pairing import Paired, by_seed, mean_interval, paired
from studies.report.rows import FINISHED, arms_of
from studies.report.tables import markdown

REPRODUCED, DIRECTION, NOT, UNTESTED = "reproduced", "direction only", "not reproduced", "not tested here"
FEW, OTHER_DATA = f"{UNTESTED} (too few seeds)", f"{UNTESTED} (other data)"
#: what no seed changes: arms by the name that claims call them, and how the reference does
EXACT = {"pca": "pca", "mean image": "mean"}


def claims_table(rows: pd.DataFrame, reference: Mapping[str, float], claims: Sequence[Claim]) -> str:
    """A table with a line for each claim: the paper's value, ours with its 95 % interval, n and the verdict; "" without."""
    if not claims:
        return ""
    known = with_references(rows, reference)
    header = ["claim", "paper", "here (95 % interval)", "seeds", "verdict", "what differs"]
    return markdown(header, [line(known, claim) for claim in claims])


def with_references(rows: pd.DataFrame, reference: Mapping[str, float]) -> pd.DataFrame:
    """The rows and, as arms "pca" and "mean image" that every seed shares, the levels that they are judged by."""
    added = []
    for arm, key in EXACT.items():
        values = {f"final/recon_{name}": reference.get(f"{key}_{name}", np.nan) for name in ("mse", "sse")}
        added += [{"arm": arm, "seed": seed, "status": FINISHED, **values} for seed in sorted(set(rows["seed"]))]
    return pd.concat([rows, pd.DataFrame(added)], ignore_index=True)


def line(rows: pd.DataFrame, claim: Claim) -> list[str]:
    """One claim's cells."""
    verdict, ours, n = judged(rows, claim)
    effect = f"{claim.arm} {'higher' if claim.higher else 'lower'} than {claim.against}"
    paper = claim.paper or (f"{claim.arm} as {claim.stays_at}" if claim.stays_at else effect)
    return [f"{claim.text} ({measure(claim.metric).label})", paper, ours, n, f"**{verdict}**", claim.differs or "–"]


def judged(rows: pd.DataFrame, claim: Claim) -> tuple[str, str, str]:
    """(verdict, what was measured, seeds), by fixed rules.

    A number is reproduced where it lies, as rounded in the paper, in our 95 % t interval of the mean over seeds; a claim
    without a number where the 95 % interval of the paired difference excludes 0 on the claimed side; a claim that an arm
    stays at a value where that interval lies within the margin around 0. A number that is missed is "direction only" where
    the claim names an arm to be better than, and that much holds. One seed has no interval and tests nothing; what no seed
    changes needs none.
    """
    other = claim.against or claim.stays_at
    shown, named = measure(claim.metric), [claim.arm, *([other] if other else [])]
    if on_other_data(rows, claim.data):
        return OTHER_DATA, "–", "–"
    if any(
        arm not in arms_of(rows) or claim.metric not in rows or by_seed(rows, arm, claim.metric).empty for arm in named
    ):
        return UNTESTED, "–", "–"
    values = by_seed(rows, claim.arm, claim.metric)
    found = paired(rows, claim.metric, claim.arm, other) if other else None
    exact = claim.arm in EXACT
    effect = f"{claim.arm} minus {other}: {difference(shown, found)}" if found else ""
    few = (found.n if found else len(values)) < 2 and not all(arm in EXACT for arm in named)
    holds = found is not None and is_as_claimed(claim, found, by_seed(rows, named[-1], claim.metric))
    if not claim.paper and not claim.stays_at:
        return (FEW if few else REPRODUCED if holds else NOT), effect, str(found.n if found else 0)
    mean, low, high = mean_interval(values)
    interval = f" ({shown.number(low)} to {shown.number(high)})" if low == low else " (no interval)"
    ours = "; ".join(filter(None, [shown.number(mean) + ("" if exact else interval), effect]))
    n = "exact" if exact else str(len(values))
    if few:
        return FEW, ours, n
    if claim.stays_at:
        return (REPRODUCED if holds else NOT), ours, n
    decimals = len(claim.paper.partition(".")[2])
    paper, half_digit = float(claim.paper) / shown.scale, 0.5 / 10**decimals / shown.scale
    if (mean if exact else low) - half_digit <= paper <= (mean if exact else high) + half_digit:
        return REPRODUCED, ours, n
    side = "lower" if mean < paper else "higher"
    return f"{DIRECTION if holds else NOT} ({side} than the paper's)", ours, n


def is_as_claimed(claim: Claim, found: Paired, other: pd.Series) -> bool:
    """Whether the paired difference shows what is claimed of it; `other` has the values of what is compared with."""
    if claim.stays_at:
        margin = claim.margin * float(other.mean())
        low, high = (found.low, found.high) if found.has_interval else (found.difference, found.difference)
        return -margin < low and high < margin
    if claim.arm in EXACT and claim.against in EXACT:
        return found.difference > 0 if claim.higher else found.difference < 0
    return found.has_interval and (found.low > 0 if claim.higher else found.high < 0)


def on_other_data(rows: pd.DataFrame, name: str) -> bool:
    """Whether a run read other data than all of `name`, as far as the rows hold specs."""
    specs = [json.loads(spec) for spec in rows["spec"].dropna()] if "spec" in rows else []
    return any((spec["data"]["name"], spec["data"]["limit"]) != (name, None) for spec in specs)


def difference(shown: Measure, found: Paired) -> str:
    """A paired difference with its interval and p-value."""
    half_width = (found.high - found.low) / 2
    amount, low, high = shown.differences(half_width, found.difference, found.low, found.high)
    return f"{amount} ({low} to {high}, {p_text(found.p)})" if found.has_interval else f"{amount} (no interval)"
