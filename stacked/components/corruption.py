"""Corruptions: pure functions of (x, level, generator) that return a corrupted copy and a mask of the corrupted elements.

To add one, write the function and name it in CORRUPTIONS. The target of a denoising stage stays clean (Vincent et al.
2010, section 3): the caller corrupts a copy of what the trained stage reads. Corruptions are composed by joining their
names with "+", as in "masking+gaussian".
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

from stacked.stages.stage import Hidden
from stacked.util.checks import choice, need


class Corrupted(NamedTuple):
    """A corrupted copy `x`, and the boolean mask `hit` of its corrupted elements, which broadcasts to x (None: all of them).

    The mask is what was drawn, not what changed: a zero that was masked counts as hit. hidden: the blocks that were hidden, if
    their number is the same in every example (else None).
    """

    x: Tensor
    hit: Tensor | None
    hidden: Hidden | None = None


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    of: the function of (x, level, generator), and of the side of a block if `maps`.
    most: the largest level allowed.
    maps: whether it accepts maps [B, C, ...] only, of 1 to 3 spatial dimensions.
    chooses: whether it corrupts only some elements and returns a mask of them.
    hides: whether it hides the same number of blocks in every example and returns them.
    """

    of: Callable[..., Corrupted]
    most: float
    maps: bool = False
    chooses: bool = True
    hides: bool = False


