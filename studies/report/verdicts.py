"""Compares the claims of a paper with measured rows: fixed rules give each claim a verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, sqrt

import numpy as np
import pandas as pd

from studies.design.claims import Claim
from studies.report.tables import is_equal, markdown, possible_differences
from studies.statistics.equivalence import p_outside, p_within
from studies.statistics.measures import Measure, measure, p_cell
from studies.statistics.pairing import CONFIDENCE, LEAST_SEEDS, Paired, by_seed, mean_interval, paired
from studies.statistics.rows import FINISHED, OF_METRIC, arms_of, with_deviations, with_error_rates

REPRODUCED, DIRECTION, NOT, UNTESTED = "reproduced", "direction only", "not reproduced", "not tested here"
UNDECIDED = "undecided (more seeds)"
FEW, OTHER_DATA = f"{UNTESTED} (too few seeds)", f"{UNTESTED} (other data)"
OWN_DRAW = f"{UNTESTED} (our own draw of the data)"
#: Arms that do not depend on a seed, by their name in claims, with the prefix of their keys in reference.json.
EXACT = {"pca": "pca", "mean image": "mean"}
#: The relative margin of a number that is no accuracy and for which the paper gives no ±.
MARGIN = 0.05
#: The 97.5 % quantile of the standard normal distribution.
NORMAL = 1.959964

_RULES = (
    "A *number* is reproduced if our mean was shown to lie within the margin around the paper's value, different if it was shown "
    "to lie outside, and else undecided. The margin is the ± of the paper; if it gives none, the half width of the binomial 95 % "
    "interval on its test set for an accuracy or error rate, and 5 % of the value for other numbers. The tests are two one-sided "
    "t-tests (Schuirmann 1987), each at 2.5 %: p is the smallest α for which the whole (1 − α) interval over seeds lies within "
    "the margin (or outside), so that p < 0.05 where the 95 % interval does. An *effect* is reproduced if the mean difference "
    "paired by seed has the claimed sign and p < 0.05 in a two-sided t-test; it is “direction only” if only the sign is as "
    "claimed, and “not reproduced” if the sign is the opposite. A claim that an arm stays at a reference has the margin named "
    "beside it and the tests of a number; it is “not reproduced” if the mean was shown to lie outside. Numbers need three seeds, "
    "effects two. Values that do not depend on a seed are not tested: they are reproduced if they agree in all printed digits. "
    "Verdicts are by p with Holm's (1979) correction for the number of claims that {family}. A verdict is about the "
    "paper's claim in our setting, whose differences stand beside it."
)
#: The rules of the table of one record, and of the table of all records of each paper.
RULES_OF_RECORD = _RULES.format(family="this record tests")
RULES_OF_PAPER = _RULES.format(family="all records of the same paper test together, on all its datasets")
#: The rule that is added if there are such claims.
RULE_OF_OWN_DRAW = (
    "Where the data are our own draw of what the paper describes in part only, a number is not compared, and an effect is "
    "“direction only” at best."
)


@dataclass(frozen=True)
class Tested:
    """The result of a claim.

    verdict: as in the table. otherwise: the verdict if p is not significant. here: the measured value.
    seeds: number of seeds. margin: as text. p, corrected: of the test, without and with Holm's correction (NaN: no test).
    """

    verdict: str
    here: str = "–"
    seeds: str = "–"
    margin: str = "–"
    otherwise: str = ""
    p: float = nan
    corrected: float = nan


def claims_table(rows: pd.DataFrame, reference: Mapping[str, float], claims: Sequence[Claim]) -> str:
    """Return a Markdown table with the paper's value, ours and the verdict of each claim on these data; "" without claims."""
    if not claims:
        return ""
    known, claims = with_references(rows, reference), on_same_data(rows, claims)
    header = ["claim", "paper", "margin", "here (95 % interval)", "seeds", "p", "p, Holm", "verdict", "what differs"]
    lines = []
    for claim, found in zip(claims, check_claims(known, claims), strict=True):
        tested = [found.here, found.seeds, p_cell(found.p), p_cell(found.corrected), f"**{found.verdict}**"]
        text = f"{claim.text} ({measure(claim.metric).label})"
        lines.append([text, stated(claim), found.margin, *tested, claim.differs or "–"])
    return f"{markdown(header, lines)}\n\n{rules(RULES_OF_RECORD, claims)}"


