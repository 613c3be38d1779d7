"""Recalibration: running statistics are re-estimated on clean inputs after a phase that corrupts its inputs.

During such a phase batch norms read corrupted values, whose mean and variance differ from those of the clean values in use.
"""

from __future__ import annotations

import torch

from stacked.data.order import Order
from stacked.model.batch_norm import BatchNorm, cumulative_statistics, norms
from stacked.model.stack import StackedAutoencoder
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.spec.objectives import decoded_stages
from stacked.training.codes import Inputs, Targets
from stacked.training.phase_loss import PhaseLoss

#: the most batches for the estimate: with usual batch sizes these are thousands of images
MOST = 100


def batches(stack: StackedAutoencoder, phase: Phase, config: Optimisation, updates_per_epoch: int) -> int:
    """Return the number of batches for the estimate after `phase`: its updates, at most 100 and at most one epoch.

    It is 0 if nothing was corrupted, no batch norm was trained, or the spec turns recalibration off.
    """
    if not (config.recalibrate and config.corrupts(phase) and trained_norms(stack, phase, config)):
        return 0
    return min(MOST, phase.updates, updates_per_epoch)


def trained_norms(stack: StackedAutoencoder, phase: Phase, config: Optimisation) -> list[BatchNorm]:
    """Return the batch norms that a phase trains: of stages by whose decoders it reconstructs nothing, those of the encoder."""
    decoded, stages = decoded_stages(phase, config), stack.stages
    trained = range(phase.trainable[0], phase.depth + 1)
    return [norm for k in trained for norm in norms(stages[k - 1] if k in decoded else stages[k - 1].encoder)]


@torch.no_grad()
def recalibrate(objective: PhaseLoss, inputs: Inputs, targets: Targets | None, order: Order) -> int:
    """Set the running statistics of the trained batch norms to their mean over clean batches; return the number of batches.

    They are the first batches in the run's order, of the training batch size, so that they do not depend on the course of
    training. The whole code is decoded, as in use.
    """
    stack, phase = objective.stack, objective.phase
    count = batches(stack, phase, objective.config, order.updates_per_epoch)
    if count:
        batch_norms = trained_norms(stack.train(), phase, objective.config)
        with cumulative_statistics(batch_norms):
            for index in map(order.batch, range(count)):
                objective.loss_per_example(inputs(index), targets(index) if targets else None)
    return count