def random_bytes(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return independent uniform bytes (uint8) of `shape`; one 64-bit draw gives eight, the cheapest way in torch on a CPU."""
    words = torch.empty((shape.numel() + 7) // 8, dtype=torch.int64, device=generator.device)
    return words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: shape.numel()].view(shape)


def chosen(x: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Return a boolean tensor of x's shape whose elements are True with probability `level`.

    A byte resolves only 1/256, so each example draws its threshold from the two neighbouring bytes. This makes the probability
    of every element exact; within one example the realised rate varies by at most 1/256 more than with independent draws.
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
    """Return the values in the memory layout of x: draws must not depend on it, and operations on mixed layouts are slow."""
    return values if values.stride() == x.stride() else torch.empty_like(x, dtype=values.dtype).copy_(values)


def masking(x: Tensor, level: float, generator: torch.Generator) -> Corrupted:
    """Set each element to 0 with probability `level` in [0, 1], without rescaling the rest (Vincent et al. 2010, section 3.3)."""
    hit = chosen(x, level, generator)
    # a product is faster than masked_fill on a CPU, and converting bytes to floats is three times as fast as booleans
    return Corrupted(x * hit.logical_not().view(torch.uint8).to(x.dtype), hit)


def block_masking(x: Tensor, level: float, generator: torch.Generator, patch: int) -> Corrupted:
    """Set blocks of `patch` x `patch` positions of maps [B, C, H, W] to 0 in all channels, each with probability `level`.

    Blocks of signals [B, C, L] have `patch` positions, those of volumes its third power. The grid begins at the top left; the
    last blocks are cut where they do not fit. He et al. 2022 (masked autoencoders) drop a fixed share of the blocks; here each is
    drawn independently, so that the expected rate is exactly `level` for any number of blocks (`patch_masking` drops a fixed
    share). Nothing is rescaled. The mask is [B, 1, H, W].
    """
    # one float per block instead of a byte: blocks are few, and the probability is exact to 2^-24
    hit = spread(draws_of_blocks(x, generator, patch) < level, x, patch)
    return Corrupted(x * ~hit, hit)


def patch_masking(x: Tensor, level: float, generator: torch.Generator, patch: int) -> Corrupted:
    """Set blocks of `patch` x `patch` positions of maps [B, C, H, W] to 0 in all channels, a share `level` of those of each map.

    The number of blocks that are hidden is `level` times that of all, rounded, but at least one stays visible; all choices of so
    many blocks are equally likely (He et al. 2022, masked autoencoders, section 3). The grid is that of `block_masking`, also on
    signals and volumes. Nothing is rescaled. The mask is [B, 1, H, W].
    """
    draws = draws_of_blocks(x, generator, patch)
    count = draws[0].numel()
    hidden = min(round(level * count), count - 1)
    # the rank of each block by its draw: exactly so many have a rank below `hidden`, also where two draws are equal
    ranks = draws.flatten(1).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    blocks = (ranks < hidden).view(draws.shape)
    hit = spread(blocks, x, patch)
    return Corrupted(x * ~hit, hit, Hidden(blocks[:, 0], count - hidden))


def draws_of_blocks(x: Tensor, generator: torch.Generator, patch: int) -> Tensor:
    """Return a uniform draw from [0, 1) for each block of maps x [B, C, ...], as [B, 1, ...]."""
    need(x.dim() > 2, f"block masking needs maps [B, C, ...], not values of shape {tuple(x.shape)}: use 'masking'")
    batch, _, *sides = x.shape
    grid = (batch, 1, *(-(-side // patch) for side in sides))
    return torch.rand(grid, generator=generator, device=generator.device, dtype=torch.float32)


def spread(blocks: Tensor, x: Tensor, patch: int) -> Tensor:
    """Return values of blocks [B, 1, ...] at the positions of the maps x [B, C, ...]."""
    for axis, side in enumerate(x.shape[2:], start=2):
        # a block cannot be larger than the map
        blocks = blocks.repeat_interleave(min(patch, side), axis).narrow(axis, 0, side)
    return blocks


def salt_and_pepper(x: Tensor, level: float, generator: torch.Generator) -> Corrupted:
    """Set each element, with probability `level` in [0, 1], to the smallest or largest value of the batch, each equally likely.

    For pixels these are 0 and 1; codes of a rectifier have no upper bound, so the observed maximum is used (Vincent et al.
    2010, section 3.3).
    """
    hit = chosen(x, level, generator)
    coin = laid_out_as(x, random_bytes(x.shape, generator) < 128)
    return Corrupted(torch.where(hit, torch.where(coin, x.amin(), x.amax()), x), hit)


def gaussian(x: Tensor, level: float, generator: torch.Generator) -> Corrupted:
    """Add independent normal noise with standard deviation `level` >= 0, in units of x (Vincent et al. 2010, section 3.3)."""
    noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
    return Corrupted(x + level * laid_out_as(x, noise), None)


CORRUPTIONS: dict[str, Corruption] = {
    "masking": Corruption(masking, 1.0),
    "block-masking": Corruption(block_masking, 1.0, maps=True),
    "patch-masking": Corruption(patch_masking, 1.0, maps=True, hides=True),
    "salt-and-pepper": Corruption(salt_and_pepper, 1.0),
    "gaussian": Corruption(gaussian, math.inf, chooses=False),
}


def parts(name: str) -> list[str]:
    """Return the names that a composed name joins with "+", in the order they act; InputError for an unknown one."""
    names = name.split("+")
    for part in names:
        choice(part, CORRUPTIONS, "corruption")
    return names


def corrupt(name: str, x: Tensor, levels: tuple[float, ...], generator: torch.Generator, patch: int) -> Corrupted:
    """Return x after the corruptions that `name` joins with "+", from left to right, each with its level.

    They draw one after the other from the one generator. A part of level 0 is skipped and draws nothing; if all are skipped, x
    itself is returned. An element is hit if any part hits it; the hidden blocks are those of the one part that hides the same
    number in every example. `patch` is the side of a block, in positions.
    """
    names = parts(name)
    need(
        len(names) == len(levels),
        f"corruption {name!r} needs {len(names)} levels, one for each part, not {len(levels)}",
    )
    hits, hiding = list[Tensor | None](), list[Hidden]()
    for part, level in zip(names, levels, strict=True):
        if level:
            kind = CORRUPTIONS[part]
            x, hit, hidden = kind.of(x, level, generator, *((patch,) if kind.maps else ()))
            hits.append(hit)
            hiding += [hidden] if hidden else []
    if not hits:
        return Corrupted(x, x.new_zeros((1,) * x.dim(), dtype=torch.bool))
    drawn = [hit for hit in hits if hit is not None]
    hit = reduce(or_, drawn) if len(drawn) == len(hits) else None
    return Corrupted(x, hit, hiding[0] if len(hiding) == 1 else None)