def rules(text: str, claims: Iterable[Claim]) -> str:
    """Return the rules below a table of these claims."""
    return f"{text} {RULE_OF_OWN_DRAW}" if any(claim.own_draw for claim in claims) else text


def stated(claim: Claim) -> str:
    """Return what the paper states: a number with its unit, or how an arm compares with another."""
    if claim.paper:
        return f"{claim.paper}{measure(claim.metric).unit}"
    if claim.stays_at:
        return f"{named(claim.arm)} equal to {named(claim.stays_at)}"
    return f"{named(claim.arm)} {'higher' if claim.higher else 'lower'} than {named_other(claim)}"


def named_other(claim: Claim) -> str:
    """Return the name of what an arm is compared with, and its metric if that is another one."""
    metric = f" ({measure(claim.against_metric).label})" if claim.against_metric else ""
    return named(claim.against or claim.stays_at or "") + metric


def named(arm: str) -> str:
    """Return the name of an arm or of a reference in texts."""
    return "PCA" if arm == "pca" else arm


def comparisons_table(rows: pd.DataFrame, reference: Mapping[str, float], claims: Sequence[Claim]) -> str:
    """Return a Markdown table of the study's own comparisons on these data, with Holm's correction; "" without comparisons."""
    if not claims:
        return ""
    known, names = with_references(rows, reference), {*datasets_of(rows), ""}
    if any(claim.data in names for claim in claims):
        # unlike a claim of a paper, a comparison may be made on a part of the dataset
        claims, known = on_same_data(rows, claims), known.drop(columns="spec", errors="ignore")
    lines = []
    for claim, one in zip(claims, check_claims(known, claims), strict=True):
        text, found = f"{claim.text} ({measure(claim.metric).label})", finding(known, claim, one.corrected)
        lines.append([text, one.here, one.seeds, p_cell(one.p), p_cell(one.corrected), found])
    header = ["our own comparison", "difference (95 % interval)", "seeds", "p", "p, Holm", "finding"]
    return markdown(header, lines)


def finding(rows: pd.DataFrame, claim: Claim, p: float) -> str:
    """Return the finding of a comparison in words; if no difference was shown, the range that the interval allows."""
    assert claim.against is not None
    if reason := untested(rows, claim):
        return reason
    found, other = paired(rows, claim.metric, claim.arm, claim.against, claim.against_metric), named_other(claim)
    if found.n < 2:
        return FEW
    if not found.has_interval:
        return "no test is possible, because all differences are equal"
    if p < 1 - CONFIDENCE:
        return f"{claim.arm} is {'lower' if found.difference < 0 else 'higher'} than {other}"
    shown, level = measure(claim.metric), float(by_seed(rows, claim.against, claim.metric_of_other).mean())
    if is_equal(shown, found, level):
        return f"equal within {shown.margin_text}"
    return ", ".join(filter(None, ["no difference was shown", possible_differences(shown, found, level, other)]))


