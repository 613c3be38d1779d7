"""The answer of a comparison of growth policies in a few sentences, from paired differences and their intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf, isnan, nan
from typing import Any

import pandas as pd

from stacked.spec.growth import POLICIES, Updates
from studies.statistics.measures import measure, p_text
from studies.statistics.pairing import by_seed, paired
from studies.statistics.rows import arms_of, finished, trained_arms
from studies.statistics.words import Words

MSE, PROBE = "final/recon_mse", "final/probe_acc"
#: The fraction of the reference's FLOPs by which an arm may differ and still count as equal.
EQUAL = 0.02
#: The number of arms that a list names; of the others, only their number is given.
NAMED = 4


def quote(rows: pd.DataFrame, reference: str) -> str:
    """Return sentences on reconstruction, linear probe and memory.

    The best arm has the lowest mean test MSE of the arms that are trained, pretrain without labels, and finished every seed
    that `reference` finished. Two arms are called different if the 95 % t interval of their difference, paired by seed,
    excludes 0. With a single seed no arms are called different.
    """
    done = finished(rows)
    if reference not in arms_of(done) or by_seed(done, reference, MSE).empty:
        return f"No answer: the reference arm {reference} has no finished run."
    field = Field.of(done, reference)
    if reference not in field.arms or len(field.arms) < 2:
        return f"No answer: there is no arm to compare with {reference}."
    sentences = (reconstruction(field), probe(field), caveat(field), memory(field), left_out(field))
    return Words.of(done).said(" ".join(filter(None, sentences)))


@dataclass(frozen=True)
class Field:
    """The arms that are compared.

    rows: finished rows of the seeds of the reference. arms: names of the arms by ascending mean test MSE. partial: arms that
    lack one of these seeds and are left out. mse: mean test MSE of each arm. n: number of seeds.
    """

    rows: pd.DataFrame
    reference: str
    arms: tuple[str, ...]
    partial: tuple[str, ...]
    mse: Mapping[str, float]
    n: int

    @classmethod
    def of(cls, done: pd.DataFrame, reference: str) -> Field:
        seeds = by_seed(done, reference, MSE).index
        rows = done[done["seed"].isin(seeds)]
        labelled = taught_arms(done)
        measured = {arm: by_seed(rows, arm, MSE) for arm in trained_arms(rows) if arm not in labelled}
        mse = {arm: float(values.mean()) for arm, values in measured.items() if len(values) == len(seeds)}
        unlabelled = [arm for arm in trained_arms(done) if arm not in labelled]
        ranked = tuple(sorted(mse, key=lambda arm: mse[arm]))
        return cls(rows, reference, ranked, tuple(arm for arm in unlabelled if arm not in mse), mse, len(seeds))

    def mean(self, arm: str, column: str) -> float:
        """Return the mean of a column over the seeds of an arm; NaN if it was not measured."""
        known = column in self.rows and arm in arms_of(self.rows)
        return float(by_seed(self.rows, arm, column).mean()) if known else nan

    @property
    def best(self) -> str:
        return self.arms[0]

    @cached_property
    def tied(self) -> list[str]:
        """The other arms whose error is not significantly higher than that of the best."""
        return [arm for arm in self.arms[1:] if paired(self.rows, MSE, arm, self.best).includes_zero]

    @cached_property
    def ahead(self) -> list[str]:
        """The arms with a significantly lower error than the reference, best first."""
        others = [arm for arm in self.arms if arm != self.reference]
        return [arm for arm in others if paired(self.rows, MSE, arm, self.reference).high < 0]

    @cached_property
    def better(self) -> list[str]:
        """The arms with a significantly higher probe accuracy than the reference, best first."""
        if PROBE not in self.rows:
            return []
        found = {arm: paired(self.rows, PROBE, arm, self.reference) for arm in self.arms if arm != self.reference}
        return sorted((arm for arm in found if found[arm].low > 0), key=lambda arm: -found[arm].difference)


def taught_arms(rows: pd.DataFrame) -> set[str]:
    """Return the arms that use labels in pretraining; they are not compared with the others."""
    # imported here so that a command line shows its help without loading torch
    from stacked.objectives import objectives

    recorded = specs(rows)
    policies = {arm: recorded[arm]["policy"] if arm in recorded else arm for arm in arms_of(rows)}
    targets = {name: {p.target for p in policy(1, Updates((1,), 1))} for name, policy in POLICIES.items()}

    def uses_labels(arm: str) -> bool:
        found = targets.get(policies[arm], set())
        names = recorded.get(arm, {}).get("optimisation", {}).get("objectives", {})
        learned = "objectives" in found and any(
            name in names for name, kind in objectives().items() if kind.needs_labels
        )
        return "labels" in found or learned

    return {arm for arm in policies if uses_labels(arm)}


def specs(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the spec of each arm; empty if the rows hold no specs."""
    return (
        {arm: json.loads(spec) for arm, spec in zip(rows["arm"], rows["spec"], strict=True)} if "spec" in rows else {}
    )


