"""Which arm is best, in a few sentences that a person would quote, from paired intervals and nothing else."""

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

MSE, PROBE = "final/recon_mse", "final/probe_acc"
#: Arms whose FLOPs differ from the reference's by more than this part of them are named.
EQUAL = 0.02
#: So many arms are named where several are; of more, the number.
NAMED = 4


def quote(rows: pd.DataFrame, reference: str) -> str:
    """The answer of a comparison of growth policies: reconstruction, linear probe and memory, each in a sentence.

    Best is the lowest mean test MSE of the arms that train, learn from no labels, and finished every seed that `reference`
    finished. An arm is worse than it, or better than `reference` on the probe, where the 95 % t interval of the difference
    paired by seed excludes 0; else no difference was shown. A single seed allows neither.
    """
    done = finished(rows)
    if reference not in arms_of(done) or by_seed(done, reference, MSE).empty:
        return f"No answer: the reference arm {reference} has no finished run."
    field = Field.of(done, reference)
    if reference not in field.arms or len(field.arms) < 2:
        return f"No answer: there is no arm to compare with {reference}."
    sentences = (reconstruction(field), probe(field), caveat(field), memory(field), left_out(field))
    return " ".join(filter(None, sentences))


@dataclass(frozen=True)
class Field:
    """The arms that compete, by ascending mean test MSE, which `mse` gives, and their rows of the reference's `n` seeds.

    Arms that lack one of these seeds are `partial`.
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
        taught = taught_arms(done)
        measured = {arm: by_seed(rows, arm, MSE) for arm in trained_arms(rows) if arm not in taught}
        whole = {arm: float(values.mean()) for arm, values in measured.items() if len(values) == len(seeds)}
        known = [arm for arm in trained_arms(done) if arm not in taught]
        ranked = tuple(sorted(whole, key=lambda arm: whole[arm]))
        return cls(rows, reference, ranked, tuple(arm for arm in known if arm not in whole), whole, len(seeds))

    def mean(self, arm: str, column: str) -> float:
        """NaN where the arm has no such measurement."""
        known = column in self.rows and arm in arms_of(self.rows)
        return float(by_seed(self.rows, arm, column).mean()) if known else nan

    @property
    def best(self) -> str:
        return self.arms[0]

    @cached_property
    def tied(self) -> list[str]:
        """The others that were not shown to be worse than the best."""
        return [arm for arm in self.arms[1:] if paired(self.rows, MSE, arm, self.best).includes_zero]

    @cached_property
    def ahead(self) -> list[str]:
        """The arms that were shown to be better than the reference in reconstruction, best first."""
        others = [arm for arm in self.arms if arm != self.reference]
        return [arm for arm in others if paired(self.rows, MSE, arm, self.reference).high < 0]

    @cached_property
    def better(self) -> list[str]:
        """The arms that were shown to be better than the reference on the linear probe, best first."""
        if PROBE not in self.rows:
            return []
        found = {arm: paired(self.rows, PROBE, arm, self.reference) for arm in self.arms if arm != self.reference}
        return sorted((arm for arm in found if found[arm].low > 0), key=lambda arm: -found[arm].difference)


def taught_arms(rows: pd.DataFrame) -> set[str]:
    """The arms that read labels while they pretrain: no rivals of those that read none."""
    policies = {arm: arm for arm in arms_of(rows)} | {arm: spec["policy"] for arm, spec in specs(rows).items()}
    taught = {
        name for name, policy in POLICIES.items() if any(p.target == "labels" for p in policy(1, Updates((1,), 1)))
    }
    return {arm for arm, policy in policies.items() if policy in taught}


def specs(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What each arm's runs were to do, as far as the rows hold it."""
    return (
        {arm: json.loads(spec) for arm, spec in zip(rows["arm"], rows["spec"], strict=True)} if "spec" in rows else {}
    )


def reconstruction(field: Field) -> str:
    """Who reconstructs best, by how much the reference is behind, and who was not shown to be worse."""
    best, reference, level = field.best, field.reference, measure(MSE).number(field.mse[field.best])
    if field.n == 1:
        after = listed(above(field, arm) for arm in field.arms[1:])
        return (
            f"{compute(field)}, {best} came out best, at a test MSE of {level} per pixel, before {after}; a single seed "
            "shows no spread and allows no conclusion."
        )
    parts = [f"{compute(field)}, {best} reconstructs best, at a test MSE of {level} per pixel"]
    if best != reference:
        parts.append(behind(field))
    others = [arm for arm in field.arms[1:] if arm != reference]
    if tied := [arm for arm in others if arm in field.tied]:
        again = "nor" if reference in field.tied else f"no difference from {best} was shown"
        parts.append(f"{again} for {listed(above(field, arm) for arm in tied)}")
    elif best == reference:
        parts.append(f"every other arm is worse, next {above(field, others[0])}")
    elif others:
        parts.append("every other arm is worse")
    if ahead := [arm for arm in field.ahead if arm != best or reference in field.tied]:
        found = [f"{arm} ({p_text(paired(field.rows, MSE, arm, reference).p)})" for arm in ahead]
        parts.append(f"{listed(found)} {'is' if len(ahead) == 1 else 'are'} better than {reference}")
    return "; ".join(parts) + "."