def with_references(rows: pd.DataFrame, reference: Mapping[str, float]) -> pd.DataFrame:
    """Return the rows with error rates and their deviations, and with the references of reference.json as arms.

    References ("pca", "mean image", and those that the study names) are the same for every seed; "exact" is True in their rows.
    """
    values = {
        arm: {f"final/recon_{name}": reference.get(f"{key}_{name}", np.nan) for name in ("mse", "sse")}
        for arm, key in EXACT.items()
    }
    for key, value in reference.items():
        arm, separator, metric = key.partition(OF_METRIC)
        if separator:
            values.setdefault(arm, {})[f"{separator[1:]}{metric}"] = value
    added = [
        {"arm": arm, "seed": seed, "status": FINISHED, "exact": True, **found}
        for arm, found in values.items()
        for seed in sorted(set(rows["seed"]))
    ]
    return with_deviations(with_error_rates(pd.concat([rows, pd.DataFrame(added)], ignore_index=True)))


def is_exact(rows: pd.DataFrame, arm: str) -> bool:
    """Return whether an arm of `with_references` does not depend on a seed."""
    return "exact" in rows and bool(rows["exact"][rows["arm"] == arm].eq(True).any())


def check_claims(rows: pd.DataFrame, claims: Sequence[Claim]) -> list[Tested]:
    """Return the results of claims on one record, with Holm's correction for the number of those that were tested."""
    return corrected([tested(rows, claim) for claim in claims])


def corrected(found: Sequence[Tested]) -> list[Tested]:
    """Return the results of a family of claims with Holm's correction for the number of tests, and the verdicts by it."""
    return [
        replace(one, corrected=p, verdict=one.otherwise if p >= 1 - CONFIDENCE else one.verdict)
        for one, p in zip(found, holm([one.p for one in found]), strict=True)
    ]


def check_claim(rows: pd.DataFrame, claim: Claim) -> Tested:
    """Return the result of a claim that is the only one."""
    return check_claims(rows, [claim])[0]


def tested(rows: pd.DataFrame, claim: Claim) -> Tested:
    """Return the result of a claim before correction: the verdict if its test is significant, and the one otherwise."""
    reason = untested(rows, claim)
    if reason:
        return Tested(reason)
    other = claim.against or claim.stays_at
    return number(rows, claim) if other is None else compared(rows, claim, other)


def untested(rows: pd.DataFrame, claim: Claim) -> str:
    """Return why a claim cannot be tested; "" if it can."""
    other = claim.against or claim.stays_at
    if on_other_data(rows, claim.data):
        return OTHER_DATA
    named = [(claim.arm, claim.metric), *([(other, claim.metric_of_other)] if other else [])]
    known = [arm in arms_of(rows) and metric in rows for arm, metric in named]
    return "" if all(known) and all(len(by_seed(rows, arm, metric)) for arm, metric in named) else UNTESTED


def number(rows: pd.DataFrame, claim: Claim) -> Tested:
    """Return the result of a claim on a number."""
    shown, values, exact = measure(claim.metric), by_seed(rows, claim.arm, claim.metric), is_exact(rows, claim.arm)
    paper, within = float(claim.paper) / shown.scale, margin(claim, exact)
    mean, low, high = mean_interval(values)
    if exact:
        low = high = mean
    margin_text = f"±{shown.scale * within:.2g}{shown.difference_unit}"
    interval = f" ({shown.number(low)} to {shown.number(high)})" if not isnan(low) else " (no interval)"
    here = shown.number(mean) + ("" if exact else interval)
    seeds = "exact" if exact else str(len(values))
    if claim.own_draw:
        return Tested(OWN_DRAW, here, seeds)
    if isnan(low):
        return Tested(FEW, here, seeds, margin_text)
    is_within = abs(mean - paper) <= within
    verdict = REPRODUCED if is_within else f"different ({'lower' if mean < paper else 'higher'})"
    if exact:
        return Tested(verdict, here, seeds, margin_text)
    error = float(values.std(ddof=1)) / sqrt(len(values))
    p = (p_within if is_within else p_outside)(mean - paper, error, len(values), within)
    return Tested(verdict, here, seeds, margin_text, UNDECIDED, p)


