"""Corruptions: pure functions of (x, level, generator) that return a new tensor and leave x as it was.

To add one, write the function and name it in CORRUPTIONS. The target of a denoising stage stays clean (Vincent et al.
2010, section 4): whoever trains corrupts a copy of what the learning stage reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Corruption = Callable[[Tensor, float, torch.Generator], Tensor]


def random_bytes(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Independent uniform bytes, uint8 of `shape`: eight for each 64-bit draw, the cheapest randomness torch has on a CPU."""
    words = torch.empty((shape.numel() + 7) // 8, dtype=torch.int64, device=generator.device)
    return words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: shape.numel()].view(shape)


def chosen(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """A boolean tensor of x's shape, each element True with probability `level` exactly.

    A byte only resolves 1/256, so each example draws its threshold between the two neighbouring ones: unbiased for every
    element, and within one example the realised rate varies by at most 1/256 more than independent draws would.
    """
    low = math.floor(level * 256)
    rows = (x.shape[0],) + (1,) * (x.dim() - 1)
    up = torch.rand(rows, generator=generator, device=generator.device) < level * 256 - low
    threshold = up.to(torch.int16) + low
    if low >= 255:  # a threshold of 256 does not fit in a byte
        return random_bytes(x.shape, generator).to(torch.int16) < threshold
    return random_bytes(x.shape, generator) < threshold.to(torch.uint8)


def masking(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Set each element to 0 with probability `level` in [0, 1]; the rest is never rescaled (Vincent et al. 2010, section 3.3)."""
    return x * ~chosen(x, level, generator)  # a product is a third faster than masked_fill on a CPU


def salt_and_pepper(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Set each element, with probability `level` in [0, 1], to the smallest or the largest value of the batch by a fair coin.

    For pixels these are 0 and 1; codes of a rectifier have no largest value but the observed one (Vincent et al. 2010,
    section 3.3).
    """
    hit = chosen(x, level, generator)
    coin = random_bytes(x.shape, generator) < 128
    return torch.where(hit, torch.where(coin, x.amin(), x.amax()), x)


def gaussian(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Add independent normal noise of standard deviation `level` >= 0, in units of x (Vincent et al. 2010, section 3.3)."""
    noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
    return x + level * noise


#: name -> (function, largest level allowed)
CORRUPTIONS: dict[str, tuple[Corruption, float]] = {
    "masking": (masking, 1.0),
    "salt-and-pepper": (salt_and_pepper, 1.0),
    "gaussian": (gaussian, math.inf),
}
