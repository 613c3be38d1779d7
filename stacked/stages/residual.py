"""Residual stages."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import Conv2d, ConvTranspose2d
from stacked.stages.maps import Halving, check_stride, odd_padding, upsampled
from stacked.stages.norms import normalised
from stacked.stages.stage import MOST_BLOCKS, Shape, StageSettings
from stacked.util.checks import need, whole


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

    With `stride` 1 encoder and decoder are residual blocks alone, as those of He et al. 2016 that keep the size: [B, width, H, W]
    -> [B, width, H, W]. The activation of the code is then also that between two blocks.
    """

    kind = "residual"

    def __init__(self, settings: StageSettings, *, blocks: int = 1, stride: int = 2) -> None:
        super().__init__(settings, blocks=blocks, stride=stride)
        channels, odd = settings.in_shape[0], odd_padding(settings.in_shape)
        self.check_channels(channels, settings.width, stride=stride)
        self.halves = stride == 2
        if not self.halves:
            self.encoder, self.decoder = (
                nn.Sequential(
                    *(
                        module
                        for _ in range(blocks - 1)
                        for module in (
                            ResidualBlock(self.code_shape, settings.norm),
                            ACTIVATIONS[settings.activation](),
                        )
                    ),
                    ResidualBlock(self.code_shape, settings.norm),
                    ACTIVATIONS[last](),
                )
                for last in (settings.activation, settings.output)
            )
            return
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
    def check(cls, width: int, *, blocks: int = 1, stride: int = 2, **options: Any) -> None:
        super().check(width, **options)
        whole(blocks, f"blocks of a {cls.kind} stage", most=MOST_BLOCKS)
        check_stride(stride, cls.kind)

    @classmethod
    def check_channels(cls, channels: int, width: int, *, stride: int = 2, **options: Any) -> None:
        need(
            stride == 2 or channels == width,
            f"a {cls.kind} stage of width {width} with stride 1 cannot add the {channels:,} channels that it reads to its code: "
            f"give it width {channels}, or stride 2",
        )

    @classmethod
    def halves_with(cls, **options: Any) -> bool:
        return options.get("stride", 2) == 2

    @classmethod
    def adds_input(cls, *, stride: int = 2, **options: Any) -> bool:
        return stride == 1

    def branch_ends(self) -> list[nn.Module]:
        return [block.body[-1] for block in self.modules() if isinstance(block, ResidualBlock)]

    def output_shape(self, in_shape: Shape) -> Shape:
        return super().output_shape(in_shape) if self.halves else (self.width, *in_shape[1:])

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        return upsampled(self.decoder[:-1], code, size)
