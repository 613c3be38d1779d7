"""The common style of all figures: their width, font sizes, line widths and axes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 880 / 96  # inches; at the 880 px of a README, font sizes are as on paper
FONT = 9.0
GREY = "#595959"
DPI = 150


@contextmanager
def style() -> Iterator[None]:
    """Context with the font sizes and line widths of all figures; restores matplotlib's settings at its end."""
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # bundled with matplotlib, hence the same on every machine
        "font.size": FONT,
        "text.parse_math": False,  # names may contain "$"
        "axes.titlesize": FONT + 1,
        "axes.titlelocation": "left",
        "axes.labelsize": FONT,
        "xtick.labelsize": FONT,
        "ytick.labelsize": FONT,
        "legend.fontsize": FONT,
        "axes.edgecolor": "#8C8C8C",
        "axes.labelcolor": "#262626",
        "xtick.color": "#8C8C8C",
        "ytick.color": "#8C8C8C",
        "xtick.labelcolor": "#262626",
        "ytick.labelcolor": "#262626",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.8,
        "legend.frameon": False,
    }
    defaults: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
    with matplotlib.rc_context(defaults | settings):
        yield


def new_figure(height: float) -> Figure:
    """Return an empty figure, `WIDTH` inches wide and `height` inches tall, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure
