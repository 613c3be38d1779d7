"""Numbers to predict that a user gives in the place of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.util.checks import need
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def are_targets(given: Sequence[Any]) -> bool:
    """Whether labels of the parts of the data are floats, which are numbers to predict."""
    return any(is_float(labels) for labels in given if labels is not None)


def is_float(labels: Any) -> bool:
    """Whether labels hold a float that is not NaN."""
    if type(labels).__module__.partition(".")[0] == "pandas":  # which turns integers with gaps into floats for NumPy
        labels = labels.astype(object)
    values = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if values.dtype.kind == "f":
        return bool((~np.isnan(values)).any())
    return values.dtype.kind == "O" and any(
        isinstance(value, float | np.floating) and value == value for value in values.flat
    )


def target_values(labels: Any, count: int, what: str) -> NDArray[np.float64]:
    """Return numbers [count] or [count, K] as float64 [count, K], NaN where there is none; labels None: none at all.

    what: the name of the labels in messages. Raises InputError for a wrong number of labels, and for text and infinite values.
    """
    if labels is None:
        return np.full((count, 1), np.nan)
    if hasattr(labels, "detach"):  # a tensor
        labels = labels.detach().cpu().numpy()
    try:
        values = np.asarray(labels).astype(np.float64)
    except (TypeError, ValueError) as error:
        text = next((value for value in np.asarray(labels, object).flat if isinstance(value, str)), None)
        held = "" if text is None else f", such as {text!r}"
        raise InputError(
            f"{what} holds floats beside values that are no numbers{held}: give floats, or classes as integers or text"
        ) from error
    values = values[:, None] if values.ndim == 1 else values
    need(
        values.ndim == 2 and values.shape[1] > 0,
        f"{what} has the shape {list(values.shape)}: give numbers of shape [N] or [N, K]",
    )
    need(
        len(values) == count,
        f"{what} has {len(values):,} labels, and there are {count:,} examples: give one for each",
    )
    ones = values.shape[1] > 1 and bool(np.isin(values, (0, 1)).all()) and bool((values.sum(1) == 1).all())
    need(not ones, f"{what} has rows with a 1 at the class, which are no numbers to predict: give y.argmax(1)")
    need(not np.isinf(values).any(), f"{what} has infinite values: give numbers, or NaN where there is none")
    return values
