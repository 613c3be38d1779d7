"""The report of robustness tests: a table, a figure, and the failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studies.figures.notes import footnote
from studies.figures.style import new_figure
from studies.reliability.robustness.attempts import BELIEVED, FAILED, NOTICED, OUTCOMES, UNHARMED, Attempt
from studies.report.tables import markdown
from studies.report.verbatim import code

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito 2008, and grey
COLOURS = {NOTICED: "#0072B2", UNHARMED: "#BBBBBB", BELIEVED: "#E69F00", FAILED: "#D55E00"}
#: patterns that tell these from unharmed attempts without colour
HATCHES = {BELIEVED: "///", FAILED: "xxx"}
CAPTION = (
    "Outcomes in percent of the attempts on each subject; the number of attempts is at the right. Noticed: "
    f"{OUTCOMES[NOTICED]}. Unharmed: {OUTCOMES[UNHARMED]}. Believed: {OUTCOMES[BELIEVED]}. Failed: {OUTCOMES[FAILED]}."
)

Counts = dict[tuple[str, str], Counter[str]]


def counts(attempts: Sequence[Attempt]) -> Counts:
    """Return the number of each outcome by family and subject, in the order of the attempts."""
    found: Counts = {}
    for each in attempts:
        found.setdefault((each.family, each.subject), Counter())[each.outcome] += 1
    return found


def findings(attempts: Sequence[Attempt]) -> list[str]:
    """Return the parts of the page."""
    total = Counter(each.outcome for each in attempts)
    lines = []
    for (family, subject), found in counts(attempts).items():
        those = [each for each in attempts if (each.family, each.subject) == (family, subject)]
        memory = [each.megabytes for each in those if each.megabytes is not None]
        cells = [family, subject, sum(found.values()), *(found[outcome] or "–" for outcome in OUTCOMES)]
        cells += [f"{max(each.seconds for each in those):.1f}", f"{max(memory):,.0f}" if memory else "–"]
        lines.append(list(map(str, cells)))
    failures = [[each.subject, code(each.case), code(each.detail)] for each in attempts if each.outcome == FAILED]
    return [
        f"{len(attempts):,} attempts: {', '.join(f'{total[outcome]:,} {outcome}' for outcome in OUTCOMES)}.",
        "![Outcomes of all attempts by subject](figures/robustness.png)",
        f"*{CAPTION}*",
        markdown(["test", "subject", "attempts", *OUTCOMES, "longest time (s)", "peak memory (MB)"], lines),
        "The outcome “believed” is possible only for a format without a checksum, which is JPEG. The data of a record are "
        "identified by their digest, and each row of a table and each file of settings (JSON) has a checksum; a table that is "
        "cut off between two rows is read as one whose study was stopped there.",
        *([markdown(["failed subject", "case", "message"], failures)] if failures else []),
    ]


def draw(attempts: Sequence[Attempt]) -> Figure:
    """Return a figure with a bar for each subject, divided by outcome."""
    found = counts(attempts)
    figure = new_figure(1.4 + 0.24 * len(found))
    axes = figure.subplots()
    labels, left = [f"{family}: {subject}" for family, subject in found], [0.0] * len(found)
    for outcome, colour in COLOURS.items():
        shares = [100 * each[outcome] / sum(each.values()) for each in found.values()]
        pattern: dict[str, Any] = {"hatch": HATCHES.get(outcome), "edgecolor": "white", "linewidth": 0}
        axes.barh(labels, shares, left=left, color=colour, label=outcome, height=0.7, **pattern)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    for row, each in enumerate(found.values()):
        axes.annotate(f"{sum(each.values()):,}", (100, row), xytext=(4, 0), textcoords="offset points", va="center")
    axes.annotate("attempts", (100, -1), xytext=(4, 0), textcoords="offset points", va="center", annotation_clip=False)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the attempts on each subject (%)")
    footnote(figure, *(f"{name}: {OUTCOMES[name]}" for name in COLOURS))
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper right", ncols=len(COLOURS))
    return figure
