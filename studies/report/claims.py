"""What a paper reports beside what was measured, with the verdict that follows from the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from studies.claims import Claim
from studies.report.measures import Measure, measure, p_text
from studies.report.pairing import Paired, by_seed, mean_interval, paired
from studies.report.rows import FINISHED, arms_of
from studies.report.tables import markdown

REPRODUCED, DIRECTION, NOT, UNTESTED = "reproduced", "direction only", "not reproduced", "not tested here"
FEW = f"{UNTESTED} (too few seeds)"
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
    paper = claim.paper or f"{claim.arm} {'higher' if claim.higher else 'lower'} than {claim.against}"
    return [f"{claim.text} ({measure(claim.metric).label})", paper, ours, n, f"**{verdict}**", claim.differs or "–"]


def judged(rows: pd.DataFrame, claim: Claim) -> tuple[str, str, str]:
    """(verdict, what was measured, seeds), by fixed rules.

    A number is reproduced where it lies, as rounded in the paper, in our 95 % t interval of the mean over seeds; a claim
    without a number where the 95 % interval of the paired difference excludes 0 on the claimed side. A number that is missed
    is "direction only" where the claim names an arm to be better than, and that much holds. One seed has no interval and
    tests nothing; what no seed changes needs none.
    """
    shown, named = measure(claim.metric), [claim.arm, *([claim.against] if claim.against else [])]
    if any(
        arm not in arms_of(rows) or claim.metric not in rows or by_seed(rows, arm, claim.metric).empty for arm in named
    ):
        return UNTESTED, "–", "–"
    values = by_seed(rows, claim.arm, claim.metric)
    found = paired(rows, claim.metric, claim.arm, claim.against) if claim.against else None
    holds = found is not None and found.has_interval and (found.low > 0 if claim.higher else found.high < 0)
    exact = claim.arm in EXACT
    if found is not None and exact and claim.against in EXACT:
        holds = found.difference > 0 if claim.higher else found.difference < 0
    effect = f"{claim.arm} minus {claim.against}: {difference(shown, found)}" if found else ""
    few = (found.n if found else len(values)) < 2 and not all(arm in EXACT for arm in named)
    if not claim.paper:
        return (FEW if few else REPRODUCED if holds else NOT), effect, str(found.n if found else 0)
    mean, low, high = mean_interval(values)
    interval = f" ({shown.number(low)} to {shown.number(high)})" if low == low else " (no interval)"
    ours = "; ".join(filter(None, [shown.number(mean) + ("" if exact else interval), effect]))
    n = "exact" if exact else str(len(values))
    if few:
        return FEW, ours, n
    decimals = len(claim.paper.partition(".")[2])
    paper, half_digit = float(claim.paper) / shown.scale, 0.5 / 10**decimals / shown.scale
    if (mean if exact else low) - half_digit <= paper <= (mean if exact else high) + half_digit:
        return REPRODUCED, ours, n
    side = "lower" if mean < paper else "higher"
    return f"{DIRECTION if holds else NOT} ({side} than the paper's)", ours, n


def difference(shown: Measure, found: Paired) -> str:
    """A paired difference with its interval and p-value."""
    half_width = (found.high - found.low) / 2
    amount, low, high = shown.differences(half_width, found.difference, found.low, found.high)
    return f"{amount} ({low} to {high}, {p_text(found.p)})" if found.has_interval else f"{amount} (no interval)"
