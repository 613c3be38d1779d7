"""The answer of the study of local learning in three sentences: quality, information, and what is saved."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from studies.pretraining.depth_answer import difference
from studies.pretraining.local_learning.arms import (
    GLOBAL,
    IMAGE,
    JOINT,
    LABELS,
    LOCKING,
    PLACES,
    RULES,
    SIMULTANEOUS,
    arm_name,
    yardstick,
)
from studies.pretraining.local_learning.claims import EARLY, PROBE
from studies.report.answer import listed
from studies.statistics.measures import measure
from studies.statistics.pairing import by_seed, paired
from studies.statistics.rows import arms_of, finished

PEAK, FLOPS, SPAN = "peak_mb", "gflop", "span_gflop"


def answer(rows: pd.DataFrame, reference: str) -> str:
    """Return what local rules cost, what their codes keep, and what they save.

    A sentence whose arms are not finished is left out. reference is not used: each rule has a yardstick of its own.
    """
    done = finished(rows)
    sentences = (quality(done), information(done), savings(done))
    return " ".join(filter(None, sentences)) or "No answer: the arms that it compares have no finished run."


def means(done: pd.DataFrame, arms: Sequence[str], metric: str) -> dict[str, float]:
    """Return the mean of a metric over the seeds of each of these arms; arms and metrics without a value are left out."""
    known = [arm for arm in arms if arm in arms_of(done)] if metric in done else []
    found = {arm: by_seed(done, arm, metric) for arm in known}
    return {arm: float(values.mean()) for arm, values in found.items() if len(values)}


def quality(done: pd.DataFrame) -> str:
    """Return the sentence on the best arm of blocks, without labels and with them; "" if none can be compared."""
    parts = [part for learns_labels in (False, True) if (part := best_of(done, learns_labels))]
    return f"In the accuracy of a linear probe, {'; '.join(parts)}." if parts else ""


def best_of(done: pd.DataFrame, learns_labels: bool) -> str:
    """Return how the best arm of blocks with or without labels compares with its yardstick; "" if there is none."""
    arms = [
        arm for arm, place in PLACES.items() if place.way != GLOBAL and RULES[place.rule].learns_labels == learns_labels
    ]
    found = means(done, arms, PROBE)
    pairs = {arm: yardstick(PLACES[arm].rule) for arm in found}
    pairs = {arm: other for arm, other in pairs.items() if means(done, [other], PROBE)}
    if not pairs:
        return ""
    best, kind = max(pairs, key=lambda arm: found[arm]), "learn labels" if learns_labels else "learn without labels"
    which = f"is the best of {len(pairs)} arms whose blocks {kind}" if len(pairs) > 1 else f"has blocks that {kind}"
    return (
        f"`{best}` ({measure(PROBE).number(found[best])}) {which}, and differs from `{pairs[best]}` by "
        f"{change(done, PROBE, best, pairs[best])}"
    )


def change(done: pd.DataFrame, metric: str, arm: str, other: str) -> str:
    """Return the difference in a metric between two arms, arm minus other, paired by seed, with its interval."""
    return difference(measure(metric), paired(done, metric, arm, other))


def information(done: pd.DataFrame) -> str:
    """Return the sentence on what codes keep with labels alone and with the image beside them; "" without these arms."""
    labels, image, whole = arm_name(SIMULTANEOUS, LABELS), arm_name(SIMULTANEOUS, IMAGE), yardstick(LABELS)
    parts = []
    if all(means(done, [arm], EARLY) for arm in (labels, whole)):
        parts.append(
            f"from the first block's code of `{labels}`, a fresh decoder restores the image with an error that differs from that "
            f"of `{whole}` by {change(done, EARLY, labels, whole)}"
        )
    if all(means(done, [arm], metric) for arm in (labels, image) for metric in (EARLY, PROBE)):
        parts.append(
            f"the image beside the labels, `{image}`, changes this error by {change(done, EARLY, image, labels)}, and the probe "
            f"by {change(done, PROBE, image, labels)}"
        )
    return sentence(parts)


def savings(done: pd.DataFrame) -> str:
    """Return the sentence on memory and FLOPs: of blocks at once as shares of their yardsticks, and of locking; "" for none."""
    parts = []
    shares = {cost: shares_of(done, cost) for cost in (PEAK, SPAN)}
    named = {PEAK: "of the peak memory", SPAN: "of the FLOPs one after another, with a worker for each block"}
    if texts := [f"{span(values)} {named[cost]}" for cost, values in shares.items() if values]:
        parts.append(f"compared with training end to end, blocks at once need {listed(texts)}")
    spent = means(done, [JOINT, LOCKING], FLOPS)
    if spent.keys() == {JOINT, LOCKING} and spent[JOINT] > 0:
        text = (
            f"locking saves {100 * (1 - spent[LOCKING] / spent[JOINT]):.0f} % of the FLOPs of joint at as many updates"
        )
        if means(done, [JOINT, LOCKING], PROBE).keys() == {JOINT, LOCKING}:
            text += f" and changes the probe by {change(done, PROBE, LOCKING, JOINT)}"
        parts.append(text)
    return sentence(parts)


def shares_of(done: pd.DataFrame, cost: str) -> list[float]:
    """Return the mean of a cost of each arm of blocks at once, divided by that of its yardstick, where both are known."""
    pairs = {arm_name(SIMULTANEOUS, rule): yardstick(rule) for rule in RULES}
    known = means(done, [*pairs, *pairs.values()], cost)
    return [known[arm] / known[whole] for arm, whole in pairs.items() if arm in known and known.get(whole, 0.0) > 0]


def sentence(parts: Sequence[str]) -> str:
    """Return parts joined by semicolons, as a sentence; "" without any."""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def span(shares: Sequence[float]) -> str:
    """Return shares in percent, from the least to the greatest: "30 to 41 %", or "30 %" if they are equal."""
    least, most = (f"{100 * value:.0f}" for value in (min(shares), max(shares)))
    return f"{least} %" if least == most else f"{least} to {most} %"
