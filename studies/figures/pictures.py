"""Figures of images: test images with their reconstructions, and filters of the first stage."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil, isnan
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from studies.figures.style import FONT, WIDTH, ink, new_figure
from studies.statistics.measures import measure
from studies.statistics.rows import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pixels: TypeAlias = npt.NDArray[np.float64]

_COLUMNS = 14
_MAX_FILTERS = 64
_LONGEST_LABEL = 17  # letters; a longer label has two lines
_LEFT, _RIGHT, _HEADING = 1.3, 0.85, 0.3  # inches for labels at the sides and above the images


#: (label, images uint8 [n, H, W, C], the number at the right end; NaN: none)
Line: TypeAlias = tuple[str, npt.NDArray[Any], float]


def by_value(line: Line) -> tuple[bool, float]:
    """Return the sort key of a line: ascending numbers, lines without a number last."""
    return isnan(line[2]), line[2]


def draw_reconstructions(
    samples: Mapping[str, Samples], colours: Mapping[str, str], error: Callable[[str, int], float]
) -> Figure | None:
    """Return a figure of the test images and, for each depth, a row of reconstructions by each arm; None without data.

    samples: by arm, arrays "originals" and "depth1", "depth2" ... (uint8 [n, H, W, C]). error: function of arm and depth that
    returns the test MSE written at the right end of a row (NaN: none).
    """
    shown = {arm: arrays for arm, arrays in samples.items() if "originals" in arrays}
    depths = sorted({depth for arrays in shown.values() for depth in depths_of(arrays)})
    if not depths:
        return None
    groups: dict[str, list[Line]] = {"test images": [("", next(iter(shown.values()))["originals"], np.nan)]}
    for depth in depths:
        arms = [arm for arm, arrays in shown.items() if depth in depths_of(arrays)]
        groups[f"depth {depth}"] = [(arm, shown[arm][f"depth{depth}"], error(arm, depth)) for arm in arms]
    return draw_lines(groups, colours, "test MSE", measure("final/recon_mse").number)


def draw_lines(
    groups: Mapping[str, list[Line]], colours: Mapping[str, str], quantity: str, number: Callable[[float], str]
) -> Figure:
    """Return a figure of rows of images in groups with titles; `quantity` is the title of the numbers at the right."""
    first = next(iter(groups.values()))[0][1]
    count = min(_COLUMNS, len(first))
    cell = (WIDTH - _LEFT - _RIGHT) / _COLUMNS
    pitch = cell * first.shape[1] / first.shape[2]
    height = pitch * sum(map(len, groups.values())) + _HEADING * len(groups) + 0.05
    figure = new_figure(height)
    figure.set_layout_engine("none")
    end = _LEFT + cell * count + 0.1
    _text(figure, end, height - _HEADING / 2, quantity)
    top = height
    for title, group in groups.items():
        _text(figure, _LEFT, top - 0.55 * _HEADING, title, weight="bold")
        top -= _HEADING
        for label, images, value in group:
            top -= pitch
            axes = figure.add_axes((_LEFT / WIDTH, top / height, cell * count / WIDTH, pitch / height))
            _show(axes, _strip(images[:count]))
            middle = top + pitch / 2
            if label:
                lines = label.replace(", ", ",\n")
                if "\n" not in lines and len(lines) > _LONGEST_LABEL:
                    lines = lines.replace(" ", "\n", 1)
                _text(
                    figure,
                    _LEFT - 0.1,
                    middle,
                    lines,
                    ha="right",
                    color=ink(colours.get(label, "#595959")),
                )
            if np.isfinite(value):
                _text(figure, end, middle, number(value))
    return figure


def draw_filters(filters: Mapping[str, npt.NDArray[Any]], colours: Mapping[str, str]) -> Figure | None:
    """Return a figure with a panel of the filters [F, C, k, k] of each arm; None without filters.

    Each panel has its own colour scale, symmetric around 0, and at most 64 tiles. Filters of three channels are shown as colours
    around grey, other filters channel by channel.
    """
    if not filters:
        return None
    tiles = {arm: _tiles(array) for arm, array in filters.items()}
    most = max(len(shown) for shown in tiles.values())
    columns = min(most, 16)
    lines = [ceil(len(shown) / columns) for shown in tiles.values()]
    figure = new_figure(0.15 + sum(0.38 + 0.47 * count for count in lines))
    grid = figure.subplots(len(tiles), 1, squeeze=False, height_ratios=[0.3 + count for count in lines])
    for axes, (arm, shown) in zip(grid[:, 0], tiles.items(), strict=True):
        scale = float(np.abs(shown).max()) or 1.0
        count = filters[arm].shape[0]
        axes.set_title(f"{arm}: {count} filters", color=ink(colours[arm]), fontsize=FONT)
        if shown.shape[-1] == 3:
            _show(axes, _mosaic(0.5 + 0.5 * shown / scale, columns, background=1.0), aspect="equal")
            axes.set_title(f"scale ±{scale:.2g}", loc="right", fontsize=FONT)
            continue
        picture = axes.imshow(
            _mosaic(shown, columns, background=np.nan)[..., 0], cmap="RdBu_r", vmin=-scale, vmax=scale
        )
        axes.set_axis_off()
        bar = figure.colorbar(picture, ax=axes, fraction=0.012, pad=0.01, ticks=[-scale, 0.0, scale])
        bar.ax.set_yticklabels([f"−{scale:.2g}", "0", f"+{scale:.2g}"])
        bar.outline.set_visible(False)
    return figure


def depths_of(arrays: Samples) -> list[int]:
    """Return the depths for which the samples of an arm hold reconstructions."""
    return sorted(int(match[1]) for name in arrays if (match := re.fullmatch(r"depth(\d+)", name)))


def _tiles(filters: npt.NDArray[Any]) -> Pixels:
    """Convert filters [F, C, k, k] to tiles [n, k, k, 3 or 1]."""
    array = np.asarray(filters, dtype=np.float64)
    channels, height, width = array.shape[1:]
    if channels == 3:
        return array.transpose(0, 2, 3, 1)[:_MAX_FILTERS]
    return array.reshape(-1, height, width, 1)[:_MAX_FILTERS]


def _strip(images: npt.NDArray[Any]) -> Pixels:
    """Convert images uint8 [n, H, W, C] to one row of images in [0, 1] with white gaps."""
    return _mosaic(np.asarray(images, dtype=np.float64) / 255.0, len(images), background=1.0)


def _mosaic(tiles: Pixels, columns: int, background: float) -> Pixels:
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


def _show(axes: Axes, picture: Pixels, aspect: Literal["auto", "equal"] = "auto") -> None:
    """Show a greyscale or colour image in [0, 1] without axes; small images are not interpolated."""
    colours = picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture
    axes.imshow(colours, aspect=aspect, interpolation="nearest" if len(picture) <= 64 else "antialiased")
    axes.set_axis_off()


def _text(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write text at a position in inches."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, va="center", **style)
