"""Normalisations of a stage's features."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

#: Groups of a group norm, or fewer where the channels do not divide by it.
GROUPS = 8


def _group(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(channels, GROUPS), channels)


def _layer(channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels)  # over all values of an example, maps and vectors alike


#: name -> modules for `channels` features of (maps, vectors); "layer" is Ba et al. 2016, "group" Wu & He 2018
NORMS: dict[str, tuple[Callable[[int], nn.Module] | None, Callable[[int], nn.Module] | None]] = {
    "batch": (nn.BatchNorm2d, nn.BatchNorm1d),
    "group": (_group, _group),
    "layer": (_layer, nn.LayerNorm),
    "none": (None, None),
}


def normalised(norm: str, channels: int, *, maps: bool) -> list[nn.Module]:
    """The module that normalises `channels` features, of maps [B, C, H, W] or of vectors [B, C], in a list: empty for "none"."""
    make = NORMS[norm][0 if maps else 1]
    return [make(channels)] if make else []
