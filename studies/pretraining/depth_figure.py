"""The figure of the study of depth: accuracy and error by depth, and the gradients that explain them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from studies.figures.notes import cut_note, footnote
from studies.figures.panels import mark_cut, with_intervals
from studies.figures.scales import DASHES, accuracy_axis, log_axis, scale_name
from studies.figures.style import FONT, GREY, new_figure, seeds_of
from studies.pretraining.depth_answer import ACCURACY, MEASURED, MSE, depths_of
from studies.pretraining.depth_arms import LONGER, METHODS, PLAIN, PRETRAINED, autoencoder
from studies.statistics.pairing import LEAST_SEEDS, by_seed, mean_interval
from studies.statistics.rows import finished

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from studies.figures.panels import Record

FIGURE = "depth"
CAPTION = (
    "Upper left: test accuracy of the classifier by number of layers (higher is better). Upper right: reconstruction error of "
    "the autoencoder on the test set by number of layers of its encoder (lower is better); dashed: the mean image, which is what "
    "an autoencoder answers that does not look at its input. Lower left: the norm of the gradient of each layer of the deepest "
    "autoencoder, in nats per pixel, before the first update of all its layers (after pretraining, where there is any), from its "
    "first layer to the code (dotted) and back to the pixels. A line that falls to the left is a gradient that shrinks on its "
    "way back to the first layer. Lower right: the gradient of the first layer while all layers are trained. Bars and bands are "
    "the 95 % t interval of the mean (of the logarithm of norms) over seeds (none for fewer than three). Points beside each "
    "other have the same number of layers."
)


class Look(NamedTuple):
    """How a method is drawn. The colours are distinguishable under the common colour-blindnesses (Okabe and Ito 2008)."""

    colour: str
    marker: str
    dashes: Any = "-"


LOOKS = {
    PLAIN: Look("#D55E00", "o"),
    LONGER: Look("#E69F00", "s", (0, (3, 1.2))),  # dashed, because it often lies on PLAIN
    PRETRAINED: Look("#0072B2", "D"),
    "ReLU": Look("#009E73", "^"),
    "ReLU, batch norm": Look("#CC79A7", "v"),
    "ReLU, batch norm, residual": Look("#332288", "P"),
}
#: horizontal distance of the points of two methods at one depth, in layers
DODGE = 0.09
FIRST = "eval/grad_norm_encoder1"
#: how the name of a line is written beside it
LABEL: dict[str, Any] = {"textcoords": "offset points", "va": "bottom", "color": GREY}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def draw_depth(study: Record) -> Figure | None:
    """Return the figure, with an empty panel for what is not measured yet; None without any measurement."""
    if not any(depths_of(study.rows, metric) for metric in MEASURED):
        return None
    figure = new_figure(6.6)
    (accuracy, error), (layers, course) = figure.subplots(2, 2)
    accuracy_panel(accuracy, study)
    error_panel(error, study)
    curves = all_layers(study)
    depth = deepest(curves)
    layers_panel(layers, curves, depth)
    course_panel(course, curves, depth)
    handles = [line(method) for method in METHODS]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=FONT)
    done = finished(study.rows)
    counts = [int(count) for count in done.groupby("arm")["seed"].nunique()]
    interval = (
        "; bars, bands: 95 % t interval" if max(counts) >= LEAST_SEEDS else "" if max(counts) > 1 else ": no interval"
    )
    mean = f"mean over {seeds_of(counts)}" if max(counts) > 1 else "a single seed"
    footnote(figure, f"{mean}{interval}", "points beside each other have the same number of layers", cut_note(figure))
    return figure


def line(method: str) -> object:
    """Return the handle of a method in the legend."""
    from matplotlib.lines import Line2D

    look = LOOKS[method]
    return Line2D(
        [], [], color=look.colour, marker=look.marker, linestyle=look.dashes, markersize=5, linewidth=1.6, label=method
    )


def by_depth(axes: Axes, study: Record, metric: str, scale: float = 1.0) -> list[tuple[float, pd.Series, str]]:
    """Draw the mean of a metric against depth for each method, with intervals; return place, values and colour of each mean."""
    drawn, ticks = list[tuple[float, pd.Series, str]](), set[int]()
    for rank, (method, depths) in enumerate(depths_of(study.rows, metric).items()):
        look, shift = LOOKS[method], DODGE * (rank - (len(METHODS) - 1) / 2)
        values = [scale * by_seed(study.rows, MEASURED[metric](method, depth), metric) for depth in depths]
        means, lows, highs = np.array([mean_interval(each) for each in values]).T
        bars = np.nan_to_num([means - lows, highs - means])  # no bar without an interval
        axes.errorbar(
            np.array(depths) + shift,
            means,
            yerr=bars,
            color=look.colour,
            marker=look.marker,
            linestyle=look.dashes,
            markersize=4.5,
            linewidth=1.4,
            elinewidth=1.2,
            zorder=3,
        )
        drawn += [(depth + shift, each, look.colour) for depth, each in zip(depths, values, strict=True)]
        ticks |= set(depths)
    if ticks:
        axes.set_xticks(sorted(ticks))
        axes.set_xlim(min(ticks) - 0.6, max(ticks) + 0.6)
    axes.set_xlabel("layers")
    axes.grid(visible=False, axis="x")
    return drawn


def accuracy_panel(axes: Axes, study: Record) -> None:
    """Draw the test accuracy of the classifiers against depth."""
    if drawn := by_depth(axes, study, ACCURACY, 100.0):
        accuracy_axis(axes, with_intervals([values for _, values, _ in drawn]))
        mark_cut(axes, drawn)
    else:
        leave_empty(axes)
    axes.set_ylabel("test accuracy, %" + scale_name(axes))
    axes.set_title("Classifier, higher is better")


def error_panel(axes: Axes, study: Record) -> None:
    """Draw the test MSE of the autoencoders against depth, and that of the mean image."""
    drawn = by_depth(axes, study, MSE)
    level = study.reference.get("mean_mse", np.nan)
    if drawn:
        log_axis(axes, np.append(np.concatenate([values for _, values, _ in drawn]), level))
        mark_cut(axes, drawn)
    else:
        leave_empty(axes)
    if drawn and np.isfinite(level):
        axes.axhline(level, color=GREY, linestyle=DASHES, linewidth=1.0, zorder=1)
        axes.annotate("mean image", (1.0, level), (-2, 2), ("axes fraction", "data"), ha="right", **LABEL)
    axes.set_ylabel(study.words.said("test MSE per pixel (log scale)"))
    axes.set_xlabel("layers of the encoder")
    axes.set_title("Autoencoder, lower is better")


def leave_empty(axes: Axes) -> None:
    """Write into a panel without values that nothing was measured, in the place of ticks without a meaning."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)


