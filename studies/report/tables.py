"""Markdown tables and sentences from the rows of a study of training runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import floor, log10

import pandas as pd

from studies.report.verbatim import verbatim
from studies.statistics.measures import PROBES, Measure, budget_name, budgets, p_cell, p_text
from studies.statistics.pairing import Paired, by_seed, paired, pairs
from studies.statistics.rows import FINISHED, arms_of, finished
from studies.statistics.words import Words

VARIES = "the initial weights, the data order, the corruption and the label subset"
_COSTS = {
    "updates": "updates",
    "images_seen": "images seen",
    "gflop": "training GFLOP",
    "span_gflop": "training GFLOP one after another, with a worker for each block",
    "train_seconds": "training seconds",
    "seconds": "seconds, whole run",
    "peak_mb": "peak training memory, MB",
    "codes_mb": "cached codes, MB",
}
MARGINS = (
    "Two arms are called equal if the whole 95 % interval of their difference lies within ±5 % of the reference's value, or "
    "within ±1 percentage point for accuracies{others}; these margins are the same for all studies."
)
#: With more arms than this, the table of differences has one line for each arm and one column for each metric. Metrics that are
#: multiples of the mean squared error are then left out, because their p-values are the same.
_MANY = 8
FVU = "final/recon_fvu"
_MULTIPLES = (FVU, "final/recon_sse")


def margins(rows: pd.DataFrame) -> str:
    """Return the sentence that says which differences count as equal, for the metrics of these rows."""
    named = {"regressor_r2": "±0.01 for R²", "kmeans_ari": "±0.01 for ARI", "dec_ari": "±0.01 for ARI"}
    measured = [text for name, text in named.items() if any(each.startswith(f"final/{name}") for each in rows.columns)]
    found = dict.fromkeys(measured)
    return MARGINS.format(others="".join(f", {text}" for text in found))


def main_metrics(rows: pd.DataFrame) -> list[str]:
    """Return the measured ones of the main metrics: reconstruction, probes, classifier or regressor for each label budget."""
    wanted = [
        "final/recon_mse",
        FVU,
        "final/recon_sse",
        "final/fresh_decoder_mse",
        "final/probe_acc",
        *(f"final/{name}" for name in PROBES),
    ]
    if (words := Words.of(rows)).is_scaled and words.examples != "rows":  # columns of a table have different units
        wanted.insert(1, "final/recon_mse_in_units")
    wanted += supervised(rows)
    done = finished(rows)
    return [metric for metric in wanted if metric in done and done[metric].notna().any()]


def supervised(rows: pd.DataFrame) -> list[str]:
    """Return the metrics of classifiers, or of regressors, among the columns, by ascending label budget."""
    found = [f"final/classifier_acc_{budget}" for budget in budgets(rows.columns)]
    for budget in budgets(rows.columns, "regressor_r2"):
        found += [f"final/regressor_rmse_{budget}", f"final/regressor_r2_{budget}"]
    return [metric for metric in found if metric in rows]


def table(rows: pd.DataFrame, metrics: Sequence[str], reference: str = "joint") -> str:
    """Return three Markdown tables: mean ± s.d. of each arm, paired differences from `reference`, and costs.

    Only finished runs are used; failed runs are listed below. Raises InputError for an unknown metric.
    """
    parts = [
        means(rows, metrics),
        _note(rows),
        _differences(rows, metrics, reference),
        "**Costs (lower is better).** Means over seeds, ± s.d. where seeds differ.",
        _costs(rows),
        failures(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def means(rows: pd.DataFrame, metrics: Sequence[str], costs: Sequence[str] = ()) -> str:
    """Return a Markdown table with a row for each arm: number of seeds, mean ± s.d. of each metric, and costs."""
    words = Words.of(rows)
    header = [
        "arm",
        "seeds",
        *(words.measure(metric).title_with_direction for metric in metrics),
        *(words.said(_COSTS[name]) for name in costs),
    ]
    lines = []
    for arm in arms_of(rows):
        seeds = len(_done(rows, arm))
        cells = [_mean_cell(rows, arm, metric, seeds) for metric in metrics]
        lines.append([arm, str(seeds), *cells, *(_cost_cell(_done(rows, arm), name) for name in costs)])
    return markdown(header, lines)


def verdict(rows: pd.DataFrame, metric: str, arm: str, reference: str) -> str:
    """Return a sentence on the difference between `arm` and `reference` in a metric: interval, number of pairs and p."""
    return f"{_first_upper(Words.of(rows).measure(metric).label)}: {_finding(rows, metric, arm, reference)}."


def verdicts(rows: pd.DataFrame, metrics: Sequence[str], reference: str, arms: Sequence[str] | None = None) -> str:
    """Return a Markdown list with a line for each metric on how the arms (None: all) differ from `reference`.

    If the reference has no finished run, return a sentence that says so.
    """
    if _done(rows, reference).empty:
        return f"No answer: the reference arm {reference} has no finished run."
    others = [arm for arm in arms_of(rows) if arm != reference and (arms is None or arm in arms)]
    lines = []
    for metric in metrics:
        findings = "; ".join(_finding(rows, metric, arm, reference) for arm in others)
        lines.append(f"- **{_first_upper(Words.of(rows).measure(metric).label)}:** {findings}.")
    return "\n".join(lines) if others else f"No answer: no arm to compare with {reference}."


def failures(rows: pd.DataFrame) -> str:
    """Return a Markdown list of the failed runs with their reasons; "" if no run failed."""
    failed = rows[rows["status"] != FINISHED]
    if failed.empty:
        return ""
    listed = [f"- {verbatim(row.arm)}, seed {row.seed}: {verbatim(row.status)}" for row in failed.itertuples()]
    left_out = "is left out" if len(failed) == 1 else "are left out"
    count = f"{len(failed)} of {len(rows)} runs did not finish and {left_out}:"
    return "\n".join([f"**{count}**", "", *listed])


def spread_note(rows: pd.DataFrame) -> str:
    """Return the sentence that explains ±, with the number of seeds and what a seed changes."""
    counts = sorted({len(_done(rows, arm)) for arm in arms_of(rows)})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]} (column “seeds”)"
    return f"± is the standard deviation over n = {n} seeds; a seed changes {VARIES}."


def selection_note(rows: pd.DataFrame) -> str:
    """Return how many labelled validation images selected the models of each label budget; "" without classifiers or regressors.

    Old rows without these columns used all labelled validation images, up to the number in their specs.
    """
    done, found, words = finished(rows), [], Words.of(rows)
    kind, score = ("classifier", "acc") if budgets(rows.columns) else ("regressor", "r2")
    for budget in budgets(rows.columns, f"{kind}_{score}"):
        if done[f"final/{kind}_{score}_{budget}"].notna().any():
            column = f"final/{kind}_valid_labels_{budget}"
            counts = done[column].dropna() if column in done else _images_of(done)
            count = (
                " to ".join(f"{int(count):,}" for count in sorted({counts.min(), counts.max()})) if len(counts) else "?"
            )
            found.append(f"{count} for {budget_name(budget)} labels")
    if not found:
        return ""
    return words.said(f"The {kind}s' settings were selected on labelled validation images: {', '.join(found)}. ")


def _images_of(rows: pd.DataFrame) -> pd.Series:
    """Return, from the specs of the runs, the largest number of validation images that selected a classifier."""
    specs = [json.loads(spec) for spec in rows["spec"].dropna()] if "spec" in rows else []
    return pd.Series([spec["classification"]["images"] for spec in specs if "classification" in spec], dtype="float64")


def _note(rows: pd.DataFrame) -> str:
    text = spread_note(rows) + " All metrics are of the test set, at full depth unless a depth is named."
    if FVU in rows and len(done := finished(rows)) and done[FVU].isna().all():
        words = Words.of(rows)
        text += words.said(
            f" {_first_upper(words.measure(FVU).label)} is not defined, because all test images are equal."
        )
    return f"{text} {selection_note(rows)}".strip()


def _differences(rows: pd.DataFrame, metrics: Sequence[str], reference: str) -> str:
    others = [arm for arm in arms_of(rows) if arm != reference]
    if _done(rows, reference).empty:
        return f"**No paired differences:** the reference arm {reference} has no finished run."
    if not others:
        return ""
    if len(others) > _MANY:
        metrics = [metric for metric in metrics if metric not in _MULTIPLES or "final/recon_mse" not in metrics]
        header = ["arm", "pairs", *(_with_better(Words.of(rows).measure(metric)) for metric in metrics)]
        lines = [_differences_of(rows, metrics, arm, reference) for arm in others]
    else:
        header = ["metric", "direction", "arm", "pairs", f"difference from {reference}", "95 % interval", "p"]
        lines = [
            _difference_line(Words.of(rows).measure(metric), arm, paired(rows, metric, arm, reference))
            for metric in metrics
            for arm in others
        ]
    note = (
        f"**Differences from {reference}, paired by seed.** The interval is the 95 % t interval of the mean "
        "difference over seeds; p is that of the two-sided paired t-test. The p-values are not corrected for the "
        f"number of comparisons ({len(metrics) * len(others)} here). {margins(rows)} “–”: not defined, because there are fewer "
        "than two pairs or all differences are equal."
    )
    return f"{note}\n\n{markdown(header, lines)}"


def _finding(rows: pd.DataFrame, metric: str, arm: str, reference: str) -> str:
    """Return the part of a verdict that follows the name of the metric."""
    shown = Words.of(rows).measure(metric)
    difference = paired(rows, metric, arm, reference)
    if difference.n == 0:
        return f"no seed was measured for both {arm} and {reference}, so they cannot be compared"
    amount, low, high = _difference_texts(shown, difference)
    amount += shown.difference_unit
    if difference.n == 1:
        return f"{arm} differs from {reference} by {amount} in a single seed, which allows no conclusion"
    if not difference.has_interval:
        same = f"in each of {difference.n} paired seeds; no test is possible, because all differences are equal"
        return f"{arm} differs from {reference} by {amount} {same}"
    evidence = f"{amount}, 95 % interval {low} to {high}, {difference.n} paired seeds, {p_text(difference.p)}"
    both = pairs(rows, metric, arm, reference).mean()
    level = float(both["reference"])
    equal = f"equal within {shown.margin_text}" if is_equal(shown, difference, level) else ""
    if difference.includes_zero:
        possible = equal or possible_differences(shown, difference, level, reference)
        details = ", ".join(filter(None, [evidence, possible]))
        return f"no difference between {arm} and {reference} was shown ({details})"
    ours, theirs = shown.number(both["arm"]), shown.number(level)
    details = ", ".join(filter(None, [evidence, equal]))
    return f"{arm} is {_direction(shown, difference)} than {reference}, {ours} against {theirs} ({details})"


def is_equal(shown: Measure, difference: Paired, level: float) -> bool:
    """Return whether the whole interval of a difference lies within the margin around `level`, the mean of the reference."""
    margin = shown.margin_at(level)
    return difference.has_interval and -margin < difference.low and difference.high < margin


def possible_differences(shown: Measure, difference: Paired, level: float, reference: str) -> str:
    """Return the bounds of the interval in percent of `level`, the mean of the reference, as text.

    Return "" for accuracies, whose interval is in percentage points already, and for R².
    """
    if shown.is_share or shown.is_absolute or not difference.has_interval or not level:
        return ""
    low, high = (f"{100 * value / abs(level):+.1f} %".replace("-", "−") for value in (difference.low, difference.high))
    return f"a difference of {low} to {high} of {reference} is possible"


def _with_better(shown: Measure) -> str:
    return f"{shown.label} ({shown.better} is better)" if shown.better else shown.label


def _differences_of(rows: pd.DataFrame, metrics: Sequence[str], arm: str, reference: str) -> list[str]:
    """Return the line of an arm with one cell for each metric, which holds difference, interval and p."""
    found = {metric: paired(rows, metric, arm, reference) for metric in metrics}
    cells = []
    for metric, difference in found.items():
        _, _, _, _, amount, interval, p = _difference_line(Words.of(rows).measure(metric), arm, difference)
        cells.append(f"{amount} ({interval}), p {p if p.startswith('<') else f'= {p}'}" if interval != "–" else amount)
    return [arm, str(max((difference.n for difference in found.values()), default=0)), *cells]


def _difference_line(shown: Measure, arm: str, difference: Paired) -> list[str]:
    amount, low, high = _difference_texts(shown, difference)
    interval = f"{low} to {high}" if difference.has_interval else "–"
    unit = "" if difference.n == 0 else shown.difference_unit
    better = f"{shown.better} is better" if shown.better else "–"
    return [shown.label, better, arm, str(difference.n), amount + unit, interval, p_cell(difference.p)]


def _difference_texts(shown: Measure, difference: Paired) -> list[str]:
    half_width = (difference.high - difference.low) / 2.0
    return shown.differences(half_width, difference.difference, difference.low, difference.high)


def _costs(rows: pd.DataFrame) -> str:
    names = [name for name in _COSTS if name in rows]
    if "span_gflop" in rows and not (rows["span_gflop"] < rows["gflop"]).any():  # no blocks learn alone at once
        names.remove("span_gflop")
    machine = [name for name in ("threads", "device") if name in rows]
    lines = []
    for arm in arms_of(rows):
        done = _done(rows, arm)
        lines.append([arm, *(_cost_cell(done, name) for name in names), *(_values(done[name]) for name in machine)])
    titles = (Words.of(rows).said(_COSTS[name]) for name in names)
    return markdown(["arm", *titles, *machine], lines)


def _mean_cell(rows: pd.DataFrame, arm: str, metric: str, seeds: int) -> str:
    values = by_seed(rows, arm, metric)
    if values.empty:
        return "–"
    text = Words.of(rows).measure(metric).mean_sd(values.mean(), values.std(ddof=1))
    return text if len(values) == seeds else f"{text} (n = {len(values)})"


def _cost_cell(done: pd.DataFrame, name: str) -> str:
    values = done[name].dropna()
    if values.empty:
        return "–"
    mean, spread = values.mean(), values.std(ddof=1)
    decimals = 0 if abs(mean) >= 100 or mean % 1 == 0 else max(1, 1 - floor(log10(abs(mean))))
    text = f"{mean:,.{decimals}f}"
    return f"{text} ± {spread:,.{decimals}f}" if len(values) > 1 and spread > 1e-9 * abs(mean) else text


def _values(column: pd.Series) -> str:
    texts = (f"{value:g}" if isinstance(value, float) else str(value) for value in column.dropna())
    return ", ".join(dict.fromkeys(texts)) or "–"


def _direction(shown: Measure, difference: Paired) -> str:
    word = "lower" if difference.difference < 0 else "higher"
    if not shown.better:
        return word
    return f"{word} ({'better' if word == shown.better else 'worse'})"


def _done(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    done = finished(rows)
    return done[done["arm"] == arm]


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns of text are aligned left, columns of numbers right. Cells must be escaped before."""
    is_text = [any(line[column].lstrip("*[`")[:1].isalpha() for line in lines) for column in range(len(header))]
    rule = ["---" if left else "--:" for left in is_text]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in [header, rule, *lines])


def _escaped(cell: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\|", " ".join(cell.split()))


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
