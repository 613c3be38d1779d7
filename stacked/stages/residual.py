"""Residual stages."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import Conv2d, ConvTranspose2d
from stacked.stages.maps import Halving, odd_padding, upsampled
from stacked.stages.norms import normalised
from stacked.stages.stage import MOST_BLOCKS, Shape, StageSettings
from stacked.util.checks import whole


class ResidualBlock(nn.Module):
    """x + F(x) with F = conv - norm - ReLU - conv - norm, 3 x 3 at one resolution (He et al. 2016, figure 2).

    `shape` is that of the maps, (C, H, W). The ReLU after the sum is left to the caller, because the last one in an encoder
    is the activation of the code.
    """

    def __init__(self, shape: Shape, norm: str) -> None:
        super().__init__()
        width = shape[0]
        self.body = nn.Sequential(
            Conv2d(width, width, 3, padding=1),
            *normalised(norm, shape),
            nn.ReLU(),
            Conv2d(width, width, 3, padding=1),
            *normalised(norm, shape),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Residual(Halving):
    """Conv2d(3 x 3, stride 2) - norm - ReLU - residual blocks - activation, and the mirrored layers back.

    [B, C, H, W] -> [B, width, ceil(H/2), ceil(W/2)], for H, W >= 2; odd sizes are restored exactly. Encoder and decoder have
    `blocks` residual blocks each, at the resolution of the code, with a ReLU between two blocks. The stage that reconstructs
    pixels does not normalise its output.
    """

    kind = "residual"

    def __init__(self, settings: StageSettings, *, blocks: int = 1) -> None:
        super().__init__(settings, blocks=blocks)
        channels, odd = settings.in_shape[0], odd_padding(settings.in_shape)
        self.encoder = nn.Sequential(
            Conv2d(channels, settings.width, 3, stride=2, padding=1),
            *normalised(settings.norm, self.code_shape),
            nn.ReLU(),
            *(
                module
                for _ in range(blocks - 1)
                for module in (ResidualBlock(self.code_shape, settings.norm), nn.ReLU())
            ),
            ResidualBlock(self.code_shape, settings.norm),
            ACTIVATIONS[settings.activation](),
        )
        self.decoder = nn.Sequential(
            *(module for _ in range(blocks) for module in (ResidualBlock(self.code_shape, settings.norm), nn.ReLU())),
            ConvTranspose2d(settings.width, channels, 3, stride=2, padding=1, output_padding=(odd[0], odd[1])),
            *([] if settings.pixels else normalised(settings.norm, settings.in_shape)),
            ACTIVATIONS[settings.output](),
        )

    @classmethod
    def check(cls, width: int, *, blocks: int = 1, **options: Any) -> None:
        super().check(width, **options)
        whole(blocks, f"blocks of a {cls.kind} stage", most=MOST_BLOCKS)

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        return upsampled(self.decoder[:-1], code, size)
