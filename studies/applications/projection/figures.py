"""Figures and interactive page of the study of projections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stacked.util.errors import printable
from studies.figures.maps import spread_out
from studies.figures.notes import footnote, means_note
from studies.figures.scales import DASHES, log_axis, scale_name
from studies.figures.style import GREY, arm_colours, arm_markers, ink, look_of, new_figure
from studies.record.samples import load_arrays
from studies.statistics.pairing import mean_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: number of maps in a row
ACROSS = 3
#: side of a class name, as a fraction of the width and height of a panel
NAME_SIDE = 0.06
#: number of images on the interactive page
ON_PAGE = 1000
#: the arm whose codes span the space of PCA
LINEAR = "linear"
LABELS = {
    "knn": "k-NN accuracy (%), higher is better",
    "trustworthiness": "trustworthiness, higher is better",
    "fvu": "FVU, lower is better",
}


def draw_dimensions(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure with a panel for each measure against the dimension of the code."""
    from matplotlib.ticker import NullLocator

    mine = rows[rows["condition"] != ""]
    measures = [name for name in LABELS if name in set(mine["measure"])]
    arms = list(dict.fromkeys(mine["arm"]))
    colours, markers, figure = arm_colours(arms), arm_markers(arms), new_figure(3.4)
    for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        for arm in arms:
            part = mine[(mine["measure"] == measure) & (mine["arm"] == arm)]
            found = [(int(d), *mean_interval(each["value"])) for d, each in part.groupby(part["condition"].astype(int))]
            if not found:
                continue
            at, mean, low, high = (np.array(values, dtype=float) for values in zip(*found, strict=True))
            style: dict[str, Any] = {"linewidth": 1.2, **look_of(markers[arm])}
            if len(at) == 1:
                style = {"linestyle": "", **look_of(markers[arm], 7.0)}
            elif arm == "PCA":  # it coincides with the line of a linear autoencoder, which is wide below its dashes
                style = {"linestyle": DASHES, "linewidth": 1.4, "zorder": 3}
            elif arm == LINEAR:
                style = {"linewidth": 4.0, "alpha": 0.7}
            axes.plot(at, mean, color=colours[arm], label=arm, **style)
            axes.fill_between(at, low, high, color=colours[arm], alpha=0.25, linewidth=0)
        axes.set_xscale("log", base=2)
        every = sorted(set(mine["condition"].astype(int)))
        axes.set_xticks(every, [str(d) for d in every])
        axes.xaxis.set_minor_locator(NullLocator())
        if measure == "fvu":
            log_axis(axes, mine.loc[mine["measure"] == measure, "value"].to_numpy())
        axes.set_xlabel("values of the code" + scale_name(axes, "x"))
        quantity, _, better = LABELS[measure].partition(", ")
        axes.set_title(f"{quantity}{scale_name(axes)},\n{better}")
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=6)
    means_note(
        figure,
        [mine["seed"].nunique()],
        "bands",
        f"{LINEAR} (wide) and PCA (dashed) nearly coincide" if {LINEAR, "PCA"} <= set(arms) else "",
        "single marks: methods with two dimensions only" if any("t-SNE" in arm for arm in arms) else "",
    )
    return figure


def maps_of(rows: pd.DataFrame, out: Path, size: int) -> tuple[dict[str, NDArray[Any]], NDArray[Any], list[str]]:
    """Return the points of `size` dimensions of each arm, the labels, and the names of the classes."""
    found = load_arrays(out)
    if "images" not in found:
        return {}, np.zeros(0), []
    arms = [arm for arm in dict.fromkeys(rows["arm"]) if f"points_{size}" in found.get(arm, {})]
    images = found["images"]
    return (
        {arm: found[arm][f"points_{size}"] for arm in arms},
        images["labels"],
        [str(name) for name in images["classes"]],
    )


