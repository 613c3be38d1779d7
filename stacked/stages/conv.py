"""Convolutional stages that halve height and width."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from stacked.errors import InputError
from stacked.stages.activations import ACTIVATIONS
from stacked.stages.stage import Shape, Stage

NORMS = ("batch", "none")


class Conv(Stage):
    """Conv2d(3x3, stride 2, padding 1) - BatchNorm - activation, and the transposed convolution that undoes it.

    [B, C, H, W] -> [B, width, ceil(H/2), ceil(W/2)], for H, W >= 2. Odd sizes are restored exactly: the output padding of
    the decoder is the one that the size read needs. The stage that reconstructs pixels does not normalise its output.
    """

    kind = "conv"

    def __init__(
        self,
        in_shape: Shape,
        width: int,
        *,
        activation: str = "relu",
        output: str = "relu",
        pixels: bool = False,
        norm: str = "batch",
    ) -> None:
        super().__init__(in_shape, width, activation, output)
        if len(in_shape) != 3 or min(in_shape[1:]) < 2:
            raise InputError(
                f"a conv stage cannot read {tuple(in_shape)}: it needs channels x height x width of at least 2 x 2 "
                "pixels; use fewer stages or larger images"
            )
        if norm not in NORMS:
            raise InputError(f"norm {norm!r} is not known: choose from {', '.join(NORMS)}")
        channels, *size = in_shape
        padding = (1 - size[0] % 2, 1 - size[1] % 2)
        normalise = norm == "batch"
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            *([nn.BatchNorm2d(width)] if normalise else []),
            ACTIVATIONS[activation](),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(width, channels, 3, stride=2, padding=1, output_padding=padding),
            *([nn.BatchNorm2d(channels)] if normalise and not pixels else []),
            ACTIVATIONS[output](),
        )

    def output_shape(self, in_shape: Shape) -> Shape:
        return (self.width, (in_shape[1] + 1) // 2, (in_shape[2] + 1) // 2)

    def decode(self, code: Tensor, size: Shape | None = None) -> Tensor:
        upsample = cast(nn.ConvTranspose2d, self.decoder[0])
        return self.decoder[1:](upsample(code, output_size=list(size) if size else None))
