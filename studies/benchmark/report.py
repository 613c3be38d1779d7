"""What the rows of a benchmark say: medians, ratios beside what was aimed at, two figures, and a page."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from stacked.util.atomic import write_atomically
from studies.benchmark.negative_results import TRIED
from studies.benchmark.rows import load
from studies.figures.style import GREY, label_ends, new_figure, png, style
from studies.report.verbatim import code_block

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from studies.benchmark.questions import Claim, Question

#: of measures, in the order of a table's columns
NAMES = {
    "cpu_seconds": "processor time (s)",
    "predicted": "foretold (s)",
    "seconds": "wall time (s)",
    "train_seconds": "of it training (s)",
    "recording": "share spent on recording",
    "mse": "test MSE per pixel",
    "growth_mb": "growth of memory (MB)",
    "resident_mb": "resident memory (MB)",
    "pixels_mb": "of it images (MB)",
    "codes_mb": "codes kept (MB)",
    "gflops": "GFLOP/s",
    "product": "matrix product (GFLOP/s)",
    "share": "share",
    "error": "difference, of the time taken",
    "gb_per_second": "read and written (GB/s)",
    "per_second": "studies per second",
}
COLOURS = {"loop": "#D55E00", "ClustPy": "#CC79A7", "stacked": "#0072B2", "stacked, own recipe": "#009E73"}
MET, MISSED = "#0072B2", "#D55E00"
CAPTIONS = {
    "targets": (
        "How each measurement relates to what was aimed at: 1 is the aim, left of it is better. A dot is a repeat, the line "
        "their range, the large dot the median."
    ),
    "scaling": (
        "Processor time of an epoch of all stages, and growth of memory beyond the images, against what grows; medians with the "
        "range of repeats. At the right of each line the exponent of a power law through its points."
    ),
    "error": (
        "Error against cost, a dot a seed: 10,000 digits, 5 epochs a stage and 5 end to end, or a recipe of our own; one thread."
    ),
}


def report(out: Path, known: Sequence[Question], command: str) -> str:
    """Write figures and README.md beside the rows.csv in `out`; returns the page."""
    rows = load(out / "rows.csv")
    asked = [one for one in known if (rows["question"] == one.name).any()]
    with style():
        drawn = {"targets": targets(rows, asked), "scaling": scaling(rows, asked), "error": errors(rows, asked)}
        for name, figure in drawn.items():
            path = out / "figures" / f"{name}.png"
            if figure:
                write_atomically(path, png(figure))
            else:
                path.unlink(missing_ok=True)
    page = written(out, rows, asked, command)
    write_atomically(out / "README.md", page)
    return page


def block(out: Path, known: Sequence[Question]) -> str:
    """What the index of records says of the record in `out`."""
    rows = load(out / "rows.csv")
    folder = out.name
    parts = [
        f"[![what was aimed at, and what was measured]({folder}/figures/targets.png)]({folder}/README.md)",
        claims_table(rows, [one for one in known if (rows["question"] == one.name).any()]),
        f"Medians of {repeats(rows)} repeats, with their range; ratios within a repeat. Every measurement, the machine and the "
        f"command: [{folder}]({folder}/README.md).",
    ]
    return "\n\n".join(parts)


def written(out: Path, rows: pd.DataFrame, asked: Sequence[Question], command: str) -> str:
    """The page, as Markdown."""
    figures = [
        f"![{name}](figures/{name}.png)\n\n*{caption}*"
        for name, caption in CAPTIONS.items()
        if (out / "figures" / f"{name}.png").exists()
    ]
    parts = [
        "# How fast is it?",
        "Against a loop written by hand in plain PyTorch (`studies/benchmark/loops.py`), against ClustPy, and against what the "
        "machine can do. Every measurement is a process of its own; arms alternate; a ratio is taken within a repeat.",
        claims_table(rows, asked),
        *figures,
        "## Measurements",
        *(f"### {one.title[0].upper()}{one.title[1:]}\n\n{arms_table(rows, one)}" for one in asked if not one.axis),
        exponents_table(rows, asked),
        f"Medians, and in brackets the least and the most of {repeats(rows)} repeats.",
        f"## Tried, and not kept\n\n{TRIED}",
        "## How it was made",
        code_block(command),
        origin(rows),
    ]
    return "\n\n".join(parts) + "\n"


def values(rows: pd.DataFrame, question: str, arm: str, measure: str) -> pd.Series:
    """The measure of an arm, by repeat."""
    wanted = rows[(rows["question"] == question) & (rows["arm"] == arm) & (rows["measure"] == measure)]
    return wanted.set_index("repeat")["value"]


def found(rows: pd.DataFrame, question: Question, claim: Claim) -> pd.Series:
    """What a claim is about, by repeat: a measure, or its ratio to that of another arm in the same repeat."""
    own = values(rows, question.name, claim.arm, claim.measure)
    if claim.against is None:
        return own
    return (own / values(rows, question.name, claim.against, claim.measure)).dropna()


def met(claim: Claim, median: float) -> bool:
    """Whether a median is what was aimed at."""
    return (claim.most is None or median <= claim.most) and (claim.least is None or median >= claim.least)


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


def arms_table(rows: pd.DataFrame, question: Question) -> str:
    """The medians and ranges of all measures of all arms."""
    here = rows[rows["question"] == question.name]
    measures = [name for name in NAMES if (here["measure"] == name).any()]
    lines = ["| | " + " | ".join(NAMES[name] for name in measures) + " |", "| --- |" + " --: |" * len(measures)]
    for arm in question.arms:
        cells = []
        for name in measures:
            part = values(rows, question.name, arm, name)
            cells.append("–" if part.empty else f"{told(part.median())} ({told(part.min())} to {told(part.max())})")
        if set(cells) != {"–"}:
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def curve(rows: pd.DataFrame, question: Question, way: str, measure: str) -> pd.DataFrame:
    """Of a way along an axis: a row a repeat, with `x` and `y`."""
    here = rows[(rows["question"] == question.name) & (rows["measure"] == measure)]
    parts = here["arm"].str.rpartition(" @ ")
    mine = parts[0] == way
    return pd.DataFrame({"x": parts[2][mine].astype(float), "y": here["value"][mine]}).sort_values("x")


def exponent(points: pd.DataFrame) -> tuple[float, float, float]:
    """Of a power law through the points, by least squares of logarithms, with its 95 % t interval."""
    line = stats.linregress(np.log(points["x"]), np.log(points["y"].clip(lower=1e-9)))
    wide = line.stderr * stats.t.ppf(0.975, max(1, len(points) - 2))
    return line.slope, line.slope - wide, line.slope + wide


def ways(question: Question) -> list[str]:
    """The ways that a question looks at along its axis."""
    return list(dict.fromkeys(arm.rpartition(" @ ")[0] for arm in question.arms))


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


def scaling(rows: pd.DataFrame, asked: Sequence[Question]) -> Figure | None:
    """Time and memory along every axis."""
    swept = [one for one in asked if one.axis]
    if not swept:
        return None
    from matplotlib.ticker import LogLocator, NullLocator

    figure = new_figure(5.0)
    grid = figure.subplots(2, len(swept), squeeze=False)
    for column, one in enumerate(swept):
        for line, (measure, label) in enumerate((("cpu_seconds", "processor time (s)"), ("growth_mb", "memory (MB)"))):
            axes, ends = grid[line][column], []
            for way, colour in zip(ways(one), ("#009E73", "#0072B2", "#D55E00"), strict=True):
                points = curve(rows, one, way, measure)
                if points.empty:
                    continue
                by = points.groupby("x")["y"]
                axes.plot(by.median(), "o-", color=colour, markersize=3, label=way)
                axes.fill_between(by.median().index, by.min(), by.max(), color=colour, alpha=0.2)
                if points["x"].nunique() > 2:
                    ends.append((by.median().iloc[-1], f"{exponent(points)[0]:.2f}", colour))
            places = sorted({float(arm.rpartition(" @ ")[2]) for arm in one.arms})
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(places, [f"{x / 1000:g}k" if x >= 1000 else f"{x:g}" for x in places], fontsize="small")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda y, _: f"{y:,.6g}")
            label_ends(axes, places[-1], ends)
            axes.set_xlabel({"pixels": "pixels a side", "channels": "channels of stage 1"}.get(one.axis, one.axis))
            if column == 0:
                axes.set_ylabel(label)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def told(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def repeats(rows: pd.DataFrame) -> str:
    """How often arms were measured."""
    counts = rows.groupby(["question", "arm"])["repeat"].nunique()
    return f"{counts.min()}" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"


def origin(rows: pd.DataFrame) -> str:
    """The code, the versions, the machine and how busy it was."""
    import torch

    commits = ", ".join(sorted(set(rows["commit"])))
    return (
        f"Rows made by commit {commits}; Python {platform.python_version()}, torch {torch.__version__}; "
        f"{platform.system()} {platform.machine()} ({processor()}), {os.cpu_count()} cores; load average before a measurement "
        f"{rows['load'].median():.2f} ({rows['load'].min():.2f} to {rows['load'].max():.2f}). Generated from rows.csv."
    )


def processor() -> str:
    """The processor's name, as Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"


