"""Filters of signals and of rows of tables as tiles: a line for each channel, or a bar for each feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stacked.show.style import FONT, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: colours of the channels of a signal, in their order (Okabe and Ito 2008), and of weights above and below 0
CHANNELS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
ABOVE, BELOW = "#B2182B", "#2166AC"


def draw_filters(axes: Axes, filters: NDArray[Any], columns: int) -> None:
    """Draw filters as tiles with one scale, whose range is written at the right, and a grey line at 0.

    filters: of signals [n, C, l], with a line for each channel, in the order of `CHANNELS`; of rows [n, D], with a bar for each
    feature in the order of the columns, red above 0 and blue below.
    """
    from matplotlib.collections import LineCollection

    values = np.asarray(filters, dtype=np.float64)
    scale = float(np.abs(values).max()) or 1.0
    places = np.arange(len(values))
    left, level = places % columns, -(places // columns).astype(np.float64)
    edge = 0.06 if values.ndim == 3 else 0.12  # bars need wider gaps between tiles than lines
    zero = [[(x + edge - 0.03, y), (x + 1.03 - edge, y)] for x, y in zip(left, level, strict=True)]
    axes.add_collection(LineCollection(zero, colors=GREY, linewidths=0.5))
    x = np.linspace(edge, 1 - edge, values.shape[-1])
    for tile, start, y in zip(values, left, level, strict=True):
        heights = y + 0.42 * tile / scale
        if tile.ndim == 2:
            lines = [np.column_stack([start + x, line]) for line in heights]
            colours: list[str] = [CHANNELS[k % len(CHANNELS)] for k in range(len(lines))]
        else:
            lines = [np.array([(at, y), (at, height)]) for at, height in zip(start + x, heights, strict=True)]
            colours = [ABOVE if value > 0 else BELOW for value in tile]
        thick = 1.0 if tile.ndim == 2 else float(np.clip(40 / len(x), 0.5, 5))
        axes.add_collection(LineCollection(lines, colors=colours, linewidths=thick))
    axes.set_xlim(0, columns)
    axes.set_ylim(float(level.min()) - 0.5, 0.5)
    axes.set_axis_off()
    axes.set_title(f"scale ±{scale:.2g}", loc="right", fontsize=FONT)
