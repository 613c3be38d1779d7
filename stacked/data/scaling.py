"""Scaling of floats: what is fitted on the training rows, kept with splits and with files of trained models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.util.checks import choice, need
from stacked.util.serialization import take_python_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

#: ways to scale floats
SCALES = ("standard", "minmax", "none")
#: the most columns or channels that a message names
NAMED = 5


@dataclass(frozen=True)
class Scaling:
    """How values x in the units of the data become what a stack reads: (x - offset) / factor.

    kind: "standard": offset and factor are mean and standard deviation of the training rows (with divisor N); "minmax": minimum
    and range, so that training rows lie in [0, 1]; "none": values are read as they are. offset, factor: one for each column of
    vectors [N, D] or each channel of signals, maps and volumes [N, C, ...]; empty for "none". Raises InputError for another
    kind, and for numbers that are not finite or factors that are not above 0.
    """

    kind: str = "none"
    offset: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        take_python_values(self)
        choice(self.kind, SCALES, "scale")
        need(
            len(self.offset) == len(self.factor) and (self.kind == "none") == (not self.offset),
            f"{len(self.offset)} offsets and {len(self.factor)} factors do not fit scale {self.kind!r}: give one of each for "
            "each column or channel, and none for 'none'",
        )
        right = all(map(math.isfinite, self.offset)) and all(0 < value < math.inf for value in self.factor)
        need(right, "offsets and factors of a scaling are not all finite, with factors above 0: give such numbers")

    @classmethod
    def fit(cls, kind: str, rows: NDArray[Any], names: Sequence[str] = ()) -> Scaling:
        """Return the scaling of this kind of training rows [N, D] or [N, C, ...], computed in float64.

        names: names of the columns, for messages. Raises InputError for a column or channel that is constant in these rows,
        which no factor can scale, and for values too large to be scaled.
        """
        choice(kind, SCALES, "scale")
        if kind == "none":
            return cls()
        axes = tuple(axis for axis in range(rows.ndim) if axis != 1)
        low, high = (each.astype(np.float64) for each in (rows.min(axes), rows.max(axes)))
        constant = np.flatnonzero(low == high)
        need(
            not len(constant),
            f"{columns(constant, names, rows.ndim)} the same value in all {len(rows):,} training rows, which cannot be scaled "
            "and says nothing: leave it out, or give scale 'none'",
        )
        with np.errstate(over="ignore", invalid="ignore"):
            if kind == "standard":
                offset, factor = rows.mean(axes, dtype=np.float64), rows.std(axes, dtype=np.float64)
            else:
                offset, factor = low, high - low
        fine = np.isfinite(offset) & np.isfinite(factor) & (factor > 0)
        need(
            bool(fine.all()),
            f"{columns(np.flatnonzero(~fine), names, rows.ndim)} values too large or too close to each other to be scaled: "
            "multiply them by a number",
        )
        return cls(kind, tuple(offset.tolist()), tuple(factor.tolist()))

    def check(self, shape: Sequence[int]) -> None:
        """Raise InputError unless this scaling fits examples of `shape`."""
        need(
            self.kind == "none" or len(self.offset) == shape[0],
            f"a scaling of {len(self.offset)} columns or channels does not fit examples of shape {list(shape)}",
        )

    def scaled(self, values: Tensor) -> Tensor:
        """Return values [N, ...], in the units of the data, as a stack reads them: float32, computed in float64."""
        if self.kind == "none":
            return values.float()
        offset, factor = self._like(values)
        return values.double().sub(offset).div(factor).float()

    def in_units(self, values: Tensor) -> Tensor:
        """Return scaled values [N, ...] in the units of the data, as float64."""
        if self.kind == "none":
            return values.double()
        offset, factor = self._like(values)
        return values.double().mul(factor).add(offset)

    def difference_in_units(self, values: Tensor) -> Tensor:
        """Return differences [N, ...] of scaled values in the units of the data, as float64."""
        return values.double() if self.kind == "none" else values.double().mul(self._like(values)[1])

    def _like(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return offset and factor as float64 tensors that broadcast to values [N, C, ...]."""
        import torch

        shape = -1, *(1,) * (values.dim() - 2)
        found = (torch.tensor(each, dtype=torch.float64, device=values.device) for each in (self.offset, self.factor))
        offset, factor = (each.view(shape) for each in found)
        return offset, factor


def columns(indices: NDArray[Any], names: Sequence[str], dimensions: int) -> str:
    """Return a subject and its verb for columns, or channels, of data with so many dimensions: "column 'age' has"."""
    what = "column" if dimensions == 2 else "channel"
    shown = [repr(names[k]) if names else str(k) for k in indices[:NAMED].tolist()]
    more = f" and {len(indices) - NAMED:,} more" if len(indices) > NAMED else ""
    return f"{what}{'s' * (len(indices) != 1)} {', '.join(shown)}{more} {'has' if len(indices) == 1 else 'have'}"
