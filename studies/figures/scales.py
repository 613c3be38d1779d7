"""Axes of figures: errors on a log scale, accuracies on a log scale of the error, and reference levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Side = Literal["x", "y"]

REFERENCES = ("mean_mse", "pca_mse")
DASHES = (0, (4, 3))
#: what is written after the label of an axis, by matplotlib's name of its scale
SCALES = {"log": " (log scale)", "function": " (log scale of error)"}
#: factor between the ends of a logarithmic axis, below which it has these ticks in every power of ten
_SERIES = {
    4: (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0),
    20: (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    100: (1.0, 2.0, 5.0),
    1000: (1.0, 3.0),
}
#: The accuracy in percent of guessing one of ten classes: of all ticks down there, the most wanted.
GUESSING = 10.0
#: Digits of the error at ticks of an axis of accuracies, the most wanted first.
_DIGITS = (1.0, 5.0, 2.0, 3.0, 7.0, 1.5, 4.0)


def log_axis(axes: Axes, values: npt.NDArray[np.float64], side: Side = "y") -> None:
    """Set a logarithmic axis around the positive values, with plain numbers as labels (0.005, 0.01, 0.02)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    positive = values[np.isfinite(values) & (values > 0)]
    axis = getattr(axes, f"{side}axis")
    set_up(axes, side, scale="log")
    if len(positive):
        set_up(axes, side, lim=(positive.min() / 1.2, positive.max() * 1.25))
    bottom, top = getattr(axes, f"get_{side}lim")()
    series = _SERIES if side == "y" else {100: _SERIES[100]}  # numbers beside each other take more room
    subs = next((subs for most, subs in series.items() if top / bottom < most), (1.0,))
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def accuracy_axis(axes: Axes, percent: npt.NDArray[np.float64], side: Side = "y") -> None:
    """Set an axis of accuracies in percent, on a log scale of the error if the errors span a factor of 3 or more.

    On that scale 98 and 99 % are as far apart as 80 and 90 %. If an accuracy is 100 %, whose log error is infinite, the axis is
    linear. The limits include all values.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    error = 100.0 - percent[np.isfinite(percent)]
    if len(error) == 0:
        return
    low, high = float(error.min()), float(error.max())
    if low < 0.01 or high / low < 3.0:
        margin = 0.08 * (high - low) or 1.0
        set_up(axes, side, lim=(100.0 - high - margin, min(100.0 - low + margin, 100.0 + margin / 3)))
        return
    axis = getattr(axes, f"{side}axis")
    getattr(axes, f"set_{side}scale")("function", functions=(_minus_log_error, _from_minus_log_error))
    bottom, top = max(100.0 - high * 1.2, 0.0), 100.0 - low / 1.2
    set_up(axes, side, lim=(bottom, top))
    axis.set_major_locator(FixedLocator(_accuracy_ticks(bottom, top, 0.06 if side == "y" else 0.12)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def scale_name(axes: Axes, side: Side = "y") -> str:
    """Return what is written after the label of an axis whose scale is not linear, such as " (log scale)"; "" if it is linear.

    The scale of the axes must be final.
    """
    return SCALES.get(getattr(axes, f"get_{side}scale")(), "")


def set_up(axes: Axes, side: Side, **settings: Any) -> None:
    """Set properties such as `scale` and `lim` of the x or y axis."""
    axes.set(**{f"{side}{name}": value for name, value in settings.items()})


def _accuracy_ticks(bottom: float, top: float, gap: float) -> list[float]:
    """Return round accuracies from `bottom` to `top`, at least `gap` of the axis apart; rounder ones come first."""
    ends = _minus_log_error(np.array([bottom, top]))
    chosen: dict[float, float] = {}
    round_ones = (100.0 - digit * 10.0**power for digit in _DIGITS for power in range(-2, 3))
    for tick in (GUESSING, *round_ones):
        place = float(_minus_log_error(np.array([tick]))[0] - ends[0]) / float(ends[1] - ends[0])
        if bottom <= tick <= top and all(abs(place - other) >= gap for other in chosen.values()):
            chosen[tick] = place
    return sorted(chosen)


def reference_label(name: str, reference: dict[str, float], short: bool = False) -> str:
    """Return the label of a reference level: "mean image", or "PCA" with its number of components."""
    if name == "mean_mse":
        return "mean image"
    if "pca_components" not in reference:
        return "PCA"
    return f"PCA, {reference['pca_components']:.0f}" + ("" if short else " components")


def _minus_log_error(percent: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = -np.log10(np.maximum(100.0 - np.asarray(percent), 1e-3))
    return result


def _from_minus_log_error(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = 100.0 - 10.0 ** -np.asarray(scaled)
    return result