def draw_maps(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of the maps in two dimensions; None without samples."""
    maps, labels, classes = maps_of(rows, out, 2)
    if not maps:
        return None
    figure = scatter(maps, labels, classes)
    footnote(figure, maps_note(labels), "names: classes, near the medians of their images")
    return figure


def maps_note(labels: NDArray[Any]) -> str:
    """Return what the dots of maps are, for the line below a figure. labels: of the images, [N]."""
    return f"dots: {len(labels):,} test images, coloured by class; one seed; the axes have no unit"


def scatter(maps: Mapping[str, NDArray[Any]], labels: NDArray[Any], classes: Sequence[str]) -> Figure:
    """Return a figure with a panel of points [N, 2] for each map, coloured by label, with class names near their medians."""
    from stacked.apps.map_page import COLOURS

    down = math.ceil(len(maps) / ACROSS)
    across = min(ACROSS, len(maps))
    figure = new_figure(3.2 * down)
    grid = figure.subplots(down, across, squeeze=False)
    for axes, (arm, points) in zip(grid.flat, maps.items(), strict=False):
        colours = [COLOURS[label % len(COLOURS)] if label >= 0 else GREY for label in labels]
        axes.scatter(points[:, 0], points[:, 1], s=4, c=colours, linewidths=0, alpha=0.7)
        axes.set_title(arm)
        framed(axes, points)
        label_classes(axes, medians_of(points, labels, classes), classes, NAME_SIDE)
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    return figure


def medians_of(points: NDArray[Any], labels: NDArray[Any], classes: Sequence[str]) -> dict[int, NDArray[Any]]:
    """Return the median [D] of the points [N, D] of each class that has any, by label."""
    present = (label for label in range(len(classes)) if (labels == label).any())
    return {label: np.median(points[labels == label], axis=0) for label in present}


def label_classes(axes: Any, places: Mapping[int, NDArray[Any]], classes: Sequence[str], side: float) -> None:
    """Write the names of classes at places [2], by label, moved apart; side: of a name, as a fraction of the panel."""
    from stacked.apps.map_page import COLOURS

    # of a panel of three dimensions, the two on the page
    panel = np.ptp(axes.transLimits.inverted().transform([(0, 0), (1, 1)]), axis=0)
    moved = spread_out(np.array(list(places.values())).reshape(-1, 2), side * panel)
    for label, (x, y) in zip(places, moved, strict=True):
        colour = ink(COLOURS[label % len(COLOURS)])
        box = {"facecolor": "white", "edgecolor": colour, "boxstyle": "round,pad=0.15", "linewidth": 0.8}
        axes.annotate(
            printable(classes[label]), (x, y), ha="center", va="center", fontsize=8, color=colour, bbox=box, zorder=9
        )


def framed(axes: Any, points: NDArray[Any]) -> None:
    """Remove the ticks, whose units have no meaning, and set limits at the 0.5 % and 99.5 % quantiles."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(True)
    (left, low), (right, high) = np.quantile(points, 0.005, axis=0), np.quantile(points, 0.995, axis=0)
    if left < right:  # equal if all codes are equal
        axes.set_xlim(left - 0.05 * (right - left), right + 0.05 * (right - left))
    if low < high:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def draw_solid(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of the maps in three dimensions; None without samples."""
    from mpl_toolkits.mplot3d.proj3d import proj_transform

    from stacked.apps.map_page import COLOURS

    maps, labels, classes = maps_of(rows, out, 3)
    if not maps:
        return None
    figure = new_figure(2.9)
    figure.set_layout_engine("none")  # it would leave half of the height empty
    share = 1 / len(maps)
    for number, (arm, points) in enumerate(maps.items()):
        axes: Any = figure.add_axes((number * share, 0.18, share, 0.75), projection="3d")
        colours = [COLOURS[label % len(COLOURS)] if label >= 0 else GREY for label in labels]
        axes.scatter(*points.T, s=3, c=colours, linewidths=0, alpha=0.6, depthshade=False)
        axes.set_title(arm, loc="center", y=1.0)
        axes.set_box_aspect(None, zoom=1.0)
        for axis, values in zip((axes.xaxis, axes.yaxis, axes.zaxis), points.T, strict=True):
            axis.set_ticklabels([])
            low, high = np.quantile(values, (0.005, 0.995))
            axis._set_lim(low, high, auto=None)
        seen = axes.get_proj()  # from which side: what the panel shows of three dimensions
        shown = {k: proj_transform(*place, seen)[:2] for k, place in medians_of(points, labels, classes).items()}
        label_classes(axes, {k: np.array(place) for k, place in shown.items()}, classes, 0.075)
    from matplotlib.lines import Line2D

    dots = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS[k % len(COLOURS)], label=printable(n))
        for k, n in enumerate(classes)
    ]
    if dots:
        figure.legend(handles=dots, loc="lower center", ncols=min(10, len(dots)), bbox_to_anchor=(0.5, 0.07))
    figure.text(0.01, 0.02, f"{maps_note(labels)}; names: classes, near the medians of their images", color=GREY)
    return figure


def page(rows: pd.DataFrame, out: Path) -> str | None:
    """Return the interactive HTML page of all maps, with some of the images; None without samples."""
    from stacked.apps.map_page import map_page
    from stacked.evaluation.evaluate import spread

    maps: dict[str, NDArray[Any]] = {}
    for size in (2, 3):
        found, labels, classes = maps_of(rows, out, size)
        maps |= {f"{arm}, {size} dimensions": points for arm, points in found.items()}
    if not maps:
        return None
    images = load_arrays(out)["images"]["images"]
    few = spread(len(images), ON_PAGE).numpy()
    names = [f"test image {k}" for k in few]
    shown = {name: points[few] for name, points in maps.items()}
    return map_page(
        shown, images[few], names, [int(k) for k in labels[few]], classes, "Images as codes of two or three values"
    )
