"""The page of the benchmark: every aim with what was measured, and medians of all measurements."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from stacked.util.atomic import write_atomically
from studies.benchmark.findings import answered, curve, exponent, found, met, values, ways
from studies.benchmark.negative_results import TRIED
from studies.benchmark.questions import LOAD, Question
from studies.measuring.page import draw, places
from studies.report.terminal import plain
from studies.report.verbatim import code_block
from studies.statistics.measurement_rows import load
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from studies.benchmark.study import Benchmark


def report(study: Benchmark, out: Path, command: str) -> str:
    """Write figures and README.md beside the rows.csv in `out`; returns the page."""
    rows = load(out, LOAD)
    figures = draw(study, rows, out)
    asked = answered(rows, study.questions)
    parts = [
        f"# {study.title}",
        study.protocol,
        claims_table(rows, asked),
        *figures,
        "## Measurements",
        *(
            f"### {one.title[0].upper()}{one.title[1:]}\n\n{arms_table(rows, one, study.measures)}"
            for one in asked
            if not one.axis
        ),
        exponents_table(rows, asked),
        f"Medians, and in brackets the least and the most of {repeats(rows)} repeats.",
        f"## Tried, and not kept\n\n{TRIED}",
        "## How it was made",
        code_block(command),
        origin(rows),
    ]
    page = "\n\n".join(parts) + "\n"
    write_atomically(out / "README.md", page)
    return page


def ending(study: Benchmark, out: Path) -> str:
    """Every aim with what was measured, and where page and figures are, for a terminal."""
    rows = load(out, LOAD)
    return f"\n{plain(claims_table(rows, answered(rows, study.questions)))}\n\n{places(out)}"


def block(study: Benchmark, out: Path, root: Path) -> str:
    """What the index of records, which lies in `root`, says of the record in `out`."""
    rows, link = load(out, LOAD), Path(os.path.relpath(out.resolve(), root.resolve())).as_posix()
    parts = [
        f"[![what was aimed at, and what was measured]({link}/figures/targets.png)]({link}/README.md)",
        claims_table(rows, answered(rows, study.questions)),
        f"Medians of {repeats(rows)} repeats, with their range; ratios within a repeat. Every measurement, the machine and the "
        f"command: [{link}]({link}/README.md).",
    ]
    return "\n\n".join(parts)


def claims_table(rows: pd.DataFrame, asked: Sequence[Question]) -> str:
    """Every claim with its median, range, aim and whether that was reached."""
    lines = ["| | measured | range | aim | reached |", "| --- | --: | --: | --: | --- |"]
    for one in asked:
        for claim in one.claims:
            part = found(rows, one, claim)
            if part.empty:
                continue
            aim = f"≤ {claim.most:g}" if claim.most is not None else f"≥ {claim.least:g}"
            unit = f" {claim.unit}" if claim.unit else " ×"
            against = f", beside {claim.against}" if claim.against else ""
            lines.append(
                f"| {one.name}: {claim.text}{against} | {told(part.median())}{unit} | {told(part.min())} to {told(part.max())} "
                f"| {aim} | {'yes' if met(claim, part.median()) else '**no**'} |"
            )
    return "\n".join(lines)


def arms_table(rows: pd.DataFrame, question: Question, labels: Mapping[str, Measure]) -> str:
    """The medians and ranges of all measures of all arms."""
    here = rows[rows["condition"] == question.name]
    measures = [name for name in labels if (here["measure"] == name).any()]
    lines = ["| | " + " | ".join(labels[name].label for name in measures) + " |", "| --- |" + " --: |" * len(measures)]
    for arm in question.arms:
        cells = []
        for name in measures:
            part = values(rows, question.name, arm, name)
            cells.append("–" if part.empty else f"{told(part.median())} ({told(part.min())} to {told(part.max())})")
        if set(cells) != {"–"}:
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def exponents_table(rows: pd.DataFrame, asked: Sequence[Question]) -> str:
    """Exponents of time and memory along every axis."""
    swept = [one for one in asked if one.axis]
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
        "Exponents of power laws through all points, with their 95 % intervals: 1 is linear. Pixels are those of a side. The "
        "way of five epochs a stage is told by the epoch; from the second on it reads kept codes where these take at most 1 GiB."
    )
    return "\n".join([*lines, "", note])


def told(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def repeats(rows: pd.DataFrame) -> str:
    """How often arms were measured."""
    counts = rows.groupby("method")["seed"].nunique()
    return f"{counts.min()}" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"


def origin(rows: pd.DataFrame) -> str:
    """The code, the versions, the machine and how busy it was."""
    import torch

    commits, loads = ", ".join(sorted(set(rows["commit"]))), rows[rows["measure"] == LOAD]["value"]
    return (
        f"Rows made by commit {commits}; Python {platform.python_version()}, torch {torch.__version__}; "
        f"{platform.system()} {platform.machine()} ({processor()}), {os.cpu_count()} cores; load average before a measurement "
        f"{loads.median():.2f} ({loads.min():.2f} to {loads.max():.2f}). Generated from rows.csv."
    )


def processor() -> str:
    """The processor's name, as Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"
