"""Paine, Khorrami, Han & Huang 2014, "An analysis of unsupervised pre-training in light of recent advances", arXiv 1412.6597.

Claim: pretraining a convolutional network of rectifiers without labels helps if the images without labels are many more than
those with labels (50 to 1), and hurts if they are as many (1 to 1).

Results of the paper: the claim, as two other texts state it. Another text lists accuracies of 86.7 % on CIFAR-10 and 70.2 % on
STL-10, without the augmentation and the number of labels with which they were measured; they are not compared.

Protocol: as in the authors' code, 96 filters of 5 x 5 and max pooling, 144 of 5 x 5 and max pooling, 192 of 3 x 3 without
pooling, 300 rectified units, softmax. The autoencoders have no biases, linear decoders with the filters of their encoders, and
unpooling that puts a value back to the place of the maximum. Each stage learns to reconstruct the pixels, which the frozen
stages below it encode and decode. 50,000 images without labels; 1,000, 5,000, 10,000 or 50,000 labels, hence ratios of 50, 10,
5 and 1. Gradient descent with a momentum of 0.9 in batches of 128, as many updates with any number of labels. Initial weights
have a standard deviation of k / sqrt(fan-in); the authors draw k from 0.2 to 1.2, and here tuning chooses it from this range.

Deviations: their code selects among checkpoints by the test set, and here validation images alone select; MNIST and Fashion-MNIST
unless CIFAR-10 or STL-10 are at hand; a quarter of the filters, 2 epochs for each stage, 2,000 updates of fine-tuning and no
10,000 labels at the default scale; pixels in 0 to 1, not normalised by their neighbourhood; initial filters that are not
orthogonal; neither dropout nor augmentation.

Command: python -m studies.papers.paine2014 --tune 4 --out results/paine2014/mnist
         python -m studies.papers.paine2014 --out results/paine2014/mnist
         and the same with --data fashion-mnist, or --data cifar10 (--download fetches it), and an --out of its name
         python -m studies.papers.paine2014 --data stl10+unlabelled --arms 'pretrained, 1,000 labels' 'random, 1,000 labels'
         'pretrained, all labels' 'random, all labels' --out results/paine2014/stl10-unlabelled (its 105,000 images take 2.9 GB)
Expected and cost: results/paine2014/*/README.md, generated from the rows, once it has been run. Estimated for MNIST from the
processor time of updates: --scale quick takes minutes, default 35 minutes of tuning and 25 of runs on two cores, paper
months.
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
from studies.papers.shared.label_counts import Kinds, answer, arms, error, name_of

KINDS = Kinds("pretrained", "random")
WIDTHS = (96, 144, 192)
#: what the filters of the default scale are divided by
FEWER = 4
#: number of labels (None: all) -> images without labels for each, of 50,000
RATIOS: dict[int | None, int] = {1000: 50, 5000: 10, 10_000: 5, None: 1}
#: dataset -> what differs from the data of the paper
DATA = {
    "mnist": "MNIST, not CIFAR-10",
    "fashion-mnist": "Fashion-MNIST, not CIFAR-10",
    "cifar10": "45,833 images, not 50,000",
}
STL = "stl10+unlabelled"
OURS = "fewer filters and updates at the default scale, see the protocol; no dropout, no augmentation"


def stages(*widths: int) -> list[dict[str, Any]]:
    """Return the three stages with so many filters: two pool and remember where the maxima were, the third keeps the size."""
    pooled = {"kind": "conv-pool", "options": {"kernel": 5, "tied": True, "bias": False, "unpool": "switches"}}
    last = {"kind": "conv", "options": {"kernel": 3, "tied": True, "bias": False, "stride": 1}}
    return [
        {**stage, "width": width, "activation": "relu", "decoder": "linear"}
        for stage, width in zip((pooled, pooled, last), widths, strict=True)
    ]


def effect(text: str, labels: int | None, data: str, differs: str = "", higher: bool = False) -> Claim:
    """Return the claim or comparison that pretraining makes the test error lower, or higher, with a number of labels."""
    pretrained, random = (name_of(kind, labels) for kind in KINDS)
    return Claim(text, pretrained, error(labels), against=random, higher=higher, differs=differs, data=data)


def claims(data: str) -> list[Claim]:
    """Return the claims on a dataset with labels for all training images."""
    differs = f"{DATA[data]}; {OURS}"
    return [
        effect("pretraining helps with 50 images for each label", 1000, data, differs),
        effect("pretraining hurts with as many images as labels", None, data, differs, higher=True),
    ]


def comparisons(data: str) -> list[Claim]:
    """Return our comparisons on a dataset, at the ratios between those that the paper's claim names."""
    return [
        effect(f"pretraining with {RATIOS[labels]} images for each label", labels, data) for labels in (5000, 10_000)
    ]


