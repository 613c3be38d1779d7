"""Labels that a user gives as integers or names, converted to the numbers of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stacked.util.checks import need

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: label of an example without one
UNLABELLED = -1


def class_labels(
    given: Sequence[Any], counts: Sequence[int], classes: Sequence[str] | None, what: str = "y"
) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """Return the labels of several parts of the data as numbers of classes, -1 where there is none, and the classes' names.

    given: the labels of each part [N] (None: it has none): integers, of which -1 is "no label", truth values, or text, of which
    None and NaN are "no label". counts: number of examples of each part. classes: the names of the classes 0..K-1 (None: the
    sorted distinct labels). what: the name of the labels in messages. Raises InputError for a wrong number or kind of labels,
    for labels outside `classes`, and for a single class.
    """
    read = [values(labels, count, what) for labels, count in zip(given, counts, strict=True)]
    present = [labels[labels != None] for labels in read]  # noqa: E711 (element by element)
    kinds = {isinstance(label, str) for labels in present for label in labels}
    if not kinds:
        return [np.full(count, UNLABELLED, np.int64) for count in counts], ()
    need(len(kinds) == 1, f"{what} has both numbers and text: give labels of one kind")
    found = sorted({label for labels in present for label in labels})
    if classes is None:
        number = {label: k for k, label in enumerate(found)}
        names = tuple(map(str, found))
    else:
        names = tuple(map(str, classes))
        number = {name: k for k, name in enumerate(names)} if kinds == {True} else {k: k for k in range(len(names))}
        other = [label for label in found if label not in number]
        need(
            not other,
            f"{what} has a label {other[0] if other else ''!r} that is not among the {len(names)} classes: give "
            + (
                "their names"
                if kinds == {True}
                else f"numbers from 0 to {len(names) - 1}, or -1 where there is no label"
            ),
        )
    need(
        len(found) > 1,
        f"{what} has one class, {found[0]!r}, and two are needed to tell them apart: add examples of another class, or leave "
        f"{what} out "
        "(integers of -1 mark examples without a label)",
    )
    coded = [
        np.array([UNLABELLED if label is None else number[label] for label in labels], np.int64) for labels in read
    ]
    return coded, names


def values(labels: Any, count: int, what: str = "y") -> NDArray[np.object_]:
    """Return labels [count] as integers and texts, None where there is none; InputError for a wrong number or kind of labels."""
    import pandas as pd

    if labels is None:
        return np.full(count, None, object)
    if hasattr(labels, "detach"):  # a tensor
        labels = labels.detach().cpu().numpy()
    is_pandas = type(labels).__module__.partition(".")[0] == "pandas"
    if is_pandas and np.ndim(labels) == 1:
        array = pd.Series(labels).astype(object).to_numpy()
    elif isinstance(labels, list | tuple):  # as objects, because NumPy would turn numbers beside text into text
        array = np.asarray([label.item() if hasattr(label, "item") else label for label in labels], object)
    else:
        array = np.asarray(labels)
    need(
        array.ndim == 1,
        f"{what} has the shape {list(array.shape)}: give one label for each example, [N]"
        + ("; of rows with a 1 at the class, y.argmax(1)" if array.ndim == 2 and array.shape[1] > 1 else ""),
    )
    need(len(array) == count, f"{what} has {len(array):,} labels, and X {count:,} examples: give one label for each")
    plain = array.astype(object)
    missing = pd.isna(plain)
    kept = plain[~missing]
    kept = np.array([int(label) if isinstance(label, bool | np.bool_) else label for label in kept], object)
    floats = [label for label in kept if isinstance(label, float | np.floating)]
    need(
        not floats,
        f"{what} has floats, such as {floats[0] if floats else 0:g}, which are numbers to predict and not classes: give classes "
        "as integers or text (a column of integers with gaps as pandas' Int64)",
    )
    odd = next((label for label in kept if not isinstance(label, int | np.integer | str)), None)
    need(odd is None, f"{what} has a label {odd!r} of type {type(odd).__name__}: give classes as integers or text")
    below = next((label for label in kept if not isinstance(label, str) and label < UNLABELLED), None)
    need(below is None, f"{what} has a label {below}: give classes from 0, or -1 where there is no label")
    found = np.full(count, None, object)
    found[~missing] = kept
    found[[isinstance(label, int | np.integer) and label == UNLABELLED for label in found]] = None
    return found
