"""Panels of regressors: R² and the error in units of the target by number of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from studies.figures.panels import Record, budget_axis, budget_columns, end_label, extent, mean_and_interval, seed_dots
from studies.figures.scales import log_axis, scale_name
from studies.figures.style import GREY, label_ends
from studies.statistics.pairing import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: the lowest R² that is drawn; lower means are written at the lower edge
LOWEST = -0.5


def r2_panel(axes: Axes, study: Record) -> None:
    """Draw R² of the regressors of each arm by number of labels; a mean below `LOWEST` is a number at the lower edge."""
    axes.axhline(0.0, color=GREY, linewidth=1.0, zorder=1)
    drawn = number_panel(axes, study, "regressor_r2", LOWEST)
    low, high = max(LOWEST, float(drawn.min())), min(1.0, float(drawn.max()))
    margin = 0.08 * (high - low) or 0.05
    axes.set_ylim(min(low, 0.0) - margin, max(high, 0.0) + margin)
    axes.set_ylabel("R² on the test set")
    axes.set_title("R² of the regressor, higher is better")
    label_arms(axes, study, "regressor_r2", LOWEST)


def rmse_panel(axes: Axes, study: Record) -> None:
    """Draw the root mean squared error of the regressors of each arm by number of labels, on a log scale."""
    log_axis(axes, number_panel(axes, study, "regressor_rmse"))
    axes.set_ylabel("test RMSE, in units of the target" + scale_name(axes))
    axes.set_title("RMSE of the regressor, lower is better")
    label_arms(axes, study, "regressor_rmse")


def number_panel(axes: Axes, study: Record, metric: str, least: float = -np.inf) -> np.ndarray[Any, Any]:
    """Draw the means of a metric with their intervals by number of labels.

    Returns the values and the ends of the intervals; means below `least` are numbers at the lower edge, and not among them.
    """
    columns, everything = budget_columns(study, metric), []
    arms = study.arms_with(list(columns.values()))
    for rank, arm in enumerate(arms):
        shift = 0.025 * extent(columns) * (rank - (len(arms) - 1) / 2)
        points = [(x + shift, study.values(arm, column)) for x, column in columns.items()]
        points = [(x, values) for x, values in points if len(values)]
        shown = [(x, values) for x, values in points if values.mean() >= least]
        axes.plot(
            [x for x, _ in shown], [values.mean() for _, values in shown], color=study.colours[arm], linewidth=1.2
        )
        for x, values in points:
            if values.mean() < least:
                below: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
                axes.annotate(f"{values.mean():.2g}\n↓", (x, 0.01), color=study.colours[arm], **below)
                continue
            seed_dots(axes, x, 0.0, values, study.colours[arm])
            mean_and_interval(axes, x, values, study.colours[arm], marker=study.markers[arm])
            everything += [values.to_numpy(), np.array(mean_interval(values))]
    budget_axis(axes, study, columns)
    found = np.concatenate(everything or [np.array([0.0])])
    return found[np.isfinite(found)]


def label_arms(axes: Axes, study: Record, metric: str, least: float = -np.inf) -> None:
    """Write the names of the arms at the right end of their lines; the limits of the axes must be final."""
    labels = []
    for arm in study.arms:
        means = [float(study.values(arm, column).mean()) for column in budget_columns(study, metric).values()]
        means = [mean for mean in means if mean >= least]  # not NaN either
        labels += [end_label(study, arm, means[-1])] if means else []
    label_ends(axes, axes.get_xlim()[1], labels)