def reconstruction(field: Field) -> str:
    """Return the sentence on test MSE: the best arm, its distance to the reference, and the arms that do not differ from it."""
    best, reference, level = field.best, field.reference, measure(MSE).number(field.mse[field.best])
    if field.n == 1:
        after = listed(above(field, arm) for arm in field.arms[1:])
        return (
            f"{compute(field)}, {best} has the lowest test MSE, {level} per pixel, followed by {after}; a single seed allows "
            "no conclusion."
        )
    parts = [f"{compute(field)}, {best} reconstructs best, at a test MSE of {level} per pixel"]
    if best != reference:
        parts.append(behind(field))
    others = [arm for arm in field.arms[1:] if arm != reference]
    if tied := [arm for arm in others if arm in field.tied]:
        again = "nor" if reference in field.tied else f"no difference from {best} was shown"
        parts.append(f"{again} for {listed(undecided(field, arm) for arm in tied)}")
    elif best == reference:
        parts.append(f"every other arm is worse, next {above(field, others[0])}")
    elif others:
        parts.append("every other arm is worse")
    if ahead := [arm for arm in field.ahead if arm != best or reference in field.tied]:
        found = [f"{arm} ({p_text(paired(field.rows, MSE, arm, reference).p)})" for arm in ahead]
        parts.append(f"{listed(found)} {'is' if len(ahead) == 1 else 'are'} better than {reference}")
    return "; ".join(parts) + "."


def behind(field: Field) -> str:
    """Return how the test MSE of the reference compares with that of the best arm."""
    found, reference = paired(field.rows, MSE, field.reference, field.best), field.reference
    shown, half_width = measure(MSE), (found.high - found.low) / 2
    amount, low, high = shown.differences(half_width, found.difference, found.low, found.high)
    evidence = f"{amount}, 95 % interval {low} to {high}, {p_text(found.p)}"
    if not found.has_interval:
        evidence = "the same in every seed" if found.difference == 0 else f"{amount} in every seed"
    if found.includes_zero:
        return f"no difference from {field.best} was shown for {reference} (+{percent(field, reference)}; {evidence})"
    return f"{reference} is {percent(field, reference)} higher ({evidence})"


def probe(field: Field) -> str:
    """Return the sentence on the arms with a higher probe accuracy than the reference; "" if it was not measured."""
    reference, shown, level = field.reference, measure(PROBE), field.mean(field.reference, PROBE)
    if pd.isna(level):
        return ""
    against = f"{reference} ({shown.number(level)})"
    if field.n == 1:
        found = {arm: value for arm in field.arms if (value := field.mean(arm, PROBE)) == value}
        first = max(found, key=lambda arm: found[arm])
        named = f"{first} has the highest accuracy, {shown.number(found[first])}"
        return f"On the linear probe {named}" + (f"; the reference is {against}." if first != reference else ".")
    note = "; policies that pretrain with labels are not compared" if taught_arms(field.rows) else ""
    if not field.better:
        return f"No policy was shown to be better than {against} on the linear probe{most_possible(field)}{note}."

    def points(arm: str) -> str:
        found = paired(field.rows, PROBE, arm, reference)
        return f"{arm} ({shown.differences(nan, found.difference)[0]} points)"

    verb = "is" if len(field.better) == 1 else "are"
    return f"On the linear probe {listed(map(points, field.better))} {verb} better than {against}{note}."


def most_possible(field: Field) -> str:
    """Return the largest gain in probe accuracy that an interval allows, with its arm; "" without intervals."""
    found = {arm: paired(field.rows, PROBE, arm, field.reference) for arm in field.arms if arm != field.reference}
    found = {arm: difference for arm, difference in found.items() if difference.has_interval}
    if not found:
        return ""
    arm, most = max(found.items(), key=lambda each: each[1].high)
    points = measure(PROBE).differences((most.high - most.low) / 2, most.high)[0]
    return f"; the 95 % intervals allow at most {points} points ({arm})"


