"""Figures of images: test images with their reconstructions, and filters of the first stage."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil, isnan
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from stacked.show.mosaic import Pixels, draw_tiles, mosaic, show_image, tiles_of
from studies.figures.style import FONT, WIDTH, ink, new_figure
from studies.statistics.measures import measure
from studies.statistics.rows import Samples
from studies.statistics.words import Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 14
_LONGEST_LABEL = 17  # letters; a longer label has two lines
_LEFT, _RIGHT, _HEADING = 1.3, 0.85, 0.3  # inches for labels at the sides and above the images


#: (label, images uint8 [n, H, W, C], the number at the right end; NaN: none)
Line: TypeAlias = tuple[str, npt.NDArray[Any], float]


def by_value(line: Line) -> tuple[bool, float]:
    """Return the sort key of a line: ascending numbers, lines without a number last."""
    return isnan(line[2]), line[2]


def draw_reconstructions(
    samples: Mapping[str, Samples],
    colours: Mapping[str, str],
    error: Callable[[str, int], float],
    words: Words,
) -> Figure | None:
    """Return a figure of the test images and, for each depth, a row of reconstructions by each arm; None without data.

    samples: by arm, arrays "originals" and "depth1", "depth2" ... (uint8 [n, H, W, C]). error: function of arm and depth that
    returns the test MSE written at the right end of a row (NaN: none).
    """
    shown = {arm: arrays for arm, arrays in samples.items() if "originals" in arrays}
    depths = sorted({depth for arrays in shown.values() for depth in depths_of(arrays)})
    if not depths:
        return None
    groups: dict[str, list[Line]] = {words.said("test images"): [("", next(iter(shown.values()))["originals"], np.nan)]}
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
            show_image(axes, _strip(images[:count]))
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
    tiles = {arm: tiles_of(array) for arm, array in filters.items()}
    most = max(len(shown) for shown in tiles.values())
    columns = min(most, 16)
    lines = [ceil(len(shown) / columns) for shown in tiles.values()]
    figure = new_figure(0.15 + sum(0.38 + 0.55 * count for count in lines))  # wide panels have tiles of equal size
    grid = figure.subplots(len(tiles), 1, squeeze=False, height_ratios=[0.3 + count for count in lines])
    for axes, (arm, shown) in zip(grid[:, 0], tiles.items(), strict=True):
        draw_tiles(axes, shown, columns)
        axes.set_title(f"{arm}: {filters[arm].shape[0]} filters", color=ink(colours[arm]), fontsize=FONT)
    return figure


def depths_of(arrays: Samples) -> list[int]:
    """Return the depths for which the samples of an arm hold reconstructions."""
    return sorted(int(match[1]) for name in arrays if (match := re.fullmatch(r"depth(\d+)", name)))


def _strip(images: npt.NDArray[Any]) -> Pixels:
    """Convert images uint8 [n, H, W, C] to one row of images in [0, 1] with white gaps."""
    return mosaic(np.asarray(images, dtype=np.float64) / 255.0, len(images), background=1.0)


def _text(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write text at a position in inches."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, va="center", **style)
