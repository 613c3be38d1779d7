"""Convolutional stages that halve height and width by max-pooling."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import Conv2d, ConvTranspose2d
from stacked.stages.maps import Halving
from stacked.stages.norms import normalised
from stacked.stages.stage import Shape, StageSettings
from stacked.stages.tied import TiedConvTranspose2d
from stacked.util.checks import choice
from stacked.util.errors import InputError

UNPOOL = ("nearest", "zeros", "switches")


def largest(maps: Tensor) -> Tensor:
    """Where in its window of 2 x 2 each value equals the maximum: all of them where several do."""
    code = F.max_pool2d(maps, 2, ceil_mode=True)
    return maps == _spread(code, tuple(maps.shape[2:]))


def first_largest(maps: Tensor) -> Tensor:
    """The one place in each window of 2 x 2 that max-pooling took its value from: the first in reading order."""
    _, places = F.max_pool2d(maps, 2, ceil_mode=True, return_indices=True)
    nowhere = torch.zeros_like(maps, dtype=torch.bool).flatten(2)
    return nowhere.scatter(2, places.flatten(2), True).view(maps.shape)


def _spread(code: Tensor, size: Shape) -> Tensor:
    """Each value repeated over its window of 2 x 2; odd sizes cut the last windows."""
    return F.interpolate(code, scale_factor=2.0, mode="nearest")[..., : size[0], : size[1]]


class Unpool(nn.Module):
    """Puts each value of a code back into its window of 2 x 2: everywhere, or only where a mask [B, C, H, W] says."""

    def __init__(self, size: Shape, unpool: str) -> None:
        super().__init__()
        self.size, self.unpool = size, unpool

    def forward(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        maps = _spread(code, size or self.size)
        if self.unpool == "nearest":
            return maps
        if switches is None:
            raise InputError(
                f"a code alone does not say where its maxima were, which unpool={self.unpool!r} needs: use `reconstruct`, "
                "or unpool='nearest'"
            )
        return maps * switches


class PooledConv(Halving):
    """Conv2d(k x k) - norm - activation - MaxPool2d(2), and back: unpooling, then a transposed convolution.

    [B, C, H, W] -> [B, width, ceil(H/2), ceil(W/2)], for H, W >= 2; odd sizes are restored exactly. `kernel` is k, odd. With
    `tied` the decoder's filters are those of the encoder, flipped (Masci et al. 2011). `unpool` says how the decoder
    undoes the pooling: "nearest" repeats each value over its window and needs nothing but the code; "zeros" puts it where
    the map had its maximum, at all places of a tie, as if all else in the map had been erased (Masci et al.
    2011); "switches" puts it back where it was taken from, at one place (Zeiler & Fergus 2014; Zhao et al. 2015).
    The last two need the mask that `encode_with_switches` gives beside the code, so they cannot decode a code alone.
    """

    kind = "conv-pool"

    def __init__(
        self, settings: StageSettings, *, kernel: int = 3, tied: bool = False, unpool: str = "nearest"
    ) -> None:
        super().__init__(settings, kernel=kernel, unpool=unpool)
        self.unpool = unpool
        channels, half = settings.in_shape[0], kernel // 2
        conv = Conv2d(channels, settings.width, kernel, padding=half)
        self.encoder = nn.Sequential(
            conv,
            *normalised(settings.norm, (settings.width, *settings.in_shape[1:])),
            ACTIVATIONS[settings.activation](),
            nn.MaxPool2d(2, ceil_mode=True),
        )
        self.decoder = nn.Sequential(
            Unpool(tuple(settings.in_shape[1:]), unpool),
            TiedConvTranspose2d(conv) if tied else ConvTranspose2d(settings.width, channels, kernel, padding=half),
            *([] if settings.pixels else normalised(settings.norm, settings.in_shape)),
            ACTIVATIONS[settings.output](),
        )

    @classmethod
    def check(cls, width: int, *, unpool: str = "nearest", **options: Any) -> None:
        super().check(width, **options)
        choice(unpool, UNPOOL, f"unpool of a {cls.kind} stage")

    def encode_with_switches(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.unpool == "nearest":
            return self.encode(x), None
        maps = self.encoder[:-1](x)
        # No gradient through the places: they are constant almost everywhere.
        switches = largest(maps.detach()) if self.unpool == "zeros" else first_largest(maps.detach())
        return self.encoder[-1](maps), switches

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        return self.decoder[1:-1](cast(Unpool, self.decoder[0])(code, size, switches))