def margin(claim: Claim, exact: bool) -> float:
    """Return the largest difference from the paper's number that counts as reproduced, in the unit of the rows.

    For arms that do not depend on a seed (`exact`) it is half a unit of the last printed digit.
    """
    shown = measure(claim.metric)
    value, decimals = float(claim.paper) / shown.scale, len(claim.paper.partition(".")[2])
    if claim.plus_minus:
        return float(claim.plus_minus) / shown.scale
    if exact:
        return 0.5 / 10**decimals / shown.scale * (1 + 1e-9)
    if shown.is_share:
        return NORMAL * sqrt(value * (1 - value) / claim.images)
    return MARGIN * abs(value)


def compared(rows: pd.DataFrame, claim: Claim, other: str) -> Tested:
    """Return the result of a claim that an arm is higher or lower than `other`, or equal to it within a margin."""
    shown, found = measure(claim.metric), paired(rows, claim.metric, claim.arm, other, claim.against_metric)
    here, seeds = f"{named(claim.arm)} minus {named_other(claim)}: {difference(shown, found)}", str(found.n)
    exact = is_exact(rows, claim.arm) and is_exact(rows, other)
    reproduced = DIRECTION if claim.own_draw else REPRODUCED
    if found.n < (LEAST_SEEDS if claim.stays_at else 2) and not exact:
        return Tested(FEW, here, seeds)
    if claim.stays_at:
        within = claim.margin * abs(float(by_seed(rows, other, claim.metric).mean()))
        is_within = abs(found.difference) <= within
        p = (p_within if is_within else p_outside)(found.difference, found.standard_error, found.n, within)
        verdict = reproduced if is_within else NOT
        return Tested(verdict, here, seeds, f"±{100 * claim.margin:g} % of {other}", UNDECIDED, nan if exact else p)
    as_claimed = found.difference > 0 if claim.higher else found.difference < 0
    if exact:
        return Tested(reproduced if as_claimed else NOT, here, seeds)
    if not found.has_interval:
        return Tested(DIRECTION if as_claimed else NOT, here, seeds)
    verdict, otherwise = (reproduced, DIRECTION) if as_claimed else (NOT, NOT)
    return Tested(verdict, here, seeds, otherwise=otherwise, p=found.p)


def holm(values: Sequence[float]) -> list[float]:
    """Return the p-values with Holm's (1979) correction for their number; NaN values stay NaN and are not counted."""
    order = sorted((index for index, p in enumerate(values) if not isnan(p)), key=lambda index: values[index])
    found, so_far = [nan] * len(values), 0.0
    for rank, index in enumerate(order):
        so_far = max(so_far, min(1.0, (len(order) - rank) * values[index]))
        found[index] = so_far
    return found


def datasets_of(rows: pd.DataFrame) -> set[str]:
    """Return the names of the datasets of the rows; empty if they hold no specs."""
    return {json.loads(spec)["data"]["name"] for spec in rows["spec"].dropna()} if "spec" in rows else set()


def on_same_data(rows: pd.DataFrame, claims: Sequence[Claim]) -> Sequence[Claim]:
    """Return the claims on the dataset of the rows, or on a part of it, and on any data; all claims if there are none."""
    names = {*datasets_of(rows), ""}
    return [claim for claim in claims if claim.data in names] or claims


def on_other_data(rows: pd.DataFrame, name: str) -> bool:
    """Return whether any run used another dataset than `name` ("": any), or a part of it; False if the rows hold no specs."""
    if not name:
        return False
    specs = [json.loads(spec) for spec in rows["spec"].dropna()] if "spec" in rows else []
    return any((spec["data"]["name"], spec["data"]["limit"]) != (name, None) for spec in specs)


def difference(shown: Measure, found: Paired) -> str:
    """Return a paired difference with its interval as text."""
    half_width = (found.high - found.low) / 2
    amount, low, high = shown.differences(half_width, found.difference, found.low, found.high)
    return f"{amount} ({low} to {high})" if found.has_interval else f"{amount} (no interval)"
