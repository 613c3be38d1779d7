"""The answer of the study of depth in one paragraph: accuracy and error at the least and the greatest depth."""

from __future__ import annotations

import pandas as pd

from studies.pretraining.depth_arms import LONGER, METHODS, PRETRAINED, autoencoder, classifier, place
from studies.statistics.measures import Measure, measure, p_text
from studies.statistics.pairing import Paired, by_seed, paired
from studies.statistics.rows import arms_of, finished

ACCURACY, MSE = "final/classifier_acc_all", "final/recon_mse"
#: what is measured of classifiers and of autoencoders
MEASURED = {ACCURACY: classifier, MSE: autoencoder}


def depths_of(rows: pd.DataFrame, metric: str) -> dict[str, list[int]]:
    """Return the depths at which a metric was measured, ascending, by method; methods without one are left out."""
    done = finished(rows)
    if metric not in done:
        return {}
    known = {place(arm) for arm in arms_of(done) if len(by_seed(done, arm, metric))}
    found = {
        method: sorted(each.depth for each in known if each.method == method and each.is_autoencoder == (metric == MSE))
        for method in METHODS
    }
    return {method: depths for method, depths in found.items() if depths}


def answer(rows: pd.DataFrame, reference: str) -> str:
    """Return what becomes of accuracy and error with depth, and what pretraining changes in the deepest network.

    The last is compared with the arm without pretraining that has as many FLOPs or more; reference is not used.
    """
    done = finished(rows)
    sentences = [sentence for metric in MEASURED for sentence in sentences_of(done, metric)]
    return " ".join(sentences) or "No answer: no run finished."


def sentences_of(done: pd.DataFrame, metric: str) -> list[str]:
    """Return the sentences on one metric of finished runs; empty if it was not measured."""
    depths, name_of, shown = depths_of(done, metric), MEASURED[metric], measure(metric)
    if not depths:
        return []

    def level(method: str, depth: int) -> str:
        return shown.number(float(by_seed(done, name_of(method, depth), metric).mean()))

    least, most = min(map(min, depths.values())), max(map(max, depths.values()))
    ends = list(dict.fromkeys([least, most]))
    both = [method for method, measured in depths.items() if set(ends) <= set(measured)]
    listed = "; ".join(f"{method} {' and '.join(level(method, depth) for depth in ends)}" for method in both)
    layers = " and ".join(map(str, ends)) + (" layer" if ends == [1] else " layers")
    found = [f"{shown.label[0].upper()}{shown.label[1:]} with {layers}: {listed}."] if both else []
    compared = [depth for depth in depths.get(PRETRAINED, []) if depth in depths.get(LONGER, [])]
    if compared:
        deepest = compared[-1]
        one = paired(done, metric, name_of(PRETRAINED, deepest), name_of(LONGER, deepest))
        flops = "at least as many FLOPs" if metric == ACCURACY else "as many FLOPs"
        what = f"With {deepest} layer{'s' * (deepest > 1)}, {PRETRAINED} minus {LONGER}, which has {flops}, is"
        found.append(f"{what} {difference(shown, one)}.")
    return found


def difference(shown: Measure, found: Paired) -> str:
    """Return a paired difference with its unit, and its interval if it has one."""
    amount, low, high = shown.differences((found.high - found.low) / 2, found.difference, found.low, found.high)
    if found.has_interval:
        return f"{amount}{shown.difference_unit} (95 % interval {low} to {high}, {p_text(found.p)})"
    return f"{amount}{shown.difference_unit} in {'a single seed' if found.n == 1 else 'every seed'}"
