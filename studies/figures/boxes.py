"""Box plots of a metric over seeds, for arms in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from studies.figures.notes import footnote
from studies.figures.panels import Record
from studies.figures.scales import log_axis, scale_name
from studies.figures.style import FONT, new_figure, seeds_of
from studies.statistics.measures import measure
from studies.statistics.pairing import by_seed
from studies.statistics.rows import arms_of, with_error_rates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Test error (lower is better), on a log scale where errors differ by a factor of 5 or more. A box extends from the first to "
    "the third quartile of the seeds, with a line at the median; whiskers extend to the outermost seeds within 1.5 times the "
    "length of the box. Dots are single seeds."
)
#: the part of the distance between two groups that their boxes take
FILLED = 0.8
#: the least factor between the largest and the smallest value of a logarithmic axis
LOG_FACTOR = 5.0


class Group(NamedTuple):
    """Boxes side by side: the label below them, and the series and the arm of each."""

    label: str
    boxes: Sequence[tuple[str, str]]


class Panel(NamedTuple):
    """Groups of boxes with a title and the label of the horizontal axis."""

    title: str
    label: str
    groups: Sequence[Group]


def draw_boxes(study: Record, metric: str, panels: Sequence[Panel], colours: Mapping[str, str]) -> Figure | None:
    """Return a figure with two panels a line, of a metric (an error rate, or a column of the rows); None without values.

    colours: of each series, by name, in the order of the legend. Arms without values are left out, and panels without arms.
    """
    rows, shown = with_error_rates(study.rows), measure(metric)
    known = arms_of(rows) if metric in rows else []
    values = {name: shown.scale * by_seed(rows, name, metric).to_numpy(dtype=np.float64) for name in known}
    values = {name: found for name, found in values.items() if len(found)}
    drawn = [panel for panel in panels if any(name in values for group in panel.groups for _, name in group.boxes)]
    if not drawn:
        return None
    lines = -(-len(drawn) // 2)
    figure = new_figure(0.7 + 2.7 * lines)
    places = figure.subplots(lines, min(2, len(drawn)), squeeze=False).ravel()
    for axes, panel in zip(places, drawn, strict=False):
        draw_panel(axes, panel, values, colours)
        label = f"{shown.label}, {shown.unit.strip()}" if shown.unit else shown.label
        axes.set_ylabel(label + scale_name(axes))
    for axes in places[len(drawn) :]:
        axes.remove()
    figure.legend(
        handles=[handle(name, colour) for name, colour in colours.items()],
        loc="outside upper center",
        ncols=5,
        fontsize=FONT,
    )
    used = {name for panel in drawn for group in panel.groups for _, name in group.boxes if name in values}
    footnote(figure, seeds_of([len(values[name]) for name in used]), "boxes: quartiles", "dots: single seeds")
    return figure


def draw_panel(
    axes: Axes, panel: Panel, values: Mapping[str, npt.NDArray[np.float64]], colours: Mapping[str, str]
) -> None:
    """Draw the boxes of a panel; values: of each arm, over seeds."""
    ticks, every = [], [np.empty(0)]
    groups = [(group.label, [box for box in group.boxes if box[1] in values]) for group in panel.groups]
    for place, (label, boxes) in enumerate((label, boxes) for label, boxes in groups if boxes):
        ticks.append(label)
        width = FILLED / len(boxes)
        for rank, (series, name) in enumerate(boxes):
            x = place + width * (rank - (len(boxes) - 1) / 2)
            draw_box(axes, x, 0.8 * width, values[name], colours[series])
            every.append(values[name])
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlim(-0.6, len(ticks) - 0.4)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(panel.label)
    axes.set_title(panel.title)
    together = np.concatenate(every)
    if together.min() > 0 and together.max() >= LOG_FACTOR * together.min():
        log_axis(axes, together)


def draw_box(axes: Axes, x: float, width: float, values: npt.NDArray[np.float64], colour: str) -> None:
    """Draw the box of these values at x, and each of them as a dot."""
    line = {"color": colour, "linewidth": 1.1}
    axes.boxplot(
        [values],
        positions=[x],
        widths=width,
        showfliers=False,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "alpha": 0.3, "edgecolor": colour},
        medianprops=line | {"linewidth": 1.8},
        whiskerprops=line,
        capprops=line,
    )
    axes.plot(np.full(len(values), x), values, ".", color=colour, markersize=2.5, zorder=3)


def handle(name: str, colour: str) -> object:
    """Return the handle of a series in the legend."""
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, alpha=0.6, edgecolor=colour, label=name)