def caveat(field: Field) -> str:
    """Return a warning if an arm named before has another learning rate or schedule than the reference, else ""."""
    rates = learning_rates(field.rows)
    named = [arm for arm in field.arms if arm in {field.best, *field.tied, *field.better}]
    other = [arm for arm in named if rates.get(arm) != rates.get(field.reference)]
    if not other:
        return ""
    verb = "differs" if len(other) == 1 else "differ"
    differing = f"{listed(other)} also {verb} from {field.reference} in learning rate or schedule"
    return f"{differing}, so that growth alone may not be the reason."


def learning_rates(rows: pd.DataFrame) -> dict[str, tuple[object, ...]]:
    """Return (learning rate, schedule, its options) of each arm; empty if the rows hold no specs."""
    hows = {arm: spec.get("optimisation", {}) for arm, spec in specs(rows).items()}
    return {arm: (how.get("lr"), how.get("schedule"), how.get("schedule_options")) for arm, how in hows.items()}


def memory(field: Field) -> str:
    """Return the sentence on the training memory of greedy growth and of the reference; "" if it was not measured."""
    reference, whole = field.reference, field.mean(field.reference, "peak_mb")
    peak, codes = field.mean("greedy", "peak_mb"), field.mean("greedy", "codes_mb")
    finetuned = field.mean("greedy+finetune", "peak_mb")
    if not (whole > 0 and peak > 0):
        return ""
    text = (
        f"Greedy growth needs {100 * peak / whole:.0f} % of the peak training memory of {reference} "
        f"({megabytes(peak)} against {megabytes(whole)} MB{batches(field, 'greedy')})"
    )
    text += f", plus {megabytes(codes)} MB for cached codes" if codes > 0 else ""
    text += f"; with fine-tuning it needs {100 * finetuned / whole:.0f} %" if finetuned > 0 else ""
    return f"{text}."


def batches(field: Field, arm: str) -> str:
    """Return the batch sizes of an arm and of the reference, on which memory depends; "" if equal or unknown."""
    known = specs(field.rows)
    sizes = [known.get(name, {}).get("optimisation", {}).get("batch_size") for name in (arm, field.reference)]
    return "" if sizes[0] == sizes[1] or None in sizes else f", in batches of {sizes[0]} against {sizes[1]} images"


def left_out(field: Field) -> str:
    """Return the sentence on the arms that are left out because a run is missing or failed; "" if there are none."""
    return f"Left out, because a seed has no finished run: {listed(field.partial)}." if field.partial else ""


def compute(field: Field) -> str:
    """Return how the compute of the arms compares, as "At equal compute (401 GFLOP of training; 5 seeds)"."""
    seeds = "1 seed" if field.n == 1 else f"{field.n} seeds"
    spent = {arm: field.mean(arm, "gflop") for arm in field.arms}
    goal = spent[field.reference]
    if not goal > 0:
        return f"Over {seeds}"
    others = {arm: value for arm, value in spent.items() if not abs(value / goal - 1) <= EQUAL}
    if len(others) > NAMED or 2 * len(others) > len(spent):
        known = [value for value in spent.values() if not isnan(value)]
        return f"With {min(known):,.3g} to {max(known):,.3g} GFLOP of training ({seeds})"
    named = "".join(f"; {arm} {value:,.3g}" for arm, value in others.items())
    return f"At equal compute ({goal:,.3g} GFLOP of training{named}; {seeds})"


def above(field: Field, arm: str) -> str:
    """Return the name of an arm with the excess of its error over the lowest, as "joint (+4.1 %)"."""
    return f"{arm} (+{percent(field, arm)})"


def undecided(field: Field, arm: str) -> str:
    """Return as `above`, with the paired interval, as "joint (+4.1 %, 95 % interval −1.0 to +9.2 %)"."""
    found, least = paired(field.rows, MSE, arm, field.best), field.mse[field.best]
    if not found.has_interval or not least:
        return above(field, arm)
    low, high = (f"{100 * value / least:+.1f}".replace("-", "−") for value in (found.low, found.high))
    return f"{arm} (+{percent(field, arm)}, 95 % interval {low} to {high} %)"


def percent(field: Field, arm: str) -> str:
    """Return by how many percent the mean test MSE of an arm exceeds the lowest."""
    least = field.mse[field.best]
    more = 100 * (field.mse[arm] / least - 1) if least else inf if field.mse[arm] else 0.0
    return f"{more:.1f} %" if more < 10 else f"{more:,.0f} %"


def megabytes(value: float) -> str:
    """Return a number with three significant digits, without a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def listed(names: Iterable[str]) -> str:
    """Return "a, b and c"; of many names the first `NAMED`, and the number of the others."""
    every = list(names)
    shown = [*every[:NAMED], f"{len(every) - NAMED} more"] if len(every) > NAMED + 1 else every
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
