"""The general figures of studies of training runs, by name; bands and bars are 95 % t intervals of the mean over seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from studies.figures.curves import draw_curves
from studies.figures.features import draw_features
from studies.figures.notes import cut_note, means_note
from studies.figures.panels import (
    Record,
    budget_difference_panel,
    budget_panel,
    depth_panel,
    recon_panel,
    reconstructing,
)
from studies.figures.pictures import draw_filters, draw_reconstructions
from studies.figures.regression import r2_panel, rmse_panel
from studies.figures.style import ARM_COLOURS, arm_colours, new_figure, png, style
from studies.statistics.rows import finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ARM_COLOURS", "CAPTIONS", "Record", "arm_colours", "draw", "drawn"]

_INTERVAL = "the 95 % t interval of the mean over seeds (none for fewer than three)"

CAPTIONS = {
    "headline": "Left: reconstruction error on the test set at full depth (lower is better); dashed: PCA. "
    "Right: test accuracy from the bottleneck (higher is better); if error rates differ by a factor of 3 or more, the axis is "
    f"logarithmic in the error rate. Small dots are single seeds; bars are {_INTERVAL}. A number at the upper edge belongs to an "
    "arm that is not better than the mean image.",
    "curves": "Reconstruction error (lower is better) and linear probe accuracy (higher is better) on "
    "validation images during training, at the current depth, against updates, compute and time. "
    f"Bands are {_INTERVAL}; seconds are means over seeds at the same step. A line breaks, with a thin "
    "line between its parts, where a stage was added or another phase began. Dashed in colour: an arm whose "
    "training another arm continues. A mark at the left edge: an arm that is not trained.",
    "reconstructions": "Test images and their reconstructions by each arm from each depth, for one seed. At the right: "
    "the mean test MSE over seeds from that depth (lower is better).",
    "filters": "Encoder filters of the first stage for one seed; each arm has its own colour scale: "
    "blue is negative, red positive (filters of three input channels are shown as colours "
    "around grey).",
    "probe_by_depth": "Test accuracy of a linear probe on the frozen codes of each depth (higher is better); depth 0 is "
    f"the pixels. Bars are {_INTERVAL}.",
    "label_budget": "Left: test accuracy of the classifier on the bottleneck by number of labels (higher is better). "
    "Right: its difference from the reference arm, for arms that are trained. Small dots are single "
    f"seeds; bars are {_INTERVAL}.",
}


#: captions of figures that differ for other data than images: by name, and what the examples are, or "regression"
OTHERS = {
    (
        "reconstructions",
        "signals",
    ): "Test signals (grey) and their reconstructions (orange) by each arm from each depth, for one "
    "seed; each channel is a line. At the right: the mean test MSE over seeds from that depth (lower is better).",
    (
        "reconstructions",
        "rows",
    ): "Mean squared error of each feature over all test rows, reconstructed by each arm from its "
    "bottleneck (lower is better), for one seed; features are scaled as for training.",
    (
        "reconstructions",
        "volumes",
    ): "Middle slices of test volumes and of their reconstructions by each arm from each depth, for "
    "one seed. At the right: the mean test MSE over seeds from that depth (lower is better).",
    (
        "headline",
        "regression",
    ): "Left: reconstruction error on the test set at full depth (lower is better); dashed: PCA. "
    "Right: R² of the regressor on the test set (higher is better), by number of labels; 0 is that of the mean. Small dots are "
    f"single seeds; bars are {_INTERVAL}. A number at an edge belongs to an arm beyond it.",
    (
        "label_budget",
        "regression",
    ): "R² (left, higher is better) and root mean squared error in units of the target (right, "
    "lower is better) of the regressor on the test set, by number of labels. Small dots are single seeds; bars are "
    f"{_INTERVAL}.",
}
#: the parts of captions that are about accuracies
OF_LABELS = (
    " and linear probe accuracy (higher is better)",
    "Right: test accuracy from the bottleneck (higher is better); if error rates differ by a factor of 3 or more, the axis is "
    "logarithmic in the error rate. ",
)
#: figures that only images and volumes have
OF_MAPS = ("filters",)


def caption(name: str, study: Record) -> str:
    """Return the caption of a general figure for these data."""
    has_numbers = bool(study.budgets_of("regressor_r2"))
    if has_numbers and (name, "regression") in OTHERS:
        return OTHERS[name, "regression"]
    text = OTHERS.get((name, study.words.examples), CAPTIONS[name])
    if has_numbers or not (study.depths or study.budgets):
        for part in OF_LABELS:
            text = text.replace(part, "")
    return text


def names(study: Record) -> list[str]:
    """Return the names of the general figures that these data can have."""
    of_classes = ("probe_by_depth",) if study.budgets_of("regressor_r2") else ()
    of_maps = OF_MAPS if study.words.examples in ("rows", "signals") else ()
    return [name for name in CAPTIONS if name not in (*of_classes, *of_maps)]


def draw(name: str, study: Record) -> bytes | None:
    """Return the PNG of the figure `name` (a key of CAPTIONS); None if the study has no data for it."""
    functions: dict[str, Callable[[Record], Figure | None]] = {
        "headline": _headline,
        "curves": _curves,
        "reconstructions": _reconstructions,
        "filters": _filters,
        "probe_by_depth": _probe_by_depth,
        "label_budget": _label_budget,
    }
    return drawn(functions[name], study)


def drawn(draw_figure: Callable[[Record], Figure | None], study: Record) -> bytes | None:
    """Return the PNG of the figure that `draw_figure` returns, drawn in the common style; None if it returns None."""
    with style():
        figure = draw_figure(study)
        return None if figure is None else png(figure)


def _curves(study: Record) -> Figure | None:
    if study.curves is None:
        return None
    runs = finished(study.rows)[["run", "arm", "seed"]]
    curves = study.curves.merge(runs, on=["run", "arm", "seed"])
    return draw_curves(curves, study.arms, study.colours, study.markers, study.reference, study.words)


def _reconstructions(study: Record) -> Figure | None:
    samples = {arm: study.samples[arm] for arm in study.arms if arm in study.samples}

    def error(arm: str, depth: int) -> float:
        return float(study.values(arm, f"final/recon_mse_depth{depth}").mean())

    if study.words.examples == "rows":
        return draw_features(samples, study.colours)
    return draw_reconstructions(samples, study.colours, error, study.words)


def _filters(study: Record) -> Figure | None:
    filters = {arm: study.samples[arm]["filters"] for arm in study.arms if "filters" in study.samples.get(arm, {})}
    return draw_filters(filters, study.colours)


def _headline(study: Record) -> Figure | None:
    right = budget_panel if study.budgets else depth_panel if study.depths else None
    right = r2_panel if study.budgets_of("regressor_r2") else right
    panels = [panel for panel in (recon_panel if study.arms_with(["final/recon_mse"]) else None, right) if panel]
    if not panels:
        return None
    figure = new_figure(3.7)
    grid = figure.subplots(1, len(panels), squeeze=False)
    for axes, panel in zip(grid[0], panels, strict=True):
        panel(axes, study)
    edge = len(reconstructing(study, study.arms)) < len(study.arms)
    beyond = study.words.said("number at the edge: not better than the mean image")
    explain(figure, study, "small dots at the left of a mean: single seeds", beyond if edge else "")
    return figure


def explain(figure: Figure, study: Record, dots: str = "", lines: str = "") -> None:
    """Write below a figure over how many seeds its means are, and what its bars, dots and dashed lines are."""
    done = finished(study.rows)
    counts = [done.loc[done["arm"] == arm, "seed"].nunique() for arm in study.arms]
    means_note(figure, counts, "bars", dots if max(counts) > 1 else "", lines, cut_note(figure))


def _probe_by_depth(study: Record) -> Figure | None:
    if not study.depths:
        return None
    figure = new_figure(3.8)
    depth_panel(figure.subplots(), study)
    explain(figure, study, lines=study.words.said("dashed: the pixels themselves") if 0 in study.depths else "")
    return figure


def _label_budget(study: Record) -> Figure | None:
    regressed = study.budgets_of("regressor_r2")
    if not study.budgets and not regressed:
        return None
    figure = new_figure(3.8)
    left, right = figure.subplots(1, 2)
    if regressed:
        r2_panel(left, study)
        rmse_panel(right, study)
        explain(figure, study, "small dots: single seeds")
        return figure
    budget_panel(left, study)
    budget_difference_panel(right, study)
    explain(figure, study, "small dots at the left of a mean: single seeds; right: differences paired by seed")
    return figure
