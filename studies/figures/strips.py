"""Figures of rows of images with a label at the left of each row, and a number at the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studies.figures.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: what the numbers beside the rows are, for the line below the figure
DECIBELS = "at the right: mean PSNR of the images of the row in dB (higher is better)"


def strips(
    lines: Mapping[str, NDArray[Any]],
    heads: Sequence[str] = (),
    inches: float = 0.72,
    ends: Mapping[str, str] | None = None,
) -> Figure:
    """Return a figure with a row of images for each label.

    lines: images uint8 [n, C, H, W] with C = 1 or 3, by label. heads: titles of the columns. inches: height of a row. ends: text
    at the right of a row, by label. Images are not interpolated.
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
        beside: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        line[-1].annotate((ends or {}).get(name, ""), (1.0, 0.5), xytext=(6, 0), annotation_clip=False, **beside)
    for axes, head in zip(grid[0], heads, strict=False):
        axes.set_title(head, fontsize=8, loc="center")
    return figure


def decibels(lines: Mapping[str, NDArray[Any]], originals: NDArray[Any]) -> dict[str, str]:
    """Return the mean PSNR of each row of images as text, such as "21.4 dB"; rows that equal the originals have none.

    lines: images uint8 [n, C, H, W] by label. originals: uint8 [n, C, H, W].
    """
    found = {}
    for name, images in lines.items():
        errors = np.square(images / 255.0 - originals / 255.0).mean((1, 2, 3))
        if errors.any():
            found[name] = f"{-10 * np.log10(np.maximum(errors, 1e-12)).mean():.1f} dB"
    return found