def behind(field: Field) -> str:
    """How the reference stands to a best arm that is not it."""
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
    """Who beats the reference on the linear probe."""
    reference, shown, level = field.reference, measure(PROBE), field.mean(field.reference, PROBE)
    if pd.isna(level):
        return ""
    against = f"{reference} ({shown.number(level)})"
    if field.n == 1:
        found = {arm: value for arm in field.arms if (value := field.mean(arm, PROBE)) == value}
        first = max(found, key=lambda arm: found[arm])
        named = f"{first} came out best, at {shown.number(found[first])}"
        return f"On the linear probe {named}" + (f", before {against}." if first != reference else ".")
    aside = ", those that learn from labels aside," if taught_arms(field.rows) else ""
    if not field.better:
        return f"No policy{aside} was shown to beat {against} on the linear probe."

    def points(arm: str) -> str:
        found = paired(field.rows, PROBE, arm, reference)
        return f"{arm} ({shown.differences(nan, found.difference)[0]} points)"

    verb = "is" if len(field.better) == 1 else "are"
    return f"On the linear probe{aside} {listed(map(points, field.better))} {verb} better than {against}."


def caveat(field: Field) -> str:
    """That an arm which was named above differs in its learning rate too."""
    rates = learning_rates(field.rows)
    named = [arm for arm in field.arms if arm in {field.best, *field.tied, *field.better}]
    other = [arm for arm in named if rates.get(arm) != rates.get(field.reference)]
    if not other:
        return ""
    verb, keeps = ("differs", "its") if len(other) == 1 else ("differ", "their")
    return f"But {listed(other)} {verb} from {field.reference} in {keeps} learning rate's schedule too, not in growth alone."


def learning_rates(rows: pd.DataFrame) -> dict[str, tuple[object, ...]]:
    """The learning rate and its schedule by arm, as far as the rows hold specs."""
    hows = {arm: spec.get("optimisation", {}) for arm, spec in specs(rows).items()}
    return {arm: (how.get("lr"), how.get("schedule")) for arm, how in hows.items()}


def memory(field: Field) -> str:
    """What greedy growth saves, and what it keeps beside it."""
    reference, whole = field.reference, field.mean(field.reference, "peak_mb")
    peak, codes = field.mean("greedy", "peak_mb"), field.mean("greedy", "codes_mb")
    tuned = field.mean("greedy+finetune", "peak_mb")
    if not (whole > 0 and peak > 0):
        return ""
    text = (
        f"Growing greedily takes {100 * peak / whole:.0f} % of the peak training memory of {reference} "
        f"({megabytes(peak)} against {megabytes(whole)} MB{batches(field, 'greedy')})"
    )
    text += f", besides {megabytes(codes)} MB of kept codes" if codes > 0 else ""
    text += f"; with fine-tuning it takes {100 * tuned / whole:.0f} %" if tuned > 0 else ""
    return f"{text}."


def batches(field: Field, arm: str) -> str:
    """The batch sizes of an arm and of the reference, on which memory depends; "" where they are equal or not known."""
    known = specs(field.rows)
    sizes = [known.get(name, {}).get("optimisation", {}).get("batch_size") for name in (arm, field.reference)]
    return "" if sizes[0] == sizes[1] or None in sizes else f", in batches of {sizes[0]} against {sizes[1]} images"


def left_out(field: Field) -> str:
    """The arms that do not compete because a run of theirs is missing."""
    verb = "is" if len(field.partial) == 1 else "are"
    return (
        f"Left out, for want of a finished run in every seed, {verb} {listed(field.partial)}." if field.partial else ""
    )


def compute(field: Field) -> str:
    """How the arms' compute compares: "At equal compute (401 GFLOP; 5 seeds)", with those named that spent another amount."""
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
    """An arm with what its error is above the best one's."""
    return f"{arm} (+{percent(field, arm)})"


def percent(field: Field, arm: str) -> str:
    """By how much the arm's mean test MSE is above the lowest."""
    least = field.mse[field.best]
    more = 100 * (field.mse[arm] / least - 1) if least else inf if field.mse[arm] else 0.0
    return f"{more:.1f} %" if more < 10 else f"{more:,.0f} %"


def megabytes(value: float) -> str:
    """Three significant digits, without a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def listed(names: Iterable[str]) -> str:
    """ "a, b and c"; of many the first, and how many more."""
    every = list(names)
    shown = [*every[:NAMED], f"{len(every) - NAMED} more"] if len(every) > NAMED + 1 else every
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
