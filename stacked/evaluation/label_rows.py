"""The labels that a run uses: in phases that learn classes, for probes, and to fine-tune and select classifiers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stacked.data import Splits
from stacked.data.labels import label_subset
from stacked.evaluation.evaluate import spread
from stacked.spec import Classification, Optimisation, RunSpec
from stacked.spec.growth import Phase
from stacked.spec.objectives import needs_labels
from stacked.util.checks import need


@dataclass(frozen=True)
class ClassifierRows:
    """The images of a classifier with this label budget (None: all labels).

    train: rows of the training images it is fine-tuned on. valid: rows of the validation images that select its settings.
    """

    budget: int | None
    train: Tensor
    valid: Tensor


@dataclass(frozen=True)
class LabelRows:
    """The images whose labels a run uses, as rows (int64, ascending); none where nothing uses labels.

    learned: training images of phases that learn classes. probed: training images that linear probes are fitted to.
    optimisation: how phases are trained, which says whether they learn classes.
    """

    learned: Tensor
    probed: Tensor
    classifiers: tuple[ClassifierRows, ...]
    optimisation: Optimisation

    def of(self, phase: Phase) -> Tensor | None:
        """Return the rows of the training images of a phase (None: it uses all images)."""
        return self.learned if needs_labels(phase, self.optimisation) else None


def label_rows(spec: RunSpec, splits: Splits) -> LabelRows:
    """Choose the rows of a run; InputError if the data have no classes for its policy, or too few labels for a budget."""
    labels, seed, how = splits.train.marks, spec.seed, spec.optimisation
    learned = probed = torch.empty(0, dtype=torch.int64)
    if targets := {phase.target for phase in spec.phases() if needs_labels(phase, how)}:
        other = "other objectives" if targets == {"objectives"} else "another policy"
        need(
            bool(splits.classes),
            f"policy {spec.policy!r} learns classes, and {splits.name} has none: choose {other}",
        )
        learned = label_subset(labels, how.labels, seed)
    if not splits.outputs:
        return LabelRows(learned, probed, (), how)
    if splits.classes and spec.evaluation.probes:
        need(
            spec.evaluation.probe_images >= len(splits.classes),
            f"{spec.evaluation.probe_images} probe_images are too few for {len(splits.classes)} classes: give at least as many",
        )
        most = spec.evaluation.probe_labels
        probed = label_subset(labels, min(most, int((labels >= 0).sum())), seed, f"probe_labels {most}")
    config, valid = spec.classification, splits.valid.marks
    fine_tuned = tuple(
        ClassifierRows(budget, label_subset(labels, budget, seed), selecting(config, valid, budget, seed))
        for budget in possible_budgets(config, splits)
    )
    return LabelRows(learned, probed, fine_tuned, how)


def possible_budgets(config: Classification, splits: Splits) -> tuple[int | None, ...]:
    """Return the label budgets of a run on these data, without those of the default that the data do not have."""
    labels = splits.train.labels
    return config.budgets(int((splits.train.marks >= 0).sum()), len(labels[labels >= 0].unique()))


def selecting(config: Classification, labels: Tensor, budget: int | None, seed: int) -> Tensor:
    """Return the rows of the labelled validation images that select a classifier for this label budget."""
    known = (labels >= 0).nonzero().flatten()
    most = min(config.checked(budget), len(known))
    if config.selection == "images":
        return known[spread(len(known), most)]
    what = "" if most == budget else f"images {config.images} of the classification"
    return label_subset(labels, most, seed, what, "validation examples")
