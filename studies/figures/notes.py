"""The lines below a figure that say how it is read: over how many seeds its means are, and what its marks are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studies.figures.style import FONT, GREY, seeds_of
from studies.statistics.pairing import LEAST_SEEDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: the most letters of a line below a figure, which is as wide as the figure
LETTERS = 138
#: what the mark at the end of an interval means that does not fit in its axis
CUT = "triangle: the interval goes on beyond the axis"


def footnote(figure: Figure, *parts: str) -> None:
    """Write below a figure how it is read: what dots, bars, bands and dashed lines are. Empty parts are left out."""
    text = balanced("; ".join(filter(None, parts)))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=FONT - 0.5, color=GREY)


def balanced(text: str) -> str:
    """Return the text in as few lines of at most `LETTERS` letters as possible, of about equal length."""
    fewest = len(textwrap.wrap(text, LETTERS, break_on_hyphens=False))
    widths = range(-(-len(text) // max(fewest, 1)), LETTERS + 1)
    wrapped = (textwrap.wrap(text, width, break_on_hyphens=False) for width in widths if width > 0)
    return "\n".join(next((lines for lines in wrapped if len(lines) == fewest), []))


def cut_note(figure: Figure) -> str:
    """Return what the triangles at the edges of a figure are; "" if no interval goes on beyond its axis."""
    return CUT if any(line.get_gid() == CUT for axes in figure.axes for line in axes.get_lines()) else ""


def means_note(figure: Figure, counts: Sequence[int], marks: str, *parts: str, of: str = "") -> None:
    """Write below a figure over how many seeds its means are, what its `marks` ("bars", "bands") are, and further parts.

    counts: numbers of seeds, of each arm or of all. of: what else the mean is over or of, written after the seeds.
    """
    most = max(counts)
    footnote(
        figure,
        f"mean over {seeds_of(counts)}{of}" if most > 1 else f"a single seed{of}: no interval",
        f"{marks}: 95 % t interval of the mean" if most >= LEAST_SEEDS else "",
        *parts,
    )
