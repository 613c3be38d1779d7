"""The reconstruction error of each feature of a table, by arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from studies.figures.style import FONT, GREY, ink, new_figure
from studies.statistics.rows import Samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: the most features that are shown, those with the largest error
MOST = 40


def draw_features(samples: Mapping[str, Samples], colours: Mapping[str, str]) -> Figure | None:
    """Return a figure with a line for each feature and a dot for the error of each arm; None without data.

    samples: by arm, arrays "feature_mse" [D], mean squared errors of scaled features, and "features" [D], their names, if they
    have any.
    """
    arms = [arm for arm in samples if "feature_mse" in samples[arm] and arm in colours]
    if not arms:
        return None
    errors = np.array([samples[arm]["feature_mse"] for arm in arms], dtype=np.float64)
    shown = np.sort(np.argsort(-errors.max(0), kind="stable")[:MOST])
    known = samples[arms[0]]
    names = [str(known["features"][k]) if "features" in known else str(k) for k in shown.tolist()]
    figure = new_figure(0.95 + 0.19 * len(shown))
    axes = figure.subplots()
    for place, arm in enumerate(arms):
        shift = 0.5 * ((place + 0.5) / len(arms) - 0.5)
        axes.plot(errors[place, shown], np.arange(len(shown)) + shift, "o", color=colours[arm], markersize=4, label=arm)
    for line in range(len(shown)):
        axes.plot([0, errors[:, shown[line]].max()], [line, line], color=GREY, linewidth=0.5, alpha=0.5, zorder=1)
    axes.set_yticks(np.arange(len(shown)), names, parse_math=False)  # names may contain "$"
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("mean squared error of scaled features on the test set")
    few = (
        f"the {len(shown)} of {errors.shape[1]:,} features with the largest error"
        if len(shown) < errors.shape[1]
        else ""
    )
    legend = figure.legend(loc="outside upper left", ncols=min(len(arms), 6), title=few or None)
    legend.set_alignment("left")
    for text, arm in zip(legend.get_texts(), arms, strict=True):
        text.set_color(ink(colours[arm]))
    legend.get_title().set_fontsize(FONT)
    return figure
