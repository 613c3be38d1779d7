"""The check of a run before anything is trained: its spec and its data fit together."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stacked.components.objectives import LOSSES
from stacked.data import Splits
from stacked.data.formats.split import check_splits
from stacked.evaluation.label_rows import LabelRows, label_rows
from stacked.model.batch_norm import check_batch
from stacked.model.stack import StackedAutoencoder, empty_stack
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec, StackSpec
from stacked.stages.stage import Shape
from stacked.util.checks import need
from stacked.util.errors import InputError


@dataclass(frozen=True)
class Checked:
    """What a check computes of a run: its stack without weights (on the device "meta"), and the rows whose labels it uses."""

    stack: StackedAutoencoder
    labels: LabelRows


@own_settings()
def check(spec: RunSpec, splits: Splits) -> Checked:
    """Return the empty stack and the label rows of a run; InputError if the data do not fit the spec."""
    check_splits(splits)
    stack = fitting_stack(spec.stack, splits.image_shape)
    name, side = spec.optimisation.loss_at(0), min(splits.image_shape[1:])
    need(
        side >= LOSSES[name].least_side,
        f"loss {name!r} needs images of at least {LOSSES[name].least_side} pixels a side, and these have {side}: use 'mse'",
    )
    labels = label_rows(spec, splits)
    for phase in spec.phases():
        if phase.updates:
            rows = labels.of(phase)
            n, what = (len(splits.train), "training images") if rows is None else (len(rows), "labels")
            check_batch(stack, spec.optimisation.batch_size_of(phase), n, what)
    learns = spec.classification.encoder == "learning"  # the norms of a frozen encoder do not read batches
    for classifier in labels.classifiers if learns else ():
        check_batch(stack, spec.classification.batch_size, len(classifier.train), "labels", "of the classification")
    different = len(splits.train.labels[splits.train.labels >= 0].unique())
    uses = spec.evaluation.probes or labels.classifiers or len(labels.learned)
    need(
        not splits.classes or different > 1 or not uses,
        f"training images of only {different} of {len(splits.classes)} classes have labels, and a probe needs 2 or more: "
        "give images of more classes, or data without classes",
    )
    return Checked(stack, labels)


def fitting_stack(spec: StackSpec, shape: Shape) -> StackedAutoencoder:
    """Return the empty stack of a spec; InputError if these images are too small for it, or memory for its weights."""
    try:
        stack = empty_stack(spec, shape)
    except RuntimeError as error:  # torch's error for more bytes than can be addressed
        raise InputError(f"the stack's weights are too many ({error}): give smaller widths") from error
    weights, free = sum(4 * p.numel() for p in stack.parameters()), free_bytes(torch.device("cpu"))
    need(
        weights <= free,
        f"the stack's weights need {weights / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} are free: give smaller widths",
    )
    return stack
