"""The examples that phases are trained on: images, and the labels of phases that learn from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stacked.data import Split, Splits
from stacked.objectives.objective import ObjectiveTargets
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.spec.objectives import needs_images, needs_labels
from stacked.training.codes import Inputs, StoredInputs, Targets


@dataclass(frozen=True)
class Examples:
    """Images by index, and their labels [N] (None: there are none)."""

    images: Inputs
    labels: Tensor | None = None

    def targets(self, phase: Phase, config: Optimisation, device: torch.device) -> Targets | None:
        """Return the targets of `phase` by index, or None if the target is the input."""
        if phase.target == "input":
            return None
        if phase.target == "pixels":
            return self.images
        labels = self.labels if needs_labels(phase, config) else None
        if phase.target == "objectives":
            images = self.images if needs_images(phase, config) else None
            return lambda index: ObjectiveTargets(
                None if images is None else images(index), None if labels is None else labels[index].to(device)
            )
        assert labels is not None
        return lambda index: labels[index].to(device)


def examples_of(
    splits: Splits, phase: Phase, config: Optimisation, rows: Tensor | None, device: torch.device
) -> tuple[Examples, Examples]:
    """Return the training examples of `phase`, those at `rows` (None: all images), and its validation examples.

    A phase that learns labels is validated on all validation images with a label, any other phase on all validation images.
    """

    def part(split: Split, rows: Tensor | None) -> Examples:
        labels = split.labels if rows is None else split.labels[rows]
        return Examples(StoredInputs.near(split.inputs, device, rows), labels)

    labelled = (splits.valid.labels >= 0).nonzero().flatten() if needs_labels(phase, config) else None
    return part(splits.train, rows), part(splits.valid, labelled)
