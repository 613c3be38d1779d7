"""Regressors: an encoder with a head on its code, which predicts numbers; and their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stacked.data.pixels import Pixels
from stacked.model.head import EncoderWithHead
from stacked.model.stack import StackedAutoencoder
from stacked.model.supervised_file import reading_supervised, write_supervised
from stacked.runtime.settings import own_settings
from stacked.spec import StackSpec
from stacked.util.checks import need
from stacked.util.errors import Diverged

FORMAT = "stacked regressor 1"
#: names of the tensors of a file that hold mean and scale of the targets
MEAN, SCALE = "targets.mean", "targets.scale"
#: the most targets of a regressor in a file
MOST_TARGETS = 2**20


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

    @own_settings()
    def predict(self, values: Pixels) -> Tensor:
        """Return the predictions [N, K], float64 in the units of the targets, for data [N, ...], read as by `Encoder.encode`.

        Raises InputError for other data, and Diverged if the predictions are not finite.
        """
        found = self.in_units(self.encoder.through(self, values, self.cannot).reshape(-1, len(self.mean)))
        if not found.isfinite().all():
            raise Diverged("the regressor's predictions are not finite")
        return found


@own_settings()
def save_regressor(
    path: Path, regressor: Regressor, spec: StackSpec, training: Mapping[str, Any] | None = None
) -> None:
    """Write a regressor, whose stack was built from `spec`, to `path`; InputError if the file cannot be written.

    training: metadata of its training, plain values (in a run: the fields of `runs.regressors.RegressorMetadata`).
    """
    write_supervised(path, FORMAT, regressor, spec, training, {}, {MEAN: regressor.mean, SCALE: regressor.scale})


@own_settings()
def load_regressor(path: str | Path) -> Regressor:
    """Return the regressor in a run's regressor-*.safetensors, on the CPU and in eval mode.

    Its `predict` takes data in their own units, tensors or NumPy arrays, any number of them. The file need not be trusted: it is
    read as safetensors and JSON, and takes at most twice its size in memory. Raises InputError if it is not such a file.
    """
    return load_with_training(path)[0]


def load_with_training(path: str | Path) -> tuple[Regressor, dict[str, Any]]:
    """Return the regressor in a file, as `load_regressor`, and the metadata of its training."""
    with reading_supervised(path, FORMAT, "regressor") as (content, head, training):
        mean, scale = (content.tensors.pop(name) for name in (MEAN, SCALE))
        need(
            mean.dtype == scale.dtype == torch.float64 and mean.dim() == 1 and mean.shape == scale.shape,
            "mean and scale of its targets are not of float64 [K]",
        )
        need(1 <= len(mean) <= MOST_TARGETS, f"it has {len(mean):,} targets")
        fine = bool(mean.isfinite().all()) and bool(scale.isfinite().all()) and bool((scale > 0).all())
        need(fine, "mean and scale of its targets are not finite, with scales above 0")
        stack = content.empty()
        with torch.device("meta"):
            regressor = Regressor(stack, mean, scale, *head)
        content.fill(regressor)
    return regressor.eval(), training


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
