"""Does deep embedded clustering find the classes of images as well here as with ClustPy, on the same work?

Claims: no claim of a paper is tested; `studies.papers.xie2016` tests those of Xie, Girshick & Farhadi 2016.

Protocol: 784-500-500-2000-10 as in the paper, trained layer by layer and then end to end, then k-means and deep embedded
clustering (DEC) of the codes, with the same epochs, batches and learning rates in both programs.

Deviations from that paper: Adam and few epochs; clusters are fitted to training images and judged on test images; no setting is
tuned.

Command: python -m studies.papers.clustering --out results/clustering/mnist
         and the same with --data fashion-mnist
Expected and cost: results/clustering/*/README.md, generated from the rows, once it has been run. Estimated: forty minutes
for each dataset on one core. ClustPy is optional: pip install '.[clustering]'.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.util.checks import need, whole, wholes
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Measurement
from studies.figures.notes import footnote
from studies.figures.style import arm_colours, new_figure, seeds_of
from studies.framework.main import main
from studies.measuring.study import MeasurementStudy
from studies.papers.xie2016 import DROPPED, WIDTHS, stages
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from torch import Tensor

    from stacked.evaluation.clustering import Agreement
    from stacked.spec import RunSpec

PIXELS, CODES, DEC = "k-means on pixels", "k-means on codes", "DEC"
CLUSTPY_CODES, CLUSTPY_DEC = "ClustPy, k-means on codes", "ClustPy, DEC"
#: learning rate of Adam, and images in a batch
LR, BATCH = 1e-3, 256
PROTOCOL = f"""\
- **Arms**: `{PIXELS}`: scikit-learn's k-means. `{CODES}`: k-means on the codes of a stacked autoencoder of rectifiers with a
  linear code and linear pixels; numbers of units: {{widths}}. `{DEC}`: deep embedded clustering from these codes.
  `{CLUSTPY_CODES}` and `{CLUSTPY_DEC}`: the same with ClustPy's `StackedAutoencoder` and `DEC`. k-means is the best of 10 starts,
  and of 20 starts before DEC.
- **The same work**: Adam with learning rate {LR} in batches of {BATCH}, torch's initial weights, squared error; {{epochs}} epochs
  of each layer on the codes of the layers below it and {{finetune}} of all layers, both with {DROPPED:.0%} of what is read set to
  0; then at most {{clustering_epochs}} epochs of DEC by gradient descent with learning rate 0.01 and momentum 0.9 in batches of
  {BATCH}.
- **Scale**: deep embedded clustering depends on the scale of codes. ClustPy reads pixels that are scaled to a mean square of 1;
  here pixels are in [0, 1], and the codes are multiplied by the same scale for it.
- **What differs**: ClustPy computes the target distribution from each batch and makes all epochs of DEC; here it is computed from
  all images before every epoch, and training ends when no image changes its cluster. ClustPy's batches have another order.
- **Measures**: clusters are fitted to the training images of {{data}}, without their labels, into as many clusters as there are
  classes; a test image belongs to the nearest centre. Accuracy is that of the best one-to-one assignment of clusters to classes,
  for which alone labels are used.
- **Settings** were not tuned; they are the same for both programs.
"""


def spec_of(seed: int, given: argparse.Namespace) -> RunSpec:
    """Return the spec of the stacked autoencoder."""
    from stacked.spec import Budget, Optimisation, RunSpec, StackSpec, StageSpec

    return RunSpec(
        policy="greedy+finetune",
        seed=seed,
        stack=StackSpec(tuple(StageSpec(**stage) for stage in stages(tuple(given.widths))), output="linear"),
        budget=Budget((given.epochs,), given.finetune, "epochs"),
        optimisation=Optimisation(batch_size=BATCH, lr=LR, corruption_level=(DROPPED,)),
    )


def measurements(arm: str, found: Agreement) -> list[Measurement]:
    """Return the measurements of an arm."""
    return [Measurement(arm, "", name, value) for name, value in asdict(found).items()]


def pixels(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure k-means on pixels, which does not depend on the seed."""
    from stacked.evaluation.clustering import k_means

    train, test, labels = rows_of(context)
    yield from measurements(PIXELS, k_means(train, len(context.splits.classes), test, labels))


