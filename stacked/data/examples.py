"""Examples that a user gives as an array, a table or a dataset, read as one array; others are refused with a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from stacked.data.pixels import MOST_DIMENSIONS, stored
from stacked.data.table import is_table, with_target
from stacked.runtime.free_memory import free_bytes
from stacked.runtime.progress import each
from stacked.util.checks import layout_hint, need
from stacked.util.chunks import chunks
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WANTED = (
    "numbers in a NumPy array, a tensor, a pandas DataFrame or a map-style torch Dataset: vectors [N, D], signals [N, C, L], "
    "images [N, C, H, W] or volumes [N, C, D, H, W]"
)


@dataclass(frozen=True, eq=False)
class Given:
    """Examples as a user gave them, in the units of the data.

    values: uint8 or floats [N, ...] of 2 to 5 dimensions, or a table (a pandas DataFrame) of numbers and categories. labels:
    whatever was given as labels (None: nothing).
    """

    values: Any
    labels: Any = None

    def __len__(self) -> int:
        return len(self.values)


def read(X: Any, y: Any = None, target: str | None = None, what: str = "X") -> Given:  # noqa: N803
    """Return examples X with labels y as one array of uint8 or of finite floats, or as a table.

    X: a NumPy array, a tensor, nested lists, a pandas DataFrame, or a dataset with a length whose items are x or (x, y). target:
    the column of a DataFrame that holds the labels. what: the name of X in messages. Raises InputError, with the first place
    that is wrong, for data of another kind: text in arrays, dates, complex numbers, NaN or infinite values, examples of different
    shapes, no examples, labels given twice.
    """
    if is_table(X):
        frame, labels = with_target(X, target, what)
        need(labels is None or y is None, f"labels of {what} are given twice: as target {target!r} and as y: give one")
        return Given(frame, y if labels is None else labels)
    need(target is None, f"target {target!r} is a column of a DataFrame, and {what} is none: give the labels as y")
    if is_dataset(X):
        values, labels = gathered(X, what)
        need(labels is None or y is None, f"labels of {what} are given twice: by its items and as y: give one")
        found = Given(values, y if labels is None else labels)
    else:
        found = Given(array(X, what), y)
    check(found, what)
    return found


def is_dataset(X: Any) -> bool:  # noqa: N803
    """Whether X is a torch Dataset, or like one: neither array nor list, with items by number."""
    if isinstance(X, torch.utils.data.Dataset):
        return True
    known = isinstance(X, np.ndarray | Tensor | list | tuple | str | bytes | dict | set) or hasattr(X, "__array__")
    return not known and hasattr(X, "__getitem__") and hasattr(X, "__len__")


def array(X: Any, what: str) -> NDArray[Any]:  # noqa: N803
    """Return an array, a tensor or nested lists as an array of uint8 or floats; InputError for anything else."""
    need(not hasattr(X, "toarray"), f"{what} is a sparse matrix: give {what}.toarray()")
    if isinstance(X, Tensor):
        tensor = X.detach().cpu()
        return numbers((tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor).numpy(), what)
    readable = isinstance(X, np.ndarray | list | tuple) or hasattr(X, "__array__")
    need(readable, f"{what} is a {type(X).__name__}, which cannot be read: give {WANTED}")
    try:
        return numbers(np.asarray(X), what)
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{what} has rows of different lengths or values that are no numbers: give {WANTED}"
        ) from error


def numbers(values: NDArray[Any], what: str) -> NDArray[Any]:
    """Return an array as uint8 or floats; InputError if it holds other things than real numbers."""
    if values.dtype.kind == "O" and values.size and not isinstance(values.flat[0], str):
        shapes = {np.shape(row) for row in values.flat}
        need(
            shapes == {()},
            f"{what} has rows of different lengths or shapes, such as {' and '.join(map(str, sorted(shapes)[:2]))}: give "
            "examples of one shape",
        )
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (ValueError, TypeError) as error:
            text = next((value for value in values.flat if not isinstance(value, int | float)), values.flat[0])
            raise InputError(f"{what} holds {str(text)[:30]!r}, which is not a number: give {WANTED}") from error
    kind = {"U": "text", "S": "text", "c": "complex numbers", "M": "dates", "m": "durations", "V": "records"}
    need(
        values.dtype.kind in "biuf",
        f"{what} holds {kind.get(values.dtype.kind, str(values.dtype))}"
        f"{f' (such as {str(values.flat[0])[:30]!r})' if values.size else ''}, not real numbers: give {WANTED}",
    )
    if values.dtype == np.uint8 or values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float32 if values.dtype == np.float16 else np.float64)


def gathered(dataset: Any, what: str) -> tuple[NDArray[Any], list[Any] | None]:
    """Return the examples of a map-style dataset as one array, and their labels (None: its items have none)."""
    sized = hasattr(dataset, "__len__") and not isinstance(dataset, torch.utils.data.IterableDataset)
    need(
        sized, f"{what} is a {type(dataset).__name__} without a length: give a map-style Dataset, with items by number"
    )
    count = len(dataset)
    need(count > 0, f"{what} has no examples: give at least one")
    values, labels, labelled = np.empty(0), [], False
    for index in each(range(count), f"examples of {what}", "examples"):
        item = dataset[index]
        has_label = isinstance(item, tuple | list) and len(item) == 2
        x = item[0] if isinstance(item, tuple | list) and len(item) in (1, 2) else item
        one = array(x, f"item {index} of {what}")
        if index == 0:
            labelled = has_label
            size, free = count * one.nbytes, free_bytes(torch.device("cpu"))
            need(
                size <= 0.8 * free,
                f"the {count:,} examples of {what} need {size / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} are free: "
                "give fewer or smaller examples",
            )
            values = np.empty((count, *one.shape), one.dtype)
        need(
            has_label == labelled,
            f"item {index} of {what} is {'a pair (x, y)' if has_label else 'not a pair (x, y)'}, unlike item 0: give all items "
            "alike",
        )
        need(
            one.shape == values.shape[1:],
            f"item {index} of {what} has the shape {list(one.shape)}, and item 0 {list(values.shape[1:])}: give examples of one "
            "shape",
        )
        need(
            (one.dtype == np.uint8) == (values.dtype == np.uint8),
            f"item {index} of {what} holds {one.dtype}, and item 0 {values.dtype}: give one type",
        )
        values[index] = one
        labels += [item[1]] if labelled else []
    return values, [plain(label) for label in labels] if labelled else None


def plain(label: Any) -> Any:
    """Return a label in a tensor or array as an array, or as a plain value if it is one; other labels unchanged."""
    array = label.detach().cpu().numpy() if isinstance(label, Tensor) else label
    return array.item() if isinstance(array, np.ndarray | np.generic) and array.size == 1 else array


def check(given: Given, what: str) -> None:
    """Raise InputError unless these are examples of a shape that stacks can read, all of finite values."""
    values = given.values
    shape = list(values.shape)
    column = "; a single column is X[:, None]" if values.ndim == 1 else ""
    need(2 <= values.ndim <= MOST_DIMENSIONS, f"{what} has the shape {shape}: give {WANTED}{column}")
    need(len(values) > 0, f"{what} has no rows (shape {shape}): give at least one")
    need(math.prod(shape) > 0, f"{what} has rows without values (shape {shape}): give at least one value in each")
    if values.dtype == np.uint8:
        stored(values, f"cannot be read as {what}")
        return
    # floats with three axes of any size are signals; a square map with few values in its last axis has its channels there
    last = values.ndim == 4 and shape[1] == shape[2] and bool(layout_hint(shape))
    need(not last, f"{what} has the shape {shape}, not [N, C, H, W]{layout_hint(shape)}")
    bad, first = 0, ""
    for index in chunks(len(values), math.prod(shape[1:])):
        wrong = ~np.isfinite(values[index.numpy()])
        bad += int(wrong.sum())
        if bad and not first:
            row, *place = np.argwhere(wrong)[0].tolist()
            first = f"{values[int(index[row])][tuple(place)]} in row {int(index[row])}, at {place}"
    need(
        not bad,
        f"{what} has {bad:,} value{'s' * (bad != 1)} that {'are' if bad != 1 else 'is'} not finite, the first {first}: fill "
        "them in (for instance by sklearn's SimpleImputer), or leave out these rows",
    )
