"""What phases cost, counted on real tensors: what is counted by fake execution must equal it."""

from __future__ import annotations

import copy

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stacked.cost.fake_execution import FakeUpdate, examples
from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.spec import Optimisation
from stacked.spec.growth import Phase
from stacked.training.phase_loss import PhaseLoss


@own_settings()
def prefix_flops(stack: StackedAutoencoder, depth: int) -> int:
    """FLOPs of encoding one image to `depth`."""
    clone = copy.deepcopy(stack).cpu().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        clone.encode(torch.rand(1, *stack.input_shape), depth)
    return counter.get_total_flops()


@own_settings()
def update_flops(stack: StackedAutoencoder, phase: Phase, how: Optimisation, classes: int = 0, images: int = 1) -> int:
    """FLOPs of the forward and backward pass of an update on so many images in `phase`, without the frozen prefix.

    For one image counted on two and on four, since batch norm refuses a batch of 1, and a penalty on the weights costs the same
    whatever the batch.
    """
    if images > 1:
        return _update_flops(stack, phase, how, classes, images)
    two, four = (_update_flops(stack, phase, how, classes, n) for n in (2, 4))
    return two - (four - two) // 2


def _update_flops(stack: StackedAutoencoder, phase: Phase, how: Optimisation, classes: int, images: int) -> int:
    clone = copy.deepcopy(stack).cpu().learn_only(*phase.trainable).train()
    objective = PhaseLoss(clone, phase, how, classes=classes)
    # attention is counted as the products that it consists of, whatever kernel does them
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        objective(*examples(clone, phase, how, images), step=0).backward()
    return counter.get_total_flops()


@own_settings()
def training_bytes(
    stack: StackedAutoencoder, phase: Phase, how: Optimisation, batch_size: int, classes: int = 0
) -> int:
    """The most bytes alive in an update of `phase`."""
    return FakeUpdate(copy.deepcopy(stack).cpu(), phase, how, batch_size, classes).work().peak_bytes
