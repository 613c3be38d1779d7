"""A phase made ready to be trained: the stack is grown and frozen, and what it reads and is to give is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stacked.data import Split, Splits
from stacked.data.labels import label_subset
from stacked.data.stream import Order
from stacked.model.stack import StackedAutoencoder, grow
from stacked.runtime.free_memory import free_bytes
from stacked.spec import RunSpec
from stacked.spec.growth import Phase
from stacked.stages.initialise import resample
from stacked.training.codes import CodeCache, Images, Inputs, Targets, choose_cache, inputs


@dataclass(frozen=True)
class Examples:
    """Images by index, and their labels [N] (None: they have none)."""

    images: Inputs
    labels: Tensor | None = None

    def targets(self, phase: Phase, device: torch.device) -> Targets | None:
        """What `phase` reconstructs or predicts, by index; None where that is what it reads."""
        if phase.target == "input":
            return None
        if phase.target == "pixels":
            return self.images
        labels = self.labels
        assert labels is not None
        return lambda index: labels[index].to(device)


def examples_of(
    spec: RunSpec, splits: Splits, phase: Phase, device: torch.device, most: int | None = None
) -> tuple[Examples, Examples]:
    """The examples that `phase` trains on (the first `most` of them) and is validated on.

    All images, or for a phase that learns classes those of the label budget.
    """

    def part(split: Split, rows: Tensor | None) -> Examples:
        labels = split.labels if rows is None else split.labels[rows]
        return Examples(Images.near(split.images, device, rows), labels)

    train, valid, first, others = splits.train, splits.valid, None, None
    if phase.target == "labels":
        first = label_subset(train.labels, spec.optimisation.labels, spec.seed)[:most]
        others = label_subset(valid.labels, None, spec.seed)
    elif most is not None:
        first = torch.arange(len(train))[:most]
    return part(train, first), part(valid, others)


@dataclass
class PreparedPhase:
    """A phase that is ready to be trained. `inputs` are computed when they are first asked for.

    phase: with the updates that are to be made. order: of the batches. cache: how the codes of frozen stages are kept.
    """

    stack: StackedAutoencoder
    phase: Phase
    examples: Examples
    order: Order
    cache: CodeCache

    @cached_property
    def inputs(self) -> Inputs:
        """What the phase reads, by index."""
        return self.of(self.examples.images, self.cache.mode)

    @property
    def targets(self) -> Targets | None:
        """What the phase reconstructs or predicts, by index; None where that is what it reads."""
        return self.examples.targets(self.phase, next(self.stack.parameters()).device)

    def of(self, images: Inputs, mode: str) -> Inputs:
        """What the phase would read of other images."""
        return inputs(self.stack, self.phase.input_depth, images, mode, self.order.size)


def prepare_phase(
    stack: StackedAutoencoder,
    spec: RunSpec,
    phase: Phase,
    examples: Examples,
    device: torch.device | None = None,
    *,
    codes: str = "auto",
    share: float = 1.0,
    resumed: bool = False,
) -> PreparedPhase:
    """Grow `stack` to the depth of `phase`, redraw its weights where the phase says so, and freeze all that does not learn.

    codes: "auto", "memory" or "recompute". share: the part of the free memory that codes may take. resumed: the weights are
    those of a place inside the phase. Raises InputError when codes that are asked to be kept do not fit in memory.
    """
    grow(stack, spec, phase.depth, device)
    if phase.resamples and not resumed:
        resample(stack, spec.seed)
    stack.learn_only(*phase.trainable).eval()
    order = Order(len(examples.images), spec.optimisation.batch_size, spec.seed)
    values = math.prod(stack.shapes(stack.input_shape)[phase.input_depth])
    free = share * free_bytes(next(stack.parameters()).device)
    cache = choose_cache(phase.input_depth, values, order.n, phase.updates, order.size, codes, free)
    return PreparedPhase(stack, phase, examples, order, cache)
