"""Decoder layers that share the weight of an encoder layer: one tensor, with gradients from both uses."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from stacked.stages.convolutions import convolution, extra_rows


class TiedLinear(nn.Module):
    """x -> x W + b with the weight W [code, input] of an encoder layer (Vincent et al. 2010, section 2.2).

    It has a bias of its own if the encoder has one.
    """

    def __init__(self, encoder: nn.Linear) -> None:
        super().__init__()
        # in a tuple, so that the encoder's weight is registered only once in the state dict and in parameters()
        self._encoder = (encoder,)
        self.bias = own_bias(encoder, encoder.in_features)

    def forward(self, code: Tensor) -> Tensor:
        return F.linear(code, self._encoder[0].weight.t(), self.bias)


class TiedConvTranspose(nn.Module):
    """The transpose of an encoder's convolution, with the same weight [code, input, k, ...] and, if that has one, its own bias.

    As a convolution of the code (with zeros between its values, if the encoder has a stride), its filters are those of the
    encoder, flipped in all directions (Masci et al. 2011). Like the encoder, it keeps odd kernels centred.
    """

    def __init__(self, encoder: nn.Conv1d | nn.Conv2d | nn.Conv3d, output_padding: tuple[int, ...] = ()) -> None:
        super().__init__()
        self._encoder = (encoder,)  # in a tuple for the same reason
        self.stride, self.padding = encoder.stride, tuple(k // 2 for k in encoder.kernel_size)
        self.output_padding = output_padding or (0,) * len(encoder.kernel_size)
        self.bias = own_bias(encoder, encoder.in_channels)

    def forward(self, code: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Called like `nn.ConvTranspose2d`; `output_size` is given if it differs from the size that the module was built for."""
        weight, stride, padding = self._encoder[0].weight, self.stride, self.padding
        extra = self.output_padding
        if output_size:
            extra = extra_rows(code, weight, list(output_size), stride, padding)
        return convolution(code, weight, self.bias, stride, padding, extra)


def own_bias(encoder: nn.Module, values: int) -> nn.Parameter | None:
    """Return a new bias of zeros for the decoder of an encoder layer, or None if that has no bias."""
    return None if encoder.bias is None else nn.Parameter(encoder.weight.new_zeros(values))  # type: ignore[operator]
