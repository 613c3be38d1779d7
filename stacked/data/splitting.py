"""The division of data that a user gives: held-out parts, classes, and a scaling fitted on the training rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stacked.data.classes import class_labels
from stacked.data.examples import Given, read
from stacked.data.formats.division import division
from stacked.data.scaling import Scaling
from stacked.data.table import as_numbers, check_missing, fitted, is_table, names_of
from stacked.data.targets import are_targets, target_values
from stacked.util.checks import finite, need
from stacked.util.chunks import chunks
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Part:
    """Examples (an array, a table or a tensor) with their classes [N] and their targets [N, K] (None: none)."""

    values: Any
    labels: NDArray[np.int64]
    targets: NDArray[np.float64] | None

    @property
    def marks(self) -> NDArray[np.int64]:
        """What is stratified by: the classes, or whether an example has targets."""
        return self.labels if self.targets is None else -np.isnan(self.targets).any(1).astype(np.int64)

    def take(self, rows: NDArray[np.int64]) -> Part:
        """Return the examples at these rows."""
        values = self.values.iloc[rows] if is_table(self.values) else self.values[rows]
        return Part(values, self.labels[rows], None if self.targets is None else self.targets[rows])


@dataclass(frozen=True, eq=False)
class Division:
    """The parts of a user's data, their values as tensors that are read by a stack.

    classes: names of the classes (empty: there are none). scaling: how floats were scaled (None: bytes). columns: names of the
    columns of a table (empty: it is no table).
    """

    train: Part
    valid: Part
    test: Part
    classes: tuple[str, ...]
    scaling: Scaling | None
    columns: tuple[str, ...]


def divided(
    X: Any,  # noqa: N803
    y: Any,
    valid: Any,
    test: Any,
    target: str | None,
    classes: Sequence[str] | None,
    scale: str | None,
    missing: str | None = None,
    what: str = "X",
) -> Division:
    """Return the division of a user's data into training, validation and test examples; arguments and errors as of `Splits.of`.

    what: the name of the data in messages.
    """
    given = [part(X, y, target, what)]
    for role, held in (("test", test), ("valid", valid)):
        if finite(held):
            need(0 < held < 1, f"{role} {held!r} is not a fraction: give a number between 0 and 1, exclusive, or data")
        else:
            given.append(part(held, None, target, role))
            check_alike(given[0], given[-1], what, role)
    has_columns = is_table(given[0].values)
    need(has_columns or missing is None, f"missing {missing!r} is for tables, and {what} is none: leave it out")
    if has_columns:
        check_missing([each.values for each in given], missing, what)
    pieces, names = labelled(given, classes, "y" if target is None else f"target {target!r}")
    need(
        target is None or bool(names) or pieces[0].targets is not None,
        f"target {target!r} of {what} has no value in any row: leave target out, or give labels to some rows",
    )
    train, held_out = pieces.pop(0), []
    for held in (test, valid):
        if finite(held):
            rest, rows = division(train.marks, held)
            held_out.append(train.take(rows))
            train = train.take(rest)
        else:
            held_out.append(pieces.pop(0))
    different = len(np.unique(train.labels[train.labels >= 0]))
    need(
        not names or different > 1,
        f"the training examples have labels of {different} of {len(names)} classes, and two are needed: give examples of more "
        "classes, or leave y out",
    )
    if train.targets is not None:
        check_varying(train.targets, "y" if target is None else f"target {target!r}")
    columns = fitted(train.values, missing, what) if has_columns else ()
    if has_columns:
        train, *held_out = (replace(each, values=as_numbers(columns, each.values, what)) for each in (train, *held_out))
    scaling = None
    if columns:
        scaling = Scaling.fit_table(scale or "standard", train.values, columns)
    elif train.values.dtype != np.uint8:
        scaling = Scaling.fit(scale or default_scale(train.values), train.values)
    else:
        need(
            scale in (None, "none"),
            f"scale {scale!r} is for floats, and these are bytes (uint8), which are read as 0 to 1: leave it out, or give floats",
        )
    varies = any(not np.array_equal(row, train.values[0]) for row in train.values[1:])
    need(varies, "all training examples are equal: give examples that differ")
    as_tensors = [replace(each, values=as_read(each.values, scaling)) for each in (train, *held_out)]
    train, test_part, valid_part = as_tensors
    return Division(train, valid_part, test_part, names, scaling, names_of(columns))


def check_varying(targets: NDArray[np.float64], what: str) -> None:
    """Raise InputError if one of the targets [N, K], called `what`, has the same value in all training rows."""
    known = targets[~np.isnan(targets).any(1)]
    constant = np.flatnonzero((known == known[:1]).all(0)).tolist() if len(known) else []
    for k in constant[:1]:
        column = f", column {k}," if targets.shape[1] > 1 else ""
        raise InputError(
            f"{what}{column} has the same value {known[0, k]:g} in all {len(known):,} training rows that have one, so that there "
            "is nothing to predict: leave it out"
        )


def labelled(given: Sequence[Given], classes: Sequence[str] | None, what: str) -> tuple[list[Part], tuple[str, ...]]:
    """Return the parts of the data, whose labels are called `what`, with classes or targets, and the names of the classes."""
    labels, counts = [each.labels for each in given], [len(each) for each in given]
    if not are_targets(labels):
        coded, names = class_labels(labels, counts, classes, what)
        return [Part(each.values, mine, None) for each, mine in zip(given, coded, strict=True)], names
    need(
        classes is None,
        f"{what} has floats, which are numbers to predict, and classes are named: give classes as integers or text",
    )
    parts = [f"{what} of X" if what == "y" else what, *(f"{what} of the held-out data" for _ in given[1:])]
    targets = [target_values(*each) for each in zip(labels, counts, parts, strict=True)]
    return [Part(each.values, np.full(len(each), -1), mine) for each, mine in zip(given, targets, strict=True)], ()


def part(X: Any, y: Any, target: str | None, what: str) -> Given:  # noqa: N803
    """Return examples with their labels; X can be a pair of both."""
    if isinstance(X, tuple) and len(X) == 2:
        need(y is None, f"labels of {what} are given twice: in a pair ({what}, y) and as y: give one")
        X, y = X  # noqa: N806
    return read(X, y, target, what)


def check_alike(train: Given, other: Given, what: str, role: str) -> None:
    """Raise InputError unless `other` holds examples of the same shape, type and columns as the training data."""
    tables = [is_table(each.values) for each in (train, other)]
    need(
        tables[0] == tables[1],
        f"{role} is {'a table' if tables[1] else 'no table'}, and {what} is {'one' if tables[0] else 'none'}: give both as "
        "tables, or both as arrays",
    )
    shapes = [list(each.values.shape[1:]) for each in (train, other)]
    need(
        shapes[0] == shapes[1],
        f"examples of {role} have the shape {shapes[1]}, and those of {what} {shapes[0]}: give one shape",
    )
    if tables[0]:
        pairs = zip(train.values.columns, other.values.columns, strict=True)
        differing = next(((mine, yours) for mine, yours in pairs if mine != yours), None)
        need(
            differing is None,
            f"{role} has a column {differing and differing[1]!r} in the place of column {differing and differing[0]!r} of "
            f"{what}: give the same columns in the same order",
        )
        return
    types = [each.values.dtype == np.uint8 for each in (train, other)]
    need(
        types[0] == types[1],
        f"{role} holds {other.values.dtype}, and {what} {train.values.dtype}: give bytes (uint8) or floats for both",
    )


def default_scale(values: NDArray[Any]) -> str:
    """Return how floats are scaled by default: maps and volumes in [0, 1] are read as they are, other data standardised."""
    if values.ndim < 4:
        return "standard"
    return "none" if values.min() >= 0 and values.max() <= 1 else "standard"


def as_read(values: NDArray[Any], scaling: Scaling | None) -> torch.Tensor:
    """Return a copy of bytes, or floats scaled to float32; InputError for floats that float32 cannot hold."""
    if scaling is None:
        return torch.from_numpy(np.array(values, order="C"))
    found = torch.empty(values.shape, dtype=torch.float32)
    for index in chunks(len(values), math.prod(values.shape[1:])):
        found[index] = scaling.scaled(torch.from_numpy(np.ascontiguousarray(values[index.numpy()])))
    need(
        bool(found.isfinite().all()),
        f"values up to {np.abs(values).max():.3g} do not fit float32 as they are scaled: divide them by a number",
    )
    return found
