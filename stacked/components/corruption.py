"""Corruptions: pure functions of (x, level, generator) that return a corrupted copy, and which elements of it were hit.

To add one, write the function and name it in CORRUPTIONS. The target of a denoising stage stays clean (Vincent et al.
2010, section 3): whoever trains corrupts a copy of what the learning stage reads. Corruptions are composed by joining
their names with "+", as in "masking+gaussian".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import NamedTuple

import torch
from torch import Tensor

from stacked.util.checks import need


class Corrupted(NamedTuple):
    """A corrupted copy `x`, and which of its elements were `hit`: booleans that broadcast to x's shape; None: all of them.

    Hit is what was drawn, not what changed: a zero that was masked is hit.
    """

    x: Tensor
    hit: Tensor | None


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    of: the function of (x, level, generator), and of the side of a block where `maps`.
    most: the largest level allowed.
    maps: reads maps [B, C, H, W] only.
    chooses: hits some elements and not others, and says which.
    """

    of: Callable[..., Corrupted]
    most: float
    maps: bool = False
    chooses: bool = True


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
    up = torch.rand(rows, generator=generator, device=generator.device, dtype=torch.float32) < level * 256 - low
    threshold = up.to(torch.int16) + low
    drawn = random_bytes(x.shape, generator)
    if low >= 255:  # a threshold of 256 does not fit in a byte
        return laid_out_as(x, drawn.to(torch.int16) < threshold)
    return laid_out_as(x, drawn < threshold.to(torch.uint8))


def laid_out_as(x: Tensor, values: Tensor) -> Tensor:
    """The values in the memory layout of x: what is drawn must not depend on it, and operations on mixed layouts are slow."""
    return values if values.stride() == x.stride() else torch.empty_like(x, dtype=values.dtype).copy_(values)


def masking(x: Tensor, level: float, generator: torch.Generator) -> Corrupted:
    """Set each element to 0 with probability `level` in [0, 1]; the rest is never rescaled (Vincent et al. 2010, section 3.3)."""
    hit = chosen(x, level, generator)
    # a product is faster than masked_fill on a CPU, and bytes become floats three times as fast as booleans do
    return Corrupted(x * hit.logical_not().view(torch.uint8).to(x.dtype), hit)


def block_masking(x: Tensor, level: float, generator: torch.Generator, patch: int) -> Corrupted:
    """Set whole blocks of `patch` x `patch` places of maps [B, C, H, W] to 0, all channels alike, each with probability `level`.

    The grid begins at the top left; a last block that does not fit is cut. This is the masking of He et al. 2022 (masked
    autoencoders), who drop a fixed share of the blocks: here each falls independently of the others, so that the expected
    rate is `level` exactly for any number of blocks. Nothing is rescaled. The blocks hit are [B, 1, H, W].
    """
    need(x.dim() == 4, f"block masking reads maps [B, C, H, W], not values of shape {tuple(x.shape)}: use 'masking'")
    batch, _, height, width = x.shape
    grid = (batch, 1, -(-height // patch), -(-width // patch))
    # one float each, not a byte: blocks are few, and so they are independent, and exact to the 2^-24 of a float's draw
    block = torch.rand(grid, generator=generator, device=generator.device, dtype=torch.float32) < level
    down, across = min(patch, height), min(patch, width)  # a block larger than the map is all of it
    hit = block.repeat_interleave(down, 2).repeat_interleave(across, 3)[..., :height, :width]
    return Corrupted(x * ~hit, hit)


def salt_and_pepper(x: Tensor, level: float, generator: torch.Generator) -> Corrupted:
    """Set each element, with probability `level` in [0, 1], to the smallest or the largest value of the batch by a fair coin.

    For pixels these are 0 and 1; codes of a rectifier have no largest value but the observed one (Vincent et al. 2010,
    section 3.3).
    """
    hit = chosen(x, level, generator)
    coin = laid_out_as(x, random_bytes(x.shape, generator) < 128)
    return Corrupted(torch.where(hit, torch.where(coin, x.amin(), x.amax()), x), hit)


def gaussian(x: Tensor, level: float, generator: torch.Generator) -> Corrupted:
    """Add independent normal noise of standard deviation `level` >= 0, in units of x (Vincent et al. 2010, section 3.3)."""
    noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
    return Corrupted(x + level * laid_out_as(x, noise), None)


CORRUPTIONS: dict[str, Corruption] = {
    "masking": Corruption(masking, 1.0),
    "block-masking": Corruption(block_masking, 1.0, maps=True),
    "salt-and-pepper": Corruption(salt_and_pepper, 1.0),
    "gaussian": Corruption(gaussian, math.inf, chooses=False),
}


def parts(name: str) -> list[str]:
    """The names in CORRUPTIONS that a composed name joins with "+", in the order they act; InputError for an unknown one."""
    names = name.split("+")
    for part in names:
        known = ", ".join(CORRUPTIONS)
        need(part in CORRUPTIONS, f"corruption {part!r} is not known: choose from {known} (join several with +)")
    return names


def corrupt(name: str, x: Tensor, levels: tuple[float, ...], generator: torch.Generator, patch: int) -> Corrupted:
    """x after the corruptions that `name` joins with "+", from left to right, each with its level.

    All draw from the one generator, one after the other; a part of level 0 is skipped and draws nothing, and where that
    leaves none, x itself comes back. An element is hit that any part hit. `patch` is the side of a block, in places.
    """
    names = parts(name)
    need(
        len(names) == len(levels),
        f"corruption {name!r} needs {len(names)} levels, one for each part, not {len(levels)}",
    )
    hits: list[Tensor | None] = []
    for part, level in zip(names, levels, strict=True):
        if level:
            kind = CORRUPTIONS[part]
            x, hit = kind.of(x, level, generator, *((patch,) if kind.maps else ()))
            hits.append(hit)
    if not hits:
        return Corrupted(x, x.new_zeros((1,) * x.dim(), dtype=torch.bool))
    drawn = [hit for hit in hits if hit is not None]
    return Corrupted(x, reduce(or_, drawn) if len(drawn) == len(hits) else None)
