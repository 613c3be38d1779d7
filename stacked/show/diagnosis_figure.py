"""The diagnosis of a stack as one figure of four panels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stacked.evaluation.diagnosis.diagnose import Diagnosis
from stacked.show.style import GREY, new_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: of Okabe and Ito 2008, distinguishable under the common colour-blindnesses: blue and vermilion
LINE, BAR = "#0072B2", "#D55E00"
#: the most rows and columns of similarities in which each number is written, and the similarity from which it is dark on light
MOST_NUMBERS, LIGHT = 9, 0.6
#: inches
HEIGHT = 6.6


def diagnosis(found: Diagnosis) -> Figure:
    """Return a figure of a diagnosis: similarity, information kept, and probe by depth, and alignment of gradients by stage.

    Linear CKA, accuracy and the fraction of variance unexplained are from 0 to 1, an alignment from -1 to 1. Depth 0 is the
    inputs. Data without classes have no panel of a probe. Make the diagnosis with `evaluation.diagnosis.diagnose`.
    """
    with style():
        figure = new_figure(HEIGHT)
        (one, two), (three, four) = figure.subplots(2, 2)
        similarity_panel(one, found)
        kept_panel(two, found)
        probe_panel(three, found)
        alignment_panel(four, found)
    return figure


def similarity_panel(axes: Axes, found: Diagnosis) -> None:
    """Draw linear CKA as a table of colours, depths of the stack from the bottom up."""
    values = found.similarity.numpy()
    rows, columns = values.shape
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="auto")
    if max(rows, columns) <= MOST_NUMBERS:
        for row, column in ((row, column) for row in range(rows) for column in range(columns)):
            value = values[row, column]
            text = "–" if math.isnan(value) else f"{value:.2f}"
            axes.text(column, row, text, ha="center", va="center", color="black" if value > LIGHT else "white")
    axes.figure.colorbar(image, ax=axes, label="linear CKA", ticks=[0, 0.5, 1])
    axes.set_xlabel("depth of the other stack" if found.is_other else "depth")
    axes.set_ylabel("depth of this stack" if found.is_other else "depth")
    for axis, count in ((axes.xaxis, columns), (axes.yaxis, rows)):
        axis.set_ticks(depth_ticks(count))
    axes.grid(visible=False)
    axes.set_title("Similarity of codes" + (" to those of the other stack" if found.is_other else ""))


def kept_panel(axes: Axes, found: Diagnosis) -> None:
    """Draw the error of the fresh decoder of each depth."""
    values = [errors.fvu for errors in found.kept]
    axes.plot(range(len(values)), values, color=LINE, marker="o", markersize=5)
    axes.set_ylim(0, max(1.0, 1.05 * max((value for value in values if math.isfinite(value)), default=1.0)))
    depth_axis(axes, len(values))
    axes.set_ylabel("fraction of variance unexplained")
    axes.set_title("Error of a linear decoder, lower is better")


def probe_panel(axes: Axes, found: Diagnosis) -> None:
    """Draw the accuracy of the probe of each depth."""
    if found.probe is None:
        axes.set_axis_off()
        axes.text(0, 1, "No probe: the data have no classes", color=GREY, va="top", transform=axes.transAxes)
        return
    axes.plot(range(len(found.probe)), found.probe, color=LINE, marker="o", markersize=5)
    depth_axis(axes, len(found.probe))
    # whole tenths around the values, so that differences of a few points can be read
    axes.set_ylim(
        max(0.0, math.floor(10 * min(found.probe) - 0.5) / 10), min(1.0, math.ceil(10 * max(found.probe)) / 10)
    )
    axes.locator_params(axis="y", nbins=5)
    axes.set_ylabel("validation accuracy")
    axes.set_title(f"Probe ({found.probe_name}), higher is better")


def alignment_panel(axes: Axes, found: Diagnosis) -> None:
    """Draw the alignment of the gradients of each stage's encoder."""
    stages = range(1, len(found.alignment) + 1)
    axes.bar(stages, [0.0 if math.isnan(value) else value for value in found.alignment], width=0.6, color=BAR)
    axes.axhline(0, color=GREY, linewidth=0.8)
    for stage, value in zip(stages, found.alignment, strict=True):
        if math.isnan(value):
            axes.text(stage, 0.03, "no\ngradient", ha="center", va="bottom", color=GREY)
    axes.set_ylim(-1, 1)
    axes.set_xlim(0.4, len(found.alignment) + 0.6)
    axes.set_xticks([tick for tick in depth_ticks(len(found.alignment) + 1) if tick])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("encoder of stage")
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    axes.set_ylabel("cosine of gradients")
    local, against = found.policies
    axes.set_title(f"Alignment of {local} with {against}")


def depth_axis(axes: Axes, depths: int) -> None:
    """Label the x axis with depths from 0, the inputs."""
    axes.set_xticks(depth_ticks(depths))
    axes.set_xlabel("depth (0: inputs)")


def depth_ticks(count: int) -> list[int]:
    """Return at most ten of the numbers 0 to count - 1, evenly spaced."""
    return list(range(0, count, -(-count // 10)))
