"""Tables: what each column becomes as numbers, fitted to the training rows and kept as plain values."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.util.checks import choice, choices, finite, meant, need
from stacked.util.errors import printable
from stacked.util.serialization import omit_if_default, take_python_values

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: ways to fill in missing values, of scikit-learn's SimpleImputer
MISSING = ("mean", "median", "most_frequent")
#: the most categories of a column, and the most columns that a message names
MOST_CATEGORIES, NAMED = 1000, 5


@dataclass(frozen=True)
class Column:
    """How one column of a table is read: as numbers, or as one column of 0 and 1 for each of its categories.

    categories: the categories of the training rows, sorted; empty for a column of numbers. number, category: what stands in the
    place of a missing number or category (None: missing values are refused). Raises InputError for values that contradict
    each other.
    """

    name: str
    categories: tuple[str, ...] = omit_if_default(())
    number: float | None = omit_if_default(None)
    category: str | None = omit_if_default(None)

    def __post_init__(self) -> None:
        take_python_values(self)
        texts = all(isinstance(each, str) for each in (self.name, *self.categories))
        need(texts, "a column has a name or a category that is no text: give texts")
        once = len({*self.categories}) == len(self.categories) <= MOST_CATEGORIES
        need(once, f"column {self.name!r} has a category twice, or more than {MOST_CATEGORIES:,}: give each once")
        filled = self.number is None or (finite(self.number) and not self.categories)
        filled &= self.category is None or self.category in self.categories
        need(filled, f"column {self.name!r} is filled in with a value that it cannot have: give a number or a category")

    @property
    def width(self) -> int:
        """The number of columns that this one becomes."""
        return len(self.categories) or 1


def is_table(values: Any) -> bool:
    """Whether values are a pandas DataFrame, without importing pandas."""
    return type(values).__module__.partition(".")[0] == "pandas" and hasattr(values, "columns")


def with_target(frame: pd.DataFrame, target: str | None, what: str) -> tuple[pd.DataFrame, Any]:
    """Return the columns of a table that are read, with names as text, and its column `target` (None: there is none).

    what: the name of the table in messages. Raises InputError for a name that two columns have, a target that is no column, and
    columns that are neither numbers nor categories.
    """
    names = [str(name) for name in frame.columns]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    need(twice is None, f"{what} has several columns {twice!r}: give each column a name of its own")
    need(
        target is None or str(target) in names,
        f"target {target!r} is not a column of {what}{choices(str(target), names, meant(target, names))}",
    )
    frame = frame.set_axis(names, axis=1)
    labels = None if target is None else frame[str(target)]
    kept = frame if target is None else frame.drop(columns=str(target))
    need(kept.shape[1] > 0, f"{what} has no column beside {target!r}: give at least one")
    need(len(kept) > 0, f"{what} has no rows: give at least one")
    for name in kept.columns:
        is_category(kept[name], what)
    return kept, labels


def is_category(column: pd.Series, what: str) -> bool:
    """Whether a column holds categories (text, truth values or pandas categories) and not numbers; InputError for others."""
    import pandas as pd

    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(kind):
        return True
    if isinstance(kind, pd.StringDtype):
        return True
    if pd.api.types.is_object_dtype(kind):
        present = column.dropna()
        if all(isinstance(value, str | bool | np.bool_) for value in present):
            return bool(len(present))
        numbers = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in present)
        odd = next((value for value in present if not isinstance(value, int | float | np.number | str)), None)
        need(
            numbers,
            f"column {column.name!r} of {what} holds numbers beside text or other values{example(column, odd)}: give numbers, or "
            "text in all rows",
        )
        return False
    need(
        pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind),
        f"column {column.name!r} of {what} holds {kind}, neither numbers nor categories{example(column)}: leave it out, or "
        "convert it to numbers",
    )
    return False


def example(column: pd.Series, value: Any = None) -> str:
    """Return a value of a column (by default its first), as the remark of a message; "" if there is none."""
    present = column.dropna()
    return f" (such as {str(present.iloc[0] if value is None else value)[:30]!r})" if len(present) else ""


def check_missing(frames: Sequence[pd.DataFrame], missing: str | None, what: str, remedy: str = "give") -> None:
    """Raise InputError, which counts missing values by column, unless there are none or a way to fill them in is chosen."""
    if missing is not None:
        choice(missing, MISSING, "missing")
        return
    counts = sum(frame.isna().sum() for frame in frames)
    counts = counts[counts > 0]
    shown = ", ".join(f"{count:,} in column {name!r}" for name, count in counts.iloc[:NAMED].items())
    more = f" and more in {len(counts) - NAMED:,} other columns" if len(counts) > NAMED else ""
    need(
        not len(counts),
        f"{what} has missing values, {shown}{more}: leave these rows or columns out, or {remedy} missing (--missing), which "
        f"fills them in by {', '.join(MISSING[:-1])} or {MISSING[-1]}",
    )


def fitted(frame: pd.DataFrame, missing: str | None, what: str) -> tuple[Column, ...]:
    """Return how the columns of these training rows are read.

    missing: how missing numbers are filled in, as scikit-learn's SimpleImputer does ("mean", "median" or "most_frequent", of the
    training rows; categories always by the most frequent one); None: they are refused. Raises InputError for a column that has
    no value, a single category, or too many of them.
    """
    return tuple(fitted_column(frame[name], missing, what) for name in frame.columns)


def fitted_column(column: pd.Series, missing: str | None, what: str) -> Column:
    """Return how a column is read; arguments and errors as of `fitted`."""
    from sklearn.impute import SimpleImputer

    name, rows = str(column.name), len(column)
    need(
        bool(column.notna().any()),
        f"column {name!r} of {what} has no value in the {rows:,} training rows: leave it out",
    )
    if not is_category(column, what):
        values = numbers(column)
        need(not np.isinf(values).any(), infinite(column, values, what))
        if missing is None:
            return Column(name)
        return Column(name, number=float(SimpleImputer(strategy=missing).fit(values[:, None]).statistics_[0]))
    words = texts(column)
    found = sorted({word for word in words if isinstance(word, str)})
    need(
        len(found) > 1,
        f"column {name!r} of {what} has the same value {found[0]!r} in all {rows:,} training rows and says nothing: leave it out",
    )
    need(
        len(found) <= min(MOST_CATEGORIES, max(rows // 2, 2)),
        f"column {name!r} of {what} has {len(found):,} different texts in {rows:,} training rows, too many to be categories: "
        "leave it out, or name fewer of them",
    )
    if missing is None:
        return Column(name, tuple(found))
    most = SimpleImputer(strategy="most_frequent").fit(words[:, None]).statistics_[0]
    return Column(name, tuple(found), category=str(most))


def names_of(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the names of what columns become: "age", or "colour=red" for a category."""
    return tuple(
        name
        for each in columns
        for name in ([f"{each.name}={category}" for category in each.categories] or [each.name])
    )


