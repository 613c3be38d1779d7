"""Normalisations of a stage's features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import nn

from stacked.util.checks import need

#: Groups of a group norm at most; it has fewer where the channels do not divide by so many, or a group would hold too little.
GROUPS = 8
#: Values that a group holds at least, where all together are as many: a norm takes two numbers of a group, mean and scale.
LEAST = 4
#: Values of an example that a norm of its own needs: of two it leaves which of them is the greater one, of one nothing.
FEWEST = 3


def _batch(shape: Sequence[int]) -> nn.Module:
    return nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])


def _group(shape: Sequence[int]) -> nn.Module:
    channels, values = shape[0], math.prod(shape)
    counts = [n for n in range(1, GROUPS + 1) if math.gcd(channels, GROUPS) % n == 0 and values // n >= LEAST]
    return nn.GroupNorm(max(counts, default=1), channels)


def _layer(shape: Sequence[int]) -> nn.Module:
    # over all values of an example, maps and vectors alike
    return nn.GroupNorm(1, shape[0]) if len(shape) == 3 else nn.LayerNorm(shape[0])


#: name -> the module for features of a shape, (C, H, W) or (C,); "layer" is Ba et al. 2016, "group" Wu & He 2018
NORMS: dict[str, Callable[[Sequence[int]], nn.Module] | None] = {
    "batch": _batch,
    "group": _group,
    "layer": _layer,
    "none": None,
}


def normalised(norm: str, shape: Sequence[int]) -> list[nn.Module]:
    """The module that normalises features of `shape`, maps (C, H, W) or vectors (C,), in a list: empty for "none".

    Raises InputError for too few values to be normalised (see `check_values`).
    """
    check_values(norm, math.prod(shape))
    make = NORMS[norm]
    return [make(shape)] if make else []


def check_values(norm: str, values: int) -> None:
    """Raise InputError where a norm of each example by itself would leave nothing of so many `values` of one."""
    need(
        norm not in ("group", "layer") or values >= FEWEST,
        f"norm {norm!r} of {values} {'values' if values > 1 else 'value'} of an example leaves nothing to learn from: use "
        f"norm 'batch' or 'none', or a width of at least {FEWEST}",
    )