def ours(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure k-means and deep embedded clustering of the codes of a stack."""
    from stacked.evaluation.clustering import k_means
    from stacked.evaluation.deep_clustering import dec
    from stacked.evaluation.evaluate import Codes, codes
    from stacked.evaluation.final_metrics import labelled
    from stacked.training.codes import StoredInputs
    from stacked.training.pretrain import pretrain
    from studies.applications.training import gflop_of

    splits, given = context.splits, context.given
    spec, clusters = spec_of(seed, given), len(splits.classes)
    train, (test, labels) = StoredInputs(splits.train.inputs), labelled(splits.test)
    stack = pretrain(spec, train, splits.input_shape, device=given.device).cpu()
    found = codes(stack, train, stack.depth)
    yield from measurements(CODES, k_means(found, clusters, Codes(stack, test, stack.depth), labels))
    epochs = given.clustering_epochs
    yield from measurements(DEC, dec(stack, train, clusters, test, labels, epochs=epochs, tolerance=0.0))
    for arm in (CODES, DEC):
        yield Measurement(arm, "", "gflop", gflop_of(spec, splits, len(train)))


def clustpy(context: Context, seed: int) -> Iterator[Measurement]:
    """Measure the same with ClustPy, used as in its documentation."""
    import torch
    from clustpy.deep import DEC as CLUSTPY_MODEL
    from clustpy.deep.neural_networks import StackedAutoencoder

    from stacked.evaluation.clustering import agreement, k_means
    from stacked.evaluation.deep_clustering import LR as RATE
    from stacked.evaluation.deep_clustering import MOMENTUM, STARTS, root_mean_square, soft_assignment
    from stacked.training.codes import StoredInputs

    given, clusters = context.given, len(context.splits.classes)
    train, test, labels = rows_of(context)
    scale = 1 / root_mean_square(StoredInputs(train))
    train, test = scale * train, scale * test

    def corrupted(x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= DROPPED)  # a copy, because the input is also the target

    model = StackedAutoencoder([train.shape[1], *given.widths], activation_fn=torch.nn.ReLU, random_state=seed)
    with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):
        model.fit(
            n_epochs=given.finetune,
            n_epochs_per_layer=given.epochs,
            optimizer_params={"lr": LR},
            batch_size=BATCH,
            data=train,
            corruption_fn=corrupted,
        )
        with torch.no_grad():
            found = k_means(model.encode(train), clusters, model.encode(test), labels)
        yield from measurements(CLUSTPY_CODES, found)
        fitted = CLUSTPY_MODEL(
            clusters,
            batch_size=BATCH,
            neural_network=model,
            clustering_epochs=given.clustering_epochs,
            clustering_optimizer_params={"lr": RATE, "momentum": MOMENTUM},
            optimizer_class=torch.optim.SGD,
            initial_clustering_params={"n_init": STARTS},
            device="cpu",
            random_state=seed,
        ).fit(train.numpy())
    with torch.no_grad():
        codes = fitted.neural_network_trained_.encode(test)
        centres = torch.from_numpy(fitted.dec_cluster_centers_).to(codes.dtype)
        nearest = soft_assignment(codes, centres).argmax(1)
    yield from measurements(CLUSTPY_DEC, agreement(nearest.numpy(), labels.numpy()))


def rows_of(context: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Return the training images [N, D] and the labelled test images [M, D] as floats in [0, 1], and the labels [M]."""
    test = context.splits.test
    known = test.labels >= 0
    train, tested = (images.flatten(1).float() / 255 for images in (context.splits.train.inputs, test.inputs[known]))
    return train, tested, test.labels[known]


def check(context: Context, methods: Sequence[str]) -> None:
    """Raise InputError unless there are classes to judge clusters by, and the options are allowed."""
    splits, given = context.splits, context.given
    need(
        len(splits.classes) > 1,
        f"{splits.name} has no classes to judge clusters by: give data with two or more classes",
    )
    wholes(given.widths, "widths")
    for name in ("epochs", "finetune", "clustering_epochs"):
        whole(getattr(given, name), name)


def draw(rows: DataFrame, out: Path) -> Figure | None:
    """Return a figure of the accuracy of each arm, with a dot for each seed and a line at the mean."""
    found = rows[rows["measure"] == "acc"]
    arms = list(dict.fromkeys(found["arm"]))
    colours, figure = arm_colours(arms), new_figure(2.6)
    axes = figure.subplots()
    for place, arm in enumerate(arms):
        values = 100 * found.loc[found["arm"] == arm, "value"].to_numpy(dtype=np.float64)
        axes.plot(values, np.full(len(values), place), "o", color=colours[arm], markersize=4, alpha=0.6)
        axes.plot([values.mean()] * 2, [place - 0.25, place + 0.25], color=colours[arm], linewidth=1.6)
    axes.set_yticks(range(len(arms)), arms)
    axes.invert_yaxis()
    axes.set_xlabel("clustering accuracy on test images (%), higher is better")
    footnote(figure, f"dots: single seeds; lines: mean over {seeds_of([found['seed'].nunique()])}")
    return figure


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.add_argument(
        "--widths", type=int, nargs="+", default=list(WIDTHS), metavar="N", help="units of each layer (500 500 2000 10)"
    )
    command.add_argument("--epochs", type=int, default=3, metavar="N", help="epochs of each layer alone (3)")
    command.add_argument("--finetune", type=int, default=6, metavar="N", help="epochs of all layers (6)")
    command.add_argument(
        "--clustering-epochs", type=int, default=20, metavar="N", help="most epochs of deep embedded clustering (20)"
    )


STUDY = MeasurementStudy(
    name="clustering",
    module="papers.clustering",
    title="Deep embedded clustering, beside ClustPy",
    question=__doc__.splitlines()[0],
    protocol=PROTOCOL,
    methods={"pixels": pixels, "stacked": ours, "clustpy": clustpy},
    extras={"clustpy": "clustpy"},
    arms=(DEC, CODES, PIXELS, CLUSTPY_CODES, CLUSTPY_DEC),
    measures={
        "acc": Measure("clustering accuracy", "higher", decimals=4),
        "nmi": Measure("NMI", "higher", decimals=3),
        "ari": Measure("ARI", "higher", decimals=3),
    },
    conditions="",
    varies="the initial weights, the data order and the corruption",
    drawings={"accuracy": Drawing("Clustering accuracy on test images of each arm.", draw)},
    options=add_options,
    smoke={"epochs": 2, "finetune": 2, "clustering_epochs": 2, "widths": [32, 10], "limit": 500},
    check=check,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
