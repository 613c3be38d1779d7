"""Trajectories in the space of functions: what networks compute during training, as places in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from studies.figures.notes import footnote
from studies.figures.style import FONT, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from studies.figures.panels import Record

#: the name of the samples that hold the arrays of the figure, in place of an arm
SAMPLES = "trajectories"
CAPTION = (
    "What the networks compute during fine-tuning, as in the figure of function approximations by t-SNE of Erhan et al. 2010. A "
    "point is the probabilities that a network gives to the classes of the same test images; near points are similar functions. "
    "A line is one seed, from its function before fine-tuning (ring) through those after each check to the last one (dot)."
)
#: the most points of a neighbourhood in t-SNE (van der Maaten and Hinton 2008 advise 5 to 50)
PERPLEXITY = 30.0


def embedded(outputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return places [arms, seeds, checks, 2] of outputs [arms, seeds, checks, values] by t-SNE, the same in every call."""
    from sklearn.manifold import TSNE

    points = outputs.reshape(-1, outputs.shape[-1]).astype(np.float32)
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    found = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
    places: npt.NDArray[np.float32] = found.reshape(*outputs.shape[:-1], 2).astype(np.float32)
    return places


def alike(outputs: npt.NDArray[Any]) -> float:
    """Return the fraction of networks whose nearest other network, by Euclidean distance of outputs, has the same arm.

    outputs: [arms, seeds, values], with two networks or more.
    """
    points = outputs.reshape(-1, outputs.shape[-1]).astype(np.float64)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    arm = np.arange(len(points)) // outputs.shape[1]
    return float((arm[distances.argmin(1)] == arm).mean())


def draw_trajectories(study: Record, colours: Mapping[str, str]) -> Figure | None:
    """Return the figure of the trajectories in the samples of a record; None without them. colours: of each arm, by name.

    The samples have "arms", their names, "places" [arms, seeds, checks, 2], and "alike", the fraction that `alike` returns for
    the last functions.
    """
    if SAMPLES not in study.samples:
        return None
    arrays = study.samples[SAMPLES]
    names, places = [str(name) for name in arrays["arms"]], arrays["places"]
    figure = new_figure(4.6)
    axes = figure.subplots()
    for name, seeds in zip(names, places, strict=True):
        for seed, line in enumerate(seeds):
            axes.plot(*line.T, color=colours[name], linewidth=0.9, alpha=0.7, label=name if seed == 0 else None)
            axes.plot(*line[0], "o", color=colours[name], markersize=5, markerfacecolor="none")
            axes.plot(*line[-1], "o", color=colours[name], markersize=5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title("Functions during fine-tuning, by t-SNE")
    axes.legend(loc="best", fontsize=FONT)
    footnote(
        figure,
        f"{places.shape[1]} seeds of each arm; ring: before fine-tuning; dot: at its end; "
        f"nearest other network at the end is of the same arm: {100 * float(arrays['alike']):.0f} %",
    )
    return figure
