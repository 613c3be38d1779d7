"""The memory that a Parquet table takes: its columns of text are read as dictionaries, in which a repeated text stands once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stacked.util.checks import need

#: bytes of text that any file may have, and how many times its own bytes a larger file
MOST_TEXT, MOST_GROWTH = 2**26, 100
#: bytes of a value that becomes an object of Python, as decimals and lists do, beside its own
OBJECT = 128
#: rows that are read at a time
ROWS = 2**14


def check_parquet_size(path: Path, check_memory: Callable[[Path, int], None]) -> None:
    """Raise InputError if a file has much more text than bytes, or if `check_memory` does for the bytes of all values.

    A text that many rows share is stored once, so that neither the file's size nor its counts of values tell what it takes.
    """
    from pyarrow import parquet

    metadata = parquet.read_metadata(path)
    schema, columns = metadata.schema, range(metadata.num_columns)
    categories = _categories(path)
    texts = [
        k for k in columns if schema.column(k).physical_type == "BYTE_ARRAY" and schema.column(k).path not in categories
    ]
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    size = sum(
        _bytes(schema.column(k)) * max(group.num_rows, group.column(k).num_values) for group in groups for k in columns
    )
    check_memory(path, size)
    most = max(MOST_TEXT, MOST_GROWTH * path.stat().st_size)
    _check_text(path, sum(group.column(k).total_uncompressed_size for group in groups for k in texts), most)
    found, names = 0, [schema.column(k).path for k in texts]
    if names:
        with parquet.ParquetFile(path, read_dictionary=names) as file:
            for batch in file.iter_batches(ROWS, columns=names):
                found += sum(map(_text_bytes, batch.columns))
                _check_text(path, found, most)
    check_memory(path, size + found)


def _categories(path: Path) -> set[str]:
    """Return the names of the columns that pandas reads as categories, each of which it keeps once."""
    from pyarrow import parquet, types

    fields = list(parquet.read_schema(path))
    names = {field.name for field in fields}
    if len(names) < len(fields) or any("." in name for name in names):
        return set()  # a name that could also be the path of another column
    return {field.name for field in fields if types.is_dictionary(field.type)}


def _check_text(path: Path, size: int, most: int) -> None:
    need(
        size <= most,
        f"{path} has {size / 2**20:,.0f} MiB of text or more, and {most / 2**20:,.0f} are read from a file of its size: leave "
        "out the columns of long text, or give fewer rows",
    )


def _bytes(column: Any) -> int:
    """Return the bytes of a value of a column, without text."""
    is_object = column.max_repetition_level > 0 or column.physical_type == "FIXED_LEN_BYTE_ARRAY"
    return OBJECT + max(0, column.length) if is_object else 8


def _text_bytes(array: Any) -> int:
    """Return the bytes of all texts in an Arrow array, as often as rows have them."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        lengths = compute.binary_length(array.dictionary).take(array.indices)
        return int(compute.sum(lengths.cast("int64")).as_py() or 0)
    if types.is_map(array.type):
        return _text_bytes(array.keys) + _text_bytes(array.items)
    if types.is_struct(array.type):
        return sum(map(_text_bytes, array.flatten()))
    if types.is_nested(array.type):
        return _text_bytes(array.flatten())
    return int(array.nbytes)
