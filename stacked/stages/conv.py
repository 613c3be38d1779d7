"""Convolutional stages that halve height and width by their stride."""

from __future__ import annotations

from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import Conv2d, ConvTranspose2d
from stacked.stages.maps import Halving, odd_padding, upsampled
from stacked.stages.norms import normalised
from stacked.stages.stage import Shape
from stacked.stages.tied import TiedConvTranspose2d


class Conv(Halving):
    """Conv2d(k x k, stride 2) - norm - activation, and the transposed convolution that undoes it.

    [B, C, H, W] -> [B, width, ceil(H/2), ceil(W/2)], for H, W >= 2. Odd sizes are restored exactly: the output padding of
    the decoder is the one that the size read needs. `kernel` is k, odd. With `tied` the decoder's filters are those of the
    encoder, flipped (Masci et al. 2011). The stage that reconstructs pixels does not normalise its output.
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
        kernel: int = 3,
        tied: bool = False,
    ) -> None:
        super().__init__(in_shape, width, activation, output, norm, kernel=kernel)
        channels, half, extra = in_shape[0], kernel // 2, odd_padding(in_shape)
        conv = Conv2d(channels, width, kernel, stride=2, padding=half)
        self.encoder = nn.Sequential(conv, *normalised(norm, self.code_shape), ACTIVATIONS[activation]())
        self.decoder = nn.Sequential(
            TiedConvTranspose2d(conv, extra)
            if tied
            else ConvTranspose2d(width, channels, kernel, stride=2, padding=half, output_padding=extra),
            *([] if pixels else normalised(norm, in_shape)),
            ACTIVATIONS[output](),
        )

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        return upsampled(self.decoder[:-1], code, size)