def targets(rows: pd.DataFrame, asked: Sequence[Question]) -> Figure | None:
    """Every claim's repeats, over its aim; where more is better, its aim over them."""
    drawn = []
    for one in asked:
        for claim in one.claims:
            part = found(rows, one, claim)
            if not part.empty:
                beside = f" / {claim.against}" if claim.against else ""
                aim = claim.most if claim.most is not None else claim.least
                assert aim is not None
                ratio = part / aim if claim.most is not None else aim / part
                drawn.append((f"{one.name}: {claim.text}{beside}", ratio))
    if not drawn:
        return None
    figure = new_figure(0.6 + 0.27 * len(drawn))
    axes: Axes = figure.subplots()
    for height, (_, ratio) in enumerate(drawn):
        colour = MET if ratio.median() <= 1 else MISSED
        axes.plot([ratio.min(), ratio.max()], [height, height], color=colour, linewidth=1.2)
        axes.plot(ratio, [height] * len(ratio), "o", color=colour, markersize=3, alpha=0.6)
        axes.plot(ratio.median(), height, "o" if ratio.median() <= 1 else "D", color=colour, markersize=7)
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_xscale("log")
    low, high = min(ratio.min() for _, ratio in drawn), max(ratio.max() for _, ratio in drawn)
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low * 0.8 <= tick <= max(high, 1) * 1.25]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(drawn)), [label for label, _ in drawn])
    axes.invert_yaxis()
    axes.set_xlabel("measured / aim (1: reached; less is better)")
    return figure


