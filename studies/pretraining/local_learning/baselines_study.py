"""How good are the codes of local rules without a loss of a code, Forward-Forward and SoftHebb?

Claims: Forward-Forward has an error of 1.36 % on MNIST (Hinton 2022, with 2,000 units a layer and 60 epochs), and SoftHebb learns
features without labels, loss and backward pass (Journé et al. 2023). They are no policies and no objectives of this package, so
they stand in a table of their own, beside the study of local learning, with the same linear probe.

Deviations from the papers: those in the files of the two rules; smaller networks, fewer epochs, and settings that are not tuned.

Command: python -m studies.local_baselines --out results/local_baselines/mnist
Expected and cost: the page of the record, generated from the rows, once it has been run; not estimated.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.util.checks import need, whole
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.figures.notes import means_note
from studies.figures.style import arm_colours, new_figure
from studies.measuring.study import MeasurementStudy
from studies.statistics.measures import Measure
from studies.statistics.pairing import mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

    from stacked.data.formats.split import Split

PIXELS, FORWARD, HEBB = "pixels", "Forward-Forward", "SoftHebb"
PROTOCOL = """\
- **Arms**: `Forward-Forward`: a perceptron with three layers of {units} rectified units, each of which tells images with their
  true label from those with a wrong one (Hinton 2022), Adam, learning rate 0.001, batches of 100, {epochs} epochs; its features
  are the normalised activities of all layers but the first. `SoftHebb`: convolutions with {channels} channels, each followed by
  pooling, which learn by a soft competition of their units (Journé et al. 2023), one epoch in batches of 10; no labels. `pixels`:
  no features are learned.
- **Linear probe**: logistic regression (scikit-learn, L2, C = 0.1, lbfgs, at most 200 iterations) on standardised features of
  3,000 labelled training images; features of SoftHebb are its last maps. **Own accuracy**: of the label with the highest
  goodness; SoftHebb predicts none.
- **Not tuned**, and not of equal cost: the settings are those of the papers where not stated otherwise.
"""
#: labelled training images of the linear probe, as of the study of local learning
PROBED = 3000


#: images whose features are computed at once
CHUNK = 1000


def labelled(split: Split) -> tuple[Tensor, Tensor]:
    """Return the labelled images [N, C, H, W] of a split, as floats from 0 to 1, and their labels, int64 [N]."""
    known = split.labels >= 0
    return split.inputs[known].float() / 255, split.labels[known]


def probe(context: Context, seed: int, features: Callable[[Tensor], Tensor]) -> float:
    """Return the test accuracy of the linear probe of the features [N, ...] of images [N, C, H, W]."""
    import torch

    from stacked.data.labels import label_subset
    from stacked.evaluation.probes import linear_probe

    (train, labels), (test, test_labels) = (labelled(part) for part in (context.splits.train, context.splits.test))
    rows = label_subset(labels, min(PROBED, len(labels)), seed, f"probe_labels {PROBED}")
    with torch.no_grad():
        read, judged = (
            torch.cat([features(part).flatten(1) for part in images.split(CHUNK)]) for images in (train[rows], test)
        )
    return linear_probe(read, labels[rows], judged, test_labels)


def measure_pixels(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure the probe of the images themselves."""
    yield Measurement(PIXELS, "", "probe", probe(context, seed, lambda images: images))


def measure_forward(context: Context, seed: int) -> Iterator[Measurement]:
    """Train by Forward-Forward, and measure its own predictions and the probe of its features."""
    from studies.pretraining.baselines.forward_forward import forward_forward

    splits, given = context.splits, context.given
    (train, labels), (test, test_labels) = (labelled(part) for part in (splits.train, splits.test))
    widths, classes = [given.units] * 3, len(splits.classes)
    network = forward_forward(train.flatten(1), labels, widths, classes, epochs=given.epochs, seed=seed)
    right = network.predict(test.flatten(1)) == test_labels
    yield Measurement(FORWARD, "", "own", right.float().mean().item())
    yield Measurement(FORWARD, "", "probe", probe(context, seed, lambda images: network.features(images.flatten(1))))


def measure_hebb(context: Context, seed: int) -> Iterator[Measurement]:
    """Train by SoftHebb, and measure the probe of its last maps."""
    from studies.pretraining.baselines.softhebb import softhebb

    images, _ = labelled(context.splits.train)
    network = softhebb(images, context.given.channels, seed=seed)
    yield Measurement(HEBB, "", "probe", probe(context, seed, network))


def draw_probes(rows: pd.DataFrame, out: Path) -> Figure | None:
    """Return a figure of the accuracy of the probe of each arm, with a dot for each seed; out is not used."""
    found = rows[rows["measure"] == "probe"]
    arms = [arm for arm in STUDY.arms if arm in set(found["arm"])]
    if not arms:
        return None
    figure, colours = new_figure(0.9 + 0.35 * len(arms)), arm_colours(STUDY.arms)
    axes = figure.subplots()
    counts = []
    for place, arm in enumerate(arms):
        percent = 100 * found.loc[found["arm"] == arm, "value"]
        mean, low, high = mean_interval(percent)
        error = [[mean - low], [high - mean]] if np.isfinite(low) else None
        axes.plot(percent, np.full(len(percent), place + 0.2), "o", color=colours[arm], markersize=3, alpha=0.55)
        axes.errorbar([mean], [place], xerr=error, color=colours[arm], marker="o", markersize=6, capsize=3)
        counts.append(len(percent))
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel("test accuracy of a linear probe, % (higher is better)")
    means_note(figure, counts, "bars", "small dots: single seeds" if max(counts) > 1 else "")
    return figure


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study and its defaults."""
    command.set_defaults(seeds=5)
    command.add_argument("--epochs", type=int, default=30, metavar="N", help="epochs of Forward-Forward (30)")
    command.add_argument(
        "--units", type=int, default=500, metavar="N", help="units of a layer of Forward-Forward (500)"
    )
    command.add_argument(
        "--channels",
        type=int,
        nargs="+",
        default=[32, 64, 128],
        metavar="N",
        help="channels of each layer of SoftHebb (32 64 128)",
    )


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError for numbers below 1, and for data without classes or with fewer values than these; methods is not used."""
    splits, given = context.splits, context.given
    for name, values in (("epochs", [given.epochs]), ("units", [given.units]), ("channels", given.channels)):
        for value in values:
            whole(value, name)
    need(bool(splits.classes), f"{splits.name} has no classes: give data with classes")
    values = splits.train.inputs[0].numel()
    need(
        values > len(splits.classes),
        f"{splits.name} has {values} values and {len(splits.classes)} classes, which take the place of as many values: give "
        "images of more values",
    )


STUDY = MeasurementStudy(
    name="local_baselines",
    title="Forward-Forward and SoftHebb: local rules without a loss of a code",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={"pixels": measure_pixels, "forward-forward": measure_forward, "softhebb": measure_hebb},
    arms=(PIXELS, FORWARD, HEBB),
    measures={
        "probe": Measure("linear probe accuracy", "higher", 100.0, 2, " %"),
        "own": Measure("own accuracy", "higher", 100.0, 2, " %"),
    },
    conditions="data",
    drawings={
        "probes": Drawing(
            "Test accuracy of a linear probe of the features of each rule, with a dot for each seed; higher is better.",
            draw_probes,
        )
    },
    varies="the initial weights, the data order, the wrong labels and the labelled images",
    options=add_options,
    smoke={"epochs": 2, "units": 20, "channels": [4, 8], "limit": 300},
    check=check,
)
