"""Floating-point operations, counted by torch's own counter on the meta device: nothing is computed, no data are read."""

from __future__ import annotations

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from stacked.growth import Phase
from stacked.stack import StackedAutoencoder


def prefix_flops(stack: StackedAutoencoder, depth: int) -> int:
    """FLOPs of encoding one image to `depth`."""
    clone = copy.deepcopy(stack).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        clone.encode(torch.empty(1, *stack.input_shape, device="meta"), depth)
    return counter.get_total_flops()


def update_flops(stack: StackedAutoencoder, phase: Phase) -> int:
    """FLOPs of the forward and backward pass of one image in `phase`, without the frozen prefix."""
    clone = copy.deepcopy(stack).to("meta").learn_only(*phase.learn)
    x = torch.empty(2, *stack.shapes(stack.input_shape)[phase.reads], device="meta")  # batch norm refuses a batch of 1
    with FlopCounterMode(display=False) as counter:
        output = clone.reconstruct(x, phase.depth, start=phase.reads)
        (output - x).square().mean().backward()
    return counter.get_total_flops() // 2
