"""Masci, Meier, Ciresan & Schmidhuber 2011, "Stacked convolutional auto-encoders for hierarchical feature extraction", ICANN.

Claim: a convolutional network whose filters are those of a stack of convolutional autoencoders classifies better than the same
network from random weights.

Results of the paper, test error in %, as one other text gives them: with 1,000, 10,000 and 50,000 labels, on MNIST pretrained
7.23, 1.88, 0.71 and random 7.63, 2.21, 0.79; on CIFAR-10 pretrained 52.30, 34.35, 21.80 and random 55.52, 35.23, 22.50. They are
of one run each; 0.71 and 0.79 differ by eight test images.

Protocol: 100 filters of 5 x 5 and max pooling, 150 of 5 x 5 and max pooling, 200 of 3 x 3 without pooling, 300 units, softmax;
scaled tanh. Each layer is an autoencoder of the code below it, whose decoder has its filters, flipped, and whose pooling layer
sets all values but the maxima to 0; squared error; gradient descent. Then the network learns the labels. The rates of
pretraining and of fine-tuning are chosen by the accuracy on validation images, each arm with the same number of trials.

Deviations: a third of the filters at the default scale, and 2 epochs of pretraining for each layer; pixels in 0 to 1;
convolutions that keep the size of the maps, with zeros around them; the 300 units are rectifiers; batches of 20, not single
images; a sixth of the 60,000 images of MNIST, and a tenth of the 50,000 of CIFAR-10, are held out for validation, so that "all
labels" are 50,000 and 45,000.

Command: python -m studies.papers.masci2011 --tune 4 --out results/masci2011/mnist
         python -m studies.papers.masci2011 --out results/masci2011/mnist
         and the same with --data cifar10 and --out results/masci2011/cifar10 (--download fetches CIFAR-10)
         --scale paper has the filters of the paper, and arms with all labels too
Expected and cost: results/masci2011/*/README.md, generated from the rows, once it has been run. Estimated for MNIST from the
processor time of updates: --scale quick takes minutes, default 25 minutes of tuning and 35 of runs on two cores, paper
weeks.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from studies.design.claims import Claim
from studies.design.drawing import Drawing
from studies.design.search import LogRange
from studies.framework.main import main
from studies.framework.training_study import TrainingStudy
from studies.papers.shared.gain_figure import CAPTION, draw_gain
from studies.papers.shared.label_counts import Kinds, answer, arms, error, key, name_of
from studies.papers.shared.period import DEFAULTS, classification
from studies.statistics.measures import budget_name

KINDS = Kinds("CAE", "random")
WIDTHS = (100, 150, 200)
#: what the filters of the default scale are divided by
FEWER = 3
#: dataset -> number of labels (None: all) -> test errors of the pretrained and of the random network
TABLE: dict[str, dict[int | None, tuple[str, str]]] = {
    "mnist": {1000: ("7.23", "7.63"), 10_000: ("1.88", "2.21"), None: ("0.71", "0.79")},
    "cifar10": {1000: ("52.30", "55.52"), 10_000: ("34.35", "35.23"), None: ("21.80", "22.50")},
}
COUNTS = tuple(TABLE["mnist"])
OURS = "fewer filters and epochs at the default scale, see the protocol; batches of 20; rectifiers in the layer of 300 units"


def stages(*widths: int) -> list[dict[str, Any]]:
    """Return the three stages with so many filters: two pool, and set what is not a maximum to 0; the third keeps the size."""
    pooled = {"kind": "conv-pool", "options": {"kernel": 5, "tied": True, "unpool": "zeros"}}
    last = {"kind": "conv", "options": {"kernel": 3, "tied": True, "stride": 1}}
    return [
        {**stage, "width": width, "activation": "scaled-tanh"}
        for stage, width in zip((pooled, pooled, last), widths, strict=True)
    ]


def claims(data: str) -> list[Claim]:
    """Return the claims on a dataset: the numbers of the table, and that pretraining helps with each number of labels."""
    shared: dict[str, Any] = {"data": data}
    numbers, effects = [], []
    for labels, errors in TABLE[data].items():
        pretrained, random = (name_of(kind, labels) for kind in KINDS)
        fewer = "; 45,000 training images, not 50,000" if data == "cifar10" else ""
        numbers += [
            Claim(
                f"error of {arm}",
                arm,
                error(labels),
                value,
                differs=f"{OURS}; value from another text{fewer}",
                **shared,
            )
            for arm, value in zip((pretrained, random), errors, strict=True)
        ]
        text = f"pretraining helps with {budget_name(key(labels))} labels"
        effects.append(Claim(text, pretrained, error(labels), against=random, differs=OURS + fewer, **shared))
    return [*numbers, *effects]


PROTOCOL = """\
- **Arms**: for 1,000, 10,000 and all labels, `CAE` and `random`, the same convolutional network. The stages of `CAE` are first
  trained one after another, on all {train} training images, to reconstruct the code of the frozen stages below: two of 5 x 5
  filters with max pooling, and one of 3 x 3 filters without pooling; scaled tanh. A decoder uses the filters of its encoder,
  flipped; all values but the maxima of each pooling window are set to 0 before it. Arms with all labels are run with
  `--scale paper` only.
