"""Convolutional stages that halve height and width by max pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import CONVOLUTIONS
from stacked.stages.maps import Halving
from stacked.stages.norms import normalised
from stacked.stages.stage import Shape, StageSettings
from stacked.stages.tied import TiedConvTranspose
from stacked.util.checks import choice
from stacked.util.errors import InputError

UNPOOL = ("nearest", "zeros", "switches")
#: torch's pooling by the number of spatial dimensions: modules, and functions
POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
POOLED: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def largest(maps: Tensor) -> Tensor:
    """Return a mask of the values that equal the maximum of their 2 x 2 window: all of them in a tie."""
    code = POOLED[maps.dim() - 2](maps, 2, ceil_mode=True)
    return maps == _spread(code, tuple(maps.shape[2:]))


def first_largest(maps: Tensor) -> Tensor:
    """Return a mask of the one value in each 2 x 2 window that max pooling returns: the first maximum in reading order."""
    _, places = POOLED[maps.dim() - 2](maps, 2, ceil_mode=True, return_indices=True)
    nowhere = torch.zeros_like(maps, dtype=torch.bool).flatten(2)
    return nowhere.scatter(2, places.flatten(2), True).view(maps.shape)


def _spread(code: Tensor, size: Shape) -> Tensor:
    """Repeat each value over its 2 x 2 window; for odd sizes the last windows are cut."""
    cut: Any = (..., *map(slice, size))
    return F.interpolate(code, scale_factor=2.0, mode="nearest")[cut]


class Unpool(nn.Module):
    """Unpooling: repeats each value of a code over its 2 x 2 window, or only where a mask of the maps is True."""

    def __init__(self, size: Shape, unpool: str) -> None:
        super().__init__()
        self.size, self.unpool = size, unpool

    def forward(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        maps = _spread(code, size or self.size)
        if self.unpool == "nearest":
            return maps
        if switches is None:
            raise InputError(
                f"unpool={self.unpool!r} needs the positions of the maxima, which a code alone does not hold: use `reconstruct`, "
                "or unpool='nearest'"
            )
        return maps * switches


class PooledConv(Halving):
    """Conv2d(k x k) - norm - activation - MaxPool2d(2), and back: unpooling, then a transposed convolution.

    [B, C, H, W] -> [B, width, ceil(H/2), ceil(W/2)], for H, W >= 2; odd sizes are restored exactly. Signals [B, C, L] and volumes
    [B, C, D, H, W] are read by the layers of 1 and 3 dimensions. `kernel` is k, odd. With `tied` the decoder's filters are those
    of the encoder, flipped (Masci et al. 2011). Without `bias` neither convolution has one. `unpool` is how the decoder inverts
    pooling: "nearest" repeats each value over its window; "zeros" puts it at all positions that equal the maximum, and 0
    elsewhere (Masci et al. 2011); "switches" puts it at the one position that it came from (Zeiler & Fergus 2014; Zhao et al.
    2015). The last two need the mask that `encode_with_switches` returns with the code, so they cannot decode a code alone.
    """

    kind = "conv-pool"
    ranks = (1, 2, 3)

    def __init__(
        self,
        settings: StageSettings,
        *,
        kernel: int = 3,
        tied: bool = False,
        unpool: str = "nearest",
        bias: bool = True,
    ) -> None:
        super().__init__(settings, kernel=kernel, unpool=unpool)
        self.unpool = unpool
        channels, half = settings.in_shape[0], kernel // 2
        rank = len(settings.in_shape) - 1
        make, back = CONVOLUTIONS[rank]
        conv = make(channels, settings.width, kernel, padding=half, bias=bias)
        self.encoder = nn.Sequential(
            conv,
            *normalised(settings.norm, (settings.width, *settings.in_shape[1:])),
            ACTIVATIONS[settings.activation](),
            POOLS[rank](2, ceil_mode=True),
        )
        self.decoder = nn.Sequential(
            Unpool(tuple(settings.in_shape[1:]), unpool),
            TiedConvTranspose(conv) if tied else back(settings.width, channels, kernel, padding=half, bias=bias),
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
        # no gradient through the positions, which are piecewise constant
        switches = largest(maps.detach()) if self.unpool == "zeros" else first_largest(maps.detach())
        return self.encoder[-1](maps), switches

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        return self.decoder[1:-1](cast(Unpool, self.decoder[0])(code, size, switches))
