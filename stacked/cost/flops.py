"""Floating-point operations, counted by torch's own counter on small batches."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.phase_loss import PhaseLoss


@own_settings()
def update_flops(stack: StackedAutoencoder, phase: Phase, how: Optimisation, classes: int = 0, images: int = 1) -> int:
    """FLOPs of the forward and backward pass of an update on so many images in `phase`, without the frozen prefix.

    Counted on two and on four images, since a penalty on the weights costs the same whatever the batch.
    """
    two, four = (_update_flops(stack, phase, how, classes, n) for n in (2, 4))  # batch norm refuses a batch of 1
    each = (four - two) // 2
    return two - 2 * each + images * each


def _update_flops(stack: StackedAutoencoder, phase: Phase, how: Optimisation, classes: int, images: int) -> int:
    clone = copy.deepcopy(stack).cpu().learn_only(*phase.learn).train()
    objective = PhaseLoss(clone, phase, how, classes=classes)
    # attention is counted as the products that it consists of, whatever kernel does them
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        objective(*examples(clone, phase, images), step=0).backward()
    return counter.get_total_flops()


@own_settings()
def recalibration_flops(stack: StackedAutoencoder, phase: Phase, how: Optimisation, classes: int, images: int) -> int:
    """FLOPs of taking running statistics anew on one batch of so many images, without the frozen prefix."""
    clone = copy.deepcopy(stack).cpu().learn_only(*phase.learn).eval()
    objective = PhaseLoss(clone, phase, how, classes=classes)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        objective.of_examples(*examples(clone, phase, 1))
    return images * counter.get_total_flops()


def examples(stack: StackedAutoencoder, phase: Phase, n: int) -> tuple[Tensor, Tensor | None]:
    """Inputs and targets of the shapes that `n` images have in `phase`: values in [0, 1), class 0."""
    read = torch.rand(n, *stack.shapes(stack.input_shape)[phase.reads])
    if phase.target == "labels":
        return read, torch.zeros(n, dtype=torch.int64)
    return read, torch.rand(n, *stack.input_shape) if phase.target == "pixels" else None
