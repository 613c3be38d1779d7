"""Pictures of signals and of rows of tables: lines, and bars of the error of each column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: the most signals and the most channels of each that a picture of lines shows, and the most columns of a picture of bars
SIGNALS, CHANNELS, BARS = 6, 3, 40
#: colours of the input and of its reconstruction
INPUT, RESTORED = "#595959", "#D55E00"
#: pixels of an inch, and height and width in pixels of the small picture of one example
DPI, TILE = 96, (64, 96)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of this size, in pixels, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def picture_of(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as a picture [H, W, 3]."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def lines(originals: NDArray[Any], restored: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] of signals [n, C, L] and their reconstructions over each other, in the units of the data."""
    count, channels = min(SIGNALS, len(originals)), min(CHANNELS, originals.shape[1])
    figure = new_figure(260 * count, 60 + 130 * channels)
    grid = figure.subplots(channels, count, squeeze=False, sharex=True, sharey="row")
    for row, axes_of_row in enumerate(grid):
        for column, axes in enumerate(axes_of_row):
            axes.plot(originals[column, row], color=INPUT, linewidth=1, label="input")
            axes.plot(restored[column, row], color=RESTORED, linewidth=1, label="reconstruction")
        axes_of_row[0].set_ylabel(f"channel {row}" if originals.shape[1] > 1 else "value")
    for axes in grid[-1]:
        axes.set_xlabel("position")
    grid[0][0].legend(fontsize=8, frameon=False)
    return picture_of(figure)


def bars(error: NDArray[Any], names: Sequence[str], units: str) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] of the error of each column [D], at most the 40 columns with the largest.

    names: of the columns (empty: their numbers). units: of the error, for the axis.
    """
    shown = np.sort(np.argsort(-error, kind="stable")[:BARS])
    labels = [names[k] if names else str(k) for k in shown.tolist()]
    figure = new_figure(640, 80 + 18 * len(shown))
    axes = figure.subplots()
    axes.barh(np.arange(len(shown)), error[shown], color=RESTORED)
    axes.set_yticks(np.arange(len(shown)), labels, fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_ylabel("column")
    axes.set_xlabel(f"mean squared error of the reconstruction{units}")
    if len(shown) < len(error):
        axes.set_title(f"the {len(shown)} of {len(error):,} columns with the largest error", fontsize=9)
    return picture_of(figure)


def tiles(originals: NDArray[Any], restored: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """Return a small picture of each example, [n, H, W, 3]: its values as lines, with the reconstruction over them.

    originals, restored: signals [n, C, L], of which each channel is a line, or rows [n, D].
    """
    from matplotlib.collections import LineCollection

    (height, width), count = TILE, len(originals)
    figure = new_figure(width * count, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for values, colour in ((originals, INPUT), (restored, RESTORED)):
        if values is None:
            continue
        parts = values.reshape(count, -1, values.shape[-1])
        x = np.linspace(0.05, 0.95, parts.shape[2])
        drawn = [np.column_stack([place + x, line]) for place, example in enumerate(parts) for line in example]
        axes.add_collection(LineCollection(drawn, colors=colour, linewidths=1))
    low, high = float(np.min(originals)), float(np.max(originals))
    margin = 0.08 * (high - low) or 1.0
    axes.set_xlim(0, count)
    axes.set_ylim(low - margin, high + margin)
    picture = picture_of(figure)[:height, : width * count]
    return np.ascontiguousarray(picture.reshape(height, count, width, 3).transpose(1, 0, 2, 3))
