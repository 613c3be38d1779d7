"""What a paper reports beside what was measured, with the verdict that follows from the rows by fixed rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt

import numpy as np
import pandas as pd

from studies.design.claims import Claim
from studies.report.tables import is_equal, markdown, possible_differences
from studies.statistics.measures import Measure, measure, p_text
from studies.statistics.pairing import CONFIDENCE, Paired, by_seed, mean_interval, paired
from studies.statistics.rows import FINISHED, arms_of

REPRODUCED, DIRECTION, NOT, UNTESTED = "reproduced", "direction only", "not reproduced", "not tested here"
UNDECIDED = "undecided (more seeds)"
FEW, OTHER_DATA = f"{UNTESTED} (too few seeds)", f"{UNTESTED} (other data)"
#: what no seed changes: arms by the name that claims call them, and how the reference does
EXACT = {"pca": "pca", "mean image": "mean"}
#: A number without a ± of its own, and not an accuracy, is reproduced within this part of it.
MARGIN = 0.05
#: Of a normal distribution, within so many standard deviations on each side lie 95 %.
NORMAL = 1.959964

RULES = (
    "A *number* is reproduced where our 95 % interval over seeds lies within the margin of the paper's value: the paper's own "
    "±, else the binomial 95 % half width of its test set for an accuracy, else 5 % of the value; it is different where the "
    "interval lies outside of the margin, else undecided. An *effect* is reproduced where the difference paired by seed has "
    "the claimed sign and p < 0.05 after Holm's correction over the effects of this table; direction only where just the sign "
    "is as claimed."
)


@dataclass(frozen=True)
class Tested:
    """What a claim came to: the verdict, what was measured, over how many seeds, within which margin, and an effect's p."""

    verdict: str
    here: str = "–"
    seeds: str = "–"
    margin: str = "–"
    p: float = nan


def claims_table(rows: pd.DataFrame, reference: Mapping[str, float], claims: Sequence[Claim]) -> str:
    """A table with a line for each claim: the paper's value, ours with its 95 % interval, seeds and the verdict; "" without."""
    if not claims:
        return ""
    known = with_references(rows, reference)
    header = ["claim", "paper", "margin", "here (95 % interval)", "seeds", "verdict", "what differs"]
    lines = []
    for claim, found in zip(claims, check_claims(known, claims), strict=True):
        effect = f"{claim.arm} {'higher' if claim.higher else 'lower'} than {claim.against}"
        paper = claim.paper or (f"{claim.arm} as {claim.stays_at}" if claim.stays_at else effect)
        text = f"{claim.text} ({measure(claim.metric).label})"
        lines.append([text, paper, found.margin, found.here, found.seeds, f"**{found.verdict}**", claim.differs or "–"])
    return f"{markdown(header, lines)}\n\n{RULES}"


def comparisons_table(rows: pd.DataFrame, reference: Mapping[str, float], claims: Sequence[Claim]) -> str:
    """A table of comparisons that no paper makes: the difference, its interval, Holm's p, and what it allows; "" without."""
    if not claims:
        return ""
    known = with_references(rows, reference)
    found = [check_claim(known, claim) for claim in claims]
    lines = []
    for claim, one, p in zip(claims, found, holm([one.p for one in found]), strict=True):
        shown = measure(claim.metric)
        lines.append([f"{claim.text} ({shown.label})", one.here, one.seeds, p_text(p), finding(known, claim, p)])
    header = ["our own comparison", "difference (95 % interval)", "seeds", "p, Holm's correction", "finding"]
    return markdown(header, lines)


def finding(rows: pd.DataFrame, claim: Claim, p: float) -> str:
    """What a comparison shows: which arm is lower or higher, or what differences its interval still allows."""
    assert claim.against is not None
    if untested(rows, claim):
        return UNTESTED
    found = paired(rows, claim.metric, claim.arm, claim.against)
    if p < 1 - CONFIDENCE:
        return f"{claim.arm} is {'lower' if found.difference < 0 else 'higher'} than {claim.against}"
    shown, level = measure(claim.metric), float(by_seed(rows, claim.against, claim.metric).mean())
    if is_equal(shown, found, level):
        return f"equal within {shown.margin_text}"
    return ", ".join(
        filter(None, ["no difference was shown", possible_differences(shown, found, level, claim.against)])
    )


def with_references(rows: pd.DataFrame, reference: Mapping[str, float]) -> pd.DataFrame:
    """The rows and, as arms "pca" and "mean image" that every seed shares, the levels that claims name."""
    added = []
    for arm, key in EXACT.items():
        values = {f"final/recon_{name}": reference.get(f"{key}_{name}", np.nan) for name in ("mse", "sse")}
        added += [{"arm": arm, "seed": seed, "status": FINISHED, **values} for seed in sorted(set(rows["seed"]))]
    return pd.concat([rows, pd.DataFrame(added)], ignore_index=True)


