"""Images and filters as tiles of one picture."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from stacked.show.style import FONT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pixels: TypeAlias = npt.NDArray[np.float64]

#: the most filters of a panel
MOST_TILES = 64


def tiles_of(filters: npt.NDArray[Any]) -> Pixels:
    """Convert filters [F, C, k, k] to tiles [n, k, k, 3 or 1]."""
    array = np.asarray(filters, dtype=np.float64)
    channels, height, width = array.shape[1:]
    if channels == 3:
        return array.transpose(0, 2, 3, 1)[:MOST_TILES]
    return array.reshape(-1, height, width, 1)[:MOST_TILES]


def draw_tiles(axes: Axes, tiles: Pixels, columns: int) -> None:
    """Draw tiles [n, h, w, 3 or 1] with one colour scale, symmetric around 0, whose range is written at the right.

    Tiles of three channels are shown as colours around grey, others in red above 0 and blue below.
    """
    scale = float(np.abs(tiles).max()) or 1.0
    if tiles.shape[-1] == 3:
        show_image(axes, mosaic(0.5 + 0.5 * tiles / scale, columns, background=1.0), aspect="equal")
        axes.set_title(f"scale ±{scale:.2g}", loc="right", fontsize=FONT)
        return
    picture = axes.imshow(mosaic(tiles, columns, background=np.nan)[..., 0], cmap="RdBu_r", vmin=-scale, vmax=scale)
    axes.set_axis_off()
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(picture, ax=axes, fraction=0.012, pad=0.01, ticks=[-scale, 0.0, scale])
    bar.ax.set_yticklabels([f"−{scale:.2g}", "0", f"+{scale:.2g}"])
    bar.outline.set_visible(False)


def mosaic(tiles: Pixels, columns: int, background: float) -> Pixels:
    """Arrange tiles [n, H, W, C] in one image with `columns` tiles in a row and gaps of about a tenth of a tile."""
    count, height, width, channels = tiles.shape
    factor = max(1, ceil(10 / height))  # enlarges tiny filters, of which a gap of one pixel would be a third
    big = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    gap = max(1, round(0.07 * height * factor))
    cell_height, cell_width = height * factor + gap, width * factor + gap
    lines = ceil(count / columns)
    picture = np.full((lines * cell_height, columns * cell_width, channels), background)
    for index in range(count):
        top, left = (index // columns) * cell_height, (index % columns) * cell_width
        picture[top : top + height * factor, left : left + width * factor] = big[index]
    return picture


def show_image(axes: Axes, picture: Pixels, aspect: Literal["auto", "equal"] = "auto") -> None:
    """Show a greyscale or colour image in [0, 1] without axes; small images are not interpolated."""
    colours = picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture
    axes.imshow(colours, aspect=aspect, interpolation="nearest" if len(picture) <= 64 else "antialiased")
    axes.set_axis_off()