def as_numbers(columns: Sequence[Column], frame: pd.DataFrame, what: str) -> NDArray[np.float64]:
    """Return a table [N, ...] as numbers [N, D], as the training rows that `columns` were fitted to; numbers are not scaled.

    Other columns are left out, with a warning. A category that the training rows did not have becomes zeros, with a warning.
    Raises InputError for a column that is missing or does not hold such values, and for missing values that are not filled in.
    """
    given = [str(name) for name in frame.columns]
    frame = frame.set_axis(given, axis=1)
    counts = Counter(given)
    for column in columns:
        count = counts[column.name]
        need(
            count > 0, f"{what} has no column {column.name!r}, which was trained on: add it{meant(column.name, given)}"
        )
        need(count == 1, f"{what} has several columns {column.name!r}: give each column a name of its own")
    known = {column.name for column in columns}
    other = [name for name in given if name not in known]
    if other:
        tell(
            f"{listed(other)} of {what} {'is' if len(other) == 1 else 'are'} not read, since the training had no such column"
        )
    filled = [each.name for each in columns if each.number is None and each.category is None]
    check_missing([frame[filled]], None, what, "train with")
    width = sum(column.width for column in columns)
    found = np.empty((len(frame), width))
    start = 0
    for column in columns:
        found[:, start : start + column.width] = column_as_numbers(column, frame[column.name], what)
        start += column.width
    return found


def column_as_numbers(column: Column, given: pd.Series, what: str) -> NDArray[np.float64]:
    """Return a column [N] as numbers [N, width]; arguments and errors as of `as_numbers`."""
    if not column.categories:
        need(
            not is_category(given, what),
            f"column {column.name!r} of {what} holds text{example(given)}, and numbers were trained on: give numbers",
        )
        values = numbers(given)
        need(not np.isinf(values).any(), infinite(given, values, what))
        return (values if column.number is None else np.where(np.isnan(values), column.number, values))[:, None]
    from sklearn.preprocessing import OneHotEncoder

    words = texts(given)
    if column.category is not None:
        words = np.array([value if isinstance(value, str) else column.category for value in words], object)
    unknown = sorted({*words} - {*column.categories})
    if unknown:
        shown = ", ".join(map(repr, unknown[:NAMED])) + f" and {len(unknown) - NAMED:,} more" * (len(unknown) > NAMED)
        tell(
            f"column {column.name!r} of {what} has {shown}, which the training rows did not have: such rows are read as none "
            "of its categories"
        )
    encoder = OneHotEncoder(categories=[list(column.categories)], handle_unknown="ignore", sparse_output=False)
    encoder.fit(np.array(column.categories, object)[:, None])
    return np.asarray(encoder.transform(words[:, None])) if len(words) else np.zeros((0, column.width))


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """Return a column of numbers as float64 [N], NaN where a value is missing."""
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def texts(column: pd.Series) -> NDArray[np.object_]:
    """Return a column of categories as texts [N], NaN where a value is missing."""
    values = column.astype(object).to_numpy()
    return np.array(
        [math.nan if gone else str(value) for value, gone in zip(values, column.isna(), strict=True)], object
    )


def infinite(column: pd.Series, values: NDArray[np.float64], what: str) -> str:
    """Return the message that a column has infinite values."""
    rows = np.flatnonzero(np.isinf(values))
    where = f"the first in row {column.index[rows[0]]}" if len(rows) else ""
    many = f"{len(rows):,} infinite value{'s' * (len(rows) != 1)}"
    return f"column {column.name!r} of {what} has {many}, {where}: give numbers, or leave out these rows"


def listed(names: Sequence[str]) -> str:
    """Return columns as the subject of a sentence: "column 'age'"."""
    more = f" and {len(names) - NAMED:,} more" * (len(names) > NAMED)
    return f"column{'s' * (len(names) != 1)} {', '.join(map(repr, names[:NAMED]))}{more}"


def tell(message: str) -> None:
    """Warn in one line."""
    warnings.warn(printable(message), stacklevel=3)
