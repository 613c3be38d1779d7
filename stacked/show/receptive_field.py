"""The part of an image that a value of a code depends on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stacked.model.stack import StackedAutoencoder
from stacked.runtime.settings import own_settings
from stacked.stages.stage import Shape


@own_settings()
@torch.no_grad()
def receptive_fields(stack: StackedAutoencoder) -> list[tuple[int, int] | None]:
    """Return, for each depth from 1 on, height and width of the pixels that the code's central value depends on.

    They are at most those of the image; beyond it is padding. None for a stack that reads vectors, signals or volumes. What a
    value depends on is found by setting columns and rows of an image to NaN, which every operation passes on, and so it holds for
    stages of any kind.
    """
    if len(stack.input_shape) != 3:
        return [None] * stack.depth
    # fast kernels of float32 (Winograd, FFT) mix neighbours in ways that cancel, which NaN does not
    probed = copy.deepcopy(stack).cpu().double().eval()
    fields: list[tuple[int, int] | None] = []
    for depth in range(1, stack.depth + 1):
        reached = partial(depends, probed, depth)
        fields.append((extent(reached, stack.input_shape, 1), extent(reached, stack.input_shape, 2)))
    return fields


def depends(stack: StackedAutoencoder, depth: int, image: Tensor) -> bool:
    """Return whether NaN in an image [C, H, W] reaches the central value of the code at `depth`."""
    code = stack.encode(image[None], depth)[0]
    centre = code if code.dim() == 1 else code[:, code.shape[1] // 2, code.shape[2] // 2]
    return bool(centre.isnan().any())


def extent(reached: Callable[[Tensor], bool], shape: Shape, axis: int) -> int:
    """Return how many rows (axis 1) or columns (axis 2) of an image of `shape` matter, which lie next to each other."""
    side = shape[axis]

    def matters(low: int, high: int) -> bool:
        image = torch.full(shape, 0.5, dtype=torch.float64)
        image.narrow(axis, low, high - low).fill_(torch.nan)
        return reached(image)

    first = least(lambda count: matters(0, count), side) - 1
    last = side - least(lambda count: matters(side - count, side), side)
    return max(0, last - first + 1)


def least(holds: Callable[[int], bool], most: int) -> int:
    """Return the least number from 1 to `most` for which a condition holds that then holds for all greater ones."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
