"""The check of a run before anything is trained: its spec and its data fit together."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stacked.components.corruption import CORRUPTIONS, parts
from stacked.components.losses import LOSSES
from stacked.data import Splits
from stacked.data.formats.split import check_splits
from stacked.evaluation.label_rows import LabelRows, label_rows
from stacked.model.batch_norm import check_batch
from stacked.model.stack import StackedAutoencoder, empty_stack
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.settings import own_settings
from stacked.spec import RunSpec, StackSpec
from stacked.spec.compatibility import check_range, reconstructs_data
from stacked.spec.objectives import check_data
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
    stack = fitting_stack(spec.stack, splits.input_shape)
    check_values(spec, splits)
    check_maps(spec, stack)
    labels = label_rows(spec, splits)
    for phase in spec.phases():
        if phase.updates:
            rows = labels.of(phase)
            n, what = (len(splits.train), "training examples") if rows is None else (len(rows), "labels")
            check_batch(stack, spec.optimisation.batch_size_of(phase), n, what)
            check_data(phase, spec.optimisation, stack.shapes(stack.input_shape), n)
    learns = spec.classification.encoder == "learning"  # the norms of a frozen encoder do not read batches
    for classifier in labels.classifiers if learns else ():
        check_batch(stack, spec.classification.batch_size, len(classifier.train), "labels", "of the classification")
    different = len(splits.train.labels[splits.train.labels >= 0].unique())
    uses = spec.evaluation.probes or labels.classifiers or len(labels.learned)
    need(
        not splits.classes or different > 1 or not uses,
        f"training examples of only {different} of {len(splits.classes)} classes have labels, and a probe needs 2 or more: "
        "give examples of more classes, or data without classes",
    )
    return Checked(stack, labels)


def check_values(spec: RunSpec, splits: Splits) -> None:
    """Raise InputError unless loss and output of stage 1 suit the values that it reconstructs, the training examples'."""
    config, shape, inputs = spec.optimisation, splits.input_shape, splits.train.inputs
    name = config.loss_at(0)
    phases = [phase for phase in spec.phases() if phase.updates and reconstructs_data(phase, spec.optimisation)]
    side = min(shape[1:]) if len(shape) == 3 else 0
    need(
        not phases or side >= LOSSES[name].least_side,
        f"loss {name!r} needs images of at least {LOSSES[name].least_side} pixels a side, and these "
        + (f"have {side}: use 'mse'" if side else f"examples have the shape {list(shape)}: use 'mse'"),
    )
    if not phases or splits.scaling is None:
        return
    check_range(spec.stack, config, phases, inputs.min().item(), inputs.max().item(), splits.scaling.kind)


def check_maps(spec: RunSpec, stack: StackedAutoencoder) -> None:
    """Raise InputError if a corruption that needs maps acts on vectors that stage 1 reads."""
    config = spec.optimisation
    reads = [phase for phase in spec.phases() if phase.updates and (phase.input_depth == 0 or phase.trainable[0] == 1)]
    fine_tuned = spec.classification.encoder == "learning" and bool(spec.classification.labels)
    acting = [(config.corruption, config.levels_at(0, phase)) for phase in reads]
    recipe = spec.classification.optimisation(spec.classification.lrs[0])
    acting += [(recipe.corruption, recipe.levels_at(0))] * fine_tuned
    for names, levels in acting:
        for name, level in zip(parts(names), levels, strict=True):
            need(
                not level or not CORRUPTIONS[name].maps or len(stack.input_shape) > 1,
                f"corruption {name!r} needs maps [C, ...], and these examples are vectors of {stack.input_shape[0]} values: use "
                "'masking'",
            )


def fitting_stack(spec: StackSpec, shape: Shape) -> StackedAutoencoder:
    """Return the empty stack of a spec; InputError if it cannot read examples of this shape, or memory for its weights."""
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
