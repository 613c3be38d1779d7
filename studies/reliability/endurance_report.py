"""The report of an endurance test: slopes with intervals, and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from scipy import stats

from stacked.util.atomic import write_atomically
from studies.figures.notes import footnote
from studies.figures.style import ARM_COLOURS, new_figure, png, style
from studies.report.tables import markdown
from studies.statistics.measures import Measure
from studies.statistics.reading import Columns, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFIDENCE = 0.95
CAPTION = (
    "Resources of one process after each run, against the number of trained phases. Left: resident memory, with the straight "
    "line fitted to the second half (the axis does not start at 0). Middle: open files, threads and child processes. Right: CPU "
    "time of each run. Lower is better."
)


MEMORY = "memory"
#: columns of the samples that must not grow
QUANTITIES = {
    MEMORY: Measure("resident memory", "lower", decimals=1, unit=" MB"),
    "files": Measure("open files", "lower", decimals=0),
    "threads": Measure("threads", "lower", decimals=0),
    "children": Measure("child processes", "lower", decimals=0),
    "objects": Measure("Python objects", "lower", decimals=0),
    "cpu_seconds": Measure("CPU time of a run", "lower", decimals=3, unit=" s"),
}


@dataclass(frozen=True)
class Slope:
    """The increase of a quantity per 1,000 phases, with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Whether the whole interval is above 0, or the slope is not defined (NaN), which must not pass as constant."""
        return not self.low <= 0


def load(path: Path) -> pd.DataFrame:
    """Read samples.csv, with a row for each run; raise InputError if it is missing or malformed."""
    whole = ("run", "phases", "files", "threads", "children", "objects")
    names = ("run", "phases", "seconds", "cpu_seconds", "memory", *whole[2:])
    columns = Columns(names, lambda name: True, whole, names, exact=True)
    return table(path, columns).astype(dict.fromkeys(whole, int))


def halves(samples: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the samples of the first and of the second half of the phases."""
    early = samples["phases"] <= samples["phases"].max() / 2
    return samples[early], samples[~early]


def slope(samples: pd.DataFrame, column: str) -> Slope:
    """Return the least-squares slope of a column in the second half of the samples (at least three), with its t interval."""
    _, half = halves(samples)
    if half[column].nunique() == 1:  # a constant quantity has slope 0 and no residuals for an interval
        return Slope(0.0, 0.0, 0.0)
    line = stats.linregress(half["phases"], half[column])
    wide = line.stderr * stats.t.ppf((1 + CONFIDENCE) / 2, len(half) - 2)
    return Slope(1000 * line.slope, 1000 * (line.slope - wide), 1000 * (line.slope + wide))


def findings(out: Path) -> tuple[list[str], bool]:
    """Write the figure from the samples.csv in `out`; return the parts of the page, and whether a quantity grew."""
    samples = load(out / "samples.csv")
    slopes = {column: slope(samples, column) for column in QUANTITIES}
    with style():
        write_atomically(out / "figures" / "endurance.png", png(draw(samples, slopes[MEMORY])))
    return written(samples, slopes), any(found.grows for found in slopes.values())


def written(samples: pd.DataFrame, slopes: Mapping[str, Slope]) -> list[str]:
    """Return the parts of the page."""
    last, number = samples.iloc[-1], len(halves(samples)[1])
    header = ["quantity, lower is better", "mean of first half", "mean of second half", "at the end"]
    header += ["increase per 1,000 phases (95 % interval)", "grows"]
    return [
        f"{last['phases']:,.0f} phases in {last['run']:,.0f} runs were trained one after the other in one process, as in a "
        f"study: with a local MLflow store, checkpoints, rows and curves. {verdict(slopes)}",
        "![Memory, counts and time against phases](figures/endurance.png)",
        f"*{CAPTION}*",
        markdown(header, [line(samples, column, found) for column, found in slopes.items()]),
        f"The increase per 1,000 phases is the slope of a straight line fitted to the {number:,} samples of the second half, "
        "with its 95 % t interval. A quantity grows if the whole interval is above 0. The interval assumes independent "
        "residuals; neighbouring samples are correlated, so the true interval is wider. A sample is taken after each run, "
        f"without forcing a garbage collection. The median wall time of a run was {samples['seconds'].median():.1f} s, which "
        "depends on other work on the machine.",
    ]


def verdict(slopes: Mapping[str, Slope]) -> str:
    """Return sentences that name the quantities that grow and those that do not."""
    of = {True: [], False: []}  # type: dict[bool, list[str]]
    for column, found in slopes.items():
        of[found.grows].append(QUANTITIES[column].label)
    sentences = [
        f"**{word}:** {', '.join(of[grew])}." for word, grew in (("Grows", True), ("Does not grow", False)) if of[grew]
    ]
    return " ".join(sentences)


def line(samples: pd.DataFrame, column: str, found: Slope) -> list[str]:
    """Return the line of a quantity in the table."""
    first, second = halves(samples)
    measure = QUANTITIES[column]
    values = first[column].mean(), second[column].mean(), samples[column].iloc[-1]
    shown = [f"{value:,.{measure.places(value)}f}" for value in values]
    more, low, high = (f"{each:+,.{measure.places(each) + 1}f}" for each in (found.value, found.low, found.high))
    interval = f"{more} ({low} to {high})".replace("-", "−")
    return [measure.title, *shown, interval, "**yes**" if found.grows else "no"]


def draw(samples: pd.DataFrame, memory: Slope) -> Figure:
    """Return a figure of memory with the fitted line, counts, and CPU time of a run against phases."""
    from matplotlib.ticker import StrMethodFormatter

    figure, phases, half = new_figure(3.1), samples["phases"], halves(samples)[1]
    resident, counted, times = panels = figure.subplots(1, 3)
    blue, green, red = (ARM_COLOURS[arm] for arm in ("greedy+finetune", "greedy", "joint"))
    resident.plot(phases, samples["memory"], color=blue)
    fitted = half["memory"].mean() + memory.value / 1000 * (half["phases"] - half["phases"].mean())
    resident.plot(half["phases"], fitted, color="black", linewidth=1.2, linestyle="--", label="fit to the second half")
    resident.set_ylabel("resident memory (MB)")
    resident.legend(loc="lower right")
    for column, colour, dashes in (("files", blue, "-"), ("threads", red, "--"), ("children", green, ":")):
        label = QUANTITIES[column].label
        counted.plot(phases, samples[column], color=colour, linestyle=dashes, label=label)
    counted.set_ylabel("number of each")
    counted.legend(loc="center right")
    times.plot(phases, samples["cpu_seconds"], color=blue, marker=".", markersize=3, linewidth=0)
    times.set_ylabel("CPU time of a run (s)")
    for axes in panels:
        axes.set_xlabel("phases trained")
        axes.set_xlim(0, phases.max())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if axes is resident:
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        else:
            top = 1.1 * axes.get_ylim()[1]
            axes.set_ylim(-0.03 * top, top)  # a line at 0 is not hidden by the axis
    footnote(figure, "lower is better", "left: the axis does not start at 0", "right: a dot for each run")
    return figure
