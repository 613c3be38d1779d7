"""The page of the benchmark: measurements and targets of all claims, and medians of all measurements."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from stacked.util.atomic import write_atomically
from studies.benchmark.findings import claim_values, curve, exponent, is_met, values, ways, with_rows
from studies.benchmark.negative_results import TRIED
from studies.benchmark.questions import LOAD, Question
from studies.measuring.page import draw, places
from studies.report.terminal import plain
from studies.report.verbatim import code_block
from studies.statistics.measurement_rows import load
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from studies.measuring.design import MeasurementDesign


def report(study: MeasurementDesign, questions: Sequence[Question], out: Path, command: str) -> str:
    """Write the figures and README.md from the rows in `out`; return the page."""
    rows = load(out, LOAD)
    figures = draw(study, rows, out)
    questions = with_rows(rows, questions)
    parts = [
        f"# {study.title}",
        study.protocol,
        claims_table(rows, questions),
        *figures,
        "## Measurements",
        *(
            f"### {one.title[0].upper()}{one.title[1:]}\n\n{arms_table(rows, one, study.measures)}"
            for one in questions
            if not one.axis
        ),
        exponents_table(rows, questions),
        f"Medians of {repeats(rows)} repeats, with minimum and maximum in brackets.",
        f"## Optimisations that were tried and rejected\n\n{TRIED}",
        "## How it was made",
        code_block(command),
        origin(rows),
    ]
    page = "\n\n".join(part for part in parts if part) + "\n"
    write_atomically(out / "README.md", page)
    return page


def ending(questions: Sequence[Question], out: Path) -> str:
    """Return the targets with the measurements, and the paths of the page and the figures, as text for a terminal."""
    rows = load(out, LOAD)
    return f"\n{plain(claims_table(rows, with_rows(rows, questions)))}\n\n{places(out)}"


def section(questions: Sequence[Question], out: Path, root: Path) -> str:
    """Return the section of the record in `out` for results/README.md, as Markdown. root: the folder of that file."""
    rows, link = load(out, LOAD), Path(os.path.relpath(out.resolve(), root.resolve())).as_posix()
    parts = [
        f"[![measurements relative to their targets]({link}/figures/targets.png)]({link}/README.md)",
        claims_table(rows, with_rows(rows, questions)),
        f"Medians of {repeats(rows)} repeats, with their range; ratios are computed within a repeat. All measurements, the "
        f"machine and the command are on the page [{link}]({link}/README.md).",
    ]
    return "\n\n".join(parts)


def claims_table(rows: pd.DataFrame, questions: Sequence[Question]) -> str:
    """Return a Markdown table of every claim with its median, range and target."""
    lines = ["| | measured | range | target | reached |", "| --- | --: | --: | --: | --- |"]
    for one in questions:
        for claim in one.claims:
            part = claim_values(rows, one, claim)
            if part.empty:
                continue
            aim = f"≤ {claim.most:g}" if claim.most is not None else f"≥ {claim.least:g}"
            unit = f" {claim.unit}" if claim.unit else " ×"
            lines.append(
                f"| {one.name}: {claim.label} | {told(part.median())}{unit} | {told(part.min())} to {told(part.max())} "
                f"| {aim} | {'yes' if is_met(claim, part.median()) else '**no**'} |"
            )
    return "\n".join(lines)


def arms_table(rows: pd.DataFrame, question: Question, labels: Mapping[str, Measure]) -> str:
    """Return a Markdown table of the medians and ranges of all measures of all arms."""
    here = rows[rows["condition"] == question.name]
    measures = [name for name in labels if (here["measure"] == name).any()]
    titles = [labels[name].title_with_direction for name in measures]
    lines = ["| | " + " | ".join(titles) + " |", "| --- |" + " --: |" * len(measures)]
    for arm in question.arms:
        cells = []
        for name in measures:
            part = values(rows, question.name, arm, name)
            cells.append("–" if part.empty else f"{told(part.median())} ({told(part.min())} to {told(part.max())})")
        if set(cells) != {"–"}:
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def exponents_table(rows: pd.DataFrame, questions: Sequence[Question]) -> str:
    """Return a Markdown table of the exponents of time and memory along every axis."""
    swept = [one for one in questions if one.axis]
    if not swept:
        return ""
    lines = ["### How cost grows", "", "| along | way | time of an epoch | memory |", "| --- | --- | --: | --: |"]
    for one in swept:
        for way in ways(one):
            cells = []
            for measure in ("cpu_seconds", "growth_mb"):
                points = curve(rows, one, way, measure)
                fitted = points["x"].nunique() > 2
                cells.append("{:.2f} ({:.2f} to {:.2f})".format(*exponent(points)) if fitted else "–")
            lines.append(f"| {one.axis} | {way} | {cells[0]} | {cells[1]} |")
    note = (
        "Exponents of power laws through all points, with their 95 % intervals: 1 is linear. Pixels are those of one side. Times "
        "of five epochs per stage are divided by five; from the second epoch on, codes of at most 1 GiB are read from the cache."
    )
    return "\n".join([*lines, "", note])


def told(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def repeats(rows: pd.DataFrame) -> str:
    """Return the number of repeats as text."""
    counts = rows.groupby("method")["seed"].nunique()
    return f"{counts.min()}" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"


def origin(rows: pd.DataFrame) -> str:
    """Return commit, versions, machine and load average as one line."""
    import torch

    found = sorted(set(rows["commit"]))
    commits, loads = f"commit{'s' * (len(found) > 1)} {', '.join(found)}", rows[rows["measure"] == LOAD]["value"]
    return (
        f"The rows were measured with {commits}; Python {platform.python_version()}, torch {torch.__version__}; "
        f"{platform.system()} {platform.machine()} ({processor()}), {os.cpu_count()} cores; load average before a measurement "
        f"{loads.median():.2f} ({loads.min():.2f} to {loads.max():.2f}). Generated from rows.csv."
    )


def processor() -> str:
    """Return the name of the processor from /proc/cpuinfo, if it exists."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"
