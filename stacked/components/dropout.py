"""Dropout of a code during training (Srivastava et al. 2014)."""

from __future__ import annotations

import torch
from torch import Tensor

from stacked.components.corruption import masking


def dropout(code: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Set each value to 0 with probability `rate` in [0, 1) and divide the rest by 1 - rate, which keeps the expectation.

    The scaling is that of `nn.Dropout` (section 10, "inverted dropout"). At rate 0 the code itself is returned, without a draw.
    """
    return masking(code, rate, generator).x / (1 - rate) if rate else code