def errors(rows: pd.DataFrame, asked: Sequence[Question]) -> Figure | None:
    """Test error against processor time of the works."""
    works = [one for one in asked if (rows[rows["question"] == one.name]["measure"] == "mse").any()]
    works = [one for one in works if one.name in ("dense", "conv")]
    if not works:
        return None
    figure = new_figure(3.1)
    for axes, one in zip(figure.subplots(1, len(works), squeeze=False)[0], works, strict=True):
        ends = []
        for arm in one.arms:
            cost, error = (values(rows, one.name, arm, name) for name in ("cpu_seconds", "mse"))
            if cost.empty:
                continue
            axes.plot(cost, error, "o", color=COLOURS[arm], alpha=0.6, markersize=5)
            axes.plot(cost.median(), error.median(), "D", color=COLOURS[arm], markersize=7)
            # the recipe of our own lies below the rest: its name is written there too
            above = -16 if arm == "stacked, own recipe" else 8
            place = cost.median(), error.median()
            axes.annotate(arm, place, xytext=(6, above), textcoords="offset points", color=COLOURS[arm])
            ends.append(cost.max())
        axes.set_xlim(0, max(ends) * 1.25)
        axes.set_ylim(0, None)
        axes.set_title(one.name)
        axes.set_xlabel("processor time (s)")
        axes.set_ylabel("test MSE per pixel")
    return figure