PROTOCOL = """\
- **Arms**: for 1,000, 5,000, 10,000 and all labels, `pretrained` and `random`, the same convolutional network of rectifiers. The
  stages of `pretrained` are first trained one after another, on all {train} training images without their labels, to
  reconstruct the pixels, which the frozen stages below encode and decode: two of 5 x 5 filters with max pooling, and one of 3 x 3
  filters without pooling. No biases; linear decoders with the filters of the encoders, flipped; each value is put back to the
  place of its maximum. With n labels, pretraining reads {train} / n images for each label.
- **Filters**: 24, 36 and 48 at the default scale, a quarter of the 96, 144 and 192 of the paper, which `--scale paper` has.
  Arms with 10,000 labels are run with `--scale paper` only.
- **Fine-tuning**: all stages, with a layer of 300 rectified units and a linear one on top, learn the classes for {updates}
  updates in batches of 128, with any number of labels. The number of updates is selected on {checked}.
- **Tuning**: `--tune` chooses a factor of the initial weights, the rates of pretraining and of fine-tuning by the accuracy, on
  validation images, of the classifier with the arm's number of labels. Every arm has the same number of trials; those of `random`
  are of the factor and of its fine-tuning.
- **Optimisation**: mean squared error; gradient descent with a momentum of 0.9 at a {schedule} learning rate, in batches of
  {batch}; initial weights uniform within ±g / sqrt(fan-in), where the factor g is 1, or chosen from 0.35 to 2.1 by tuning.
- **Budgets**: each stage is pretrained for {stage_epochs}; an arm without pretraining has as much fine-tuning, and fewer FLOPs
  in total.
- **Splits**: {valid} images of the official training set are held out for validation, stratified by class. The test set is read
  once, and selects nothing.
- **Deviations** from the paper: other data, unless these are CIFAR-10 or STL-10; fewer filters and updates; pixels in 0 to 1, not
  normalised by their neighbourhood; initial filters that are not orthogonal; neither dropout nor augmentation.
"""
CLASSIFICATION: dict[str, Any] = {
    "optimiser": "sgd",
    "momentum": 0.9,
    "weight_decay": 1e-5,
    "lrs": [0.01],
    "batch_size": 128,
    "epochs": 1.0,
    "updates": 2000,
    "checks": 10,
    "images": 2000,
    "head": "mlp",
    "head_width": 300,
}

STUDY = TrainingStudy(
    name="paine2014",
    module="papers.paine2014",
    title="Paine et al. 2014: pretraining by the ratio of unlabelled to labelled images",
    question="At which ratio of unlabelled to labelled images does pretraining help a network of rectifiers, or hurt it?",
    protocol=PROTOCOL,
    arms=arms(KINDS, "greedy-images", tuple(RATIOS)),
    reference=name_of(KINDS.plain, 1000),
    budget_arm=name_of(KINDS.pretrained, 1000),
    search={
        "optimisation.lr": LogRange(0.01, 0.5),
        "classification.lrs": LogRange(1e-3, 0.1),
        "stack.gain": LogRange(0.35, 2.1),
    },
    search_split={},
    tuning_measure="classifier_acc_1000",
    valid={"mnist": 1 / 6, "fashion-mnist": 1 / 6},
    defaults={
        "loss": ["mse"],
        "optimiser": "sgd",
        "lr": 0.1,
        "schedule": "constant",
        "batch_size": 128,
        "stack": {
            "init": "uniform",
            "norm": "none",
            "output": "linear",
            "stages": stages(*(width // FEWER for width in WIDTHS)),
        },
        "labels": ["all"],
        "arms": [name_of(kind, labels) for labels in (1000, 5000, None) for kind in KINDS],
        "epochs": [2.0],
        "seeds": 3,
        "evaluation": {"probes": []},
        "classification": CLASSIFICATION,
    },
    smoke={
        "arms": [name_of(kind, 1000) for kind in KINDS],
        "labels": ["1000"],
        "classification": {"updates": 20, "checks": 2},
    },
    scales={
        "default": {},
        "quick": {
            "limit": 2000,
            "arms": [name_of(kind, labels) for labels in (1000, None) for kind in KINDS],
            "epochs": [1.0],
            "seeds": 2,
            "classification": {"updates": 200, "checks": 4},
        },
        "paper": {
            "stack": {"stages": stages(*WIDTHS)},
            "arms": [name_of(kind, labels) for labels in RATIOS for kind in KINDS],
            "epochs": [250.0],
            "seeds": 10,
            "classification": {"updates": 100_000, "checks": 200, "images": 5000},
        },
    },
    claims=(
        *(claim for data in DATA for claim in claims(data)),
        effect(
            "pretraining helps with about 100 images for each label",
            1000,
            STL,
            f"labels drawn anew by each seed, not the ten folds of the data; {OURS}",
        ),
    ),
    comparisons=tuple(comparison for data in DATA for comparison in comparisons(data)),
    quote=partial(answer, kinds=KINDS),
    drawings={"gain": Drawing(CAPTION, partial(draw_gain, kinds=KINDS))},
    figures=("filters", "reconstructions"),
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
