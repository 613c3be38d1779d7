"""Regressors: an encoder with a head on its code, which predicts numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from stacked.model.head import EncoderWithHead
from stacked.model.stack import StackedAutoencoder
from stacked.util.checks import need


class Regressor(EncoderWithHead):
    """A stack's encoder with a head on the flattened bottleneck: inputs [N, ...] to standardised predictions [N, K].

    mean, scale: those of the K targets, float64 [K] on the CPU, from `mean_and_scale`. The other arguments are those of
    `EncoderWithHead`.
    """

    def __init__(
        self, stack: StackedAutoencoder, mean: Tensor, scale: Tensor, head: str = "linear", width: int = 0
    ) -> None:
        super().__init__(stack, len(mean), head, width)
        self.mean, self.scale = mean, scale

    def standardised(self, targets: Tensor) -> Tensor:
        """Return targets [N, K] in the units of the head's outputs, as float64 on the CPU."""
        return (targets.cpu().double() - self.mean) / self.scale

    def in_units(self, outputs: Tensor) -> Tensor:
        """Return the head's outputs [N, K] in the units of the targets, as float64 on the CPU."""
        return self.mean + self.scale * outputs.cpu().double()


def mean_and_scale(targets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of targets [N, K], with weights [N], as float64 [K].

    The scale of a constant target is 1. Raises InputError for targets that are too large, or too close together, to be
    standardised.
    """
    targets = targets.cpu().double()
    share = torch.ones(len(targets)).double() if weights is None else weights.cpu().double()
    share = (share / share.sum())[:, None]
    mean = (share * targets).sum(0)
    variance = (share * (targets - mean).square()).sum(0)
    largest = targets.abs().max().item()
    need(bool(variance.isfinite().all()), f"targets up to {largest:g} are too large: divide them by a number")
    spread = targets.amax(0) - targets.amin(0)
    varying = spread > 0  # else the variance is a rounding error
    underflow = varying & (variance < torch.finfo(variance.dtype).tiny)  # where squares lose digits, down to 0
    apart = spread[underflow]
    need(
        len(apart) == 0,
        f"targets that differ by {apart[:1].sum():g} at most are too close together: multiply them by a number",
    )
    return mean, torch.where(varying, variance.sqrt(), 1.0)
