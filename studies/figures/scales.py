"""Axes of figures: errors on a log scale, accuracies on a log scale of the error, and reference levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Side = Literal["x", "y"]

REFERENCES = ("mean_mse", "pca_mse")
DASHES = (0, (4, 3))
_SERIES = (1.0, 2.0, 5.0)
_FINER = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)


def log_axis(axes: Axes, values: npt.NDArray[np.float64], side: Side = "y") -> None:
    """Set a logarithmic axis around the positive values, with plain numbers as labels (0.005, 0.01, 0.02)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    positive = values[np.isfinite(values) & (values > 0)]
    axis = getattr(axes, f"{side}axis")
    set_up(axes, side, scale="log")
    if len(positive):
        set_up(axes, side, lim=(positive.min() / 1.2, positive.max() * 1.25))
    bottom, top = getattr(axes, f"get_{side}lim")()
    axis.set_major_locator(LogLocator(subs=_SERIES if top / bottom < 100 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def accuracy_axis(axes: Axes, percent: npt.NDArray[np.float64], side: Side = "y") -> None:
    """Set an axis of accuracies in percent, on a log scale of the error if the errors span a factor of 3 or more.

    On that scale 98 and 99 % are as far apart as 80 and 90 %. If an accuracy is 100 %, whose log error is infinite, the axis is
    linear. The limits include all values; wide intervals may be clipped.
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
    choices = [_accuracy_ticks(bottom, top, digits) for digits in (_SERIES, _FINER)]
    axis.set_major_locator(FixedLocator(choices[0] if len(choices[0]) > 4 else choices[1]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def set_up(axes: Axes, side: Side, **settings: Any) -> None:
    """Set properties such as `scale` and `lim` of the x or y axis."""
    axes.set(**{f"{side}{name}": value for name, value in settings.items()})


def _accuracy_ticks(bottom: float, top: float, digits: Sequence[float]) -> list[float]:
    ticks = [100.0 - digit * 10.0**power for power in range(-2, 3) for digit in digits]
    return [tick for tick in ticks if bottom <= tick <= top]


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
