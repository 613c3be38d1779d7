"""Figures of rows of images with a label at the left of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studies.figures.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def strips(lines: Mapping[str, NDArray[Any]], heads: Sequence[str] = (), inches: float = 0.72) -> Figure:
    """Return a figure with a row of images for each label.

    lines: images uint8 [n, C, H, W] with C = 1 or 3, by label. heads: titles of the columns. inches: height of a row. Images are
    not interpolated.
    """
    count = max(map(len, lines.values()))
    figure = new_figure(inches * len(lines) + 0.2 + 0.2 * bool(heads))
    grid = figure.subplots(len(lines), count, squeeze=False)
    for line, (name, images) in zip(grid, lines.items(), strict=True):
        for axes, image in zip(line, images, strict=False):
            pixels = np.moveaxis(image, 0, 2)
            axes.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, head in zip(grid[0], heads, strict=False):
        axes.set_title(head, fontsize=8, loc="center")
    return figure
