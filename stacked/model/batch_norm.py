"""Batch norms of stages: what they must be given, and what is kept out of their running statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from stacked.model.stack import StackedAutoencoder, build
from stacked.spec.architecture import StackSpec
from stacked.stages.stage import Shape
from stacked.util.checks import need

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def norms(module: nn.Module) -> list[BatchNorm]:
    """The batch norms of a module."""
    return [each for each in module.modules() if isinstance(each, BatchNorm)]


@contextmanager
def unnoticed(module: nn.Module) -> Iterator[None]:
    """What passes through `module` leaves no trace in the running statistics of its batch norms.

    They are to be those of the way that is measured, from the deepest code to the pixels; a mean over it and a way of
    another distribution would fit neither.
    """
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms(module)]
    for norm, _, _ in before:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, tracked in before:
            norm.momentum, norm.num_batches_tracked = momentum, tracked


@contextmanager
def cumulative(those: list[BatchNorm]) -> Iterator[None]:
    """The running statistics of some batch norms begin anew, and become the mean over all batches that pass."""
    before = [(norm, norm.momentum) for norm in those]
    for norm in those:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to say that all batches count alike
    try:
        yield
    finally:
        for norm, momentum in before:
            norm.momentum = momentum


def check_batch(
    spec: StackSpec, shape: Shape, batch_size: int, n: int, what: str = "images", of: str = "of the optimisation"
) -> None:
    """Raise InputError where batches of n images of `shape` would hold one, of which a batch norm has one value a channel.

    what, of: the n images, and the batch size, as a message is to call them.
    """
    if min(batch_size, n) > 1:
        return
    with torch.device("meta"):
        stack = build(spec, shape).eval()
    more = f"2 {what} or more" if n == 1 else f"a batch_size {of} of 2 or more"
    for number in range(1, stack.depth + 1):
        need(
            not has_single_values(stack, number),
            f"one image at a time cannot be batch-normalised by stage {number}, where it has one value a channel: "
            f"give {more}, or the stack another norm",
        )


def has_single_values(stack: StackedAutoencoder, number: int) -> bool:
    """Whether a batch norm of a stage, on the meta device, is given one value of each channel for one example."""
    stage, found = stack.stages[number - 1], []

    def note(norm: nn.Module, inputs: Any) -> None:
        found.append(inputs[0].numel() == inputs[0].shape[1])

    for norm in norms(stage):
        norm.register_forward_pre_hook(note)
    with torch.no_grad():
        stage(torch.empty(1, *stage.in_shape, device="meta"))
    return any(found)