def check_claims(rows: pd.DataFrame, claims: Sequence[Claim]) -> list[Tested]:
    """All claims of a paper, its effects with Holm's correction for their number."""
    found = [check_claim(rows, claim) for claim in claims]
    corrected = holm([one.p for one in found])
    return [
        one if isnan(p) else replace(one, p=p, verdict=REPRODUCED if p < 1 - CONFIDENCE else DIRECTION)
        for one, p in zip(found, corrected, strict=True)
    ]


def check_claim(rows: pd.DataFrame, claim: Claim) -> Tested:
    """One claim by itself, without a correction for others. `p` is NaN where it is no effect with the claimed sign."""
    reason = untested(rows, claim)
    if reason:
        return Tested(reason)
    other = claim.against or claim.stays_at
    return number(rows, claim) if other is None else compared(rows, claim, other)


def untested(rows: pd.DataFrame, claim: Claim) -> str:
    """Why a claim is not tested; "" where it is."""
    other = claim.against or claim.stays_at
    if on_other_data(rows, claim.data):
        return OTHER_DATA
    named = [claim.arm, *([other] if other else [])]
    known = [arm in arms_of(rows) and claim.metric in rows for arm in named]
    return "" if all(known) and all(len(by_seed(rows, arm, claim.metric)) for arm in named) else UNTESTED


def number(rows: pd.DataFrame, claim: Claim) -> Tested:
    """A number that the paper prints."""
    shown, values = measure(claim.metric), by_seed(rows, claim.arm, claim.metric)
    paper, within = float(claim.paper) / shown.scale, margin(claim)
    mean, low, high = mean_interval(values)
    if claim.arm in EXACT:
        low = high = mean
    told = "±" + shown.number(within).lstrip("+")
    interval = f" ({shown.number(low)} to {shown.number(high)})" if not isnan(low) else " (no interval)"
    here = shown.number(mean) + ("" if claim.arm in EXACT else interval)
    seeds = "exact" if claim.arm in EXACT else str(len(values))
    if isnan(low):
        return Tested(FEW, here, seeds, told)
    if paper - within <= low and high <= paper + within:
        return Tested(REPRODUCED, here, seeds, told)
    if high < paper - within or low > paper + within:
        return Tested(f"different ({'lower' if mean < paper else 'higher'})", here, seeds, told)
    return Tested(UNDECIDED, here, seeds, told)


def margin(claim: Claim) -> float:
    """How far from the paper's number counts as the same, in the unit of the rows.

    What no seed changes is to agree in all digits that are printed.
    """
    shown = measure(claim.metric)
    value, decimals = float(claim.paper) / shown.scale, len(claim.paper.partition(".")[2])
    if claim.plus_minus:
        return float(claim.plus_minus) / shown.scale
    if claim.arm in EXACT:
        return 0.5 / 10**decimals / shown.scale * (1 + 1e-9)
    if shown.is_share:
        return NORMAL * sqrt(value * (1 - value) / claim.images)
    return MARGIN * abs(value)


def compared(rows: pd.DataFrame, claim: Claim, other: str) -> Tested:
    """An effect, or that an arm stays at a value."""
    shown, found = measure(claim.metric), paired(rows, claim.metric, claim.arm, other)
    here, seeds = f"{claim.arm} minus {other}: {difference(shown, found)}", str(found.n)
    exact = claim.arm in EXACT and other in EXACT
    if found.n < 2 and not exact:
        return Tested(FEW, here, seeds)
    if claim.stays_at:
        within = claim.margin * float(by_seed(rows, other, claim.metric).mean())
        low, high = (found.low, found.high) if found.has_interval else (found.difference, found.difference)
        told = f"±{100 * claim.margin:g} %"
        if -within < low and high < within:
            return Tested(REPRODUCED, here, seeds, told)
        return Tested(NOT if low > within or high < -within else UNDECIDED, here, seeds, told)
    as_claimed = found.difference > 0 if claim.higher else found.difference < 0
    if exact or not as_claimed:
        return Tested(REPRODUCED if as_claimed else NOT, here, seeds)
    if not found.has_interval:
        return Tested(DIRECTION, here, seeds)
    return Tested(REPRODUCED if found.p < 1 - CONFIDENCE else DIRECTION, here, seeds, p=found.p)


def holm(values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number by Holm 1979; NaN, which is none, stays and does not count."""
    order = sorted((index for index, p in enumerate(values) if not isnan(p)), key=lambda index: values[index])
    found, so_far = [nan] * len(values), 0.0
    for rank, index in enumerate(order):
        so_far = max(so_far, min(1.0, (len(order) - rank) * values[index]))
        found[index] = so_far
    return found


def on_other_data(rows: pd.DataFrame, name: str) -> bool:
    """Whether a run read other data than all of `name`, as far as the rows hold specs."""
    specs = [json.loads(spec) for spec in rows["spec"].dropna()] if "spec" in rows else []
    return any((spec["data"]["name"], spec["data"]["limit"]) != (name, None) for spec in specs)


def difference(shown: Measure, found: Paired) -> str:
    """A paired difference with its interval and p-value."""
    half_width = (found.high - found.low) / 2
    amount, low, high = shown.differences(half_width, found.difference, found.low, found.high)
    return f"{amount} ({low} to {high}, {p_text(found.p)})" if found.has_interval else f"{amount} (no interval)"
