"""What studies of pretraining with few labels share: a pair of arms for each number of labels, and the answer.

Both arms of a pair are the same network, one of them pretrained, and learn the same labels. Each arm is tuned by the classifier
of its own number of labels, because the best settings depend on it.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from studies.design.arms import Arm
from studies.pretraining.depth_answer import difference
from studies.statistics.measures import budget_name, budgets, measure
from studies.statistics.pairing import paired
from studies.statistics.rows import arms_of, finished, with_error_rates


class Kinds(NamedTuple):
    """The names of the two kinds of arms: `pretrained`, and `plain` for the same network without pretraining."""

    pretrained: str
    plain: str


def key(labels: int | None) -> str:
    """Return the name of a number of labels (None: all) in metrics: "1000" or "all"."""
    return "all" if labels is None else str(labels)


def named(kind: str, budget: str) -> str:
    """Return the name of the arm of a kind for a number of labels, a `key`: "random, 1,000 labels"."""
    return f"{kind}, {budget_name(budget)} labels"


def name_of(kind: str, labels: int | None) -> str:
    """Return the name of the arm of a kind for a number of labels (None: all): "random, 1,000 labels"."""
    return named(kind, key(labels))


def error(labels: int | None) -> str:
    """Return the metric of the test error of the classifier that learns so many labels (None: all)."""
    return f"final/classifier_error_{key(labels)}"


def arms(kinds: Kinds, policy: str, counts: tuple[int | None, ...]) -> tuple[Arm, ...]:
    """Return the pair of arms of each number of labels (None: all); `policy` pretrains the first of a pair."""
    return tuple(
        Arm(
            name_of(kind, labels),
            how,
            {"classification.labels": [labels]},
            own_budget=True,
            tuning_measure=f"classifier_acc_{key(labels)}",
        )
        for labels in counts
        for kind, how in ((kinds.pretrained, policy), (kinds.plain, "random"))
    )


def measured_budgets(rows: pd.DataFrame, kinds: Kinds) -> list[str]:
    """Return the numbers of labels, ascending with "all" last, for which both arms of the pair finished a common seed."""
    done = finished(rows)
    known = set(arms_of(done))
    return [
        budget
        for budget in budgets(done.columns)
        if {named(kind, budget) for kind in kinds} <= known
        and paired(done, f"final/classifier_acc_{budget}", *(named(kind, budget) for kind in kinds)).n
    ]


def answer(rows: pd.DataFrame, reference: str, *, kinds: Kinds) -> str:
    """Return the test error of both arms and their difference for each number of labels; reference is not used."""
    done, sentences = with_error_rates(finished(rows)), []
    for budget in measured_budgets(rows, kinds):
        metric, pair = f"final/classifier_error_{budget}", [named(kind, budget) for kind in kinds]
        shown, found = measure(metric), paired(done, metric, *pair)
        levels = ", ".join(
            f"{kind} {shown.number(float(done.loc[done['arm'] == arm, metric].mean()))}"
            for kind, arm in zip(kinds, pair, strict=True)
        )
        sentences.append(
            f"Test error with {budget_name(budget)} labels: {levels}; the difference is {difference(shown, found)}."
        )
    return " ".join(sentences) or "No answer: no pair of arms finished."
