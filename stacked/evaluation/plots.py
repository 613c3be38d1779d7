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
#: the most letters of a column's name
LONGEST = 30
#: pixels of an inch, and height and width in pixels of the small picture of one example
DPI, TILE = 96, (64, 96)


def new_figure(width: float, height: float, left: float = 0.0, bottom: float = 0.0, right: float = 0.0) -> Figure:
    """Return an empty white figure of this size and these margins, in pixels, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - right / height, hspace=0.15)
    FigureCanvasAgg(figure)
    return figure


def picture_of(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as a picture [H, W, 3]."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def lines(originals: NDArray[Any], restored: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] of signals [n, C, L] beside each other, with their reconstructions over them.

    A row is a channel, in the units of the data. There is one pair of axes for a row and not for each signal, because axes take
    most of the time.
    """
    from matplotlib.collections import LineCollection

    count, channels, length = min(SIGNALS, len(originals)), min(CHANNELS, originals.shape[1]), originals.shape[2]
    figure = new_figure(200 * count + 90, 130 * channels + 60, left=70, bottom=50, right=20)
    rows = figure.subplots(channels, 1, squeeze=False, sharex=True)[:, 0]
    starts = np.arange(count) * 1.15 * length
    for channel, axes in enumerate(rows):
        for values, colour, label in ((originals, INPUT, "input"), (restored, RESTORED, "reconstruction")):
            drawn = [np.column_stack([x + np.arange(length), values[k, channel]]) for k, x in enumerate(starts)]
            axes.add_collection(LineCollection(drawn, colors=colour, linewidths=1, label=label))
        axes.autoscale_view()
        axes.set_ylabel(f"channel {channel}" if originals.shape[1] > 1 else "value")
    rows[0].legend(fontsize=8, loc="upper right")
    rows[-1].set_xticks([x + place for x in starts for place in (0, length - 1)], ["0", str(length - 1)] * count)
    rows[-1].set_xlabel(f"position in each of {count} signals")
    return picture_of(figure)


def bars(error: NDArray[Any], names: Sequence[str], units: str) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] of the error of each column [D], at most the 40 columns with the largest.

    names: of the columns (empty: their numbers). units: of the error, for the axis.
    """
    shown = np.sort(np.argsort(-error, kind="stable")[:BARS])
    labels = [names[k][:LONGEST] if names else str(k) for k in shown.tolist()]
    longest = max(map(len, labels))
    figure = new_figure(640, 80 + 18 * len(shown), left=60 + 7 * longest, bottom=50, right=30)
    axes = figure.subplots()
    axes.barh(np.arange(len(shown)), error[shown], color=RESTORED)
    axes.set_yticks(np.arange(len(shown)), labels, fontsize=8, parse_math=False)  # names may contain "$"
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
