"""Two-dimensional codes as maps: a dot for each test image, in the colour of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from studies.figures.notes import footnote
from studies.figures.style import FONT, ink, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, and further colours; classes are also labelled with their numbers
_COLOURS = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#AA9900",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#882255",
    "#8C8C8C",
)
_SHOWN = 5000
#: Size of a class number with its background, as fractions of the width and height of a panel.
_NUMBER_SIDE = np.array([0.055, 0.055])


def draw_maps(maps: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]], names: tuple[str, str]) -> Figure | None:
    """Return a figure with a panel of codes [N, 2], coloured by labels [N], for each title; None without panels.

    names: labels of the two axes.
    """
    if not maps:
        return None
    figure = new_figure(4.7)
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (title, (codes, labels)) in zip(panels, maps.items(), strict=True):
        _draw_map(axes, codes.astype(np.float64), labels)
        axes.set_title(title)
        axes.set_xlabel(names[0])
    panels[0].set_ylabel(names[1])
    count = min(_SHOWN, *(len(codes) for codes, _ in maps.values()))
    footnote(
        figure,
        f"dots: {count:,} test images, coloured by class; numbers: classes, near the medians of their images; limits of an axis: "
        "those of the middle 99 % of its values",
    )
    return figure


def spread_out(places: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return positions [n, 2], moved as little as needed so that labels of `size` [2] do not overlap."""
    angle = 2 * np.pi * np.arange(len(places)) / len(places)
    moved = places / size + 1e-3 * np.column_stack([np.cos(angle), np.sin(angle)])  # separates equal positions
    for _ in range(100):
        offset = moved[:, None] - moved[None]
        distance = np.linalg.norm(offset, axis=2) + 1e-9
        push = np.maximum(0.0, 1.0 - distance) / 2
        np.fill_diagonal(push, 0.0)
        if not push.any():
            break
        moved = moved + (push[:, :, None] * offset / distance[:, :, None]).sum(axis=1)
    return moved * size


def _draw_map(axes: Axes, codes: npt.NDArray[np.float64], labels: npt.NDArray[Any]) -> None:
    low, high = np.percentile(codes, [0.5, 99.5], axis=0)
    margin = 0.04 * np.where(high > low, high - low, 1.0)  # if all codes are equal, the map is one point
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.grid(visible=False)
    order = (
        np.linspace(0, len(codes) - 1, min(_SHOWN, len(codes))).round().astype(int)
    )  # evenly spaced, because the first half of MNIST's test set is easier
    axes.scatter(
        codes[order, 0], codes[order, 1], s=3, linewidths=0, alpha=0.6, c=[_COLOURS[int(k) % 10] for k in labels[order]]
    )
    classes = np.unique(labels[labels >= 0])
    medians = np.array([np.median(codes[labels == label], axis=0) for label in classes]).reshape(-1, 2)
    for label, (x, y) in zip(classes, spread_out(medians, _NUMBER_SIDE * (high - low + 2 * margin)), strict=True):
        axes.text(
            x,
            y,
            str(label),
            ha="center",
            va="center",
            fontsize=FONT + 3,
            weight="bold",
            color=ink(_COLOURS[int(label) % 10]),
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )
