"""Normalisations of a stage's features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import nn

from stacked.util.checks import need

#: The most groups of a group norm; it has fewer if the channels do not divide by that number or a group would be too small.
GROUPS = 8
#: The least number of values in a group, if there are that many: a norm estimates two numbers from a group, mean and scale.
LEAST = 4
#: The least number of values per example for group and layer norm: of two values only their order would remain, of one nothing.
FEWEST = 3


def _batch(shape: Sequence[int]) -> nn.Module:
    return {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}[len(shape)](shape[0])


def _group(shape: Sequence[int]) -> nn.Module:
    channels, values = shape[0], math.prod(shape)
    counts = [n for n in range(1, GROUPS + 1) if math.gcd(channels, GROUPS) % n == 0 and values // n >= LEAST]
    return nn.GroupNorm(max(counts, default=1), channels)


def _layer(shape: Sequence[int]) -> nn.Module:
    # over all values of an example, for maps and vectors alike
    return nn.GroupNorm(1, shape[0]) if len(shape) > 1 else nn.LayerNorm(shape[0])


#: name -> function from the shape of features, (C, ...) or (C,), to the module; "layer": Ba et al. 2016, "group": Wu & He 2018
NORMS: dict[str, Callable[[Sequence[int]], nn.Module] | None] = {
    "batch": _batch,
    "group": _group,
    "layer": _layer,
    "none": None,
}


def normalised(norm: str, shape: Sequence[int]) -> list[nn.Module]:
    """Return the module that normalises features of `shape`, (C, ...) or (C,), in a list; an empty list for "none".

    Raises InputError if there are too few values to normalise (see `check_values`).
    """
    check_values(norm, math.prod(shape))
    make = NORMS[norm]
    return [make(shape)] if make else []


def check_values(norm: str, values: int) -> None:
    """Raise InputError if group or layer norm would act on fewer than FEWEST `values` per example."""
    need(
        norm not in ("group", "layer") or values >= FEWEST,
        f"norm {norm!r} needs at least {FEWEST} values per example, not {values}: use norm 'batch' or 'none', or a width of "
        f"at least {FEWEST}",
    )