def all_layers(study: Record) -> pd.DataFrame:
    """Return the points of finished autoencoders that have gradients of all layers."""
    if study.curves is None or FIRST not in study.curves:
        return pd.DataFrame(columns=["arm", "seed", "phase_step", FIRST])
    known = finished(study.rows)[["run", "arm", "seed"]]
    return study.curves.merge(known, on=["run", "arm", "seed"]).dropna(subset=[FIRST])


def deepest(curves: pd.DataFrame) -> int:
    """Return the depth at which most methods have gradients, the greatest of several; 0 without any."""
    arms = set(curves["arm"])
    counts: dict[int, int] = {}
    for depth in range(1, 1000):
        count = sum(autoencoder(method, depth) in arms for method in METHODS)
        counts |= {depth: count} if count else {}
    return max(counts, key=lambda depth: (counts[depth], depth), default=0)


def columns_of(depth: int) -> list[str]:
    """Return the columns of the layers of an autoencoder, from the pixels to the code and back."""
    encoders = [f"eval/grad_norm_encoder{k}" for k in range(1, depth + 1)]
    return encoders + [f"eval/grad_norm_decoder{k}" for k in range(depth, 0, -1)]


def layers_panel(axes: Axes, curves: pd.DataFrame, depth: int) -> None:
    """Draw the gradient of each layer before the first update of all layers.

    `logistic, longer` has the initial weights of `logistic`, and is left out.
    """
    from matplotlib.ticker import MaxNLocator

    axes.set_title("Gradient as all layers begin to learn" + of_depth(depth))
    axes.set_xlabel("layer, from the pixels to the code and back")
    if not depth:
        leave_empty(axes)
        return
    columns, every = columns_of(depth), [np.empty(0)]
    for method in METHODS:
        points = of_method(curves, method, depth)
        points = points[points["phase_step"] == 0]
        if method == LONGER or points.empty:
            continue
        values = points[columns].to_numpy(dtype=np.float64)
        draw_line(axes, method, np.arange(1.0, 2 * depth + 1), list(values.T), marked=True)
        every.append(values.ravel())
    norm_axis(axes, np.concatenate(every))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.axvline(depth + 0.5, color=GREY, linestyle=(0, (1, 2)), linewidth=1.0, zorder=1)
    axes.annotate("code", (depth + 0.5, 0.0), (3, 2), ("data", "axes fraction"), ha="left", **LABEL)


