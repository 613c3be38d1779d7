"""Batch norms of stages: checks of the batch size, and control of their running statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from stacked.model.stack import StackedAutoencoder
from stacked.stages import Stage
from stacked.util.checks import need

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def norms(module: nn.Module) -> list[BatchNorm]:
    """Return the batch norms of a module."""
    return [each for each in module.modules() if isinstance(each, BatchNorm)]


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Context in which the running statistics of the batch norms in `module` do not change, though they stay in training mode.

    The statistics must be those of the path that is evaluated, from the deepest code to the pixels. Inputs from another path
    have another distribution, and averaging over both would suit neither.
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
def cumulative_statistics(batch_norms: list[BatchNorm]) -> Iterator[None]:
    """Context that resets the running statistics of these batch norms and makes them the mean over all batches that follow."""
    before = [(norm, norm.momentum) for norm in batch_norms]
    for norm in batch_norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then averages over all batches
    try:
        yield
    finally:
        for norm, momentum in before:
            norm.momentum = momentum


def check_batch(
    stack: StackedAutoencoder, batch_size: int, n: int, what: str = "images", of: str = "of the optimisation"
) -> None:
    """Raise InputError if a batch of n images would hold one image, and a batch norm then one value per channel.

    stack: on the device "meta". what, of: how the message names the n images and the batch size.
    """
    if min(batch_size, n) > 1:
        return
    refusing = next((number for number, stage in enumerate(stack.stages, start=1) if has_single_values(stage)), None)
    more = f"2 {what} or more" if n == 1 else f"a batch_size {of} of 2 or more"
    need(
        refusing is None,
        f"stage {refusing} cannot normalise a batch of one image, which has one value per channel there: give {more}, or use "
        "another norm",
    )


def has_single_values(stage: Stage) -> bool:
    """Whether a batch norm of a stage, on the device "meta", reads only one value per channel of an image."""
    found = []

    def note(norm: nn.Module, inputs: Any) -> None:
        found.append(inputs[0].numel() == inputs[0].shape[1])

    hooks = [norm.register_forward_pre_hook(note) for norm in norms(stage)]
    with torch.no_grad():
        # in training mode a batch norm would refuse what is looked for
        stage.eval()(torch.empty(1, *stage.in_shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return any(found)