- **Filters**: 33, 50 and 66 at the default scale, a third of the 100, 150 and 200 of the paper, which `--scale paper` has.
- **Fine-tuning**: all layers, with a layer of 300 rectified units and a linear one on top, learn the classes for {epochs}, or
  {updates} updates if these are more. Learning rate and number of updates are selected on {checked}; training with each
  learning rate stops early.
- **Tuning**: `--tune` chooses the rates of pretraining and of fine-tuning by the accuracy, on validation images, of the
  classifier with the arm's number of labels. Every arm has the same number of trials; those of `random` are of its fine-tuning.
- **Optimisation**: squared error; gradient descent without momentum in batches of {batch}, with a learning rate
  lr0 / (1 + t decay); initial weights uniform within ±1/sqrt(fan-in).
- **Budgets**: each stage is pretrained for {stage_epochs}; an arm without pretraining has as much fine-tuning, and fewer FLOPs
  in total.
- **Splits**: {valid} images of the official training set are held out for validation, stratified by class. The test set is read
  once.
- **Deviations** from the paper: fewer filters and epochs of pretraining; pixels in 0 to 1; convolutions that keep the size of
  the maps; rectifiers in the layer of 300 units; batches of {batch}, not single images; the paper's values are read in one other
  text.
"""
RECIPE = {"head": "mlp", "head_width": 300, "images": 2000}

STUDY = TrainingStudy(
    name="masci2011",
    module="papers.masci2011",
    title="Masci et al. 2011: stacked convolutional autoencoders",
    question="Does a convolutional network classify better if its filters were pretrained as autoencoders, by number of labels?",
    protocol=PROTOCOL,
    arms=arms(KINDS, "greedy", COUNTS),
    reference=name_of(KINDS.plain, COUNTS[0]),
    budget_arm=name_of(KINDS.pretrained, COUNTS[0]),
    search={"optimisation.lr": LogRange(0.01, 0.5), "classification.lrs": LogRange(3e-3, 0.3)},
    search_split={},
    tuning_measure="classifier_acc_1000",
    valid={"mnist": 1 / 6, "cifar10": 1 / 10},
    defaults={
        **DEFAULTS,
        "loss": ["mse"],
        "lr": 0.1,
        "stack": {
            "init": "uniform",
            "norm": "none",
            "output": "scaled-tanh",
            "stages": stages(*(width // FEWER for width in WIDTHS)),
        },
        "arms": [name_of(kind, labels) for labels in COUNTS[:2] for kind in KINDS],
        "epochs": [2.0],
        "seeds": 5,
        "evaluation": {"probes": []},
        "classification": {**classification(15, (0.03,), patience=5, updates=4000), **RECIPE},
    },
    smoke={
        "arms": [name_of(kind, 1000) for kind in KINDS],
        "labels": ["1000"],
        "classification": {"epochs": 1.0, "updates": 20, "checks": 2},
    },
    scales={
        "default": {},
        "quick": {
            "limit": 2000,
            "arms": [name_of(kind, 1000) for kind in KINDS],
            "epochs": [1.0],
            "seeds": 2,
            "classification": {**classification(4, (0.03,), patience=3, updates=500), **RECIPE},
        },
        "paper": {
            "stack": {"stages": stages(*WIDTHS)},
            "arms": [name_of(kind, labels) for labels in COUNTS for kind in KINDS],
            "epochs": [50.0],
            "seeds": 10,
            "classification": {
                **classification(100, (0.01, 0.03, 0.1), patience=20, updates=20_000),
                **RECIPE,
                "images": 5000,
            },
        },
    },
    claims=tuple(claim for data in TABLE for claim in claims(data)),
    quote=partial(answer, kinds=KINDS),
    drawings={"gain": Drawing(CAPTION, partial(draw_gain, kinds=KINDS))},
    figures=("filters",),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
