"""Running statistics taken anew on clean inputs, after a phase that corrupted what its stages read.

Batch norms meet corrupted values alone while such a phase trains, and clean ones in use, whose mean and variance are others.
"""

from __future__ import annotations

import torch

from stacked.data.stream import Order
from stacked.model.batch_norm import BatchNorm, cumulative, norms
from stacked.model.stack import StackedAutoencoder
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.codes import Inputs, Targets
from stacked.training.phase_loss import PhaseLoss

#: batches on which statistics are taken, at most: with any usual size these are thousands of images
MOST = 100


def batches(stack: StackedAutoencoder, phase: Phase, config: Optimisation, updates_per_epoch: int) -> int:
    """On how many batches the statistics are taken after `phase`: as many as it has updates, at most 100 and an epoch's.

    0 where nothing was corrupted, no batch norm has learnt, or the spec does not want it.
    """
    if not (config.recalibrate and config.corrupts(phase) and learnt(stack, phase)):
        return 0
    return min(MOST, phase.updates, updates_per_epoch)


def learnt(stack: StackedAutoencoder, phase: Phase) -> list[BatchNorm]:
    """The batch norms that a phase trains; where it learns classes these are the encoders'."""
    stages = stack.stages[phase.trainable[0] - 1 : phase.depth]
    return [norm for stage in stages for norm in norms(stage.encoder if phase.target == "labels" else stage)]


@torch.no_grad()
def recalibrate(objective: PhaseLoss, inputs: Inputs, targets: Targets | None, order: Order) -> int:
    """Set the running statistics of what a phase has trained to their mean over clean batches; returns how many these were.

    The batches are the first ones of the run's order, of the size that training has, each a part of the images that the phase
    read: which they are depends on nothing that happened in training. The whole code is decoded, as in use.
    """
    stack, phase = objective.stack, objective.phase
    count = batches(stack, phase, objective.config, order.updates_per_epoch)
    if count:
        with cumulative(learnt(stack.train(), phase)):
            for index in map(order.batch, range(count)):
                objective.of_examples(inputs(index), targets(index) if targets else None)
    return count
