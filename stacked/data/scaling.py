"""Scaling of floats: what is fitted on the training rows, kept with splits and with files of trained models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.data.table import Column, as_numbers, names_of
from stacked.util.checks import choice, need
from stacked.util.serialization import omit_if_default, take_python_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
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
    vectors [N, D] or each channel of signals, maps and volumes [N, C, ...]; empty for "none". columns: how the columns of a table
    become the D numbers of a row (empty: the data were numbers); columns of 0 and 1, for categories, have the offset 0 and the
    factor 1. Raises InputError for another kind, for numbers that are not finite or factors that are not above 0, and for
    a number of columns that does not fit.
    """

    kind: str = "none"
    offset: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()
    columns: tuple[Column, ...] = omit_if_default(())

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
        names = {column.name for column in self.columns}
        need(len(names) == len(self.columns), "two columns of a scaling have one name: give each its own")
        need(
            not self.columns or self.kind == "none" or self.width == len(self.offset),
            f"{len(self.offset)} offsets do not fit columns of a table that become {self.width} values: give one for each",
        )

    @property
    def width(self) -> int:
        """The number of values of a row that `columns` become; 0 without columns."""
        return sum(column.width for column in self.columns)

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

    @classmethod
    def fit_table(cls, kind: str, rows: NDArray[np.float64], columns: tuple[Column, ...]) -> Scaling:
        """Return the scaling of the training rows [N, D] of a table, read as `columns` say; errors as of `fit`.

        Columns of 0 and 1, for categories, are left as they are.
        """
        is_number = np.repeat([not column.categories for column in columns], [column.width for column in columns])
        if kind == "none" or not is_number.any():
            return cls(columns=columns)
        found = cls.fit(
            kind, np.ascontiguousarray(rows[:, is_number]), [column.name for column in columns if not column.categories]
        )
        offset, factor = np.zeros(len(is_number)), np.ones(len(is_number))
        offset[is_number], factor[is_number] = found.offset, found.factor
        return cls(kind, tuple(offset.tolist()), tuple(factor.tolist()), columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values of a row that `columns` become; empty without columns."""
        return names_of(self.columns)

    def numbers_of(self, frame: pd.DataFrame, what: str) -> NDArray[np.float64]:
        """Return a table as the numbers [N, D] that its columns become, not scaled; errors as of `table.as_numbers`."""
        need(
            bool(self.columns),
            f"{what} is a table, and the training data had no columns with names: give an array, such as frame.to_numpy()",
        )
        return as_numbers(self.columns, frame, what)

    def check(self, shape: Sequence[int]) -> None:
        """Raise InputError unless this scaling fits examples of `shape`."""
        need(
            self.kind == "none" or len(self.offset) == shape[0],
            f"a scaling of {len(self.offset)} columns or channels does not fit examples of shape {list(shape)}",
        )
        need(
            not self.columns or [self.width] == list(shape),
            f"columns of a table that become {self.width} values do not fit examples of shape {list(shape)}",
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
    """Return the subject and verb of a message on columns, or channels if there are more dimensions: "column 'age' has"."""
    what = "column" if dimensions == 2 else "channel"
    shown = [repr(names[k]) if names else str(k) for k in indices[:NAMED].tolist()]
    more = f" and {len(indices) - NAMED:,} more" if len(indices) > NAMED else ""
    return f"{what}{'s' * (len(indices) != 1)} {', '.join(shown)}{more} {'has' if len(indices) == 1 else 'have'}"