def course_panel(axes: Axes, curves: pd.DataFrame, depth: int) -> None:
    """Draw the gradient of the first layer against the updates of all layers."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_title("Gradient of the first layer in training" + of_depth(depth))
    axes.set_xlabel("updates of all layers (pretraining is not counted)")
    if not depth:
        leave_empty(axes)
        return
    every = [np.empty(0)]
    for method in METHODS:
        points = of_method(curves, method, depth)
        if points.empty:
            continue
        steps, values = zip(*points.groupby("phase_step")[FIRST], strict=True)
        draw_line(axes, method, np.array(steps), [each.to_numpy(dtype=np.float64) for each in values])
        every.append(points[FIRST].to_numpy(dtype=np.float64))
    norm_axis(axes, np.concatenate(every))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlim(left=0)


def of_depth(depth: int) -> str:
    """Return the end of a title that names the depth of the autoencoder; "" without one."""
    return f", {depth} + {depth} layers" if depth else ""


def of_method(curves: pd.DataFrame, method: str, depth: int) -> pd.DataFrame:
    """Return the points of the autoencoder of a method."""
    return curves[curves["arm"] == autoencoder(method, depth)]


def draw_line(
    axes: Axes, method: str, x: npt.NDArray[np.float64], values: Sequence[npt.NDArray[np.float64]], marked: bool = False
) -> None:
    """Draw the mean of positive values at each x, on a logarithmic axis, and their interval as a band; a gap without any."""
    look = LOOKS[method]
    logs = [pd.Series(np.log(each[each > 0])) for each in values]
    means, lows, highs = np.exp([mean_interval(each) for each in logs]).T
    marks: dict[str, Any] = {"marker": look.marker, "markersize": 4.5} if marked else {}
    axes.plot(x, means, color=look.colour, linestyle=look.dashes, linewidth=1.4, zorder=3, **marks)
    if np.isfinite(lows).any():
        axes.fill_between(x, lows, highs, color=look.colour, alpha=0.16, linewidth=0, zorder=1)


def norm_axis(axes: Axes, values: npt.NDArray[np.float64]) -> None:
    """Set a logarithmic axis of norms, with powers of ten (10⁻⁵) where it spans two or more of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    log_axis(axes, values)
    bottom, top = axes.get_ylim()
    if top / bottom >= 100:
        axes.yaxis.set_major_locator(LogLocator())
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: "10" + str(round(np.log10(value))).translate(SUPERSCRIPT))
        )
    axes.set_ylabel("norm of the gradient (log scale)")
